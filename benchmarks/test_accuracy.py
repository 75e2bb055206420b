"""Does each architecture learn, under the plain and under the adversarial loss?

What is checked holds in any release; how an accuracy compares with another release's, the gate
tells (``nox -s gate``).
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from conftest import Check, Measure
from suite.cases import PLAIN, Case
from suite.judge.bands import judged


@pytest.mark.table("accuracy")
def test_network_learns(case: Case, seed: int, measure: Measure, check: Check) -> None:
    record = measure(case, seed)
    check(record, judged(record))


@pytest.mark.table("no-stall")
def test_adversarial_loss_costs_no_more_than_stated(
    case: Case, seed: int, measure: Measure, check: Check
) -> None:
    plain, adversarial = measure(replace(case, loss=PLAIN), seed), measure(case, seed)
    cost = plain.metrics["clean_accuracy"] - adversarial.metrics["clean_accuracy"]
    check(adversarial, {"clean_accuracy_cost": cost})
