"""Tests of suite.report.grid: every cell is shown in full, at every width, on every output."""

from __future__ import annotations

import pytest
from rich.text import Text

from suite.report.grid import UNLIMITED, markdown_grid, terminal_width, text_grid

COLUMNS = ("case", "value")
LONG = "resnet50-w0.25-intended-bn-momentum-0.5"


def test_a_grid_has_a_head_a_rule_and_a_line_a_row() -> None:
    head, rule, *lines = text_grid(COLUMNS, [("a", "1"), ("b", "2")]).splitlines()
    assert head.split() == ["case", "value"]
    assert set(rule) == {"─"}
    assert [line.split() for line in lines] == [["a", "1"], ["b", "2"]]


def test_without_a_width_nothing_is_folded() -> None:
    text = text_grid(COLUMNS, [(LONG * 20, "1")])
    assert len(text.splitlines()) == 3
    assert len(LONG * 20) < UNLIMITED


def test_a_narrow_grid_folds_names_and_keeps_what_must_stay_whole() -> None:
    lines = text_grid(COLUMNS, [(LONG, "not comparable")], whole=["value"], width=30).splitlines()
    assert max(map(len, lines)) <= 30
    folded = [line for line in lines[2:] if line.strip()]
    assert "".join(line.split("not comparable")[0].strip() for line in folded) == LONG
    assert sum("not comparable" in line for line in folded) == 1


def test_brackets_are_no_markup() -> None:
    assert "case[red]" in text_grid(COLUMNS, [("case[red]", "1")])


def test_a_style_is_shown_in_colour_alone() -> None:
    rows = [("a", Text("regression", style="bold red"))]
    assert "\x1b" not in text_grid(COLUMNS, rows)
    assert "\x1b[1;31mregression" in text_grid(COLUMNS, rows, colour=True)


def test_markdown_escapes_the_bar_between_cells() -> None:
    assert markdown_grid(COLUMNS, [("a|b", "1")]).splitlines() == [
        "| case | value |",
        "| --- | --- |",
        "| a&#124;b | 1 |",
    ]


@pytest.mark.parametrize(("terminal", "width"), [(True, 72), (False, None)])
def test_the_width_is_that_of_a_terminal_and_there_is_none_without(
    monkeypatch: pytest.MonkeyPatch, *, terminal: bool, width: int | None
) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    assert terminal_width() == width
