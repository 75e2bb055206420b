"""Tests of suite.measure.statistics: the statistics are NumPy's, and updates are counted."""

from __future__ import annotations

import numpy as np
import pytest

from suite.measure import statistics
from suite.measure.statistics import LayerStatistics
from suite.networks import batch_norm
from suite.networks.phases import PHASES
from suite.networks.types import Images, Labels, Model
from suite.stacks.protocol import Stack, StepResult
from tests import by_hand
from tests.arrays import assert_same

EPSILON = 0.05


def test_batch_moments_are_those_of_the_layers_input(
    stack: Stack, foreign_model: Model, images: Images
) -> None:
    features = by_hand.features(by_hand.parts(foreign_model)[0], images)
    [(mean, variance)] = statistics.batch_moments(stack, foreign_model, images).values()
    expected = by_hand.moments(features, by_hand.ddof(stack))
    np.testing.assert_allclose(mean, expected[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(variance, expected[1], rtol=2e-4)


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
    [before] = statistics.layer_statistics(stack, foreign_model, images)
    assert before.mean_shift > 0.3
    foreign_model.get_layer("bn").momentum = 0.5
    step = stack.train_step(foreign_model, phases=None, epsilon=0.0)
    for _ in range(25):
        step(images, labels, 0.0)
    [after] = statistics.layer_statistics(stack, foreign_model, images)
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
    assert statistics.statistics_summary(layers) == {
        "statistics_mean_shift": 2.0,
        "statistics_log_variance_ratio": 3.0,
    }
    assert statistics.statistics_summary([]) == {}


def test_a_layer_of_nan_is_not_lost_among_others() -> None:
    layers = [LayerStatistics("a", 0.5, 0.5), LayerStatistics("b", np.nan, np.nan)]
    assert np.isnan(list(statistics.statistics_summary(layers).values())).all()
    before = {"a": (np.zeros(1), np.ones(1)), "b": (np.zeros(1), np.ones(1))}
    after = {**before, "b": (np.full(1, np.nan), np.ones(1))}
    assert np.isnan(statistics.statistics_moved(before, after))


@pytest.mark.parametrize("loss", ["intended", "literal", "plain"])
def test_updates_of_a_step_are_counted(
    stack: Stack, deep: Model, images: Images, labels: Labels, loss: str
) -> None:
    before = deep.get_weights()
    step = stack.train_step(deep, phases=PHASES.get(loss), epsilon=EPSILON)
    found = statistics.updates_per_step(stack, deep, step, images, labels)
    expected = {"intended": 2 if stack.GRAPH else 1, "literal": 0, "plain": 1}
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


def test_population_moments_of_one_batch_are_the_batchs(
    stack: Stack, deep: Model, images: Images
) -> None:
    before = deep.get_weights()
    found = statistics.population_moments(stack, deep, [images], stored=True)
    expected = statistics.batch_moments(stack, deep, images)
    assert list(found) == ["inside", "outside"]
    for name, moments in found.items():
        np.testing.assert_allclose(moments, expected[name], rtol=1e-4, atol=1e-6)
    assert_same(before, deep.get_weights())


def test_population_moments_are_put_together_by_the_law_of_total_variance(
    stack: Stack, foreign_model: Model, images: Images
) -> None:
    features = by_hand.features(by_hand.parts(foreign_model)[0], images)
    [(mean, variance)] = statistics.population_moments(
        stack, foreign_model, [images[:6], images[6:]]
    ).values()
    np.testing.assert_allclose(mean, features.mean(axis=(0, 1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(variance, features.var(axis=(0, 1, 2)), rtol=1e-4)


def test_precise_variances_divide_by_n_wherever_a_layer_sits(stack: Stack, images: Images) -> None:
    """Bessel's correction would be 14 % here: a layer sees one position in each of eight images."""
    layers, keras = stack.keras.layers, stack.keras
    stack.seed(0)
    inside = keras.Input((1, 1, 3))
    inner = keras.Model(inside, layers.BatchNormalization(name="nested")(inside))
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 8, name="conv")(inputs)
    x = layers.BatchNormalization(name="vector")(layers.Flatten()(inner(x)))
    model = keras.Model(inputs, x)
    below = keras.Model(inputs, model.get_layer("conv").output)
    variance = stack.network(below).logits(images, training=False).var(axis=(0, 1, 2))
    statistics.recompute_statistics(stack, model, images)
    found = batch_norm.moving_moments(model)
    np.testing.assert_allclose(found["nested"][1], variance, rtol=1e-4)
    np.testing.assert_allclose(found["vector"][1], variance / (variance + 1e-3), rtol=1e-3)


def test_precise_bn_leaves_alone_what_no_pass_updates(
    stack: Stack, foreign_model: Model, images: Images
) -> None:
    layer = foreign_model.get_layer("bn")
    if not getattr(layer, "_USE_V2_BEHAVIOR", True):
        pytest.skip("a frozen layer of TensorFlow 1 updates its statistics all the same")
    layer.trainable = False
    before, call = foreign_model.get_weights(), layer.call
    statistics.recompute_statistics(stack, foreign_model, images)
    assert_same(before, foreign_model.get_weights())
    assert layer.call == call


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
    assert statistics.layer_statistics(stack, deep, images)[0].mean_shift > 0.05
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
    assert [layer.layer for layer in statistics.layer_statistics(stack, model, images)] == [
        "bn",
        "bn:2",
    ]
    statistics.recompute_statistics(stack, model, images)
    assert all(
        layer.mean_shift < 1e-4 for layer in statistics.layer_statistics(stack, model, images)
    )
