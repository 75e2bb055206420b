"""What do the random parts draw: initial weights, and the masks of dropout?

The bands hold what is true of any release; the gate compares the draws of two releases.
"""

from __future__ import annotations

import pytest

from conftest import Check, Measure, chosen
from suite.cases import Case
from suite.judge.bands import bands_of


@pytest.mark.table("random")
def test_random_parts_are_drawn_as_documented(
    case: Case, seed: int, measure: Measure, check: Check
) -> None:
    record = measure(case, seed)
    check(record, chosen(record.metrics, bands_of(record)))
