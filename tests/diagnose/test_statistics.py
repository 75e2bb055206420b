"""Tests of how far moving statistics are off and how they follow: pure numbers."""

from __future__ import annotations

import numpy as np
import pytest

from suite.diagnose.statistics import (
    Moments,
    after,
    half_life,
    moments,
    never,
    pooled,
    pooled_statistics,
    steps_needed,
    symmetric_kl,
    target,
    travelled,
)


def test_moments_pool_to_those_of_the_whole() -> None:
    values = np.random.default_rng(0).normal(3, 2, (20, 5, 5, 4)).astype(np.float32)
    parts = [moments(part, 3) for part in np.split(values, [4, 11])]
    whole = pooled(parts)
    assert isinstance(whole, Moments)
    np.testing.assert_allclose(whole.mean, values.mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(whole.variance, values.var(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(moments(np.moveaxis(values, 3, 1), 1).mean, whole.mean)


def test_the_distance_of_gaussians_is_symmetric_and_in_closed_form() -> None:
    first, second = (np.zeros(1), np.ones(1)), (np.ones(1), np.full(1, 4.0))
    expected = (1 + 1) / 8 + (4 + 1) / 2 - 1
    assert symmetric_kl(first, second, 0.0) == pytest.approx(expected)
    assert symmetric_kl(second, first, 0.0) == pytest.approx(expected)


def test_a_momentum_halves_the_distance_in_its_half_life() -> None:
    assert 0.99 ** half_life(0.99) == pytest.approx(0.5)
    assert half_life(1.0) == float("inf")
    assert half_life(0.0) == 0.0


def test_the_way_from_zero_and_one_is_measured() -> None:
    rng = np.random.default_rng(0)
    batch = (rng.normal(0, 2, 16), rng.uniform(2, 9, 16))
    halfway = (batch[0] / 2, (batch[1] + 1) / 2)
    assert travelled(halfway, batch) == pytest.approx(0.5)
    assert np.isnan(travelled((-rng.normal(0, 2, 16), batch[1] * 0 + 1), batch))


def test_the_steps_needed_are_those_after_which_the_statistics_first_fit() -> None:
    batch = [Moments(8, np.zeros(3), np.ones(3)), Moments(8, np.ones(3), np.ones(3))]
    moving, goal = (np.full(3, 9.0), np.full(3, 4.0)), target(batch)
    steps = steps_needed(moving, batch, 0.9, 1e-3)
    assert symmetric_kl(after(moving, goal, 0.9**steps), goal, 1e-3) <= 0.1
    assert symmetric_kl(after(moving, goal, 0.9 ** (steps - 1)), goal, 1e-3) > 0.1
    assert steps_needed(goal, batch, 0.9, 1e-3) == 0
    assert steps_needed(moving, batch, 1.0, 1e-3) == float("inf")
    assert steps_needed(moving, batch, 0.0, 1e-3) == 1
    assert (never(0.05), never(0.2)) == (0.0, float("inf"))


def test_statistics_tend_to_the_mean_of_the_batches_not_to_the_whole() -> None:
    batch = [Moments(8, np.zeros(1), np.ones(1)), Moments(8, np.full(1, 2.0), np.ones(1))]
    np.testing.assert_allclose(target(batch), ([1.0], [1.0]))
    np.testing.assert_allclose(pooled_statistics(batch), ([1.0], [2.0]))
