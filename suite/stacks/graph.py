"""The stack of TensorFlow 1.14 and 1.15 (sessions, `tf.keras`) with CleverHans 3, as published."""

from __future__ import annotations

import functools
import os
import platform
import random
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np
import tensorflow as tf
from tensorflow import keras

from suite.networks.batch_norm import batch_norms
from suite.networks.phases import ADVERSARIAL, CLEAN, INFERENCE, OWN, TRAINING, Phases
from suite.stacks.protocol import StepResult
from suite.stacks.published import (
    SWITCHES,
    CallableModelWrapper,
    FastGradientMethod,
    ProjectedGradientDescent,
    clean_accuracy,
    clean_ce,
    cleverhans,
    fitted,
    published_step,
)
from suite.stacks.shared import (
    OPTIMIZERS,
    attack_name,
    require_phases,
    step_size,
    union,
    updated_layers,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from suite.networks.types import Images, Labels, Logits, Model
    from suite.stacks.protocol import TrainStep

K = keras.backend
GRAPH = True
DETERMINISTIC = ("TF_DETERMINISTIC_OPS", "TF_CUDNN_DETERMINISTIC")
"""Environment variables that ask for deterministic GPU kernels, where TensorFlow 1 knows them."""


def versions() -> dict[str, str]:
    """Return the versions of Python, TensorFlow, Keras, CleverHans and NumPy that are running."""
    modules = {"tensorflow": tf, "cleverhans": cleverhans, "keras": keras, "numpy": np}
    found = {name: module.__version__ for name, module in modules.items()}
    release, _, _ = found["cleverhans"].partition("-")  # a digest of the sources follows
    python = platform.python_version()
    return {"python": python, **found, "cleverhans": release, "h5py": h5py.__version__}


def gpus() -> list[str]:
    """Return the names of the GPUs TensorFlow sees."""
    return [device.name for device in tf.config.experimental.list_physical_devices("GPU")]


def seed(seed: int) -> None:
    """Start a new graph and session, seed `random`, NumPy and TensorFlow.

    Every operation's seed comes from its place in the graph: the same program draws the same
    weights. Earlier models, networks and steps end with their session. On the CPU one thing stays
    undetermined: in one run of the graph nothing orders the updates of the moving statistics
    among themselves, nor before or after the passes that read these statistics. Nearly always
    all read first; a single inter-op thread does not make it certain.
    """
    keras.backend.clear_session()
    os.environ.update(dict.fromkeys(DETERMINISTIC, "1"))
    random.seed(seed)
    np.random.seed(seed)
    tf.set_random_seed(seed)


def peak_device_bytes() -> int | None:
    """Return None: TensorFlow 1 cannot measure a device's peak memory anew."""
    return None


class GraphNetwork(NamedTuple):
    """A Keras model with a forward pass and an attack for each phase, built when first asked for.

    Attributes:
        model: Ends in logits.
        passes: Gives the forward pass of a phase; in training it runs the BatchNorm updates.
        attacks: Gives the attack of a phase, of so many steps; it never updates anything.
    """

    model: Model
    passes: Callable[[bool], Any]
    attacks: Callable[[bool, int], Any]

    def logits(self, images: Images, *, training: bool) -> Logits:
        """Return the logits ``(batch, classes)`` of `images` in the phase `training`."""
        return np.asarray(self.passes(training)([images])[0])

    def craft(self, images: Images, *, epsilon: float, training: bool, steps: int = 1) -> Images:
        """Return CleverHans' adversarial images, crafted in the phase `training`."""
        return np.asarray(self.attacks(training, steps)([images, epsilon])[0])


def network(model: Model) -> GraphNetwork:
    """Return `model` with its passes and attacks.

    Each has a placeholder of its own: the updates that depend on it are those of that very call.
    """

    @functools.lru_cache(maxsize=None)
    def forward(training: bool) -> Any:
        images = _images(model)
        logits = model(images, training=training)
        return K.function([images], [logits], updates=model.get_updates_for([images]))

    @functools.lru_cache(maxsize=None)
    def attack(training: bool, steps: int) -> Any:
        images, epsilon = _images(model), tf.placeholder(tf.float32, ())
        perturbed = _craft(model, images, epsilon, training=training, steps=steps)
        return K.function([images, epsilon], [perturbed])

    return GraphNetwork(model, forward, attack)


def _images(model: Model) -> tf.Tensor:
    """Return a new placeholder for the images `model` takes."""
    return tf.placeholder(tf.float32, (None, *model.inputs[0].shape[1:]))


def _craft(
    model: Model, images: tf.Tensor, epsilon: Any, *, training: bool, steps: int = 1
) -> tf.Tensor:
    """Return CleverHans' attack, labels the model's own predictions, in an explicit phase."""
    attack_name(steps)
    wrapped = CallableModelWrapper(lambda x: model(x, training=training), "logits")
    if steps == 1:
        attack = FastGradientMethod(wrapped, sess=K.get_session())
        return attack.generate(images, eps=epsilon, clip_min=0.0, clip_max=1.0)
    repeated = ProjectedGradientDescent(wrapped, sess=K.get_session())
    return repeated.generate(
        images, eps=epsilon, eps_iter=step_size(epsilon, steps), nb_iter=steps,
        clip_min=0.0, clip_max=1.0, rand_init=True, sanity_checks=False,
    )  # fmt: skip


def train_step(
    model: Model,
    *,
    phases: Phases | None,
    epsilon: float,
    optimizer: str = "sgd",
    branch: Model | None = None,
) -> TrainStep:
    """Return one update of `model` under the plain or the adversarial loss.

    The two policies of `PHASES` run the published code, the plain loss `model.fit` in the
    training phase, which TensorFlow is fed. What the policies differ in is `SWITCHES`. Other
    phases, which no published code has, run with an explicit ``training=`` in each pass; all
    their training passes update the moving statistics, the attack's (a pass for its labels and
    one for its gradient) included. What no phase of Keras is, and a branch of its own, runs pass
    by pass.

    Args:
        model: Ends in logits.
        phases: The phase of each pass of the adversarial loss; None takes the plain loss, in the
            training phase.
        epsilon: FGSM step in the max norm; pixels are in [0, 1].
        optimizer: A key of `OPTIMIZERS`.
        branch: What the attack and the adversarial pass go through; None takes `model`. Its own
            trainable variables learn too.

    Raises:
        ValueError: If `model` already has a step of the published code, or `phases` are none
            that a step can run in.
    """
    require_phases(phases, model, branch)
    descent = OPTIMIZERS[optimizer](keras)
    if phases is None:
        return _plain_step(model, descent)
    if branch not in (None, model) or phases.adversarial not in {TRAINING, INFERENCE}:
        return _staged_step(model, phases, epsilon, descent, branch or model)
    if phases in SWITCHES:
        return published_step(model, phases, epsilon, descent)
    return _explicit_step(model, phases, epsilon, descent)


def _plain_step(model: Model, descent: Any) -> TrainStep:
    """Return an update under the plain loss.

    The model is called on an input of its own: `fit` runs all updates that depend on its input,
    those of an adversarial step's passes would be among them.
    """
    images = keras.Input(model.inputs[0].shape[1:])
    whole = keras.Model(images, keras.layers.Activation("softmax")(model(images)))
    whole.compile(
        descent, keras.losses.categorical_crossentropy, metrics=[clean_ce, clean_accuracy]
    )
    return fitted(whole, nullcontext)


def _explicit_step(model: Model, phases: Phases, epsilon: float, descent: Any) -> TrainStep:
    """Return an update whose every pass is told its phase."""
    images, labels = _images(model), tf.placeholder(tf.int64, (None,))
    measured = _losses(model, images, labels, phases, epsilon)
    updates = descent.get_updates(params=model.trainable_weights, loss=measured[0])
    updates += model.get_updates_for([images])
    update = K.function([images, labels], measured, updates=updates)

    def step(images: Images, labels: Labels, learning_rate: float) -> StepResult:
        K.set_value(descent.lr, learning_rate)
        return StepResult(*map(float, update([images, labels])))

    return step


def _staged_step(
    model: Model, phases: Phases, epsilon: float, descent: Any, branch: Model
) -> TrainStep:
    """Return an update that runs the session once for each pass, in the order of its passes.

    So what reads the statistics is ordered, and a pass can be run for its updates alone. The
    attack updates nothing.
    """
    by, updates = ADVERSARIAL[phases.adversarial]
    clean, other = network(model), network(branch)
    update = _update_between(model, branch, phases, descent)
    layers = (
        updated_layers(model, lambda images: clean.logits(images, training=True))
        if by == CLEAN
        else list(batch_norms(branch))
    )
    variables = [x for layer in layers for x in (layer.moving_mean, layer.moving_variance)]
    momenta = [float(layer.momentum) for layer in layers for _ in range(2)]

    def clean_updates(images: Images) -> list[np.ndarray]:
        """Update by the clean images; return what to plant for the adversarial pass."""
        if by != CLEAN:
            if phases.clean == TRAINING:
                clean.logits(images, training=True)
            return list(K.batch_get_value(variables))
        old = K.batch_get_value(variables)
        _assign(variables, [np.zeros_like(value) for value in old])
        clean.logits(images, training=True)
        moved = K.batch_get_value(variables)
        _assign(variables, [m * one + two for m, one, two in zip(momenta, old, moved)])
        return [value / (1 - momentum) for momentum, value in zip(momenta, moved)]

    def step(images: Images, labels: Labels, learning_rate: float) -> StepResult:
        K.set_value(descent.lr, learning_rate)
        planted = clean_updates(images)
        perturbed = other.craft(images, epsilon=epsilon, training=phases.attack == TRAINING)
        if updates:
            other.logits(perturbed, training=True)
        after = K.batch_get_value(variables)
        _assign(variables, planted)
        measured = update([images, perturbed, labels])
        _assign(variables, after)
        return StepResult(*map(float, measured))

    return step


def _update_between(model: Model, branch: Model, phases: Phases, descent: Any) -> Any:
    """Return the update of the weights by clean and given perturbed images; no statistic moves."""
    images, perturbed, labels = _images(model), _images(model), tf.placeholder(tf.int64, (None,))
    own = ADVERSARIAL[phases.adversarial].by == OWN
    clean = _measure(labels, model(images, training=phases.clean == TRAINING))
    other = _measure(labels, branch(perturbed, training=own))
    loss = 0.5 * clean[0] + 0.5 * other[0]
    weights = union(model.trainable_weights, branch.trainable_weights)
    updates = descent.get_updates(params=weights, loss=loss)
    return K.function([images, perturbed, labels], [loss, *clean, *other], updates=updates)


def _assign(variables: list[Any], values: list[np.ndarray]) -> None:
    """Write `values` to the variables."""
    K.batch_set_value(list(zip(variables, values)))


def gradients(
    model: Model, *, phases: Phases | None, epsilon: float
) -> Callable[[Images, Labels], list[np.ndarray]]:
    """Return the gradients of a step's loss to the trainable weights, in their order.

    Every pass is told its phase, and nothing is updated. So all passes see the moving statistics
    as they were before the step.

    Args:
        model: Ends in logits.
        phases: As for `train_step`.
        epsilon: FGSM step in the max norm; pixels are in [0, 1].

    Raises:
        ValueError: If the perturbed images are to be normalised by the clean batch's statistics.
    """
    require_phases(phases, model, None)
    if phases is not None and ADVERSARIAL[phases.adversarial].by == CLEAN:
        raise ValueError(
            "phases must not be of the clean batch's statistics on TensorFlow 1; the stacks of "
            f"TensorFlow 2, JAX and PyTorch give their gradients. Received: {tuple(phases)}"
        )
    images, labels = _images(model), tf.placeholder(tf.int64, (None,))
    loss, *_ = _losses(model, images, labels, phases, epsilon)
    evaluate = K.function([images, labels], tf.gradients(loss, model.trainable_weights))
    return lambda images, labels: [np.asarray(value) for value in evaluate([images, labels])]


def _losses(
    model: Model, images: tf.Tensor, labels: tf.Tensor, phases: Phases | None, epsilon: float
) -> list[tf.Tensor]:
    """Return the loss and what else a step measures, each pass in its explicit phase."""
    if phases is None:
        ce, accuracy = _measure(labels, model(images, training=True))
        return [ce, ce, accuracy]
    clean, attack = phases.clean == TRAINING, phases.attack == TRAINING
    adversarial = ADVERSARIAL[phases.adversarial].by == OWN
    clean_measures = _measure(labels, model(images, training=clean))
    perturbed = tf.stop_gradient(_craft(model, images, epsilon, training=attack))
    measures = _measure(labels, model(perturbed, training=adversarial))
    return [0.5 * clean_measures[0] + 0.5 * measures[0], *clean_measures, *measures]


def _measure(labels: tf.Tensor, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the mean cross-entropy in nats and the accuracy of `logits`."""
    ce = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    right = tf.equal(tf.argmax(logits, axis=1), labels)
    return tf.reduce_mean(ce), tf.reduce_mean(tf.cast(right, tf.float32))
