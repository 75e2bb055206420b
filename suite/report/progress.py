"""What a benchmark run shows meanwhile: a line for each case that ends, with its main numbers."""

from __future__ import annotations

import textwrap

from suite.records import Record
from suite.report.grid import terminal_width
from suite.report.text import printable

HANG = 6  # characters; how far a folded line is moved in
BRIEF = (
    ("clean_accuracy", 100, "{:.1f} % clean"),
    ("adversarial_accuracy", 100, "{:.1f} % attacked"),
    ("information_gain", 1, "gain {:+.2f} nats"),
    ("adversarial_branch_gain", 1, "branch {:+.2f}"),
    ("raised_fraction", 100, "the loss rises in {:.0f} % of the images"),
    ("adversarial_plain_ratio", 1, "a step costs {:.1f} plain ones"),
    ("unexpected", 1, "{:.0f} calls do otherwise than expected"),
)
"""The metrics that sum a case up, the factor that they are shown with, and the words."""


def in_brief(record: Record) -> str:
    """Give the main numbers of a case in a few words; none if it has others."""
    found = record.metrics
    return ", ".join(text.format(factor * found[m]) for m, factor, text in BRIEF if m in found)


def case_line(outcome: str, case: str, words: str, *, place: str, seconds: float) -> str:
    """Write the line that a case gets when it ends, folded to the terminal.

    Args:
        outcome: What became of it.
        case: Its name.
        words: Its main numbers, or why there are none.
        place: Its number, and that of all.
        seconds: How long it took.
    """
    text = printable(f"{place} {outcome}  {case}{': ' if words else ''}{words}, {seconds:.0f} s")
    return "\n".join(
        textwrap.wrap(
            text,
            terminal_width() or len(text) + 1,
            subsequent_indent=" " * HANG,
            break_on_hyphens=False,
        )
    )
