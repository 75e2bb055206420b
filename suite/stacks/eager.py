"""The stack of TensorFlow 2 with CleverHans 4, under Keras 2 and Keras 3."""

from __future__ import annotations

import functools
import os
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow import keras

from suite import machine
from suite.networks.batch_norm import walk
from suite.networks.phases import TRAINING, Phases
from suite.networks.types import Images, Labels, Logits, Model
from suite.stacks.passes import passes
from suite.stacks.protocol import StepResult, TrainStep
from suite.stacks.shared import (
    attack_name,
    cleverhans_attack,
    optimizer_of,
    require_phases,
    scaled,
    step_size,
    union,
    unscaled,
)

GRAPH = False
DISTRIBUTIONS = ("cleverhans", "numpy", "h5py", "ml-dtypes")
KERAS = ("tf-keras", "keras", "keras-nightly")
"""Keras' distributions: the first installed one is used; before TensorFlow 2.4 there is none."""


def __getattr__(name: str) -> Any:
    """Import CleverHans' attack `name` when it is first asked for."""
    return cleverhans_attack("tf2", name)


def versions() -> dict[str, str]:
    """Look up the versions of Python, TensorFlow, Keras, CleverHans and NumPy that are running."""
    found = machine.versions((*DISTRIBUTIONS, *KERAS))
    used = next((found[name] for name in KERAS if name in found), None)
    return {**found, "tensorflow": tf.__version__, "keras": used or keras.__version__}


def gpus() -> list[str]:
    """List the names of the GPUs that TensorFlow sees."""
    devices = tf.config.experimental.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(d)["device_name"] for d in devices]


def threads() -> dict[str, int]:
    """Ask how many threads compute: within an operation and across them; 0 for all."""
    asked = tf.config.threading
    return {
        "intra_op": asked.get_intra_op_parallelism_threads(),
        "inter_op": asked.get_inter_op_parallelism_threads(),
    }


def seed(seed: int) -> None:
    """Seed `random`, NumPy and TensorFlow, and make TensorFlow's kernels deterministic."""
    keras.backend.clear_session()
    random.seed(seed)
    np.random.seed(seed)
    tf.random.set_seed(seed)
    if hasattr(keras.utils, "set_random_seed"):  # Keras 3 has a generator of its own
        keras.utils.set_random_seed(seed)
    if hasattr(tf.config.experimental, "enable_op_determinism"):
        tf.config.experimental.enable_op_determinism()
    else:  # before TensorFlow 2.9
        os.environ["TF_DETERMINISTIC_OPS"] = "1"


def random_state(models: Sequence[Model]) -> list[np.ndarray] | None:
    """Return nothing more than the variables that Keras 3 keeps its seeds in.

    None where Keras 2 has dropout, whose draws TensorFlow's kernels count.
    """
    drawing = any(isinstance(one, keras.layers.Dropout) for model in models for one in walk(model))
    return None if drawing and not hasattr(keras, "random") else []


def set_random_state(models: Sequence[Model], state: list[np.ndarray]) -> None:
    """Set nothing: `random_state` reads nothing."""
    del models, state


def peak_device_bytes() -> int | None:
    """Read the peak memory of the first GPU since the last call, in bytes; None without one."""
    if not gpus():
        return None
    peak = int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    tf.config.experimental.reset_memory_stats("GPU:0")
    return peak


class EagerNetwork(NamedTuple):
    """A Keras model with a compiled forward pass for each phase, and its attacks.

    Attributes:
        model: Ends in logits.
        passes: The forward pass of each phase.
        attacks: Gives the attack of a phase and a number of steps, built when first asked for.
    """

    model: Model
    passes: Mapping[bool, Any]
    attacks: Callable[[bool, int], Any]

    def logits(self, images: Images, *, training: bool) -> Logits:
        """Compute the logits ``(batch, classes)`` of `images` in the phase `training`."""
        return np.asarray(self.passes[training](tf.constant(images)))

    def craft(self, images: Images, *, epsilon: float, training: bool, steps: int = 1) -> Images:
        """Perturb `images` by CleverHans' attack, in the phase `training`."""
        return np.asarray(self.attacks(training, steps)(tf.constant(images), epsilon))


def network(model: Model) -> EagerNetwork:
    """Compile the passes and attacks of `model`.

    FGSM is compiled as a whole. Of an attack of several steps CleverHans compiles the gradient
    alone: compiled as a whole, each step would be traced anew.
    """
    passes = {phase: _pass(model, phase) for phase in (False, True)}

    @functools.lru_cache(maxsize=None)
    def attack(training: bool, steps: int) -> Any:
        made = _attack(passes[training], steps)
        return tf.function(made) if steps == 1 else made

    return EagerNetwork(model, passes, attack)


def _pass(model: Model, training: bool) -> Any:
    """Compile the forward pass of `model` in one phase."""
    return tf.function(lambda images: model(images, training=training))


def _attack(model_fn: Any, steps: int = 1) -> Any:
    """Make CleverHans' attack on `model_fn`; its labels are the model's own predictions.

    All calls must share one `model_fn`: a new one at each call would retrace the graph.
    """
    attack = getattr(sys.modules[__name__], attack_name(steps))

    def once(images: tf.Tensor, epsilon: float) -> tf.Tensor:
        return attack(model_fn, images, epsilon, np.inf, clip_min=0.0, clip_max=1.0)

    def often(images: tf.Tensor, epsilon: float) -> tf.Tensor:
        return attack(
            model_fn, images, epsilon, step_size(epsilon, steps), steps, np.inf,
            clip_min=0.0, clip_max=1.0, rand_init=True, sanity_checks=False,
        )  # fmt: skip

    return once if steps == 1 else often


def train_step(
    model: Model,
    *,
    phases: Phases | None,
    epsilon: float,
    optimizer: str = "sgd",
    branch: Model | None = None,
) -> TrainStep:
    """Make the update of `model` under the plain or the adversarial loss.

    Arguments and errors are those of `suite.stacks.protocol.Stack.train_step`.
    """
    losses, descent = _losses(model, phases, epsilon, branch), optimizer_of(keras, optimizer, model)
    variables = model.trainable_variables
    if branch is not None and phases is not None:
        variables = union(variables, branch.trainable_variables)
    if hasattr(descent, "build"):  # before Keras 2.11 the first update builds it
        descent.build(variables)
    rate = descent.learning_rate  # the optimizer's variable

    @tf.function
    def update(images: tf.Tensor, labels: tf.Tensor, learning_rate: tf.Tensor) -> tf.Tensor:
        rate.assign(learning_rate)  # set outside of the graph it would cost 0.3 ms
        with tf.GradientTape() as tape:
            loss, measured = losses(images, labels)
            minimised = scaled(descent, loss)
        gradients = unscaled(descent, tape.gradient(minimised, variables))
        descent.apply_gradients(zip(gradients, variables))
        return tf.stack([loss, *measured])

    def step(images: Images, labels: Labels, learning_rate: float) -> StepResult:
        given = tf.constant(images), tf.constant(labels), tf.constant(learning_rate, tf.float32)
        return StepResult(*map(float, update(*given).numpy()))

    return TrainStep(step, descent)


def gradients(
    model: Model, *, phases: Phases | None, epsilon: float
) -> Callable[[Images, Labels], list[np.ndarray]]:
    """Make a function of a batch that computes the gradients of a step's loss.

    Arguments and errors are those of `suite.stacks.protocol.Stack.gradients`.
    """
    losses, variables = _losses(model, phases, epsilon), model.trainable_variables

    @tf.function
    def differentiate(images: tf.Tensor, labels: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            loss, _ = losses(images, labels)
        return tape.gradient(loss, variables)

    def of_batch(images: Images, labels: Labels) -> list[np.ndarray]:
        state = model.get_weights()
        found = differentiate(tf.constant(images), tf.constant(labels))
        model.set_weights(state)
        return [gradient.numpy() for gradient in found]

    return of_batch


def _losses(
    model: Model, phases: Phases | None, epsilon: float, branch: Model | None = None
) -> Any:
    """Make the loss of a step: a function of images and labels that also measures accuracies."""
    require_phases(phases, model, branch)
    if phases is None:
        return _plain(model)
    return _adversarial(model, phases, epsilon, model if branch is None else branch)


def _plain(model: Model) -> Any:
    """Make the plain loss: the mean cross-entropy of the clean images, in the training phase."""

    def losses(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        ce, accuracy = _measure(labels, model(images, training=True))
        return ce, [ce, accuracy]

    return losses


def _adversarial(model: Model, phases: Phases, epsilon: float, branch: Model) -> Any:
    """Make the loss 0.5 CE(clean) + 0.5 CE(perturbed), each pass in its phase.

    The perturbed images are held constant, as published.
    """
    attack = phases.attack == TRAINING
    attacked = _attack(lambda images: branch(images, training=attack))
    clean_pass, adversarial_pass = passes(model, phases, branch, tensor=tf.constant, value=_value)

    def losses(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        logits, planted = clean_pass(images)
        clean_ce, clean_accuracy = _measure(labels, logits)
        perturbed = tf.stop_gradient(attacked(images, epsilon))
        ce, accuracy = _measure(labels, adversarial_pass(perturbed, planted))
        return 0.5 * clean_ce + 0.5 * ce, [clean_ce, clean_accuracy, ce, accuracy]

    return losses


def _value(variable: Any) -> tf.Tensor:
    """Copy the present value of Keras' `variable`."""
    return tf.identity(tf.convert_to_tensor(variable))


def _measure(labels: tf.Tensor, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute the mean cross-entropy in nats and the accuracy of `logits`."""
    ce = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    right = tf.equal(tf.argmax(logits, axis=1, output_type=labels.dtype), labels)
    return tf.reduce_mean(ce), tf.reduce_mean(tf.cast(right, tf.float32))
