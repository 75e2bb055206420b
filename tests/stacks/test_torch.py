"""Tests of what the stack of PyTorch alone has; the rest is in test_contract.py."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if os.environ.get("KERAS_BACKEND") != "torch":
    pytest.skip("KERAS_BACKEND is not torch: no Keras on PyTorch here", allow_module_level=True)

if TYPE_CHECKING:
    from suite.networks.types import Images, Model
    from suite.stacks.protocol import Stack


def test_the_attack_leaves_no_gradient_at_the_weights(
    stack: Stack, linear: Model, images: Images
) -> None:
    stack.network(linear).craft(images, epsilon=0.05, training=False)
    assert [variable.value.grad for variable in linear.trainable_variables] == [None]
