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
from suite.stacks.protocol import StepResult, TrainStep
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
    from collections.abc import Callable, Sequence

    from suite.networks.types import Images, Labels, Logits, Model

K = keras.backend
GRAPH = True
DETERMINISTIC = ("TF_DETERMINISTIC_OPS", "TF_CUDNN_DETERMINISTIC")
"""Environment variables that ask for deterministic GPU kernels, where TensorFlow 1 knows them."""


def versions() -> dict[str, str]:
    """Look up the versions of Python, TensorFlow, Keras, CleverHans and NumPy that are running."""
    modules = {"tensorflow": tf, "cleverhans": cleverhans, "keras": keras, "numpy": np}
    found = {name: module.__version__ for name, module in modules.items()}
    release, _, _ = found["cleverhans"].partition("-")  # a digest of the sources follows
    python = platform.python_version()
    return {"python": python, **found, "cleverhans": release, "h5py": h5py.__version__}


def gpus() -> list[str]:
    """List the names of the GPUs that TensorFlow sees."""
    return [device.name for device in tf.config.experimental.list_physical_devices("GPU")]


def threads() -> dict[str, int]:
    """Ask how many threads compute: within an operation and across them; 0 for all."""
    asked = tf.config.threading
    return {
        "intra_op": asked.get_intra_op_parallelism_threads(),
        "inter_op": asked.get_inter_op_parallelism_threads(),
    }


def seed(seed: int) -> None:
    """Start a new graph and session; seed `random`, NumPy and TensorFlow.

    The seed of every operation comes from its place in the graph: the same program draws the same
    weights. Earlier models, networks and steps end with their session. On the CPU one thing stays
    undetermined: in one run of the graph, nothing orders the updates of the moving statistics
    among themselves, nor relative to the passes that read these statistics. Nearly always all
    reads come first; a single inter-op thread does not make it certain.
    """
    keras.backend.clear_session()
    os.environ.update(dict.fromkeys(DETERMINISTIC, "1"))
    random.seed(seed)
    np.random.seed(seed)
    tf.set_random_seed(seed)


def random_state(models: Sequence[Model]) -> None:
    """Return None: TensorFlow 1 counts the draws of dropout in its kernels, out of reach."""
    del models


def set_random_state(models: Sequence[Model], state: list[np.ndarray]) -> None:
    """Set nothing: there is nothing that `random_state` could have read."""
    del models, state


def peak_device_bytes() -> int | None:
    """Return None: TensorFlow 1 cannot measure a device's peak memory anew."""
    return None


class GraphNetwork(NamedTuple):
    """A Keras model with a forward pass and an attack for each phase, built when first asked for.

    Attributes:
        model: Ends in logits.
        passes: Gives the forward pass of a phase; in training it runs the BatchNorm updates.
        attacks: Gives the attack of a phase and a number of steps; it never updates anything.
    """

    model: Model
    passes: Callable[[bool], Any]
    attacks: Callable[[bool, int], Any]

    def logits(self, images: Images, *, training: bool) -> Logits:
        """Compute the logits ``(batch, classes)`` of `images` in the phase `training`."""
        return np.asarray(self.passes(training)([images])[0])

    def craft(self, images: Images, *, epsilon: float, training: bool, steps: int = 1) -> Images:
        """Perturb `images` by CleverHans' attack, in the phase `training`."""
        return np.asarray(self.attacks(training, steps)([images, epsilon])[0])


def network(model: Model) -> GraphNetwork:
    """Make the passes and attacks of `model`.

    Each has a placeholder of its own: the updates that depend on it are those of its own call.
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
    """Make a new placeholder for the images that `model` takes."""
    return tf.placeholder(tf.float32, (None, *model.inputs[0].shape[1:]))


def _craft(
    model: Model, images: tf.Tensor, epsilon: Any, *, training: bool, steps: int = 1
) -> tf.Tensor:
    """Build CleverHans' attack in an explicit phase; its labels are the model's predictions."""
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
    """Make the update of `model` under the plain or the adversarial loss.

    The plain loss runs `model.fit` in the training phase, which TensorFlow is fed. The two
    policies of `suite.networks.phases.PHASES` run the published code; they differ in `SWITCHES`.
    Other phases, which no published code has, run with an explicit ``training=`` in each pass.
    All their training passes update the moving statistics, also those of the attack (one for its
    labels, one for its gradient). An adversarial pass for which Keras has no phase, or through a
    branch of its own, runs pass by pass.

    Arguments and errors are those of `suite.stacks.protocol.Stack.train_step`; a model that
    already has a step of the published code is refused too.
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
    """Make an update under the plain loss.

    The model is called on a new input: `fit` runs all updates that depend on its input, and those
    of an adversarial step's passes would be among them.
    """
    images = keras.Input(model.inputs[0].shape[1:])
    whole = keras.Model(images, keras.layers.Activation("softmax")(model(images)))
    whole.compile(
        descent, keras.losses.categorical_crossentropy, metrics=[clean_ce, clean_accuracy]
    )
    return fitted(whole, nullcontext)


def _explicit_step(model: Model, phases: Phases, epsilon: float, descent: Any) -> TrainStep:
    """Make an update whose passes have an explicit phase each."""
    images, labels = _images(model), tf.placeholder(tf.int64, (None,))
    measured = _losses(model, images, labels, phases, epsilon)
    updates = descent.get_updates(params=model.trainable_weights, loss=measured[0])
    updates += model.get_updates_for([images])
    update = K.function([images, labels], measured, updates=updates)

    def step(images: Images, labels: Labels, learning_rate: float) -> StepResult:
        K.set_value(descent.lr, learning_rate)
        return StepResult(*map(float, update([images, labels])))

    return TrainStep(step, descent)


def _staged_step(
    model: Model, phases: Phases, epsilon: float, descent: Any, branch: Model
) -> TrainStep:
    """Make an update that runs the session once for each pass, in the order of the passes.

    This orders the reads and updates of the statistics, and lets a pass be run for its updates
    alone. The attack updates nothing.
    """
    by, updates = ADVERSARIAL[phases.adversarial]
    clean, other = network(model), network(branch)
    update = _update_between(model, branch, phases, descent)
    if by == CLEAN:
        layers = updated_layers(model, lambda images: clean.logits(images, training=True))
    else:
        layers = list(batch_norms(branch))
    statistics = _statistics(layers)

    def planted_by(images: Images) -> list[np.ndarray]:
        """Update by the clean images; return what to plant for the adversarial pass."""
        if by == CLEAN:
            return statistics.measured(lambda: clean.logits(images, training=True))
        if phases.clean == TRAINING:
            clean.logits(images, training=True)
        return statistics.read()

    def step(images: Images, labels: Labels, learning_rate: float) -> StepResult:
        K.set_value(descent.lr, learning_rate)
        planted = planted_by(images)
        perturbed = other.craft(images, epsilon=epsilon, training=phases.attack == TRAINING)
        if updates:
            other.logits(perturbed, training=True)
        after = statistics.read()
        statistics.assign(planted)
        measured = update([images, perturbed, labels])
        statistics.assign(after)
        return StepResult(*map(float, measured))

    return TrainStep(step, descent)


class Statistics(NamedTuple):
    """The moving statistics of BatchNorm layers in the session.

    Attributes:
        variables: The moving mean and the moving variance of each layer.
        momenta: The momentum of each variable, as it was when the layer was called.
    """

    variables: list[Any]
    momenta: list[float]

    def read(self) -> list[np.ndarray]:
        """Read the present values."""
        return list(K.batch_get_value(self.variables))

    def assign(self, values: list[np.ndarray]) -> None:
        """Write new values."""
        K.batch_set_value(list(zip(self.variables, values)))

    def measured(self, forward: Callable[[], Any]) -> list[np.ndarray]:
        """Run a pass in the training phase; return its batch's means and variances.

        Starting from zero, the moving statistics go to 1 - momentum of the batch's, so that
        nothing is lost by cancellation. Then they are set to what they would have become.
        """
        old = self.read()
        self.assign([np.zeros_like(value) for value in old])
        forward()
        moved = self.read()
        self.assign([m * before + after for m, before, after in zip(self.momenta, old, moved)])
        return [value / (1 - momentum) for momentum, value in zip(self.momenta, moved)]


def _statistics(layers: list[Model]) -> Statistics:
    """Collect the moving statistics of `layers`."""
    return Statistics(
        [x for layer in layers for x in (layer.moving_mean, layer.moving_variance)],
        [float(layer.momentum) for layer in layers for _ in range(2)],
    )


def _update_between(model: Model, branch: Model, phases: Phases, descent: Any) -> Any:
    """Build the update of the weights by clean and given perturbed images; no statistic moves."""
    images, perturbed, labels = _images(model), _images(model), tf.placeholder(tf.int64, (None,))
    own = ADVERSARIAL[phases.adversarial].by == OWN
    clean = _measure(labels, model(images, training=phases.clean == TRAINING))
    other = _measure(labels, branch(perturbed, training=own))
    loss = 0.5 * clean[0] + 0.5 * other[0]
    weights = union(model.trainable_weights, branch.trainable_weights)
    updates = descent.get_updates(params=weights, loss=loss)
    return K.function([images, perturbed, labels], [loss, *clean, *other], updates=updates)


def gradients(
    model: Model, *, phases: Phases | None, epsilon: float
) -> Callable[[Images, Labels], list[np.ndarray]]:
    """Make a function of a batch that computes the gradients of a step's loss.

    Arguments and errors are those of `suite.stacks.protocol.Stack.gradients`. Every pass has an
    explicit phase and nothing is updated, so all passes see the moving statistics as they were
    before the step.

    Raises:
        ValueError: If the clean batch's statistics are to normalise the perturbed images.
    """
    require_phases(phases, model, None)
    if phases is not None and ADVERSARIAL[phases.adversarial].by == CLEAN:
        raise ValueError(
            "phases must not need the clean batch's statistics for gradients on TensorFlow 1; take "
            f"TensorFlow 2, JAX or PyTorch for these. Received: {tuple(phases)}"
        )
    images, labels = _images(model), tf.placeholder(tf.int64, (None,))
    loss, *_ = _losses(model, images, labels, phases, epsilon)
    evaluate = K.function([images, labels], tf.gradients(loss, model.trainable_weights))
    return lambda images, labels: [np.asarray(value) for value in evaluate([images, labels])]


def _losses(
    model: Model, images: tf.Tensor, labels: tf.Tensor, phases: Phases | None, epsilon: float
) -> list[tf.Tensor]:
    """Build the loss and what else a step measures, each pass in its explicit phase."""
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
    """Compute the mean cross-entropy in nats and the accuracy of `logits`."""
    ce = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    right = tf.equal(tf.argmax(logits, axis=1), labels)
    return tf.reduce_mean(ce), tf.reduce_mean(tf.cast(right, tf.float32))
