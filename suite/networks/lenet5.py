"""LeNet-5 (LeCun et al. 1998) as published with the problem: 3x3 convolutions, average pooling."""

from __future__ import annotations

from suite.networks.types import Keras, Model


def build(keras: Keras, *, size_px: int, classes: int, width: float) -> Model:
    """Build LeNet-5 for ``(batch, size_px, size_px, 3)`` images in [0, 1], ending in logits.

    Args:
        keras: The Keras of the release under measurement.
        size_px: Side of the square images, in pixels.
        classes: Number of logits.
        width: Multiplies the channels and hidden units; 1 is the published size.
    """
    layers = keras.layers
    inputs = keras.Input((size_px, size_px, 3))
    x = inputs
    for channels in (6, 16):
        x = layers.Conv2D(round(channels * width), 3, activation="relu")(x)
        x = layers.AveragePooling2D(2)(x)
    x = layers.Flatten()(x)
    for units in (120, 84):
        x = layers.Dense(round(units * width), activation="relu")(x)
    return keras.Model(inputs, layers.Dense(classes)(x), name="lenet5")
