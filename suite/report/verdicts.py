"""The table of verdicts for a terminal, a log or Markdown, and its summary in plain words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.text import Text

from suite.judge.verdicts import NEW, NOT_COMPARABLE, PASS, REGRESSION, VANISHED, Verdict, shown
from suite.report.grid import markdown_grid, text_grid
from suite.report.text import printable

COLUMNS = ("case", "metric", "baseline", "measured", "band", "verdict")
STYLES = {PASS: "green", REGRESSION: "bold red", NEW: "yellow", VANISHED: "yellow"}


def text_table(
    verdicts: Iterable[Verdict], *, width: int | None = None, colour: bool = False
) -> str:
    """Write the verdicts as a table for a terminal or a log, a row each.

    A baseline reads mean ± standard deviation (seeds). Where the table is too wide, names are
    folded; nothing is cut off.

    Args:
        verdicts: In the order of the rows.
        width: Characters a line; None for as many as needed.
        colour: True to colour the verdicts with a terminal's control characters.
    """
    rows: list[list[str | Text]] = []
    for verdict in verdicts:
        *cells, outcome = _cells(verdict)
        rows.append([*cells, Text(outcome, style=STYLES.get(outcome, ""))])
    return text_grid(COLUMNS, rows, whole=("measured", "verdict"), width=width, colour=colour)


def markdown_table(verdicts: Iterable[Verdict]) -> str:
    """Write the same rows as a Markdown table."""
    return markdown_grid(COLUMNS, map(_cells, verdicts))


def summary(verdicts: Sequence[Verdict]) -> str:
    """Say in plain words how many checks passed, what failed, and what was not judged."""
    failed = [verdict for verdict in verdicts if verdict.failed]
    passed = sum(verdict.outcome == PASS for verdict in verdicts)
    lines = [_headline(passed, failed), *(f"  {verdict}" for verdict in failed)]
    waived = [v.reason for v in verdicts if v.outcome == NOT_COMPARABLE and not v.failed]
    lines += [f"not comparable: {waived.count(r)} ({r})" for r in dict.fromkeys(waived)]
    for outcome in (NEW, VANISHED):
        names = _names(verdicts, outcome)
        lines += [f"{outcome}: {', '.join(names)}"] if names else []
    return "\n".join(map(printable, lines))


def _cells(verdict: Verdict) -> tuple[str, ...]:
    """Write the cells of a row; the outcome is the last."""
    band = verdict.expected
    measured = "-" if verdict.measured is None else shown(verdict.measured, band)
    cells = verdict.subject, verdict.metric, verdict.baseline or "-", measured
    return (*cells, "-" if band is None else str(band), verdict.outcome)


def _headline(passed: int, failed: Sequence[Verdict]) -> str:
    """Write the first line of the summary."""
    checks = passed + len(failed)
    if not checks:
        return "Nothing was judged."
    text = f"{passed} of {checks} checks passed"
    count = f"{len(failed)} regression{'s' if len(failed) > 1 else ''}"
    return f"{text}; {count}:" if failed else f"{text}."


def _names(verdicts: Sequence[Verdict], outcome: str) -> list[str]:
    """Name the cases that have this outcome alone, and of the others the metrics that have it."""
    judged = {verdict.case for verdict in verdicts if verdict.outcome != outcome}
    names = [
        f"{verdict.metric} of {verdict.case}" if verdict.case in judged else verdict.case
        for verdict in verdicts
        if verdict.outcome == outcome
    ]
    return list(dict.fromkeys(names))
