"""Does each architecture reach its accuracy, under the plain and under the adversarial loss?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from conftest import Check, Measure, chosen
from suite.cases import PLAIN, Case

METRICS = (
    "clean_accuracy",
    "adversarial_accuracy",
    "training_phase_clean_accuracy",
    "training_phase_adversarial_accuracy",
    "train_accuracy",
    "phases_agree",
    "parameters",
)


@pytest.mark.table("accuracy")
def test_accuracy_lies_in_its_band(case: Case, seed: int, measure: Measure, check: Check) -> None:
    record = measure(case, seed)
    check(record, chosen(record.metrics, METRICS))


@pytest.mark.table("no-stall")
def test_adversarial_loss_costs_no_more_than_stated(
    case: Case, seed: int, measure: Measure, check: Check
) -> None:
    plain, adversarial = measure(replace(case, loss=PLAIN), seed), measure(case, seed)
    cost = plain.metrics["clean_accuracy"] - adversarial.metrics["clean_accuracy"]
    check(adversarial, {"clean_accuracy_cost": cost})
