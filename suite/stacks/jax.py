"""The stack of Keras 3 on JAX with CleverHans 4's attacks for JAX."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.example_libraries import stax

from suite import machine
from suite.cases import TRAINING, Phases
from suite.stacks import OPTIMIZERS, Images, Labels, Logits, StepResult, TrainStep
from suite.types import Model

if TYPE_CHECKING:
    from typing import TypeAlias

# CleverHans imports JAX's stax by the name it had until 2021; the module is the same.
sys.modules["jax.experimental.stax"] = stax
from cleverhans.jax.attacks.fast_gradient_method import fast_gradient_method  # noqa: E402

del sys.modules["jax.experimental.stax"]

GRAPH = False
DISTRIBUTIONS = ("jax", "jaxlib", "cleverhans", "keras", "numpy", "h5py", "ml-dtypes")
DETERMINISTIC = {"xla_gpu_deterministic_ops": True}

Array: TypeAlias = jax.Array
Arrays: TypeAlias = "list[jax.Array]"


def versions() -> dict[str, str]:
    """Return the versions of Python, JAX, Keras, CleverHans and NumPy that are running."""
    return machine.versions(DISTRIBUTIONS)


def gpus() -> list[str]:
    """Return the names of the GPUs JAX sees."""
    return [device.device_kind for device in jax.devices() if device.platform == "gpu"]


def seed(seed: int) -> None:
    """Seed `random`, NumPy and Keras, whose initial weights and dropout are JAX's.

    Every compiled function of this module asks for deterministic kernels.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)


def peak_device_bytes() -> int | None:
    """Return the peak memory of the first GPU since the process began; None without one.

    JAX offers no way to begin anew, so that an earlier, larger case hides a smaller one.
    """
    if not gpus():
        return None
    return int(jax.devices()[0].memory_stats()["peak_bytes_in_use"])


class State(NamedTuple):
    """The values of a model's variables, in Keras' order."""

    trainable: Arrays
    other: Arrays


def _state(model: Model) -> State:
    """Return the present values of the variables of `model`."""
    return State(_values(model.trainable_variables), _values(model.non_trainable_variables))


def _values(variables: Any) -> Arrays:
    """Return the arrays that Keras' `variables` hold."""
    return [variable.value for variable in variables]


def _assign(variables: Any, values: Arrays) -> None:
    """Write `values` back, so that whoever asks Keras for a weight reads the truth."""
    for variable, value in zip(variables, values):
        variable.assign(value)


def _compiled(function: Callable[..., Any]) -> Any:
    """Return `function` compiled, with deterministic kernels."""
    return jax.jit(function, compiler_options=DETERMINISTIC if gpus() else None)


class JaxNetwork(NamedTuple):
    """A Keras model with a compiled forward pass and attack for each phase."""

    model: Model
    passes: Mapping[bool, Callable[..., Any]]
    attacks: Mapping[bool, Callable[..., Any]]

    def logits(self, images: Images, *, training: bool) -> Logits:
        """Return the logits ``(batch, classes)`` of `images` in the phase `training`."""
        logits, other = self.passes[training](_state(self.model), images)
        _assign(self.model.non_trainable_variables, other)
        return np.asarray(logits)

    def craft(self, images: Images, *, epsilon: float, training: bool) -> Images:
        """Return CleverHans' FGSM images, crafted in the phase `training`."""
        perturbed, other = self.attacks[training](_state(self.model), images, epsilon)
        _assign(self.model.non_trainable_variables, other)
        return np.asarray(perturbed)


def network(model: Model) -> JaxNetwork:
    """Return `model` with its compiled passes and attacks."""
    passes = {phase: _compiled(_pass(model, phase)) for phase in (False, True)}
    attacks = {phase: _compiled(_attack(model, phase)) for phase in (False, True)}
    return JaxNetwork(model, passes, attacks)


def _pass(model: Model, training: bool) -> Any:
    """Return the forward pass in one phase: logits, and the variables that are not trained.

    In the inference phase those are handed on unchanged; in the training phase they hold the
    moved moving statistics and the next seeds of dropout. They are held constant, as an assigned
    variable is elsewhere: a later pass in the inference phase must not learn through them.
    """

    def forward(state: State, images: Array) -> tuple[Array, Arrays]:
        logits, other = model.stateless_call(*state, images, training=training)
        return logits, jax.lax.stop_gradient(other)

    return forward


def _attack(model: Model, training: bool) -> Any:
    """Return CleverHans' fast gradient method on `model`, labels its own predictions.

    CleverHans would predict the labels itself, but writes them over ten classes, whatever the
    model has: here they are predicted by the same pass and given, one-hot as it asks for.

    Its gradient is taken image by image. In the inference phase this changes nothing. In the
    training phase BatchNorm so normalises each image by its own statistics, not its batch's,
    and dropout draws one mask for all; only the pass that predicts the labels sees the batch,
    and it alone moves the moving statistics.
    """
    forward = _pass(model, training)

    def attack(state: State, images: Array, epsilon: float) -> tuple[Array, Arrays]:
        predicted, other = forward(state, images)
        labels = jax.nn.one_hot(predicted.argmax(axis=1), predicted.shape[1])
        perturbed = fast_gradient_method(
            lambda x: forward(State(state.trainable, other), x)[0],
            images, epsilon, np.inf, clip_min=0.0, clip_max=1.0, y=labels,
        )  # fmt: skip
        return perturbed, other

    return attack


def train_step(
    model: Model, *, phases: Phases | None, epsilon: float, optimizer: str = "sgd"
) -> TrainStep:
    """Return one update of `model` under the plain or the adversarial loss.

    Args:
        model: Ends in logits.
        phases: The phase of each pass of the adversarial loss; None takes the plain loss, in the
            training phase.
        epsilon: FGSM step in the max norm; pixels are in [0, 1].
        optimizer: A key of `OPTIMIZERS`.
    """
    differentiated = _differentiated(model, phases, epsilon)
    descent = OPTIMIZERS[optimizer](keras)
    descent.build(model.trainable_variables)

    @_compiled
    def update(state: State, slots: Arrays, images: Array, labels: Array) -> Any:
        gradients, (measured, other) = differentiated(state, images, labels)
        trainable, slots = descent.stateless_apply(slots, gradients, state.trainable)
        return trainable, other, slots, measured

    def step(images: Images, labels: Labels, learning_rate: float) -> StepResult:
        descent.learning_rate = learning_rate
        trainable, other, slots, measured = update(
            _state(model), _values(descent.variables), images, labels.astype(np.int32)
        )
        _assign(model.trainable_variables, trainable)
        _assign(model.non_trainable_variables, other)
        _assign(descent.variables, slots)
        return StepResult(*map(float, np.asarray(measured)))

    return step


def gradients(
    model: Model, *, phases: Phases | None, epsilon: float
) -> Callable[[Images, Labels], list[np.ndarray]]:
    """Return the gradients of a step's loss to `model.trainable_weights`; no state is moved."""
    differentiated = _compiled(_differentiated(model, phases, epsilon))

    def of_batch(images: Images, labels: Labels) -> list[np.ndarray]:
        found, _ = differentiated(_state(model), images, labels.astype(np.int32))
        return [np.asarray(gradient) for gradient in found]

    return of_batch


def _differentiated(model: Model, phases: Phases | None, epsilon: float) -> Any:
    """Return the gradients of the loss, what it measured and the variables it moved."""
    losses = _plain(model) if phases is None else _adversarial(model, phases, epsilon)

    def loss(trainable: Arrays, other: Arrays, images: Array, labels: Array) -> Any:
        value, measured, other = losses(State(trainable, other), images, labels)
        return value, (jnp.stack([value, *measured]), other)

    def differentiated(state: State, images: Array, labels: Array) -> Any:
        return jax.grad(loss, has_aux=True)(*state, images, labels)

    return differentiated


def _plain(model: Model) -> Any:
    """Return the plain loss: the mean cross-entropy of the clean images, in the training phase."""
    forward = _pass(model, True)

    def losses(state: State, images: Array, labels: Array) -> tuple[Array, list[Array], Arrays]:
        logits, other = forward(state, images)
        ce, accuracy = _measure(labels, logits)
        return ce, [ce, accuracy], other

    return losses


def _adversarial(model: Model, phases: Phases, epsilon: float) -> Any:
    """Return the loss 0.5 CE(clean) + 0.5 CE(perturbed), each pass in its phase.

    The perturbed images are held constant, as published. Each pass starts from the variables
    that the one before it moved.
    """
    clean, attacked, adversarial = (phase == TRAINING for phase in phases)
    attack = _attack(model, attacked)

    def losses(state: State, images: Array, labels: Array) -> tuple[Array, list[Array], Arrays]:
        logits, other = _pass(model, clean)(state, images)
        clean_ce, clean_accuracy = _measure(labels, logits)
        perturbed, other = attack(State(state.trainable, other), images, epsilon)
        perturbed = jax.lax.stop_gradient(perturbed)
        logits, other = _pass(model, adversarial)(State(state.trainable, other), perturbed)
        ce, accuracy = _measure(labels, logits)
        return 0.5 * clean_ce + 0.5 * ce, [clean_ce, clean_accuracy, ce, accuracy], other

    return losses


def _measure(labels: Array, logits: Array) -> tuple[Array, Array]:
    """Return the mean cross-entropy in nats and the accuracy of `logits`."""
    likelihood = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
    return -likelihood.mean(), (logits.argmax(axis=1) == labels).mean()
