"""Tests of what the stack of TensorFlow 1 alone has: the published code and its switches."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from suite.networks.phases import INFERENCE, PHASES, TRAINING, Phases
from tests import by_hand
from tests.stacks.conftest import linear_model

tf = pytest.importorskip("tensorflow")
if not tf.__version__.startswith("1."):
    pytest.skip("only TensorFlow 1 has sessions and runs CleverHans 3", allow_module_level=True)

if TYPE_CHECKING:
    from suite.networks.types import Images, Labels, Model
    from suite.stacks.protocol import Stack

EPSILON = 0.05
WAYS = by_hand.Ways(ddof=1, graph=True)


def test_the_published_attack_reaches_through_a_nested_model(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels
) -> None:
    inputs = stack.keras.Input((8, 8, 3))
    squeeze = stack.keras.layers.Conv2D(3, 1, name="squeeze")
    outer = stack.keras.Model(inputs, foreign_model(squeeze(inputs)))
    kernel, bias = squeeze.get_weights()
    weights, given = by_hand.parts(foreign_model)

    def passed(x: np.ndarray, labels: Labels) -> by_hand.Pass:
        return by_hand.forward_and_back(weights, x @ kernel[0, 0] + bias, labels, given)

    clean = passed(images, labels)
    inside = passed(images, clean.logits.argmax(axis=1)).to_images
    perturbed = np.clip(images + EPSILON * np.sign(inside @ kernel[0, 0].T), 0, 1)
    ces = [clean.ce, passed(perturbed, labels).ce]
    result = stack.train_step(outer, phases=PHASES["literal"], epsilon=EPSILON)(images, labels, 0.1)
    found = [result.loss, result.clean_ce, result.adversarial_ce]
    np.testing.assert_allclose(found, [np.mean(ces), *ces], rtol=1e-4)


def test_the_pinned_phase_stays_within_the_literal_step(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels
) -> None:
    literal = stack.train_step(linear_model(stack), phases=PHASES["literal"], epsilon=EPSILON)
    plain = stack.train_step(foreign_model, phases=None, epsilon=EPSILON)
    expected = by_hand.step(foreign_model, images, labels, None, epsilon=EPSILON, ways=WAYS)
    literal(images, labels, 0.1)
    _, before = by_hand.parts(foreign_model)
    assert plain(images, labels, 0.1).loss == pytest.approx(expected.losses[0], rel=1e-4)
    assert (by_hand.parts(foreign_model)[1][0] != before[0]).all()
    assert not isinstance(stack.keras.backend.learning_phase(), int)


def test_a_plain_step_beside_an_adversarial_one_updates_the_statistics_once(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels
) -> None:
    stack.train_step(foreign_model, phases=PHASES["intended"], epsilon=EPSILON)
    plain = stack.train_step(foreign_model, phases=None, epsilon=EPSILON)
    weights, old = by_hand.parts(foreign_model)
    batch = by_hand.moments(by_hand.features(weights, images))
    plain(images, labels, 0.1)
    _, new = by_hand.parts(foreign_model)
    np.testing.assert_allclose(new[0] - old[0], 0.01 * (batch[0] - old[0]), 2e-2)


def test_a_second_adversarial_step_of_one_model_is_refused(
    stack: Stack, foreign_model: Model
) -> None:
    stack.train_step(foreign_model, phases=PHASES["intended"], epsilon=EPSILON)
    with pytest.raises(ValueError, match=r"model must have no other adversarial step.* Received: "):
        stack.train_step(foreign_model, phases=PHASES["literal"], epsilon=EPSILON)


def test_gradients_under_the_clean_batchs_statistics_are_refused(
    stack: Stack, foreign_model: Model
) -> None:
    phases = Phases(TRAINING, INFERENCE, "clean-kept")
    with pytest.raises(ValueError, match=r"clean batch.*TensorFlow 1.* Received: "):
        stack.gradients(foreign_model, phases=phases, epsilon=EPSILON)


def test_a_training_pass_updates_by_the_momentum_of_that_moment_and_no_other_pass_does(
    stack: Stack, foreign_model: Model, images: Images
) -> None:
    before = foreign_model.get_weights()
    weights, _ = by_hand.parts(foreign_model)
    stack.network(foreign_model).logits(images, training=True)
    _, old = by_hand.parts(foreign_model)
    foreign_model.get_layer("bn").momentum = 0.0
    foreign_model.set_weights(before)
    network = stack.network(foreign_model)
    for training in (False, True):
        network.craft(images, epsilon=EPSILON, training=training)
    network.logits(images, training=False)
    for kept, weight in zip(before, foreign_model.get_weights()):
        np.testing.assert_array_equal(weight, kept)
    network.logits(images, training=True)
    batches = by_hand.moments(by_hand.features(weights, images), ddof=1)
    for found, batch, moved in zip(by_hand.parts(foreign_model)[1], batches, old):
        np.testing.assert_allclose(found, batch, rtol=1e-4, atol=1e-6)
        assert (np.abs(moved - batch) > 1e-3).all()


def test_saturated_outputs_keep_their_cross_entropy(
    stack: Stack, linear: Model, images: Images, labels: Labels
) -> None:
    """Keras sees the logits behind the softmax: nothing is clipped at 1e-7, which is 16 nats."""
    kernel = 300 * linear.get_weights()[0]
    linear.set_weights([kernel])
    logits = images.reshape(len(images), -1) @ kernel
    expected = (logits.max(axis=1) - logits[np.arange(6), labels]).mean()
    for phases in (None, PHASES["literal"]):
        result = stack.train_step(linear, phases=phases, epsilon=0.0)(images, labels, 0.0)
        assert expected > 30
        assert result.clean_ce == pytest.approx(expected, rel=1e-3)
        assert result.loss == pytest.approx(expected, rel=1e-3)


def test_versions_are_those_of_the_published_stack(stack: Stack) -> None:
    versions = stack.versions()
    assert versions["keras"] == "2.2.4-tf"
    assert versions["python"].startswith("3.7")


def test_the_stand_in_for_tensorflow_addons_is_gone_after_the_import() -> None:
    assert "tensorflow_addons" not in sys.modules
