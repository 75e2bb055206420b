"""Fixes of anyone's network, by name."""

from __future__ import annotations

import numpy as np
import pytest

from suite.fixes import apply
from suite.networks.batch_norm import moving_moments
from suite.networks.types import Model
from suite.stacks.protocol import Stack
from tests.arrays import assert_same


def test_precise_bn_takes_the_images_themselves(stack: Stack, foreign_model: Model) -> None:
    images = np.random.default_rng(0).random((40, *foreign_model.input_shape[1:]))
    before = foreign_model.get_weights()
    fixed = apply("precise-bn", stack.keras, foreign_model, images=images, batch_size=20)
    assert "recomputed on data" in fixed.changes[0]
    assert_same(foreign_model.get_weights(), before)
    first = next(iter(moving_moments(fixed.model).values()))
    assert not np.allclose(first[0], next(iter(moving_moments(foreign_model).values()))[0])


def test_a_fix_that_needs_no_images_needs_none(stack: Stack, foreign_model: Model) -> None:
    fixed = apply("bn-momentum-0.7", stack.keras, foreign_model, epochs=3)
    assert "-> 0.7" in fixed.changes[0]
    assert (fixed.epochs, fixed.batch_size) == (3, 32)


def test_precise_bn_without_images_says_how_to_give_them(
    stack: Stack, foreign_model: Model
) -> None:
    with pytest.raises(ValueError, match=r"suite\.fixes\.apply\(.*images=images\)"):
        apply("precise-bn", stack.keras, foreign_model)
