"""The parts of a diagnosis, for those who wait for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TypeAlias

Begin: TypeAlias = "Callable[[str], None]"
"""Hears which of `PARTS` begins."""

PHASES = "both phases"
STATISTICS = "statistics recomputed"
AGAIN = "the same images once more"
CHANGES = "one thing changed at a time"
SCALES = "other input scales"
STEPS = "training-phase steps"
PARTS = (PHASES, STATISTICS, AGAIN, CHANGES, SCALES, STEPS)
"""In the order in which they are made; some networks need not all."""


def untold(part: str) -> None:
    """Tell nobody which part begins."""
    del part


def place(part: str) -> str:
    """Say which part of how many this is."""
    return f"part {PARTS.index(part) + 1} of {len(PARTS)}: {part}"
