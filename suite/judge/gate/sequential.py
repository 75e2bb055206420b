"""The sequential plan: how often the gate may look at the seeds, and how sure each look must be."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri, stdtr, stdtrit

NODES = 96  # of the quadrature: level and p-values are right to 1e-10
FAR = 8.0  # standard deviations; what lies beyond is left out of the quadrature
FEWEST = 2  # seeds on a side that have a spread


@dataclass(frozen=True)
class Plan:
    """How many seeds a side the gate looks at, at most how often, and how sure it must be.

    Each look uses the same nominal level (Pocock, 1977): the one at which all looks together err
    with the chance `level`. It does not matter then which look a run is at, so that a gate that
    finds seven seeds, or five of the baseline and ten of the candidate, can judge them without
    knowing what was looked at before. The bounds of O'Brien and Fleming (1979) would win 10 % of
    power at the last look, and have none at the first: with five seeds a side they ask for
    t = 17, and a change that stalls every seed would need a second look.

    The level is exact for normal means of known variance and looks of equal growth on both sides.
    With Student's t at the same nominal level a level of 5 % becomes 5.4 % (Jennison and
    Turnbull, 2000, section 4.4; `suite.judge.gate.power`). Where one side has fewer seeds than
    planned, looks are more alike, and the level is lower.

    Attributes:
        looks: Seeds on each side at each look, ascending.
        level: Chance that any look errs, in either direction, where nothing differs.
        power: Chance with which the smallest detectable effect is found.

    Raises:
        ValueError: If looks are too few, too small or do not ascend, or a chance is not in (0, 1).
    """

    looks: tuple[int, ...] = (5, 10, 20)
    level: float = 0.05
    power: float = 0.8

    def __post_init__(self) -> None:
        ascending = list(self.looks) == sorted(set(self.looks))
        if not self.looks or not ascending or self.looks[0] < FEWEST:
            raise ValueError(
                f"looks must ascend from at least {FEWEST} seeds. Received: {self.looks}"
            )
        for name in ("level", "power"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be in (0, 1). Received: {getattr(self, name)}")

    @property
    def first(self) -> int:
        """Seeds a side at the first look: with fewer nothing is decided."""
        return self.looks[0]

    @property
    def last(self) -> int:
        """Seeds a side at the last look."""
        return self.looks[-1]

    @property
    def nominal(self) -> float:
        """The two-sided level of a single look."""
        return nominal_level(self.looks, self.level)

    def repeated(self, p: float) -> float:
        """Compute the chance that any look has a p-value of at most `p` where nothing differs."""
        return crossing(self.looks, p)

    def next_look(self, seeds: int) -> int:
        """Give the seeds of the first look with at least so many; `seeds` itself past the last."""
        return next((look for look in self.looks if look >= seeds), seeds)


@functools.lru_cache(maxsize=None)
def nominal_level(looks: tuple[int, ...], level: float) -> float:
    """Compute the two-sided level of each look at which all looks together have `level`."""
    if len(looks) == 1:
        return level
    low, high = level / len(looks), level  # Bonferroni's bound, and that of looks all alike
    return float(brentq(lambda p: crossing(looks, p) - level, low, high, xtol=1e-12))


@functools.lru_cache(maxsize=None)
def crossing(looks: tuple[int, ...], p: float) -> float:
    """Compute the chance that a two-sided p-value is at most `p` at any of the looks.

    Means after ``n`` seeds are taken for normal, with a correlation of ``sqrt(n_i / n_j)`` between
    looks. The density of the sum is carried from look to look by quadrature (Armitage, McPherson
    and Rowe, 1969), which is precise for tiny `p` too: a multivariate normal integral is not.
    """
    bound = -float(ndtri(p / 2))
    if not 0 < p < 1 or bound > FAR:
        return min(1.0, len(looks) * p)
    total, sums, weights = p, *_inside(bound * math.sqrt(looks[0]))
    density = np.exp(-(sums**2) / (2 * looks[0])) / math.sqrt(2 * math.pi * looks[0])
    for before, now in zip(looks, looks[1:]):
        edge, step = bound * math.sqrt(now), math.sqrt(now - before)
        beyond = ndtr((sums - edge) / step) + ndtr((-sums - edge) / step)
        total += float(np.sum(weights * density * beyond))
        later, later_weights = _inside(edge)
        kernel = np.exp(-((later[:, None] - sums) ** 2) / (2 * step**2))
        density = kernel @ (weights * density) / (step * math.sqrt(2 * math.pi))
        sums, weights = later, later_weights
    return total


def _inside(edge: float) -> tuple[np.ndarray, np.ndarray]:
    """Give the nodes between ``-edge`` and ``edge``, and their weights (Gauss-Legendre)."""
    nodes, weights = _legendre()
    return edge * nodes, edge * weights


@functools.lru_cache(maxsize=None)
def _legendre() -> tuple[np.ndarray, np.ndarray]:
    """Compute the nodes and weights on [-1, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return np.asarray(nodes), np.asarray(weights)


def quantile(level: float, freedom: Any) -> Any:
    """Compute Student's t that is exceeded, in either direction, with the chance `level`.

    Of an array of degrees of freedom it is an array.
    """
    return -stdtrit(freedom, level / 2)


def p_value(estimate: float, error: float, freedom: float) -> float:
    """Compute the two-sided p-value of Student's t; of no error, 1 for no effect and else 0."""
    if error == 0:
        return float(estimate == 0)
    return float(2 * stdtr(freedom, -abs(estimate) / error))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that those below a level err together with at most this chance.

    Holm (1979): the smallest is multiplied by their number, the next by one less, and so on. It
    needs no assumption of how they depend on each other.

    Returns:
        The adjusted p-values, in the order of `p_values`, at most 1.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
