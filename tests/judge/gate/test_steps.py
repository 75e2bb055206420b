"""Tests of suite.judge.gate.steps: where the steps part is named, with its cause."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from suite.judge.gate.finding import NO_WORSE, UNDECIDED, WORSE, Finding
from suite.judge.gate.steps import step_findings
from suite.records import Record
from tests.judge.parity.conftest import GRAPH, KERAS_2, Make, make, paper_trace

__all__ = ["make"]  # a fixture of the tests of parity


def mapped(record: Record, **traces: dict[str, Any]) -> Record:
    """Give a record a trace for each state, of a training on paper."""

    def entries() -> Iterator[dict[str, Any]]:
        for state, planted in traces.items():
            yield from ({"state": state, **entry} for entry in paper_trace(**planted))

    return replace(record, statistics=list(entries()))


def judged(make: Make, *, versions: dict[str, str] = KERAS_2, **planted: Any) -> Finding:
    """Judge a candidate whose steps from the second state have a fault."""
    honest = {"correction": int(versions is not KERAS_3)}
    before = mapped(make("tf-2.21"), **{"0": {}, "20": {}})
    after = mapped(make("tf-2.15", versions), **{"0": honest, "20": {**honest, **planted}})
    [found] = step_findings([before], [after])
    return found


FOUR = ("0", "20", "100", "200")
KERAS_3 = {"keras": "3.15.1", "tensorflow": "2.21.0"}


def test_steps_that_agree_are_no_worse_and_their_known_differences_named(make: Make) -> None:
    found = judged(make)
    assert found.decision == NO_WORSE
    assert found.words.startswith("Steps from 2 states agree but for known differences (BatchNorm")
    assert "nearest to its tolerance: " in found.words


@pytest.mark.parametrize(
    ("planted", "told"),
    [
        ({"sgd": 0.89}, "Nesterov's momentum 0.89 here"),
        ({"nesterov": False}, "momentum 0.9 here"),
        ({"rate": 1.01}, "SGD at 1.01 of the learning rate"),
        ({"decay": 1e-3}, "weights shrinking by"),
        ({"momentum": 0.985}, "BatchNorm momentum, as observed: 0.985 here"),
        ({"bn_epsilon": 1.1e-3}, "BatchNorm epsilon"),
        ({"epsilon": 0.011}, "FGSM epsilon"),
        ({"clean_share": 0.6}, "Loss: 0.6 CE(clean)"),
    ],
    ids=str,
)
def test_a_fault_from_one_state_alone_is_found_and_named(
    make: Make, planted: dict[str, Any], told: str
) -> None:
    found = judged(make, versions=KERAS_3, **planted)
    assert found.decision == WORSE
    assert found.words.startswith("Steps from 1 of 2 states differ")
    assert told in found.words


def test_a_cause_that_several_states_show_in_other_numbers_is_told_once(make: Make) -> None:
    before = mapped(make("tf-2.21"), **{"0": {}, "20": {}})
    honest = {"correction": 0}
    after = {"0": {**honest, "epsilon": 0.011}, "20": {**honest, "epsilon": 0.012}}
    [found] = step_findings([before], [mapped(make("tf-2.15", KERAS_3), **after)])
    assert found.words.count("FGSM epsilon, the largest change of a pixel: 0.011 here") == 1
    assert "0.012 here" not in found.words
    after = {"0": {**honest, "steeper": 1.2}, "20": {**honest, "steeper": 1.3}}
    [found] = step_findings([before], [mapped(make("tf-2.15", KERAS_3), **after)])
    assert found.words.count("The gradient of conv/kernel is 1.") == 1


def test_the_state_is_named_where_the_steps_part(make: Make) -> None:
    found = judged(make, versions=KERAS_3, forward=0.01)
    assert "first at the state after 20, step 0, batch mean of second_bn" in found.words


def test_a_graph_is_known_to_update_twice_from_every_state(make: Make) -> None:
    graph = {"correction": 1, "updates": 2}
    before = mapped(make("tf-2.21"), **{"0": {}, "20": {}})
    after = mapped(make("tf-1.14", GRAPH), **{"0": graph, "20": graph})
    [found] = step_findings([before], [after])
    assert found.decision == NO_WORSE
    assert "BatchNorm's updates" in found.words


@pytest.mark.parametrize(
    ("states", "versions", "decision"),
    [
        (["20"], GRAPH, NO_WORSE),
        (["0", "20"], GRAPH, NO_WORSE),
        (["0", "20", "100"], GRAPH, WORSE),
        (["20"], KERAS_2, WORSE),
    ],
    ids=str,
)
def test_an_optimizer_that_a_graph_seems_to_change_is_known_from_few_states(
    make: Make, states: list[str], versions: dict[str, str], decision: str
) -> None:
    honest = {"correction": 1, "updates": 2 if versions is GRAPH else 1}
    before = mapped(make("tf-2.21"), **{key: {} for key in FOUR})
    planted = {key: {**honest, "unordered": 0.2} if key in states else honest for key in FOUR}
    [found] = step_findings([before], [mapped(make("tf-1.14", versions), **planted)])
    assert found.decision == decision
    assert ("Gradients of a graph" in found.words) == (decision == NO_WORSE)


def test_a_graph_excuses_no_other_cause(make: Make) -> None:
    graph = {"correction": 1, "updates": 2}
    before = mapped(make("tf-2.21"), **{key: {} for key in FOUR})
    planted = {**dict.fromkeys(FOUR, graph), "20": {**graph, "unordered": 0.2, "epsilon": 0.011}}
    [found] = step_findings([before], [mapped(make("tf-1.14", GRAPH), **planted)])
    assert found.decision == WORSE
    assert "FGSM epsilon" in found.words


def test_what_has_no_partner_is_undecided(make: Make) -> None:
    record = make("tf-2.21")
    [lost] = step_findings([record], [])
    [new] = step_findings([], [record])
    assert (lost.decision, new.decision) == (UNDECIDED, UNDECIDED)
    assert "candidate has no trace" in lost.words
    assert "baseline has no trace" in new.words


def test_traces_from_other_states_are_undecided(make: Make) -> None:
    before = mapped(make("tf-2.21"), **{"0": {}, "20": {}})
    after = mapped(make("tf-2.15"), **{"0": {}, "100": {}})
    [found] = step_findings([before], [after])
    assert found.decision == UNDECIDED
    assert "steps from 0, 100, that of tf-2.21 from 0, 20" in found.words


def test_records_of_other_questions_are_passed_over(make: Make) -> None:
    assert step_findings([], [replace(make(), question="training", case="lenet5-plain")]) == []


# One state alone

TURNED = {"turned": 0.15}


def among_four(make: Make, planted: dict[str, dict[str, Any]], *, attacked: bool = True) -> Finding:
    """Judge a candidate whose steps from some of four states have faults."""
    states = (*FOUR, "200, Adam")
    before = mapped(make("tf-2.21"), **{key: {} for key in states})
    after = mapped(make("tf-2.21"), **{state: planted.get(state, {}) for state in states})
    if not attacked:
        before, after = without_attack(before), without_attack(after)
    [found] = step_findings([before], [after])
    return found


def without_attack(record: Record) -> Record:
    """Take the attack out of a trace, as under the plain loss."""
    left = [entry for entry in record.statistics if entry["quantity"] != "perturbation"]
    return replace(record, statistics=left)


@pytest.mark.parametrize("states", [["20"], ["200", "200, Adam"]], ids=str)
def test_a_slope_that_parts_from_one_state_alone_is_rounding_and_told(
    make: Make, states: list[str]
) -> None:
    found = among_four(make, dict.fromkeys(states, TURNED))
    assert found.decision == NO_WORSE
    assert "but for known differences (Units turned round by rounding)" in found.words


@pytest.mark.parametrize(
    "planted",
    [
        {"20": {"turned": 0.3}},
        {"20": TURNED, "100": TURNED},
        {"20": {**TURNED, "forward": 1e-4}},
        {"20": {**TURNED, "rate": 1.01}},
        {"20": TURNED, "100": {"rate": 1.01}},
    ],
    ids=str,
)
def test_more_than_one_slope_from_one_state_is_a_fault(
    make: Make, planted: dict[str, dict[str, Any]]
) -> None:
    assert among_four(make, planted).decision == WORSE


SLIGHTLY = {"turned": 0.02}


@pytest.mark.parametrize("states", [["20"], ["0", "100"]], ids=str)
def test_two_states_may_part_slightly_without_an_attack_where_the_others_agree_closely(
    make: Make, states: list[str]
) -> None:
    found = among_four(make, dict.fromkeys(states, SLIGHTLY), attacked=False)
    assert found.decision == NO_WORSE
    assert "Units turned round by rounding" in found.words


@pytest.mark.parametrize(
    "planted",
    [
        {"0": SLIGHTLY, "20": SLIGHTLY, "100": SLIGHTLY},
        {"0": SLIGHTLY, "100": {"turned": 0.14}},
        {"0": SLIGHTLY, "100": SLIGHTLY, "20": {"turned": 3e-4}},
        {"0": SLIGHTLY, "100": {**SLIGHTLY, "rate": 1.01}},
    ],
    ids=["three states", "further", "coarse kernels", "another rate"],
)
def test_more_than_that_is_a_fault_without_an_attack(
    make: Make, planted: dict[str, dict[str, Any]]
) -> None:
    assert among_four(make, planted, attacked=False).decision == WORSE


@pytest.mark.parametrize("attacked", [False, True])
@pytest.mark.parametrize(
    ("states", "decision"), [(FOUR, WORSE), (FOUR[1:], NO_WORSE), (FOUR[:3], NO_WORSE)], ids=str
)
def test_gradients_that_part_from_every_state_are_no_rounding(
    make: Make, states: list[str], decision: str, attacked: bool
) -> None:
    coarse = {"turned": 5e-3 if attacked else 2.5e-4}
    planted = dict.fromkeys([*states, "200, Adam"] if "200" in states else states, coarse)
    found = among_four(make, planted, attacked=attacked)
    assert found.decision == decision
    told = "Gradients part from every state, in conv: that of conv/kernel by 0.00"
    assert (told in found.words) == (decision == WORSE), found.words


@pytest.mark.parametrize(("size", "words"), [(0.02, "Coarser"), (0.5, "Another backward pass")])
def test_gradients_that_part_by_much_are_no_coarser_arithmetic(
    make: Make, size: float, words: str
) -> None:
    planted = {state: {"turned": size} for state in (*FOUR, "200, Adam")}
    assert f"one of them. {words}" in among_four(make, planted).words


@pytest.mark.parametrize(("size", "attacked"), [(1e-3, True), (3e-5, False)])
def test_gradients_that_rounding_moves_from_every_state_are_no_fault(
    make: Make, size: float, attacked: bool
) -> None:
    planted = {state: {"turned": size} for state in (*FOUR, "200, Adam")}
    assert among_four(make, planted, attacked=attacked).decision == NO_WORSE


def test_gradients_of_a_tensor_cores_precision_are_found(make: Make) -> None:
    planted = {state: {"turned": 6e-5} for state in (*FOUR, "200, Adam")}
    found = among_four(make, planted, attacked=False)
    assert "Gradients part from every state" in found.words


def test_the_earliest_step_that_parts_is_named_whatever_its_state(make: Make) -> None:
    planted = {"0": {"wrong_pass": 0.05, "wrong_from": 1}, "20": {"steeper": 1.2}}
    words = among_four(make, planted).words
    assert "first at the state after 20, step 0, gradient of conv/kernel" in words
    assert words.index("The gradient of conv") < words.index("The step's adversarial pass")


def test_gradients_that_a_cause_explains_are_not_called_coarse(make: Make) -> None:
    planted = {state: {"turned": 5e-3, "rate": 1.01} for state in (*FOUR, "200, Adam")}
    found = among_four(make, planted)
    assert found.decision == WORSE
    assert "Gradients part from every state" not in found.words


def test_attacks_that_follow_the_gradients_do_not_hide_where_these_part(make: Make) -> None:
    other = {"turned": 0.5, "reach": 3.5, "evaluated": {"adversarial_information_gain": 1.1}}
    planted = dict.fromkeys((*FOUR, "200, Adam"), other)
    words = among_four(make, planted, attacked=False).words
    assert "It looks like: Gradients part from every state, in conv" in words
    assert "Another backward pass" in words


def test_two_states_are_too_few_to_take_one_for_rounding(make: Make) -> None:
    assert judged(make, versions=KERAS_3, **TURNED).decision == WORSE


def test_the_place_where_a_cause_shows_stays_named(make: Make) -> None:
    found = among_four(make, {"20": {**TURNED, "rate": 1.01}})
    assert "first at the state after 20, step 0, gradient of conv/kernel" in found.words
    assert "SGD at 1.01 of the learning rate" in found.words
