"""Figures about all cases at once: trends over the releases, costs, paired times, locks."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from suite.errors import RecordError
from suite.judge.bands import bands_of
from suite.judge.gate.cost import MARGINS, Start
from suite.judge.metrics import METRICS
from suite.report.html.runs import Run, mean, spread
from suite.report.html.table import LINES, POINTS, Cell, Table
from suite.report.summary import COUNTED_COST

RATIO = "adversarial_plain_ratio"
TIMES = ("plain_step_s", "adversarial_step_s", RATIO)
PAIRS = 30  # of a start that a table lists: more are thinned out, evenly by ratio
MS = 1000.0


def trends(runs: Iterable[Run], sides: Sequence[str], *, tier: str) -> list[Table]:
    """Show the mean of each metric that decides, over all releases: a line a case.

    Args:
        runs: Of one tier.
        sides: The releases, in the order in which they are to stand.
        tier: Name of the tier.
    """
    values: dict[str, dict[tuple[str, str], list[float]]] = {}
    for run in runs:
        for metric, value in run.record.metrics.items():
            own = values.setdefault(metric, {})
            own.setdefault((run.side, run.record.case), []).append(value)
    primary = [name for name, row in METRICS.items() if row.primary and name in values]
    found = [_trend(metric, values[metric], sides, tier) for metric in primary]
    return [table for table in found if len(table.rows) > 1]  # of one release nothing is a trend


def _trend(
    metric: str, values: Mapping[tuple[str, str], Sequence[float]], sides: Sequence[str], tier: str
) -> Table:
    """Show the mean of one metric."""
    cases = sorted({case for _, case in values})
    there = [side for side in sides if any(side == own for own, _ in values)]
    rows = [(side, *(mean(values.get((side, case), ())) for case in cases)) for side in there]
    unit = METRICS[metric].unit
    return Table(
        f"{metric} of the {tier} tier, release by release (mean over the seeds)",
        ("release", *cases),
        rows,
        LINES,
        {"x": "release", "names": True, "y": cases, "label": f"{metric} ({unit})"},
        height=5 + len(cases) // 4,
    )


def costs(runs: Sequence[Run]) -> Table | None:
    """Show what an adversarial step costs in plain steps, beside the least that it must cost."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if RATIO in run.record.metrics:
            groups.setdefault((run.record.case, run.side), []).append(run)
    if not groups:
        return None
    rows = [_cost(case, side, own) for (case, side), own in groups.items()]
    floors = {row[-2] for row in rows if isinstance(row[-2], float)}
    return Table(
        "An adversarial step in plain steps, beside its floor",
        ("network, release", "release", "plain step (ms)", "adversarial step (ms)", "ratio",
         "floor", "limit"),
        rows,
        POINTS,
        {
            "x": "release", "y": "ratio", "series": "network, release",
            "label": "adversarial step / plain step",
            "rules": [
                *({"at": floor, "label": "floor: a plain step is part of it"} for floor in floors),
                {"at": COUNTED_COST, "label": "by its passes"},
            ],
        },
        note="Medians over the seeds. Times of different machines or hours say nothing of each "
        "other; both steps of a ratio were taken in turn. Floor and limit are those of "
        "suite/judge/bands.csv.",
        height=5,
    )  # fmt: skip


def _cost(case: str, side: str, runs: Sequence[Run]) -> tuple[Cell, ...]:
    """Write the times of a network on a release."""
    plain, adversarial, ratio = (
        _median([run.record.metrics[name] for run in runs if name in run.record.metrics])
        for name in TIMES
    )
    try:
        band = bands_of(runs[0].record).get(RATIO)
    except RecordError:  # it does not say which framework measured it
        band = None
    limits = (band.low, band.high) if band else (None, None)
    return (f"{case}", side, _times(plain, MS), _times(adversarial, MS), ratio, *limits)


def _median(values: Sequence[float]) -> float | None:
    """Give the median; None without a number."""
    return statistics.median(values) if values else None


def _times(value: float | None, factor: float) -> float | None:
    """Multiply a number, if there is one."""
    return None if value is None else value * factor


def pairs(case: str, starts: Sequence[Start], before: str, after: str) -> Table:
    """Show the times that workers of two releases took in turn, pair by pair."""
    rows: list[tuple[Cell, ...]] = []
    count = sum(len(start.step_s) for start in starts)
    for number, start in enumerate(starts, 1):
        ordered = sorted(start.step_s, key=lambda pair: pair[1] / pair[0])
        for place in spread(len(ordered), PAIRS):
            old, new = ordered[place]
            rows.append((f"pair {place + 1}", f"start {number}", old * MS, new * MS, new / old))
    margin = 1 + MARGINS["time"]
    return Table(
        f"{case}: steps of {before} and {after} made in turn",
        ("pair", "start", f"{before} (ms)", f"{after} (ms)", "ratio"),
        rows,
        POINTS,
        {
            "x": "start", "y": "ratio", "label": f"time on {after} / on {before}",
            "rules": [
                {"at": 1.0, "label": "alike", "below": True}, {"at": margin, "label": "margin"},
            ],
        },
        note=f"{len(rows)} of {count} pairs, evenly by their ratio."
        if len(rows) < count
        else f"All {count} pairs.",
    )  # fmt: skip


def locks(pins: Mapping[str, Mapping[str, str]]) -> Table | None:
    """List the versions that the locks of releases hold, package by package."""
    packages = sorted({name for own in pins.values() for name in own})
    if not packages:
        return None
    rows = [(name, *(own.get(name, "") for own in pins.values())) for name in packages]
    return Table("Versions in the locks of the releases", ("package", *pins), rows)


def lock_difference(pins: Mapping[str, Mapping[str, str]], before: str, after: str) -> Table | None:
    """List the packages whose versions differ between the locks of two releases."""
    old, new = pins.get(before), pins.get(after)
    if old is None or new is None:
        return None
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    rows = [(name, old.get(name, "not there"), new.get(name, "not there")) for name in names]
    return Table(
        f"What differs between the locks of {before} and {after}", ("package", before, after), rows
    )
