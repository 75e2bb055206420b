"""How far BatchNorm's moving statistics are from those of the data, and how they follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

FIT_KL = 0.1
"""Symmetric divergence, nats a channel, below which moving statistics fit the data."""

NEAR_START = 0.1
"""Root mean square distance from 0 and 1 of statistics that have hardly left them."""


def half_life(momentum: float) -> float:
    """Return the updates after which half of a moving statistic's distance is left."""
    if momentum <= 0:
        return 0.0
    return float(np.log(2) / -np.log(momentum)) if momentum < 1 else float("inf")


def symmetric_kl(first: Statistics, second: Statistics, epsilon: float) -> float:
    """Return the symmetric Kullback-Leibler divergence of two Gaussians, the channels' mean."""
    return float(np.mean(channel_kl(first, second, epsilon)))


def channel_kl(first: Statistics, second: Statistics, epsilon: float) -> NDArray[np.float64]:
    """Return the symmetric Kullback-Leibler divergence in each channel, nats."""
    a, b = first[1] + epsilon, second[1] + epsilon
    squared = (first[0] - second[0]) ** 2
    divergence: NDArray[np.float64] = ((a + squared) / b + (b + squared) / a) / 2 - 1
    return divergence


def never(distance: float) -> float:
    """Return the updates needed where none is made: none where the statistics fit."""
    return 0.0 if distance <= FIT_KL else float("inf")


def target(parts: Sequence[Moments]) -> Statistics:
    """Return what moving statistics tend to: the mean of the batches' means and variances."""
    return (
        np.mean([part.mean for part in parts], axis=0),
        np.mean([part.variance for part in parts], axis=0),
    )


def after(moving: Statistics, goal: Statistics, kept: float) -> Statistics:
    """Return the statistics of which `kept` in [0, 1] is still the old."""
    return (
        goal[0] + kept * (moving[0] - goal[0]),
        goal[1] + kept * (moving[1] - goal[1]),
    )


def steps_needed(
    moving: Statistics, parts: Sequence[Moments], momentum: float, epsilon: float
) -> float:
    """Return how many updates bring the statistics within `FIT_KL` of those of the batches."""
    goal = target(parts)
    if symmetric_kl(moving, goal, epsilon) <= FIT_KL:
        return 0.0
    if momentum >= 1:
        return float("inf")
    if momentum <= 0:
        return 1.0
    low, high = 0.0, 1.0
    while symmetric_kl(after(moving, goal, momentum**high), goal, epsilon) > FIT_KL:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        near = symmetric_kl(after(moving, goal, momentum**middle), goal, epsilon) <= FIT_KL
        low, high = (low, middle) if near else (middle, high)
    return high


def travelled(moving: Statistics, batch: Statistics) -> float:
    """Return the share of the way from 0 and 1 to `batch` that lies behind; nan if off the way."""
    way = np.concatenate([batch[0], batch[1] - 1])
    gone = np.concatenate([moving[0], moving[1] - 1])
    share = float(way @ gone / max(float(way @ way), 1e-12))
    left = gone - share * way
    near = float(np.mean(gone**2)) < NEAR_START**2
    on_the_way = near or float(left @ left) <= 0.3 * float(gone @ gone)
    return share if on_the_way else float("nan")


def pooled_statistics(parts: Sequence[Moments]) -> Statistics:
    """Return mean and variance of all that `parts` are moments of."""
    whole = pooled(parts)
    return whole.mean, whole.variance


def root_mean_square(values: NDArray[np.float64]) -> float:
    """Return the root of the mean of the squares."""
    return float(np.sqrt(np.mean(values**2)))


Statistics: TypeAlias = "tuple[NDArray[np.float64], NDArray[np.float64]]"
"""Mean and variance of each channel, ``(channels,)`` both."""


class Moments(NamedTuple):
    """Mean and variance of each channel.

    Attributes:
        size: Numbers in a channel.
        mean: ``(channels,)``.
        variance: ``(channels,)``, divided by `size`.
    """

    size: int
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]


def moments(inputs: NDArray[Any], axis: int | Sequence[int]) -> Moments:
    """Return the moments of each channel, which lie along `axis`."""
    channel = int(axis if isinstance(axis, int) else axis[0])
    values = np.moveaxis(inputs, channel, -1)
    values = values.reshape(-1, values.shape[-1]).astype(np.float64)
    mean = values.mean(axis=0)
    values -= mean
    return Moments(len(values), mean, np.einsum("nc,nc->c", values, values) / len(values))


def pooled(parts: Sequence[Moments]) -> Moments:
    """Return the moments of all that `parts` are moments of."""
    counts = np.array([part.size for part in parts], dtype=np.float64)
    shares = counts / counts.sum()
    mean = shares @ np.stack([part.mean for part in parts])
    spread = [part.variance + (part.mean - mean) ** 2 for part in parts]
    return Moments(int(counts.sum()), mean, shares @ np.stack(spread))
