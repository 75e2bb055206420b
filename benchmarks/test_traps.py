"""Does a call mean in this release what it is stated to mean there?"""

from __future__ import annotations

import pytest

from conftest import Check, Measure
from suite.cases import Case
from suite.traps import TRAPS, Trap, news


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.name)
@pytest.mark.table("traps")
def test_release_behaves_as_stated(case: Case, seed: int, trap: Trap, measure: Measure) -> None:
    record = measure(case, seed)
    [seen] = (row for row in record.statistics if row["trap"] == trap.name)
    changed = news(trap, seen["outcome"], seen["detail"], record.environment["versions"])
    if changed:
        pytest.fail(changed, pytrace=False)


@pytest.mark.table("traps")
def test_no_trap_is_unexpected(case: Case, seed: int, measure: Measure, check: Check) -> None:
    check(case, seed, {"unexpected": measure(case, seed).metrics["unexpected"]})
