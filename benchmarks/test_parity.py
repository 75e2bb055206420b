"""What does a step do, from the same states and batches in every release?

One release alone shows little of it: ``python -m suite parity`` compares the records.
"""

from __future__ import annotations

import pytest

from conftest import Check, Measure, chosen
from suite.cases import Case
from suite.judge.bands import bands_of


@pytest.mark.table("parity")
def test_steps_are_traced(case: Case, seed: int, measure: Measure, check: Check) -> None:
    record = measure(case, seed)
    check(record, chosen(record.metrics, bands_of(record)))
