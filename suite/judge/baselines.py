"""Baselines: what a new record must measure, as the stored records of a release show."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.special import stdtrit

from suite.errors import RecordError
from suite.judge.bands import Band, bands_of
from suite.judge.metrics import BOTH, LESS, MORE, metric_row
from suite.judge.verdicts import shown
from suite.records import Record
from suite.store import read_records, replace_records, stored_cases

REBASELINE = "nox -s rebaseline -- --release RELEASE --tier TIER"
MEASURE = 'nox -s "benchmarks(RELEASE)" -- --seeds 0,1,2,3,4'
MIN_SEEDS = 5
COMPARED = ("training", "fixes", "attack", "step-time")
"""The questions whose records have a baseline; traces of first steps and traps have none."""

LEVEL = 0.9999
"""Chance that one number of an unchanged suite lies in its band.

A run has some 400 numbers, many of which rise and fall together. People switch off a gate that
fails without a reason in one run of three, but not in one of thirty. The level is the same for
every number, so that a verdict does not depend on which cases ran beside it.

Its price is width. Five seeds give a band of 17.0 standard deviations to each side, ten give 6.9;
where only one side is bounded, 14.3 and 6.3. The narrower bands are those of `suite.judge.bands`.
"""


@dataclass(frozen=True)
class Baseline:
    """The values of one metric of one case, and the band that follows from them.

    Attributes:
        values: One number a seed.
        band: Where the number of a new seed must lie; None if one of the values is not finite.
    """

    values: tuple[float, ...]
    band: Band | None

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return statistics.fmean(self.values)

    def __str__(self) -> str:
        """Write mean ± standard deviation (seeds), or all values where one is not finite."""
        if self.band is None:
            return f"{', '.join(f'{value:.4g}' for value in self.values)} ({len(self.values)})"
        return f"{self.mean:.4g} ± {statistics.stdev(self.values):.2g} ({len(self.values)})"


def summarise(records: Iterable[Record]) -> dict[str, dict[str, Baseline]]:
    """Sum up the records of a baseline: by case and metric, the values and the band.

    Raises:
        RecordError: If a case has fewer than `MIN_SEEDS` seeds, if its records differ in settings,
            metrics, data, code, lock, versions or machine, or if one of them is outside the bands
            of its case.
    """
    cases = by_case(records)
    for case, runs in cases.items():
        _check_baseline(case, runs)
    return {case: _baselines(runs) for case, runs in cases.items()}


def by_case(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Sort the records that have a baseline by case, then by seed."""
    cases = defaultdict(list)
    for record in sorted(records, key=lambda record: (record.case, record.seed)):
        if record.question in COMPARED:
            cases[record.case].append(record)
    return dict(cases)


def _check_baseline(case: str, runs: Sequence[Record]) -> None:
    """Refuse records of one case that cannot be its baseline.

    Raises:
        RecordError: If there are fewer than `MIN_SEEDS`, if one of them is outside its bands, or if
            they differ in what must be the same.
    """
    if len(runs) < MIN_SEEDS:
        raise RecordError(
            f"baseline of case {case} holds {len(runs)} seeds, expected at least {MIN_SEEDS}: "
            f"run `{MEASURE}`, then `{REBASELINE}`"
        )
    for run in runs:
        _check_bands(run)
    _check_alike(case, runs)


def _check_bands(record: Record) -> None:
    """Refuse a record that is outside its bands: a failed run must not become a baseline.

    Raises:
        RecordError: If one of its metrics is outside its band.
    """
    for metric, band in bands_of(record).items():
        if metric in record.metrics and record.metrics[metric] not in band:
            raise RecordError(
                f"baseline of case {record.case}, seed {record.seed}: {metric} is "
                f"{shown(record.metrics[metric], band)}, expected {band}. A failed run cannot be "
                "part of a baseline. Restore the baseline from version control, or find out why "
                f"the run failed, then run `{MEASURE}`."
            )


def _check_alike(case: str, runs: Sequence[Record]) -> None:
    """Refuse records of one case that were not made alike.

    Raises:
        RecordError: If they differ in what must be the same.
    """
    for what, value in _must_agree(runs[0]).items():
        for run in runs:
            other = _must_agree(run)[what]
            if other != value:
                raise RecordError(
                    f"baseline of case {case} mixes {what}: {value} of seed {runs[0].seed}, "
                    f"{other} of seed {run.seed}, expected one: run `{MEASURE}`, "
                    f"then `{REBASELINE}`"
                )


def _must_agree(record: Record) -> dict[str, Any]:
    """Collect what must be the same in all seeds of a baseline."""
    environment = record.environment
    return {
        "settings": record.settings,
        "metrics": sorted(record.metrics),
        "data digests": environment["data_digest"],
        "code digests": environment["code_digest"],
        "lock digests": environment["lock_digest"],
        "versions": environment["versions"],
        "machines": machine_of(record),
    }


def machine_of(record: Record) -> str:
    """Name the machine that a record was measured on."""
    return str(record.environment["machine"]["fingerprint"])


def _baselines(runs: Sequence[Record]) -> dict[str, Baseline]:
    """Sum up each metric of one case."""
    images = runs[0].settings.get("test_images")
    found = {}
    for metric in sorted(runs[0].metrics):
        values = tuple(run.metrics[metric] for run in runs)
        finite = all(map(math.isfinite, values))
        band = expected_band(metric, values, test_images=images) if finite else None
        found[metric] = Baseline(values, band)
    return found


def expected_band(metric: str, values: Sequence[float], *, test_images: int | None = None) -> Band:
    """Compute the band in which one new run of an unchanged suite lies with the chance `LEVEL`.

    It is the prediction interval of Student's t, no narrower than the metric can resolve, and
    bounded on the worse side alone where the metric has one.

    Args:
        metric: A key of `suite.judge.metrics.METRICS`.
        values: One finite number a seed.
        test_images: Number of images that an accuracy is taken over; None if it is not known.

    Raises:
        RecordError: If the metric has no row.
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
    if row.is_fraction:  # outside [0, 1] no share can be right
        low, high = max(low, min(mean, 0.0)), min(high, max(mean, 1.0))
    return Band(low, high)


def rebaseline(
    records_root: Path,
    baselines_root: Path,
    *,
    release: str,
    tier: str,
    removed: Collection[str] = (),
) -> list[Record]:
    """Make the records of a release and tier its baseline, and return them.

    Args:
        records_root: Folder of the records, with a folder for each release and tier.
        baselines_root: Folder of the baselines, laid out alike.
        release: Name of the release.
        tier: Name of the tier.
        removed: Cases that the baseline may lose; every other of its cases must have records.

    Raises:
        RecordError: If there are no records, one of them is not valid, a case is missing, or the
            baseline cannot be written; the baseline is then as before.
    """
    source, target = records_root / release / tier, baselines_root / release / tier
    records = [record for record in read_records(source) if record.question in COMPARED]
    if not records:
        raise RecordError(f"{source} holds no records. Make them with `{MEASURE}`.")
    summarise(records)
    lost = sorted(stored_cases(target) - {record.case for record in records} - set(removed))
    if lost:
        raise RecordError(
            f"{source} holds no record of {', '.join(lost)}, but {target} does. Run "
            f"`{MEASURE}` for all cases, or name each case that is gone with --removed CASE."
        )
    replace_records(records, target)
    return records


def version_notes(baseline: Iterable[Record], measured: Iterable[Record]) -> list[str]:
    """Write a line for each package whose versions are not those of the baseline."""
    then, now = _versions(baseline), _versions(measured)
    names = sorted({*then, *now}) if then and now else []
    return [
        f"{name} is {_listed(now[name])}, the baseline has {_listed(then[name])}"
        for name in names
        if now[name] != then[name]
    ]


def _versions(records: Iterable[Record]) -> dict[str, set[str]]:
    """Collect the versions of each package that the records name."""
    found: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for name, version in record.environment["versions"].items():
            found[name].add(str(version))
    return found


def _listed(versions: Collection[str]) -> str:
    """List versions, or say that there is none."""
    return ", ".join(sorted(versions)) or "absent"
