"""Tests of suite.fixes: each changes what it names and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from suite.fixes import FIXES, batch_norms
from suite.stacks import Stack
from suite.types import Model


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).random((4, 8, 8, 3), dtype=np.float32)


def test_the_control_changes_nothing(stack: Stack, foreign_model: Model) -> None:
    before = foreign_model.get_weights()
    assert FIXES["none"](stack.keras, foreign_model) is foreign_model
    for old, new in zip(before, foreign_model.get_weights()):
        np.testing.assert_array_equal(old, new)
    assert [layer.momentum for layer in batch_norms(foreign_model)] == pytest.approx([0.99])


def test_momentum_becomes_one_half_in_nested_layers_too(
    stack: Stack, foreign_model: Model, images: np.ndarray
) -> None:
    keras = stack.keras
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization(name="outer")(inputs)
    nested = keras.Model(inputs, foreign_model(x))
    fixed = FIXES["bn-momentum-0.5"](keras, nested)
    for old, new in zip(nested.get_weights(), fixed.get_weights()):
        np.testing.assert_array_equal(old, new)
    assert [layer.momentum for layer in batch_norms(nested)] == pytest.approx([0.99, 0.99])
    assert [(layer.name, layer.momentum) for layer in batch_norms(fixed)] == [
        ("outer", 0.5),
        ("bn", 0.5),
    ]
    stack.network(fixed).logits(images, training=True)
    *_, moved, _ = fixed.get_layer("outer").get_weights()
    np.testing.assert_allclose(moved, images.mean(axis=(0, 1, 2)) / 2, rtol=1e-4)


def test_imagenet_inputs_are_the_preprocessing_of_keras_applications(
    stack: Stack, foreign_model: Model, images: np.ndarray
) -> None:
    fixed = FIXES["imagenet-inputs"](stack.keras, foreign_model)
    preprocess = stack.keras.applications.imagenet_utils.preprocess_input
    prepared = preprocess(images.astype(np.float64) * 255, mode="caffe").astype(np.float32)
    for training in (False, True):
        expected = stack.network(foreign_model).logits(prepared, training=training)
        found = stack.network(fixed).logits(images, training=training)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_imagenet_inputs_share_the_models_weights_and_add_none_that_learn(
    stack: Stack, foreign_model: Model
) -> None:
    fixed = FIXES["imagenet-inputs"](stack.keras, foreign_model)
    assert fixed.count_params() == foreign_model.count_params() + 12
    learning = list(map(id, fixed.trainable_variables))
    assert learning == list(map(id, foreign_model.trainable_variables))
    assert [layer.name for layer in batch_norms(fixed)] == ["bn"]


def test_imagenet_inputs_keep_epsilon_in_pixels_and_let_the_gradient_through(
    stack: Stack, foreign_model: Model, images: np.ndarray
) -> None:
    fixed = FIXES["imagenet-inputs"](stack.keras, foreign_model)
    crafted = stack.network(fixed).craft(images, epsilon=0.01, training=False)
    change = np.abs(crafted - images)
    assert change.max() == pytest.approx(0.01, rel=1e-3)
    assert (change > 0.009).mean() > 0.5
    assert crafted.min() >= 0
    assert crafted.max() <= 1
