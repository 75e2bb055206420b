"""Tests of suite.judge.lineage: where records come from, and in what they differ."""

from __future__ import annotations

from suite.judge.lineage import Lineage, lineage_notes
from suite.records import Record
from tests.judge.conftest import VALUES, MakeRuns

NOW = "sha256:3"  # the code of the records, as tests make them


def lineage(records: list[Record]) -> Lineage:
    found = Lineage()
    found.add(records)
    return found


def noted(
    then: list[Record], now: list[Record], *, alike: bool = True, code: str = NOW
) -> list[str]:
    return list(lineage_notes(lineage(then), lineage(now), code=code, alike=alike))


def test_versions_that_differ_are_noted_within_one_release(seeds: MakeRuns) -> None:
    then = seeds("last_loss", VALUES)
    now = seeds("last_loss", [0.8], environment={"versions": {"numpy": "2.1.0", "keras": "3"}})
    assert noted(then, then) == []
    assert noted(then, now) == [
        "keras is 3, the baseline has absent",
        "numpy is 2.1.0, the baseline has 2.0.0",
    ]
    assert noted(then, now, alike=False) == []
    assert noted([], now) == []


def test_what_else_an_environment_states_is_noted_where_both_state_it(seeds: MakeRuns) -> None:
    one, two = (
        seeds("last_loss", VALUES, environment={"variables": {"OMP_NUM_THREADS": n}})
        for n in ("1", "2")
    )
    plain = seeds("last_loss", VALUES)
    for run in plain:
        del run.environment["variables"]
    assert noted(plain, one) == []
    [note] = noted(one, two)
    assert note.startswith("environment.variables is {'OMP_NUM_THREADS': '2'}, the baseline has")


def test_records_that_were_not_made_alike_are_noted(seeds: MakeRuns) -> None:
    one, two = (
        seeds("last_loss", VALUES, environment={"keras": {"floatx": kind}, "stack": "eager"})
        for kind in ("float32", "float64")
    )
    assert noted(one, [*one, *two], alike=False) == [
        "the records differ in environment.keras: {'floatx': 'float32'}, {'floatx': 'float64'}"
    ]


def test_a_baseline_of_older_code_is_told_with_its_digests_and_days(seeds: MakeRuns) -> None:
    older = [
        *seeds("last_loss", [1.0], started_at="2024-05-01T12:00:00+00:00"),
        *seeds("last_loss", [1.0], started_at="2024-05-03T12:00:00+00:00"),
    ]
    assert noted(older, older, code="sha256:new") == [
        "baseline of an older state of the suite (code sha256:3; 2024-05-01 to 2024-05-03)"
    ]
