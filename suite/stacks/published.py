"""The published adversarial loss on TensorFlow 1, with its two ways of switching the phase."""

from __future__ import annotations

import functools
import sys
import types
import weakref
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from tensorflow import keras

from suite.networks.phases import PHASES, Phases
from suite.stacks.protocol import StepResult, TrainStep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from suite.networks.types import Images, Labels, Model


@contextmanager
def empty_module(name: str) -> Iterator[None]:
    """Let `name` be imported as an empty module until the end of the block."""
    sys.modules[name] = types.ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name]


# CleverHans 3.1.0 imports tensorflow_addons only for SPSA, which the suite does not use, and no
# release of tensorflow-addons can be imported on TensorFlow 1. CleverHans itself is unchanged.
with empty_module("tensorflow_addons"):
    import cleverhans
    from cleverhans.attacks import FastGradientMethod, ProjectedGradientDescent
    from cleverhans.model import CallableModelWrapper
    from cleverhans.utils_keras import KerasModelWrapper

__all__ = [  # what the stack takes from CleverHans 3, which is imported only here
    "CallableModelWrapper",
    "FastGradientMethod",
    "ProjectedGradientDescent",
    "cleverhans",
]

K = keras.backend


@contextmanager
def switched_globally() -> Iterator[None]:
    """Build in the inference phase by the global switch, as published.

    The switch leaves an integer phase behind: Keras no longer feeds the phase's placeholder, whose
    default is inference, so everything built outside runs in the inference phase too.
    """
    K.set_learning_phase(False)
    yield
    K.set_learning_phase(True)


@contextmanager
def scoped() -> Iterator[None]:
    """Build in the inference phase, then put the fed phase back."""
    with K.learning_phase_scope(0):
        yield


@contextmanager
def phase_put_back() -> Iterator[None]:
    """Run under an integer phase, as `switched_globally` leaves it, then put the fed phase back.

    The published program ends after its training; here other models follow in the same process.
    """
    with K.learning_phase_scope(1):
        yield


SWITCHES: dict[Phases, tuple[Any, Any]] = {
    PHASES["literal"]: (switched_globally, phase_put_back),
    PHASES["intended"]: (scoped, nullcontext),
}
"""For each policy, what its attack and adversarial pass are built in, and what `fit` runs in."""

PUBLISHED: weakref.WeakSet[Model] = weakref.WeakSet()
"""The models that already have a step of the published code."""


def published_step(model: Model, phases: Phases, epsilon: float, descent: Any) -> TrainStep:
    """Make an update by the published code, which wants a model that ends in a softmax.

    Raises:
        ValueError: If `model` already has such a step.
    """
    if model in PUBLISHED:
        raise ValueError(
            "model must have no other adversarial step, since each would run the updates of both. "
            f"Received: {model.name}, which has one"
        )
    PUBLISHED.add(model)
    switched, fitting = SWITCHES[phases]
    whole = keras.Model(model.inputs, keras.layers.Activation("softmax")(model.outputs[0]))
    whole(whole.inputs[0])  # as published, against tensorflow#23769; doubles BatchNorm's updates
    loss, metrics = _published_loss(whole, epsilon, switched)
    with fitting():
        whole.compile(descent, loss, metrics=[clean_ce, clean_accuracy, *metrics])
    return fitted(whole, fitting)


def _published_loss(whole: Model, epsilon: float, switched: Any) -> tuple[Any, list[Any]]:
    """Make the published loss, and the metrics of its adversarial branch.

    Keras asks for the metrics before the loss; whichever comes first builds the branch.
    """

    @functools.lru_cache(maxsize=None)
    def adversarial_predictions() -> tf.Tensor:
        with switched():
            attack = FastGradientMethod(KerasModelWrapper(whole), sess=K.get_session())
            perturbed = attack.generate(whole.inputs[0], eps=epsilon, clip_min=0.0, clip_max=1.0)
            return whole(tf.stop_gradient(perturbed))

    def adversarial_ce(targets: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return keras.losses.categorical_crossentropy(targets, adversarial_predictions())

    def adversarial_accuracy(targets: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return keras.metrics.categorical_accuracy(targets, adversarial_predictions())

    def loss(targets: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
        clean = keras.losses.categorical_crossentropy(targets, predictions)
        return 0.5 * clean + 0.5 * adversarial_ce(targets, predictions)

    return loss, [adversarial_ce, adversarial_accuracy]


def clean_ce(targets: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
    """Compute the cross-entropy ``(batch,)`` of the clean images, in nats."""
    return keras.losses.categorical_crossentropy(targets, predictions)


def clean_accuracy(targets: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
    """Give 1.0 for each clean image classified correctly, else 0.0, ``(batch,)``."""
    return keras.metrics.categorical_accuracy(targets, predictions)


def fitted(whole: Model, fitting: Any) -> TrainStep:
    """Make an update by `fit` of the compiled model `whole`, one batch per call."""
    classes = int(whole.outputs[0].shape[-1])

    def step(images: Images, labels: Labels, learning_rate: float) -> StepResult:
        K.set_value(whole.optimizer.lr, learning_rate)
        targets = np.eye(classes, dtype=np.float32)[labels]
        with fitting():
            done = whole.fit(images, targets, batch_size=len(images), shuffle=False, verbose=0)
        return StepResult(**{name: float(value) for name, (value,) in done.history.items()})

    return TrainStep(step, whole.optimizer)
