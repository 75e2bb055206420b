"""Does a call mean in this release what it is expected to mean there?"""

from __future__ import annotations

import pytest

from conftest import Check, Measure
from suite.cases import Case
from suite.judge.traps import TRAPS, Trap, news, unexpected


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.name)
@pytest.mark.table("traps")
def test_release_behaves_as_expected(case: Case, seed: int, trap: Trap, measure: Measure) -> None:
    changed = news(trap, measure(case, seed))
    if changed:
        pytest.fail(changed, pytrace=False)


@pytest.mark.table("traps")
def test_no_trap_is_unexpected(case: Case, seed: int, measure: Measure, check: Check) -> None:
    record = measure(case, seed)
    check(record, {"unexpected": float(unexpected(record))})
