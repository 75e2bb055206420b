"""The input scales are those of `keras.applications`, by the names of its networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from suite.networks.preprocessing import imagenet_inputs

if TYPE_CHECKING:
    from suite.stacks.protocol import Stack

MODULES = {
    "resnet50": "resnet", "resnet101": "resnet", "resnet152": "resnet", "vgg16": "vgg16",
    "vgg19": "vgg19", "resnet50v2": "resnet_v2", "resnet101v2": "resnet_v2",
    "inception_v3": "inception_v3", "inception_resnet_v2": "inception_resnet_v2",
    "xception": "xception", "mobilenet_1.00_224": "mobilenet", "mobilenetv2_1.00_224":
    "mobilenet_v2", "nasnet_mobile": "nasnet", "densenet121": "densenet", "densenet201": "densenet",
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_the_network_of_a_name_gets_its_own_preprocess_input(stack: Stack, name: str) -> None:
    inputs = stack.keras.Input((8, 8, 3))
    model = imagenet_inputs(stack.keras, stack.keras.Model(inputs, inputs, name=name))
    images = np.random.default_rng(0).random((4, 8, 8, 3), dtype=np.float32)
    theirs = getattr(stack.keras.applications, MODULES[name]).preprocess_input
    expected = theirs(images.astype(np.float64) * 255)
    found = stack.network(model).logits(images, training=False)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
