"""Grids: rows of cells, written as a table for a terminal, a log or Markdown."""

from __future__ import annotations

import io
import sys
from collections.abc import Collection, Iterable, Sequence
from shutil import get_terminal_size

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from suite.report.text import markdown, printable

UNLIMITED = 10_000  # characters a line in a pipe, a file or a log, so that nothing wraps


def text_grid(
    columns: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    *,
    whole: Collection[str] = (),
    width: int | None = None,
    colour: bool = False,
) -> str:
    """Write rows of cells as a table for a terminal or a log.

    Args:
        columns: Heads of the columns.
        rows: Cells, one a column; anybody's text, unless it is a `Text`.
        whole: Columns whose cells are never folded.
        width: Characters a line; None for as many as needed.
        colour: True to write the styles of the cells as a terminal's control characters.
    """
    table = Table(box=box.SIMPLE, pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(Text(printable(name)), overflow="fold", no_wrap=name in whole)
    for row in rows:
        table.add_row(*(Text(printable(c)) if isinstance(c, str) else c for c in row))
    text = io.StringIO()
    Console(file=text, width=width or UNLIMITED, force_terminal=colour).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip("\n")


def markdown_grid(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, marked_up: bool = False
) -> str:
    """Write rows of cells as a Markdown table.

    Args:
        columns: Heads of the columns.
        rows: Cells, one a column; anybody's text.
        marked_up: True where the cells are Markdown already, made safe by the caller.
    """
    cells = [columns, *rows] if marked_up else [map(markdown, line) for line in (columns, *rows)]
    heads, *lines = [f"| {' | '.join(line)} |" for line in cells]
    return "\n".join([heads, f"|{' --- |' * len(columns)}", *lines])


def terminal_width() -> int | None:
    """Measure the terminal that standard output goes to, in characters; None if it is not one."""
    return (get_terminal_size().columns or 80) if sys.stdout.isatty() else None
