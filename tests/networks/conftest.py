"""Fixtures of the tests of networks: models with BatchNorm in every place, and fixes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suite.networks.batch_norm import batch_norms
from suite.networks.fixes import apply
from suite.networks.types import Keras, Model
from suite.stacks.protocol import Stack

SAVING = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning",  # Keras 3 saves variables so
    "ignore:You are saving your model as an HDF5:UserWarning",  # Keras 2.13 on
)
"""For the tests that save models."""


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).random((4, 8, 8, 3), dtype=np.float32)


@pytest.fixture
def nested(stack: Stack, foreign_model: Model) -> Model:
    """Build a model that calls another twice, once pinned, and a shared BatchNorm twice."""
    layers = stack.keras.layers
    inputs = stack.keras.Input((8, 8, 3))
    shared = layers.BatchNormalization(name="shared", scale=False)
    x = layers.TimeDistributed(layers.BatchNormalization(name="wrapped"))(shared(inputs))
    twice = layers.Add()([foreign_model(shared(x)), foreign_model(x, training=False)])
    model = stack.keras.Model(inputs, layers.Dense(3, name="head")(twice), name="outer")
    return foreign(model)


@pytest.fixture
def block(stack: Stack) -> type:
    """Define a custom layer that holds a BatchNorm in a list."""
    layers = stack.keras.layers

    class Block(layers.Layer):  # type: ignore[misc, name-defined]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.conv = layers.Conv2D(3, 1, name="inner_conv")
            self.norms = [layers.BatchNormalization(name="inner_bn")]

        def call(self, inputs: Any, training: Any = None) -> Any:
            return self.norms[0](self.conv(inputs), training=training)

    return Block


@pytest.fixture
def composite(stack: Stack, block: Callable[..., Model]) -> Model:
    inputs = stack.keras.Input((8, 8, 3))
    outputs = stack.keras.layers.Flatten()(block(name="block")(inputs))
    return foreign(stack.keras.Model(inputs, outputs))


def foreign(model: Model) -> Model:
    """Give every BatchNorm of `model` the statistics of other data."""
    rng = np.random.default_rng(2)
    for layer in batch_norms(model):
        *learned, mean, variance = layer.get_weights()
        mean, variance = rng.normal(0, 0.3, mean.shape), rng.uniform(0.5, 2, variance.shape)
        layer.set_weights([*learned, mean, variance])
    return model


def recompute(model: Model) -> None:
    """Stand in for data: mean 2 and variance 3 everywhere."""
    for layer in batch_norms(model):
        *learned, mean, variance = layer.get_weights()
        layer.set_weights([*learned, 0 * mean + 2, 0 * variance + 3])


def fixed_model(name: str, keras: Keras, model: Model) -> Model:
    """Apply a fix to a model, or skip the one that this Keras does not have."""
    if name == "group-norm" and not hasattr(keras.layers, "GroupNormalization"):
        pytest.skip("Keras before 2.11 has no GroupNormalization")
    return apply(name, keras, model, recompute=recompute, inputs="caffe").model


def reloaded(keras: Keras, model: Model, folder: Path, **custom_objects: Any) -> Model:
    """Save `model` and load it again, in the format of its Keras."""
    path = folder / ("model.keras" if hasattr(keras, "ops") else "model.h5")
    model.save(str(path))
    return keras.models.load_model(str(path), custom_objects=custom_objects, compile=False)
