"""Small networks that the tests of a diagnosis break, and the images they were trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from suite.diagnose.anatomy import leaves
from suite.diagnose.diagnosis import diagnose
from suite.diagnose.found import Diagnosis
from suite.diagnose.predictions import Judge, Reader
from suite.diagnose.sample import Sample
from suite.networks.types import Keras, Model
from suite.stacks.protocol import Stack

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

Data: TypeAlias = "tuple[NDArray[np.float32], NDArray[np.int64]]"
Make: TypeAlias = "Callable[..., Model]"

QUIET = pytest.mark.filterwarnings(  # Keras' own get_weights on torch, with NumPy 2
    "ignore:__array__ implementation:DeprecationWarning"
)
CLASSES = 6
SIDE_PX = 12


def drawn(count: int, *, seed: int) -> Data:
    """Draw images of six patterns, in [0, 1], with noise and in different light."""
    patterns = np.random.default_rng(7).uniform(0, 1, (CLASSES, 4, 4, 3)).repeat(3, 1).repeat(3, 2)
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    light = rng.uniform(0.5, 1, (count, 1, 1, 1))
    images = light * patterns[labels] + rng.normal(0, 0.15, (count, SIDE_PX, SIDE_PX, 3))
    return np.clip(images, 0, 1).astype(np.float32), labels


def network(keras: Keras, *, norm: bool = True, softmax: bool = False, kind: Any = None) -> Model:
    """Build three convolutions and a head; `kind` is the class of the BatchNorm layers."""
    layers = keras.layers
    kind = kind or layers.BatchNormalization
    x = inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    for index, (width, stride) in enumerate(((8, 1), (16, 2), (16, 2))):
        x = layers.Conv2D(width, 3, strides=stride, use_bias=not norm, name=f"conv{index}")(x)
        x = kind(name=f"bn{index}", momentum=0.9)(x) if norm else x
        x = layers.Activation("relu")(x)
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling2D()(x))
    outputs = layers.Dense(CLASSES, activation="softmax" if softmax else None, name="head")(x)
    return keras.Model(inputs, outputs)


def fitted(stack: Stack, *, norm: bool) -> list[NDArray[Any]]:
    """Train a network for some seconds and return its weights."""
    stack.seed(0)
    keras = stack.keras
    model = network(keras, norm=norm)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss=loss)
    model.fit(*drawn(1600, seed=1), batch_size=32, epochs=2 if norm else 5, verbose=0)
    return list(model.get_weights())


def norms(model: Model) -> list[Any]:
    """List the BatchNorm layers."""
    return [layer for layer in leaves(model) if hasattr(layer, "moving_mean")]


def change(layer: Any, *, mean: float = 0, variance: float = 1) -> None:
    """Shift the mean by standard deviations of changing sign, and scale the variance."""
    *others, old_mean, old_variance = layer.get_weights()
    signs = np.where(np.arange(len(old_mean)) % 2, 1, -1)
    new_mean = old_mean + mean * signs * np.sqrt(old_variance)
    layer.set_weights([*others, new_mean, old_variance * variance])


def reset(model: Model) -> None:
    """Set all moving statistics to values that fit no image."""
    for layer in norms(model):
        *others, mean, variance = layer.get_weights()
        layer.set_weights([*others, 0 * mean + 5, 0 * variance + 60])


def scale_weights(layer: Any, factor: float) -> None:
    """Multiply a layer's kernel."""
    layer.set_weights([factor * layer.get_weights()[0], *layer.get_weights()[1:]])


def found(model: Model, data: Data, **options: Any) -> Diagnosis:
    """Diagnose without running the steps needed."""
    return diagnose(model, *data, **{"check_steps": 0, **options})


def sample_of(data: Data) -> Sample:
    """Take all images, in their order."""
    return Sample(*data)


def judge_of(data: Data, kind: str = "logits") -> Judge:
    """Judge outputs against the labels."""
    return Judge(data[1], Reader(kind))
