"""The cost: time and memory of a step, measured on both releases in turn, as findings.

Workers of the two releases make steps in turn, in pairs of blocks within the same second, so that
what slows the machine down cancels in their ratio. Two starts of one environment differ all the
same, as memory is laid out; so workers are started anew, and the ratios of all starts averaged.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from scipy import stats

from suite.judge.gate.finding import COST, NO_WORSE, UNDECIDED, WORSE, Finding

TIME, MEMORY = METRICS = ("adversarial_step_s", "peak_memory_bytes")
MARGINS: Mapping[str, float] = MappingProxyType({"time": 0.05, "memory": 0.10})
"""How much more is no worse, as a share, by what the user calls it."""

SHOWN: Mapping[str, tuple[str, float]] = MappingProxyType(
    {"time": ("% of time", 100.0), "memory": ("% of memory", 100.0)}
)
"""By the key of a margin: the unit in which it is stated, and the factor between them."""

UNITS: Mapping[str, str] = MappingProxyType({TIME: "time", MEMORY: "memory"})
MORE: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {TIME: ("steps are", "slower", "faster"), MEMORY: ("steps take", "more memory", "less memory")}
)
LOOKS = 6  # at most: starts of the workers after each of which it is judged
FEWEST_BLOCKS = 20  # pairs of blocks of a start that the budget cuts short
LEVEL = 0.05  # of the intervals of all looks at one finding together
POWER = 0.8  # with which the smallest effect that is stated is found
RESAMPLES = 4000
PRECISE = 0.01  # standard error of a start's median that suffices: less than starts differ by

STARTS: Mapping[str, float] = MappingProxyType({TIME: 0.012, MEMORY: 0.02})
"""Standard deviation of the logarithm of the ratio between two starts of one environment: what a
single start cannot tell. Seen on two shared cores (docs/gate.md)."""


class Start(NamedTuple):
    """What one start of both workers measured of one case, the baseline's value first.

    Attributes:
        step_s: Seconds of the fastest step in each pair of blocks.
        peak_memory_bytes: The most memory that was taken; None where that cannot be measured.
    """

    step_s: Sequence[tuple[float, float]]
    peak_memory_bytes: tuple[float, float] | None = None

    def ratios(self, metric: str) -> list[float]:
        """Compute the logarithms of the candidate's share of the baseline, pair by pair."""
        memory = [self.peak_memory_bytes] if self.peak_memory_bytes else []
        pairs = self.step_s if metric == TIME else memory
        return [math.log(new) - math.log(old) for old, new in pairs]


def cost_findings(
    case: str, starts: Sequence[Start], *, margins: Mapping[str, float] = MARGINS
) -> list[Finding]:
    """Say of a case whether its steps take more time or memory than before.

    Args:
        case: Its name.
        starts: What each start of the workers measured of it, at least one.
        margins: How much more is no worse, as a share, by metric or by the values of `UNITS`.

    Returns:
        One finding a metric; none for the memory where that could not be measured.
    """
    allowed = {**MARGINS, **margins}
    return [
        _finding(case, metric, ratios, allowed.get(metric, allowed[UNITS[metric]]))
        for metric in METRICS
        for ratios in [[found for start in starts for found in [start.ratios(metric)] if found]]
        if ratios
    ]


def _finding(case: str, metric: str, ratios: Sequence[Sequence[float]], margin: float) -> Finding:
    """Judge one metric by where the interval of its ratio lies.

    It is worse only where the whole interval lies above the margin, so that chance calls a
    candidate worse that is not by more than the margin in at most half of `LEVEL`.
    """
    estimate, draws = _resampled(metric, ratios)
    level = LEVEL / LOOKS
    low, high = np.quantile(draws, (level / 2, 1 - level / 2))
    limit, error = math.log1p(margin), float(np.std(draws))
    found = limit + error * float(stats.norm.isf(level / 2) + stats.norm.ppf(POWER))
    decision = WORSE if low > limit else NO_WORSE if high < limit else UNDECIDED
    shares = [100 * math.expm1(value) for value in (estimate, low, high, found)]
    return Finding(
        COST, case, metric, decision,
        _words(metric, decision, shares, 100 * margin, ratios),
        estimate=shares[0], low=shares[1], high=shares[2], margin=100 * margin, unit="%",
        detectable=shares[3],
    )  # fmt: skip


def _resampled(metric: str, ratios: Sequence[Sequence[float]]) -> tuple[float, np.ndarray]:
    """Average the medians of all starts, and draw by bootstrap what else that could have been.

    Blocks are drawn anew within each start (Efron 1979). What a start adds of its own is drawn
    from a normal distribution: a handful of starts is too few to draw from.
    """
    rng = np.random.default_rng(0)
    medians = [statistics.median(own) for own in ratios]
    spread = max(STARTS[metric], statistics.stdev(medians) if len(medians) > 1 else 0.0)
    draws = rng.normal(0.0, spread / math.sqrt(len(ratios)), RESAMPLES)
    for own in ratios:
        draws += _medians(own, rng) / len(ratios)
    return statistics.fmean(medians), draws


def _medians(ratios: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Draw medians by bootstrap; a single number has none but itself."""
    if len(ratios) == 1:
        return np.full(RESAMPLES, ratios[0])
    found = stats.bootstrap(
        (ratios,), np.median, n_resamples=RESAMPLES, method="percentile", rng=rng
    )
    return np.asarray(found.bootstrap_distribution)


def _words(
    metric: str,
    decision: str,
    shares: Sequence[float],
    margin: float,
    ratios: Sequence[Sequence[float]],
) -> str:
    """Write by how much, how sure, and from how many pairs."""
    head, more, less = MORE[metric]
    estimate, low, high, _ = shares
    word, size = (more, estimate) if estimate >= 0 else (less, -estimate)
    said = {
        WORSE: f"{head} {size:.3g} % {word}",
        NO_WORSE: f"{head} {size:.1f} % {word}, and not {margin:g} % {more}",
        UNDECIDED: f"{head} {size:.1f} % {word}, not surely less or more than {margin:g} % {more}",
    }[decision]
    pairs = sum(map(len, ratios))
    counted = f"{pairs} pairs" if metric == TIME else f"{pairs} starts"
    return f"{said} ({100 * (1 - LEVEL):g} % interval {low:.1f} to {high:.1f}; {counted})"


def precise(ratios: Sequence[float]) -> bool:
    """True where the median of ratios is known well enough: further pairs would tell little.

    Its standard error is estimated from their median deviation, whatever strays. How long a start
    goes on depends on this alone, not on what it finds.
    """
    error = stats.median_abs_deviation(ratios, scale="normal") * math.sqrt(
        math.pi / 2 / len(ratios)
    )
    return bool(error <= PRECISE)


def settled(findings: Sequence[Finding]) -> bool:
    """True where something was judged and nothing of it is undecided."""
    return bool(findings) and all(finding.decision != UNDECIDED for finding in findings)
