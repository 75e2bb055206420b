"""Tests of suite.networks.copying: what a copy keeps of any model, and what cannot be copied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suite.errors import FixError
from suite.networks.batch_norm import batch_norms
from suite.networks.fixes import apply
from suite.networks.types import Model
from suite.stacks.protocol import Stack
from tests.arrays import assert_same
from tests.networks.conftest import SAVING, fixed_model, reloaded

pytestmark = SAVING


def names(model: Model) -> list[str]:
    """List the names of the layers of `model`, but not its input's, which Keras 3 renames."""
    return [layer.name for layer in model.layers if type(layer).__name__ != "InputLayer"]


def pins(model: Model) -> int:
    """Count the calls in the graph of `model` that are pinned to the inference phase."""
    return str(model.get_config()).count("'training': False")


@pytest.mark.parametrize("name", ["bn-momentum-0.5", "bn-freeze", "dual-bn"])
def test_weights_nesting_sharing_and_pinned_calls_are_kept(
    stack: Stack, nested: Model, images: np.ndarray, name: str
) -> None:
    nested.get_layer("head").trainable = False
    fixed = apply(name, stack.keras, nested)
    assert [layer.name for layer in batch_norms(fixed.model)] == ["shared", "wrapped", "bn"]
    for model in (fixed.model, fixed.branch):
        assert_same(nested.get_weights(), model.get_weights())
        assert len(model.weights) == len(nested.weights)
        assert names(model) == names(nested)
        assert pins(model) == pins(nested) == 1
        assert not model.get_layer("head").trainable
        found = stack.network(model).logits(images, training=False)
        expected = stack.network(nested).logits(images, training=False)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_an_adapted_normalization_is_kept(stack: Stack, images: np.ndarray) -> None:
    keras = stack.keras
    if not hasattr(keras.layers, "Normalization"):
        pytest.skip("Keras has the layer Normalization from 2.6 on")
    normalization = keras.layers.Normalization()
    normalization.adapt(images * 7 + 3)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization()(normalization(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    fixed = apply("bn-momentum-0.5", keras, model).model
    expected = stack.network(model).logits(images, training=False)
    found = stack.network(fixed).logits(images, training=False)
    np.testing.assert_array_equal(found, expected)


def test_a_layer_that_two_models_share_is_one_layer_in_the_copy(stack: Stack) -> None:
    keras, shared = stack.keras, stack.keras.layers.BatchNormalization(name="shared")
    inputs, inner_inputs = keras.Input((3,)), keras.Input((3,))
    inner = keras.Model(inner_inputs, shared(inner_inputs))
    model = keras.Model(inputs, inner(shared(inputs)))
    (copy,) = batch_norms(apply("bn-momentum-0.5", keras, model).model)
    assert copy is not shared


def test_a_loaded_and_a_sequential_model_are_fixed_alike(
    stack: Stack, nested: Model, images: np.ndarray, tmp_path: Path
) -> None:
    keras = stack.keras
    loaded = reloaded(keras, nested, tmp_path)
    sequential = keras.Sequential([loaded, keras.layers.BatchNormalization(name="last")])
    stack.network(sequential).logits(images, training=False)
    for model, count in ((loaded, 3), (sequential, 4)):
        fixed = apply("bn-momentum-0.25", keras, model)
        assert_same(model.get_weights(), fixed.model.get_weights())
        momenta = [layer.momentum for layer in batch_norms(fixed.model)]
        assert momenta == [0.25] * count
        assert type(fixed.model) is type(model)


def test_the_flags_of_a_half_frozen_model_are_kept(stack: Stack, nested: Model) -> None:
    nested.trainable = False
    nested.get_layer("head").trainable = True
    fixed = apply("dual-bn", stack.keras, nested)
    for model in (nested, fixed.model):
        learning = [layer.name for layer in model.layers if layer.weights and layer.trainable]
        assert learning == ["head"]
        assert not model.trainable


# Custom layers


def test_batch_norm_inside_a_custom_layer_is_changed_there(
    stack: Stack, composite: Model, images: np.ndarray
) -> None:
    fixed = apply("bn-momentum-0.5", stack.keras, composite)
    assert [layer.momentum for layer in batch_norms(composite)] == pytest.approx([0.99])
    (layer,) = batch_norms(fixed.model)
    assert (layer.name, layer.momentum) == ("inner_bn", 0.5)
    assert fixed.changes[1:] == (
        "to be applied anew after loading: BatchNorm inside custom layers (block)",
    )
    assert_same(composite.get_weights(), fixed.model.get_weights())
    _, _, before, _ = layer.get_weights()
    for turn in range(2):
        stack.network(fixed.model).logits(images, training=True)
        _, _, after, _ = layer.get_weights()
        if turn == 0:
            first = after
    np.testing.assert_allclose(after - first, (first - before) / 2, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["dual-bn", "group-norm"])
def test_batch_norm_inside_a_custom_layer_is_not_replaced_silently(
    stack: Stack, composite: Model, name: str
) -> None:
    with pytest.raises(FixError, match=r"BatchNorm inside block of the class Block"):
        fixed_model(name, stack.keras, composite)


@pytest.mark.parametrize("remade", [True, False])
def test_a_model_of_a_class_of_its_own_is_copied_or_named(
    stack: Stack, images: np.ndarray, remade: bool
) -> None:
    keras = stack.keras

    class Own(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self, size: int, **options: Any) -> None:
            super().__init__(**options)
            self.conv = keras.layers.Conv2D(size, 3, trainable=False)
            self.bn = keras.layers.BatchNormalization(name="bn")

        def call(self, inputs: Any, training: Any = None) -> Any:
            return self.bn(self.conv(inputs), training=training)

        def get_config(self) -> dict[str, Any]:
            return {"size": 2} if remade else {}

    model = Own(2)
    model(keras.Input((8, 8, 3)), training=False)
    if not remade or not hasattr(model, "get_build_config"):
        with pytest.raises(FixError, match="of the class Own cannot be copied"):
            apply("bn-momentum-0.5", keras, model)
        return
    before = stack.network(model).logits(images, training=False)
    fixed = apply("bn-momentum-0.5", keras, model).model
    assert fixed.bn.momentum == 0.5
    assert not fixed.conv.trainable
    assert_same(model.get_weights(), fixed.get_weights())
    fixed(images, training=False)  # on JAX its first call builds it
    found = stack.network(fixed).logits(images, training=False)
    np.testing.assert_allclose(found, before, rtol=1e-5, atol=1e-6)


def test_subclasses_of_batch_norm_are_found_and_keep_their_class(stack: Stack) -> None:
    class OwnNorm(stack.keras.layers.BatchNormalization):  # type: ignore[misc, name-defined]
        pass

    inputs = stack.keras.Input((8, 8, 3))
    model = stack.keras.Model(inputs, OwnNorm(name="own")(inputs))
    fixed = apply("bn-momentum-0.5", stack.keras, model)
    assert [type(layer) for layer in batch_norms(fixed.model)] == [OwnNorm]
