"""Tests of what all stacks take from one place: attack sizes, updated layers, unions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from suite.stacks.shared import attack_name, cleverhans_attack, step_size, union, updated_layers

if TYPE_CHECKING:
    from suite.networks.types import Images, Model
    from suite.stacks.protocol import Stack


@pytest.mark.parametrize(("steps", "share"), [(1, 1.0), (2, 1.0), (5, 0.5), (10, 0.25)])
def test_steps_are_madrys_and_never_longer_than_epsilon(steps: int, share: float) -> None:
    assert step_size(0.04, steps) == pytest.approx(share * 0.04)


def test_one_step_is_fgsm_and_several_are_projected() -> None:
    assert attack_name(1) == "fast_gradient_method"
    assert {attack_name(steps) for steps in (2, 10)} == {"projected_gradient_descent"}
    with pytest.raises(ValueError, match=r"steps must be at least 1. Received: 0"):
        attack_name(0)


def test_an_attack_that_the_suite_does_not_use_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'carlini_wagner'"):
        cleverhans_attack("tf2", "carlini_wagner")


def test_variables_of_two_models_are_united_by_identity() -> None:
    first, second, equal = [1.0], [2.0], [1.0]
    found = union([first, second], [second, equal])
    assert list(map(id, found)) == [id(first), id(second), id(equal)]


def test_only_layers_that_a_training_pass_moves_are_updated_layers(
    stack: Stack, foreign_model: Model
) -> None:
    def forward(images: Images) -> Any:
        return stack.network(foreign_model).logits(images, training=True)

    before = foreign_model.get_weights()
    assert [layer.name for layer in updated_layers(foreign_model, forward)] == ["bn"]
    assert updated_layers(foreign_model, lambda _: None) == []
    for old, new in zip(before, foreign_model.get_weights()):
        np.testing.assert_array_equal(old, new)
