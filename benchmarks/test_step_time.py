"""What does an adversarial step cost beside a plain one, in time and memory?"""

from __future__ import annotations

import pytest

from conftest import Check, Measure, chosen
from suite.cases import Case

METRICS = ("adversarial_plain_ratio", "last_loss", "parameters")


@pytest.mark.table("step-time")
def test_adversarial_step_costs_its_ratio(
    case: Case, seed: int, measure: Measure, check: Check, request: pytest.FixtureRequest
) -> None:
    record = measure(case, seed, lambda: request.getfixturevalue("benchmark").pedantic)
    check(record, chosen(record.metrics, METRICS))


@pytest.mark.table("full-size")
def test_full_size_networks_make_real_steps(
    case: Case, seed: int, measure: Measure, check: Check, request: pytest.FixtureRequest
) -> None:
    record = measure(case, seed, lambda: request.getfixturevalue("benchmark").pedantic)
    check(record, chosen(record.metrics, METRICS))
