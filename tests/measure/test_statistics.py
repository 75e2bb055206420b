"""Tests of suite.diagnosis: the statistics are NumPy's, and a step in other phases is found out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from suite.measure import phases_seen, statistics
from suite.measure.statistics import LayerStatistics
from suite.networks import batch_norm
from suite.networks.phases import ADVERSARIAL, INFERENCE, PHASES, TRAINING, Phases
from suite.networks.types import Images, Labels, Model
from suite.stacks.protocol import Stack, StepResult

EPSILON = 0.05


@pytest.fixture
def images() -> Images:
    return np.random.default_rng(0).random((8, 8, 8, 3), dtype=np.float32)


@pytest.fixture
def labels() -> Labels:
    return np.arange(8) % 5


@pytest.fixture
def deep(stack: Stack) -> Model:
    """Return a network with a nested BatchNorm on images and another one on vectors."""
    stack.seed(0)
    layers, keras = stack.keras.layers, stack.keras
    inner_inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu")(inner_inputs)
    inner = keras.Model(inner_inputs, layers.BatchNormalization(name="inside")(x))
    inputs = keras.Input((8, 8, 3))
    x = layers.Dense(6)(layers.Flatten()(inner(inputs)))
    x = layers.BatchNormalization(name="outside", momentum=0.7)(x)
    return keras.Model(inputs, layers.Dense(5)(x))


def assert_same(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    assert len(first) == len(second)
    for old, new in zip(first, second):
        np.testing.assert_array_equal(old, new)


def test_batch_moments_are_those_of_the_layers_input(
    stack: Stack, foreign_model: Model, images: Images
) -> None:
    kernel, bias = foreign_model.get_layer("conv").get_weights()
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))
    features = np.einsum("nhwcij,ijco->nhwo", windows, kernel) + bias
    [(mean, variance)] = statistics.batch_moments(stack, foreign_model, images).values()
    ddof = (
        1 if stack.versions()["keras"].startswith("2") else 0
    )  # the fused kernel of Keras 2 divides by n - 1
    np.testing.assert_allclose(mean, features.mean(axis=(0, 1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(variance, features.var(axis=(0, 1, 2), ddof=ddof), rtol=2e-4)


def test_batch_moments_reach_nested_and_vector_layers(
    stack: Stack, deep: Model, images: Images
) -> None:
    found = statistics.batch_moments(stack, deep, images)
    assert list(found) == ["inside", "outside"]
    inner = next(layer for layer in deep.layers if hasattr(layer, "layers"))
    features = stack.network(inner).logits(images, training=True).reshape(len(images), -1)
    dense = next(layer for layer in deep.layers if type(layer).__name__ == "Dense")
    kernel, bias = dense.get_weights()
    vectors = features @ kernel + bias
    np.testing.assert_allclose(found["outside"][0], vectors.mean(axis=0), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found["outside"][1], vectors.var(axis=0), rtol=1e-3)


def test_batch_moments_leave_the_model_as_it_was(stack: Stack, deep: Model, images: Images) -> None:
    before = deep.get_weights()
    statistics.batch_moments(stack, deep, images)
    assert_same(before, deep.get_weights())
    momenta = [layer.momentum for layer in batch_norm.batch_norms(deep)]
    assert momenta == pytest.approx([0.99, 0.7])


def test_state_is_put_back_even_after_an_error(foreign_model: Model) -> None:
    before = foreign_model.get_weights()
    with pytest.raises(ValueError), batch_norm.state_kept(foreign_model):  # noqa: PT011, PT012
        foreign_model.set_weights([2 * array + 1 for array in before])
        foreign_model.set_weights([])
    assert_same(before, foreign_model.get_weights())


def test_moving_moments_are_the_layers_own(foreign_model: Model) -> None:
    *_, mean, variance = foreign_model.get_layer("bn").get_weights()
    found = batch_norm.moving_moments(foreign_model)
    np.testing.assert_array_equal(found["bn"], (mean, variance))


def test_distance_of_moments_by_hand() -> None:
    moving = np.array([3.0, -1.0]), np.array([9.0, 1.0])
    batch = np.array([1.0, 0.0]), np.array([4.0, 1.0])
    found = statistics.compare_moments("bn", moving, batch, 0.0)
    assert found.layer == "bn"
    assert found.mean_shift == pytest.approx(1.0)  # (3 - 1) / 2 and (-1 - 0) / 1
    assert found.log_variance_ratio == pytest.approx(np.log(9 / 4) / 2)


def test_dead_channels_have_a_finite_distance() -> None:
    zeros = np.zeros(2), np.zeros(2)
    found = statistics.compare_moments("bn", (np.ones(2), np.zeros(2)), zeros, 1e-4)
    assert found.mean_shift == pytest.approx(100)
    assert found.log_variance_ratio == 0


def test_statistics_are_foreign_at_first_and_fit_after_enough_steps(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels
) -> None:
    [before] = diagnosis.statistics(stack, foreign_model, images)
    assert before.mean_shift > 0.3
    foreign_model.get_layer("bn").momentum = 0.5
    step = stack.train_step(foreign_model, phases=None, epsilon=0.0)
    for _ in range(25):
        step(images, labels, 0.0)
    [after] = diagnosis.statistics(stack, foreign_model, images)
    assert after.mean_shift < 1e-3
    assert abs(after.log_variance_ratio) < 1e-3


def test_the_largest_move_of_any_statistic_is_told() -> None:
    before = {"a": (np.zeros(2), np.ones(2)), "b": (np.zeros(1), np.ones(1))}
    after = {"a": (np.array([0.0, 0.1]), np.ones(2)), "b": (np.zeros(1), np.array([0.25]))}
    assert statistics.statistics_moved(before, after) == 0.75
    assert statistics.statistics_moved(before, before) == 0
    assert statistics.statistics_moved({}, {}) == 0


def test_summary_is_the_worst_layer() -> None:
    layers = [LayerStatistics("a", 0.5, -3.0), LayerStatistics("b", 2.0, 1.0)]
    assert diagnosis.summary(layers) == {
        "statistics_mean_shift": 2.0,
        "statistics_log_variance_ratio": 3.0,
    }
    assert diagnosis.summary([]) == {}


def test_a_layer_of_nan_is_not_lost_among_others() -> None:
    layers = [LayerStatistics("a", 0.5, 0.5), LayerStatistics("b", np.nan, np.nan)]
    assert np.isnan(list(diagnosis.summary(layers).values())).all()
    before = {"a": (np.zeros(1), np.ones(1)), "b": (np.zeros(1), np.ones(1))}
    after = {**before, "b": (np.full(1, np.nan), np.ones(1))}
    assert np.isnan(statistics.statistics_moved(before, after))


def test_a_branch_of_nan_agrees_with_nan_alone(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels
) -> None:
    *rest, variance = foreign_model.get_layer("bn").get_weights()
    foreign_model.get_layer("bn").set_weights([*rest, variance * np.nan])
    found = observed(stack, foreign_model, images, labels, PHASES["literal"])
    assert {phases.clean for phases in found} == {"inference"}


def observed(
    stack: Stack, model: Model, images: Images, labels: Labels, phases: Phases | None
) -> list[Phases]:
    step = stack.train_step(model, phases=phases, epsilon=EPSILON)
    network = stack.network(model)
    kinds = (TRAINING, INFERENCE, *([phases.adversarial] if phases else []))
    return phases_seen.observed_phases(
        stack, network, step, images, labels, epsilon=EPSILON, kinds=kinds
    )


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


@pytest.mark.parametrize("loss", ["intended", "literal", "plain"])
def test_updates_of_a_step_are_counted(
    stack: Stack, deep: Model, images: Images, labels: Labels, loss: str
) -> None:
    before = deep.get_weights()
    step = stack.train_step(deep, phases=PHASES.get(loss), epsilon=EPSILON)
    found = statistics.updates_per_step(stack, deep, step, images, labels)
    in_graph = stack.__name__ == "suite.stacks.graph"  # calls the model on its input once more
    expected = {"intended": 2 if in_graph else 1, "literal": 0, "plain": 1}
    assert found["updates_per_step"] == pytest.approx(expected[loss], abs=1e-2)
    assert_same(before, deep.get_weights())


def test_several_updates_of_a_step_are_told_from_one(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels
) -> None:
    step = stack.train_step(foreign_model, phases=PHASES["intended"], epsilon=EPSILON)

    def thrice(images: Images, labels: Labels, learning_rate: float) -> StepResult:
        for _ in range(2):
            step(images, labels, learning_rate)
        return step(images, labels, learning_rate)

    once, found = (
        statistics.updates_per_step(stack, foreign_model, made, images, labels)["updates_per_step"]
        for made in (step, thrice)
    )
    assert found == pytest.approx(3 * once, rel=0.03)  # each finds 0.99 of the way left


def test_without_batch_norm_there_are_no_updates_to_tell(
    stack: Stack, images: Images, labels: Labels
) -> None:
    inputs = stack.keras.Input((8, 8, 3))
    outputs = stack.keras.layers.Dense(5)(stack.keras.layers.Flatten()(inputs))
    model = stack.keras.Model(inputs, outputs)
    step = stack.train_step(model, phases=None, epsilon=EPSILON)
    assert statistics.updates_per_step(stack, model, step, images, labels) == {}


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


def test_population_moments_of_one_batch_are_the_batchs(
    stack: Stack, deep: Model, images: Images
) -> None:
    before = deep.get_weights()
    found = statistics.population_moments(stack, deep, [images])
    expected = statistics.batch_moments(stack, deep, images)
    assert list(found) == ["inside", "outside"]
    for name, moments in found.items():
        np.testing.assert_allclose(moments, expected[name], rtol=1e-4, atol=1e-6)
    assert_same(before, deep.get_weights())


def test_population_moments_are_put_together_by_the_law_of_total_variance(
    stack: Stack, foreign_model: Model, images: Images
) -> None:
    kernel, bias = foreign_model.get_layer("conv").get_weights()
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))
    features = np.einsum("nhwcij,ijco->nhwo", windows, kernel) + bias
    [(mean, variance)] = statistics.population_moments(
        stack, foreign_model, [images[:6], images[6:]]
    ).values()
    np.testing.assert_allclose(mean, features.mean(axis=(0, 1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(variance, features.var(axis=(0, 1, 2)), rtol=1e-2)
    if stack.versions()["keras"].startswith("3"):
        np.testing.assert_allclose(variance, features.var(axis=(0, 1, 2)), rtol=1e-4)


def test_population_moments_survive_far_larger_statistics(
    stack: Stack, foreign_model: Model, images: Images
) -> None:
    expected = statistics.population_moments(stack, foreign_model, [images])["bn"]
    layer = foreign_model.get_layer("bn")
    layer.set_weights([*layer.get_weights()[:2], np.full(4, 1e4), np.full(4, 1e6)])
    found = statistics.population_moments(stack, foreign_model, [images])["bn"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_population_moments_of_no_batch_are_refused(stack: Stack, foreign_model: Model) -> None:
    with pytest.raises(ValueError, match="batches"):
        statistics.population_moments(stack, foreign_model, [])


def test_recomputed_statistics_fit_in_nested_models_too(
    stack: Stack, deep: Model, images: Images
) -> None:
    assert diagnosis.statistics(stack, deep, images)[0].mean_shift > 0.05
    expected = statistics.population_moments(stack, deep, [images[:3], images[3:6], images[6:]])
    statistics.recompute_statistics(stack, deep, images, batch_size=3)
    for name, moments in batch_norm.moving_moments(deep).items():
        np.testing.assert_allclose(moments, expected[name], rtol=1e-5)


def test_layers_of_one_name_in_two_nested_models_are_kept_apart(
    stack: Stack, images: Images
) -> None:
    keras, layers = stack.keras, stack.keras.layers
    stack.seed(0)

    def base(name: str) -> Model:
        inputs = keras.Input((8, 8, 3))
        return keras.Model(inputs, layers.BatchNormalization(name="bn")(inputs), name=name)

    inputs = keras.Input((8, 8, 3))
    hidden = (
        layers.Rescaling(3.0) if hasattr(layers, "Rescaling") else layers.Lambda(lambda x: 3 * x)
    )
    both = [base("one")(inputs), base("two")(hidden(inputs))]
    model = keras.Model(inputs, layers.Dense(5)(layers.Flatten()(layers.Add()(both))))
    found = statistics.batch_moments(stack, model, images)
    assert list(found) == ["bn", "bn:2"]
    np.testing.assert_allclose(found["bn:2"][0], 3 * found["bn"][0], rtol=1e-4)
    assert [layer.layer for layer in diagnosis.statistics(stack, model, images)] == ["bn", "bn:2"]
    statistics.recompute_statistics(stack, model, images)
    assert all(layer.mean_shift < 1e-4 for layer in diagnosis.statistics(stack, model, images))
