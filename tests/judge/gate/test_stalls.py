from __future__ import annotations

import math

import pytest
from scipy.stats import boschloo_exact

from suite.judge.gate.finding import NO_WORSE, UNDECIDED, WORSE
from suite.judge.gate.paired import Pairs
from suite.judge.gate.sequential import Plan
from suite.judge.gate.stalls import Stalls, judge_stalls, stalls

PLAN = Plan()


def test_stalled_seeds_are_counted_with_those_that_are_lost() -> None:
    gains = Pairs("net", "information_gain", {0: 0.05, 1: 0.2}, {0: -1.0, 1: 0.1, 2: 3.0}, (0, 2))
    other = Pairs("net", "clean_branch_gain", {0: 0.0}, {0: 0.0})
    assert stalls([gains, other]) == [Stalls("net", 1, 3, (2, 5))]


def test_more_stalls_than_chance_allows_are_worse() -> None:
    counted = Stalls("net", 0, 8, (10, 10))
    finding = judge_stalls(counted, counted.chance(PLAN), PLAN)
    assert finding.decision == WORSE
    assert finding.words == "8 of 10 seeds stall, 0 of 10 before"
    assert finding.estimate == pytest.approx(80)
    assert finding.unit == "points"


def test_a_few_more_stalls_are_undecided_until_the_next_look() -> None:
    finding = judge_stalls(Stalls("net", 0, 1, (5, 5)), 1.0, PLAN)
    assert (finding.decision, finding.further) == (UNDECIDED, 5)
    last = judge_stalls(Stalls("net", 0, 1, (20, 20)), 1.0, PLAN)
    assert last.decision == UNDECIDED


def test_no_more_stalls_are_no_worse_and_say_what_could_have_been_missed() -> None:
    finding = judge_stalls(Stalls("net", 0, 0, (10, 10)), 1.0, PLAN)
    assert finding.decision == NO_WORSE
    assert finding.detectable is not None
    missed = (1 - finding.detectable / 100) ** 10  # no seed of ten stalls
    assert missed == pytest.approx(0.2)
    assert judge_stalls(Stalls("net", 1, 1, (10, 10)), 1.0, PLAN).detectable is None


def test_a_control_cannot_become_worse_but_too_good_which_is_no_pass() -> None:
    control = Stalls("net", 4, 5, (5, 5))
    assert control.control
    assert judge_stalls(control, 1.0, PLAN).decision == NO_WORSE
    cured = judge_stalls(Stalls("net", 10, 0, (10, 10)), 1.0, PLAN)
    assert cured.decision == UNDECIDED
    assert "fewer than chance allows" in cured.words


def test_too_few_seeds_decide_nothing() -> None:
    finding = judge_stalls(Stalls("net", 0, 4, (5, 4)), 1.0, PLAN)
    assert (finding.decision, finding.further) == (UNDECIDED, 1)
    assert Stalls("net", 0, 4, (5, 4)).chance(PLAN) == 1


def test_the_chance_is_boschloo_s_over_all_looks() -> None:
    counted = Stalls("net", 1, 7, (10, 10))
    exact = boschloo_exact([[1, 7], [9, 3]]).pvalue
    assert counted.chance(PLAN) == pytest.approx(PLAN.repeated(exact))
    assert exact < counted.chance(PLAN) < 3 * exact


@pytest.mark.parametrize(
    ("runs", "family", "expected"),
    [((5, 5), 1, True), ((5, 5), 40, False), ((10, 10), 40, True), ((4, 9), 1, False)],
)
def test_rates_that_no_seed_could_make_surprising_are_left_out(
    runs: tuple[int, int], family: int, expected: bool
) -> None:
    assert Stalls("net", 0, 0, runs).can_be_worse(family, PLAN) is expected
    assert not Stalls("net", runs[0], 0, runs).can_be_worse(1, PLAN)


def test_rates_of_nothing_are_zero() -> None:
    assert Stalls("net", 0, 0, (0, 0)).rates == (0.0, 0.0)
    assert not math.isnan(Stalls("net", 0, 0, (0, 0)).chance(PLAN))
