"""The passes of a step on JAX, where the variables' values are arguments and results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from suite.networks.batch_norm import batch_norms
from suite.networks.phases import ADVERSARIAL, CLEAN, INFERENCE, OWN_KEPT, TRAINING, Phases
from suite.networks.types import Model
from suite.stacks.shared import union, updated_layers

if TYPE_CHECKING:
    from typing import TypeAlias

Array: TypeAlias = jax.Array
Arrays: TypeAlias = "list[jax.Array]"


class State(NamedTuple):
    """The values of a model's variables, in Keras' order."""

    trainable: Arrays
    other: Arrays


class Variables(NamedTuple):
    """Keras' variables of a model, and after them those that only its branch has."""

    trainable: list[Any]
    other: list[Any]


def variables_of(model: Model, branch: Model | None = None) -> Variables:
    """Return the variables of `model` and of its `branch`."""
    second = model if branch is None else branch
    return Variables(
        union(model.trainable_variables, second.trainable_variables),
        union(model.non_trainable_variables, second.non_trainable_variables),
    )


def state_of(model: Model) -> State:
    """Return the present values of the variables of `model`."""
    return State(values_of(model.trainable_variables), values_of(model.non_trainable_variables))


def values_of(variables: Any) -> Arrays:
    """Return the arrays that Keras' `variables` hold."""
    return [variable.value for variable in variables]


def assign(variables: Any, values: Arrays) -> None:
    """Write `values` back, so that whoever asks Keras for a weight reads the truth."""
    for variable, value in zip(variables, values):
        variable.assign(value)


def forward_pass(model: Model, training: bool) -> Any:
    """Return the forward pass in one phase: logits, and the variables that are not trained.

    In the inference phase those are handed on unchanged; in the training phase they hold the
    moved moving statistics and the next seeds of dropout. They are held constant, as an assigned
    variable is elsewhere: a later pass in the inference phase must not learn through them.
    """

    def forward(state: State, images: Array) -> tuple[Array, Arrays]:
        logits, other = model.stateless_call(*state, images, training=training)
        return logits, jax.lax.stop_gradient(other)

    return forward


def pass_among(model: Model, variables: Variables, training: bool) -> Any:
    """Return the forward pass of `model` as one on the values of `variables`, which hold its."""
    forward = forward_pass(model, training)
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


def step_passes(
    model: Model, phases: Phases, branch: Model, variables: Variables
) -> tuple[Any, Any]:
    """Return the clean pass of `model` and the adversarial pass of `branch`.

    The clean pass gives its logits, the variables it moved and the statistics to plant for the
    adversarial one: None, but where that is normalised by the clean batch's.
    """
    if ADVERSARIAL[phases.adversarial].by == CLEAN:
        layers = updated_layers(model, lambda images: model(jnp.asarray(images), training=True))
        clean = _measuring(model, layers, variables)
    else:
        layers = list(batch_norms(branch))
        forward = pass_among(model, variables, phases.clean == TRAINING)

        def clean(state: State, images: Array) -> tuple[Array, Arrays, Arrays | None]:
            return (*forward(state, images), None)

    places = _statistics(layers, variables)
    return clean, _adversarial_pass(branch, phases.adversarial, variables, places)


def _measuring(model: Model, layers: list[Model], variables: Variables) -> Any:
    """Return the clean pass that also gives its batch's mean and variance in each of `layers`.

    From zero the moving statistics go to 1 - momentum of the batch's, whatever they were:
    nothing is lost by cancellation. They end where they would have gone.
    """
    forward, places = pass_among(model, variables, True), _statistics(layers, variables)
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
    training, inference = (pass_among(model, variables, phase) for phase in (True, False))
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
