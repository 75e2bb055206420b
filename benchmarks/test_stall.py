"""Does ResNet-50 stall as published, does the fix mend it, and do the others train?"""

from __future__ import annotations

import pytest

from conftest import Check, Measure, chosen
from suite.cases import Case

SYMPTOMS = (
    "train_accuracy",
    "clean_accuracy",
    "information_gain",
    "adversarial_branch_gain",
    "classes_predicted",
)
MECHANISM = (
    "phases_agree",
    "statistics_moved",
    "statistics_mean_shift",
    "statistics_log_variance_ratio",
)


@pytest.mark.table("stall")
def test_control_stalls_and_its_fix_does_not(
    case: Case, seed: int, measure: Measure, check: Check
) -> None:
    check(case, seed, chosen(measure(case, seed).metrics, SYMPTOMS + MECHANISM))


@pytest.mark.table("no-stall")
def test_networks_without_batch_norm_do_not_stall(
    case: Case, seed: int, measure: Measure, check: Check
) -> None:
    check(
        case,
        seed,
        chosen(measure(case, seed).metrics, ("information_gain", "adversarial_branch_gain")),
    )
