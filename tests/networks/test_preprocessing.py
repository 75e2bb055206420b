"""Tests of suite.networks.preprocessing: the modes are those of keras.applications."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import numpy as np
import pytest

from suite.errors import FixError
from suite.networks.batch_norm import batch_norms
from suite.networks.fixes import apply
from suite.networks.preprocessing import MODES, imagenet_inputs, preprocessing
from suite.networks.types import Model
from suite.stacks.protocol import Stack

CAFFE = ("resnet50", "resnet101", "resnet152", "vgg16", "vgg19")
TF = (
    "resnet50v2", "resnet101v2", "resnet152v2", "inception_v3", "inception_resnet_v2", "xception",
    "mobilenet_1.00_224", "mobilenetv2_0.35_96", "MobilenetV3small", "MobileNetV3Large", "NASNet",
    "nasnet_mobile",
)  # fmt: skip
TORCH = ("densenet121", "densenet169", "densenet201")


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


def test_the_scale_is_known_of_every_network_of_keras_applications_that_rescales_nothing(
    stack: Stack,
) -> None:
    """Small ones are built; the others are asked for by the names that they build."""
    applications, known = stack.keras.applications, dict.fromkeys(CAFFE, "caffe")
    known.update(dict.fromkeys(TF, "tf"), **dict.fromkeys(TORCH, "torch"))
    inputs = stack.keras.Input((32, 32, 3))
    for name, mode in known.items():
        assert preprocessing(stack.keras.Model(inputs, inputs, name=name)) == mode, name
    built = {
        applications.ResNet50: "caffe",
        applications.MobileNetV2: "tf",
        applications.DenseNet121: "torch",
    }
    if os.environ.get("KERAS_BACKEND") != "torch":  # Keras has no NASNet there
        built[applications.NASNetMobile] = "tf"
    for build, mode in built.items():
        options = {"include_top": False, "weights": None, "input_shape": (32, 32, 3)}
        model = build(**options)
        assert preprocessing(model) == mode, model.name
        head = stack.keras.layers.Dense(3)(stack.keras.layers.Flatten()(model(inputs)))
        assert preprocessing(stack.keras.Model(inputs, head, name="mine")) == mode, model.name


@pytest.mark.parametrize("name", ["mine", "my_resnet50v2", "resnet50v2_mine", "efficientnetv2-b0"])
def test_a_scale_that_nothing_tells_is_asked_for(
    stack: Stack, foreign_model: Model, name: str
) -> None:
    keras = stack.keras
    named = keras.Model(foreign_model.inputs, foreign_model.outputs, name=name)
    with pytest.raises(FixError, match=f'scale of {name}: .* Say how .*inputs="torch": RGB'):
        apply("imagenet-inputs", keras, named)
    for mode, row in MODES.items():
        fixed = apply("imagenet-inputs", keras, named, inputs=mode)
        assert fixed.changes == (f"inputs in [0, 1] preprocessed inside: {row.words}",)
    with pytest.raises(ValueError, match=r"^inputs must be one of caffe, .* Received: bgr"):
        apply("imagenet-inputs", keras, named, inputs="bgr")


@pytest.mark.parametrize(
    ("build", "options"),
    [("EfficientNetV2B0", {"input_shape": (32, 32, 3)}), ("ConvNeXtTiny", {})],
)
def test_networks_without_their_own_preprocessing_do_not_take_caffes(
    stack: Stack, build: str, options: dict[str, Any]
) -> None:
    applications = stack.keras.applications
    if not hasattr(applications, build):
        pytest.skip(f"this Keras has no {build}")
    make = partial(getattr(applications, build), include_top=False, weights=None, **options)
    assert preprocessing(make()) == "raw"
    with pytest.raises(FixError, match="cannot know the input scale"):
        preprocessing(make(include_preprocessing=False))


def test_imagenet_inputs_want_images(stack: Stack) -> None:
    inputs = stack.keras.Input((8, 8, 1))
    model = stack.keras.Model(inputs, stack.keras.layers.Flatten()(inputs))
    with pytest.raises(FixError, match="for models of RGB images"):
        apply("imagenet-inputs", stack.keras, model)


def test_imagenet_inputs_share_the_models_weights_and_add_none_that_learn(
    stack: Stack, foreign_model: Model
) -> None:
    fixed = imagenet_inputs(stack.keras, foreign_model, "caffe")
    assert fixed.count_params() == foreign_model.count_params() + 12
    learning = list(map(id, fixed.trainable_variables))
    assert learning == list(map(id, foreign_model.trainable_variables))
    assert [layer.name for layer in batch_norms(fixed)] == ["bn"]


def test_imagenet_inputs_keep_epsilon_in_pixels_and_let_the_gradient_through(
    stack: Stack, foreign_model: Model, images: np.ndarray
) -> None:
    fixed = apply("imagenet-inputs", stack.keras, foreign_model, inputs="caffe").model
    crafted = stack.network(fixed).craft(images, epsilon=0.01, training=False)
    change = np.abs(crafted - images)
    assert change.max() == pytest.approx(0.01, rel=1e-3)
    assert (change > 0.009).mean() > 0.5
    assert crafted.min() >= 0
    assert crafted.max() <= 1
