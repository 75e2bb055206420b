"""Which fix mends the stall, how soon and at what cost, and on what does the stall depend?"""

from __future__ import annotations

import pytest

from conftest import Check, Measure
from suite.cases import Case
from suite.judge.bands import judged


@pytest.mark.table("fixes")
def test_fix_does_what_is_known_of_it(
    case: Case, seed: int, measure: Measure, check: Check
) -> None:
    record = measure(case, seed)
    check(record, judged(record))


@pytest.mark.table("grid")
def test_normalisation_of_the_adversarial_branch_decides(
    case: Case, seed: int, measure: Measure, check: Check
) -> None:
    record = measure(case, seed)
    check(record, judged(record))


@pytest.mark.table("photographs")
def test_weights_of_photographs_stall_alike(
    case: Case, seed: int, measure: Measure, check: Check
) -> None:
    record = measure(case, seed)
    check(record, judged(record))


@pytest.mark.table("low-rate", "small-batch", "large-batch", "large-images", "linear-head")
def test_control_stalls_under_other_settings(
    case: Case, seed: int, measure: Measure, check: Check
) -> None:
    record = measure(case, seed)
    check(record, judged(record))
