from __future__ import annotations

import math
from dataclasses import replace

import pytest

from suite.judge.gate.finding import NO_WORSE, OUTCOME, UNDECIDED, WORSE
from suite.judge.gate.interval import own_level, reach
from suite.judge.gate.outcome import outcome_findings
from suite.judge.gate.sequential import Plan, quantile
from suite.records import Record
from tests.judge.gate.conftest import AFTER, BEFORE, STALLED, MakeSide, changed, only

PLAN = Plan()
GAIN = "adversarial_branch_gain"


def test_what_does_not_differ_is_no_worse(make_side: MakeSide) -> None:
    findings, missing = outcome_findings(make_side(), make_side(AFTER), plan=PLAN)
    assert missing == []
    assert {finding.decision for finding in findings if finding.primary} == {NO_WORSE}
    gain = only(findings, GAIN)
    assert (gain.layer, gain.case, gain.unit) == (OUTCOME, "net-intended-none", "nats")
    assert gain.margin == 0.1
    assert gain.low is not None
    assert gain.high is not None
    assert -0.1 < gain.low < (gain.estimate or 0) < gain.high < 0.1
    assert gain.seeds == (10, 10)


def test_a_gain_that_falls_beyond_the_margin_is_worse(make_side: MakeSide) -> None:
    after = make_side(AFTER, adversarial_branch_gain=-0.3)
    gain = only(outcome_findings(make_side(), after, plan=PLAN)[0], GAIN)
    assert (gain.decision, gain.primary, gain.further) == (WORSE, True, None)
    assert gain.estimate == pytest.approx(-0.3, abs=0.05)
    assert f"{GAIN} is {-(gain.estimate or 0):.3g} nats lower" in gain.words
    assert "over all looks and metrics" in gain.words


def test_a_fall_within_the_margin_is_no_worse_however_sure(make_side: MakeSide) -> None:
    after = make_side(AFTER, adversarial_branch_gain=-0.065)
    gain = only(outcome_findings(make_side(), after, plan=PLAN)[0], GAIN)
    assert gain.p is not None
    assert (gain.decision, gain.p < 0.05) == (NO_WORSE, True)


def test_the_margin_can_be_chosen_by_unit_and_by_metric(make_side: MakeSide) -> None:
    sides = make_side(), make_side(AFTER, adversarial_branch_gain=-0.3)
    wide, _ = outcome_findings(*sides, plan=PLAN, margins={"nats": 0.5})
    assert only(wide, GAIN).decision == NO_WORSE
    own, _ = outcome_findings(*sides, plan=PLAN, margins={"nats": 0.5, GAIN: 0.15})
    assert (only(own, GAIN).decision, only(own, GAIN).margin) == (WORSE, 0.15)
    assert only(own, "information_gain").margin == 0.5


def test_accuracies_are_stated_in_points_and_can_be_worse(make_side: MakeSide) -> None:
    after = make_side(AFTER, clean_accuracy=-0.06)
    findings, _ = outcome_findings(make_side(), after, plan=PLAN)
    accuracy = only(findings, "clean_accuracy")
    assert (accuracy.decision, accuracy.primary, accuracy.unit) == (WORSE, True, "points")
    assert accuracy.estimate == pytest.approx(-6, abs=0.5)
    assert accuracy.margin == 2


def test_an_accuracy_need_not_be_shown_to_be_no_worse(make_side: MakeSide) -> None:
    after = make_side(AFTER, clean_accuracy=-0.016)
    findings, _ = outcome_findings(make_side(seeds=5), after[:5], plan=PLAN)
    accuracy = only(findings, "clean_accuracy")
    assert (accuracy.decision, accuracy.primary) == (UNDECIDED, False)


def test_what_is_undecided_says_how_many_seeds_would_decide(make_side: MakeSide) -> None:
    law = {GAIN: (1.5, 0.03)}
    after = make_side(AFTER, seeds=5, law={GAIN: (1.45, 0.08)})
    gain = only(outcome_findings(make_side(seeds=5, law=law), after, plan=PLAN)[0], GAIN)
    assert (gain.decision, gain.primary) == (UNDECIDED, True)
    assert gain.further in (5, 15)


def test_too_few_seeds_decide_nothing(make_side: MakeSide) -> None:
    after = make_side(AFTER, adversarial_branch_gain=-3.0)
    findings, _ = outcome_findings(make_side(seeds=3), after, plan=PLAN)
    gain = only(findings, GAIN)
    assert (gain.decision, gain.primary, gain.further) == (UNDECIDED, True, 2)
    assert gain.words == f"{GAIN}: 3 and 10 seeds, expected at least 5 a side"
    assert only(findings, "stalled seeds").decision == UNDECIDED


def test_a_lost_number_is_worse_if_the_baseline_has_none(make_side: MakeSide) -> None:
    after = changed(make_side(AFTER), 1, **{GAIN: math.nan})
    gain = only(outcome_findings(make_side(), after, plan=PLAN)[0], GAIN)
    assert (gain.decision, gain.primary) == (WORSE, True)
    assert "1 of the candidate's are NaN or infinite" in gain.words
    before = changed(make_side(), 1, **{GAIN: math.inf})
    assert only(outcome_findings(before, after, plan=PLAN)[0], GAIN).decision == NO_WORSE


def test_too_good_is_said(make_side: MakeSide) -> None:
    after = make_side(AFTER, adversarial_branch_gain=0.4)
    gain = only(outcome_findings(make_side(), after, plan=PLAN)[0], GAIN)
    assert (gain.decision, gain.primary) == (UNDECIDED, True)
    assert "better than chance allows" in gain.words


def test_other_metrics_are_diagnostics_whatever_they_do(make_side: MakeSide) -> None:
    after = make_side(AFTER, classes_predicted=-30.0)
    classes = only(outcome_findings(make_side(), after, plan=PLAN)[0], "classes_predicted")
    assert (classes.primary, classes.margin, classes.decision) == (False, None, UNDECIDED)
    assert classes.estimate == pytest.approx(-30, abs=2)


def test_the_clean_branch_is_primary_only_where_it_is_alone(make_side: MakeSide) -> None:
    both = {GAIN: (1.5, 0.03), "clean_branch_gain": (1.9, 0.03)}
    alone = {"clean_branch_gain": (1.9, 0.03)}
    for law, primary in ((both, False), (alone, True)):
        findings, _ = outcome_findings(make_side(law=law), make_side(AFTER, law=law), plan=PLAN)
        assert only(findings, "clean_branch_gain").primary is primary


def test_a_control_is_not_judged_by_what_it_guesses(make_side: MakeSide) -> None:
    sides = make_side(law=STALLED), make_side(AFTER, law=STALLED, information_gain=-5.0)
    findings, _ = outcome_findings(*sides, plan=PLAN)
    assert not only(findings, "information_gain").primary
    assert not only(findings, "clean_accuracy").primary
    assert only(findings, GAIN).primary


def test_only_trained_networks_are_judged_by_their_seeds(make_side: MakeSide) -> None:
    sides = [
        [replace(record, question="attack") for record in side]
        for side in (make_side(), make_side(AFTER, adversarial_branch_gain=-1.0))
    ]
    findings, _ = outcome_findings(*sides, plan=PLAN)
    assert not only(findings, GAIN).primary


def test_what_the_plan_cannot_decide_is_a_diagnostic(make_side: MakeSide) -> None:
    wide = {GAIN: (1.5, 0.4)}
    findings, _ = outcome_findings(make_side(law=wide), make_side(AFTER, law=wide), plan=PLAN)
    gain = only(findings, GAIN)
    assert not gain.primary
    assert "a diagnostic: 20 seeds a side may not tell 0.1 nats" in gain.words


def test_a_candidate_that_varies_more_does_not_get_out_of_the_answer(make_side: MakeSide) -> None:
    after = make_side(AFTER, law={GAIN: (1.5, 0.8)})
    gain = only(outcome_findings(make_side(law={GAIN: (1.5, 0.03)}), after, plan=PLAN)[0], GAIN)
    assert (gain.primary, gain.decision) == (True, UNDECIDED)


def test_many_metrics_are_corrected_for(make_side: MakeSide) -> None:
    """A fall that is worse alone is not among two hundred others that show nothing."""
    before, after = [], []
    for index in range(100):
        case = f"net{index}-plain"
        before += make_side(case=case, seeds=5)
        after += make_side(AFTER, case=case, seeds=5)
    own = [make_side(seeds=5, law={GAIN: (1.5, 0.04)})]
    own += [make_side(AFTER, seeds=5, law={GAIN: (1.5, 0.04)}, adversarial_branch_gain=-0.16)]
    alone = only(outcome_findings(*own, plan=PLAN)[0], GAIN)
    among = next(
        finding
        for finding in outcome_findings(before + own[0], after + own[1], plan=PLAN)[0]
        if (finding.case, finding.metric) == ("net-intended-none", GAIN)
    )
    assert (alone.decision, among.decision) == (WORSE, UNDECIDED)
    assert alone.p == among.p
    assert (among.detectable or 0) > 1.5 * (alone.detectable or 0)


@pytest.mark.parametrize(("seeds", "family"), [(5, 8), (10, 10)])
def test_stalls_are_corrected_for_only_where_they_can_be_surprising(
    make_side: MakeSide, seeds: int, family: int
) -> None:
    """Of two cases eight metrics are primary; that all of five seeds stall is no surprise then."""
    sides: list[list[Record]] = []
    for name in (BEFORE, AFTER):
        other = make_side(name, case="other-plain", seeds=seeds)
        sides.append(make_side(name, seeds=seeds) + other)
    findings, _ = outcome_findings(sides[0], sides[1], plan=PLAN)
    gain = next(finding for finding in findings if finding.metric == GAIN)
    half = ((gain.high or 0) - (gain.low or 0)) / 2
    errors = [
        reach(own_level(PLAN, count), seeds - 1, PLAN) / quantile(PLAN.nominal, seeds - 1)
        for count in (family, family + 1)
    ]
    assert (gain.detectable or 0) / half == pytest.approx(errors[0], rel=1e-6)
    assert errors[1] > 1.01 * errors[0]


def test_a_tail_must_be_seen_by_the_ranks_too(make_side: MakeSide) -> None:
    after = changed(make_side(AFTER), 2, information_gain=0.3)
    gain = only(outcome_findings(make_side(), after, plan=PLAN)[0], "information_gain")
    assert "with a tail" in gain.words
    assert (gain.decision, gain.primary) == (UNDECIDED, True)
