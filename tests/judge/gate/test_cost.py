"""Tests of suite.judge.gate.cost: what is slower is found, what only scatters is not called so."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from suite.judge.gate.cost import (
    LOOKS,
    MEMORY,
    METRICS,
    TIME,
    Start,
    cost_findings,
    precise,
    settled,
)
from suite.judge.gate.finding import COST, NO_WORSE, UNDECIDED, WORSE

CASE = "step-time-lenet5"
BYTES = 100e6


def start(
    rng: np.random.Generator, *, slower: float = 0.0, memory: float = 0.0, scatter: float = 0.05,
    apart: float = 0.008, pairs: int = 40,
) -> Start:  # fmt: skip
    """Draw what one start measures; the load of the machine comes and goes for both sides."""
    load = np.exp(rng.exponential(0.5, pairs))
    own = rng.normal(math.log1p(slower), apart)
    old, new = (0.005 * load * np.exp(rng.normal(of, scatter, pairs)) for of in (0.0, own))
    peak = BYTES * (1 + memory) * math.exp(rng.normal(0, 0.015))
    return Start([*zip(old, new, strict=True)], (BYTES, peak))


def decisions(starts: Sequence[Start], **margins: float) -> list[str]:
    """Judge and give the decision on time, then on memory."""
    return [finding.decision for finding in cost_findings(CASE, starts, margins=margins)]


def ended(rng: np.random.Generator, **made: float) -> list[str]:
    """Give what is decided when the gate ends: after the first look that decides, or the last."""
    starts = [start(rng, **made)]  # type: ignore[arg-type]
    while len(starts) < LOOKS and UNDECIDED in decisions(starts):
        starts.append(start(rng, **made))  # type: ignore[arg-type]
    return decisions(starts)


def test_equal_releases_are_not_told_apart() -> None:
    rng = np.random.default_rng(0)
    made = [ended(rng) for _ in range(60)]
    assert [time for time, _ in made].count(NO_WORSE) >= 59
    assert [memory for _, memory in made].count(NO_WORSE) >= 59
    assert not any(WORSE in each for each in made)


def test_ten_percent_more_time_and_thirty_more_memory_are_found() -> None:
    rng = np.random.default_rng(1)
    made = [ended(rng, slower=0.1, memory=0.3) for _ in range(60)]
    assert [time for time, _ in made].count(WORSE) >= 57
    assert all(memory == WORSE for _, memory in made)


def test_a_slowdown_of_just_the_margin_is_seldom_called_worse() -> None:
    rng = np.random.default_rng(2)
    made = [ended(rng, slower=0.05) for _ in range(60)]
    assert [time for time, _ in made].count(WORSE) <= 4


def test_what_scatters_too_much_is_undecided() -> None:
    rng = np.random.default_rng(3)
    (time, _) = cost_findings(CASE, [start(rng, scatter=0.5, slower=0.04)])
    assert time.decision == UNDECIDED
    assert time.low is not None
    assert time.high is not None
    assert time.low < 5 < time.high
    assert not settled([time])
    assert not settled([])


def test_one_start_alone_is_never_surer_than_starts_differ() -> None:
    same = Start([(1.0, 1.0)] * 40, (BYTES, BYTES))
    once, thrice = (cost_findings(CASE, [same] * count)[0] for count in (1, 3))
    assert once.high is not None
    assert thrice.high is not None
    assert 2 < once.high < 5
    assert 0 < thrice.high < once.high


def test_starts_that_disagree_widen_the_interval() -> None:
    starts = [Start([(1.0, value)] * 40) for value in (1.0, 1.1, 0.95)]
    (found,) = cost_findings(CASE, starts)
    assert found.decision == UNDECIDED


def test_a_finding_says_what_how_much_how_sure_and_what_would_be_found() -> None:
    rng = np.random.default_rng(4)
    time, memory = cost_findings(CASE, [start(rng, slower=0.2, memory=0.3)])
    assert (time.layer, time.metric, memory.metric, time.unit) == (COST, *METRICS, "%")
    assert time.words.startswith("steps are ")
    assert "% slower (95 % interval " in time.words
    assert "more memory" in memory.words
    assert time.margin == 5
    assert memory.margin == pytest.approx(10)
    assert time.detectable is not None
    assert time.detectable > 5


def test_what_is_faster_is_no_worse_and_called_faster() -> None:
    rng = np.random.default_rng(5)
    time = cost_findings(CASE, [start(rng, slower=-0.2)])[0]
    assert time.decision == NO_WORSE
    assert "faster, and not 5 % slower" in time.words


def test_a_margin_of_the_user_decides() -> None:
    rng = np.random.default_rng(6)
    starts = [start(rng, slower=0.2, memory=0.12)]
    assert decisions(starts) == [WORSE, UNDECIDED]
    assert decisions(starts, time=0.4, memory=0.5) == [NO_WORSE, NO_WORSE]
    assert decisions(starts, time=0.01, **{TIME: 0.4, MEMORY: 0.5}) == [NO_WORSE, NO_WORSE]


def test_memory_that_could_not_be_measured_has_no_finding() -> None:
    found = cost_findings(CASE, [Start([(1.0, 1.0)] * 40)])
    assert [finding.metric for finding in found] == [TIME]
    assert Start([(1.0, 2.0)]).ratios(MEMORY) == []


def test_pairs_suffice_when_their_median_is_known() -> None:
    rng = np.random.default_rng(7)
    assert precise(rng.normal(0, 0.02, 40).tolist())
    assert not precise(rng.normal(0, 0.2, 40).tolist())
    assert precise([*rng.normal(0, 0.02, 40).tolist(), 5.0, -5.0])  # whatever strays
