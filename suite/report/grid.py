"""Rows of cells as a table for a terminal, a log or Markdown."""

from __future__ import annotations

import io
import sys
from collections.abc import Collection, Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

UNLIMITED = 10_000  # characters a line, where nothing wraps: a pipe, a file, a log


def text_grid(
    columns: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    *,
    whole: Collection[str] = (),
    width: int | None = None,
    colour: bool = False,
) -> str:
    """Return rows of cells as a table for a terminal or a log; the columns `whole` never fold."""
    table = Table(box=box.SIMPLE, pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name in whole)
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    text = io.StringIO()
    Console(file=text, width=width or UNLIMITED, force_terminal=colour).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip("\n")


def markdown_grid(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows of cells as a Markdown table."""
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines
    )


def terminal_width() -> int | None:
    """Return the width of the terminal that standard output is; None if it is none."""
    return Console().width if sys.stdout.isatty() else None
