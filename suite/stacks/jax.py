"""The stack of Keras 3 on JAX with CleverHans 4's attacks for JAX."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.example_libraries import stax

from suite import machine
from suite.fixes import batch_norms
from suite.phases import ADVERSARIAL, CLEAN, INFERENCE, OWN_KEPT, TRAINING, Phases
from suite.stacks import (
    OPTIMIZERS,
    Images,
    Labels,
    Logits,
    StepResult,
    TrainStep,
    attack_name,
    cleverhans_attack,
    require_phases,
    step_size,
    union,
    updated_layers,
)
from suite.types import Model

if TYPE_CHECKING:
    from typing import TypeAlias

GRAPH = False
DISTRIBUTIONS = ("jax", "jaxlib", "cleverhans", "keras", "numpy", "h5py", "ml-dtypes")
DETERMINISTIC = {"xla_gpu_deterministic_ops": True}

Array: TypeAlias = jax.Array
Arrays: TypeAlias = "list[jax.Array]"


@contextmanager
def stax_by_its_old_name() -> Iterator[None]:
    """Let CleverHans import JAX's stax by the name it had until 2021; the module is the same."""
    sys.modules["jax.experimental.stax"] = stax
    try:
        yield
    finally:
        del sys.modules["jax.experimental.stax"]


def __getattr__(name: str) -> Any:
    """Return CleverHans' attack `name`."""
    with stax_by_its_old_name():
        return cleverhans_attack("jax", name)


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


class Variables(NamedTuple):
    """Keras' variables of a model, and after them those that only its branch has."""

    trainable: list[Any]
    other: list[Any]


def _variables(model: Model, branch: Model | None = None) -> Variables:
    """Return the variables of `model` and of its `branch`."""
    second = model if branch is None else branch
    return Variables(
        union(model.trainable_variables, second.trainable_variables),
        union(model.non_trainable_variables, second.non_trainable_variables),
    )


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
    """A Keras model with a compiled forward pass for each phase, and its attacks.

    Attributes:
        model: Ends in logits.
        passes: The forward pass of each phase.
        attacks: Gives the attack in a phase, of so many steps, built when first asked for.
    """

    model: Model
    passes: Mapping[bool, Callable[..., Any]]
    attacks: Callable[[bool, int], Callable[..., Any]]

    def logits(self, images: Images, *, training: bool) -> Logits:
        """Return the logits ``(batch, classes)`` of `images` in the phase `training`."""
        logits, other = self.passes[training](_state(self.model), images)
        _assign(self.model.non_trainable_variables, other)
        return np.asarray(logits)

    def craft(self, images: Images, *, epsilon: float, training: bool, steps: int = 1) -> Images:
        """Return CleverHans' adversarial images, crafted in the phase `training`."""
        attack = self.attacks(training, steps)
        perturbed, other = attack(_state(self.model), images, epsilon)
        _assign(self.model.non_trainable_variables, other)
        return np.asarray(perturbed)


def network(model: Model) -> JaxNetwork:
    """Return `model` with its compiled passes and attacks."""
    passes = {phase: _compiled(_pass(model, phase)) for phase in (False, True)}

    @functools.lru_cache(maxsize=None)
    def attack(training: bool, steps: int) -> Any:
        attack_name(steps)
        forward = _pass(model, training)
        return _compiled(_attack(forward)) if steps == 1 else _repeated(forward, steps)

    return JaxNetwork(model, passes, attack)


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


def _attack(forward: Any) -> Any:
    """Return CleverHans' fast gradient method on a pass, labels its own predictions.

    CleverHans would predict the labels itself, but writes them over ten classes, whatever the
    model has: here they are predicted by the same pass and given, one-hot as it asks for.

    Its gradient is taken image by image. In the inference phase this changes nothing. In the
    training phase BatchNorm so normalises each image by its own statistics, not its batch's,
    and dropout draws one mask for all; only the pass that predicts the labels sees the batch,
    and it alone moves the moving statistics.
    """
    attack_once = _once(forward)

    def attack(state: State, images: Array, epsilon: float) -> tuple[Array, Arrays]:
        labels, other = _predicted(forward, state, images)
        return attack_once(State(state.trainable, other), images, labels, epsilon), other

    return attack


def _repeated(forward: Any, steps: int) -> Any:
    """Return projected gradient descent of several of CleverHans' steps and its projection.

    Its own loop over them asks for ``jax.numpy.random``, which JAX does not have, to start at
    random. NumPy's generator draws the start here. The steps are as those of `_attack`.
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
    """Return one of CleverHans' steps on a pass, away from labels that are given."""
    fast_gradient_method = getattr(sys.modules[__name__], attack_name(1))

    def step(state: State, images: Array, labels: Array, size: float) -> Array:
        perturbed: Array = fast_gradient_method(
            lambda x: forward(state, x)[0], images, size, np.inf,
            clip_min=0.0, clip_max=1.0, y=labels,
        )  # fmt: skip
        return perturbed

    return step


def _predicted(forward: Any, state: State, images: Array) -> tuple[Array, Arrays]:
    """Return the classes that a pass predicts, one-hot, and the variables that it moved."""
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
    """Return one update of `model` under the plain or the adversarial loss.

    Args:
        model: Ends in logits.
        phases: The phase of each pass of the adversarial loss; None takes the plain loss, in the
            training phase.
        epsilon: FGSM step in the max norm; pixels are in [0, 1].
        optimizer: A key of `OPTIMIZERS`.
        branch: What the attack and the adversarial pass go through; None takes `model`. Its own
            trainable variables learn too.

    Raises:
        ValueError: If `phases` are none that a step can run in.
    """
    variables = _variables(model, branch if phases is not None else None)
    differentiated = _differentiated(model, phases, epsilon, branch)
    descent = OPTIMIZERS[optimizer](keras)
    descent.build(variables.trainable)

    @_compiled
    def update(state: State, slots: Arrays, images: Array, labels: Array) -> Any:
        gradients, (measured, other) = differentiated(state, images, labels)
        trainable, slots = descent.stateless_apply(slots, gradients, state.trainable)
        return trainable, other, slots, measured

    def step(images: Images, labels: Labels, learning_rate: float) -> StepResult:
        descent.learning_rate = learning_rate
        trainable, other, slots, measured = update(
            State(*map(_values, variables)),
            _values(descent.variables),
            images,
            labels.astype(np.int32),
        )
        _assign(variables.trainable, trainable)
        _assign(variables.other, other)
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


def _differentiated(
    model: Model, phases: Phases | None, epsilon: float, branch: Model | None = None
) -> Any:
    """Return the gradients of the loss, what it measured and the variables it moved."""
    require_phases(phases, model, branch)
    losses = _plain(model) if phases is None else _adversarial(model, phases, epsilon, branch)

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


def _adversarial(model: Model, phases: Phases, epsilon: float, branch: Model | None) -> Any:
    """Return the loss 0.5 CE(clean) + 0.5 CE(perturbed), each pass in its phase.

    The perturbed images are held constant, as published. Each pass starts from the variables
    that the one before it moved.
    """
    second, variables = model if branch is None else branch, _variables(model, branch)
    attack = _attack(_pass_among(second, variables, phases.attack == TRAINING))
    clean_pass, adversarial_pass = _passes(model, phases, second, variables)

    def losses(state: State, images: Array, labels: Array) -> tuple[Array, list[Array], Arrays]:
        logits, other, planted = clean_pass(state, images)
        clean_ce, clean_accuracy = _measure(labels, logits)
        perturbed, other = attack(State(state.trainable, other), images, epsilon)
        perturbed = jax.lax.stop_gradient(perturbed)
        logits, other = adversarial_pass(State(state.trainable, other), perturbed, planted)
        ce, accuracy = _measure(labels, logits)
        return 0.5 * clean_ce + 0.5 * ce, [clean_ce, clean_accuracy, ce, accuracy], other

    return losses


def _pass_among(model: Model, variables: Variables, training: bool) -> Any:
    """Return the forward pass of `model` as one on the values of `variables`, which hold its."""
    forward = _pass(model, training)
    trainable = _places(model.trainable_variables, variables.trainable)
    others = _places(model.non_trainable_variables, variables.other)

    def run(state: State, images: Array) -> tuple[Array, Arrays]:
        own = State([state.trainable[i] for i in trainable], [state.other[i] for i in others])
        logits, moved = forward(own, images)
        return logits, _replaced(state.other, others, moved)

    return run


def _places(some: list[Any], variables: list[Any]) -> list[int]:
    """Return where the first variables stand among the second."""
    place = {id(variable): index for index, variable in enumerate(variables)}
    return [place[id(variable)] for variable in some]


def _replaced(values: Arrays, places: list[int], others: Arrays) -> Arrays:
    """Return `values` with `others` in their `places`."""
    found = list(values)
    for place, value in zip(places, others, strict=True):
        found[place] = value
    return found


def _statistics(layers: list[Model], variables: Variables) -> list[int]:
    """Return where the moving means and variances of `layers` stand among the variables."""
    moving = [x for layer in layers for x in (layer.moving_mean, layer.moving_variance)]
    return _places(moving, variables.other)


def _passes(model: Model, phases: Phases, branch: Model, variables: Variables) -> tuple[Any, Any]:
    """Return the clean pass of `model` and the adversarial pass of `branch`.

    The clean pass gives its logits, the variables it moved and the statistics to plant for the
    adversarial one: None, but where that is normalised by the clean batch's.
    """
    if ADVERSARIAL[phases.adversarial].by == CLEAN:
        layers = updated_layers(model, lambda images: model(jnp.asarray(images), training=True))
        clean = _measuring(model, layers, variables)
    else:
        layers = list(batch_norms(branch))
        forward = _pass_among(model, variables, phases.clean == TRAINING)

        def clean(state: State, images: Array) -> tuple[Array, Arrays, Arrays | None]:
            return (*forward(state, images), None)

    places = _statistics(layers, variables)
    return clean, _adversarial_pass(branch, phases.adversarial, variables, places)


def _measuring(model: Model, layers: list[Model], variables: Variables) -> Any:
    """Return the clean pass that also gives its batch's mean and variance in each of `layers`.

    From zero the moving statistics go to 1 - momentum of the batch's, whatever they were:
    nothing is lost by cancellation. They end where they would have gone.
    """
    forward, places = _pass_among(model, variables, True), _statistics(layers, variables)
    momenta = [float(layer.momentum) for layer in layers for _ in range(2)]

    def clean(state: State, images: Array) -> tuple[Array, Arrays, Arrays]:
        old = [state.other[place] for place in places]
        zeroed = _replaced(state.other, places, [jnp.zeros_like(value) for value in old])
        logits, other = forward(State(state.trainable, zeroed), images)
        moved = [other[place] for place in places]
        ends = [m * before + after for m, before, after in zip(momenta, old, moved, strict=True)]
        batch = [after / (1 - m) for m, after in zip(momenta, moved, strict=True)]
        return logits, _replaced(other, places, ends), batch

    return clean


def _adversarial_pass(model: Model, kind: str, variables: Variables, places: list[int]) -> Any:
    """Return the adversarial pass, of a `kind` of `suite.phases.ADVERSARIAL`.

    Where Keras has no such phase, the statistics in `places` are put back after the pass that
    gives the logits: one in the training phase, or one in the inference phase under the moving or
    the planted statistics. What the perturbed images do to them is the matter of another pass, in
    the training phase.
    """
    training, inference = (_pass_among(model, variables, phase) for phase in (True, False))
    keras_phases = {TRAINING: training, INFERENCE: inference}
    if kind in keras_phases:
        return lambda state, images, _: keras_phases[kind](state, images)
    forward = training if kind == OWN_KEPT else inference

    def adversarial(state: State, images: Array, planted: Arrays | None) -> tuple[Array, Arrays]:
        kept = [state.other[place] for place in places]
        seen = state.other if planted is None else _replaced(state.other, places, planted)
        logits, other = forward(State(state.trainable, seen), images)
        other = _replaced(other, places, kept)
        if ADVERSARIAL[kind].updates:
            _, other = training(State(state.trainable, other), images)
        return logits, other

    return adversarial


def _measure(labels: Array, logits: Array) -> tuple[Array, Array]:
    """Return the mean cross-entropy in nats and the accuracy of `logits`."""
    likelihood = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
    return -likelihood.mean(), (logits.argmax(axis=1) == labels).mean()
