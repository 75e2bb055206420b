"""Classifiers for a convolutional base: the published one (Flatten, sigmoid) and a linear one."""

from __future__ import annotations

from suite.networks.types import Keras, Model, Tensor

HIDDEN_UNITS = 1024  # as published
HEAD_LAYERS = ("head_hidden", "head_logits")  # the layers of a head that have weights


def with_head(
    keras: Keras, inputs: Tensor, features: Tensor, *, classes: int, width: float
) -> Model:
    """Put the published head on `features`, ``(batch, height, width, channels)``.

    The model returned goes from `inputs` to logits.
    """
    x = keras.layers.Flatten(name="head_flatten")(features)
    units = round(HIDDEN_UNITS * width)
    x = keras.layers.Dense(units, activation="sigmoid", name=HEAD_LAYERS[0])(x)
    return keras.Model(inputs, keras.layers.Dense(classes, name=HEAD_LAYERS[1])(x))


def with_linear_head(
    keras: Keras, inputs: Tensor, features: Tensor, *, classes: int, width: float
) -> Model:
    """Put a head on `features` that is linear in their means over the image.

    The model returned goes from `inputs` to logits.
    """
    del width  # no hidden units
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(features)
    return keras.Model(inputs, keras.layers.Dense(classes, name=HEAD_LAYERS[1])(x))
