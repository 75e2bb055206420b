"""Tests of what predictions are worth beside the labels: pure numbers."""

from __future__ import annotations

import numpy as np
import pytest

from suite.diagnose.predictions import (
    BELOW_CHANCE,
    Judge,
    Reader,
    compared,
    confidence_auc,
    dead_outputs,
    label_entropy,
    marginal_distance,
    reader_of,
)
from suite.diagnose.trials import CAFFE, INPUT_SCALE, RESCALED, InputScale

LABELS = np.arange(60) % 3
SURE = 9.0 * np.eye(3)[LABELS]
JUDGE = Judge(LABELS, Reader("logits"))


def test_renamed_classes_are_found_out() -> None:
    labels = np.random.default_rng(0).integers(0, 5, 100)
    predicted = np.eye(5)[(labels + 2) % 5]
    renamed, _ = Judge(labels, Reader("probabilities")).read_otherwise(predicted)
    assert renamed.evaluation.accuracy == 1.0
    assert renamed.hits.all()


def test_outputs_become_a_trial_that_nobody_keeps() -> None:
    trial = JUDGE.trial(RESCALED, SURE, layer="conv")
    assert trial[:2] == (RESCALED, "conv")
    assert trial.scale is None
    assert trial.evaluation.accuracy == 1.0
    assert trial.evaluation.classes_predicted == 3
    assert trial.evaluation.information_gain == pytest.approx(np.log(3), abs=1e-3)
    assert trial.evaluation.cross_entropy == pytest.approx(0, abs=1e-3)
    np.testing.assert_array_equal(trial.scores, JUDGE.scores(SURE))
    scale = InputScale("[0, 1]", CAFFE, False)
    assert JUDGE.trial(INPUT_SCALE, SURE, scale=scale).scale == scale


def test_scores_end_below_chance_but_cross_entropy_does_not() -> None:
    wrong = np.roll(SURE, 1, axis=1) * 100
    trial = JUDGE.trial(RESCALED, wrong)
    assert set(trial.scores) == {-JUDGE.entropy - BELOW_CHANCE}
    assert trial.evaluation.cross_entropy == pytest.approx(900)


def test_outputs_that_are_not_numbers_are_as_bad_as_can_be() -> None:
    trial = JUDGE.trial(RESCALED, np.full((60, 3), np.nan))
    assert set(trial.scores) == {-JUDGE.entropy - BELOW_CHANCE}
    assert trial.evaluation.information_gain == -np.inf
    assert trial.evaluation.classes_predicted == 1


def test_the_first_images_alone_can_be_scored() -> None:
    np.testing.assert_array_equal(JUDGE.scores(SURE[:7]), JUDGE.scores(SURE)[:7])


def test_labels_have_the_entropy_of_their_shares() -> None:
    assert label_entropy(LABELS) == pytest.approx(np.log(3))
    assert label_entropy(np.array([2, 2, 2])) == 0


@pytest.mark.parametrize(
    ("outputs", "activations", "kind"),
    [
        (SURE, [""], "logits"),
        (np.full((4, 2), 0.5), [""], "probabilities"),
        (np.full((4, 2), 0.7), ["linear", "sigmoid", "linear"], "sigmoid"),
        (np.full((4, 2), 0.7), ["sigmoid", "", "", ""], "logits"),
        (np.full((4, 1), 0.7), [""], "sigmoid"),
        (np.full((4, 2), np.nan), [""], "logits"),
    ],
)
def test_outputs_are_read_as_what_they_are(
    outputs: np.ndarray, activations: list[str], kind: str
) -> None:
    assert reader_of(outputs, activations) == Reader(kind, max(2, outputs.shape[1]))


@pytest.mark.parametrize("kind", ["logits", "probabilities", "sigmoid"])
def test_log_probabilities_add_up_to_one(kind: str) -> None:
    outputs = np.array([[0.2, 0.8], [0.6, 0.4]])
    logs = Reader(kind).log_probabilities(outputs)
    np.testing.assert_allclose(np.exp(logs).sum(axis=1), 1)
    assert logs.argmax(axis=1).tolist() == [1, 0]
    single = Reader("sigmoid").log_probabilities(np.array([[0.9]]))
    np.testing.assert_allclose(np.exp(single), [[0.1, 0.9]])


def test_an_output_that_is_no_number_is_right_of_no_class() -> None:
    outputs = np.where(np.arange(60)[:, None] % 2, np.nan, SURE)
    trial = JUDGE.trial(RESCALED, outputs)
    assert trial.evaluation.accuracy == 0.5
    assert not trial.hits[1::2].any()


def test_an_output_that_no_image_moves_is_dead() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 4))
    logits[:, 2] = -3
    assert dead_outputs(logits) == {2}
    fed = compared(Judge(np.arange(50) % 4, Reader("logits")), logits)
    assert fed.dead_outputs == (2,)
    assert not compared(JUDGE, SURE).dead_outputs


def test_a_bias_is_told_from_what_the_images_say() -> None:
    outputs = SURE + np.array([0, 50, 0])
    assert JUDGE.read_otherwise(outputs)[1].evaluation.accuracy == 1.0
    assert compared(JUDGE, outputs).marginal_distance == pytest.approx(2 / 3)


@pytest.mark.parametrize("bias", [-30.0, 10.0])
def test_a_bias_of_a_single_output_is_told_too(bias: float) -> None:
    labels = np.arange(40) % 2
    outputs = 1 / (1 + np.exp(-(labels[:, None] * 4.0 - 2 + bias).astype(np.float64)))
    judge = Judge(labels, Reader("sigmoid"))
    before = judge.trial(RESCALED, outputs).evaluation.accuracy
    assert (before, judge.read_otherwise(outputs)[1].evaluation.accuracy) == (0.5, 1.0)


def test_the_confidence_of_right_predictions_is_compared_with_that_of_wrong_ones() -> None:
    right = np.arange(20) % 2 == 0
    assert confidence_auc(np.where(right, 0.9, 0.4), right) == 1.0
    assert confidence_auc(np.full(20, 0.5), right) == pytest.approx(0.5)
    assert np.isnan(confidence_auc(np.full(4, 0.5), right[:4]))


def test_classes_that_are_predicted_as_often_as_they_are_have_no_distance() -> None:
    assert marginal_distance(LABELS, np.roll(LABELS, 1)) == 0
    assert marginal_distance(0 * LABELS, LABELS) == pytest.approx(2 / 3)


def test_of_labels_for_each_position_an_image_counts_once() -> None:
    labels = np.arange(60 * 8).reshape(60, 8) % 3
    outputs = np.where(np.arange(8)[:, None] < 6, 10.0, -10.0) * np.eye(3)[labels]
    judge = Judge(labels, Reader("logits"))
    trial = judge.trial(RESCALED, outputs)
    assert trial.evaluation.accuracy == 0.75
    assert (trial.scores.shape, trial.hits.shape) == ((60,), (60,))
    assert set(trial.hits) == {0.75}
    np.testing.assert_allclose(trial.scores, [judge.scores(outputs[:1])[0]] * 60)
    swapped, centred = judge.read_otherwise(np.eye(3)[(labels + 1) % 3] * 10)
    assert swapped.evaluation.accuracy == 1
    assert centred.evaluation.accuracy == 0
    told = compared(judge, outputs)
    assert told.confidence == pytest.approx(0.75 + 0.25 / 2, abs=1e-3)
    assert reader_of(np.full((5, 8, 4), 0.25), [""]).kind == "probabilities"
    assert reader_of(np.full((5, 8, 1), 0.25), [""]).kind == "sigmoid"


def test_of_one_class_alone_a_guess_among_all_is_worth_nothing() -> None:
    judge = Judge(np.full(9, 2), Reader("logits", 4))
    assert judge.trial(RESCALED, np.zeros((9, 4))).evaluation.information_gain == pytest.approx(0)
