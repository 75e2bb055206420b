"""Tests of suite.judge.compatibility: a record is as it should be, or its fault is named."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from suite.judge.compatibility import (
    Evidence,
    Fault,
    Outcome,
    cases_without_batch_norm,
    control_cases,
    not_mended,
    not_stalled,
    outside_band,
    treatment_cases,
)
from suite.records import Record
from tests.judge.conftest import DIGEST, changed, with_environment

GRAPH = {"stack": "graph"}
LOSSES = ("literal", "intended")


def of(store: list[Record], case: str) -> Record:
    [record] = [record for record in store if record.case == case]
    return record


def gaining(store: list[Record], case: str, gain: float, **environment: str) -> Record:
    """Find the record of `case` in `store`, with another gain of its adversarial branch."""
    records = changed(store, case, adversarial_branch_gain=gain)
    return of(with_environment(records, **environment), case)


def test_an_outcome_of_another_schema_is_refused() -> None:
    with pytest.raises(ValueError, match=r"schema must be 1\. Received: 2"):
        Outcome(False, False, None, 3.0, "No solution found", DIGEST, "2024-06-01", schema=2)


def test_only_records_of_the_present_lock_count(good: list[Record]) -> None:
    stale = with_environment(good[:2], lock_digest="sha256:old")
    evidence = Evidence("tf-1.0", DIGEST, (*stale, *good), None)
    assert evidence.current == tuple(good)
    assert evidence._replace(lock_digest="").current == ()


def test_what_a_release_must_do_is_asked_of_every_network() -> None:
    assert {case.architecture for case in cases_without_batch_norm()} == {
        "lenet5",
        "alexnet",
        "vgg19",
    }
    assert {case.loss for case in cases_without_batch_norm()} == {"plain", "intended"}
    assert [(case.loss, case.fix) for case in control_cases()] == [
        ("literal", "none"),
        ("intended", "none"),
    ]


def test_momentum_under_literal_phases_is_no_treatment() -> None:
    assert {(case.loss, case.fix) for case in treatment_cases()} == {
        ("intended", "bn-momentum-0.5"),
        ("intended", "imagenet-inputs"),
        ("literal", "imagenet-inputs"),
    }


def test_records_as_they_should_be_have_no_fault(good: list[Record]) -> None:
    assert [outside_band(record) for record in good] == [""] * len(good)
    assert [not_stalled(of(good, str(case))) for case in control_cases()] == ["", ""]
    assert [not_mended(of(good, str(case))) for case in treatment_cases()] == ["", "", ""]


def test_a_number_outside_its_band_is_named_with_metric_and_band(good: list[Record]) -> None:
    record = of(changed(good, "attack-lenet5", linear_error=0.25), "attack-lenet5")
    told = "attack-lenet5 (seed 0): linear_error is 0.25, expected 0 to 1e-06"
    assert outside_band(record) == told
    assert outside_band(replace(record, seed=3)).startswith("attack-lenet5 (seed 3): ")


def test_a_record_without_numbers_is_no_pass(good: list[Record]) -> None:
    for record in good:
        empty = replace(record, metrics={"of no use": 1.0})
        assert outside_band(empty) == f"{record.name} holds none of the numbers that are judged"
    for case in (*control_cases(), *treatment_cases()):
        record = of(good, str(case))
        fault = f"{record.name} holds no adversarial_branch_gain"
        empty = replace(record, metrics={})
        assert (not_stalled if case.fix == "none" else not_mended)(empty) == fault


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("gain", [0.1001, 2.0, math.nan])
def test_a_control_that_learns_does_not_stall(good: list[Record], loss: str, gain: float) -> None:
    control = f"resnet50-w0.25-{loss}-none"
    told = not_stalled(gaining(good, control, gain))
    assert told.startswith(f"{control} (seed 0): adversarial_branch_gain is {gain:.4g}, expected")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("fix", "fault"), [("none", not_stalled), ("imagenet-inputs", not_mended)])
def test_in_a_graph_nan_is_neither_a_stall_nor_a_fix(
    good: list[Record], loss: str, fix: str, fault: Fault
) -> None:
    assert fault(gaining(good, f"resnet50-w0.25-{loss}-{fix}", math.nan, **GRAPH))


def test_in_a_graph_a_control_without_band_of_its_own_must_stall(good: list[Record]) -> None:
    assert not_stalled(gaining(good, "resnet50-w0.25-literal-none", 0.2, **GRAPH))


def test_in_a_graph_the_control_may_be_on_its_way_out(good: list[Record]) -> None:
    control = "resnet50-w0.25-intended-none"
    assert not_stalled(gaining(good, control, 0.2))
    assert not_stalled(gaining(good, control, 0.6, **GRAPH)) == ""
    assert not_stalled(gaining(good, control, 1.1, **GRAPH))


@pytest.mark.parametrize(
    "case", ["intended-bn-momentum-0.5", "intended-imagenet-inputs", "literal-imagenet-inputs"]
)
def test_a_fix_must_gain_well_above_a_stall(good: list[Record], case: str) -> None:
    assert not_mended(gaining(good, f"resnet50-w0.25-{case}", 0.49))
    assert not_mended(gaining(good, f"resnet50-w0.25-{case}", 0.51)) == ""
