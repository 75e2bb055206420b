"""Tests of suite.judge.gate.symptom: a fault is known again by its place, and no other is."""

from __future__ import annotations

from typing import Any

from suite.judge.gate.finding import (
    NO_WORSE,
    OUTCOME,
    RANDOM_PARTS,
    STEP_MAP,
    WORSE,
    Answer,
    Finding,
)
from suite.judge.gate.steps import step_findings
from suite.judge.gate.symptom import BAD, GOOD, UNRESOLVED, Symptom, gravest, shown, symptom_of
from tests.judge.gate.conftest import AFTER, MakeSide
from tests.judge.gate.test_steps import KERAS_3, mapped
from tests.judge.parity.conftest import Make, make

__all__ = ["make"]  # a fixture of the tests of parity

GAIN = "information_gain"


def finding(layer: str, metric: str, decision: str = WORSE, *, primary: bool = True) -> Finding:
    """Make a finding."""
    return Finding(layer, "case", metric, decision, "words", primary=primary)


def test_the_cheapest_layer_comes_first_and_time_is_not_searched() -> None:
    found = [
        finding(OUTCOME, GAIN),
        finding("cost", "step_s"),
        finding(RANDOM_PARTS, "weights", NO_WORSE),
        finding(STEP_MAP, "steps"),
        finding(OUTCOME, "diagnostic", primary=False),
    ]
    answer = Answer("a", "b", found)
    assert [each.metric for each in gravest(answer)] == ["steps", GAIN]
    assert [each.metric for each in gravest(answer, metric="diagnostic")] == ["diagnostic"]


def steps(make: Make, **planted: Any) -> tuple[list[Any], list[Any]]:
    """Make a trace of a baseline and of a candidate with a fault from its second state on."""
    before = mapped(make("tf-2.21"), **{"0": {}, "20": {}})
    after = mapped(make("tf-2.15", KERAS_3), **{"0": {}, "20": planted})
    return [before], [after]


def test_a_step_is_bad_where_it_parts_at_the_place_of_the_symptom_alone(make: Make) -> None:
    before, after = steps(make, forward=0.01)
    [found] = step_findings(before, after)
    symptom = symptom_of(found, before, after)
    assert (symptom.quantity, symptom.part) == ("batch mean", "second_bn")
    assert symptom.place.startswith("batch mean of second_bn in ")
    assert shown(symptom, before, after).status == BAD
    assert shown(symptom, *steps(make)).status == GOOD
    other = shown(symptom, *steps(make, rate=1.05))
    assert other.status == GOOD
    assert "another difference shows" in other.words


def test_steps_without_a_place_are_told_by_what_they_look_like(make: Make) -> None:
    before, after = steps(make, rate=1.05)
    [found] = step_findings(before, after)
    symptom = symptom_of(found, before, after)
    assert (symptom.quantity, symptom.part) == ("", "")
    assert symptom.place.startswith("Optimizer: SGD at 1.05 of the learning rate")
    assert shown(symptom, before, after).status == BAD
    assert shown(symptom, *steps(make, rate=1.1)).status == BAD
    assert shown(symptom, *steps(make, epsilon=0.011)).status == GOOD


def test_a_quantity_can_be_named(make: Make) -> None:
    before, after = steps(make, forward=0.01)
    [found] = step_findings(before, after)
    assert symptom_of(found, before, after, quantity="change").quantity == "change"
    assert symptom_of(found, before, after, quantity="schedule").quantity == "batch mean"


def test_a_metric_is_bad_good_or_needs_more_seeds(make_side: MakeSide) -> None:
    symptom = Symptom(OUTCOME, "net-intended-none", GAIN)
    before = make_side(seeds=5)
    lower = make_side(AFTER, seeds=5, draw=1, information_gain=-1.0)
    assert shown(symptom, before, lower).status == BAD
    assert shown(symptom, before, make_side(AFTER, seeds=5, draw=1)).status == GOOD
    open_ = shown(symptom, before, make_side(AFTER, seeds=5, draw=1, information_gain=-0.1))
    assert (open_.status, open_.further) == (UNRESOLVED, True)
    wide = {"fraction": 9.0, "nats": 9.0}
    assert shown(symptom, before, lower, margins=wide).status == GOOD


def test_what_was_not_judged_is_unresolved() -> None:
    assert shown(Symptom(OUTCOME, "net", GAIN), [], []).status == UNRESOLVED
