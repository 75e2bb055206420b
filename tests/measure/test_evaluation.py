"""Tests of suite.measure.evaluation: accuracies and information gain are SciPy's, in each phase."""

from __future__ import annotations

import base64
import zlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import entropy

from suite.data import Split
from suite.data.split import pixels
from suite.measure import evaluation
from suite.measure.evaluation import (
    confusions,
    cross_entropy,
    evaluate,
    example,
    log_likelihood,
    pgd_accuracy,
)
from suite.networks.types import Images, Model
from suite.stacks.protocol import Stack
from tests.arrays import assert_same


def test_cross_entropy_is_scipys() -> None:
    rng = np.random.default_rng(0)
    logits = (rng.normal(size=(50, 43)) * 30).astype(np.float32)
    labels = rng.integers(0, 43, 50)
    scores = logits.astype(float)
    expected = (logsumexp(scores, axis=1) - scores[np.arange(50), labels]).mean()
    assert cross_entropy(logits, labels) == pytest.approx(expected, rel=1e-12)
    huge = np.array([[1e30, 0], [0, 1e4]], np.float32)
    assert cross_entropy(huge, np.array([0, 0])) == pytest.approx(5e3)


def test_log_likelihoods_are_those_of_each_images_label() -> None:
    logits = (np.log([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]) + 100).astype(np.float32)
    found = log_likelihood(logits, np.array([1, 2]))
    np.testing.assert_allclose(found, np.log([0.3, 0.8]), rtol=1e-5)


def test_cross_entropy_of_a_constant_predictor_is_the_entropy_of_the_labels() -> None:
    labels = np.repeat([0, 1, 2], [5, 3, 2])
    logits = np.broadcast_to(np.log([0.5, 0.3, 0.2]), (10, 3)).astype(np.float32)
    assert cross_entropy(logits, labels) == pytest.approx(entropy([5, 3, 2]), rel=1e-6)


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_cross_entropy_of_a_score_that_is_not_finite_is_not_finite(score: float) -> None:
    logits = np.array([[1.0, score], [0.0, 1.0]], np.float32)
    assert not np.isfinite(cross_entropy(logits, np.array([0, 1])))


class Colours:
    """A network whose logits are read off the first pixel; its attack swaps two channels."""

    model = SimpleNamespace(get_weights=list, set_weights=lambda _: None)

    def __init__(self) -> None:
        self.phases: list[bool] = []
        self.sizes: set[int] = set()
        self.steps: set[int] = set()

    def logits(self, images: Images, *, training: bool) -> np.ndarray:
        self.phases.append(training)
        self.sizes.add(len(images))
        logits = np.full((len(images), 43), -50, np.float32)
        logits[:, :3] = images[:, 0, 0] * 4
        return logits

    def craft(self, images: Images, *, epsilon: float, training: bool, steps: int = 1) -> Images:
        self.steps.add(steps)
        self.phases.append(training)
        return images[..., [1, 0, 2]] if epsilon else images


@pytest.fixture
def coloured() -> Split:
    """Draw 70 images of a random first colour, more than two evaluation batches."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (70, 2, 2, 3)).astype(np.uint8)
    return Split(images, rng.integers(0, 3, 70), np.full(70, -1), np.arange(70).astype(str))


def test_evaluation_reports_accuracy_information_gain_and_classes(coloured: Split) -> None:
    network: Any = Colours()
    measured = evaluate(network, coloured, epsilon=0.1, training=False)
    colours = coloured.images[:, 0, 0] / 255
    labels = coloured.labels
    information = entropy(np.bincount(labels))

    def gain(scores: np.ndarray) -> float:
        return information - (logsumexp(scores, axis=1) - scores[np.arange(70), labels]).mean()

    swapped = colours[:, [1, 0, 2]]
    assert measured == {
        "clean_accuracy": pytest.approx((colours.argmax(axis=1) == labels).mean()),
        "adversarial_accuracy": pytest.approx((swapped.argmax(axis=1) == labels).mean()),
        "information_gain": pytest.approx(gain(4 * colours), abs=1e-6),
        "adversarial_information_gain": pytest.approx(gain(4 * swapped), abs=1e-6),
        "classes_predicted": 3.0,
    }
    assert measured["clean_accuracy"] != measured["adversarial_accuracy"]
    assert set(network.phases) == {False}
    assert network.sizes == {32}


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_evaluation_runs_in_its_phase_and_leaves_the_model_as_it_was(
    stack: Stack, foreign_model: Model, training: bool
) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (32, 8, 8, 3)).astype(np.uint8)
    split = Split(images, rng.integers(0, 5, 32), np.full(32, -1), np.arange(32).astype(str))
    network, before = stack.network(foreign_model), foreign_model.get_weights()
    crafted = network.craft(pixels(images), epsilon=0.05, training=training)
    logits, attacked = (
        np.asarray(foreign_model(shown, training=training)) for shown in (pixels(images), crafted)
    )
    foreign_model.set_weights(before)
    measured = evaluate(network, split, epsilon=0.05, training=training)
    assert_same(before, foreign_model.get_weights())
    bound = entropy(np.bincount(split.labels))
    gains = [bound - cross_entropy(scores, split.labels) for scores in (logits, attacked)]
    assert measured["information_gain"] == pytest.approx(gains[0], abs=1e-4)
    assert measured["adversarial_information_gain"] == pytest.approx(gains[1], abs=1e-4)
    assert gains[0] != pytest.approx(gains[1], abs=1e-3)


def test_confusions_count_what_each_class_is_taken_for(coloured: Split) -> None:
    network: Any = Colours()
    predicted = coloured.images[:, 0, 0].argmax(axis=1)
    expected = np.zeros((3, 3), int)
    np.add.at(expected, (coloured.labels, predicted), 1)
    found = np.zeros((3, 3), int)
    for row in confusions(network, coloured):
        for name, count in row["predicted"].items():
            found[row["label"], int(name)] = count
    assert_same([found], [expected])
    assert set(network.phases) == {False}


def unpacked(text: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)


def test_the_example_is_the_first_image_that_the_attack_turns(coloured: Split) -> None:
    network: Any = Colours()
    coloured = Split(*(np.roll(part, 3, axis=0) for part in coloured))
    colours = coloured.images[:32, 0, 0]
    swapped = colours[:, [1, 0, 2]]
    right, left = (shown.argmax(axis=1) == coloured.labels[:32] for shown in (colours, swapped))
    first = int(np.flatnonzero(right & ~left)[0])
    assert first > 0, "else any image would do"
    shown = example(network, coloured, epsilon=0.1)
    assert shown["label"] == coloured.labels[first]
    assert_same([unpacked(shown["image"])], [coloured.images[first].ravel()])
    assert_same([unpacked(shown["perturbed"])], [coloured.images[first][..., [1, 0, 2]].ravel()])
    likeliest = list(shown["clean_probabilities"])
    assert likeliest[0] == str(shown["label"])
    scores = np.exp(colours[first] / 255 * 4)
    assert shown["clean_probabilities"][likeliest[0]] == pytest.approx(
        scores.max() / scores.sum(), abs=1e-4
    )
    assert next(iter(shown["perturbed_probabilities"])) != likeliest[0]


def test_an_example_of_a_network_that_nothing_turns_is_the_first_image(coloured: Split) -> None:
    network: Any = Colours()
    shown = example(network, coloured, epsilon=0.0)
    assert_same([unpacked(shown["image"])], [coloured.images[0].ravel()])


def test_an_example_of_a_network_that_diverged_is_written_without_a_warning(
    coloured: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    network: Any = Colours()
    monkeypatch.setattr(network, "craft", lambda images, **_: np.full_like(images, np.nan))
    shown = example(network, coloured, epsilon=0.1)
    assert set(unpacked(shown["perturbed"])) == {0}


def test_pgd_takes_ten_steps_on_the_first_images_alone(
    coloured: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    network: Any = Colours()
    monkeypatch.setattr(evaluation, "PGD_IMAGES", 40)
    found = pgd_accuracy(network, coloured, epsilon=0.1, training=True)
    swapped = coloured.images[:40, 0, 0][:, [1, 0, 2]]
    assert found == pytest.approx((swapped.argmax(axis=1) == coloured.labels[:40]).mean())
    assert network.steps == {10}
    assert set(network.phases) == {True}


def test_pgd_leaves_the_model_as_it_was(stack: Stack, foreign_model: Model) -> None:
    images = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3)).astype(np.uint8)
    split = Split(images, np.zeros(32, int), np.full(32, -1), np.arange(32).astype(str))
    before = foreign_model.get_weights()
    found = pgd_accuracy(stack.network(foreign_model), split, epsilon=0.05, training=True)
    assert 0 <= found <= 1
    assert_same(before, foreign_model.get_weights())
