"""Does each architecture reach its accuracy, under the plain and under the adversarial loss?"""

from __future__ import annotations

import pytest

from conftest import Check, Measure, chosen
from suite.cases import Case

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
    check(case, seed, chosen(measure(case, seed).metrics, METRICS))
