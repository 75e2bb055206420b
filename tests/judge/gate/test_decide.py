from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from suite.judge.gate import decide as module
from suite.judge.gate.decide import PLAN, corrected, decide, further
from suite.judge.gate.finding import (
    NO_WORSE,
    OUTCOME,
    RANDOM_PARTS,
    STEP_MAP,
    UNDECIDED,
    WORSE,
    Answer,
    Finding,
)
from suite.records import Record
from tests.conftest import MakeRecord
from tests.judge.gate.conftest import AFTER, BEFORE, MakeSide
from tests.judge.gate.whole import laws, trained

GAIN = "adversarial_branch_gain"
VGG19 = "vgg19-w0.25-intended-none"
FROZEN = (0.4805, 0.4160, 0.4514, 0.5028, 0.5731)
TRAINED = (0.6011, 0.5914, 0.6328, 0.6428, 0.7006)
"""Gain of VGG19's adversarial branch on tf-2.21, seeds 0 to 4, while its pretraining left layers
frozen, and on tf-2.15, where it trained them: both on one core, in the baselines of 2026-11-22."""


def redrawn(release: str, *, draw: int, seeds: int) -> Iterator[Record]:
    """Draw records of every trained case of tf-2.21, with its means and how its metrics vary."""
    rng = np.random.default_rng(draw)
    for law in laws():
        for record in law.records(rng, first=0, plan=PLAN)[:seeds]:
            yield replace(record, release=release, wall_s=float(rng.random()))


def finding(decision: str, **changes: object) -> Finding:
    return Finding(
        **{
            "layer": OUTCOME,
            "case": "net",
            "metric": GAIN,
            "decision": decision,
            "words": "",
            **changes,
        }
    )


def former(record: Record, gains: Sequence[float]) -> Record:
    """Give VGG19 the gain that it had before."""
    if record.case != VGG19:
        return record
    return replace(record, metrics={**record.metrics, GAIN: gains[record.seed]})


def test_tf_2_21_is_no_longer_worse_than_tf_2_15() -> None:
    answer = decide("tf-2.15", "tf-2.21", before=trained(BEFORE), after=trained(AFTER))
    assert WORSE not in {found.decision for found in answer.findings}


def test_tf_2_21_was_worse_than_tf_2_15_because_of_vgg19() -> None:
    before, after = (
        [former(record, gains) for record in trained(release) if record.seed < len(gains)]
        for release, gains in ((BEFORE, TRAINED), (AFTER, FROZEN))
    )
    answer = decide("tf-2.15", "tf-2.21", before=before, after=after)
    worse = {(found.case, found.metric) for found in answer.findings if found.decision == WORSE}
    assert (VGG19, GAIN) in worse
    assert {case for case, _ in worse} <= {VGG19, "vgg19-w0.25-plain"}
    assert answer.decision == WORSE
    assert answer.missing == []


def test_tf_2_21_is_not_worse_than_itself() -> None:
    """Twenty gates of ten seeds a side, whose numbers vary as those of tf-2.21 do."""
    decisions = []
    for draw in range(20):
        sides = [
            [*redrawn(name, draw=draw + 99 * (name == AFTER), seeds=10)] for name in (BEFORE, AFTER)
        ]
        answer = decide("before", "after", before=sides[0], after=sides[1])
        assert answer.missing == []
        decisions.append(answer.decision)
    assert WORSE not in decisions
    assert NO_WORSE in decisions


def test_halves_of_one_release_are_not_worse_than_each_other() -> None:
    """Three seeds against two are too few to say anything."""
    halves = [
        [record for record in trained(AFTER) if record.seed in seeds]
        for seeds in ((0, 1, 2), (3, 4))
    ]
    answer = decide("first", "second", before=halves[0], after=halves[1])
    assert answer.decision == UNDECIDED
    assert {found.decision for found in answer.findings if found.p is not None} <= {UNDECIDED}
    assert further(answer)[VGG19] == 3


def test_an_expected_case_without_records_is_missing(make_side: MakeSide) -> None:
    before, after = make_side(), make_side(AFTER)
    answer = decide(
        "b",
        "c",
        before=before,
        after=after,
        expected=[("net-intended-none", range(10)), ("other-plain", range(5))],
        expected_before=[("net-intended-none", range(12))],
    )
    assert answer.missing == [
        "net-intended-none: the baseline has no record of seed 10, 11. Measure the case anew on "
        "both sides.",
        "other-plain: the candidate has no record of it. Measure the case anew on both sides.",
    ]
    assert answer.decision == UNDECIDED


def test_what_is_there_as_expected_is_not_missing(make_side: MakeSide) -> None:
    expected = [("net-intended-none", range(10))]
    answer = decide(
        "b", "c", before=make_side(), after=make_side(AFTER), expected=expected,
        expected_before=expected,
    )  # fmt: skip
    assert answer.missing == []
    assert answer.decision == NO_WORSE
    assert (answer.baseline, answer.candidate) == ("b", "c")


def test_no_records_are_no_answer() -> None:
    assert decide("b", "c", before=[], after=[]).decision == UNDECIDED


def test_margins_reach_the_outcome(make_side: MakeSide) -> None:
    sides: Mapping[str, list[Record]] = {
        "before": make_side(),
        "after": make_side(AFTER, adversarial_branch_gain=-0.3),
    }
    assert decide("b", "c", **sides).decision == WORSE
    assert decide("b", "c", **sides, margins={"nats": 0.5}).decision == NO_WORSE


@pytest.mark.parametrize(
    ("name", "layer", "p"),
    [("draw_findings", RANDOM_PARTS, 1e-9), ("step_findings", STEP_MAP, None)],
)
def test_the_other_layers_are_judged_too(
    monkeypatch: pytest.MonkeyPatch, make_side: MakeSide, name: str, layer: str, p: float | None
) -> None:
    sides = make_side(), make_side(AFTER)
    asked = []
    own = finding(WORSE, layer=layer, p=p)
    monkeypatch.setattr(module, name, lambda *given: asked.append(given) or [own])
    answer = decide("b", "c", before=sides[0], after=sides[1])
    assert asked == [sides]
    assert own in answer.findings
    assert answer.decision == WORSE


def test_the_random_parts_have_a_tenth_of_the_level(
    monkeypatch: pytest.MonkeyPatch, make_side: MakeSide
) -> None:
    ends = []
    for p in (0.004, 0.006):
        own = finding(WORSE, layer=RANDOM_PARTS, p=p)
        monkeypatch.setattr(module, "draw_findings", lambda *_, own=own: [own])
        ends.append(decide("b", "c", before=make_side(), after=make_side(AFTER)).decision)
    assert ends == [WORSE, NO_WORSE]


def test_what_holds_in_any_release_is_judged_too(
    monkeypatch: pytest.MonkeyPatch, make_side: MakeSide
) -> None:
    sides = make_side(), make_side(AFTER)
    own = finding(WORSE, metric="limits of any release")
    monkeypatch.setattr(module, "limit_findings", lambda *given: [own] if given == sides else [])
    assert own in decide("b", "c", before=sides[0], after=sides[1]).findings


def test_a_number_with_a_limit_that_the_candidate_lacks_is_missing(
    monkeypatch: pytest.MonkeyPatch, make_side: MakeSide
) -> None:
    monkeypatch.setattr(module, "lacking", lambda before, after: [f"{len(before)} {len(after)}"])
    before, after = make_side(), make_side(AFTER)
    answer = decide("b", "c", before=before, after=after)
    assert answer.missing == [f"{len(before)} {len(after)}"]


@pytest.mark.parametrize("question", ["random", "parity"])
def test_a_trace_that_is_the_baseline_s_own_is_missing(
    monkeypatch: pytest.MonkeyPatch, make_record: MakeRecord, question: str
) -> None:
    monkeypatch.setattr(module, "draw_findings", lambda *_: [])
    monkeypatch.setattr(module, "step_findings", lambda *_: [])
    own = make_record("parity-net-plain", question=question)
    copied = replace(own, release=AFTER)
    answer = decide("b", "c", before=[own], after=[copied])
    assert len(answer.missing) == 1
    assert "parity-net-plain: seed 0 of the candidate is the run of the" in answer.missing[0]
    fresh = replace(copied, wall_s=9.0)
    assert decide("b", "c", before=[own], after=[fresh]).missing == []


@pytest.mark.parametrize(
    ("case", "seed"), [("net-plain", 1), ("other-plain", 0)], ids=["seed", "case"]
)
def test_a_run_that_is_kept_twice_is_missing(
    monkeypatch: pytest.MonkeyPatch, make_record: MakeRecord, case: str, seed: int
) -> None:
    for layer in ("draw_findings", "step_findings", "limit_findings", "lacking"):
        monkeypatch.setattr(module, layer, lambda *_: [])
    own = make_record("net-plain", wall_s=7.25)
    again = make_record(case, seed, wall_s=7.25, metrics={"clean_accuracy": 0.8 + 1e-6})
    missing = decide("b", "c", before=[], after=[own, again]).missing
    told = f"{case}: seed {seed} of the candidate is the run of the candidate's net-plain-seed0"
    assert sum(told in text for text in missing) == 1
    apart = decide("b", "c", before=[], after=[own, replace(again, wall_s=7.5)]).missing
    assert not any(told in text for text in apart)


def test_a_surprise_among_many_is_taken_back() -> None:
    found = corrected([finding(WORSE, p=0.004), *[finding(NO_WORSE, p=0.5)] * 9], 0.01)
    assert found[0].decision == NO_WORSE
    assert "no surprise among so many (p = 0.04 over all)" in found[0].words
    sure = [finding(WORSE, p=0.0004), finding(NO_WORSE, p=0.5), finding(WORSE)]
    assert corrected(sure, 0.01) == sure


def test_more_seeds_are_asked_for_where_the_answer_waits_for_them() -> None:
    findings = [
        finding(UNDECIDED, case="a", seeds=(5, 5), further=5),
        finding(UNDECIDED, case="a", seeds=(5, 5), further=15, metric="information_gain"),
        finding(UNDECIDED, case="b", seeds=(10, 5), further=30),
        finding(UNDECIDED, case="c", seeds=(5, 5), further=100),
        finding(UNDECIDED, case="d", seeds=(20, 20), further=5),
        finding(UNDECIDED, case="e", seeds=(5, 5), further=5, primary=False),
        finding(NO_WORSE, case="f", seeds=(5, 5)),
        finding(UNDECIDED, case="g", seeds=(10, 10)),
        finding(UNDECIDED, case="h", seeds=(0, 0)),
        finding(UNDECIDED, case="i", seeds=(2, 3), further=3),
    ]
    answer = Answer("b", "c", findings)
    assert further(answer, plan=PLAN) == {"a": 15, "b": 15, "c": 5, "g": 10, "i": 3}
