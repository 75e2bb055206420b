"""The stack of Keras 3 on JAX with CleverHans 4's attacks for JAX."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.example_libraries import stax

from suite import machine
from suite.networks.phases import TRAINING, Phases
from suite.networks.types import Images, Labels, Logits, Model
from suite.stacks.jax_passes import (
    Array,
    Arrays,
    State,
    assign,
    forward_pass,
    pass_among,
    state_of,
    step_passes,
    values_of,
    variables_of,
)
from suite.stacks.protocol import StepResult, TrainStep
from suite.stacks.shared import (
    attack_name,
    cleverhans_attack,
    optimizer_of,
    require_phases,
    scaled,
    step_size,
)

GRAPH = False
DISTRIBUTIONS = ("jax", "jaxlib", "cleverhans", "keras", "numpy", "h5py", "ml-dtypes")
DETERMINISTIC = {"xla_gpu_deterministic_ops": True}


@contextmanager
def stax_by_its_old_name() -> Iterator[None]:
    """Let CleverHans import JAX's stax by the name that the same module had until 2021."""
    sys.modules["jax.experimental.stax"] = stax
    try:
        yield
    finally:
        del sys.modules["jax.experimental.stax"]


def __getattr__(name: str) -> Any:
    """Import CleverHans' attack `name` when it is first asked for."""
    with stax_by_its_old_name():
        return cleverhans_attack("jax", name)


def versions() -> dict[str, str]:
    """Look up the versions of Python, JAX, Keras, CleverHans and NumPy that are running."""
    return machine.versions(DISTRIBUTIONS)


def gpus() -> list[str]:
    """List the names of the GPUs that JAX sees."""
    return [device.device_kind for device in jax.devices() if device.platform == "gpu"]


def threads() -> dict[str, int]:
    """Count the processors that compute: XLA has a thread for each."""
    return {"intra_op": len(os.sched_getaffinity(0))}


def seed(seed: int) -> None:
    """Seed `random`, NumPy and Keras, which draws initial weights and dropout by JAX.

    Every compiled function of this module asks for deterministic kernels.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)


def random_state(models: Sequence[Model]) -> list[np.ndarray]:
    """Return nothing: Keras keeps the seeds of its layers among the models' variables."""
    del models
    return []


def set_random_state(models: Sequence[Model], state: list[np.ndarray]) -> None:
    """Set nothing: `random_state` reads nothing."""
    del models, state


def peak_device_bytes() -> int | None:
    """Read the peak memory of the first GPU since the process began, in bytes; None without one.

    JAX cannot measure it anew, so an earlier, larger case hides a smaller one.
    """
    if not gpus():
        return None
    return int(jax.devices()[0].memory_stats()["peak_bytes_in_use"])


def _compiled(function: Callable[..., Any]) -> Any:
    """Compile `function` with deterministic kernels."""
    return jax.jit(function, compiler_options=DETERMINISTIC if gpus() else None)


class JaxNetwork(NamedTuple):
    """A Keras model with a compiled forward pass for each phase, and its attacks.

    Attributes:
        model: Ends in logits.
        passes: The forward pass of each phase.
        attacks: Gives the attack of a phase and a number of steps, built when first asked for.
    """

    model: Model
    passes: Mapping[bool, Callable[..., Any]]
    attacks: Callable[[bool, int], Callable[..., Any]]

    def logits(self, images: Images, *, training: bool) -> Logits:
        """Compute the logits ``(batch, classes)`` of `images` in the phase `training`."""
        logits, other = self.passes[training](state_of(self.model), images)
        assign(self.model.non_trainable_variables, other)
        return np.asarray(logits)

    def craft(self, images: Images, *, epsilon: float, training: bool, steps: int = 1) -> Images:
        """Perturb `images` by CleverHans' attack, in the phase `training`."""
        attack = self.attacks(training, steps)
        perturbed, other = attack(state_of(self.model), images, epsilon)
        assign(self.model.non_trainable_variables, other)
        return np.asarray(perturbed)


def network(model: Model) -> JaxNetwork:
    """Compile the passes and attacks of `model`."""
    passes = {phase: _compiled(forward_pass(model, phase)) for phase in (False, True)}

    @functools.lru_cache(maxsize=None)
    def attack(training: bool, steps: int) -> Any:
        attack_name(steps)
        forward = forward_pass(model, training)
        return _compiled(_attack(forward)) if steps == 1 else _repeated(forward, steps)

    return JaxNetwork(model, passes, attack)


def _attack(forward: Any) -> Any:
    """Make CleverHans' fast gradient method on a pass; its labels are the pass's predictions.

    CleverHans would predict the labels itself, but writes them over ten classes, whatever the
    model has. Here the same pass predicts them, and they are given one-hot, as it wants them.

    CleverHans takes the gradient image by image. In the inference phase this changes nothing. In
    the training phase BatchNorm then normalises each image by its own statistics, not by its
    batch's, and dropout draws one mask for all. Only the pass that predicts the labels sees the
    batch, and it alone moves the moving statistics.
    """
    attack_once = _once(forward)

    def attack(state: State, images: Array, epsilon: float) -> tuple[Array, Arrays]:
        labels, other = _predicted(forward, state, images)
        return attack_once(State(state.trainable, other), images, labels, epsilon), other

    return attack


def _repeated(forward: Any, steps: int) -> Any:
    """Make projected gradient descent of CleverHans' steps and its projection.

    CleverHans' own loop over them draws its start by ``jax.numpy.random``, which JAX does not
    have; here NumPy's generator draws it. The steps are those of `_attack`.
    """
    with stax_by_its_old_name():
        clip_eta = importlib.import_module("cleverhans.jax.utils").clip_eta
    attack_once = _once(forward)
    predicted = _compiled(lambda state, images: _predicted(forward, state, images))

    def project(images: Array, perturbed: Array, epsilon: float) -> Array:
        return jnp.clip(images + clip_eta(perturbed - images, np.inf, epsilon), 0.0, 1.0)

    @_compiled
    def towards(state: State, images: Array, start: Array, labels: Array, epsilon: float) -> Array:
        moved = attack_once(state, start, labels, step_size(epsilon, steps))
        return project(images, moved, epsilon)

    def attack(state: State, images: Array, epsilon: float) -> tuple[Array, Arrays]:
        labels, other = predicted(state, images)
        noise = np.random.uniform(-epsilon, epsilon, images.shape).astype(np.float32)
        perturbed = project(images, images + noise, epsilon)
        for _ in range(steps):
            perturbed = towards(State(state.trainable, other), images, perturbed, labels, epsilon)
        return perturbed, other

    return attack


def _once(forward: Any) -> Any:
    """Make one of CleverHans' steps on a pass, away from given labels."""
    fast_gradient_method = getattr(sys.modules[__name__], attack_name(1))

    def step(state: State, images: Array, labels: Array, size: float) -> Array:
        perturbed: Array = fast_gradient_method(
            lambda x: forward(state, x)[0], images, size, np.inf,
            clip_min=0.0, clip_max=1.0, y=labels,
        )  # fmt: skip
        return perturbed

    return step


def _predicted(forward: Any, state: State, images: Array) -> tuple[Array, Arrays]:
    """Predict the classes by a pass, one-hot; return also the variables that the pass moved."""
    predicted, other = forward(state, images)
    return jax.nn.one_hot(predicted.argmax(axis=1), predicted.shape[1]), other


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
    variables = variables_of(model, branch if phases is not None else None)
    differentiated = _differentiated(model, phases, epsilon, branch)
    descent = optimizer_of(keras, optimizer, model)
    descent.build(variables.trainable)
    own = list(descent.variables)
    rate = _rate_among(own, descent)

    @_compiled
    def update(state: State, slots: Arrays, images: Array, labels: Array) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(own, slots))):
            scale = scaled(descent, 1.0) if hasattr(descent, "initial_scale") else None
        gradients, (measured, other) = differentiated(state, images, labels, scale)
        trainable, slots = descent.stateless_apply(slots, gradients, state.trainable)
        return trainable, other, slots, measured

    def step(images: Images, labels: Labels, learning_rate: float) -> StepResult:
        slots = values_of(own)
        slots[rate] = np.float32(learning_rate)  # by Keras' own setter it takes 0.2 ms more
        state = State(*map(values_of, variables))
        trainable, other, slots, measured = update(state, slots, images, labels.astype(np.int32))
        assign(variables.trainable, trainable)
        assign(variables.other, other)
        assign(own, slots)
        return StepResult(*map(float, np.asarray(measured)))

    return TrainStep(step, descent)


def _rate_among(variables: list[Any], descent: Any) -> int:
    """Find the place of the learning rate among an optimizer's variables."""
    rate = getattr(descent, "inner_optimizer", descent).learning_rate  # under a scaled loss
    return next(place for place, variable in enumerate(variables) if variable is rate)


def gradients(
    model: Model, *, phases: Phases | None, epsilon: float
) -> Callable[[Images, Labels], list[np.ndarray]]:
    """Make a function of a batch that computes the gradients of a step's loss.

    Arguments and errors are those of `suite.stacks.protocol.Stack.gradients`.
    """
    differentiated = _compiled(_differentiated(model, phases, epsilon))

    def of_batch(images: Images, labels: Labels) -> list[np.ndarray]:
        found, _ = differentiated(state_of(model), images, labels.astype(np.int32))
        return [np.asarray(gradient) for gradient in found]

    return of_batch


def _differentiated(
    model: Model, phases: Phases | None, epsilon: float, branch: Model | None = None
) -> Any:
    """Make a function that gives the loss's gradients, what it measured and what it moved."""
    require_phases(phases, model, branch)
    losses = _plain(model) if phases is None else _adversarial(model, phases, epsilon, branch)

    def loss(
        trainable: Arrays, other: Arrays, images: Array, labels: Array, scale: Array | None
    ) -> Any:
        value, measured, other = losses(State(trainable, other), images, labels)
        minimised = value if scale is None else value * scale
        return minimised, (jnp.stack([value, *measured]), other)

    def differentiated(
        state: State, images: Array, labels: Array, scale: Array | None = None
    ) -> Any:
        return jax.grad(loss, has_aux=True)(*state, images, labels, scale)

    return differentiated


def _plain(model: Model) -> Any:
    """Make the plain loss: the mean cross-entropy of the clean images, in the training phase."""
    forward = forward_pass(model, True)

    def losses(state: State, images: Array, labels: Array) -> tuple[Array, list[Array], Arrays]:
        logits, other = forward(state, images)
        ce, accuracy = _measure(labels, logits)
        return ce, [ce, accuracy], other

    return losses


def _adversarial(model: Model, phases: Phases, epsilon: float, branch: Model | None) -> Any:
    """Make the loss 0.5 CE(clean) + 0.5 CE(perturbed), each pass in its phase.

    The perturbed images are held constant, as published. Each pass starts from the variables as
    the one before has left them.
    """
    second, variables = model if branch is None else branch, variables_of(model, branch)
    attack = _attack(pass_among(second, variables, phases.attack == TRAINING))
    clean_pass, adversarial_pass = step_passes(model, phases, second, variables)

    def losses(state: State, images: Array, labels: Array) -> tuple[Array, list[Array], Arrays]:
        logits, other, planted = clean_pass(state, images)
        clean_ce, clean_accuracy = _measure(labels, logits)
        perturbed, other = attack(State(state.trainable, other), images, epsilon)
        perturbed = jax.lax.stop_gradient(perturbed)
        logits, other = adversarial_pass(State(state.trainable, other), perturbed, planted)
        ce, accuracy = _measure(labels, logits)
        return 0.5 * clean_ce + 0.5 * ce, [clean_ce, clean_accuracy, ce, accuracy], other

    return losses


def _measure(labels: Array, logits: Array) -> tuple[Array, Array]:
    """Compute the mean cross-entropy in nats and the accuracy of `logits`."""
    own = labels[:, None] == jnp.arange(logits.shape[1])  # to gather them takes longer
    likelihood = jnp.where(own, jax.nn.log_softmax(logits), 0.0).sum(axis=1)
    return -likelihood.mean(), (logits.argmax(axis=1) == labels).mean()
