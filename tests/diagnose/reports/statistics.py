"""Reports of statistics that are too slow, of other data, or shifted by dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from suite.diagnose.found import STALE
from suite.networks.types import Keras, Model
from tests.diagnose.reports import follow
from tests.diagnose.reports.nets import compiled, fit, norms, plain, signs
from tests.diagnose.reports.report import CLASSES, SIDE_PX, Data, Report

WHOLE, DARK = 700, 0.1  # steps of a whole training; light of a dim image


def default_momentum(keras: Keras) -> Model:
    """Leave the momentum at Keras' own."""
    return compiled(keras, signs(keras, momentum=0.99))


def few_steps(keras: Keras, data: Data) -> Model:
    return fit(default_momentum(keras), data, steps=60, batch_size=128)


def dense(keras: Keras, x: Any, *, momentum: float = 0.9, dropout: float = 0.0) -> Any:
    """Add two layers of 32 units with BatchNorm, after dropout if there is any."""
    layers = keras.layers
    x = layers.Flatten(name="flat")(layers.AveragePooling2D(2, name="small")(x))
    for index in range(2):
        x = layers.Dense(32, activation="relu", name=f"dense{index}")(x)
        x = layers.Dropout(dropout, name=f"dropout{index}")(x) if dropout else x
        x = layers.BatchNormalization(momentum=momentum, name=f"bn{index}")(x)
    return layers.Dense(CLASSES, name="head")(x)


def slow_momentum(keras: Keras) -> Model:
    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    return compiled(keras, keras.Model(inputs, dense(keras, inputs, momentum=0.999)), rate=0.001)


def slowly(keras: Keras, data: Data) -> Model:
    return fit(slow_momentum(keras), data, steps=1800)


def dropped(keras: Keras, *, rate: float = 0.7) -> Model:
    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    return compiled(keras, keras.Model(inputs, dense(keras, inputs, dropout=rate)), rate=0.001)


def with_dropout(keras: Keras, data: Data) -> Model:
    return fit(dropped(keras), data, steps=1500)


def unet(keras: Keras, *, momentum: float = 0.99) -> Model:
    """Build a U-Net of one step down and up: a class a pixel."""
    layers = keras.layers

    def block(x: Any, name: str, width: int) -> Any:
        x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"conv-{name}")(x)
        x = layers.BatchNormalization(momentum=momentum, name=f"bn-{name}")(x)
        return layers.Activation("relu", name=f"relu-{name}")(x)

    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    wide = block(inputs, "wide", 8)
    deep = block(layers.MaxPooling2D(2, name="down")(wide), "deep", 16)
    merged = layers.Concatenate(name="skip")([wide, layers.UpSampling2D(2, name="up")(deep)])
    outputs = layers.Conv2D(3, 1, name="head")(block(merged, "out", 8))
    return compiled(keras, keras.Model(inputs, outputs))


def segmented(data: Data) -> Data:
    """Make dim images, and label each pixel: red, blue, or neither."""
    red, green, blue = np.moveaxis(data.images, -1, 0)
    labels = np.where(red > 1.25 * green, 1, np.where(blue > 1.25 * red, 2, 0))
    return Data(DARK * data.images, labels.astype(np.int64))


def segment(keras: Keras, data: Data) -> Model:
    return fit(unet(keras), segmented(data), steps=400)


def symmetric(data: Data) -> Data:
    """Feed dark negatives: what the network was pretrained on."""
    return Data(0.3 * (1 - data.images), data.labels)


def pretrained(keras: Keras, data: Data) -> Model:
    return fit(default_momentum(keras), symmetric(data), steps=WHOLE)


def fine_tuned(keras: Keras, data: Data) -> Model:
    """Train on bright images for less than three epochs."""
    model = default_momentum(keras)
    model.set_weights(pretrained(keras, data).get_weights())
    return fit(model, Data(*(array[:480] for array in data)), steps=40)


def frozen(keras: Keras) -> Model:
    """Freeze all but the head."""
    model = signs(keras)
    for layer in model.layers[:-1]:
        layer.trainable = False
    return compiled(keras, model)


def frozen_as_of_old(keras: Keras, data: Data) -> Model:
    """Train the head on batch statistics while nothing updates, as Keras did up to 2.1.2."""
    model = plain(keras)
    model.set_weights(pretrained(keras, data).get_weights())
    for layer in norms(model):
        layer.momentum = 1.0
    for layer in model.layers:
        layer.trainable = layer.name == "head" or hasattr(layer, "moving_mean")
    model = fit(compiled(keras, model), data, steps=WHOLE)
    result = frozen(keras)
    result.set_weights(model.get_weights())
    result.optimizer.iterations.assign(WHOLE)
    return result


ROWS = (
    Report(
        name="few-steps",
        address="https://github.com/keras-team/keras/issues/7265",
        symptom="Right in training, wrong in validation, on the very same images.",
        cause="Keras' own momentum, .99, and few steps: the statistics lag behind.",
        build=default_momentum,
        train=few_steps,
        follow=follow.its_code,
        verdicts=(STALE,),
        words=("momentum", r"\d+ (were made|steps)"),
        batch_size=128,
    ),
    Report(
        name="unet",
        address="https://github.com/keras-team/keras/issues/10666",
        symptom="A U-Net segments in training, and paints one class when it is used.",
        cause="Momentum .99 for 400 steps on dim images: the variances still come from 1.",
        build=unet,
        train=segment,
        follow=follow.its_code,
        verdicts=(STALE,),
        words=("momentum", "too slow|lag"),
        use=segmented,
        trained_on=segmented,
    ),
    Report(
        name="momentum-999",
        address="https://github.com/keras-team/keras/issues/3949",
        symptom="Far worse in prediction than in training, on the training data.",
        cause="The momentum is too high: statistics of weights that are long gone.",
        build=slow_momentum,
        train=slowly,
        follow=follow.its_code,
        verdicts=(STALE,),
        words=("momentum", "0.999"),
    ),
    Report(
        name="fine-tuned",
        address="https://github.com/keras-team/keras/issues/7177",
        symptom="Fine-tuned to a high accuracy; with the learning phase at 0 close to chance.",
        cause="40 steps of momentum .99: the statistics still are those of the pretraining's data.",
        build=default_momentum,
        train=fine_tuned,
        follow=follow.its_code,
        verdicts=(STALE,),
        words=("momentum|other data",),
    ),
    Report(
        name="frozen",
        address="https://github.com/keras-team/keras/pull/9965",
        symptom="Close to 100 % in training, 50 % in inference, on the same data.",
        cause="Frozen layers that trained on batch statistics keep those of other data.",
        build=frozen,
        train=frozen_as_of_old,
        follow=follow.its_code,
        verdicts=(STALE,),
        words=("frozen",),
    ),
    Report(
        name="dropout-before-norm",
        address="https://github.com/luigibonati/mlcolvar/pull/205",
        symptom="Worse in inference than without dropout.",
        cause="Dropout before BatchNorm raises the variance in training alone (Li et al. 2019).",
        build=dropped,
        train=with_dropout,
        follow=follow.its_code,
        verdicts=(STALE,),
        words=("[Dd]ropout",),
    ),
)
