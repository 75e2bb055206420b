"""The passes of a step on JAX, where the values of variables are arguments and results."""

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
    """The values of a model's variables, trained and others, in Keras' order."""

    trainable: Arrays
    other: Arrays


class Variables(NamedTuple):
    """A model's variables, trained and others, followed by those that only its branch has."""

    trainable: list[Any]
    other: list[Any]


def variables_of(model: Model, branch: Model | None = None) -> Variables:
    """Collect the variables of `model` and of its `branch`."""
    second = model if branch is None else branch
    return Variables(
        union(model.trainable_variables, second.trainable_variables),
        union(model.non_trainable_variables, second.non_trainable_variables),
    )


def state_of(model: Model) -> State:
    """Read the present values of the variables of `model`."""
    return State(values_of(model.trainable_variables), values_of(model.non_trainable_variables))


def values_of(variables: Any) -> Arrays:
    """Read the arrays that Keras' `variables` hold."""
    return [variable.value for variable in variables]


def assign(variables: Any, values: Arrays) -> None:
    """Write `values` back, so that whoever asks Keras for a weight gets the present one."""
    for variable, value in zip(variables, values):
        variable.assign(value)


def forward_pass(model: Model, training: bool) -> Any:
    """Make the forward pass in one phase: it gives logits and the variables that are not trained.

    In the inference phase those are handed on unchanged; in the training phase they hold the
    moved moving statistics and the next seeds of dropout. No gradient goes through them, just as
    none goes through an assigned variable on the other stacks.
    """

    def forward(state: State, images: Array) -> tuple[Array, Arrays]:
        logits, other = model.stateless_call(*state, images, training=training)
        return logits, jax.lax.stop_gradient(other)

    return forward


def pass_among(model: Model, variables: Variables, training: bool) -> Any:
    """Make the forward pass of `model` on the values of `variables`, which include its own."""
    forward = forward_pass(model, training)
    trainable = _places(model.trainable_variables, variables.trainable)
    others = _places(model.non_trainable_variables, variables.other)

    def run(state: State, images: Array) -> tuple[Array, Arrays]:
        own = State([state.trainable[i] for i in trainable], [state.other[i] for i in others])
        logits, moved = forward(own, images)
        return logits, _replaced(state.other, others, moved)

    return run


def _places(some: list[Any], variables: list[Any]) -> list[int]:
    """Find the places of some variables among all `variables`."""
    place = {id(variable): index for index, variable in enumerate(variables)}
    return [place[id(variable)] for variable in some]


def _replaced(values: Arrays, places: list[int], others: Arrays) -> Arrays:
    """Copy `values`, with `others` in their `places`."""
    found = list(values)
    for place, value in zip(places, others, strict=True):
        found[place] = value
    return found


def _statistics(layers: list[Model], variables: Variables) -> list[int]:
    """Find the places of the moving means and variances of `layers` among the variables."""
    moving = [x for layer in layers for x in (layer.moving_mean, layer.moving_variance)]
    return _places(moving, variables.other)


def step_passes(
    model: Model, phases: Phases, branch: Model, variables: Variables
) -> tuple[Any, Any]:
    """Make the clean pass of `model` and the adversarial pass of `branch`.

    The clean pass gives its logits, the variables it moved, and the statistics to plant for the
    adversarial pass: those of the clean batch where they normalise it, else None.
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
    """Make the clean pass that also gives its batch's mean and variance in each of `layers`.

    Starting from zero, the moving statistics go to 1 - momentum of the batch's, so that nothing
    is lost by cancellation. Then they are set to what they would have become.
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
    """Make the adversarial pass of a `kind`, a key of `suite.networks.phases.ADVERSARIAL`.

    Where Keras has no such phase, one pass gives the logits: in the training phase, or in the
    inference phase under the moving or the planted statistics. The statistics in `places` are
    then put back. If the perturbed images are to update them, another pass in the training phase
    does so.
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
