"""Tests of suite.measure.phases_seen: a step in other phases than it was told is found out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from suite.measure import phases_seen
from suite.networks.phases import ADVERSARIAL, INFERENCE, PHASES, TRAINING, Phases
from suite.networks.types import Images, Labels, Model
from suite.stacks.protocol import Stack
from tests.arrays import assert_same

EPSILON = 0.05


def observed(
    stack: Stack, model: Model, images: Images, labels: Labels, phases: Phases | None
) -> list[Phases]:
    step = stack.train_step(model, phases=phases, epsilon=EPSILON)
    network = stack.network(model)
    kinds = (TRAINING, INFERENCE, *([phases.adversarial] if phases else []))
    return phases_seen.observed_phases(
        stack, network, step, images, labels, epsilon=EPSILON, kinds=kinds
    )


def test_a_branch_of_nan_agrees_with_nan_alone(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels
) -> None:
    *rest, variance = foreign_model.get_layer("bn").get_weights()
    foreign_model.get_layer("bn").set_weights([*rest, variance * np.nan])
    found = observed(stack, foreign_model, images, labels, PHASES["literal"])
    assert {phases.clean for phases in found} == {"inference"}


@pytest.mark.parametrize(
    "phases",
    [*PHASES.values(), Phases("training", "training", "inference"), Phases(*["training"] * 3)],
    ids="-".join,
)
def test_the_phases_a_step_runs_in_are_told_apart(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels, phases: Phases
) -> None:
    before = foreign_model.get_weights()
    assert observed(stack, foreign_model, images, labels, phases) == [phases]
    assert_same(before, foreign_model.get_weights())


def test_a_plain_step_tells_its_clean_phase_alone(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels
) -> None:
    found = observed(stack, foreign_model, images, labels, None)
    assert len(found) == 4
    assert {phases.clean for phases in found} == {"training"}


def test_phases_that_a_network_cannot_tell_apart_are_all_returned(
    stack: Stack, images: Images, labels: Labels
) -> None:
    keras = stack.keras
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Dense(5)(keras.layers.Flatten()(inputs)))
    found = observed(stack, model, images, labels, PHASES["literal"])
    assert found == [
        Phases(*choice) for choice in itertools.product(("training", "inference"), repeat=3)
    ]


def test_dropout_is_told_from_inference(stack: Stack, images: Images, labels: Labels) -> None:
    keras, layers = stack.keras, stack.keras.layers
    inputs = keras.Input((8, 8, 3))
    x = layers.Dropout(0.5)(layers.Flatten()(inputs))
    model = keras.Model(inputs, layers.Dense(5)(x))
    found = observed(stack, model, images, labels, PHASES["intended"])
    assert PHASES["intended"] in found
    assert PHASES["literal"] not in found


def test_a_step_with_another_epsilon_agrees_with_no_phases(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels
) -> None:
    step = stack.train_step(foreign_model, phases=PHASES["literal"], epsilon=2 * EPSILON)
    network = stack.network(foreign_model)
    assert not phases_seen.observed_phases(stack, network, step, images, labels, epsilon=EPSILON)


@pytest.mark.parametrize(
    "kind", [kind for kind in ADVERSARIAL if kind not in {TRAINING, INFERENCE}]
)
def test_the_kind_of_an_adversarial_pass_is_told_as_far_as_losses_can(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels, kind: str
) -> None:
    before, phases = foreign_model.get_weights(), Phases(TRAINING, INFERENCE, kind)
    found = observed(stack, foreign_model, images, labels, phases)
    assert phases_seen.observable(phases) in found
    if not stack.GRAPH:  # `UNORDERED` hides the little that is between two batches' statistics
        assert len(found) == 1
    assert_same(before, foreign_model.get_weights())


def test_another_normalisation_than_was_told_is_found_out(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels
) -> None:
    step = stack.train_step(
        foreign_model, phases=Phases(TRAINING, INFERENCE, "own-kept"), epsilon=EPSILON
    )
    network = stack.network(foreign_model)
    found = phases_seen.observed_phases(
        stack, network, step, images, labels, epsilon=EPSILON, kinds=tuple(ADVERSARIAL)
    )
    assert Phases(TRAINING, INFERENCE, TRAINING) in found
    assert PHASES["intended"] not in found
    if not stack.GRAPH:
        assert len(found) == 1


def test_kinds_that_losses_cannot_tell_apart_are_one() -> None:
    told = {
        kind: phases_seen.observable(Phases(TRAINING, INFERENCE, kind)).adversarial
        for kind in ADVERSARIAL
    }
    assert told == {
        "training": "training",
        "own-kept": "training",
        "clean-updating": "clean-kept",
        "clean-kept": "clean-kept",
        "moving-updating": "inference",
        "inference": "inference",
    }


def test_a_branch_is_examined_by_its_own_passes(
    stack: Stack, images: Images, labels: Labels
) -> None:
    keras, layers = stack.keras, stack.keras.layers
    stack.seed(0)
    conv, dense = layers.Conv2D(4, 3), layers.Dense(5)

    def branch(mean: float) -> Model:
        inputs = keras.Input((8, 8, 3))
        norm = layers.BatchNormalization()
        made = keras.Model(inputs, dense(layers.Flatten()(norm(conv(inputs)))))
        norm.set_weights([*norm.get_weights()[:2], np.full(4, mean), np.ones(4)])
        return made

    model, other = branch(0.3), branch(-0.4)
    phases = Phases(TRAINING, INFERENCE, TRAINING)
    step = stack.train_step(model, phases=phases, epsilon=EPSILON, branch=other)
    before = other.get_weights()
    networks = stack.network(model), stack.network(other)
    found = phases_seen.observed_phases(
        stack, networks[0], step, images, labels, epsilon=EPSILON, branch_network=networks[1]
    )
    assert found == [phases]
    assert_same(before, other.get_weights())
