"""Tables: what every plot of a page is drawn from, and what stands beside it to be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup, escape

from suite.report.text import printable

if TYPE_CHECKING:
    from typing import TypeAlias

Cell: TypeAlias = "str | float | int | None"
"""What a table holds in one place."""

POINTS, LINES, CELLS, ESTIMATE = PLOTS = ("points", "lines", "cells", "estimate")
"""The kinds of plot that assets/page.js draws."""

UNIT_PX = 60  # of the heights that the style sheet has classes for
HEIGHTS = 16  # of these classes
NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


class Table(NamedTuple):
    """A table with its plot, if it has one: the script reads the numbers off the table.

    Attributes:
        caption: What it shows, in one sentence.
        columns: Heads of the columns; the first column names the rows.
        rows: A cell a column: text, a number, or None where there is nothing.
        plot: One of `PLOTS`; empty for a table alone.
        options: Of the plot, such as which column is drawn over which; see assets/page.js.
        note: How to read it, and what was thinned out.
        height: Of the plot, in units of `UNIT_PX`, from 2 to `HEIGHTS`.
        name: The element's id, by which another plot may draw beside its own; empty for none.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    plot: str = ""
    options: Mapping[str, Any] = NO_OPTIONS
    note: str = ""
    height: int = 4
    name: str = ""

    @property
    def json(self) -> Markup:
        """The options as JSON, safe between single quotes of an attribute."""
        return htmlsafe_json_dumps(_safe(self.options), separators=(",", ":"))

    @property
    def body(self) -> Markup:
        """The rows as HTML, without the ends of elements that HTML lets be left out."""
        lines = (
            f"<tr><th>{_cell(row[0])}{''.join(f'<td>{_cell(cell)}' for cell in row[1:])}"
            for row in self.rows
        )
        return Markup("".join(lines))  # noqa: S704 - every cell is escaped

    @property
    def step(self) -> int:
        """The height, within what the style sheet has classes for."""
        return min(max(self.height, 2), HEIGHTS)


def shown(cell: Cell) -> str:
    """Write a cell: numbers in four digits, nothing as nothing."""
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return "" if cell is None else printable(str(cell))


def _cell(cell: Cell) -> Markup:
    """Write a cell as HTML."""
    return escape(shown(cell))


def _safe(value: Any) -> Any:
    """Make all text in a JSON value safe to show, and numbers that are none null."""
    if isinstance(value, Mapping):
        return {printable(str(name)): _safe(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_safe(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return printable(value) if isinstance(value, str) else value
