"""Tests of suite.judge.parity.compare: which traces are compared, and which are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from suite.errors import RecordError
from suite.judge.parity.compare import check_traces, compare_traces
from suite.measure.summaries import Entry
from tests.judge.parity.conftest import (
    KERAS_3,
    Against,
    Make,
    MakeRecord,
    paper_trace,
    with_entries,
)


def test_the_same_training_agrees_to_the_last_digit(against: Against) -> None:
    found = against()
    assert found.agrees
    assert not found.known
    assert {distance.value for distance in found.distances} == {0.0}


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"settings": {"phases": None}},
        {"environment": {"versions": KERAS_3, "data_digest": "sha256:9"}},
        {"case": "parity-other"},
    ],
    ids=str,
)
def test_traces_of_other_cases_seeds_or_data_are_refused(
    make: Make, make_record: MakeRecord, changes: dict[str, Any]
) -> None:
    same = {
        "case": "parity-net", "release": "tf-2.15", "question": "parity",
        "settings": {"phases": ["training", "inference", "inference"]},
        "environment": {"versions": KERAS_3},
    }  # fmt: skip
    other = make_record(**{**same, **changes}, statistics=paper_trace())
    with pytest.raises(RecordError, match="cannot be compared"):
        compare_traces(other, make("tf-2.21"))


def test_other_layers_are_refused(make: Make) -> None:
    record = make()
    entries = [entry for entry in record.statistics if entry["layer"] != "second_bn"]
    with pytest.raises(RecordError, match=r"other layers or quantities, such as: .*second_bn"):
        compare_traces(replace(record, statistics=entries), make("tf-2.21"))


def test_an_array_without_its_size_is_refused(make: Make) -> None:
    def sizeless(entry: Entry) -> None:
        if (entry["quantity"], entry["layer"], entry["step"]) == ("batch mean", "second_bn", 2):
            entry.pop("rms")

    with pytest.raises(RecordError, match=r"such as: .*second_bn.* without rms"):
        compare_traces(with_entries(make(), sizeless), make("tf-2.21"))


@pytest.mark.parametrize("frozen", ["here", "there"])
def test_a_variable_that_trains_in_one_release_alone_is_named(make: Make, frozen: str) -> None:
    whole, record = make("tf-2.21"), make()
    entries = [
        entry
        for entry in record.statistics
        if (entry["quantity"], entry["layer"]) != ("gradient", "first_bn")
    ]
    less = replace(record, statistics=entries)
    found = compare_traces(less, whole) if frozen == "here" else compare_traces(whole, less)
    other = "there" if frozen == "here" else "here"
    assert f"Other variables train: first_bn/gamma only {other}" in found.causes
    assert not found.agrees


def test_a_record_without_a_trace_is_refused(make_record: MakeRecord) -> None:
    bare = make_record(case="parity-net", question="parity")
    with pytest.raises(RecordError, match="holds no trace"):
        compare_traces(bare, bare)


def test_a_case_or_seed_that_one_side_lacks_is_an_error() -> None:
    named = {"release": "tf-2.15", "reference": "tf-2.21"}
    both = [("parity-a", 0), ("parity-b", 0)]
    check_traces(both, [*both, ("parity-a", 1)], **named)
    for more in (("parity-c", 0), ("parity-a", 1)):
        with pytest.raises(RecordError, match=f"tf-2.21 has no trace of {more[0]}-seed{more[1]}"):
            check_traces([*both, more], both, **named)
    with pytest.raises(RecordError, match=r"tf-2.15 has no trace of parity-b, which tf-2.21 has"):
        check_traces(both[:1], both, **named)
