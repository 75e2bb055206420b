"""Tests of suite.judge.renewal: what changes in a baseline, and what the gate says of it."""

from __future__ import annotations

from dataclasses import replace

from suite.judge.gate.decide import decide
from suite.judge.renewal import renewal
from suite.records import Record
from tests.conftest import MakeRecord

CASE = "net-intended-none"
BEFORE = (0.80, 0.82, 0.79, 0.81, 0.83)


def runs(make_record: MakeRecord, values: tuple[float, ...], **changes: object) -> list[Record]:
    """Make a run of its own for each value, told from others by the time that it took."""
    fields = {"case": CASE, "wall_s": 1.0, **changes}
    lasted = float(str(fields.pop("wall_s")))
    return [
        make_record(
            seed=seed, metrics={"clean_accuracy": value}, wall_s=lasted + seed / 100, **fields
        )
        for seed, value in enumerate(values)
    ]


def test_the_verdict_is_the_gates(make_record: MakeRecord) -> None:
    former = runs(make_record, BEFORE)
    fresh = runs(make_record, tuple(value - 0.3 for value in BEFORE[::-1]), wall_s=2.0)
    found = renewal(former, fresh)
    assert found.answer == decide("the baseline", "the candidate", before=former, after=fresh)
    assert [(f.case, f.metric) for f in found.worse] == [(CASE, "clean_accuracy")]
    assert found.changed == [CASE]
    assert found.finding(CASE, "clean_accuracy") == found.worse[0]


def test_a_gain_is_no_reason_to_refuse(make_record: MakeRecord) -> None:
    better = tuple(value + 0.1 for value in BEFORE)
    found = renewal(runs(make_record, BEFORE), runs(make_record, better, wall_s=2.0))
    assert (found.worse, found.changed) == ([], [CASE])


def test_the_same_numbers_measured_anew_are_no_change(make_record: MakeRecord) -> None:
    found = renewal(runs(make_record, BEFORE), runs(make_record, BEFORE, wall_s=2.0))
    assert (found.changed, found.worse, found.answer.missing) == ([], [], [])
    assert found.answer.findings


def test_a_case_that_stays_is_not_judged(make_record: MakeRecord) -> None:
    found = renewal(runs(make_record, BEFORE), runs(make_record, BEFORE))
    assert (found.changed, found.answer.findings, found.answer.missing) == ([], [], [])


def test_further_seeds_are_held_against_the_former_ones(make_record: MakeRecord) -> None:
    former = runs(make_record, BEFORE)
    more = runs(make_record, (0.5, 0.52, 0.51, 0.49, 0.48), wall_s=2.0)
    further = [replace(record, seed=record.seed + 5) for record in more]
    found = renewal(former, [*former, *further])
    assert (
        found.finding(CASE, "clean_accuracy")
        == decide("the baseline", "the candidate", before=former, after=further).findings[-1]
    )
    assert found.worse[0].seeds == (5, 5)
    assert len(found.fresh[CASE]) == 10


def test_new_and_removed_cases_are_told_apart(make_record: MakeRecord) -> None:
    former, fresh = (runs(make_record, BEFORE, case=case) for case in ("a", "b"))
    found = renewal(former, fresh)
    assert (found.new, found.removed, found.changed) == (["b"], ["a"], [])
    assert found.cases == ["a", "b"]


def test_other_data_cannot_be_compared(make_record: MakeRecord) -> None:
    other = {"data_digest": "sha256:9"}
    fresh = runs(make_record, BEFORE, wall_s=2.0, environment=other)
    missing = renewal(runs(make_record, BEFORE), fresh).answer.missing
    assert "2 different values of data" in missing[0]


def test_a_baseline_may_be_older_than_the_table_of_metrics(make_record: MakeRecord) -> None:
    former = [
        replace(record, metrics={**record.metrics, "a_metric_of_former_times": 1.0})
        for record in runs(make_record, BEFORE)
    ]
    assert renewal(former, runs(make_record, BEFORE, wall_s=2.0)).changed == []
