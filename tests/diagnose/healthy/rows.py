"""The healthy networks, a row each: what it is, what it is trained on, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.networks.types import Keras, Model
from tests.diagnose.healthy import data, nets
from tests.diagnose.healthy.data import (
    Task,
    drawn_signs,
    patterns,
    signs,
    table,
    tokens,
    volumes,
    waves,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOGITS, PROBABILITIES, ONE_LOGIT, ONE_PROBABILITY, SIGMOIDS = (
    *("logits", "probabilities", "one logit", "one probability"),
    "sigmoids",
)
UNCHANGED: Callable[[NDArray[Any]], NDArray[Any]] = lambda images: images  # noqa: E731


class Row(NamedTuple):
    """A healthy network.

    Attributes:
        name: Of the file of its weights.
        task: What it tells apart.
        build: Makes it, not trained.
        gives: `LOGITS` to `SIGMOIDS`.
        epochs: Over `count` samples.
        count: Samples that it is trained on.
        rate: Of Adam.
        batch_size: Samples in a batch.
        feed: How it is fed what the task draws.
        frozen: Whether all but the head are frozen once trained, and the head trained on.
        sample: Samples that it is diagnosed on.
        fix: Options of `fit`.
    """

    name: str
    task: Task
    build: nets.Build
    gives: str = LOGITS
    epochs: int = 4
    count: int = 1600
    rate: float = 0.005
    batch_size: int = 32
    feed: Callable[[NDArray[Any]], NDArray[Any]] = UNCHANGED
    frozen: bool = False
    sample: int = 256

    def __str__(self) -> str:
        return self.name


def drawn(row: Row, count: int, seed: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Draw samples of a split as the network is fed them, and their labels."""
    images, labels = row.task.draw(count, seed)
    return row.feed(images), labels


def built(row: Row, keras: Keras) -> Model:
    """Make a network, compiled, not trained."""
    return compiled(row, keras, row.build(keras, row.task.shape, row.task.classes))


def compiled(row: Row, keras: Keras, model: Model) -> Model:
    """Compile a network with the loss that suits what it gives."""
    if row.gives in (ONE_LOGIT, ONE_PROBABILITY):
        loss = keras.losses.BinaryCrossentropy(from_logits=row.gives == ONE_LOGIT)
    elif row.gives == SIGMOIDS:
        loss = keras.losses.BinaryCrossentropy()
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=row.gives == LOGITS)
    model.compile(optimizer=keras.optimizers.Adam(row.rate), loss=loss)
    return model


def freeze(model: Model) -> None:
    """Freeze all layers but the head."""
    for layer in model.layers[:-1]:
        layer.trainable = False


def trained(row: Row, keras: Keras) -> Model:
    """Train a network."""
    model = built(row, keras)
    images, labels = drawn(row, row.count, data.TRAIN)
    told: Any = labels
    if row.gives == SIGMOIDS:
        told = np.eye(row.task.classes, dtype=np.float32)[labels]
    elif row.gives in (ONE_LOGIT, ONE_PROBABILITY):
        told = labels[:, None].astype(np.float32)
    options = {"batch_size": row.batch_size, "verbose": 0}
    model.fit(images, told, epochs=row.epochs, **options)
    if row.frozen:
        freeze(model)
        compiled(row, keras, model).fit(images, told, epochs=1, **options)
    return model


def to_bytes(images: NDArray[Any]) -> NDArray[Any]:
    """Feed pixels as [0, 255]."""
    return np.round(images * 255).astype(np.float32)


def symmetric(images: NDArray[Any]) -> NDArray[Any]:
    """Feed pixels as [-1, 1]."""
    return (2 * images - 1).astype(np.float32)


def standardised(images: NDArray[Any]) -> NDArray[Any]:
    """Feed pixels with ImageNet's mean and deviation, as torchvision does."""
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return ((images - mean) / deviation).astype(np.float32)


def alone(images: NDArray[Any]) -> NDArray[Any]:
    """Feed each image less its own mean, over its own deviation."""
    axes = tuple(range(1, images.ndim))
    middle = images.mean(axis=axes, keepdims=True)
    return ((images - middle) / images.std(axis=axes, keepdims=True)).astype(np.float32)


def rescaled(keras: Keras, x: Any) -> Any:
    """Scale [0, 255] to [0, 1] inside the network."""
    return keras.layers.Rescaling(1 / 255)(x)


def augmented(keras: Keras, x: Any) -> Any:
    """Augment the images in training."""
    layers = keras.layers
    return layers.GaussianNoise(0.1)(layers.RandomTranslation(0.1, 0.1)(layers.RandomFlip()(x)))


def normal_inputs(keras: Keras, x: Any) -> Any:
    """Standardise [0, 1] inside the network by numbers that were measured."""
    return keras.layers.Normalization(mean=[0.4] * 3, variance=[0.06] * 3)(x)


def norm_inputs(keras: Keras, x: Any) -> Any:
    """Let a BatchNorm standardise the inputs."""
    return keras.layers.BatchNormalization(momentum=0.9)(x)


def spatial(keras: Keras, x: Any) -> Any:
    """Drop whole channels."""
    return keras.layers.SpatialDropout2D(0.2)(x)


def a_little(keras: Keras, x: Any) -> Any:
    """Drop a little, before the next layer's BatchNorm."""
    return keras.layers.Dropout(0.1)(x)


def half(keras: Keras, x: Any) -> Any:
    """Drop half, before the next layer's BatchNorm."""
    return keras.layers.Dropout(0.5)(x)


HARD = patterns(noise=0.6)
SIX, TEN = patterns(), patterns(10, noise=0.3)
PAIR = patterns(2, noise=0.5)
RARE = patterns(2, noise=0.3, shares=(0.95, 0.05))
SKEWED = patterns(5, noise=0.5, shares=(0.7, 0.1, 0.1, 0.05, 0.05))
NOISY = patterns(noise=0.3, flipped=0.3)
SIGNS, DRAWN = signs(), drawn_signs(16)

ROWS = (
    Row("batch", SIX, nets.images()),
    Row("batch-hard", HARD, nets.images(), epochs=6),
    Row("batch-099", TEN, nets.images(momentum=0.99), epochs=20),
    Row("batch-0999", TEN, nets.images(momentum=0.999, widths=(8, 12)), epochs=130, count=1600),
    Row("sync", SIX, nets.images("sync")),
    Row("group", SIX, nets.images("group")),
    Row("layer", SIX, nets.images("layer")),
    Row("none", SIX, nets.images("none"), epochs=6),
    Row("none-deep", SIX, nets.images("none", widths=(8, 8, 12, 12), activation="elu"), epochs=8),
    Row("spectral", SIX, nets.images("none", kind="spectral"), epochs=8),
    Row("softmax", SIX, nets.images(head="softmax"), PROBABILITIES),
    Row("sigmoids", SIX, nets.images(head="sigmoid"), SIGMOIDS),
    Row("one-logit", PAIR, nets.images(units=1), ONE_LOGIT),
    Row("one-probability", PAIR, nets.images(units=1, head="sigmoid"), ONE_PROBABILITY),
    Row("rare", RARE, nets.images(head="softmax"), PROBABILITIES),
    Row("rare-none", RARE, nets.images("none", units=1, head="sigmoid"), ONE_PROBABILITY, epochs=8),
    Row("skewed", SKEWED, nets.images()),
    Row("begun", TEN, nets.images(), rate=0.001, epochs=5),
    Row("begun-none", HARD, nets.images("none"), epochs=1, count=1200),
    Row("begun-dense", HARD, nets.dense(widths=(16,)), epochs=1, count=160),
    Row("dropout", SIX, nets.images(dropout=0.7), epochs=8),
    Row("dropout-before-batch", SIX, nets.images(between=a_little), epochs=6),
    Row("spatial-dropout", SIX, nets.images("group", between=spatial), epochs=8),
    Row("frozen", SIX, nets.images(), frozen=True),
    Row("noisy-labels", NOISY, nets.images(), epochs=4),
    Row("decay", SIX, nets.images(decay=0.01)),
    Row("augmented", SIX, nets.images(before=augmented), epochs=12),
    Row("bytes", SIX, nets.images(), feed=to_bytes, epochs=6),
    Row("bytes-rescaled", SIX, nets.images("none", before=rescaled), feed=to_bytes, epochs=6),
    Row("symmetric-none", SIX, nets.images("none"), feed=symmetric, epochs=6),
    Row("each-alone", HARD, nets.images(), feed=alone, epochs=6),
    Row("tanh", SIX, nets.images("none", activation="tanh"), epochs=6),
    Row("gelu", SIX, nets.images("layer", activation="gelu")),
    Row(
        "prelu",
        SIX,
        nets.images(activation=lambda keras: keras.layers.PReLU(shared_axes=[1, 2])),
        epochs=4,
    ),
    Row("separable", SIX, nets.images(kind="SeparableConv2D")),
    Row("depthwise", SIX, nets.depthwise()),
    Row("residual-zero", SIX, nets.residual(last_zero=True)),
    Row("densenet", SIX, nets.dense_blocks()),
    Row("half-precision", SIX, nets.half_precision()),
    Row("subclassed", SIX, nets.subclassed()),
    Row("nested", SIX, nets.nested(), PROBABILITIES),
    Row("ensemble", SIX, nets.ensemble(), PROBABILITIES, epochs=6),
    Row("large-images", patterns(6, 48), nets.images(widths=(6, 8, 12)), count=800, sample=128),
    Row("ten-a-class", SIGNS, nets.images(), count=100, epochs=30, batch_size=10, rate=0.001),
    Row("ten-signs-none", SIGNS, nets.images("none"), count=100, epochs=40, batch_size=10),
    Row("signs", SIGNS, nets.images(), count=3000, epochs=6),
    Row("signs-none", SIGNS, nets.images("none", pool="flat"), count=3000, epochs=5, rate=0.002),
    Row(
        "signs-softmax",
        SIGNS,
        nets.images(head="softmax", dropout=0.5),
        PROBABILITIES,
        count=3000,
        epochs=6,
    ),
    Row("signs-standardised", SIGNS, nets.residual(), feed=standardised, count=3000, epochs=4),
    Row("signs-augmented", SIGNS, nets.images(before=augmented), count=3000, epochs=8),
    Row("signs-begun", SIGNS, nets.images(), count=3000, epochs=2, rate=0.0005),
    Row("signs-43", DRAWN, nets.images(widths=(12, 16, 24)), count=4000, epochs=8),
    Row("dense", SIX, nets.dense(widths=(16,)), epochs=6),
    Row("dense-batch", table(), nets.dense(norm="batch"), epochs=6),
    Row("dense-dropout", table(20, 4, apart=0.6), nets.dense(dropout=0.5), epochs=10),
    Row("table-one", table(apart=0.4), nets.dense(units=1, head="sigmoid"), ONE_PROBABILITY),
    Row("lstm", waves(), nets.recurrent("LSTM"), PROBABILITIES, epochs=10),
    Row("gru-dropout", waves(), nets.recurrent("GRU", dropout=0.3), PROBABILITIES, epochs=10),
    Row("waves-attention", waves(), nets.attention(), epochs=6),
    Row("tokens-lstm", tokens(), nets.embedded("LSTM"), epochs=5),
    Row("tokens-conv", tokens(), nets.embedded("Conv1D"), epochs=5),
    Row("tokens-attention", tokens(), nets.embedded("attention"), epochs=5),
    Row("cubes", volumes(), nets.cubes(), epochs=4),
)
