"""Whole gates: where nothing differs, hardly one says "no", and ten stored seeds decide most."""

from __future__ import annotations

import pytest

from suite.judge.gate.finding import NO_WORSE, WORSE
from tests.judge.gate.whole import laws, simulate

GATES = 8


def test_every_training_case_of_the_small_tier_is_drawn() -> None:
    drawn = laws()
    assert len(drawn) == 13
    assert all(law.names and len(law.residuals) == 10 for law in drawn)


@pytest.mark.parametrize(("stored", "fewest"), [(10, 5), (None, 7)])
def test_gates_of_one_release_end_with_yes(stored: int | None, fewest: int) -> None:
    """Of 100 gates 78 do with ten stored seeds, and 97 where both sides grow (docs/gate.md)."""
    ends = simulate(GATES, stored)
    assert ends[NO_WORSE] >= fewest
    assert ends[WORSE] == 0
