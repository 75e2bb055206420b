"""Tests of suite.training: the schedule, the order of the batches, the clock and the evaluation."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import entropy

from suite.data import Split
from suite.data.split import pixels
from suite.measure import training
from suite.measure.evaluation import cross_entropy, evaluate, log_likelihood
from suite.measure.training import Batch, batches, learning_rate, timed, train
from suite.networks.types import Images, Labels, Model
from suite.stacks.protocol import Stack, StepResult


@pytest.fixture
def numbered() -> Split:
    """Return 20 images, each holding its own number in every pixel, labelled 42 minus it."""
    numbers = np.arange(20)
    images = np.broadcast_to(numbers[:, None, None, None], (20, 2, 2, 3)).astype(np.uint8)
    return Split(images, 42 - numbers, np.full(20, -1), numbers.astype(str))


def shown(batch: Batch) -> list[int]:
    return np.rint(batch.images[:, 0, 0, 0] * 255).astype(int).tolist()


def order(split: Split, *, seed: int, epochs: int = 3) -> list[list[int]]:
    return [shown(batch) for batch in batches(split, batch_size=6, epochs=epochs, seed=seed)]


def test_pixels_lie_in_0_to_1_as_float32() -> None:
    scaled = pixels(np.array([[[[0, 51, 255]]]], dtype=np.uint8))
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.ravel(), [0, 0.2, 1], rtol=1e-6)
    assert scaled.max() == 1


@pytest.mark.parametrize(
    ("step", "epoch", "rate"),
    [
        (0, 0, 0.001),
        (0, 9, 0.001),
        (0, 10, 0.0001),
        (0, 29, 0.00001),
        (10_000, 0, 0.001 / 1.01),
        (1_000_000, 10, 0.00005),
    ],
)
def test_the_rate_falls_tenfold_every_ten_epochs_and_decays_each_step(
    step: int, epoch: int, rate: float
) -> None:
    assert learning_rate(0.001, step=step, epoch=epoch) == pytest.approx(rate, rel=1e-12)


def test_every_epoch_shows_full_batches_of_images_at_most_once(numbered: Split) -> None:
    seen = order(numbered, seed=0)
    assert len(seen) == 9
    for epoch in (seen[:3], seen[3:6], seen[6:]):
        numbers = list(itertools.chain(*epoch))
        assert len(numbers) == len(set(numbers)) == 18


def test_labels_stay_with_their_images(numbered: Split) -> None:
    for batch in batches(numbered, batch_size=6, epochs=2, seed=1):
        assert batch.labels.tolist() == [42 - number for number in shown(batch)]
        assert batch.labels.dtype == np.int64


def test_steps_and_epochs_are_counted_over_the_whole_run(numbered: Split) -> None:
    places = [(b.step, b.epoch) for b in batches(numbered, batch_size=6, epochs=3, seed=0)]
    assert places == [(step, step // 3) for step in range(9)]


def test_batches_are_reshuffled_each_epoch_and_seeded(numbered: Split) -> None:
    seen = order(numbered, seed=0)
    assert seen == order(numbered, seed=0)
    assert seen != order(numbered, seed=1)
    assert seen[:3] != seen[3:6] != seen[6:]
    assert sorted(itertools.chain(*seen[:3])) != list(itertools.chain(*seen[:3]))


def test_batches_mix_the_whole_split(numbered: Split) -> None:
    spans = [max(numbers) - min(numbers) for numbers in order(numbered, seed=0)]
    assert np.mean(spans) > 10


def test_a_batch_larger_than_the_split_is_refused(numbered: Split) -> None:
    with pytest.raises(ValueError, match=r"batch_size must be at most 20, .* Received: 21"):
        next(batches(numbered, batch_size=21, epochs=1, seed=0))


def step_noting(rates: list[float]) -> Callable[[Images, Labels, float], StepResult]:
    def step(images: Images, labels: Labels, rate: float) -> StepResult:
        del images, labels
        rates.append(rate)
        return StepResult(1.5, 1.5, 0.5)

    return step


def test_each_step_gets_the_scheduled_rate_and_its_own_duration(
    numbered: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter([1.0, 1.25])
    monkeypatch.setattr(training, "clock_s", lambda: next(ticks))
    batch = next(batches(numbered, batch_size=6, epochs=1, seed=0))._replace(step=1000, epoch=10)
    rates: list[float] = []
    done = timed(step_noting(rates), batch, base_rate=0.01)
    assert done.step_s == 0.25
    assert done.result.loss == 1.5
    assert rates == [pytest.approx(0.001 / 1.001, rel=1e-9)]


def test_train_makes_every_step_in_order(numbered: Split) -> None:
    rates: list[float] = []
    source = batches(numbered, batch_size=6, epochs=11, seed=0)
    done = list(train(step_noting(rates), source, steps=33, base_rate=1.0, title="test"))
    assert [made.batch.step for made in done] == list(range(33))
    assert rates[:30] == [1 / (1 + 1e-6 * step) for step in range(30)]
    assert rates[30] == pytest.approx(0.1, rel=1e-3)


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

    model = None

    def __init__(self) -> None:
        self.phases: list[bool] = []
        self.sizes: set[int] = set()

    def logits(self, images: Images, *, training: bool) -> np.ndarray:
        self.phases.append(training)
        self.sizes.add(len(images))
        logits = np.full((len(images), 43), -50, np.float32)
        logits[:, :3] = images[:, 0, 0] * 4
        return logits

    def craft(self, images: Images, *, epsilon: float, training: bool, steps: int = 1) -> Images:
        del steps
        self.phases.append(training)
        return images[..., [1, 0, 2]] if epsilon else images


@pytest.fixture
def coloured() -> Split:
    """Return 70 images of a random first colour, more than two evaluation batches."""
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
    for old, new in zip(before, foreign_model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    bound = entropy(np.bincount(split.labels))
    gains = [bound - cross_entropy(scores, split.labels) for scores in (logits, attacked)]
    assert measured["information_gain"] == pytest.approx(gains[0], abs=1e-4)
    assert measured["adversarial_information_gain"] == pytest.approx(gains[1], abs=1e-4)
    assert gains[0] != pytest.approx(gains[1], abs=1e-3)
