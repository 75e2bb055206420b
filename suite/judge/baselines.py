"""Baselines: what the stored records of a release lead one to expect of a new one."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scipy.special import stdtrit

from suite.errors import RecordError
from suite.judge.bands import Band, bands_of
from suite.judge.metrics import BOTH, LESS, MORE, metric_row
from suite.judge.verdicts import (
    NEW,
    NOT_COMPARABLE,
    PASS,
    REGRESSION,
    VANISHED,
    Verdict,
    judge,
    shown,
)
from suite.records import Record
from suite.store import read_records, replace_records, stored_cases

REBASELINE = "nox -s rebaseline -- --release RELEASE --tier TIER"
MEASURE = 'nox -s "benchmarks(RELEASE)" -- --seeds 0,1,2,3,4'
MIN_SEEDS = 5
COMPARED = ("training", "fixes", "attack", "step-time")
"""The questions a baseline answers; traces and traps are judged by what they are, not by a band."""

LEVEL = 0.9999
"""Chance that one number of an unchanged suite lies in its band.

A run has some 400 numbers, many of them one another's shadow: a gate that cries at one run in
three is switched off, one in thirty or fewer is not. It is the same for every number, so that
a number gets the same verdict whichever cases ran beside it. What it costs: five seeds give 14
standard deviations to each side, ten give 6.6. The narrower bands are those of `suite.bands`.
"""


@dataclass(frozen=True)
class Baseline:
    """What the seeds of one case gave for one metric.

    Attributes:
        values: One number a seed.
        band: Where the number of a new seed must lie; None if a value is not finite.
    """

    values: tuple[float, ...]
    band: Band | None

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return statistics.fmean(self.values)

    def __str__(self) -> str:
        """Return mean ± standard deviation (seeds); all values where one is not finite."""
        if self.band is None:
            return f"{', '.join(f'{value:.4g}' for value in self.values)} ({len(self.values)})"
        return f"{self.mean:.4g} ± {statistics.stdev(self.values):.2g} ({len(self.values)})"


def expected_band(metric: str, values: Sequence[float], *, test_images: int | None = None) -> Band:
    """Return the prediction interval at `LEVEL` for one new run, given finite `values`.

    Student's t over the seeds, widened to the metric's resolution floor. Times are bounded on
    their slow side alone. Accuracies are judged on `test_images` images.

    Raises:
        ValueError: If there are fewer than two values.
    """
    if len(values) <= 1:
        raise ValueError(f"values must hold at least 2 numbers. Received: {values}")
    mean, count = statistics.fmean(values), len(values)
    row = metric_row(metric)
    quantile = float(stdtrit(count - 1, (1 + LEVEL) / 2 if row.worse == BOTH else LEVEL))
    spread = quantile * statistics.stdev(values) * math.sqrt(1 + 1 / count)
    half = max(spread, row.narrowest(mean, images=test_images))
    low = -math.inf if row.worse == MORE else mean - half
    high = math.inf if row.worse == LESS else mean + half
    if row.is_fraction:  # no number but a wrong one lies outside of [0, 1]
        low, high = max(low, min(mean, 0.0)), min(high, max(mean, 1.0))
    return Band(low, high)


def summarise(records: Iterable[Record]) -> dict[str, dict[str, Baseline]]:
    """Return the baseline of every metric of every case.

    Raises:
        RecordError: If a case holds fewer than `MIN_SEEDS` seeds, or its records differ in what
            must be one (settings, metrics, data, code, lock, versions, machine), or one of them
            is outside the bands of its case.
    """
    cases = _by_case(records)
    for case, runs in cases.items():
        _check_baseline(case, runs)
    return {case: _baselines(runs) for case, runs in cases.items()}


def compare(baseline: Sequence[Record], measured: Iterable[Record]) -> list[Verdict]:
    """Return the verdicts on `measured`, each seed by itself, case by case.

    Args:
        baseline: Records of at least `MIN_SEEDS` seeds a case.
        measured: Records of the same tier.

    Raises:
        RecordError: If the baseline cannot be used; see `summarise`.
    """
    expected, former, runs = summarise(baseline), _by_case(baseline), _by_case(measured)
    verdicts = []
    for case in sorted({*expected, *runs}):
        for record in runs.get(case, []):
            if case in expected:
                verdicts += _judge_record(record, former[case][0], expected[case])
            else:
                verdicts += [_new(record, metric, "case") for metric in sorted(record.metrics)]
        if case not in runs:
            verdicts.append(_vanished(case, "", "all", "there is no record of this case"))
    return verdicts


def version_notes(baseline: Iterable[Record], measured: Iterable[Record]) -> list[str]:
    """Return a line for each package whose versions are not those of the baseline."""
    then, now = _versions(baseline), _versions(measured)
    names = sorted({*then, *now}) if then and now else []
    return [
        f"{name} is {_listed(now[name])}, the baseline has {_listed(then[name])}"
        for name in names
        if now[name] != then[name]
    ]


def rebaseline(
    records_root: Path,
    baselines_root: Path,
    *,
    release: str,
    tier: str,
    removed: Collection[str] = (),
) -> list[Record]:
    """Make the records of a release and tier its baseline, and return them.

    The set must be complete: every case the baseline holds has records, or is one of `removed`.

    Raises:
        RecordError: If a record is not valid, the set is not complete or the baseline
            cannot be written; the baseline is then as before.
    """
    source, target = records_root / release / tier, baselines_root / release / tier
    records = [record for record in read_records(source) if record.question in COMPARED]
    if not records:
        raise RecordError(f"{source} holds no records. Make them with `{MEASURE}`.")
    summarise(records)
    lost = sorted(stored_cases(target) - {record.case for record in records} - set(removed))
    if lost:
        raise RecordError(
            f"{source} holds no record of {', '.join(lost)}, of which {target} does. Run "
            f"`{MEASURE}` for all cases, or name those that are gone with --removed CASE."
        )
    replace_records(records, target)
    return records


def _by_case(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the records of each case that is compared, by seed."""
    cases = defaultdict(list)
    for record in sorted(records, key=lambda record: (record.case, record.seed)):
        if record.question in COMPARED:
            cases[record.case].append(record)
    return dict(cases)


def _check_baseline(case: str, runs: Sequence[Record]) -> None:
    """Raise RecordError unless the records of one case can serve as its baseline."""
    if len(runs) < MIN_SEEDS:
        raise RecordError(
            f"baseline of case {case} holds {len(runs)} seeds, expected at least {MIN_SEEDS}: "
            f"run `{MEASURE}`, then `{REBASELINE}`"
        )
    for run in runs:
        _check_bands(run)
    for what, value in _must_agree(runs[0]).items():
        for run in runs:
            other = _must_agree(run)[what]
            if other != value:
                raise RecordError(
                    f"baseline of case {case} mixes {what}: {value} of seed {runs[0].seed}, "
                    f"{other} of seed {run.seed}, expected one: run `{MEASURE}`, "
                    f"then `{REBASELINE}`"
                )


def _check_bands(record: Record) -> None:
    """Raise RecordError if a record that is to serve as baseline is itself outside its bands."""
    for metric, band in bands_of(record).items():
        if metric in record.metrics and record.metrics[metric] not in band:
            raise RecordError(
                f"baseline of case {record.case}, seed {record.seed}: {metric} is "
                f"{shown(record.metrics[metric], band)}, expected {band}. A run that failed is no "
                f"baseline: restore it from version control, or find out why and `{MEASURE}`"
            )


def _must_agree(record: Record) -> dict[str, Any]:
    """Return what must be the same in all seeds of a baseline."""
    environment = record.environment
    return {
        "settings": record.settings,
        "metrics": sorted(record.metrics),
        "data digests": environment["data_digest"],
        "code digests": environment["code_digest"],
        "lock digests": environment["lock_digest"],
        "versions": environment["versions"],
        "machines": _machine(record),
    }


def _baselines(runs: Sequence[Record]) -> dict[str, Baseline]:
    """Return the baseline of each metric of one case."""
    images = runs[0].settings.get("test_images")
    found = {}
    for metric in sorted(runs[0].metrics):
        values = tuple(run.metrics[metric] for run in runs)
        finite = all(map(math.isfinite, values))
        band = expected_band(metric, values, test_images=images) if finite else None
        found[metric] = Baseline(values, band)
    return found


def _judge_record(
    record: Record, former: Record, expected: Mapping[str, Baseline]
) -> list[Verdict]:
    """Return the verdicts on one record of a case that has a baseline."""
    obstacles = _other_settings(record, former) + _other_data(record, former)
    if obstacles:
        return obstacles
    verdicts = []
    for metric in sorted({*expected, *record.metrics}):
        if metric not in expected:
            verdicts.append(_new(record, metric, "metric"))
        elif metric not in record.metrics:
            reason = f"{metric} is in the baseline and was not measured"
            verdicts.append(_vanished(record.case, _seed(record), metric, reason))
        elif metric_row(metric).per_machine and _machine(record) != _machine(former):
            verdicts.append(_other_machine(record, former, metric, expected[metric]))
        else:
            verdicts.append(_judge_metric(record, metric, expected[metric]))
    return verdicts


def _judge_metric(record: Record, metric: str, expected: Baseline) -> Verdict:
    """Return the verdict on one number."""
    value, seed = record.metrics[metric], _seed(record)
    if expected.band is None:
        known = str(value) in {str(v) for v in expected.values if not math.isfinite(v)}
        reason = (
            f"{metric} is {shown(value)}, the baseline holds {expected}: of such a one, only "
            "what is not finite in it passes"
        )
        outcome = PASS if known else REGRESSION
        return Verdict(record.case, seed, metric, value, None, str(expected), outcome, reason)
    absolute = bands_of(record).get(metric, Band(-math.inf, math.inf))
    band = _narrowed(expected.band, absolute)
    if band is None and value in absolute:
        return _other_stack(record, metric, expected, absolute)
    verdict = judge(record.case, metric, value, band or absolute, seed=seed, baseline=str(expected))
    note = f"{verdict.reason} (baseline {expected}{_factor(metric, value, expected)})"
    return replace(verdict, reason=note)


def _narrowed(band: Band, absolute: Band) -> Band | None:
    """Intersect a baseline's `band` with the case's `absolute` one; None if they do not meet."""
    low, high = max(band.low, absolute.low), min(band.high, absolute.high)
    return Band(low, high) if low <= high else None


def _other_stack(record: Record, metric: str, expected: Baseline, absolute: Band) -> Verdict:
    """Say that a number is right on its own stack, where the baseline's must be another."""
    value = record.metrics[metric]
    reason = (
        f"{metric} is {shown(value, absolute)}, as it must be on the stack that measured it "
        f"({absolute}); the baseline, {expected}, is of a stack where it must be another"
    )
    return Verdict(
        record.case, _seed(record), metric, value, absolute, str(expected), NOT_COMPARABLE, reason
    )


def _factor(metric: str, value: float, expected: Baseline) -> str:
    """Tell how many times the baseline's a machine's number is; nothing for another metric."""
    row = metric_row(metric)
    if not row.per_machine or not value or not expected.mean:
        return ""
    band = expected.band or Band(-math.inf, math.inf)
    less = row.worse == LESS
    factor = expected.mean / value if less else value / expected.mean
    allowed = expected.mean / band.low if less else band.high / expected.mean
    words = f"{factor:.3g} times the memory" if row.unit == "bytes" else f"slowdown {factor:.3g}"
    return f", {words}{', better than the band' if factor * allowed < 1 else ''}"


def _other_settings(record: Record, former: Record) -> list[Verdict]:
    """Return a regression if the case is no longer the one the baseline measured."""
    then, now = former.settings, record.settings
    changed = [
        f"{name} is {now.get(name, 'absent')}, the baseline has {then.get(name, 'absent')}"
        for name in sorted({*then, *now})
        if then.get(name, "absent") != now.get(name, "absent")
    ]
    if not changed:
        return []
    reason = (
        f"the case is not the one the baseline measured: {'; '.join(changed)}. If that is meant, "
        f"run `{REBASELINE}`"
    )
    return [Verdict(record.case, _seed(record), "settings", None, None, "", REGRESSION, reason)]


def _other_data(record: Record, former: Record) -> list[Verdict]:
    """Return a blocking "not comparable" if the data are not those of the baseline."""
    now, then = record.environment["data_digest"], former.environment["data_digest"]
    if now == then:
        return []
    reason = (
        "the data are not those of the baseline, so nothing was judged: data_digest is "
        f"{now}, expected {then}"
    )
    verdict = Verdict(
        record.case, _seed(record), "data_digest", None, None, "", NOT_COMPARABLE, reason, True
    )
    return [verdict]


def _other_machine(record: Record, former: Record, metric: str, expected: Baseline) -> Verdict:
    """Return that a time was not judged."""
    value = record.metrics[metric]
    reason = f"times of machine {_machine(record)} are not held against those of {_machine(former)}"
    return Verdict(
        record.case, _seed(record), metric, value, None, str(expected), NOT_COMPARABLE, reason
    )


def _new(record: Record, metric: str, what: str) -> Verdict:
    """Return that a metric has no baseline, because the `what` ("case" or "metric") is new."""
    value, reason = record.metrics[metric], f"there is no baseline of this {what}"
    return Verdict(record.case, _seed(record), metric, value, None, "", NEW, reason)


def _vanished(case: str, seed: str, metric: str, reason: str) -> Verdict:
    """Return that the baseline holds what was not measured."""
    return Verdict(case, seed, metric, None, None, "", VANISHED, reason)


def _seed(record: Record) -> str:
    return f"seed {record.seed}"


def _machine(record: Record) -> str:
    return str(record.environment["machine"]["fingerprint"])


def _versions(records: Iterable[Record]) -> dict[str, set[str]]:
    """Return the versions of each package that the records name."""
    found: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for name, version in record.environment["versions"].items():
            found[name].add(str(version))
    return found


def _listed(versions: Collection[str]) -> str:
    return ", ".join(sorted(versions)) or "absent"
