"""Tests of suite.networks.batch_norm: what a BatchNorm is; statistics read, set and kept."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from suite.networks import batch_norm
from suite.networks.types import Model
from suite.stacks.protocol import Stack
from tests.arrays import assert_same


def test_subclasses_and_synchronised_ones_are_batch_norms_and_other_normalisations_are_not(
    stack: Stack,
) -> None:
    layers = stack.keras.layers

    class Own(layers.BatchNormalization):  # type: ignore[misc, name-defined]
        pass

    synchronised = getattr(getattr(layers, "experimental", None), "SyncBatchNormalization", Own)
    for cls in (layers.BatchNormalization, Own, synchronised):
        assert batch_norm.is_batch_norm(cls())
    for other in (layers.LayerNormalization(), layers.Dense(2), layers.Activation("relu")):
        assert not batch_norm.is_batch_norm(other)


def test_a_class_of_ones_own_that_keeps_the_same_statistics_is_a_batch_norm(stack: Stack) -> None:
    class Normaliser(stack.keras.layers.Layer):  # type: ignore[misc, name-defined]
        momentum, epsilon, moving_mean = 0.9, 1e-3, np.zeros(2)

    assert not batch_norm.is_batch_norm(Normaliser())
    Normaliser.moving_variance = np.ones(2)
    assert batch_norm.is_batch_norm(Normaliser())


def test_layers_are_found_in_order_and_once_however_often_they_are_called(
    stack: Stack, nested: Model, deep: Model
) -> None:
    assert [layer.name for layer in batch_norm.batch_norms(nested)] == ["shared", "wrapped", "bn"]
    assert [layer.name for layer in batch_norm.batch_norms(deep)] == ["inside", "outside"]
    inputs = stack.keras.Input((2,))
    plain = stack.keras.Model(inputs, stack.keras.layers.Dense(2)(inputs))
    assert not list(batch_norm.batch_norms(plain))


def test_layers_of_one_name_are_numbered(stack: Stack) -> None:
    keras = stack.keras

    def base(name: str) -> Model:
        inputs = keras.Input((3,))
        normalised = keras.layers.BatchNormalization(name="bn")(inputs)
        return keras.Model(inputs, normalised, name=name)

    inputs, bases = keras.Input((3,)), [base(name) for name in ("one", "two", "three")]
    model = keras.Model(inputs, keras.layers.Add()([each(inputs) for each in bases]))
    found = batch_norm.keyed(model)
    assert list(found) == ["bn", "bn:2", "bn:3"]
    assert [found[name] for name in found] == [each.get_layer("bn") for each in bases]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a"], "1 BatchNorm layer (a)"),
        (["a", "b"], "2 BatchNorm layers (a, b)"),
        (["a", "b", "c"], "3 BatchNorm layers (a to c)"),
    ],
)
def test_few_layers_are_all_named_and_many_by_the_first_and_the_last(
    names: list[str], words: str
) -> None:
    assert batch_norm.layers_in_words([SimpleNamespace(name=name) for name in names]) == words


def test_planted_moments_are_read_again_and_nothing_else_is_changed(deep: Model) -> None:
    before = deep.get_weights()
    old = batch_norm.moving_moments(deep)
    new = {name: (mean + 1, 2 * variance) for name, (mean, variance) in old.items()}
    batch_norm.plant_moments(deep, new)
    for name, moments in batch_norm.moving_moments(deep).items():
        assert_same(moments, new[name])
    batch_norm.plant_moments(deep, old)
    assert_same(before, deep.get_weights())


def test_statistics_are_set_in_every_channel_even_over_nan(foreign_model: Model) -> None:
    layer = foreign_model.get_layer("bn")
    gamma, beta, mean, variance = layer.get_weights()
    layer.set_weights([gamma, beta, mean * np.nan, variance])
    batch_norm.set_statistics(layer, mean=2.0, variance=3.0)
    assert_same(layer.get_weights(), [gamma, beta, np.full(4, 2.0), np.full(4, 3.0)])


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


def test_momentum_is_zero_for_a_while_and_put_back_even_after_an_error(deep: Model) -> None:
    before, layers = deep.get_weights(), list(batch_norm.batch_norms(deep))

    def fail() -> None:
        with batch_norm.momentum_zero(deep):
            assert [layer.momentum for layer in layers] == [0, 0]
            deep.set_weights([2 * array + 1 for array in before])
            raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        fail()
    assert [layer.momentum for layer in layers] == pytest.approx([0.99, 0.7])
    assert_same(before, deep.get_weights())
