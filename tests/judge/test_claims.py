"""Tests of suite.judge.claims: every verdict follows from the records by its rule."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from scipy.stats import fisher_exact

from suite.judge.claims import (
    CLAIMS,
    FALSE,
    LEAST_RATE,
    PARTLY,
    RULES,
    TRUE,
    UNSURE,
    Claim,
    chance_of,
    judge_claims,
    tally,
)
from suite.judge.study import FEW_SEEDS, NOT_MEASURED
from suite.networks.phases import PHASES
from suite.records import Record
from tests.judge.conftest import ALL, FOUR, LEARNED, NONE, SOME, STALLED, MakeRecord, MakeRuns

MOMENTUM = "BatchNorm momentum 0.5 mends it"
ITERATIONS = "more iterations mend it"
PLAIN_HIDES = "the plain loss hides the same defect"
RATE = "the rate of stalling depends on the learning rate"
BATCH = "the rate of stalling depends on the batch size"
HEAD = "the rate of stalling depends on the head"
SIZE = "the rate of stalling depends on the image size"


def verdict(records: Sequence[Record], text: str, phases: str = "intended") -> str:
    return claim(records, text, phases).verdict


def claim(records: Sequence[Record], text: str, phases: str = "intended") -> Claim:
    (found,) = [c for c in judge_claims(records) if (c.text, c.phases) == (text, phases)]
    return found


@pytest.mark.parametrize(
    ("text", "fix"), [(MOMENTUM, "bn-momentum-0.5"), (ITERATIONS, "more-iterations")]
)
@pytest.mark.parametrize(
    ("control", "treated", "expected"),
    [
        ((ALL, ALL), (NONE, NONE), TRUE),
        ((ALL, NONE), (NONE, NONE), TRUE),  # nothing to mend in the branch
        ((ALL, ALL), (NONE, ALL), PARTLY),  # the inference phase alone
        ((ALL, ALL), (ALL, NONE), PARTLY),  # the branch alone
        ((ALL, ALL), (SOME, SOME), PARTLY),
        ((SOME, SOME), (NONE, NONE), PARTLY),  # the control does not always stall
        ((ALL, ALL), (ALL, ALL), FALSE),
        ((SOME, SOME), (SOME, FOUR), FALSE),  # worse is not better
        ((ALL, ALL), ((math.nan,) * 5, (math.nan,) * 5), FALSE),  # poisoned
        ((NONE, NONE), (NONE, NONE), NOT_MEASURED),
    ],
)
def test_a_fix_mends(
    runs: MakeRuns, text: str, fix: str, *, control: Any, treated: Any, expected: str
) -> None:
    records = [
        *runs("literal", inference=control[0], branch=control[1]),
        *runs("literal", fix, inference=treated[0], branch=treated[1]),
    ]
    assert verdict(records, text, "literal") == expected
    assert verdict(records, text, "intended") == NOT_MEASURED


def test_a_control_that_does_not_stall_is_told(runs: MakeRuns) -> None:
    records = [
        *runs("intended", inference=NONE, branch=NONE),
        *runs("intended", "bn-momentum-0.5", inference=NONE, branch=NONE),
    ]
    assert claim(records, MOMENTUM).numbers.startswith("the control does not stall; none: 0/5")


@pytest.mark.parametrize(
    ("cases", "numbers"),
    [
        ([("intended", "none")], "no records of bn-momentum-0.5"),
        ([("intended", "bn-momentum-0.5")], "no records of none"),
        ([("plain", "none")], "no records of none and bn-momentum-0.5"),
    ],
)
def test_what_is_missing_is_named(runs: MakeRuns, cases: Any, numbers: str) -> None:
    records = [record for loss, fix in cases for record in runs(loss, fix)]
    found = claim(records, MOMENTUM)
    assert (found.verdict, found.numbers) == (NOT_MEASURED, numbers)


def test_numbers_hold_stalls_gain_and_steps(runs: MakeRuns) -> None:
    records = runs("intended", inference=SOME, branch=FOUR)
    assert tally(records) == (
        "2/5 stall, 4/5 in the branch, gain 0.90 ± 0.82 nats, 40 steps made, the branch learns "
        "after: 1 of 5: 10"
    )
    mended = runs("intended", "bn-momentum-0.5", inference=NONE, branch=NONE)
    numbers = claim([*records, *mended], MOMENTUM).numbers
    assert numbers == f"none: {tally(records)}; bn-momentum-0.5: {tally(mended)}"
    assert claim([*records[:4], *mended], MOMENTUM).numbers.endswith("(fewer than 5 seeds)")


def plain(runs: MakeRuns, inference: Sequence[float], trained: float, precise: float) -> Any:
    metrics = {"training_phase_information_gain": trained, "precise_bn_information_gain": precise}
    return runs("plain", inference=inference, metrics=metrics)


@pytest.mark.parametrize(
    ("control", "inference", "trained", "precise", "expected"),
    [
        (ALL, ALL, LEARNED, LEARNED, TRUE),
        (ALL, SOME, LEARNED, LEARNED, PARTLY),  # hidden in some seeds
        (SOME, ALL, LEARNED, LEARNED, PARTLY),  # the control stalls in some seeds
        (ALL, ALL, LEARNED, STALLED, PARTLY),  # another defect than stale statistics
        (ALL, ALL, STALLED, LEARNED, FALSE),  # seen in the training phase too
        (ALL, NONE, LEARNED, LEARNED, FALSE),  # no defect
        (NONE, ALL, LEARNED, LEARNED, NOT_MEASURED),
    ],
)
def test_the_plain_loss_hides_the_defect(
    runs: MakeRuns, control: Any, inference: Any, *, trained: float, precise: float, expected: str
) -> None:
    records = [*runs("intended", inference=control), *plain(runs, inference, trained, precise)]
    assert verdict(records, PLAIN_HIDES) == expected


def test_what_the_plain_loss_hides_is_told_with_numbers(runs: MakeRuns) -> None:
    records = plain(runs, FOUR, LEARNED, LEARNED)
    metrics = {"training_phase_clean_accuracy": 0.6, "clean_accuracy": 0.05}
    records = [replace(r, metrics={**r.metrics, **metrics}) for r in records]
    assert claim([*runs("intended"), *records], PLAIN_HIDES).numbers == (
        "plain: 4/5 stall, 4 of them learn in the training phase, 4 of these learn in the "
        "inference phase with the statistics recomputed (clean accuracy training phase "
        ".600 ± .000, inference phase .050 ± .000, recomputed -); none: 5/5 stall"
    )
    assert claim(records, PLAIN_HIDES).numbers == "no records of none"
    assert claim(runs("intended"), PLAIN_HIDES).numbers == "no records of plain"


@pytest.mark.parametrize(
    ("text", "change"),
    [
        (RATE, {"learning_rate": 0.001}),
        (BATCH, {"batch_size": 16}),
        (HEAD, {"architecture": "resnet50-linear"}),
        (SIZE, {"size_px": 48}),
    ],
)
@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ((NONE, NONE), TRUE),
        ((NONE, ALL), PARTLY),
        ((ALL, NONE), PARTLY),
        ((FOUR, ALL), PARTLY),
        ((ALL, ALL), FALSE),
    ],
)
def test_the_rate_depends_on_what_is_varied_alone(
    runs: MakeRuns, text: str, change: dict[str, Any], other: Any, expected: str
) -> None:
    inference, branch = other
    records = [
        *runs("intended"),
        *runs("literal"),
        *runs("intended", inference=inference, branch=branch, **change),
    ]
    assert verdict(records, text) == expected
    others = {RATE, BATCH, HEAD, SIZE} - {text}
    assert {verdict(records, name) for name in others} == {NOT_MEASURED}
    assert verdict(records, text, "literal") == NOT_MEASURED


def test_one_value_that_changes_all_is_enough(runs: MakeRuns) -> None:
    records = [
        *runs("intended"),
        *runs("literal"),
        *runs("intended", batch_size=64),
        *runs("intended", batch_size=16, inference=NONE, branch=NONE),
    ]
    found = claim(records, BATCH)
    assert found.verdict == TRUE
    shown = [part.split(" stall")[0] for part in found.numbers.split("; ")]
    assert shown == ["32: 5/5", "16: 0/5", "64: 5/5"]


def test_a_rate_that_falls_where_the_control_is_sound_depends_too(runs: MakeRuns) -> None:
    control = runs("intended", inference=NONE, branch=NONE)
    records = [*control, *runs("literal"), *runs("intended", size_px=48)]
    assert verdict(records, SIZE) == TRUE


def test_a_rate_that_rises_in_some_seeds_depends_partly(runs: MakeRuns) -> None:
    control = runs("intended", inference=SOME, branch=SOME)
    records = [*control, *runs("literal"), *runs("intended", size_px=48, branch=SOME)]
    assert verdict(records, SIZE) == PARTLY


def test_what_one_of_both_does_not_have_is_not_compared(runs: MakeRuns) -> None:
    records = runs("intended", "bn-momentum-0.5", inference=NONE)
    bare = [replace(r, curves={}, metrics={"information_gain": LEARNED}) for r in records]
    assert verdict([*runs("intended"), *bare], MOMENTUM) == TRUE


def test_what_is_varied_twice_tells_nothing(runs: MakeRuns) -> None:
    both = runs("intended", inference=NONE, branch=NONE, size_px=48, batch_size=16)
    records = [*runs("intended"), *runs("literal"), *both]
    assert {verdict(records, text) for text in (SIZE, BATCH)} == {NOT_MEASURED}
    assert claim(records, SIZE).numbers == "no records of another value"


def test_a_variation_of_a_fix_is_no_variation_of_the_control(runs: MakeRuns) -> None:
    fixed = runs("intended", "bn-reset", inference=NONE, branch=NONE, size_px=48)
    assert verdict([*runs("intended"), *runs("literal"), *fixed], SIZE) == NOT_MEASURED


def test_a_variation_without_its_control_is_not_judged(runs: MakeRuns) -> None:
    records = [*runs("literal"), *runs("plain"), *runs("intended", size_px=48)]
    found = claim(records, SIZE)
    assert (found.verdict, found.numbers) == (NOT_MEASURED, "no records of none")


def test_every_claim_is_judged_under_both_policies_in_every_release(runs: MakeRuns) -> None:
    old = runs("literal", release="tf-1.14", inference=NONE, branch=NONE)
    old += runs("literal", "bn-momentum-0.5", release="tf-1.14")
    new = [*runs("literal"), *runs("literal", "bn-momentum-0.5", inference=NONE, branch=NONE)]
    claims = judge_claims([*old, *new])
    assert len(claims) == 2 * len(CLAIMS) * len(PHASES)
    found = {c.place: c.verdict for c in claims if (c.text, c.phases) == (MOMENTUM, "literal")}
    assert found == {"tf-1.14": NOT_MEASURED, "tf-2.21": TRUE}


def test_the_rules_tell_what_five_seeds_can_show() -> None:
    chance = LEAST_RATE**5
    assert chance == pytest.approx(0.05)
    assert "All of 5\nseeds stand for a rate of at least 55%, none of them" in RULES


def test_how_many_changed_seeds_may_be_chance_is_fishers_exact_test() -> None:
    least = {}
    for more, fewer in itertools.combinations(range(FEW_SEEDS, -1, -1), 2):
        counts = [[more, FEW_SEEDS - more], [fewer, FEW_SEEDS - fewer]]
        chance = fisher_exact(counts, alternative="greater")[1]
        least[more - fewer] = min(chance, least.get(more - fewer, 1))
    for changed, chance in least.items():
        assert chance_of(changed) == pytest.approx(chance)
        assert (chance > 0.05) == (changed <= UNSURE)
    rules = " ".join(RULES.split())
    assert "A change by up to 3 of 5 seeds may be chance" in rules
    assert "0.083 or more for 3 seeds, 0.024 for 4." in rules


def test_records_of_other_questions_are_no_claims(make_record: MakeRecord) -> None:
    assert judge_claims([make_record()]) == []
