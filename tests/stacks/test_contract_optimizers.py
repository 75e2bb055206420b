"""Tests of the optimizers where no case takes them: far larger gradients, many steps, the rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests import by_hand

if TYPE_CHECKING:
    from typing import TypeAlias

    from suite.networks.types import Images, Labels, Model
    from suite.stacks.protocol import Stack

Update: TypeAlias = "Callable[[np.ndarray], np.ndarray]"

LOUD = 1000.0  # times as large as any image; the gradient has a norm of some thousands
CALM_STEPS = 60  # Adam forgets 6 % of the loud gradient's square meanwhile; AMSGrad nothing
RATES: Mapping[str, float] = {"sgd": 1e-6, "adam": 1e-3}
NEAR = 1e-3  # of the largest change; seen: 1e-5, by AMSGrad 3e-3
SET = 0.25


def sgd_by_hand() -> Update:
    """Give the updates of SGD with Nesterov's momentum (Sutskever et al. 2013)."""
    velocity: Any = 0.0

    def update(gradient: np.ndarray) -> np.ndarray:
        nonlocal velocity
        velocity = 0.9 * velocity - RATES["sgd"] * gradient
        return 0.9 * velocity - RATES["sgd"] * gradient

    return update


def adam_by_hand() -> Update:
    """Give the updates of Adam (Kingma and Ba 2015), with Keras' place of epsilon."""
    first: Any = 0.0
    second: Any = 0.0
    count = 0

    def update(gradient: np.ndarray) -> np.ndarray:
        nonlocal first, second, count
        count += 1
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        rate = RATES["adam"] * np.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        return -rate * first / (np.sqrt(second) + 1e-7)

    return update


BY_HAND: Mapping[str, Callable[[], Update]] = {"sgd": sgd_by_hand, "adam": adam_by_hand}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_loud_gradient_is_taken_whole_and_forgotten_as_by_hand(
    stack: Stack, linear: Model, images: Images, labels: Labels, name: str
) -> None:
    linear.set_weights([np.zeros_like(linear.get_weights()[0])])
    step = stack.train_step(linear, phases=None, epsilon=0.0, optimizer=name)
    kernel, update = np.zeros(linear.get_weights()[0].shape), BY_HAND[name]()
    for place, size in enumerate([LOUD] + [1.0] * CALM_STEPS):
        before = linear.get_weights()[0]
        step(images * np.float32(size), labels, RATES[name])
        flat = size * images.reshape(len(images), -1).astype(np.float64)
        expected = update(by_hand.linear(kernel, flat, labels).to_weights[0])
        kernel = kernel + expected
        if place in {0, 1, CALM_STEPS}:
            found = linear.get_weights()[0] - before
            np.testing.assert_allclose(found, expected, rtol=0, atol=NEAR * np.abs(expected).max())


@pytest.mark.parametrize("name", BY_HAND)
def test_keras_own_setter_sets_the_rate_that_a_step_leaves_alone(
    stack: Stack, linear: Model, name: str
) -> None:
    if stack.GRAPH:
        pytest.skip("every step sets the rate by Keras' own function")
    optimizer = stack.train_step(linear, phases=None, epsilon=0.0, optimizer=name).optimizer
    optimizer.learning_rate = SET
    assert float(np.asarray(optimizer.learning_rate)) == SET
