"""Two-sample tests of what two releases drew: each says how far they are apart, and how sure.

Every test asks whether two releases differ by more than what is negligible: with millions of draws
a difference can be certain and yet mean nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

from suite.judge.gate.drawn import Entry, looks_like, shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVEL = 1e-4  # the chance that one finding calls two releases different that are not
POWER = 0.8
FEWEST = 5.0  # draws that a bin must expect, else it is merged with its neighbours
SURE = 0.95  # of the interval of an estimate
LARGEST_CORRELATION = 1 - 1e-9  # Fisher's transform of 1 is infinite

DISTRIBUTION = 0.01  # total variation: one draw in a hundred lies elsewhere
EXACT = 1e-5  # relative; roundings of float32
SPREAD = 1e-6  # nats; the losses of steps without dropout vary by rounding alone

WEIGHT_SCALE, SCALE_OF_ALL, CENTRE = "scale", "scale of all", "mean"
DROPOUT_RATE, INDEPENDENCE = "rate", "correlation"
ELSEWHERE = "elsewhere"  # kind of a distribution that differs in no way that has a name

NEGLIGIBLE = {
    WEIGHT_SCALE: 0.005,  # relative: half a percent changes no training
    SCALE_OF_ALL: 0.005,
    CENTRE: 0.01,  # standard deviations
    INDEPENDENCE: 0.01,
    DROPOUT_RATE: 0.002,  # a fifth of a point
}
"""The kinds of differences that have a size, and the size up to which each does not count."""


class Contrast(NamedTuple):
    """How one quantity of two releases differs.

    Attributes:
        p: Of the hypothesis that they differ by no more than what is negligible.
        words: What differs, with both values.
        kind: What sort of difference it is; a key of `NEGLIGIBLE` where it has a size.
        size: The difference; None where it has no one size.
        deviation: The standard error of `size`.
    """

    p: float
    words: str
    kind: str
    size: float | None = None
    deviation: float = 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The interval that holds the true difference with a probability of `SURE`."""
        reach = float(stats.norm.isf((1 - SURE) / 2)) * self.deviation
        return (self.size or 0.0) - reach, (self.size or 0.0) + reach

    def detectable(self, level: float) -> float:
        """Compute the smallest difference that a test at `level` finds with a power of `POWER`."""
        quantiles = float(stats.norm.isf(level / 2) + stats.norm.ppf(POWER))
        return NEGLIGIBLE[self.kind] + quantiles * self.deviation


def certain(kind: str, words: str) -> Contrast:
    """Make the contrast of a difference that no chance can make."""
    return Contrast(0.0, words, kind)


def measured(kind: str, size: float, deviation: float, words: str) -> Contrast:
    """Test whether a difference with a normal error exceeds what is negligible, on either side."""
    if not np.isfinite([size, deviation]).all():
        return certain("no number", f"{words}: NaN or infinite")
    excess = max(0.0, abs(size) - NEGLIGIBLE[kind])
    p = 2 * float(stats.norm.sf(excess / deviation)) if excess else 1.0
    return Contrast(p, words, kind, size, deviation)


def weight_contrasts(name: str, before: Entry, after: Entry) -> list[Contrast]:
    """Compare the draws of one weight: distribution, scale, mean, correlations of neighbours."""
    if before["quantity"] != after["quantity"]:
        kinds = f"{after['quantity']} instead of {before['quantity']}"
        return [certain("quantity", f"{name} is {kinds}")]
    if list(before["shape"]) != list(after["shape"]):
        shapes = f"{after['shape']} instead of {before['shape']}"
        return [certain("shape", f"{name} has the shape {shapes}")]
    if before["quantity"] == "constant":
        return constant(name, before["value"], after["value"])
    if before["quantity"] != "drawn":
        return []
    within = [
        contrast
        for kind in set(before["correlations"]) & set(after["correlations"]) - {"seeds"}
        for contrast in [correlated(f"{kind} of {name}", kind, before, after)]
    ]
    return [scale(name, before, after), distribution(name, before, after),
            mean(name, before, after), repeated(name, before, after), *within]  # fmt: skip


def constant(name: str, before: float, after: float) -> list[Contrast]:
    """Compare a weight that is not drawn."""
    if before == after:
        return []
    return [certain("constant", f"{name} begins at {after:g} instead of {before:g}")]


def scale(name: str, before: Entry, after: Entry) -> Contrast:
    """Compare root mean squares by their logarithms; the kurtosis gives the error of each."""
    ratio = after["rms"] / before["rms"]
    error = np.sqrt(sum((row["kurtosis"] - 1) / 4 / row["draws"] for row in (before, after)))
    words = (
        f"{name} is drawn with {ratio:.3g} of the baseline's standard deviation "
        f"({after['rms']:.4g} against {before['rms']:.4g}). It looks {looks_like(after)}; the "
        f"baseline's looks {looks_like(before)}"
    )
    return measured(WEIGHT_SCALE, float(np.log(ratio)), float(error), words)


def mean(name: str, before: Entry, after: Entry) -> Contrast:
    """Compare means, in units of the baseline's root mean square."""
    errors = [row["rms"] / np.sqrt(row["draws"]) for row in (before, after)]
    shift = (after["mean"] - before["mean"]) / before["rms"]
    words = f"{name} is drawn about {after['mean']:.3g} instead of {before['mean']:.3g}"
    return measured(CENTRE, float(shift), float(np.hypot(*errors) / before["rms"]), words)


def distribution(name: str, before: Entry, after: Entry) -> Contrast:
    """Compare the counts of bins by chi-square; what is negligible makes it non-central."""
    counts = merged(np.array([before["counts"], after["counts"]], dtype=np.float64))
    shares = counts / counts.sum(axis=1, keepdims=True)
    distance = float(np.abs(shares[1] - shares[0]).sum() / 2)
    statistic, freedom, effective = chi_square(counts)
    noncentral = effective * (2 * DISTRIBUTION) ** 2
    p = float(stats.ncx2.sf(statistic, freedom, noncentral)) if freedom else 1.0
    if shape(after) == shape(before):
        words = f"{100 * distance:.2g} % of the draws of {name} lie elsewhere"
        return Contrast(p, words, ELSEWHERE)
    return Contrast(p, f"{name} is {shape(after)} instead of {shape(before)}", "distribution")


def merged(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Merge neighbouring bins of ``(2, bins)`` counts until each expects `FEWEST` draws."""
    smallest = counts.sum(axis=1).min() / counts.sum()
    groups: list[NDArray[np.float64]] = []
    for column in counts.T:
        full = groups and groups[-1].sum() * smallest >= FEWEST
        if full or not groups:
            groups.append(column)
        else:
            groups[-1] = groups[-1] + column
    if len(groups) > 1 and groups[-1].sum() * smallest < FEWEST:
        last = groups.pop()
        groups[-1] = groups[-1] + last
    return np.array(groups).T


def chi_square(counts: NDArray[np.float64]) -> tuple[float, int, float]:
    """Compute Pearson's chi-square of ``(2, bins)``, its degrees of freedom and effective draws."""
    totals = counts.sum(axis=1, keepdims=True)
    expected = totals * counts.sum(axis=0) / counts.sum()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return statistic, counts.shape[1] - 1, float(totals.prod() / totals.sum())


def correlated(name: str, kind: str, before: Entry, after: Entry) -> Contrast:
    """Compare two correlations by Fisher's z; one that is nearer to 0 than before is no fault."""
    (old, fewer), (new, more) = (row["correlations"][kind] for row in (before, after))
    size = fisher(new) - fisher(old) if abs(new) > abs(old) else 0.0
    error = float(np.sqrt(1 / max(fewer, 1) + 1 / max(more, 1)))
    words = f"{name} are alike: they correlate by {new:.3g} instead of {old:.3g}"
    return measured(INDEPENDENCE, size, error, words)


def fisher(correlation: float) -> float:
    """Transform a correlation so that its error depends on the number of pairs alone."""
    return float(np.arctanh(np.clip(correlation, -LARGEST_CORRELATION, LARGEST_CORRELATION)))


def repeated(name: str, before: Entry, after: Entry) -> Contrast:
    """Test the strongest correlation of draws with those some elements before."""
    old, new = before["repeat"], after["repeat"]
    words = (
        f"the draws of {name} repeat after {new['lag']} elements: they correlate by "
        f"{new['correlation'][0]:.3g}"
    )
    return strongest_of(new["lags"], old["correlation"], new["correlation"], words)


def strongest_pair(before: Entry, after: Entry) -> Contrast:
    """Test the strongest correlation of two layers, which was chosen of many."""
    old, new = (row["correlations"]["layers"] for row in (before, after))
    words = f"{' and '.join(after['layers'])} are alike: they correlate by {new[0]:.3g}"
    return strongest_of(after["pairs"], old, new, words)


def strongest_of(
    count: int, before: Sequence[float], after: Sequence[float], words: str
) -> Contrast:
    """Test a correlation that is the strongest of `count`; one no larger than before is none."""
    value, pairs = after
    grown = abs(value) > abs(before[0]) + NEGLIGIBLE[INDEPENDENCE]
    error = float(1 / np.sqrt(max(pairs, 1)))
    found = measured(INDEPENDENCE, fisher(value) if grown else 0.0, error, words)
    return found._replace(p=min(1.0, found.p * count))


def together(before: Sequence[Entry], after: Sequence[Entry]) -> Contrast:
    """Compare the scale of all drawn weights at once, each by the draws that it has."""
    rows = [scale("", *pair) for pair in zip(before, after)]
    weights = np.array([1 / row.deviation**2 for row in rows])
    size = float(np.average([row.size for row in rows], weights=weights))
    words = f"all drawn weights together have {np.exp(size):.4g} of the baseline's scale"
    return measured(SCALE_OF_ALL, size, float(1 / np.sqrt(weights.sum())), words)


def dropout_contrasts(name: str, before: Entry, after: Entry) -> list[Contrast]:
    """Compare one dropout layer: rate, scale, the inference phase, independence."""
    found = [rate(name, before, after)]
    here, there = (f"{entry['units']} units behind {entry['behind']}" for entry in (after, before))
    if here != there:
        found.append(certain("units", f"{name} has {here} instead of {there}: it lies elsewhere"))
    if not abs(after["scale"] - before["scale"]) <= EXACT * before["scale"]:  # NaN too
        words = f"{name} multiplies what it keeps by {after['scale']:.4g} instead of "
        found.append(certain("multiplier", f"{words}{before['scale']:.4g}"))
    if not after["scale_error"] <= EXACT and before["scale_error"] <= EXACT:
        found.append(certain("uneven", f"{name} does not multiply what it keeps by 1 / (1 - rate)"))
    if not after["inference_change"] <= EXACT and before["inference_change"] <= EXACT:
        found.append(certain("inference", f"{name} changes its input in the inference phase"))
    wrong = after["gradient_error"]
    if not wrong <= EXACT and before["gradient_error"] <= EXACT:
        words = f"{name} does not drop or scale the gradient of {100 * wrong:.3g} % of its units"
        found.append(certain("gradient", f"{words} as it does their values"))
    shared = set(before["correlations"]) & set(after["correlations"]) - {"seeds"}
    for kind in shared:
        where = f"a layer alone with the rate of {name}" if kind == "passes" else name
        found.append(correlated(f"masks of {where} over {kind}", kind, before, after))
    return [*found, repeated(name, before, after)]


def rate(name: str, before: Entry, after: Entry) -> Contrast:
    """Compare the shares of units that were dropped."""
    shares, draws = zip(*((row["share"], row["draws"]) for row in (before, after)))
    mean_share = np.average(shares, weights=draws)
    variance = max(mean_share * (1 - mean_share), 1 / sum(draws))
    error = float(np.sqrt(variance * sum(1 / n for n in draws)))
    words = f"{name} drops {100 * shares[1]:.2f} % of its units instead of {100 * shares[0]:.2f} %"
    return measured(DROPOUT_RATE, float(shares[1] - shares[0]), error, words)
