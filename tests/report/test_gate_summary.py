"""Tests of suite.report.gate_summary: the answer first, a table, what is open; always short."""

from __future__ import annotations

from suite.report.gate_summary import MOST, summary
from tests.report.test_gate import ASIDE, DRAWN, KEPT, LOST, MISSING, OPEN, STEPS, told

COMMENT_CHARACTERS = 65_536  # of a comment on GitHub
ROWS = 18  # of the release table


def test_the_answer_is_first_then_the_layers_then_what_is_worse_open_and_missing() -> None:
    text = summary(told(KEPT, LOST, OPEN, STEPS, DRAWN, missing=MISSING))
    lines = text.splitlines()
    assert lines[0].startswith("### ❌ May you upgrade from tf-2.15 to tf-2.21? No: VGG19")
    assert lines[2] == "| judged by | worse | undecided | no worse |"
    assert lines[4:7] == [
        "| step map | 0 | 0 | 1 |",
        "| random parts | 0 | 0 | 1 |",
        "| outcome | 1 | 1 | 1 |",
    ]
    heads = [line for line in lines if line.startswith("**")]
    assert heads == ["**Worse**", "**Not decided**", "**Missing**"]
    assert "15 further seeds on each side would decide it, about 10 minutes" in text
    assert "the budget is spent" in text


def test_each_answer_has_its_own_mark_and_heads_of_nothing_are_left_out() -> None:
    passed, opened = summary(told(KEPT, STEPS)), summary(told(OPEN))
    assert passed.startswith("### ✅ May you upgrade from tf-2.15 to tf-2.21? Yes")
    assert opened.startswith("### ❔ May you upgrade from tf-2.15 to tf-2.21? Undecided")
    assert "**" not in passed


def test_diagnostics_are_not_counted() -> None:
    assert "| outcome | 0 | 0 | 1 |" in summary(told(KEPT, ASIDE))


def test_a_comment_holds_the_worst_summary_of_every_row() -> None:
    long = "x" * 10_000
    many = [LOST._replace(case=f"case-{n}", words=long) for n in range(500)]
    gone = [f"{n}: {n}{long}" for n in range(500)]
    text = summary(told(*many, *(f._replace(decision="undecided") for f in many), missing=(*gone,)))
    assert text.count("\n- and 490 more, in the report") == 3
    assert len(text.splitlines()) < 4 * MOST + 30
    assert len(summary(told(LOST, OPEN, missing=MISSING))) * ROWS < COMMENT_CHARACTERS


def test_names_of_strangers_are_no_markup() -> None:
    evil = LOST._replace(case="<img src=x>\n# Yes", words="@everyone see #1")
    text = summary(told(evil))
    assert "<img" not in text
    assert "\n# Yes" not in text
    assert "@everyone" not in text
