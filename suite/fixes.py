"""The named BatchNorm fixes, each a small pure change of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from suite.types import Keras, Model

IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)
"""Mean pixel of ImageNet, 0 to 255, that `keras.applications` subtracts for ResNet-50 and VGG19."""


def batch_norms(model: Model) -> Iterator[Model]:
    """Yield the BatchNorm layers of `model` in order, those of nested models included."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from batch_norms(layer)
        elif type(layer).__name__ == "BatchNormalization":
            yield layer


def unchanged(keras: Keras, model: Model) -> Model:
    """Return `model` as it is: the control."""
    del keras
    return model


def momentum_half(keras: Keras, model: Model) -> Model:
    """Return a copy of `model` with BatchNorm momentum 0.5: its statistics follow in few steps.

    A copy with the same weights, as published: TensorFlow 1 takes the momentum into its graph
    when a layer is called, and a change of the attribute would come too late.
    """
    layers = list(batch_norms(model))
    former = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.5
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for layer, momentum in zip(layers, former):
        layer.momentum = momentum
    return copy


def imagenet_inputs(keras: Keras, model: Model) -> Model:
    """Return `model` behind ImageNet's preprocessing, so that its statistics fit the data.

    The new model still takes RGB pixels in [0, 1], hence epsilon keeps its meaning. The
    preprocessing (scale to 0..255, RGB to BGR, mean subtracted) is a fixed 1x1 convolution.
    """
    inputs = keras.Input(model.input_shape[1:])
    preprocess = keras.layers.Conv2D(3, 1, trainable=False, name="imagenet_preprocess")
    outputs = model(preprocess(inputs))
    swap = [[[[0.0, 0.0, 255.0], [0.0, 255.0, 0.0], [255.0, 0.0, 0.0]]]]
    kernel, bias = preprocess.get_weights()
    preprocess.set_weights([0 * kernel + swap, 0 * bias - IMAGENET_MEAN_BGR])
    return keras.Model(inputs, outputs)


FIXES: Mapping[str, Callable[[Keras, Model], Model]] = MappingProxyType(
    {"none": unchanged, "bn-momentum-0.5": momentum_half, "imagenet-inputs": imagenet_inputs}
)
"""Sources: the published answer and keras#7177 (momentum); the pretrained nets' own input scale."""
