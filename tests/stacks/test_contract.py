"""Tests of what every stack does alike: the phase grid, a branch, an attack of several steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from suite.measure import statistics
from suite.measure.evaluation import cross_entropy
from suite.networks.phases import ADVERSARIAL, INFERENCE, PHASES, TRAINING, Phases

if TYPE_CHECKING:
    from suite.networks.types import Images, Labels, Model
    from suite.stacks.protocol import Stack

EPSILON = 0.05
MOMENTUM = 0.9
BN_MOMENTUM = 0.5  # so small that a gradient through the moved statistics would show


@pytest.fixture
def model(foreign_model: Model) -> Model:
    """Return a small BatchNorm network whose moving statistics belong to other data."""
    foreign_model.get_layer("bn").momentum = BN_MOMENTUM
    return foreign_model


@pytest.fixture
def ordered(stack: Stack) -> Stack:
    """Return a stack whose steps run one after another from the same state."""
    if stack.GRAPH:
        pytest.skip("a graph of TensorFlow 1 orders no reads and updates: see test_graph.py")
    return stack


def learned(model: Model) -> list[np.ndarray]:
    """Return the weights of `model` that learn: all but the moving mean and variance."""
    weights = model.get_weights()
    return [*weights[:4], *weights[6:]]


def test_the_kinds_give_three_losses_for_three_normalisations(
    ordered: Stack, model: Model, images: Images, labels: Labels
) -> None:
    state, losses = model.get_weights(), {}
    for kind in ADVERSARIAL:
        phases = Phases(TRAINING, INFERENCE, kind)
        step = ordered.train_step(model, phases=phases, epsilon=EPSILON)
        losses[kind] = step(images, labels, 0.0).adversarial_ce
        model.set_weights(state)
    means = {
        by: [losses[kind] for kind in ADVERSARIAL if ADVERSARIAL[kind].by == by]
        for by in ("own batch", "clean batch", "moving statistics")
    }
    for one, other in means.values():
        assert one == pytest.approx(other, rel=1e-6)
    found = sorted(one for one, _ in means.values())
    assert min(np.diff(found)) > 1e-3


@pytest.mark.parametrize("kind", ["clean-kept", "clean-updating"])
def test_layers_that_do_not_update_keep_their_statistics_under_the_clean_batchs(
    stack: Stack, images: Images, labels: Labels, kind: str
) -> None:
    keras, layers = stack.keras, stack.keras.layers
    stack.seed(0)
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(name="frozen", trainable=False)(inputs)
    x = layers.BatchNormalization(name="pinned")(x, training=False)
    x = layers.BatchNormalization(name="live")(x)
    model = keras.Model(inputs, layers.Dense(5)(layers.Flatten()(x)))
    names, state = ("frozen", "pinned", "live"), model.get_weights()  # some Keras 3 pin nothing

    def moved() -> list[bool]:
        after = [model.get_layer(name).get_weights()[-2] for name in names]
        model.set_weights(state)
        return [bool(mean.any()) for mean in after]

    stack.network(model).logits(images, training=True)
    expected = moved()
    step = stack.train_step(model, phases=Phases(TRAINING, INFERENCE, kind), epsilon=EPSILON)
    assert np.isfinite(step(images, labels, 0.0).loss)
    assert moved() == expected
    assert (expected[0], expected[2]) == (False, True)


@pytest.mark.parametrize(
    ("phases", "momentum", "message"),
    [
        (Phases(INFERENCE, INFERENCE, "clean-kept"), 0.9, "clean training pass"),
        (Phases(TRAINING, INFERENCE, "clean-kept"), 1.0, "momentum"),
        (Phases(TRAINING, "own-kept", INFERENCE), 0.9, "phases"),
        (Phases(TRAINING, INFERENCE, "other"), 0.9, "phases"),
    ],
)
def test_phases_that_no_step_can_run_in_are_refused(
    stack: Stack, model: Model, phases: Phases, momentum: float, message: str
) -> None:
    model.get_layer("bn").momentum = momentum
    with pytest.raises(ValueError, match=message):
        stack.train_step(model, phases=phases, epsilon=EPSILON)


@pytest.mark.parametrize("kind", ADVERSARIAL)
def test_gradients_of_every_kind_are_the_steps_and_move_no_state(
    ordered: Stack, model: Model, images: Images, labels: Labels, kind: str
) -> None:
    phases, before = Phases(TRAINING, INFERENCE, kind), model.get_weights()
    found = ordered.gradients(model, phases=phases, epsilon=EPSILON)(images, labels)
    for old, new in zip(before, model.get_weights()):
        np.testing.assert_array_equal(old, new)
    weights = learned(model)
    ordered.train_step(model, phases=phases, epsilon=EPSILON)(images, labels, 0.1)
    after = learned(model)
    for old, new, gradient in zip(weights, after, found):
        np.testing.assert_allclose(new - old, -0.1 * (1 + MOMENTUM) * gradient, atol=1e-6)


def two_branches(stack: Stack) -> tuple[Model, Model]:
    """Return two networks that share all but their BatchNorm, as AdvProp trains them."""
    keras, layers = stack.keras, stack.keras.layers
    stack.seed(0)
    conv, dense = layers.Conv2D(4, 3, name="conv"), layers.Dense(5, name="logits")

    def branch(name: str) -> Model:
        inputs = keras.Input((8, 8, 3))
        x = layers.BatchNormalization(name=name, momentum=0.9)(conv(inputs))
        return keras.Model(inputs, dense(layers.Flatten()(x)))

    return branch("bn"), branch("bn_adversarial")


def test_a_branch_has_its_own_normalisation_and_shares_the_rest(
    stack: Stack, images: Images, labels: Labels
) -> None:
    model, branch = two_branches(stack)
    mine, other = model.get_layer("bn"), branch.get_layer("bn_adversarial")
    before, before_other = mine.get_weights(), other.get_weights()
    phases = Phases(TRAINING, INFERENCE, TRAINING)
    step = stack.train_step(model, phases=phases, epsilon=EPSILON, branch=branch)
    clean = stack.network(model).logits(images, training=False)
    perturbed = stack.network(branch).craft(images, epsilon=EPSILON, training=False)
    batch = statistics.batch_moments(stack, branch, perturbed)["bn_adversarial"]
    kernel = model.get_layer("conv").get_weights()[0]
    step(images, labels, 0.1)
    for old, new in zip([*before, *before_other], [*mine.get_weights(), *other.get_weights()]):
        assert (old != new).any()
    np.testing.assert_allclose(other.get_weights()[2], 0.1 * batch[0], rtol=1e-3, atol=1e-6)
    assert (model.get_layer("conv").get_weights()[0] != kernel).any()
    assert model.get_layer("conv") is branch.get_layer("conv")
    assert (stack.network(model).logits(images, training=False) != clean).any()


def test_a_branch_that_is_the_model_changes_nothing(
    ordered: Stack, model: Model, images: Images, labels: Labels
) -> None:
    state, runs = model.get_weights(), []
    for branch in (None, model):
        model.set_weights(state)
        step = ordered.train_step(model, phases=PHASES["intended"], epsilon=EPSILON, branch=branch)
        runs.append([step(images, labels, 0.1) for _ in range(3)])
    assert runs[0] == runs[1]


def test_the_clean_batchs_statistics_are_none_of_another_branchs_layers(stack: Stack) -> None:
    model, branch = two_branches(stack)
    phases = Phases(TRAINING, INFERENCE, "clean-kept")
    with pytest.raises(ValueError, match="branch"):
        stack.train_step(model, phases=phases, epsilon=EPSILON, branch=branch)


def test_several_steps_stay_within_epsilon_and_raise_the_loss_beyond_one(
    stack: Stack, model: Model, images: Images
) -> None:
    network = stack.network(model)
    predicted = network.logits(images, training=False).argmax(axis=1)
    found = {
        steps: network.craft(images, epsilon=EPSILON, training=False, steps=steps)
        for steps in (1, 2, 10)
    }
    ce = {
        steps: cross_entropy(network.logits(x, training=False), predicted)
        for steps, x in found.items()
    }
    for x in found.values():
        assert np.abs(x - images).max() <= EPSILON * (1 + 1e-5)
        assert x.min() >= 0
        assert x.max() <= 1
    assert ce[10] > ce[1] > cross_entropy(network.logits(images, training=False), predicted)


def test_several_steps_start_at_random_and_follow_the_seed(
    ordered: Stack, model: Model, images: Images
) -> None:
    network = ordered.network(model)

    def crafted(seed: int) -> Images:
        ordered.seed(seed)
        return network.craft(images, epsilon=EPSILON, training=False, steps=3)

    first, again, other = crafted(1), crafted(1), crafted(2)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_no_step_is_refused(stack: Stack, model: Model, images: Images) -> None:
    with pytest.raises(ValueError, match="steps"):
        stack.network(model).craft(images, epsilon=EPSILON, training=False, steps=0)
