"""The page of traps: what each release does in each trap, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from suite.judge.traps import TRAPS, Trap, expected, generation
from suite.records import Record
from suite.report.grid import markdown_grid
from suite.report.text import markdown

UNSEEN = "-"  # the record was made before there was this trap


def traps_markdown(records: Iterable[Record]) -> str:
    """Write a table with a row for each trap and a column for each release, as records come in.

    An outcome that differs from the release before is bold; one that is not as expected has an
    exclamation mark.

    Args:
        records: Records of the question "traps" count, the first of each release; others are
            passed over.
    """
    releases: dict[str, Record] = {}
    for record in records:
        if record.question == "traps":
            releases.setdefault(record.release, record)
    rows = [_row(trap, list(releases.values())) for trap in TRAPS]
    return markdown_grid(("trap", *map(markdown, releases)), rows, marked_up=True)


def _row(trap: Trap, records: Sequence[Record]) -> tuple[str, ...]:
    """Write the cells of one trap."""
    seen = [_seen(trap, record) for record in records]
    cells = [
        f"**{markdown(new)}**" if old not in (new, UNSEEN) and new != UNSEEN else markdown(new)
        for old, new in zip([UNSEEN, *seen], seen)
    ]
    marks = [_mark(trap, record, outcome) for record, outcome in zip(records, seen)]
    title = f"[{trap.question}]({trap.source})"
    return (title, *(f"{cell}{mark}" for cell, mark in zip(cells, marks)))


def _seen(trap: Trap, record: Record) -> str:
    """Look up what a release was seen to do."""
    outcomes = [row["outcome"] for row in record.statistics if row["trap"] == trap.name]
    return str(outcomes[0]) if outcomes else UNSEEN


def _mark(trap: Trap, record: Record, outcome: str) -> str:
    """Write an exclamation mark if an outcome is not as expected."""
    wanted = expected(trap, generation(record.environment["versions"]))
    return "" if outcome in (wanted, UNSEEN) else " !"
