"""How far BatchNorm's moving statistics are from those of the data, and how they follow them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

Statistics: TypeAlias = "tuple[NDArray[np.float64], NDArray[np.float64]]"
"""Mean and variance of each channel, ``(channels,)`` both."""

FIT_KL = 0.1
"""Symmetric divergence, nats a channel, below which moving statistics fit the data."""

NEAR_START = 0.1
"""Root mean square distance from 0 and 1 of statistics that have hardly left them."""

BYTE, MIXED, MOST, TINY = 255, 0.95, 0.3, 1e-30
"""Largest pixel, the share of means and of a divergence that images not divided by it must explain,
the share of images that they may be, and what is not 0."""

ASIDE = 0.3
"""Share of a distance squared that may lead off the way from 0 and 1 to the batch's statistics."""


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
    """Compute the moments of each channel; the channels lie along `axis`."""
    channel = int(axis if isinstance(axis, int) else axis[0])
    values = np.moveaxis(inputs, channel, -1)
    values = values.reshape(-1, values.shape[-1]).astype(np.float64)
    with np.errstate(all="ignore"):  # what overflows is no longer finite
        mean = values.mean(axis=0)
        values -= mean
        return Moments(len(values), mean, np.einsum("nc,nc->c", values, values) / len(values))


def pooled(parts: Sequence[Moments]) -> Moments:
    """Combine the moments of parts into those of the whole."""
    counts = np.array([part.size for part in parts], dtype=np.float64)
    shares = counts / counts.sum()
    with np.errstate(all="ignore"):
        mean = shares @ np.stack([part.mean for part in parts])
        spread = [part.variance + (part.mean - mean) ** 2 for part in parts]
    return Moments(int(counts.sum()), mean, shares @ np.stack(spread))


def pooled_statistics(parts: Sequence[Moments]) -> Statistics:
    """Combine the moments of parts into the mean and variance of the whole."""
    whole = pooled(parts)
    return whole.mean, whole.variance


def half_life(momentum: float) -> float:
    """Count the updates after which half of a moving statistic's distance is left."""
    if momentum <= 0:
        return 0.0
    return float(np.log(2) / -np.log(momentum)) if momentum < 1 else float("inf")


def symmetric_kl(first: Statistics, second: Statistics, epsilon: float) -> float:
    """Average `channel_kl` over the channels, nats."""
    return float(np.mean(channel_kl(first, second, epsilon)))


def channel_kl(first: Statistics, second: Statistics, epsilon: float) -> NDArray[np.float64]:
    """Compute the symmetric Kullback-Leibler divergence of two Gaussians a channel, nats.

    It is infinite where a mean or variance is not finite, or a variance is below 0.
    """
    a, b = first[1] + epsilon, second[1] + epsilon
    squared = (first[0] - second[0]) ** 2
    with np.errstate(all="ignore"):  # statistics may be NaN, and a variance may be below 0
        divergence = ((a + squared) / b + (b + squared) / a) / 2 - 1
    known = np.isfinite(divergence) & (a > 0) & (b > 0)
    return np.where(known, divergence, np.inf)


def target(parts: Sequence[Moments]) -> Statistics:
    """Compute what moving statistics tend to: the mean of the batches' means and variances."""
    return (
        np.mean([part.mean for part in parts], axis=0),
        np.mean([part.variance for part in parts], axis=0),
    )


def after(moving: Statistics, goal: Statistics, kept: float) -> Statistics:
    """Compute the statistics of which `kept` in [0, 1] is still the old."""
    return (
        goal[0] + kept * (moving[0] - goal[0]),
        goal[1] + kept * (moving[1] - goal[1]),
    )


def steps_needed(
    moving: Statistics, parts: Sequence[Moments], momentum: float, epsilon: float
) -> float:
    """Count the updates that bring the statistics within `FIT_KL` of those of the batches."""
    goal = target(parts)
    if symmetric_kl(moving, goal, epsilon) <= FIT_KL:
        return 0.0
    known = all(np.isfinite(each).all() for each in (*moving, *goal))  # an average keeps a NaN
    if momentum >= 1 or not known:
        return float("inf")
    if momentum <= 0:
        return 1.0
    low, high = 0.0, 1.0
    while symmetric_kl(after(moving, goal, momentum**high), goal, epsilon) > FIT_KL:
        low, high = high, 2 * high
        if momentum**high == 0:  # not even then: no variance and no epsilon
            return float("inf")
    while high - low > 1:
        middle = (low + high) // 2
        near = symmetric_kl(after(moving, goal, momentum**middle), goal, epsilon) <= FIT_KL
        low, high = (low, middle) if near else (middle, high)
    return high


def never(distance: float) -> float:
    """Count the updates needed where none is ever made: 0 if the statistics fit, else inf."""
    return 0.0 if distance <= FIT_KL else float("inf")


def travelled(moving: Statistics, batch: Statistics) -> float:
    """Compute the share of the way from 0 and 1 to `batch` that lies behind; nan if off the way."""
    way = np.concatenate([batch[0], batch[1] - 1])
    gone = np.concatenate([moving[0], moving[1] - 1])
    share = float(way @ gone / max(float(way @ way), 1e-12))
    left = gone - share * way
    near = float(np.mean(gone**2)) < NEAR_START**2
    on_the_way = near or float(left @ left) <= ASIDE * float(gone @ gone)
    return share if on_the_way else float("nan")


def explained(moving: Statistics, batch: Statistics, gone: float, epsilon: float) -> float:
    """Compute the share of the divergence that is left of 0 and 1; nan if `gone` is."""
    if np.isnan(gone):
        return gone
    start = (0 * batch[0], 1 + 0 * batch[1])
    expected = after(start, batch, min(1.0, max(0.0, 1 - gone)))
    whole, rest = (symmetric_kl(moving, other, epsilon) for other in (batch, expected))
    return 1 - rest / max(whole, 1e-12)


def unscaled_share(moving: Statistics, batch: Statistics, epsilon: float) -> float:
    """Find the share of samples that explains statistics, if these samples were not scaled.

    A sample that was not divided by `BYTE` is that many times as large, and so is what a layer
    takes in, up to the biases before it. The means tell the share, the variances confirm it.

    Returns:
        The share; 0 where it does not explain `MIXED` of the means and of the divergence.
    """
    mean, variance = batch
    slope = float(mean @ moving[0] / max(float(mean @ mean), TINY))
    share, off = (slope - 1) / (BYTE - 1), moving[0] - slope * mean
    if not 0 < share < MOST or off @ off > (1 - MIXED) * (moving[0] @ moving[0]):
        return 0.0
    spread = (variance + mean**2) * (1 + (BYTE**2 - 1) * share) - (slope * mean) ** 2
    whole, rest = (
        symmetric_kl(moving, other, epsilon) for other in (batch, (slope * mean, spread))
    )
    return share if rest < (1 - MIXED) * whole else 0.0


def root_mean_square(values: NDArray[np.float64]) -> float:
    """Compute the root of the mean of the squares."""
    return float(np.sqrt(np.mean(values**2)))
