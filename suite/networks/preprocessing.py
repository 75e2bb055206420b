"""How networks expect their pixels: the modes of `keras.applications`, in numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from suite.errors import FixError
from suite.networks.batch_norm import walk
from suite.networks.types import Keras, Model


class Preprocessing(NamedTuple):
    """One way of preprocessing, here of pixels in [0, 1].

    Attributes:
        words: Its description for users.
        unit: The value of white after rescaling.
        mean: Subtracted from each channel after rescaling, in the order of the result.
        deviation: Divides each channel after that.
        bgr: True where red and blue change places first.
    """

    words: str
    unit: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    deviation: tuple[float, ...] = (1.0, 1.0, 1.0)
    bgr: bool = False


HALF = (0.5, 0.5, 0.5)
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB in [0, 1]
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)
"""Mean pixel of ImageNet, 0 to 255, that `keras.applications` subtracts for ResNet-50 and VGG19."""

MODES: Mapping[str, Preprocessing] = MappingProxyType(
    {
        "caffe": Preprocessing(
            "0 to 255, BGR, ImageNet's mean subtracted (as ResNet-50 and VGG19 expect)",
            unit=255.0,
            mean=IMAGENET_MEAN_BGR,
            bgr=True,
        ),
        "tf": Preprocessing("RGB, -1 to 1 (as MobileNet's)", mean=HALF, deviation=HALF),
        "torch": Preprocessing(
            "RGB, ImageNet's mean subtracted, by its deviation (as DenseNet's)",
            mean=IMAGENET_MEAN,
            deviation=IMAGENET_DEVIATION,
        ),
        "raw": Preprocessing("RGB, 0 to 255: the model rescales them itself", unit=255.0),
    }
)
"""The modes of `keras.applications.imagenet_utils`, and the one of networks with a Rescaling."""

MODE_OF_NAME = (
    (re.compile(r"resnet(50|101|152)|vgg(16|19)"), "caffe"),
    (
        re.compile(
            r"resnet(50|101|152)v2|inception(_resnet_v2|_v3)|xception|nasnet(_\w+)?"
            r"|mobilenet(v2)?_\d\.\d\d_\w+|mobilenetv3_?(small|large)",
            re.IGNORECASE,
        ),
        "tf",
    ),
    (re.compile(r"densenet(121|169|201)"), "torch"),
)
"""The mode of the models of `keras.applications` that have such names, as a whole. The others of
that package rescale their pixels by layers of their own, unless they were built without."""

KNOWN = "ResNet, VGG, Inception, Xception, MobileNet, NASNet, DenseNet"


def preprocessing(model: Model, inputs: str = "") -> str:
    """Find the key of `MODES` for `model`, by its layers and the names of its nested models.

    Args:
        model: Built.
        inputs: The key, where the caller knows it; "" asks the model.

    Raises:
        ValueError: If `inputs` is neither "" nor a key of `MODES`.
        FixError: If nothing tells: the model rescales no pixels, and has a name of its user's own.
    """
    if inputs:
        if inputs not in MODES:
            raise ValueError(f"inputs must be one of {', '.join(MODES)}. Received: {inputs}")
        return inputs
    layers = list(walk(model))
    if any(type(layer).__name__ in ("Rescaling", "Normalization") for layer in layers):
        return "raw"
    names = [layer.name for layer in layers if hasattr(type(layer), "layers")]
    found = (mode for name in names for known, mode in MODE_OF_NAME if known.fullmatch(name))
    mode = next(found, "")
    if not mode:
        choices = "; ".join(f'inputs="{key}": {row.words}' for key, row in MODES.items())
        raise FixError(
            f"The fix imagenet-inputs cannot know the input scale of {names[0]}: no layer of it "
            f"rescales pixels, and it has no name of keras.applications' {KNOWN}. Say how its "
            f"weights were trained, as an argument of the fix: {choices}."
        )
    return mode


def imagenet_inputs(keras: Keras, model: Model, inputs: str = "") -> Model:
    """Put ImageNet's preprocessing in front of `model`, so that its statistics fit the data.

    The new model shares the weights of `model` and still takes RGB pixels in [0, 1], so epsilon
    keeps its meaning. The preprocessing is a fixed 1x1 convolution.

    Args:
        keras: The Keras that made `model`.
        model: Built.
        inputs: See `preprocessing`.

    Raises:
        ValueError: If `inputs` is neither "" nor a key of `MODES`.
        FixError: If `model` does not take RGB images, channels last, or its input scale is unknown.
    """
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[-1] != 3:  # noqa: PLR2004 - RGB
        raise FixError(
            "The fix imagenet-inputs is for models of RGB images (batch, height, width, 3); the "
            f"model {model.name} takes {shape}."
        )
    mode = MODES[preprocessing(model, inputs)]
    pixels = keras.Input(shape[1:])
    preprocess = keras.layers.Conv2D(3, 1, trainable=False, name="imagenet_preprocess")
    outputs = model(preprocess(pixels))
    kernel, bias = preprocess.get_weights()
    kernel[...] = 0.0
    for channel, (mean, deviation) in enumerate(zip(mode.mean, mode.deviation)):
        kernel[0, 0, 2 - channel if mode.bgr else channel, channel] = mode.unit / deviation
        bias[channel] = -mean / deviation
    preprocess.set_weights([kernel, bias])
    return keras.Model(pixels, outputs)
