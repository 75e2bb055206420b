"""Figures of the report: tables of runs and findings, each with the plot that is drawn from it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from suite.judge.bands import STALLED
from suite.judge.gate.finding import OUTCOME, Finding
from suite.judge.gate.interval import SHOWN
from suite.judge.metrics import METRICS
from suite.judge.study import SMOOTHED_STEPS
from suite.report.html.runs import (
    ACCURACIES,
    EPOCH,
    EVALUATIONS,
    GAINS,
    MOMENTS,
    STEP,
    Norm,
    Run,
    mean,
    mean_curves,
    spread,
)
from suite.report.html.table import CELLS, ESTIMATE, LINES, POINTS, Cell, Table

SEEDS = 20  # of a side and case that a table lists: more are thinned out, evenly by value
MAJORITY = 0.0594
"""Share of GTSRB's most frequent class in its test images (docs/data.md): what a network that
always says the same is right in. Of the training images it is 0.0574."""

DISTANCES = (
    ("mean", "mean_shift", "means, in standard deviations"),
    ("variance", "log_variance_ratio", "variances, as the logarithm of their ratio"),
)
"""The distances of BatchNorm's statistics: head of the columns, field, and how it is called."""

PHASES = ("Clean images run", "the attack", "adversarial images")  # of a case, in its order
LABELS = 10  # of a confusion matrix: those that changed most
NATS, FRACTION = "information gain (nats)", "accuracy"
GAIN_GROUP, ACCURACY_GROUP = "information gain", "accuracy"
ESTIMATE_COLUMNS = ("metric", "baseline", "candidate", "low", "high", "margin")
FINDING_COLUMNS = (
    "quantity", "decision", "difference", "interval", "margin", "smallest found", "in words",
)  # fmt: skip


def seeds(runs: Sequence[Run], case: str, *, name: str = "") -> Table:
    """Show every metric of every seed of a case: a point a seed, beside those of other releases."""
    names = metrics_of(runs)
    kept, left = _few(runs, names[0] if names else "")
    rows = [
        (
            f"{run.side} seed {run.record.seed}",
            run.side,
            *(run.record.metrics.get(n) for n in names),
        )
        for run in kept
    ]
    odd = sum(not math.isfinite(v) for run in kept for v in run.record.metrics.values())
    notes = [
        f"{left} more seeds are left out: of each release {SEEDS} are kept, evenly by value."
        if left
        else "",
        f"{odd} numbers are not finite: the table has them, the plot cannot." if odd else "",
    ]
    return Table(
        f"Every seed of {case}, release by release",
        ("run", "release", *names),
        rows,
        POINTS if names else "",
        {"x": "release", "choose": names},
        note=" ".join(filter(None, notes)),
        name=name,
    )


def metrics_of(runs: Iterable[Run]) -> list[str]:
    """List the metrics of runs, those that decide first."""
    there = {name for run in runs for name in run.record.metrics}
    primary = [name for name, row in METRICS.items() if row.primary and name in there]
    return [*primary, *sorted(there - {*primary})]


def _few(runs: Sequence[Run], metric: str) -> tuple[list[Run], int]:
    """Keep some seeds of each side, evenly by the value of a metric; count the others."""
    kept: list[Run] = []
    for side in dict.fromkeys(run.side for run in runs):
        own = [run for run in runs if run.side == side]
        if len(own) > SEEDS:
            own.sort(key=lambda run: (run.record.metrics.get(metric, math.nan), run.record.seed))
            own = [own[place] for place in spread(len(own), SEEDS)]
        kept += sorted(own, key=lambda run: run.record.seed)
    return kept, len(runs) - len(kept)


def findings_table(found: Sequence[Finding], case: str) -> Table:
    """List what the gate says of a case, with interval, margin and what would have been found."""
    return Table(
        f"What was judged of {case} (in brackets: diagnostics, which decide nothing)",
        FINDING_COLUMNS,
        [_finding(one) for one in found],
    )


def _finding(found: Finding) -> tuple[Cell, ...]:
    """Write a finding as a row; of its words those that say more than the numbers."""
    unit = f" {found.unit}" if found.unit else ""
    there = found.low is not None and found.high is not None
    return (
        found.metric if found.layer == OUTCOME else f"{found.layer}: {found.metric}",
        found.decision if found.primary else f"({found.decision})",
        "" if found.estimate is None else f"{found.estimate:+.3g}{unit}",
        f"{found.low:+.3g} to {found.high:+.3g}" if there else "",
        "" if found.margin is None else f"{found.margin:.3g}",
        "" if found.detectable is None else f"{found.detectable:.2g}",
        found.words if found.estimate is None else found.words.partition(")")[2].lstrip("; "),
    )


def estimates(
    found: Sequence[Finding], before: Sequence[Run], after: Sequence[Run], *, seeds_of: str
) -> Table | None:
    """Show the difference with its interval and the margin on the axis of the seeds themselves.

    Args:
        found: Findings about metrics, of which each can be chosen.
        before: The seeds of the baseline.
        after: Those of the candidate.
        seeds_of: The id of the figure whose table has the seeds of both.

    Returns:
        The figure; None where there is no difference, or no finite number to show it beside.
    """
    rows = [row for one in found for row in [_estimate(one, before)] if row]
    if not rows or not after:
        return None
    return Table(
        f"The seeds of {after[0].side} beside those of {before[0].side}, and how far they differ",
        ESTIMATE_COLUMNS,
        rows,
        ESTIMATE,
        {
            "seeds": seeds_of, "sides": [before[0].side, after[0].side],
            "choose": [row[0] for row in rows],
        },
        note="Diamond and bar: the difference with its interval, from the baseline's mean. The "
        "points are in the table of every seed.",
        height=3,
    )  # fmt: skip


def _estimate(found: Finding, before: Sequence[Run]) -> tuple[Cell, ...] | None:
    """Put a difference, its interval and its margin on the axis of the metric itself."""
    metric = found.metric
    values = [run.record.metrics[metric] for run in before if metric in run.record.metrics]
    middle = mean([value for value in values if math.isfinite(value)])
    if found.estimate is None or metric not in METRICS:
        return None
    if middle is None or not math.isfinite(middle):
        return None
    factor = SHOWN.get(METRICS[metric].unit, ("", 1.0))[1]
    margin = None if found.margin is None else -found.margin
    ends = (found.estimate, found.low, found.high, margin)
    placed = (None if end is None else f"{middle + end / factor:.5g}" for end in ends)
    return (metric, f"{middle:.5g}", *placed)


def curves(runs: Sequence[Run], *, name: str, beside: str = "", other: str = "") -> Table | None:
    """Show the training of a case on one release: gains and accuracies of both branches.

    Args:
        runs: The seeds of the case on that release.
        name: The figure's id.
        beside: The id of the figure to draw beside it: the control's, or a treatment's.
        other: What the case of that figure is called.
    """
    found, count = mean_curves(run.steps for run in runs)
    if not found:
        return None
    groups = {
        GAIN_GROUP: _group([n for n in GAINS if n in found], NATS, _chance()),
        ACCURACY_GROUP: _group([n for n in ACCURACIES if n in found], FRACTION, _majority()),
    }
    return Table(
        f"Training, step by step (mean over {_over([count], len(runs))})",
        [*found],
        _rows(found),
        LINES,
        {"x": STEP, **_lines(groups, beside, other)},
        note=f"{_phases(runs[0])}Running means over {SMOOTHED_STEPS} steps, of which "
        f"{len(found[STEP])} are kept.{_left(count, len(runs))}",
        height=5,
        name=name,
    )  # fmt: skip


def _phases(run: Run) -> str:
    """Say in which phase each branch of the training runs, as the case asks for."""
    phases = run.record.settings.get("phases")
    if not isinstance(phases, list) or len(phases) != len(PHASES):
        return ""
    told = [f"{branch} in the phase {phase}" for branch, phase in zip(PHASES, phases)]
    return f"{told[0]}, {told[1]}, {told[2]}. "


def evaluations(
    runs: Sequence[Run], *, name: str, beside: str = "", other: str = ""
) -> Table | None:
    """Show what a case reaches on test images after each epoch, in both phases."""
    found, count = mean_curves(run.epochs for run in runs)
    if not found:
        return None
    there = [name for name in EVALUATIONS if name in found]
    gains = [name for name in there if name.startswith("gain")]
    groups = {
        ACCURACY_GROUP: _group([n for n in there if n not in gains], FRACTION, _majority()),
        GAIN_GROUP: _group(gains, NATS, _chance()),
    }
    return Table(
        f"Test images after each epoch, in both phases (mean over {_over([count], len(runs))})",
        [*found],
        _rows(found),
        LINES,
        {"x": EPOCH, "names": len(found[EPOCH]) == 1, **_lines(groups, beside, other)},
        note=f"{_kept_epochs(found[EPOCH])}{_left(count, len(runs))}".strip(),
        height=6,
        name=name,
    )  # fmt: skip


def _kept_epochs(epochs: Sequence[float]) -> str:
    """Say how many epochs were thinned out, of which the last is always kept; nothing if none."""
    if len(epochs) == epochs[-1]:
        return ""
    return f"{len(epochs)} of {epochs[-1]:g} epochs are kept, evenly spread."


def _over(counts: Iterable[int], total: int) -> str:
    """Say over how many of some seeds a mean is: 5 seeds, 3 of 5 seeds, 1 to 3 of 5 seeds."""
    known = [*counts]
    few, many = min(known), max(known)
    of = "" if few == total else f" of {total}"
    return f"{many}{of} seeds" if few == many else f"{few} to {many}{of} seeds"


def _left(count: int, total: int) -> str:
    """Say how many of some seeds a mean of curves leaves out; nothing if none."""
    if count == total:
        return ""
    return f" Of {total} seeds {total - count} are left out: other steps or curves, or none."


def _rows(found: Mapping[str, Sequence[float]]) -> list[tuple[Cell, ...]]:
    """Turn columns into rows of three digits, which is what a line shows."""
    first, *others = found.values()
    return [(f"{x:g}", *(f"{y:.3g}" for y in ys)) for x, *ys in zip(first, *others)]


def _group(names: Sequence[str], label: str, rules: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Describe lines that share an axis, with what is drawn across it."""
    return {"y": [*names], "label": label, "rules": [*rules]}


def _lines(groups: Mapping[str, dict[str, Any]], beside: str, other: str) -> dict[str, Any]:
    """Write the options of lines, of which a group can be chosen, and of what is drawn beside."""
    there = {name: group for name, group in groups.items() if group["y"]}
    more = {"beside": beside, "besideName": other} if beside else {}
    return {"groups": there, "choose": [*there], **more}


def _chance() -> list[dict[str, Any]]:
    """Mark what knowing the classes' frequencies alone is worth, and below what it is a stall."""
    return [
        {"at": 0.0, "label": "chance", "below": True},
        {"at": STALLED, "label": "a stall is below"},
    ]


def _majority() -> list[dict[str, Any]]:
    """Mark what a constant answer is right in."""
    return [{"at": MAJORITY, "label": "always the most frequent class"}]


def norms(runs: Sequence[Run]) -> Table | None:
    """Show how far BatchNorm's moving statistics are from the batches', layer by layer over time.

    Returns:
        The figure, of which the means or the variances can be chosen; None without BatchNorm.
    """
    found: dict[tuple[str, int | None], list[Norm]] = {}
    for run in runs:
        for norm in {(norm.layer, norm.step): norm for norm in run.norms}.values():
            found.setdefault((norm.layer, norm.step), []).append(norm)
    if not found:
        return None
    layers = [*dict.fromkeys(layer for layer, _ in found)]
    steps = sorted({step for _, step in found}, key=lambda step: math.inf if step is None else step)
    heads = ["end" if step is None else f"step {step}" for step in steps]
    groups = {what: {"prefix": f"{short}, "} for short, _, what in DISTANCES}
    return Table(
        "Distance of BatchNorm's moving statistics from the batches', layer by layer",
        ("layer", *(f"{short}, {head}" for short, _, _ in DISTANCES for head in heads)),
        [
            (
                layer,
                *(
                    _mean(found.get((layer, step), ()), field)
                    for _, field, _ in DISTANCES
                    for step in steps
                ),
            )
            for layer in layers
        ],
        CELLS,
        {"signed": True, "groups": groups, "choose": [*groups]},
        note=f"Mean over {_over(map(len, found.values()), len(runs))}; stronger is further. "
        f"At most {MOMENTS} moments of a seed are kept.",
        height=2 + math.ceil(len(layers) / 4),
    )


def _mean(found: Sequence[Norm], field: str) -> str:
    """Write the mean of a field over seeds in two digits; nothing without one."""
    middle = mean([float(getattr(norm, field)) for norm in found])
    return "" if middle is None else f"{middle:.2g}"


def confusion(before: Sequence[Run], after: Sequence[Run]) -> Table | None:
    """Show where the predictions of two releases differ, over the seeds that both have.

    Returns:
        Test images more (or fewer) that the candidate takes for another label; None where one side
        told none.
    """
    sides = [{r.record.seed: r.confusion for r in own if r.confusion} for own in (before, after)]
    both = sorted(set(sides[0]) & set(sides[1]))
    if not both:
        return None
    changed: dict[tuple[str, str], int] = {}
    for sign, side in zip((-1, 1), sides):
        for seed in both:
            for pair, count in side[seed].items():
                changed[pair] = changed.get(pair, 0) + sign * count
    rows = _most([label for label, _ in changed], changed, 0)
    columns = _most([label for _, label in changed], changed, 1)
    shown = {
        pair for pair, count in changed.items() if count and pair[0] in rows and pair[1] in columns
    }
    moved = sum(map(abs, changed.values()))
    seen = sum(abs(changed[pair]) for pair in shown)
    rest = "" if seen == moved else f" {moved - seen} of {moved} changes are of other labels."
    return Table(
        f"Confusion matrix: what changed, in test images over seeds {', '.join(map(str, both))}"
        if moved
        else f"Confusion matrix: no prediction changed over seeds {', '.join(map(str, both))}",
        ("label", *(f"as {label}" for label in columns)),
        [(row, *(changed[row, c] if (row, c) in shown else None for c in columns)) for row in rows],
        CELLS if moved else "",
        {"signed": True, "text": True},
        note=f"More than before is positive.{rest}",
        height=2 + math.ceil(len(rows) / 3),
    )


def _most(labels: Iterable[str], changed: Mapping[tuple[str, str], int], side: int) -> list[str]:
    """Choose the labels of a side that changed most, in the order of their numbers."""
    sizes: dict[str, int] = dict.fromkeys(labels, 0)
    for pair, count in changed.items():
        sizes[pair[side]] += abs(count)
    chosen = sorted((label for label in sizes if sizes[label]), key=lambda label: -sizes[label])
    return sorted(chosen[:LABELS], key=lambda label: (len(label), label))
