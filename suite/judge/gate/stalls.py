"""Stalls as a rate: how many seeds of a case do not learn, on each side."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy.stats import boschloo_exact

from suite.judge.bands import STALLED
from suite.judge.gate.finding import NO_WORSE, OUTCOME, UNDECIDED, WORSE, Finding
from suite.judge.gate.paired import Pairs
from suite.judge.gate.sequential import Plan

GAIN = "information_gain"
"""The metric that tells a stall: below `STALLED` nothing was learned that a user can see."""

METRIC = "stalled seeds"
PERCENT = 100.0


class Stalls(NamedTuple):
    """How many seeds of a case stall.

    Attributes:
        case: Name of the case.
        before: Stalled seeds of the baseline.
        after: Stalled seeds of the candidate.
        runs: Seeds of the baseline and of the candidate.
    """

    case: str
    before: int
    after: int
    runs: tuple[int, int]

    @property
    def name(self) -> tuple[str, str]:
        """The case, and the metric that findings call it by."""
        return self.case, METRIC

    @property
    def rates(self) -> tuple[float, float]:
        """The share of stalled seeds on each side."""
        return self.before / max(1, self.runs[0]), self.after / max(1, self.runs[1])

    @property
    def control(self) -> bool:
        """True where most of the baseline stalls: the case is there to show the stall."""
        return self.rates[0] > 1 / 2

    def chance(self, plan: Plan) -> float:
        """Compute the p-value of the two rates over all looks (Boschloo, 1970)."""
        return _chance(self.before, self.after, self.runs, plan)

    def can_be_worse(self, family: int, plan: Plan) -> bool:
        """True where the rates can differ so much that a family of tests takes note (Tarone, 1990).

        What cannot, whatever the seeds do, need not be corrected for.
        """
        return not self.control and _chance(0, self.runs[1], self.runs, plan) * family <= plan.level


@functools.lru_cache(maxsize=None)
def _chance(before: int, after: int, runs: tuple[int, int], plan: Plan) -> float:
    """Compute the two-sided p-value of so many stalls over all looks; 1 of too few runs."""
    if min(runs) < plan.first or before * runs[1] == after * runs[0]:
        return 1.0
    table = [[before, after], [runs[0] - before, runs[1] - after]]
    return plan.repeated(min(1.0, float(boschloo_exact(table).pvalue)))


def stalls(found: Sequence[Pairs]) -> list[Stalls]:
    """Count the stalled seeds of each case; what is NaN or infinite counts as stalled."""
    return [_count(pair) for pair in found if pair.metric == GAIN]


def _count(pair: Pairs) -> Stalls:
    """Count the stalled seeds of one case."""
    own = [sum(gain < STALLED for gain in side.values()) for side in (pair.before, pair.after)]
    runs = pair.seeds[0] + pair.lost[0], pair.seeds[1] + pair.lost[1]
    return Stalls(pair.case, own[0] + pair.lost[0], own[1] + pair.lost[1], runs)


def judge_stalls(counted: Stalls, adjusted: float, plan: Plan) -> Finding:
    """Decide whether more seeds stall than before.

    A rate above the baseline's is worse where the adjusted p-value says so, and else undecided; no
    rate above it is no worse, and `detectable` says which rate would have shown itself.

    Args:
        counted: The stalls of a case.
        adjusted: The p-value over all looks and all that is judged; 1 where it was not tested.
        plan: The looks, level and power.
    """
    runs, rates = counted.runs, counted.rates
    finding = Finding(
        OUTCOME,
        counted.case,
        METRIC,
        NO_WORSE,
        f"{counted.after} of {runs[1]} seeds stall, {counted.before} of {runs[0]} before",
        estimate=PERCENT * (rates[1] - rates[0]),
        unit="points",
        p=counted.chance(plan),
        detectable=_detectable(counted, plan),
        seeds=runs,
    )
    if min(runs) < plan.first:
        return finding._replace(decision=UNDECIDED, further=plan.first - min(runs))
    if rates[1] > rates[0] and not counted.control:
        if adjusted <= plan.level:
            return finding._replace(decision=WORSE)
        more = plan.next_look(min(runs) + 1) - min(runs)
        return finding._replace(decision=UNDECIDED, further=more)
    if rates[1] < rates[0] and counted.chance(plan) <= plan.level:
        words = f"{finding.words}: fewer than chance allows, find out why"
        return finding._replace(decision=UNDECIDED, words=words)
    return finding


def _detectable(counted: Stalls, plan: Plan) -> float | None:
    """Compute the rate, in percent, of which a seed stalls with the plan's power.

    None where the baseline stalls too.
    """
    if counted.before or not counted.runs[1]:
        return None
    return -PERCENT * math.expm1(math.log1p(-plan.power) / counted.runs[1])
