"""The page of traps: what is stated of each, and what each release does, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from suite.judge.traps import TRAPS, Trap, expected, generation
from suite.records import Record
from suite.report.grid import markdown_grid
from suite.report.text import markdown

STATED = ("call", "it is", "it matters, since")
KERAS = 3  # the first version of Keras that has behaviour of its own, whatever is below it
UNSEEN = "-"  # the record was made before there was this trap


def stated_markdown() -> str:
    """Write a table with a row for each trap: what it does since when, and why that matters."""
    rows = [(_title(trap), _stated(trap), trap.meaning) for trap in TRAPS]
    return markdown_grid(STATED, rows, marked_up=True)


def _stated(trap: Trap) -> str:
    """Write what is expected of a trap, the oldest version first."""
    (_, first), *later = trap.expected
    parts = [f"{_framework(since)}: **{markdown(outcome)}**" for since, outcome in later]
    return "; ".join([f"**{markdown(first)}**", *parts])


def _framework(since: str) -> str:
    """Name a version on the scale of `suite.judge.traps.generation`."""
    keras = int(since.partition(".")[0]) >= KERAS
    return f"from Keras {since}" if keras else f"from TensorFlow {since}"


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
    return (_title(trap), *(f"{cell}{mark}" for cell, mark in zip(cells, marks)))


def _title(trap: Trap) -> str:
    """Write the question of a trap as a link to its source."""
    return f"[{trap.question}]({trap.source})"


def _seen(trap: Trap, record: Record) -> str:
    """Look up what a release was seen to do."""
    outcomes = [row["outcome"] for row in record.statistics if row["trap"] == trap.name]
    return str(outcomes[0]) if outcomes else UNSEEN


def _mark(trap: Trap, record: Record, outcome: str) -> str:
    """Write an exclamation mark if an outcome is not as expected."""
    wanted = expected(trap, generation(record.environment["versions"]))
    return "" if outcome in (wanted, UNSEEN) else " !"
