"""Heads on a convolutional base: the published one (Flatten, sigmoid, logits), and a linear one."""

from __future__ import annotations

from suite.networks.types import Keras, Model, Tensor

HIDDEN_UNITS = 1024
HEAD_LAYERS = ("head_hidden", "head_logits")


def with_head(
    keras: Keras, inputs: Tensor, features: Tensor, *, classes: int, width: float
) -> Model:
    """Return a model from `inputs` to logits over the ``(batch, h, w, channels)`` `features`."""
    x = keras.layers.Flatten(name="head_flatten")(features)
    units = round(HIDDEN_UNITS * width)
    x = keras.layers.Dense(units, activation="sigmoid", name=HEAD_LAYERS[0])(x)
    return keras.Model(inputs, keras.layers.Dense(classes, name=HEAD_LAYERS[1])(x))


def with_linear_head(
    keras: Keras, inputs: Tensor, features: Tensor, *, classes: int, width: float
) -> Model:
    """Return a model from `inputs` to logits linear in the mean of `features` over the image."""
    del width
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(features)
    return keras.Model(inputs, keras.layers.Dense(classes, name=HEAD_LAYERS[1])(x))
