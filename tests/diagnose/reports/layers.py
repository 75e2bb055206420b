"""Reports of layers that train when the network is used, and of numbers that are not finite."""

from __future__ import annotations

from typing import Any

import numpy as np

from suite.diagnose.found import DIVERGED, OTHER, STALE
from suite.networks.types import Keras, Model
from tests.diagnose.reports import follow
from tests.diagnose.reports.nets import body, compiled, fit, norms, plain, signs
from tests.diagnose.reports.report import CLASSES, SIDE_PX, Data, Report

WHOLE = 700  # steps of a training


def always(keras: Keras, kind: str) -> Any:
    """Make a kind of layer run in the training phase whatever it is called with."""

    class Always(getattr(keras.layers, kind)):  # type: ignore[misc]
        """Trains in inference, too."""

        def call(self, inputs: Any, training: Any = None, **options: Any) -> Any:
            del training
            return super().call(inputs, training=True, **options)

    return Always


def always_training(keras: Keras) -> Model:
    return compiled(keras, signs(keras, norm=always(keras, "BatchNormalization")))


def one_always_training(keras: Keras) -> Model:
    """Let the middle one of three normalise by the batch."""
    forced = always(keras, "BatchNormalization")

    def kind(*, name: str, momentum: float) -> Any:
        made = forced if name == "bn1" else keras.layers.BatchNormalization
        return made(name=name, momentum=momentum)

    return compiled(keras, signs(keras, norm=kind))


def dropout(keras: Keras) -> Model:
    """Drop most of the features, in inference too."""
    kind = always(keras, "Dropout")
    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    x = keras.layers.GlobalAveragePooling2D(name="mean")(body(keras, inputs))
    outputs = keras.layers.Dense(CLASSES, name="head")(kind(0.6, name="dropout")(x))
    return compiled(keras, keras.Model(inputs, outputs))


def train_always(keras: Keras, data: Data) -> Model:
    return fit(always_training(keras), data, steps=WHOLE)


def train_one(keras: Keras, data: Data) -> Model:
    return fit(one_always_training(keras), data, steps=WHOLE)


def train_dropout(keras: Keras, data: Data) -> Model:
    return fit(dropout(keras), data, steps=WHOLE)


def not_a_variance(keras: Keras, data: Data) -> Model:
    """Train, then meet a batch of one number a channel: its unbiased variance is 0 / 0."""
    model = fit(plain(keras), data, steps=WHOLE)
    layer = norms(model)[-1]
    *others, variance = layer.get_weights()
    layer.set_weights([*others, np.full_like(variance, np.nan)])
    return model


def diverged(keras: Keras) -> Model:
    """Train with plain SGD and a learning rate far too high."""
    model = signs(keras, norm=None)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(1e4), loss=loss)
    return model


def diverge(keras: Keras, data: Data) -> Model:
    return fit(diverged(keras), data, steps=20)


def without_norm(keras: Keras) -> Model:
    return compiled(keras, signs(keras, norm=None))


def instance_norm(keras: Keras) -> Any:
    """Make a layer that normalises each image, and squares in the type it computes in."""
    operations = getattr(keras, "ops", None) or keras.backend

    class InstanceNorm(keras.layers.Layer):
        """Subtracts the mean over the positions, and divides by the deviation."""

        def call(self, inputs: Any) -> Any:
            away = inputs - operations.mean(inputs, axis=(1, 2), keepdims=True)
            variance = operations.mean(operations.square(away), axis=(1, 2), keepdims=True)
            return away / operations.sqrt(variance + 1e-3)

    return InstanceNorm


def half(keras: Keras, *, dtype: str = "mixed_float16") -> Model:
    """Normalise images of 0 to 255 in half precision."""
    layers = keras.layers
    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    x = layers.AveragePooling2D(2, name="small", dtype=dtype)(inputs)
    x = layers.Dense(32, activation="relu", name="mix", dtype=dtype)(x)
    x = instance_norm(keras)(name="instance-norm", dtype=dtype)(x)
    x = layers.Flatten(name="flat", dtype=dtype)(x)
    return compiled(keras, keras.Model(inputs, layers.Dense(CLASSES, name="head")(x)))


def single(keras: Keras) -> Model:
    return half(keras, dtype="float32")


def train_single(keras: Keras, data: Data) -> Model:
    return fit(single(keras), bright(data), steps=WHOLE)


def bright(data: Data) -> Data:
    """Scale to 0 to 8191, as the images of a camera of 13 bits are."""
    return Data(8191 * data.images, data.labels)


ROWS = (
    Report(
        name="norm-subclass",
        address="https://github.com/broadinstitute/keras-resnet/issues/46",
        symptom="Validation results are wrong and depend on the batch.",
        cause="A subclass of BatchNormalization passes training=True on, in inference too.",
        build=always_training,
        train=train_always,
        follow=follow.its_code,
        verdicts=(OTHER,),
        words=("bn0|bn1|bn2", "training"),
        measure="steadiness",
    ),
    Report(
        name="one-norm-trains",
        address="https://github.com/keras-team/keras/issues/13762",
        symptom="The same image has another prediction in another batch.",
        cause="One layer normalises by the batch when the network is used.",
        build=one_always_training,
        train=train_one,
        follow=follow.its_code,
        verdicts=(OTHER,),
        words=("bn1", "training|batch"),
        measure="steadiness",
    ),
    Report(
        name="dropout-on",
        address="https://github.com/keras-team/tf-keras/issues/81",
        symptom="The same image has another prediction each time.",
        cause="Dropout was called with training=True and stays on.",
        build=dropout,
        train=train_dropout,
        follow=follow.its_code,
        verdicts=(OTHER,),
        words=("dropout",),
        measure="steadiness",
    ),
    Report(
        name="nan-variance",
        address="https://github.com/tensorflow/tensorflow/issues/34062",
        symptom="The loss is finite in training; predictions are NaN.",
        cause="A moving variance is NaN, all weights are finite: a batch of one value a channel.",
        build=plain,
        train=not_a_variance,
        follow=follow.its_code,
        verdicts=(DIVERGED, STALE),
        words=("[Rr]ecompute", "bn2", "variance|statistic"),
        wrong=("checkpoint",),
    ),
    Report(
        name="half-precision",
        address="https://github.com/tensorflow/tensorflow/issues/47156",
        symptom="NaN in mixed precision, fine in float32.",
        cause="The variance of a normalisation overflows in float16.",
        build=half,
        train=train_single,
        follow=follow.its_code,
        verdicts=(DIVERGED, OTHER),
        words=("float16|half precision", "instance-norm|mix"),
        use=bright,
        trained_on=bright,
    ),
    Report(
        name="nan-weights",
        address="https://github.com/JihongJu/keras-fcn/issues/6",
        symptom="The loss is NaN, and so are predictions.",
        cause="The learning rate is far too high: the weights are NaN.",
        build=diverged,
        train=diverge,
        follow=follow.anew(without_norm),
        verdicts=(DIVERGED,),
        words=("NaN", "learning rate"),
    ),
)
