"""VGG19 (Simonyan & Zisserman 2015) without its top, the first layers frozen, with our head."""

from __future__ import annotations

from suite.networks.head import with_head
from suite.networks.types import Keras, Model, Tensor

BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # channels and convolutions of each
FROZEN_LAYERS = 8  # the input layer up to the first convolution of block 3, as published


def build(
    keras: Keras, *, size_px: int, classes: int, width: float, base_weights: str | None = None
) -> Model:
    """Build VGG19 for ``(batch, size_px, size_px, 3)`` images in [0, 1], ending in logits.

    Args:
        keras: The Keras of the release under measurement.
        size_px: Side of the square images, in pixels; at least 32.
        classes: Number of logits.
        width: Multiplies the channels and hidden units; at 1 the base is that of
            `keras.applications`.
        base_weights: The ``weights`` argument of `keras.applications`; used at width 1 only.
    """
    inputs = keras.Input((size_px, size_px, 3))
    if width == 1:
        base = keras.applications.VGG19(
            include_top=False, weights=base_weights, input_tensor=inputs
        )
        features = base.output
    else:
        features = convolutions(keras, inputs, width=width)
    model = with_head(keras, inputs, features, classes=classes, width=width)
    for layer in model.layers[:FROZEN_LAYERS]:
        layer.trainable = False
    return model


def convolutions(keras: Keras, x: Tensor, *, width: float) -> Tensor:
    """Put VGG19's five blocks on `x`, named as in `keras.applications`; return their features."""
    for block, (channels, count) in enumerate(BLOCKS, 1):
        for index in range(1, count + 1):
            x = keras.layers.Conv2D(
                round(channels * width),
                3,
                padding="same",
                activation="relu",
                name=f"block{block}_conv{index}",
            )(x)
        x = keras.layers.MaxPooling2D(2, strides=2, name=f"block{block}_pool")(x)
    return x
