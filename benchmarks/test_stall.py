"""Does ResNet-50 stall as published, does the fix mend it, and do the others train?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from conftest import Check, Measure, chosen
from suite.cases import Case
from suite.judge.bands import judged


@pytest.mark.table("stall")
def test_control_stalls_and_its_fix_does_not(
    case: Case, seed: int, measure: Measure, check: Check
) -> None:
    record = measure(case, seed)
    check(record, judged(record))


@pytest.mark.table("no-stall")
def test_networks_without_batch_norm_do_not_stall(
    case: Case, seed: int, measure: Measure, check: Check
) -> None:
    record = measure(case, seed)
    check(record, chosen(record.metrics, ("information_gain", "adversarial_branch_gain")))


@pytest.mark.table("no-change")
def test_momentum_changes_nothing_where_statistics_are_never_updated(
    case: Case, seed: int, measure: Measure, check: Check
) -> None:
    control, treated = measure(replace(case, fix="none"), seed), measure(case, seed)
    losses = (record.curves["step_loss"] for record in (control, treated))
    difference = float(np.max(np.abs(np.subtract(*losses))))
    check(treated, {"difference_from_control": difference})
