"""Pairs: the numbers of both sides, by case, metric and seed, and how far the sides differ."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import mannwhitneyu

from suite.judge.metrics import metric_row
from suite.judge.staleness import machine_of
from suite.records import Record, encoded, json_digest

QUESTIONS = ("training", "fixes", "attack", "step-time")
"""Of records with numbers by seed; the others are judged as step map, random parts or traps."""

BASELINE, CANDIDATE = SIDES = ("the baseline", "the candidate")
SURROGATE = "surrogate_digest"  # in a record's environment
MEND = "Measure the case anew on both sides."
FAR, FAR_OF_FEW = 4.0, 20.0  # deviations of a tail: 8 of five seeds a side, 5 of twenty
MEDIAN = 1.4826  # from the median of absolute distances to a normal deviation
FEWEST_PAIRS = 5  # of fewer, a correlation is no more than a guess


class Pairs(NamedTuple):
    """The finite numbers of one metric of one case on both sides, by seed.

    Attributes:
        case: Name of the case.
        metric: Name of the metric.
        before: The baseline's, by seed.
        after: The candidate's, by seed.
        lost: Number of the baseline's and of the candidate's that are NaN or infinite.
    """

    case: str
    metric: str
    before: Mapping[int, float]
    after: Mapping[int, float]
    lost: tuple[int, int] = (0, 0)

    @property
    def name(self) -> tuple[str, str]:
        """The case and the metric."""
        return self.case, self.metric

    @property
    def seeds(self) -> tuple[int, int]:
        """Number of seeds on each side."""
        return len(self.before), len(self.after)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Give the numbers of both sides, first those of common seeds, and how many these are."""
        common = sorted(set(self.before) & set(self.after))
        own = ([*common, *sorted(set(side) - set(common))] for side in (self.before, self.after))
        first, second = own
        return (
            np.array([self.before[seed] for seed in first]),
            np.array([self.after[seed] for seed in second]),
            len(common),
        )


class Difference(NamedTuple):
    """How far the candidate's mean lies from the baseline's.

    Attributes:
        estimate: The candidate's mean less the baseline's.
        error: Its standard error.
        freedom: Degrees of freedom of the error.
    """

    estimate: Any
    error: Any
    freedom: Any


def difference(before: np.ndarray, after: np.ndarray, shared: int = 0) -> Difference:
    """Compare two means, of numbers of which some come in pairs.

    A seed chooses the images and the first weights, so that what it gives on both sides goes
    together: from not at all (ResNet-50) to bit for bit (LeNet-5). Of no common seed this is
    Welch's test, of nothing but common seeds the paired one; between them it is that of Derrick,
    Russ, Toher and White (2017) for samples that overlap in part. Which of them is decided by the
    seeds alone, never by the numbers.

    Args:
        before: The baseline's, ``(..., seeds)``: at least two.
        after: The candidate's, ``(..., seeds)``, in the same leading axes.
        shared: So many of each, the first ones, are of the same seeds in the same order.

    Returns:
        Arrays of the leading axes.
    """
    shared = shared if shared >= FEWEST_PAIRS else 0
    first, second = before.shape[-1], after.shape[-1]
    parts = np.var(before, axis=-1, ddof=1) / first, np.var(after, axis=-1, ddof=1) / second
    total = parts[0] + parts[1]
    with np.errstate(invalid="ignore", divide="ignore"):  # where neither side varies
        welch = total**2 / (parts[0] ** 2 / (first - 1) + parts[1] ** 2 / (second - 1))
        common = _together(before[..., :shared], after[..., :shared]) * np.sqrt(parts[0] * parts[1])
    welch = np.where(total > 0, welch, first + second - 2)
    variance = total - 2 * common * shared / math.sqrt(first * second)
    alone = first + second - 2 * shared
    weight = alone / (alone + 2 * shared)
    freedom = welch if not shared else shared - 1 + (welch - shared + 1) * weight
    estimate = np.mean(after, axis=-1) - np.mean(before, axis=-1)
    return Difference(estimate, np.sqrt(np.maximum(variance, 0.0)), freedom)


def _together(before: np.ndarray, after: np.ndarray) -> Any:
    """Compute how far pairs go together (Pearson's correlation); 0 where one side is constant."""
    if not before.shape[-1]:
        return 0.0
    own = [side - np.mean(side, axis=-1, keepdims=True) for side in (before, after)]
    size = np.sqrt(np.sum(own[0] ** 2, axis=-1) * np.sum(own[1] ** 2, axis=-1))
    return np.where(size > 0, np.sum(own[0] * own[1], axis=-1) / np.where(size > 0, size, 1), 0.0)


def tailed(before: np.ndarray, after: np.ndarray) -> Any:
    """True where a number lies so far from the others of its side that their law has a tail.

    AlexNet under its plain loss ends at 0.77 of accuracy, and in one seed of seven at 0.53. The
    mean of few such numbers follows no Student's t. Distances are those from the median of the
    side, in deviations as their median tells them, which up to half of the seeds cannot stretch.
    Of normal numbers of like deviation 2 % are taken for such with five seeds a side, 1 % with
    more.

    Args:
        before: The baseline's, ``(..., seeds)``.
        after: The candidate's, ``(..., seeds)``, in the same leading axes.
    """
    apart = [np.abs(side - np.median(side, axis=-1, keepdims=True)) for side in (before, after)]
    sizes = np.concatenate(apart, axis=-1)
    limit = FAR + FAR_OF_FEW / (sizes.shape[-1] / 2)
    return np.max(sizes, axis=-1) > limit * MEDIAN * np.median(sizes, axis=-1)


def rank_p(before: np.ndarray, after: np.ndarray) -> Any:
    """Compute the two-sided p-value of the ranks (Mann and Whitney, 1947), whatever the law.

    Args:
        before: The baseline's, ``(..., seeds)``.
        after: The candidate's, ``(..., seeds)``, in the same leading axes.
    """
    return mannwhitneyu(before, after, axis=-1, alternative="two-sided").pvalue


def pairs(before: Iterable[Record], after: Iterable[Record]) -> tuple[list[Pairs], list[str]]:
    """Sort the numbers of both sides by case and metric.

    Args:
        before: Records of the baseline, of any questions.
        after: Records of the candidate.

    Returns:
        What can be compared; and what cannot, each with the reason: a case or metric that one side
        lacks, records that differ in what must be the same, and those that are no run of their
        own.
    """
    sides = [_by_case(records) for records in (before, after)]
    found: list[Pairs] = []
    missing: list[str] = []
    for case in sorted({*sides[0], *sides[1]}):
        own, other = (side.get(case, []) for side in sides)
        faults = _faults(own, other)
        missing += [f"{case}: {fault}" for fault in faults]
        if not faults:
            paired, lacking = _metrics(case, own, other)
            found += paired
            missing += lacking
    return found, missing


def _by_case(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Sort the records of `QUESTIONS` by case, then by seed."""
    found: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.seed):
        if record.question in QUESTIONS:
            found.setdefault(record.case, []).append(record)
    return found


def _faults(before: Sequence[Record], after: Sequence[Record]) -> list[str]:
    """Say why the records of a case cannot be compared; nothing where they can."""
    sides = list(zip(SIDES, (before, after)))
    absent = [f"{side} has no record of it. {MEND}" for side, runs in sides if not runs]
    if absent:
        return absent
    found = []
    for side, runs in sides:
        found += _not_alike(side, runs, ("release", "tier"))
        found += _not_own(side, runs)
    found += _not_alike("it", [*before, *after], ("question", "tier", "settings", "data"))
    return [*dict.fromkeys([*found, *(fault for _, fault in kept_twice(before, after))])]


def _not_alike(whose: str, runs: Sequence[Record], names: Collection[str]) -> list[str]:
    """Say which of the names have several values among the records."""
    values = {name: {json_digest(_stated(run, name)) for run in runs} for name in names}
    return [
        f"{whose} has records of {len(found)} different values of {name}, expected one. {MEND}"
        for name, found in values.items()
        if len(found) > 1
    ]


def _stated(run: Record, name: str) -> Any:
    """Read a field of a record, or the digest of its data."""
    return run.environment["data_digest"] if name == "data" else encoded(getattr(run, name))


def _not_own(side: str, runs: Sequence[Record]) -> list[str]:
    """Say which seeds have several records, or the very numbers of another seed."""
    counts = Counter(run.seed for run in runs)
    found = [
        f"{side} has {count} records of seed {seed}, expected one. {MEND}"
        for seed, count in counts.items()
        if count > 1
    ]
    first: dict[str, Record] = {}
    for run in runs:
        numbers = {"metrics": run.metrics, "curves": run.curves}
        same = first.setdefault(json_digest(encoded(numbers)), run)
        if same.seed != run.seed and run.metrics:
            found.append(
                f"{side} has the very numbers of seed {same.seed} as seed {run.seed}, expected a "
                f"run of its own for each. {MEND}"
            )
    return [*found, *_of_one_surrogate(side, runs)]


def _of_one_surrogate(side: str, runs: Iterable[Record]) -> Iterator[str]:
    """Yield which seeds started from the same surrogate, which each seed pretrains for itself."""
    seeds: dict[str, list[int]] = {}
    for run in runs:
        if run.settings.get("weights") == "surrogate" and SURROGATE in run.environment:
            seeds.setdefault(str(run.environment[SURROGATE]), []).append(run.seed)
    for own in map(sorted, map(set, seeds.values())):
        if len(own) > 1:
            yield (
                f"{side} started the seeds {', '.join(map(str, own))} from the same surrogate, "
                f"expected one of its own for each. {MEND}"
            )


def kept_twice(before: Iterable[Record], after: Iterable[Record]) -> Iterator[tuple[str, str]]:
    """Say which records are the run of another one: no two take the same time, to the last bit.

    Args:
        before: Records of the baseline, of one case or of many.
        after: Those of the candidate.

    Yields:
        The case of such a record, and what is wrong with it.
    """
    first: dict[float, tuple[str, Record]] = {}
    for side, runs in zip(SIDES, (before, after)):
        for run in runs:
            whose, former = first.setdefault(run.wall_s, (side, run))
            if (whose, former.name) != (side, run.name):
                yield (
                    run.case,
                    f"seed {run.seed} of {side} is the run of {whose}'s {former.name} (of "
                    f"{former.started_at}, {former.wall_s} s), expected a run of its own. {MEND}",
                )


def _metrics(
    case: str, before: Sequence[Record], after: Sequence[Record]
) -> tuple[list[Pairs], list[str]]:
    """Pair the metrics of a case; name those that one of its records lacks.

    A diagnostic that one side never has, as on a stack that cannot observe it, is left out; so are
    times and memory where machines differ.
    """
    runs = (*before, *after)
    machines = {machine_of(run) for run in runs}
    names = sorted({name for run in runs for name in run.metrics})
    lacking = [] if names else [f"{case}: its records hold no metric. {MEND}"]
    found = []
    for name in names:
        if metric_row(name).per_machine and len(machines) > 1:
            continue
        without = {
            side: [run.seed for run in own if name not in run.metrics]
            for side, own in zip(SIDES, (before, after))
        }
        never = len(before) == len(without[BASELINE]) or len(after) == len(without[CANDIDATE])
        if not never:
            found.append(_pair(case, name, before, after))
        if metric_row(name).primary or not never:
            lacking += [
                f"{case}: {side} has no {name} for seed {', '.join(map(str, seeds))}. {MEND}"
                for side, seeds in without.items()
                if seeds
            ]
    return found, lacking


def _pair(case: str, metric: str, before: Sequence[Record], after: Sequence[Record]) -> Pairs:
    """Collect the numbers of one metric on both sides."""
    given = [
        {run.seed: run.metrics[metric] for run in runs if metric in run.metrics}
        for runs in (before, after)
    ]
    finite = [
        {seed: float(value) for seed, value in side.items() if math.isfinite(value)}
        for side in given
    ]
    lost = len(given[0]) - len(finite[0]), len(given[1]) - len(finite[1])
    return Pairs(case, metric, finite[0], finite[1], lost)
