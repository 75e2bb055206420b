"""The network that most reports are rebuilt with, and how it is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.networks.types import Keras, Model
from tests.diagnose.reports.report import CLASSES, SIDE_PX, Data

if TYPE_CHECKING:
    from numpy.typing import NDArray


def compiled(keras: Keras, model: Model, *, loss: Any = None, rate: float = 0.003) -> Model:
    """Compile with Adam, by default with the loss that suits logits."""
    loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(rate), loss=loss)
    return model


def body(
    keras: Keras, x: Any, *, norm: Any = "batch", momentum: float = 0.9, **options: Any
) -> Any:
    """Add three convolutions with BatchNorm and ReLU.

    Args:
        keras: Its Keras.
        x: The input.
        norm: The class of the normalising layers; "batch" for Keras' own, None for none.
        momentum: Of BatchNorm.
        options: To call each normalising layer with.
    """
    layers = keras.layers
    kind = layers.BatchNormalization if norm == "batch" else norm
    for index, (width, strides) in enumerate(((12, 1), (16, 2), (24, 2))):
        x = layers.Conv2D(
            width, 3, strides=strides, padding="same", use_bias=norm is None, name=f"conv{index}"
        )(x)
        if kind is not None:
            x = kind(name=f"bn{index}", momentum=momentum)(x, **options)
        x = layers.Activation("relu", name=f"relu{index}")(x)
    return x


def head(keras: Keras, x: Any, *, units: int = CLASSES, activation: str | None = None) -> Any:
    """Add the mean over positions and a Dense layer."""
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.layers.Dense(units, activation=activation, name="head")(x)


def signs(
    keras: Keras, *, units: int = CLASSES, activation: str | None = None, **options: Any
) -> Model:
    """Build the network of signs, not compiled."""
    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    x = body(keras, inputs, **options)
    return keras.Model(inputs, head(keras, x, units=units, activation=activation))


def plain(keras: Keras) -> Model:
    """Build the network of signs as it should be, compiled."""
    return compiled(keras, signs(keras))


def fit(model: Model, data: Data, *, steps: int, batch_size: int = 32) -> Model:
    """Train for so many steps."""
    done = 0
    while done < steps:
        part = Data(*(array[: (steps - done) * batch_size] for array in data))
        model.fit(*part, batch_size=batch_size, epochs=1, verbose=0)
        done += -(-len(part.images) // batch_size)
    return model


def norms(model: Model) -> list[Any]:
    """List the BatchNorm layers."""
    return [layer for layer in model.layers if hasattr(layer, "moving_mean")]


def set_statistics(model: Model, mean: float = 0.0, variance: float = 1.0) -> None:
    """Set all moving statistics to two numbers."""
    for layer in norms(model):
        *others, old_mean, old_variance = layer.get_weights()
        layer.set_weights([*others, 0 * old_mean + mean, 0 * old_variance + variance])


def predicted(model: Model, images: NDArray[np.float32], *, batch_size: int = 64) -> NDArray[Any]:
    """Predict a class for each image, or each pixel; a single output is the second class's."""
    outputs = np.asarray(model.predict(images, batch_size=batch_size, verbose=0))
    if outputs.shape[-1] == 1:
        return (outputs[..., 0] > 0.5).astype(np.int64)
    classes: NDArray[Any] = np.nan_to_num(outputs).argmax(-1)
    return classes


def accuracy(model: Model, data: Data) -> float:
    """Measure how often the inference phase is right."""
    return float(np.mean(predicted(model, data.images) == data.labels))


def recall(model: Model, data: Data) -> float:
    """Measure how often it is right in the mean class."""
    right = predicted(model, data.images) == data.labels
    return float(np.mean([right[data.labels == label].mean() for label in set(data.labels)]))


def steadiness(model: Model, data: Data) -> float:
    """Measure how many images have the same prediction in other batches."""
    there = predicted(model, data.images)
    back = predicted(model, data.images[::-1], batch_size=8)[::-1]
    return float(np.mean(there == back))


MEASURES: Mapping[str, Callable[[Model, Data], float]] = {
    "accuracy": accuracy,
    "recall": recall,
    "steadiness": steadiness,
}
"""What a network is worth, by the name in the table."""
