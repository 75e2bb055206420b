"""Tests of suite.report.answer: which finding comes first, and what is counted."""

from __future__ import annotations

import math

from suite.judge.gate.finding import COST, NO_WORSE, OUTCOME, UNDECIDED, WORSE, Answer, Finding
from suite.report.answer import grouped, headline, missed, ranked

GAIN = "adversarial_branch_gain"


def finding(
    case: str, estimate: float | None = -0.1, decision: str = WORSE, layer: str = OUTCOME
) -> Finding:
    return Finding(layer, case, GAIN, decision, case, estimate, margin=0.1, unit="nats")


def answer(*findings: Finding, missing: tuple[str, ...] = ()) -> Answer:
    return Answer("tf-2.15", "tf-2.21", findings, missing)


def test_the_gravest_come_first_what_a_user_sees_before_what_it_costs() -> None:
    given = answer(
        finding("cost", -9.0, layer=COST),
        finding("a little", -0.2),
        finding("without end", math.inf),
        finding("much", 0.5),
        finding("unknown", None),
    )
    names = [one.case for one in ranked(given, WORSE)]
    assert names == ["without end", "much", "a little", "unknown", "cost"]
    assert headline(given).endswith(" No: without end: without end; 4 more are worse.")


def test_undecided_names_the_gravest_and_counts_no_diagnostic() -> None:
    found = [finding("a", -0.05, UNDECIDED), finding("b", -0.09, UNDECIDED), finding("c")]
    given = answer(*found[:2], found[2]._replace(primary=False))
    assert "2 of 2 findings are not decided, such as adversarial_branch_gain of b" in headline(
        given
    )


def test_places_are_counted_where_something_is_missing_and_not_the_reasons() -> None:
    missing = ("a: no record", "a: no lock", "b: no record")
    assert "in 2 places, such as a: no record" in headline(answer(missing=missing))


def test_what_could_have_been_missed_is_that_of_half_and_of_the_least_sure() -> None:
    found = [
        finding(f"case{n}", decision=NO_WORSE)._replace(detectable=value)
        for n, value in enumerate((0.3, 0.1, 0.2, 0.4))
    ]
    aside = found[0]._replace(metric="classes_predicted", detectable=9.0, primary=False)
    assert missed([*found, aside, aside._replace(metric=GAIN, detectable=0.5)]) == (
        "0.3 nats in half of 5 findings, 0.5 in the least sure (case0)"
    )


def test_as_many_names_as_a_line_takes_are_all_told() -> None:
    texts = [f"case{n}: no record" for n in range(3)]
    assert grouped(texts, named=3) == ["case0, case1, case2: no record"]
    assert grouped(texts, named=2) == ["case0, case1 and 1 more: no record"]
