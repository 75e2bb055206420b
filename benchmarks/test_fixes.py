"""Which fix mends the stall, how soon and at what cost, and on what does the stall depend?"""

from __future__ import annotations

import pytest

from conftest import Check, Measure, chosen
from suite.cases import Case


def judged(case: Case) -> tuple[str, ...]:
    """Return the metrics that `case` is judged by: without bands it is recorded alone."""
    return tuple(metric for metric, _ in case.bands)


@pytest.mark.table("fixes")
def test_fix_does_what_is_known_of_it(
    case: Case, seed: int, measure: Measure, check: Check
) -> None:
    check(case, seed, chosen(measure(case, seed).metrics, judged(case)))


@pytest.mark.table("grid")
def test_normalisation_of_the_adversarial_branch_decides(
    case: Case, seed: int, measure: Measure, check: Check
) -> None:
    check(case, seed, chosen(measure(case, seed).metrics, judged(case)))


@pytest.mark.table("low-rate", "small-batch", "large-batch", "large-images", "linear-head")
def test_control_stalls_under_other_settings(
    case: Case, seed: int, measure: Measure, check: Check
) -> None:
    check(case, seed, chosen(measure(case, seed).metrics, judged(case)))
