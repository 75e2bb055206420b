"""Tests of suite.networks.preprocessing: the modes are those of keras.applications."""

from __future__ import annotations

import numpy as np
import pytest

from suite.errors import FixError
from suite.networks.batch_norm import batch_norms
from suite.networks.fixes import apply
from suite.networks.preprocessing import MODES, imagenet_inputs
from suite.networks.types import Model
from suite.stacks.protocol import Stack


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("resnet50", "resnet50"),
        ("mobilenetv2_1.00_32", "mobilenet_v2"),
        ("densenet121", "densenet"),
    ],
)
def test_imagenet_inputs_are_the_preprocessing_of_keras_applications(
    stack: Stack, foreign_model: Model, images: np.ndarray, name: str, module: str
) -> None:
    keras = stack.keras
    named = keras.Model(foreign_model.inputs, foreign_model.outputs, name=name)
    fixed = apply("imagenet-inputs", keras, named)
    preprocess = getattr(keras.applications, module).preprocess_input
    prepared = preprocess(images.astype(np.float64) * 255).astype(np.float32)
    for training in (False, True):
        expected = stack.network(named).logits(prepared, training=training)
        found = stack.network(fixed.model).logits(images, training=training)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_imagenet_inputs_leave_scaling_to_a_model_that_scales(stack: Stack) -> None:
    if not hasattr(stack.keras.layers, "Rescaling"):
        pytest.skip("Keras before 2.6 has no layer Rescaling")
    inputs = stack.keras.Input((8, 8, 3))
    model = stack.keras.Model(inputs, stack.keras.layers.Rescaling(1 / 255)(inputs))
    (words,) = apply("imagenet-inputs", stack.keras, model).changes
    assert MODES["raw"].words in words


def test_imagenet_inputs_want_images(stack: Stack) -> None:
    inputs = stack.keras.Input((8, 8, 1))
    model = stack.keras.Model(inputs, stack.keras.layers.Flatten()(inputs))
    with pytest.raises(FixError, match="for models of RGB images"):
        apply("imagenet-inputs", stack.keras, model)


def test_imagenet_inputs_share_the_models_weights_and_add_none_that_learn(
    stack: Stack, foreign_model: Model
) -> None:
    fixed = imagenet_inputs(stack.keras, foreign_model)
    assert fixed.count_params() == foreign_model.count_params() + 12
    learning = list(map(id, fixed.trainable_variables))
    assert learning == list(map(id, foreign_model.trainable_variables))
    assert [layer.name for layer in batch_norms(fixed)] == ["bn"]


def test_imagenet_inputs_keep_epsilon_in_pixels_and_let_the_gradient_through(
    stack: Stack, foreign_model: Model, images: np.ndarray
) -> None:
    fixed = apply("imagenet-inputs", stack.keras, foreign_model).model
    crafted = stack.network(fixed).craft(images, epsilon=0.01, training=False)
    change = np.abs(crafted - images)
    assert change.max() == pytest.approx(0.01, rel=1e-3)
    assert (change > 0.009).mean() > 0.5
    assert crafted.min() >= 0
    assert crafted.max() <= 1
