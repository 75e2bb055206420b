"""ResNet-50 (He et al. 2016) without its top, at full size or with fewer blocks and channels."""

from __future__ import annotations

from collections.abc import Callable

from suite.networks.head import with_head
from suite.networks.types import Keras, Model, Tensor

BLOCKS = (3, 4, 6, 3)  # of each stage, as published
CHANNELS = (64, 128, 256, 512)  # of each stage, inside its blocks
STEM = 64  # channels of the first convolution
EXPANSION = 4  # a block has so many times more channels at its end
FIRST_STAGE = 2  # the stem counts as stage 1
EPSILON = 1.001e-5  # of every BatchNorm, as in `keras.applications`; TF 1.14 had 1e-3


def build(
    keras: Keras,
    *,
    size_px: int,
    classes: int,
    width: float,
    blocks: tuple[int, ...] = BLOCKS,
    base_weights: str | None = None,
    head: Callable[..., Model] = with_head,
) -> Model:
    """Build ResNet-50 for ``(batch, size_px, size_px, 3)`` images in [0, 1], ending in logits.

    Args:
        keras: The Keras of the release under measurement.
        size_px: Side of the square images, in pixels; at least 32.
        classes: Number of logits.
        width: Multiplies the channels and hidden units.
        blocks: Bottleneck blocks of the four stages. At width 1 and with the published blocks
            the base is that of `keras.applications`.
        base_weights: The ``weights`` argument of `keras.applications`; used there only.
        head: Puts a classifier on the features, as `with_head` does.
    """
    inputs = keras.Input((size_px, size_px, 3))
    if width == 1 and tuple(blocks) == BLOCKS:
        base = keras.applications.ResNet50(
            include_top=False, weights=base_weights, input_tensor=inputs
        )
        features = base.output
    else:
        features = convolutions(keras, inputs, width=width, blocks=blocks)
    return head(keras, inputs, features, classes=classes, width=width)


def build_half(keras: Keras, *, size_px: int, classes: int, width: float) -> Model:
    """Build the ResNet-50 with half the channels whose weights photographs gave.

    Its stem and the published head are as wide as ever (ResNet-50-1by2 of open_nsfw, Mahadeokar &
    Pesavento 2016, whose BatchNorms have an epsilon of 1e-5).

    Args:
        keras: The Keras of the release under measurement.
        size_px: Side of the square images, in pixels; at least 32.
        classes: Number of logits.
        width: Multiplies the channels and hidden units; 1 is the size of the weights.
    """
    inputs = keras.Input((size_px, size_px, 3))
    stem = round(STEM * width)
    features = convolutions(keras, inputs, width=width / 2, blocks=BLOCKS, stem=stem)
    return with_head(keras, inputs, features, classes=classes, width=width)


def convolutions(
    keras: Keras, x: Tensor, *, width: float, blocks: tuple[int, ...], stem: int | None = None
) -> Tensor:
    """Put stem and stages on `x`, named as in `keras.applications`; return their features.

    The `stem` has `width` times the published channels, unless told otherwise.
    """
    layers = keras.layers
    x = layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = layers.Conv2D(stem or round(STEM * width), 7, strides=2, name="conv1_conv")(x)
    x = layers.BatchNormalization(epsilon=EPSILON, name="conv1_bn")(x)
    x = layers.Activation("relu", name="conv1_relu")(x)
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    for stage, (count, channels) in enumerate(zip(blocks, CHANNELS), FIRST_STAGE):
        for index in range(1, count + 1):
            stride = 2 if index == 1 and stage > FIRST_STAGE else 1
            name = f"conv{stage}_block{index}"
            x = bottleneck(
                keras, x, round(channels * width), stride=stride, project=index == 1, name=name
            )
    return x


def bottleneck(
    keras: Keras, x: Tensor, channels: int, *, stride: int, project: bool, name: str
) -> Tensor:
    """Put one bottleneck block on `x`: 1x1 (strided), 3x3, 1x1, each with BatchNorm; then a sum."""
    shortcut = x
    if project:
        shortcut = normalised(keras, x, channels * EXPANSION, 1, stride, name=f"{name}_0")
    x = normalised(keras, x, channels, 1, stride, name=f"{name}_1")
    x = keras.layers.Activation("relu", name=f"{name}_1_relu")(x)
    x = normalised(keras, x, channels, 3, 1, name=f"{name}_2")
    x = keras.layers.Activation("relu", name=f"{name}_2_relu")(x)
    x = normalised(keras, x, channels * EXPANSION, 1, 1, name=f"{name}_3")
    x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
    return keras.layers.Activation("relu", name=f"{name}_out")(x)


def normalised(
    keras: Keras, x: Tensor, channels: int, kernel: int, stride: int, *, name: str
) -> Tensor:
    """Put a convolution and a BatchNorm on `x`."""
    layers = keras.layers
    x = layers.Conv2D(channels, kernel, strides=stride, padding="same", name=f"{name}_conv")(x)
    return layers.BatchNormalization(epsilon=EPSILON, name=f"{name}_bn")(x)
