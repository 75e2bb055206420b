"""Tests of what every stack does alike, against sums by hand; each stack's own are beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from suite.measure import statistics
from suite.networks.phases import ADVERSARIAL, INFERENCE, PHASES, TRAINING, Phases
from tests import by_hand
from tests.by_hand import MOMENTUM
from tests.stacks.conftest import ALL_TRAINING, EVERY_PHASE, GRID, Contract

if TYPE_CHECKING:
    from typing import TypeAlias

    from suite.networks.types import Images, Labels, Model
    from suite.stacks.protocol import Stack, StepResult

CheckStep: TypeAlias = "Callable[[Phases | None], None]"

EPSILON = 0.05
RATE = 0.1
RATES = (0.1, 0.03, 0.2)


def of_policy(phases: Phases | None) -> str:
    return "plain" if phases is None else "-".join(phases)


def require(contract: Contract, phases: Phases | None) -> None:
    """Skip the phases in which nothing is promised of the stack."""
    if phases not in contract.policies:
        pytest.skip("a graph of TensorFlow 1 orders no reads and updates")


def assert_gradients(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Fail if a gradient is not the one by hand, but for pixels whose gradient is rounding."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=0, atol=0.02 * np.abs(other).max() + 1e-6)


def distance(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """Measure how far arrays are from others, relative to the largest value of each."""
    pairs = zip(found, expected)
    return sum(float(np.abs(one - other).max() / np.abs(other).max()) for one, other in pairs)


# A step


@pytest.fixture
def check_step(
    stack: Stack, contract: Contract, model: Model, images: Images, labels: Labels
) -> CheckStep:
    """Give a function that fails if a step's losses, update or statistics are not by hand."""

    def check(phases: Phases | None) -> None:
        ways, tolerance = contract.ways, contract.tolerance(phases)
        possible = by_hand.possible_steps(model, images, labels, phases, epsilon=EPSILON, ways=ways)
        (weights, before), momentum = by_hand.parts(model), float(model.get_layer("bn").momentum)
        result = stack.train_step(model, phases=phases, epsilon=EPSILON)(images, labels, RATE)
        after, found = by_hand.parts(model)
        changes = [(new - old) / (-RATE * (1 + MOMENTUM)) for old, new in zip(weights, after)]
        expected = min(possible, key=lambda each: distance(changes, each.gradients))
        np.testing.assert_allclose(losses(result), expected.losses, rtol=tolerance.losses)
        assert result.clean_ce == pytest.approx(expected.losses[1], rel=1e-4)
        assert_gradients(changes, expected.gradients)
        goals = [expected.statistics]
        if ways.unordered(phases):
            goals = by_hand.late_statistics(
                (weights, before), after, images, ways=ways, momentum=momentum
            )
        nearest = min(goals, key=lambda each: distance(found, each))
        for old, new, goal in zip(before, found, nearest):
            np.testing.assert_allclose(new - old, goal - old, rtol=tolerance.statistics, atol=2e-6)

    return check


def losses(result: StepResult) -> list[float]:
    """List the loss and the cross-entropies that a step reports."""
    found = (result.loss, result.clean_ce, result.adversarial_ce)
    return [value for value in found if value is not None]


@pytest.mark.parametrize("phases", [*EVERY_PHASE, *GRID, None], ids=of_policy)
def test_a_step_runs_each_pass_in_its_phase(
    contract: Contract, check_step: CheckStep, phases: Phases | None
) -> None:
    require(contract, phases)
    check_step(phases)


@pytest.mark.parametrize("kind", ADVERSARIAL)
@pytest.mark.usefixtures("ordered")
def test_each_kind_of_adversarial_pass_is_right_at_momentum_zero(
    model: Model, check_step: CheckStep, kind: str
) -> None:
    model.get_layer("bn").momentum = 0.0
    check_step(Phases(TRAINING, INFERENCE, kind))


@pytest.mark.parametrize("phases", [*PHASES.values(), ALL_TRAINING, None], ids=of_policy)
def test_three_steps_are_nesterovs_by_hand(
    stack: Stack, linear: Model, images: Images, labels: Labels, phases: Phases | None
) -> None:
    step = stack.train_step(linear, phases=phases, epsilon=EPSILON)
    kernel = linear.get_weights()[0].astype(np.float64)
    update = by_hand.sgd()
    flat = images.reshape(len(images), -1).astype(np.float64)
    for rate in RATES:
        passes = [by_hand.linear(kernel, flat, labels)]
        if phases is not None:
            perturbed = by_hand.linear_fgsm(kernel, flat, EPSILON)
            passes.append(by_hand.linear(kernel, perturbed, labels))
        rights = [(each.logits.argmax(axis=1) == labels).mean() for each in passes]
        expected = [value for each, right in zip(passes, rights) for value in (each.ce, right)]
        gradient = sum(each.to_weights[0] for each in passes) / len(passes)
        kernel = kernel + update(gradient, rate)
        result = step(images, labels, rate)
        loss = np.mean([each.ce for each in passes])
        np.testing.assert_allclose(result[: 1 + len(expected)], [loss, *expected], rtol=1e-4)
        np.testing.assert_allclose(linear.get_weights()[0], kernel, rtol=1e-3, atol=1e-5)
    assert (result.adversarial_ce is None) == (phases is None)
    assert (result.adversarial_accuracy is None) == (phases is None)


def test_adam_moves_every_weight_by_the_learning_rate_at_first(
    stack: Stack, linear: Model, images: Images, labels: Labels
) -> None:
    [kernel] = linear.get_weights()
    stack.train_step(linear, phases=None, epsilon=0.0, optimizer="adam")(images, labels, 0.01)
    [gradient] = by_hand.linear(kernel, images.reshape(len(images), -1), labels).to_weights
    expected = -0.01 * gradient / (np.abs(gradient) + 1e-7 / np.sqrt(1 - 0.999))
    np.testing.assert_allclose(linear.get_weights()[0] - kernel, expected, rtol=0, atol=5e-4)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_step_that_forgets_starts_as_a_new_one(
    stack: Stack, linear: Model, images: Images, labels: Labels, optimizer: str
) -> None:
    start = linear.get_weights()
    step = stack.train_step(linear, phases=None, epsilon=0.0, optimizer=optimizer)
    ends = []
    for _ in range(2):
        linear.set_weights(start)
        for _ in range(3):
            step(images, labels, RATE)
        ends.append(linear.get_weights())
        step.forget()
    assert not np.array_equal(ends[0][0], start[0])
    for first, second in zip(*ends):
        np.testing.assert_array_equal(first, second)


def test_the_literal_phases_never_update_the_statistics(
    stack: Stack, model: Model, images: Images, labels: Labels
) -> None:
    _, before = by_hand.parts(model)
    step = stack.train_step(model, phases=PHASES["literal"], epsilon=EPSILON)
    for _ in range(3):
        step(images, labels, RATE)
    np.testing.assert_array_equal(by_hand.parts(model)[1], before)


def test_frozen_layers_stay_and_the_others_learn(
    stack: Stack, model: Model, images: Images, labels: Labels
) -> None:
    model.get_layer("conv").trainable = False
    before = {layer.name: layer.get_weights() for layer in model.layers}
    stack.train_step(model, phases=PHASES["intended"], epsilon=EPSILON)(images, labels, RATE)
    np.testing.assert_array_equal(model.get_layer("conv").get_weights()[0], before["conv"][0])
    for name in ("bn", "logits"):
        for old, new in zip(before[name], model.get_layer(name).get_weights()):
            assert (old != new).any()


@pytest.mark.parametrize("phases", [PHASES["literal"], ALL_TRAINING], ids=of_policy)
def test_perturbed_images_are_held_constant_even_for_an_attack_that_has_a_gradient(
    stack: Stack,
    linear: Model,
    *,
    images: Images,
    labels: Labels,
    plant_attack: Callable[[Any], None],
    phases: Phases,
) -> None:
    plant_attack(lambda model_fn, x: x * (1 + model_fn(x)[0, 0] ** 2))
    [kernel] = linear.get_weights()
    stack.train_step(linear, phases=phases, epsilon=EPSILON)(images, labels, RATE)
    flat = images.reshape(len(images), -1).astype(np.float64)
    perturbed = flat * (1 + (flat @ kernel)[0, 0] ** 2)
    gradients = [by_hand.linear(kernel, x, labels).to_weights[0] for x in (flat, perturbed)]
    expected = -RATE * (1 + MOMENTUM) * sum(gradients) / 2
    np.testing.assert_allclose(linear.get_weights()[0] - kernel, expected, rtol=1e-3, atol=1e-4)


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


def test_each_normalisation_gives_another_loss_and_updates_change_none(
    stack: Stack, contract: Contract, model: Model, images: Images, labels: Labels
) -> None:
    state, found = model.get_weights(), {}
    for kind, (by, _) in ADVERSARIAL.items():
        phases = Phases(TRAINING, INFERENCE, kind)
        if contract.ways.at_once(phases):
            continue
        step = stack.train_step(model, phases=phases, epsilon=EPSILON)
        found.setdefault(by, []).append(step(images, labels, 0.0).adversarial_ce)
        model.set_weights(state)
    assert len(found) == 3
    for same in found.values():
        assert same == pytest.approx([same[0]] * len(same), rel=1e-6)
    assert min(np.diff(sorted(same[0] for same in found.values()))) > 1e-3


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
    "phases",
    [*PHASES.values(), ALL_TRAINING, Phases(TRAINING, INFERENCE, TRAINING), *GRID, None],
    ids=of_policy,
)
def test_gradients_are_those_of_the_step_and_move_no_state(
    stack: Stack,
    contract: Contract,
    model: Model,
    *,
    images: Images,
    labels: Labels,
    phases: Phases | None,
) -> None:
    require(contract, phases)
    if stack.GRAPH and phases in GRID:
        pytest.skip("a graph of TensorFlow 1 has gradients of Keras' own phases alone")
    before = model.get_weights()
    expected = by_hand.step(model, images, labels, phases, epsilon=EPSILON, ways=contract.ways)
    found = stack.gradients(model, phases=phases, epsilon=EPSILON)(images, labels)
    assert_gradients(found, expected.gradients)
    for old, new in zip(before, model.get_weights()):
        np.testing.assert_array_equal(old, new)
    if not stack.GRAPH:  # whose step may read the statistics before or after an update
        weights, _ = by_hand.parts(model)
        stack.train_step(model, phases=phases, epsilon=EPSILON)(images, labels, RATE)
        after, _ = by_hand.parts(model)
        for old, new, gradient in zip(weights, after, found):
            np.testing.assert_allclose(new - old, -RATE * (1 + MOMENTUM) * gradient, atol=1e-6)


# A branch


def two_branches(stack: Stack) -> tuple[Model, Model]:
    """Build two networks that share all but their BatchNorm, as AdvProp trains them."""
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
    step(images, labels, RATE)
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
        runs.append([step(images, labels, RATE) for _ in range(3)])
    assert runs[0] == runs[1]


def test_the_clean_batchs_statistics_are_none_of_another_branchs_layers(stack: Stack) -> None:
    model, branch = two_branches(stack)
    phases = Phases(TRAINING, INFERENCE, "clean-kept")
    with pytest.raises(ValueError, match="branch"):
        stack.train_step(model, phases=phases, epsilon=EPSILON, branch=branch)
