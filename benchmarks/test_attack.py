"""Is CleverHans' attack the fast gradient method, and does it leave the model alone?"""

from __future__ import annotations

import pytest

from conftest import Check, Measure, chosen
from suite.cases import Case

METRICS = (
    "perturbation_max",
    "perturbed_fraction",
    "pixel_min",
    "pixel_max",
    "linear_error",
    "linear_label_gap",
    "loss_rise",
    "raised_fraction",
    "state_change",
    "parameters",
)


@pytest.mark.table("attack")
def test_attack_is_fgsm_on_the_predicted_labels(
    case: Case, seed: int, measure: Measure, check: Check
) -> None:
    record = measure(case, seed)
    check(record, chosen(record.metrics, METRICS))
