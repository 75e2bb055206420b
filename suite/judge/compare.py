"""Comparison: every number of new records judged by the baseline of their cases."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from suite.judge.bands import Band, bands_of
from suite.judge.baselines import REBASELINE, Baseline, by_case, summarise
from suite.judge.metrics import LESS, metric_row
from suite.judge.verdicts import (
    NEW,
    NOT_COMPARABLE,
    PASS,
    REGRESSION,
    VANISHED,
    WHOLE,
    Verdict,
    judge,
    shown,
)
from suite.records import Record

NO_RECORD = "no record of the case"
NO_BASELINE = "no baseline of the case"
NEITHER = "neither a record nor a baseline of the case"
NO_NUMBER = "no number in the record of the case"
ASK = "not judged, it depends on machine and hour: nox -s gate measures two releases side by side"


def compare(baseline: Sequence[Record], measured: Iterable[Record]) -> list[Verdict]:
    """Judge every number of the measured records by the baseline, each seed by itself.

    Args:
        baseline: Records of one release and tier, at least `MIN_SEEDS` seeds a case.
        measured: Records of the same tier.

    Returns:
        The verdicts, case by case. A case or metric that only one side has is new or vanished, and
        what was measured from other data or under other settings is not judged at all.

    Raises:
        RecordError: If the baseline cannot be used; see `summarise`.
    """
    expected, former, runs = summarise(baseline), by_case(baseline), by_case(measured)
    verdicts = []
    for case in sorted({*expected, *runs}):
        for record in runs.get(case, []):
            if not record.metrics:
                verdicts.append(_vanished(case, _seed(record), WHOLE, NO_NUMBER))
            elif case in expected:
                verdicts += _judge_record(record, former[case][0], expected[case])
            else:
                verdicts.append(_new(record, WHOLE, NO_BASELINE))
        if case not in runs:
            verdicts.append(_vanished(case, "", WHOLE, NO_RECORD))
    return verdicts


def _judge_record(
    record: Record, former: Record, expected: Mapping[str, Baseline]
) -> list[Verdict]:
    """Judge one record of a case that has a baseline; `former` is a record of this baseline."""
    obstacles = _other_settings(record, former) + _other_data(record, former)
    if obstacles:
        return obstacles
    verdicts = []
    for metric in sorted({*expected, *record.metrics}):
        if metric not in expected:
            verdicts.append(_new(record, metric, "measured, and not in the baseline"))
        elif metric not in record.metrics:
            reason = "in the baseline, and not measured"
            verdicts.append(_vanished(record.case, _seed(record), metric, reason))
        elif metric_row(metric).per_machine:
            verdicts.append(_of_the_moment(record, metric, expected[metric]))
        else:
            verdicts.append(_judge_metric(record, metric, expected[metric]))
    return verdicts


def _judge_metric(record: Record, metric: str, expected: Baseline) -> Verdict:
    """Judge one number: by the band of the baseline, narrowed to the band of its case."""
    if expected.band is None:
        return _judge_not_finite(record, metric, expected)
    value = record.metrics[metric]
    absolute = bands_of(record).get(metric, Band(-math.inf, math.inf))
    band = _narrowed(expected.band, absolute)
    if band is None and value in absolute:
        return _other_stack(record, metric, expected, absolute)
    verdict = judge(
        record.case, metric, value, band or absolute, seed=_seed(record), baseline=str(expected)
    )
    return replace(verdict, reason=f"{verdict.reason} (baseline {expected})")


def _judge_not_finite(record: Record, metric: str, expected: Baseline) -> Verdict:
    """Judge one number by a baseline that holds NaN or infinity: only the same values pass."""
    value = record.metrics[metric]
    known = str(value) in {str(v) for v in expected.values if not math.isfinite(v)}
    reason = (
        f"{metric} is {shown(value)}, the baseline holds {expected}: of such a one, only "
        "what is not finite in it passes"
    )
    outcome = PASS if known else REGRESSION
    return Verdict(record.case, _seed(record), metric, value, None, str(expected), outcome, reason)


def _narrowed(band: Band, absolute: Band) -> Band | None:
    """Intersect the band of a baseline with the `absolute` one of the case; None if apart."""
    low, high = max(band.low, absolute.low), min(band.high, absolute.high)
    return Band(low, high) if low <= high else None


def _other_stack(record: Record, metric: str, expected: Baseline, absolute: Band) -> Verdict:
    """Say that a number is right on its stack, and that the baseline is of another stack."""
    value = record.metrics[metric]
    reason = (
        f"{metric} is {shown(value, absolute)}, as it must be on the stack that measured it "
        f"({absolute}); the baseline, {expected}, is of a stack where it must be another"
    )
    return Verdict(
        record.case, _seed(record), metric, value, absolute, str(expected), NOT_COMPARABLE, reason
    )


def _factor(metric: str, value: float, expected: Baseline) -> str:
    """Write how many times the baseline a time, a rate or memory is; nothing of a ratio."""
    row = metric_row(metric)
    if row.unit == "1" or not value or not expected.mean:
        return ""
    factor = expected.mean / value if row.worse == LESS else value / expected.mean
    words = f"{factor:.3g} times the memory" if row.unit == "bytes" else f"slowdown {factor:.3g}"
    return f", {words}"


def _other_settings(record: Record, former: Record) -> list[Verdict]:
    """Say that the case asks something else than the baseline's; nothing if not."""
    then, now = (
        {**run.settings, "the record's question": run.question} for run in (former, record)
    )
    changed = [
        f"{name} is {now.get(name, 'absent')}, the baseline has {then.get(name, 'absent')}"
        for name in sorted({*then, *now})
        if then.get(name, "absent") != now.get(name, "absent")
    ]
    if not changed:
        return []
    reason = (
        f"the case is not the one the baseline measured, so nothing was judged: "
        f"{'; '.join(changed)}. If that is meant, run `{REBASELINE}`"
    )
    return [_unjudged(record, "settings", reason)]


def _other_data(record: Record, former: Record) -> list[Verdict]:
    """Say that the data are not those of the baseline; nothing if they are."""
    now, then = record.environment["data_digest"], former.environment["data_digest"]
    if now == then:
        return []
    reason = (
        "the data are not those of the baseline, so nothing was judged: data_digest is "
        f"{now}, expected {then}"
    )
    return [_unjudged(record, "data_digest", reason)]


def _unjudged(record: Record, what: str, reason: str) -> Verdict:
    """Say that a whole record cannot be judged, which no comparison may pass over."""
    return Verdict(
        record.case, _seed(record), what, None, None, "", NOT_COMPARABLE, reason, blocking=True
    )


def _of_the_moment(record: Record, metric: str, expected: Baseline) -> Verdict:
    """Tell a time, memory or a ratio of times; it is judged by the band of its case, if it has one.

    What the baseline took is another machine's, or another hour's: the same step took 0.17 s and
    0.51 s on one machine.
    """
    value, own = record.metrics[metric], bands_of(record)
    absolute = own.get(metric, Band(-math.inf, math.inf))  # of which NaN is outside
    verdict = judge(
        record.case, metric, value, absolute, seed=_seed(record), baseline=str(expected)
    )
    note = f"(baseline {expected}{_factor(metric, value, expected)})"
    if metric in own or verdict.failed:
        return replace(verdict, reason=f"{verdict.reason} {note}")
    reason = f"{metric} is {shown(value)} {note}: {ASK}"
    return replace(verdict, outcome=NOT_COMPARABLE, expected=None, reason=reason)


def _new(record: Record, metric: str, reason: str) -> Verdict:
    """Say that a metric, or all of them, has no baseline."""
    value = record.metrics.get(metric)
    return Verdict(record.case, _seed(record), metric, value, None, "", NEW, reason)


def _vanished(case: str, seed: str, metric: str, reason: str) -> Verdict:
    """Say that the baseline has a case or a metric that was not measured."""
    return Verdict(case, seed, metric, None, None, "", VANISHED, reason)


def _seed(record: Record) -> str:
    """Name the seed of a record."""
    return f"seed {record.seed}"
