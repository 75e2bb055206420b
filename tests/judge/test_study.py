"""Tests of suite.judge.study: which records are compared, and the numbers that sum them up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from suite.judge.study import (
    accuracy,
    place,
    prediction_width,
    running_gains,
    spread,
    stalls,
    steps_cell,
    steps_to_gain,
    studies,
)
from tests.judge.conftest import ENTROPY, STEPS, MakeRecord, MakeRun, with_curve


def test_a_stall_is_a_gain_below_a_tenth_of_a_nat_and_nan_is_no_learning(make_run: MakeRun) -> None:
    gains = (0.0999, 0.1, math.nan, 1.0, -2.0)
    records = [make_run(seed=seed, information_gain=gain) for seed, gain in enumerate(gains)]
    assert stalls(records, "information_gain") == (3, 5)
    assert stalls(records, "unknown") == (0, 0)


@pytest.mark.parametrize(
    ("found", "cell"),
    [
        ([], "-"),
        ([0.25], ".250"),
        ([1.0, 1.0], "1.000 ± .000"),
        ([-0.0001, -0.0003], ".000 ± .000"),
        ([-0.5, -0.7], "-.600 ± .141"),
        ([0.5, math.nan], "nan ± nan"),
        ([0.5, -math.inf], "-inf ± nan"),
    ],
)
def test_accuracies_with_spread(found: Sequence[float], cell: str) -> None:
    assert accuracy(found) == cell


def test_spread_is_the_deviation_of_a_sample() -> None:
    assert spread([1.0, 2.0, 3.0, 4.0], decimals=2) == "2.50 ± 1.29"


@pytest.mark.parametrize(
    ("after", "cell"),
    [
        ((30,), "30"),
        ((30, 30), "30"),
        ((30, 35), "32.5 (30 to 35)"),
        ((None, 60), "1 of 2: 60"),
        ((None, None), "never in 80"),
        ((), "-"),
    ],
)
def test_steps_are_median_and_range(
    make_run: MakeRun, after: Sequence[int | None], cell: str
) -> None:
    records = [make_run(seed=seed, learns_after=step) for seed, step in enumerate(after)]
    assert steps_cell(records) == cell


def test_running_gains_restore_the_entropy_of_the_labels(make_run: MakeRun) -> None:
    gains = running_gains(make_run(learns_after=75))
    assert len(gains) == STEPS - 9
    assert gains[0] == pytest.approx(0)
    assert gains[-1] == pytest.approx(6 * 2.0 / 10)
    assert running_gains(make_run("plain", learns_after=20))[-1] == pytest.approx(2.0)


def test_a_gain_that_does_not_last_is_not_reached(make_run: MakeRun) -> None:
    record = make_run(learns_after=60)
    losses = list(record.curves["step_adversarial_ce"])
    losses[5:15] = [ENTROPY - 2] * 10
    noisy = with_curve(record, losses)
    assert running_gains(noisy)[5] == pytest.approx(2.0)
    assert steps_to_gain(noisy) == 60


def test_a_branch_that_ends_stalled_was_never_there(make_run: MakeRun) -> None:
    record = make_run()
    losses = [ENTROPY] * (STEPS - 2) + [ENTROPY - 0.9] * 2
    lucky = with_curve(record, losses, adversarial_branch_gain=0.09)
    assert running_gains(lucky)[-1] > 0.1
    assert steps_to_gain(lucky) == math.inf


def test_a_branch_that_diverges_never_gets_there(make_run: MakeRun) -> None:
    losses = [ENTROPY - 2] * 60 + [math.nan] * 20
    assert steps_to_gain(with_curve(make_run(), losses, adversarial_branch_gain=1.0)) == math.inf


def test_a_gain_from_the_first_step_on_takes_one_window(make_run: MakeRun) -> None:
    assert steps_to_gain(make_run(learns_after=1)) == 10


def test_records_of_a_case_come_by_seed(make_run: MakeRun) -> None:
    records = [make_run(seed=seed) for seed in (2, 0, 1)]
    (study,) = studies([*records, make_run("literal")])
    assert [record.seed for record in study.found("intended")] == [0, 1, 2]
    assert study.found("intended", "bn-reset") == []


def test_the_setup_is_the_one_of_most_cases_not_of_most_seeds(make_run: MakeRun) -> None:
    small = {"batch_size": 16}
    often = [make_run(seed=seed, settings=small) for seed in range(9)]
    (study,) = studies([*often, make_run(), make_run("literal")])
    assert study.setup.batch_size == 32


def test_a_prediction_interval_is_students_for_one_further_run() -> None:
    assert prediction_width(5) == pytest.approx(2.7764451 * math.sqrt(1.2))


def test_a_study_is_what_one_release_measured_in_one_tier(
    make_run: MakeRun, make_record: MakeRecord
) -> None:
    record = make_run()
    others = [replace(record, release="tf-1.14"), replace(record, tier="full-study")]
    found = studies([record, *others, make_run(seed=1), make_record()])
    assert [place(study) for study in found] == ["tf-2.21", "tf-1.14", "tf-2.21 (full-study)"]
    assert [len(study.records) for study in found] == [2, 1, 1]


def test_what_starts_from_weights_of_photographs_is_a_study_of_its_own(make_run: MakeRun) -> None:
    photos = {"architecture": "resnet50-photos", "weights": "photographs"}
    own = [make_run(seed=seed, settings=photos) for seed in (0, 1)]
    found = studies([make_run("literal"), *own, make_run()])
    assert [place(s) for s in found] == ["tf-2.21", "tf-2.21 (pretrained on photographs)"]
    assert [len(study.records) for study in found] == [2, 2]
    assert found[1].setup.architecture == "resnet50-photos"


def test_a_setup_that_is_not_the_usual_one_is_found_by_its_name_alone(make_run: MakeRun) -> None:
    usual = [make_run("intended", fix, learns_after=30) for fix in ("none", "bn-reset")]
    other = [make_run(settings=change) for change in ({"batch_size": 16}, {"size_px": 48})]
    (study,) = studies([*other, *usual])
    assert str(study.setup) == "resnet50, batch 32, learning rate 0.01, 32 px"
    assert study.found("intended") == usual[:1]
    assert study.found("intended", setup=study.setup._replace(batch_size=16)) == other[:1]
