"""Tests of the gate on what is committed: each row is made alike, no step or draw is worse."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from suite.cases import TRACED
from suite.judge.gate.draws import draw_findings
from suite.judge.gate.finding import NO_WORSE
from suite.judge.gate.steps import step_findings
from suite.judge.staleness import must_share
from suite.records import Record
from suite.releases import read_table
from suite.store import read_record

BASELINES = Path(__file__).parents[3] / "baselines"
TIER = "small"
DEFAULT = read_table()["default"]
ROWS = sorted(path.parent.name for path in BASELINES.glob(f"*/{TIER}"))


def traced(row: str) -> list[Record]:
    """Read the stored steps and draws of a row, of the seed that all rows have."""
    files = sorted((BASELINES / row / TIER).glob("*-seed0.json"))
    return [read_record(path) for path in files if path.name.startswith(TRACED)]


@pytest.fixture(scope="module")
def default() -> list[Record]:
    return traced(DEFAULT)


@pytest.mark.parametrize("row", [row for row in ROWS if row != DEFAULT])
def test_the_steps_and_draws_of_every_row_are_no_worse_than_the_default_ones(
    default: list[Record], row: str
) -> None:
    own = traced(row)
    assert Counter(record.question for record in own) == {"parity": 9, "random": 4}
    for judge in (step_findings, draw_findings):
        found = [*judge(default, own), *judge(own, default)]
        assert [each for each in found if each.decision != NO_WORSE] == []
        assert len(found) >= 2 * 4


@pytest.mark.parametrize("row", ROWS)
def test_the_records_of_every_row_were_made_alike(row: str) -> None:
    alike: dict[str, str] = {}
    for path in sorted((BASELINES / row / TIER).glob("*.json")):
        for what, value in must_share(read_record(path)).items():
            assert alike.setdefault(what, value) == value, path.name
