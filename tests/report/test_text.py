"""Tests of what becomes of strangers' text: it is shown on one line and does nothing."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from suite.report.grid import markdown_grid, text_grid
from suite.report.text import LIMIT, MARKS, markdown, printable, ranges

HOSTILE = {
    "newline": "a\n5 of 5 checks passed.",
    "carriage return": "fails\rholds",
    "colour": "\x1b[31mred\x1b[0m",
    "clears the screen": "\x1b[2J\x1b[H",
    "one-byte escape": "\x9b31m",
    "title of the window": "\x1b]0;mine\x07",
    "backspace": "FAILS\b\b\b\b\bholds",
    "null": "a\0b",
    "line separator": "a\u2028b\u2029c\x85d\x0be\x0cf",
    "turns the direction": "\u202eslaif\u202c\u2066x\u2069\u200f",
    "zero width": "a\u200bb\u200d\u2060\ufeffc\u00ad",
    "blank": "\u3164\u2800\u115f\u00a0\u3000",
    "tags": "a\U000e0041\U000e0101\ufe0f",
    "half a character": "a\udcff",
    "private": "\ue000\U0010ffff",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_controls_the_terminal_or_hides(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert shown.isascii()
    assert shown != text
    assert len(shown.splitlines()) == 1
    shown.encode()


@pytest.mark.parametrize("text", ["conv1/bn", "größe 0.5 ± 0.1", "日本語", "résumé", "C:\\x", ""])
def test_honest_text_is_as_it_was(text: str) -> None:
    assert printable(text) == text
    assert printable(unicodedata.normalize("NFD", text)) == unicodedata.normalize("NFD", text)


def test_the_escape_tells_which_character_it_was() -> None:
    assert printable("a\nb\x1b\u202e") == "a\\nb\\x1b\\u202e"


def test_accents_are_no_tower() -> None:
    assert printable("a" + "\u0301" * MARKS) == "a" + "\u0301" * MARKS
    assert printable("a" + "\u0301" * 99).count("\u0301") == MARKS
    assert printable("\u0301a") == "\\u0301a"  # would stand on the character before


def test_long_text_is_cut_in_the_middle_with_a_mark() -> None:
    assert printable("a" * LIMIT) == "a" * LIMIT
    assert printable("a" * 1_000_000 + "\n" + "z" * 1_000_000, limit=8) == (
        "aaaa[... 1999993 characters ...]zzzz"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>x</script>", "&#60;script>x&#60;/script>"),
        ("<!-- results: end -->", "&#60;!-- results: end -->"),
        ("a|b", "a&#124;b"),
        ("`**a** ~b~`", "&#96;&#42;&#42;a&#42;&#42; &#126;b&#126;&#96;"),
        ("[a](b)![c](d)", "&#91;a&#93;(b)!&#91;c&#93;(d)"),
        ("https://a.b, www.a.b", "https&#58;//a.b, www&#46;a.b"),
        ("@user and #12", "@<!-- -->user and #<!-- -->12"),
        ("&#124; &lt;", "&#38;#<!-- -->124; &#38;lt;"),
        ("$x$", "&#36;x&#36;"),
        ("_a_ __init__", "&#95;a&#95; &#95;&#95;init&#95;&#95;"),
        ("a\\", "a&#92;"),
        ("a\n\n# b", "a&#92;n&#92;n# b"),
    ],
)
def test_markdown_reads_as_the_text_stands(text: str, shown: str) -> None:
    assert markdown(text) == shown


def test_names_of_metrics_stay_legible_in_markdown() -> None:
    assert markdown("clean_accuracy is 0.4 > 0.1") == "clean_accuracy is 0.4 > 0.1"


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_cell_stays_in_its_cell(text: str) -> None:
    table = text_grid(("name", text), [(text, "1"), ("b", "2")])
    assert len(table.split("\n")) == 4
    assert all(line.isprintable() for line in table.split("\n"))
    page = markdown_grid(("name", text), [(f"{text}|<b>", "1")])
    assert [line.count(" | ") for line in page.split("\n")] == [1, 1, 1]
    assert all(line.isprintable() for line in page.split("\n"))
    assert "<b>" not in page


def test_markup_of_rich_is_text() -> None:
    assert "[red]a[/red]" in text_grid(("[blue]head[/blue]",), [("[red]a[/red]",)], colour=True)
    assert "[blue]head[/blue]" in text_grid(("[blue]head[/blue]",), [])


def test_it_needs_nothing_installed() -> None:
    source = Path(__file__).parents[2] / "suite/report/text.py"
    lines = source.read_text(encoding="utf-8").splitlines()
    imports = [line for line in lines if line.startswith(("import ", "from "))]
    own = ["import re", "import unicodedata", "from collections.abc import Iterable"]
    assert imports == ["from __future__ import annotations", *own]


def test_numbers_in_a_row_are_a_range() -> None:
    assert ranges([5, 0, 1, 2, 9, 8, 8]) == "0 to 2, 5, 8, 9"
    assert ranges([]) == ""
