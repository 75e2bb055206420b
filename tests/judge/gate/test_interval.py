from __future__ import annotations

import pytest

from suite.judge.gate.finding import NO_WORSE, UNDECIDED, WORSE, Finding
from suite.judge.gate.interval import (
    Surprise,
    admitted,
    best,
    claim_of,
    judge_claim,
    own_level,
    reach,
)
from suite.judge.gate.paired import Pairs
from suite.judge.gate.sequential import Plan, p_value

PLAN = Plan()
ZIGZAG, STEPS = (-1, 1, -1, 1, -1, 1, -1, 1, -1, 1), (1, 1, -1, -1, 1, 1, -1, -1, 1, -1)


def sides(shift: float, *, spread: float = 0.05, metric: str = "information_gain") -> Pairs:
    """Give ten seeds a side that do not go together, `shift` apart on average."""
    before = {seed: 2.0 + spread * sign for seed, sign in enumerate(ZIGZAG)}
    after = {seed: 2.0 + shift + spread * sign for seed, sign in enumerate(STEPS)}
    return Pairs("net", metric, before, after)


def judged(pairs: Pairs, *, family: int = 1, margin: float = 0.1, plan: Plan = PLAN) -> Finding:
    claim = claim_of(pairs, margin=margin, primary=True, plan=plan)
    return judge_claim(claim, Surprise(min(1.0, family * claim.p), family), plan)


def test_the_difference_decides() -> None:
    found = [judged(sides(shift)) for shift in (0.08, 0.0, -0.08, -0.3)]
    assert [finding.decision for finding in found] == [NO_WORSE, NO_WORSE, UNDECIDED, WORSE]


def test_what_rises_by_more_than_margin_and_chance_is_as_suspect() -> None:
    finding = judged(sides(0.3))
    assert (finding.decision, finding.primary) == (UNDECIDED, True)
    assert "better than chance allows" in finding.words
    assert finding.further is None  # no seed decides it


def test_more_seeds_are_asked_for_the_nearer_the_difference_is_to_the_margin() -> None:
    endless = Plan(looks=(5, 10, *range(11, 400)))
    found = [judged(sides(shift), plan=endless).further for shift in (-0.05, -0.06, -0.07, -0.08)]
    assert None not in found
    assert found == sorted(found)
    assert len(set(found)) == len(found)


def test_the_seeds_that_are_asked_for_would_decide() -> None:
    """So many more seeds of the same numbers decide, and 20 less would not."""
    plan = Plan(looks=(5, 10, 20, 30, 40, 50, 60, 70, 80))
    more = judged(sides(-0.07), plan=plan).further or 0

    def repeated(times: int) -> str:
        own = sides(-0.07)
        grown = [
            {seed + 10 * turn: value for turn in range(times) for seed, value in side.items()}
            for side in (own.before, own.after)
        ]
        return judged(own._replace(before=grown[0], after=grown[1]), plan=plan).decision

    assert more % 10 == 0
    assert repeated(1 + more // 10) == NO_WORSE
    assert repeated(more // 10 - 1) == UNDECIDED


def test_what_no_number_of_seeds_decides_asks_for_none() -> None:
    assert judged(sides(-0.1)).further is None


def test_a_fall_that_chance_gives_among_many_is_not_worse() -> None:
    assert judged(sides(-0.15, spread=0.06), family=1).decision == WORSE
    assert judged(sides(-0.15, spread=0.06), family=500).decision == UNDECIDED


def test_a_metric_that_is_worse_the_larger_it_is_is_turned_round() -> None:
    slower = judged(sides(0.3, metric="plain_step_s"))
    assert slower.decision == WORSE
    assert slower.estimate == pytest.approx(0.3, abs=0.05)
    assert (slower.low or 0) < (slower.estimate or 0) < (slower.high or 0)
    assert judged(sides(-0.08, metric="plain_step_s")).decision == NO_WORSE


def test_numbers_that_are_the_same_on_both_sides_are_no_worse() -> None:
    same = {seed: 2.0 + 0.1 * seed for seed in range(5)}
    finding = judged(Pairs("net", "information_gain", same, same))
    assert (finding.decision, finding.estimate, finding.detectable) == (NO_WORSE, 0.0, 0.0)


def test_a_fall_of_every_seed_by_the_same_amount_is_worse() -> None:
    """Nothing varies: the difference is exact, and beyond the margin."""
    before = {seed: 2.0 + seed / 64 for seed in range(5)}
    after = {seed: value - 0.25 for seed, value in before.items()}
    finding = judged(Pairs("net", "information_gain", before, after))
    assert (finding.decision, finding.p) == (WORSE, 0.0)


def test_the_means_alone_do_not_make_worse_what_has_a_tail() -> None:
    """Eight of twenty seeds end far below, the others as before: the ranks hardly differ."""
    before = {seed: 2.0 + 0.05 * sign for seed, sign in enumerate(ZIGZAG * 2)}
    after = {seed + 20: 2.0 + 0.05 * sign for seed, sign in enumerate(STEPS * 2)}
    after.update({seed: 0.3 + seed / 1000 for seed in range(20, 28)})
    pairs = Pairs("net", "information_gain", before, after)
    claim = claim_of(pairs, margin=0.1, primary=True, plan=PLAN)
    assert claim.found is not None
    assert PLAN.repeated(p_value(*claim.found)) < 0.01
    assert claim.p > 0.05
    finding = judged(pairs)
    assert finding.decision == UNDECIDED
    assert "20 and 20 seeds, with a tail" in finding.words


def test_the_detectable_effect_is_that_of_the_seeds_at_hand() -> None:
    one, many = judged(sides(0.0)), judged(sides(0.0), family=50)
    error = ((one.high or 0) - (one.low or 0)) / 2
    assert error < (one.detectable or 0) < (many.detectable or 0)


def test_admission_asks_for_more_of_fewer_seeds() -> None:
    values = [0.0, 0.05, 0.1]
    assert not admitted(values, margin=0.1, plan=PLAN)
    assert admitted(values * 10, margin=0.1, plan=PLAN)
    assert admitted([1.0] * 5, margin=1e-9, plan=PLAN)


def test_a_case_without_a_certain_gain_is_judged_by_the_one_that_varies_least() -> None:
    claims = [
        claim_of(sides(0.0, spread=spread, metric=metric), margin=0.1, primary=True, plan=PLAN)
        for metric, spread in (("information_gain", 0.068), ("clean_branch_gain", 0.06))
    ]
    assert [own.needed for own in claims] == [False, False]
    chosen = best(claims, PLAN)
    assert chosen is not None
    assert (chosen.name, chosen.needed) == (("net", "clean_branch_gain"), True)
    certain = claim_of(sides(0.0, spread=0.01), margin=0.1, primary=True, plan=PLAN)
    assert best([*claims, certain], PLAN) is None


def test_who_asks_for_a_stricter_margin_is_told_no_less() -> None:
    given = {"margin": 0.01, "primary": True, "plan": PLAN}
    assert not claim_of(sides(0.0, spread=0.03), **given).needed
    assert claim_of(sides(0.0, spread=0.03), **given, usual=0.1).needed
    chosen = best([claim_of(sides(0.0, spread=0.06), **given, usual=0.1)], PLAN)
    assert chosen is not None
    assert chosen.needed


def test_a_gain_that_no_plan_shows_is_needed_by_no_case() -> None:
    hopeless = claim_of(sides(0.0, spread=0.5), margin=0.1, primary=True, plan=PLAN)
    accuracy = sides(0.0, spread=0.001, metric="clean_accuracy")
    other = claim_of(accuracy, margin=0.02, primary=True, plan=PLAN)
    assert best([hopeless, other], PLAN) is None
    assert best([], PLAN) is None


def test_what_is_not_shown_for_certain_can_be_worse_and_is_not_needed() -> None:
    claim = claim_of(sides(0.0, spread=0.055), margin=0.1, primary=True, plan=PLAN)
    assert (claim.primary, claim.certain, claim.needed) == (True, False, False)
    assert judged(sides(-0.3, spread=0.055)).primary
    undecided = judged(sides(-0.08, spread=0.055))
    assert (undecided.decision, undecided.primary) == (UNDECIDED, False)
    assert "a diagnostic: 20 seeds a side may not tell 0.1 nats" in undecided.words


def test_a_family_makes_each_look_stricter() -> None:
    levels = [own_level(PLAN, family) for family in (1, 5, 50)]
    assert levels[0] == pytest.approx(PLAN.nominal)
    assert levels == sorted(levels, reverse=True)
    assert PLAN.repeated(levels[2]) == pytest.approx(PLAN.level / 50, rel=1e-4)
    assert own_level(Plan(looks=(5,)), 10) == pytest.approx(0.005)


def test_reach_adds_the_power_to_the_level() -> None:
    assert reach(0.05, 1e9, PLAN) == pytest.approx(1.95996 + 0.84162, abs=1e-4)
