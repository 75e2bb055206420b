"""Tests that planted faults are found: a few of them here, all of them by `nox -s faults`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from suite.judge.gate.finding import NO_WORSE
from suite.stacks.protocol import Stack
from tests.faults import small
from tests.faults.bench import agreed, measured
from tests.faults.bookkeeping import BOOKKEEPING, answered, made_up, said
from tests.faults.fault import Fault, Tampering
from tests.faults.score import Honest, Outcome, groups, headline, outcome, table
from tests.faults.table import FAULTS

STEPS, DRAWS = small.PROBES
FAST = (  # one of most groups, subtle rather than gross
    "rate-1-percent",
    "bn-momentum-0.985",
    "attack-size-1-percent",
    "loss-weights",
    "relu-leaky-0.01",
    "padding-one-side",
    "tf32",
)


@pytest.fixture(scope="module")
def honest(stack: Stack) -> Iterator[Honest]:
    """Measure without a fault, once for all tests of this file."""
    with small.bench(stack) as bench:
        yield Honest(bench)


def test_an_unbroken_run_is_no_alarm(honest: Honest) -> None:
    before, after = honest.of(STEPS), measured(STEPS, honest.bench)
    assert agreed(STEPS.judge(before.records, after.records))


@pytest.mark.parametrize("name", FAST)
def test_a_planted_fault_is_found_and_named(honest: Honest, name: str) -> None:
    fault = FAULTS[name]
    found = outcome(fault, [STEPS], honest)
    assert found.layer == STEPS.layer
    assert found.named is not False, found.words


def test_a_fault_is_gone_once_it_was_measured(honest: Honest) -> None:
    outcome(FAULTS["loss-sum"], [STEPS], honest)
    after = measured(STEPS, honest.bench)
    assert not STEPS.alarms(honest.of(STEPS).records, after.records)


def test_no_two_faults_have_one_name_and_all_say_what_they_are() -> None:
    rows = [*FAULTS.values(), *BOOKKEEPING]
    assert len({row.name for row in rows}) == len(rows) >= 40
    assert all(row.what.endswith(".") for row in rows)
    for row in rows:
        re.compile(row.named)


def test_records_that_nobody_touched_pass(tmp_path: Path) -> None:
    made_up(tmp_path)
    answer = answered(tmp_path)
    assert answer.decision == NO_WORSE, answer.missing


@pytest.mark.parametrize("tampering", BOOKKEEPING, ids=lambda row: row.name)
def test_no_tampering_with_records_passes(tampering: Tampering, tmp_path: Path) -> None:
    made_up(tmp_path)
    tampering.tamper(tmp_path)
    answer = answered(tmp_path)
    assert answer.decision != NO_WORSE
    assert re.search(tampering.named, said(answer)), said(answer)


def test_the_score_counts_what_was_found_and_names_what_was_not() -> None:
    rows = [
        Outcome("one", "loss", "It is one.", "step map", "a case", "words", True, 2.0),
        Outcome("two", "loss", "It is two.", missed="it cannot be seen"),
    ]
    assert headline(rows).startswith("1 of 2 planted faults found (50.0%): 1 by the step map.")
    assert "1 of 1 that have a name" in headline(rows)
    assert "missed: it cannot be seen" in list(table(rows))[-1]
    assert list(groups(rows))[2:] == ["| loss | 1 of 2 | step map | 1 of 1 | 1 | two |"]


def test_a_fault_that_nothing_measures_is_missed(honest: Honest) -> None:
    found = outcome(Fault("none", "loss", "Nothing is changed.", small.nothing), [STEPS], honest)
    assert not found.layer
