"""Tests of suite.networks.group_norm: its groups, and what it keeps of the BatchNorm."""

from __future__ import annotations

import numpy as np
import pytest

from suite.errors import FixError
from suite.networks.fixes import apply
from suite.networks.types import Model
from suite.stacks.protocol import Stack
from tests.arrays import assert_same
from tests.networks.conftest import fixed_model


@pytest.mark.parametrize(("channels", "groups"), [(96, 32), (48, 24), (37, 1), (6, 6)])
def test_group_norm_keeps_gamma_and_beta_and_forms_the_most_groups(
    stack: Stack, channels: int, groups: int
) -> None:
    keras = stack.keras
    inputs = keras.Input((4, 4, channels))
    layer = keras.layers.BatchNormalization(name="bn", epsilon=0.01)
    model = keras.Model(inputs, layer(inputs, training=False))
    rng = np.random.default_rng(0)
    gamma, beta = rng.normal(size=(2, channels)).astype(np.float32)
    layer.set_weights([gamma, beta, beta, gamma**2])
    norm = fixed_model("group-norm", keras, model).get_layer("bn")
    assert (norm.groups, norm.epsilon) == (groups, 0.01)
    assert_same([gamma, beta], norm.get_weights())


def test_group_norm_on_one_position_never_erases_its_input(stack: Stack) -> None:
    keras = stack.keras
    inputs = keras.Input((8,))
    model = keras.Model(inputs, keras.layers.BatchNormalization(name="bn")(inputs))
    fixed = fixed_model("group-norm", keras, model)
    logits = stack.network(fixed).logits(
        np.arange(16, dtype=np.float32).reshape(2, 8) ** 2, training=True
    )
    assert fixed.get_layer("bn").groups == 4
    assert (np.abs(logits) > 0.5).all()


def test_group_norm_names_the_release_that_has_it(
    stack: Stack, foreign_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    if hasattr(stack.keras.layers, "GroupNormalization"):
        monkeypatch.delattr(stack.keras.layers, "GroupNormalization")
    with pytest.raises(FixError, match=r"from 2\.11 on"):
        apply("group-norm", stack.keras, foreign_model)
