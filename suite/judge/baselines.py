"""Baselines: what a new record must measure, as the stored records of a release show."""

from __future__ import annotations

import csv
import functools
import io
import math
import os
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scipy.special import stdtrit

from suite.cases import TRACED, has_baseline
from suite.errors import RecordError
from suite.files import read_bytes
from suite.judge.bands import STALLED, Band, bands_of
from suite.judge.metrics import BOTH, LESS, MORE, metric_row
from suite.judge.staleness import Present, differences, machine_of
from suite.judge.verdicts import shown
from suite.records import Record, encoded, json_digest
from suite.store import files_by_case, read_resident

REBASELINE = "nox -s rebaseline -- --release RELEASE --tier TIER"
MEASURE = 'nox -s "benchmarks(RELEASE)" -- --seeds 0,1,2,3,4'
MIN_SEEDS = 5
GAPS = "gaps.csv"
GAP_COLUMNS = ["release", "tier", "case", "why"]
"""The cases that a stored baseline does not have yet: none can vanish from it unnoticed."""

LEVEL = 0.9999
"""Chance that one number of an unchanged suite lies in its band.

A run has some 400 numbers, many of which rise and fall together. People switch off a gate that
fails without a reason in one run of three, but not in one of thirty. The level is the same for
every number, so that a verdict does not depend on which cases ran beside it.

Its price is width. Five seeds give a band of 17.0 standard deviations to each side, ten give 6.9;
where only one side is bounded, 14.3 and 6.3. The narrower bands are those of `suite.judge.bands`.
"""

OF_A_STALL = ("clean_accuracy", "adversarial_accuracy", "classes_predicted")
"""What a network that stalls ends at by luck: it is constant, or just about to leave the stall. Ten
seeds of ResNet-50 ended at .0565 +- .0054, and of five others three at .10 to .11."""


@dataclass(frozen=True)
class Baseline:
    """The values of one metric of one case, and the band that follows from them.

    Attributes:
        values: One number a seed.
        band: Where the number of a new seed must lie; None if one of the values is not finite.
    """

    values: tuple[float, ...]
    band: Band | None

    @functools.cached_property
    def mean(self) -> float:
        """The mean over the seeds."""
        return statistics.fmean(self.values)

    @functools.cached_property
    def text(self) -> str:
        """The mean ± standard deviation (seeds), or all values where one is not finite."""
        if self.band is None:
            return f"{', '.join(f'{value:.4g}' for value in self.values)} ({len(self.values)})"
        return f"{self.mean:.4g} ± {statistics.stdev(self.values):.2g} ({len(self.values)})"

    def __str__(self) -> str:
        return self.text


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
    """Sort records by case, then by seed."""
    cases = defaultdict(list)
    for record in sorted(records, key=lambda record: (record.case, record.seed)):
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
        "questions": record.question,
        "settings": record.settings,
        "metrics": sorted(record.metrics),
        "data digests": environment["data_digest"],
        "code digests": environment["code_digest"],
        "probe digests": environment.get("probe_digest"),
        "lock digests": environment["lock_digest"],
        "versions": environment["versions"],
        "machines": machine_of(record),
        "environments": surroundings(record),
    }


def surroundings(record: Record) -> dict[str, Any]:
    """Pick what else an environment states, such as variables: all but what has a name of its own.

    Digests other than the libraries' may depend on the seed.
    """
    return {
        name: value
        for name, value in record.environment.items()
        if name == "library_digest"
        or not (name in ("versions", "machine") or name.endswith("_digest"))
    }


def _baselines(runs: Sequence[Record]) -> dict[str, Baseline]:
    """Sum up each metric of one case; where all seeds stall, no spread tells where they end."""
    images = runs[0].settings.get("test_images")
    stalled = all(run.metrics.get("information_gain", math.inf) < STALLED for run in runs)
    found = {}
    for metric in sorted(runs[0].metrics):
        values = tuple(run.metrics[metric] for run in runs)
        band: Band | None = None
        if stalled and metric in OF_A_STALL:
            band = Band(0.0, 1.0 if metric_row(metric).is_fraction else math.inf)
        elif all(map(math.isfinite, values)):
            band = expected_band(metric, values, test_images=images)
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


def renewed(
    records_root: Path,
    baselines_root: Path,
    *,
    release: str,
    tier: str,
    now: Present,
    removed: Collection[str] = (),
    keep: bool = False,
) -> list[Record]:
    """Read the records of a release and tier, and return what its baseline is to hold by them.

    Args:
        records_root: Folder of the records, with a folder for each release and tier.
        baselines_root: Folder of the baselines, laid out alike.
        release: Name of the release.
        tier: Name of the tier.
        now: What the records must have been made with.
        removed: Cases that the baseline may lose; every other of its cases must have records.
        keep: True where cases without records stay in the baseline as they are.

    Raises:
        RecordError: If there are no records, one of them is not valid or not of the present, one
            run stands for several seeds, a case is missing, or a folder lies elsewhere.
    """
    source, target = (folder_in(root, release, tier) for root in (records_root, baselines_root))
    files = files_by_case(source)
    records = [read_resident(path) for case in filter(has_baseline, files) for path in files[case]]
    traced = [read_resident(files[case][0]) for case in files if case.startswith(TRACED)]
    if not (records or traced):
        raise RecordError(f"{source} holds no records. Make them with `{MEASURE}`.")
    _check_present([*records, *traced], source, now)
    summarise(records)
    _check_own_runs(records)
    kept = [*map(_without_curves, records), *traced]
    return kept + _others(source, target, {record.case for record in kept}, removed, keep=keep)


def _others(
    source: Path, target: Path, cases: Collection[str], removed: Collection[str], *, keep: bool
) -> list[Record]:
    """Read the records of a baseline's other cases, if they are to stay.

    Raises:
        RecordError: If they are neither to stay nor to go.
    """
    former = files_by_case(target) if target.is_dir() else {}
    others = sorted(set(former) - set(cases) - set(removed))
    if others and not keep:
        raise RecordError(
            f"{source} holds no record of {', '.join(others)}, but {target} does. Run "
            f"`{MEASURE}` for all cases, name each case that is gone with --removed CASE, or let "
            "the others stay as they are with --keep."
        )
    return [read_resident(path) for case in others for path in former[case]]


def _without_curves(record: Record) -> Record:
    """Leave out the curves of a training, of which nothing is judged: nine tenths of its room."""
    return replace(record, curves={}) if record.question == "training" else record


def folder_in(root: Path, release: str, tier: str) -> Path:
    """Give the folder of a release and tier, which must lie in `root`.

    Raises:
        RecordError: If a name is a path, or a link leads elsewhere.
    """
    folder = root / release / tier
    plain = all(name and Path(name).name == name for name in (release, tier))
    if not plain or os.path.realpath(folder) != str(Path(os.path.realpath(root), release, tier)):
        raise RecordError(
            f"{folder} does not lie in {root}, expected the folder of one release and tier there, "
            "and no link. Give --release and --tier the names of a release and a tier."
        )
    return folder


def _check_present(records: Sequence[Record], source: Path, now: Present) -> None:
    """Refuse records that were made with what is no longer there.

    Raises:
        RecordError: If there is one.
    """
    stale = [(record, found) for record in records for found in [differences(record, now)] if found]
    if stale:
        record, found = stale[0]
        raise RecordError(
            f"{len(stale)} of {len(records)} records in {source} are stale, such as {record.name}: "
            f"{'; '.join(map(str, found))}. Make them anew with `{MEASURE}`."
        )


def _check_own_runs(records: Iterable[Record]) -> None:
    """Refuse one run that stands for several seeds: another seed gives other numbers.

    Raises:
        RecordError: If all numbers of two seeds of a case but those of times are the same.
    """
    seen: dict[tuple[str, str], Record] = {}
    for run in records:
        former = seen.setdefault((run.case, json_digest(encoded(_drawn(run)))), run)
        if former is not run:
            raise RecordError(
                f"case {run.case}: seed {run.seed} has the very numbers of seed {former.seed}, "
                f"expected a run of its own for each seed. Run `{MEASURE}`."
            )


def _drawn(record: Record) -> dict[str, Any]:
    """Pick the numbers that follow from the seed: all but times and memory, or else all.

    Times differ from run to run of the same seed.
    """
    drawn = {
        name: value for name, value in record.metrics.items() if not metric_row(name).per_machine
    }
    curves = {name: curve for name, curve in record.curves.items() if not name.endswith("_s")}
    return {"metrics": drawn or record.metrics, "curves": curves}


def gaps(root: Path, *, release: str, tier: str) -> dict[str, str]:
    """Read why cases of a release and tier have no baseline yet, by case, from `GAPS` in `root`.

    Raises:
        RecordError: If the file cannot be read, or is no table of `GAP_COLUMNS`.
    """
    path = root / GAPS
    if not os.path.lexists(path):
        return {}
    try:
        lines = list(csv.reader(io.StringIO(read_bytes(path).decode("utf-8")), strict=True))
    except (ValueError, csv.Error) as error:
        raise RecordError(
            f"{path} is no table: {error}. Restore it from version control."
        ) from error
    if not lines or any(len(line) != len(GAP_COLUMNS) for line in lines) or lines[0] != GAP_COLUMNS:
        raise RecordError(
            f"{path} has other columns than {', '.join(GAP_COLUMNS)} in each line. Restore it from "
            "version control."
        )
    return {case: why for *home, case, why in lines[1:] if home == [release, tier]}
