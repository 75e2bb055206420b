"""What the published problem calls AlexNet: six 3x3 convolutions with dropout.

It is not the network of Krizhevsky et al. 2012.
"""

from __future__ import annotations

from suite.networks.types import Keras, Model


def build(keras: Keras, *, size_px: int, classes: int, width: float) -> Model:
    """Build the network for ``(batch, size_px, size_px, 3)`` images in [0, 1], ending in logits.

    At 64 pixels, 43 classes and width 1 it has the published 2,668,875 parameters.

    Args:
        keras: The Keras of the release under measurement.
        size_px: Side of the square images, in pixels.
        classes: Number of logits.
        width: Multiplies the channels and hidden units; 1 is the published size.
    """
    layers = keras.layers
    inputs = keras.Input((size_px, size_px, 3))
    x = inputs
    for channels in (32, 64, 128):
        filters = round(channels * width)
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.Conv2D(filters, 3, activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
        x = layers.Dropout(0.2)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(round(512 * width), activation="relu")(x)
    x = layers.Dropout(0.5)(x)
    return keras.Model(inputs, layers.Dense(classes)(x), name="alexnet")
