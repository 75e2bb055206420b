"""Tests of what a record must hold to be evidence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from suite.judge.gate.complete import WITH_DROPOUT, lost
from suite.records import Record
from suite.store import read_record
from suite.tables import TIERS, asked

BASELINES = Path(__file__).parents[3] / "baselines"
CASES = asked("small")
TRAINED, TRACED, DRAWN = "vgg19-w0.25-intended-none", "parity-vgg19-w0.25-plain", "random-lenet5"


def stored(case: str, release: str = "tf-2.21") -> Record:
    """Read the first record of a case of a stored baseline."""
    return read_record(BASELINES / release / "small" / f"{case}-seed0.json")


def without(record: Record, **fields: Any) -> Record:
    """Take the entries out of a record that have these fields."""
    left = [
        entry
        for entry in record.statistics
        if any(entry.get(name) != value for name, value in fields.items())
    ]
    assert len(left) < len(record.statistics)
    return replace(record, statistics=left)


@pytest.mark.parametrize("release", sorted(path.name for path in BASELINES.glob("*-*")))
def test_stored_records_lack_nothing(release: str) -> None:
    paths = sorted((BASELINES / release / "small").glob("*-seed0.json"))
    assert len(paths) >= 13
    found = {path.name: lost(record, CASES[record.case]) for path in paths
             for record in [read_record(path)]}  # fmt: skip
    assert {name: part for name, part in found.items() if part} == {}


@pytest.mark.parametrize(
    ("case", "metric"),
    [
        (TRAINED, "adversarial_information_gain"),
        (TRAINED, "adversarial_branch_gain"),
        ("lenet5-plain", "clean_branch_gain"),
    ],
)
def test_a_metric_that_decides_must_be_there(case: str, metric: str) -> None:
    record = stored(case)
    kept = {name: value for name, value in record.metrics.items() if name != metric}
    assert lost(replace(record, metrics=kept), CASES[case]) == [metric]


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({"state": "100"}, "the state 100"),
        ({"state": "20, Adam"}, "the state 20, Adam"),
        ({"quantity": "data"}, "data from the state 0"),
        ({"quantity": "several steps", "state": "300"}, "several steps from the state 300"),
        ({"quantity": "gradient", "state": "0, Adam"}, "gradient from the state 0, Adam"),
        ({"quantity": "evaluation"}, "evaluation from the state 0"),
    ],
)
def test_a_trace_must_have_every_state_and_quantity(fields: dict[str, str], missing: str) -> None:
    assert missing in lost(without(stored(TRACED), **fields), CASES[TRACED])


def test_a_trace_of_an_attack_must_tell_of_it() -> None:
    case = "parity-lenet5-intended"
    cut = without(stored(case), quantity="perturbation")
    assert lost(cut, CASES[case])[0] == "perturbation from the state 0"


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({"quantity": "layers"}, ["layers"]),
        ({"layer": "Dense 1", "weight": "kernel"}, ["16 draws of each weight"]),
        ({"quantity": "builds"}, ["builds", "0 draws of each weight"]),
    ],
)
def test_draws_must_be_of_every_weight(fields: dict[str, str], missing: list[str]) -> None:
    assert lost(without(stored(DRAWN), **fields), CASES[DRAWN]) == missing


def test_dropout_must_be_told_where_there_is_any() -> None:
    case = "random-alexnet-w0.5"
    assert lost(without(stored(case), quantity="dropout steps"), CASES[case]) == ["dropout steps"]
    names = {CASES[case].architecture for case in CASES if case.startswith("random-")}
    dropped = {
        CASES[case].architecture
        for case in CASES
        if case.startswith("random-")
        and any(entry["quantity"] == "dropout" for entry in stored(case).statistics)
    }
    assert dropped == {WITH_DROPOUT}
    assert names == {*TIERS["small"].architectures}


def test_states_that_cannot_be_read_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.measure.states.FOLDER", Path("nowhere"))
    (told,) = lost(stored(TRACED), CASES[TRACED])
    assert "nowhere/vgg19-w0.25.npz holds no states" in told
