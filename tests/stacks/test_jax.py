"""Tests of what the stack of JAX alone has; the rest is in test_contract.py."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests import by_hand
from tests.stacks.conftest import linear_model

if os.environ.get("KERAS_BACKEND") != "jax":
    pytest.skip("KERAS_BACKEND is not jax: no Keras on JAX here", allow_module_level=True)

if TYPE_CHECKING:
    from suite.networks.types import Images
    from suite.stacks.protocol import Stack

EPSILON = 0.05


def test_the_attack_knows_more_than_cleverhans_ten_classes(stack: Stack, images: Images) -> None:
    stack.seed(0)
    model = linear_model(stack, classes=43)
    flat, kernel = images.reshape(len(images), -1), model.get_weights()[0]
    assert ((flat @ kernel).argmax(axis=1) >= 10).any()
    crafted = stack.network(model).craft(images, epsilon=EPSILON, training=False)
    expected = by_hand.linear_fgsm(kernel, flat, EPSILON).reshape(images.shape)
    np.testing.assert_allclose(crafted, expected, atol=1e-6)


def test_the_name_that_jax_dropped_is_given_to_cleverhans_alone(stack: Stack) -> None:
    assert stack.fast_gradient_method.__module__.startswith("cleverhans.jax")
    assert "jax.experimental.stax" not in sys.modules


@pytest.mark.parametrize(("side", "changed"), [(1, False), (2, True)])
def test_the_attack_in_the_training_phase_changes_no_pixel_where_a_layer_sees_one_value(
    stack: Stack, images: Images, side: int, changed: bool
) -> None:
    """ResNet-50 at 32 pixels is such a network: `suite.measure.run` refuses to train it so."""
    stack.seed(0)
    layers = stack.keras.layers
    inputs = stack.keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 8 // side, strides=8 // side)(inputs))
    model = stack.keras.Model(inputs, layers.Dense(5)(layers.Flatten()(x)))
    network = stack.network(model)
    crafted = network.craft(images, epsilon=EPSILON, training=True)
    assert (crafted != images).any() == changed
    assert (network.craft(images, epsilon=EPSILON, training=False) != images).any()
