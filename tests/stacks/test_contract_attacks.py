"""Tests of the passes and attacks that every stack makes alike, against sums by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from suite.measure.evaluation import cross_entropy
from tests import by_hand
from tests.stacks.conftest import Contract

if TYPE_CHECKING:
    from suite.networks.types import Images, Model
    from suite.stacks.protocol import Stack

EPSILON = 0.05


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_logits_and_attack_run_in_the_phase_asked_for(
    stack: Stack, contract: Contract, model: Model, images: Images, training: bool
) -> None:
    network, state = stack.network(model), model.get_weights()
    (weights, old), ways = by_hand.parts(model), contract.ways
    batch = by_hand.moments(by_hand.features(weights, images), ways.ddof)
    given = {False: old, True: None}
    none = np.zeros(len(images), np.int64)
    expected = by_hand.forward_and_back(weights, images, none, given[training]).logits
    found = network.logits(images, training=training)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert_moved(model, old, batch, training * 1)
    model.set_weights(state)
    crafted = network.craft(images, epsilon=EPSILON, training=training)
    assert_moved(model, old, batch, training * contract.crafting_updates)
    attacked, other = (
        by_hand.fgsm(weights, images, given[phase], epsilon=EPSILON, alone=ways.alone and phase)
        for phase in (training, not training)
    )
    assert (np.abs(crafted - attacked) > 1e-6).mean() < 0.01  # rounding decides the sign of zeros
    assert (np.abs(crafted - other) > 1e-6).mean() > 0.1


def assert_moved(model: Model, old: list[np.ndarray], batch: list[np.ndarray], times: int) -> None:
    """Fail if the statistics did not go towards the batch's so many times from the `old` ones."""
    goal = old
    for _ in range(times):
        goal = by_hand.moved(goal, batch, float(model.get_layer("bn").momentum))
    for before, after, expected in zip(old, by_hand.parts(model)[1], goal):
        np.testing.assert_allclose(after - before, expected - before, rtol=1e-3, atol=2e-6)


def test_the_attack_stays_within_epsilon_and_the_pixels_range(
    stack: Stack, linear: Model, images: Images
) -> None:
    network = stack.network(linear)
    crafted = network.craft(images, epsilon=EPSILON, training=False)
    flat = images.reshape(len(images), -1)
    expected = by_hand.linear_fgsm(linear.get_weights()[0], flat, EPSILON).reshape(images.shape)
    np.testing.assert_allclose(crafted, expected, atol=1e-6)
    assert crafted.min() == 0
    assert crafted.max() == 1
    assert np.abs(crafted - images).max() == pytest.approx(EPSILON, rel=1e-4)
    smaller = network.craft(images, epsilon=EPSILON / 2, training=False)
    assert np.abs(smaller - images).max() == pytest.approx(EPSILON / 2, rel=1e-4)


def test_crafting_follows_a_change_of_the_weights(
    stack: Stack, linear: Model, images: Images
) -> None:
    network = stack.network(linear)
    first = network.craft(images, epsilon=EPSILON, training=False)
    linear.set_weights([-2 * linear.get_weights()[0][:, ::-1]])
    flat = images.reshape(len(images), -1)
    expected = by_hand.linear_fgsm(linear.get_weights()[0], flat, EPSILON)
    second = network.craft(images, epsilon=EPSILON, training=False)
    np.testing.assert_allclose(second.reshape(expected.shape), expected, atol=1e-6)
    assert (first != second).any()


def test_several_steps_stay_within_epsilon_and_raise_the_loss_beyond_one(
    stack: Stack, model: Model, images: Images
) -> None:
    network = stack.network(model)
    predicted = network.logits(images, training=False).argmax(axis=1)
    found = {
        steps: network.craft(images, epsilon=EPSILON, training=False, steps=steps)
        for steps in (1, 2, 10)
    }
    ce = {
        steps: cross_entropy(network.logits(x, training=False), predicted)
        for steps, x in found.items()
    }
    for x in found.values():
        assert np.abs(x - images).max() <= EPSILON * (1 + 1e-5)
        assert x.min() >= 0
        assert x.max() <= 1
    assert ce[10] > ce[1] > cross_entropy(network.logits(images, training=False), predicted)


def test_several_steps_start_at_random_and_follow_the_seed(
    ordered: Stack, model: Model, images: Images
) -> None:
    network = ordered.network(model)

    def crafted(seed: int) -> Images:
        ordered.seed(seed)
        return network.craft(images, epsilon=EPSILON, training=False, steps=3)

    first, again, other = crafted(1), crafted(1), crafted(2)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_no_step_is_refused(stack: Stack, model: Model, images: Images) -> None:
    with pytest.raises(ValueError, match="steps"):
        stack.network(model).craft(images, epsilon=EPSILON, training=False, steps=0)
