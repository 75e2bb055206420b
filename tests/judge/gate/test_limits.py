from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from suite.judge.bands import Band
from suite.judge.gate import limits
from suite.judge.gate.finding import NO_WORSE, UNDECIDED, WORSE
from suite.judge.gate.limits import lacking, limit_findings, outside
from tests.conftest import MakeRecord

BANDS = {"phases_agree": Band(1, 1), "clean_accuracy": Band(0.7, 0.9), "parameters": Band(7, 7)}
RIGHT = {"phases_agree": 1.0, "clean_accuracy": 0.8, "parameters": 7.0}


@pytest.fixture(autouse=True)
def own_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "bands_of", lambda _: BANDS)


def test_what_holds_in_any_release_is_no_worse(make_record: MakeRecord) -> None:
    (finding,) = limit_findings([], [make_record(seed=seed, metrics=RIGHT) for seed in range(3)])
    assert (finding.decision, finding.seeds) == (NO_WORSE, (0, 3))


def test_one_seed_outside_is_worse(make_record: MakeRecord) -> None:
    good = make_record(metrics=RIGHT)
    bad = make_record(seed=1, metrics={**RIGHT, "phases_agree": 0.0})
    (finding,) = limit_findings([good], [good, bad])
    assert finding.decision == WORSE
    assert finding.words == "phases_agree is 0, expected exactly 1"


def test_what_the_baseline_had_too_has_not_become_worse(make_record: MakeRecord) -> None:
    bad = make_record(metrics={**RIGHT, "phases_agree": 0.0})
    (finding,) = limit_findings([bad], [bad])
    assert finding.decision == NO_WORSE
    assert finding.words == "as before: phases_agree is 0, expected exactly 1"
    (other,) = limit_findings([bad], [make_record(metrics={**RIGHT, "parameters": 8.0})])
    assert other.decision == WORSE


@pytest.mark.parametrize(
    ("question", "seeds", "decision"),
    [("training", 1, UNDECIDED), ("training", 2, WORSE), ("attack", 1, WORSE)],
)
def test_what_two_trainings_learn_too_little_is_worse_and_of_one_undecided(
    make_record: MakeRecord, question: str, seeds: int, decision: str
) -> None:
    right = [make_record(seed=seed, question=question, metrics=RIGHT) for seed in range(4)]
    low = [
        make_record(seed=seed, question=question, metrics={**RIGHT, "clean_accuracy": 0.1})
        for seed in range(seeds)
    ]
    (finding,) = limit_findings(right, [*low, *right[seeds:]])
    assert finding.decision == decision
    assert finding.words.startswith("clean_accuracy is 0.1, expected 0.7 to 1")
    assert limit_findings(low, low)[0].decision == NO_WORSE


def test_outcomes_are_not_judged_by_the_upper_end_of_bands(make_record: MakeRecord) -> None:
    (finding,) = limit_findings([], [make_record(metrics={**RIGHT, "clean_accuracy": 0.95})])
    assert finding.decision == NO_WORSE


@pytest.mark.parametrize(
    ("predicted", "told"),
    [
        ([{"0": 8, "1": 1}, {"1": 0, "0": 1}], ""),
        ([{"0": 7, "1": 2}, {"0": 1}], ""),  # rounding
        ([{"0": 6, "1": 3}, {"0": 1}], "but 6 of 10 predictions are right"),
        ([{"0": 4}, {"0": 1}], "but 4 of 5 predictions are right, expected the same of 10 images"),
        ([["0"], {}], "the predictions by label cannot be read"),
    ],
)
def test_an_accuracy_is_that_of_the_predictions(
    make_record: MakeRecord, predicted: list[Any], told: str
) -> None:
    rows = [{"label": label, "predicted": own} for label, own in enumerate(predicted)]
    run = make_record(metrics=RIGHT, statistics=rows, settings={"test_images": 10})
    for accuracy in (0.75, math.nan):  # of four images, or of eight; of none
        other = replace(run, metrics={**RIGHT, "clean_accuracy": accuracy})
        assert "predictions" in outside(other)
    (finding,) = limit_findings([], [run])
    assert finding.decision == (WORSE if told else NO_WORSE)
    assert told in finding.words
    assert limit_findings([run], [run])[0].decision == NO_WORSE
    assert not outside(replace(run, question="attack"))


def test_other_questions_are_passed_over(make_record: MakeRecord) -> None:
    assert limit_findings([], [make_record(question="traps", metrics={"parameters": 8.0})]) == []


def test_of_steps_and_draws_only_what_is_outside_is_told(make_record: MakeRecord) -> None:
    steps = make_record(question="parity", metrics=RIGHT)
    assert limit_findings([steps], [steps]) == []
    other = make_record(question="parity", metrics={**RIGHT, "parameters": 8.0})
    (finding,) = limit_findings([steps], [other])
    assert finding.decision == WORSE


@pytest.mark.parametrize("share", [-3.0, 1.1])
def test_a_share_lies_between_nothing_and_all(share: float, make_record: MakeRecord) -> None:
    (finding,) = limit_findings([], [make_record(metrics={**RIGHT, "train_accuracy": share})])
    assert finding.decision == WORSE
    assert finding.words.startswith("train_accuracy is ")


def test_a_number_with_a_band_that_the_candidate_lacks_is_told(make_record: MakeRecord) -> None:
    full = [make_record(seed=seed, metrics=RIGHT) for seed in range(3)]
    less = [make_record(seed=seed, metrics={"phases_agree": 1.0}) for seed in (1, 2)]
    assert lacking(full, full) == lacking(less, less) == []
    assert [text.partition(". ")[0] for text in lacking(full, less)] == [
        "net-plain: the candidate has no clean_accuracy for seed 1, 2",
        "net-plain: the candidate has no parameters for seed 1, 2",
    ]
