"""One metric: no worse, worse or undecided, by its repeated interval and its margin."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import chdtri

from suite.judge.gate.finding import NO_WORSE, OUTCOME, UNDECIDED, WORSE, Finding
from suite.judge.gate.paired import Difference, Pairs, difference, rank_p, tailed
from suite.judge.gate.sequential import FEWEST, Plan, p_value, quantile
from suite.judge.metrics import MORE, metric_row

SHOWN: Mapping[str, tuple[str, float]] = MappingProxyType(
    {"fraction": ("points", 100.0), "1": ("", 1.0)}
)
"""By the unit of a metric: the one in which findings state it, and the factor between them."""

GAIN_UNIT = "nats"
CERTAIN = 0.95  # power with which the last look must show what the answer needs
EVEN = 0.5  # the same of the least that a case is judged by
CAUTION = 0.1  # chance that a metric's true deviation exceeds the one that it is admitted by
ROUNDING = 1e-6  # points or nats; smaller differences are those of float32
MOST = 2000  # seeds; what needs more is undecided for good


class Claim(NamedTuple):
    """What is asked of one metric, before it is known how much else is asked.

    Attributes:
        pairs: The numbers.
        margin: In the metric's unit; None where none is known.
        primary: True where the metric can make the answer "worse".
        certain: True where the plan shows "no worse" of it with the power `CERTAIN`, if nothing
            differs.
        found: The difference, turned so that a larger one is better; None of too few seeds.
        p: Its p-value over all looks; 1 of too few seeds.
        tail: True where the numbers have a tail, so that the ranks must agree with the means.
        usual: The margin that decides, where a stricter one is asked for, what the answer needs:
            else who asks for more would be told less.
    """

    pairs: Pairs
    margin: float | None
    primary: bool
    certain: bool
    found: Difference | None
    p: float
    tail: bool = False
    usual: float = 0.0

    @property
    def name(self) -> tuple[str, str]:
        """The case and the metric."""
        return self.pairs.case, self.pairs.metric

    @property
    def gain(self) -> bool:
        """True for a gain, in nats."""
        return metric_row(self.pairs.metric).unit == GAIN_UNIT

    @property
    def spread(self) -> float:
        """The baseline's standard deviation in margins, of a metric with both."""
        return float(np.std(list(self.pairs.before.values()), ddof=1)) / (self.margin or 1.0)

    @property
    def needed(self) -> bool:
        """True where the answer is "no worse" only if this is shown to be: of certain gains.

        An accuracy says the same as a gain with more noise: where VGG19 lost 0.149 nats it lost 3
        points, and a margin of 2 points asks for two to four times the seeds of one of 0.1 nats.
        Twenty gains that are shown with a power of 0.8 would leave every second answer undecided.
        """
        return self.primary and self.certain and self.gain


class Surprise(NamedTuple):
    """How surprising a difference is among all that is judged.

    Attributes:
        p: The p-value, corrected for all looks and all claims; 1 of a diagnostic.
        family: Number of claims.
    """

    p: float
    family: int


def claim_of(
    pairs: Pairs, *, margin: float | None, primary: bool, plan: Plan, usual: float = 0.0
) -> Claim:
    """Compute the difference of a metric, and the chance of it over all looks.

    Args:
        pairs: The numbers of both sides.
        margin: How much worse still counts as no worse, in the metric's unit.
        primary: True where the metric is one of those that the answer depends on.
        plan: The looks and the level.
        usual: The margin unless another is given.
    """
    if min(pairs.seeds) < max(FEWEST, plan.first):
        return Claim(pairs, margin, primary, certain=True, found=None, p=1.0)
    before, after, shared = pairs.arrays()
    apart = difference(before, after, shared)
    estimate = _sign(pairs.metric) * float(apart.estimate)
    found = Difference(estimate, float(apart.error), float(apart.freedom))
    sure = replace(plan, power=CERTAIN)
    certain = margin is None or admitted(before, margin=max(margin, usual), plan=sure)
    tail, p = bool(tailed(before, after)), p_value(*found)
    p = max(p, float(rank_p(before, after))) if tail else p
    return Claim(pairs, margin, primary, certain, found, plan.repeated(p), tail, usual)


def _sign(metric: str) -> float:
    """Give -1 for a metric that is better the smaller it is."""
    return -1.0 if metric_row(metric).worse == MORE else 1.0


def admitted(
    values: Sequence[float] | np.ndarray, *, margin: float, plan: Plan, caution: float = CAUTION
) -> bool:
    """True where the plan's last look shows "no worse" with its power, if nothing differs.

    What the plan cannot decide would leave every answer undecided. It is told by the baseline
    alone, so that a candidate that varies more cannot get out of the answer; and by an upper limit
    of the deviation, since a few seeds can agree by luck.

    Args:
        values: The baseline's, one a seed: at least two.
        margin: In the metric's unit.
        plan: The looks, level and power.
        caution: Chance that the true deviation exceeds its limit.
    """
    freedom = len(values) - 1
    limit = math.sqrt(freedom / float(chdtri(freedom, 1 - caution)))
    error = limit * float(np.std(values, ddof=1)) * math.sqrt(2 / plan.last)
    return reach(plan.nominal, 2 * plan.last - 2, plan) * error < margin


def best(claims: Sequence[Claim], plan: Plan) -> Claim | None:
    """Choose the gain of a case that the answer needs though none is certain.

    It is the one that varies least in the baseline, so that no case is passed by for want of
    seeds; none where one is certain, or where even the least could not be shown.

    Args:
        claims: Those of one case.
        plan: The looks, level and power.
    """
    gains = [own for own in claims if own.primary and own.gain and own.found and own.margin]
    if not gains or any(own.needed for own in gains):
        return None
    _, index = min((own.spread, index) for index, own in enumerate(gains))
    own = gains[index]
    values, sure = list(own.pairs.before.values()), replace(plan, power=CERTAIN)
    fit = admitted(values, margin=max(own.margin or 0.0, own.usual), plan=sure, caution=EVEN)
    return own._replace(certain=True) if fit else None


def reach(level: float, freedom: float, plan: Plan) -> float:
    """Count the standard errors of an effect that is found at a level with the plan's power."""
    return float(quantile(level, freedom) + quantile(2 * (1 - plan.power), freedom))


@functools.lru_cache(maxsize=None)
def own_level(plan: Plan, family: int) -> float:
    """Compute the level of a single look at which the least p-value of a family is "worse"."""
    wanted = plan.level / max(1, family)
    if len(plan.looks) == 1:
        return wanted
    low = wanted / len(plan.looks) / 2  # below Bonferroni's bound
    return float(brentq(lambda p: plan.repeated(p) - wanted, low, wanted, rtol=1e-6))


def judge_claim(claim: Claim, surprise: Surprise, plan: Plan) -> Finding:
    """Decide a claim, and say by how much and how sure."""
    pairs, (unit, factor) = claim.pairs, _shown_unit(claim.pairs.metric)
    margin = None if claim.margin is None else claim.margin * factor
    finding = Finding(OUTCOME, *claim.name, UNDECIDED, "", margin=margin, unit=unit)
    finding = finding._replace(seeds=pairs.seeds, primary=claim.needed)
    if pairs.lost[1] and not pairs.lost[0]:
        words = f"{pairs.metric}: {pairs.lost[1]} of the candidate's are NaN or infinite, none of"
        words = f"{words} the baseline's"
        return finding._replace(decision=WORSE, words=words, primary=claim.primary)
    if claim.found is None:
        return _too_few(finding, plan)
    return _measured(finding, claim, claim.found, surprise, plan)


def _shown_unit(metric: str) -> tuple[str, float]:
    """Give the unit that findings state a metric in, and what a number is multiplied by."""
    unit = metric_row(metric).unit
    return SHOWN.get(unit, (unit, 1.0))


def _too_few(finding: Finding, plan: Plan) -> Finding:
    """Say that there are fewer seeds than the first look asks for."""
    first, second = finding.seeds
    words = f"{finding.metric}: {first} and {second} seeds, expected at least {plan.first} a side"
    return finding._replace(words=words, further=plan.first - min(first, second))


def _measured(
    finding: Finding, claim: Claim, found: Difference, surprise: Surprise, plan: Plan
) -> Finding:
    """Decide a claim by its difference, interval and p-value."""
    half = quantile(plan.nominal, found.freedom) * found.error
    own = own_level(plan, surprise.family)
    decision = _decision(claim, found.estimate, half, surprise.p <= plan.level)
    suspect = _too_good(claim, found, surprise, plan)
    open_ = decision == UNDECIDED and claim.margin is not None
    scale = _sign(claim.pairs.metric) * _shown_unit(claim.pairs.metric)[1]
    low, high = sorted(scale * (found.estimate + side * half) for side in (-1, 1))
    judged = finding._replace(
        decision=UNDECIDED if suspect else decision,
        estimate=scale * found.estimate,
        low=low,
        high=high,
        p=claim.p,
        detectable=abs(scale) * reach(own, found.freedom, plan) * found.error,
        further=_further(claim, found, own, plan) if open_ else None,
        primary=claim.needed or suspect or decision == WORSE,
    )
    return judged._replace(words=_words(judged, claim, found, surprise, plan))


def _too_good(claim: Claim, found: Difference, surprise: Surprise, plan: Plan) -> bool:
    """True where a primary metric rose by more than its margin and chance: a leak, or no attack."""
    rose = found.estimate > (claim.margin or 0.0)
    return claim.primary and rose and surprise.p <= plan.level


def _decision(claim: Claim, estimate: float, half: float, surprising: bool) -> str:
    """Choose what is said of a difference that is the better the larger it is."""
    margin = claim.margin or 0.0
    if estimate - half > -margin or estimate == half == 0:
        return NO_WORSE
    return WORSE if estimate < -margin and surprising else UNDECIDED


def _further(claim: Claim, found: Difference, own: float, plan: Plan) -> int | None:
    """Count the seeds on each side that decide a claim if the difference stays what it is."""
    first, second = claim.pairs.seeds
    fewest, margin = min(first, second), claim.margin or 0.0
    variance = found.error**2 / (1 / first + 1 / second)
    seeds = np.arange(fewest + 1, MOST)
    error, freedom = np.sqrt(2 * variance / seeds), found.freedom * seeds / fewest
    shown = found.estimate - quantile(plan.nominal, freedom) * error > -margin
    worse = (found.estimate + quantile(own, freedom) * error < 0) & (found.estimate < -margin)
    enough = np.flatnonzero(shown | (worse & claim.primary))
    return plan.next_look(int(seeds[enough[0]])) - fewest if enough.size else None


def _words(
    finding: Finding, claim: Claim, found: Difference, surprise: Surprise, plan: Plan
) -> str:
    """Say in one sentence what was found."""
    estimate, unit = finding.estimate or 0.0, f" {finding.unit}" if finding.unit else ""
    side = "lower" if estimate < 0 else "higher"
    ends = f"{_number(finding.low or 0.0)} to {_number(finding.high or 0.0)}{unit}"
    seeds = f"{finding.seeds[0]} and {finding.seeds[1]} seeds"
    seeds += ", with a tail" if claim.tail else ""
    text = f"{finding.metric} is {_number(abs(estimate))}{unit} {side} ({ends}; {seeds})"
    if finding.decision == WORSE:
        return f"{text}; p = {surprise.p:.2g} over all looks and metrics"
    if _too_good(claim, found, surprise, plan):
        return f"{text}; better than chance allows (p = {surprise.p:.2g}): find out why"
    if claim.primary and not claim.certain and finding.decision != NO_WORSE:
        limit = f"{_number(finding.margin or 0.0)}{unit}"
        return f"{text}; a diagnostic: {plan.last} seeds a side may not tell {limit}"
    return text


def _number(value: float) -> str:
    """Write a number in three digits; what is but rounding is 0."""
    return "0" if abs(value) < ROUNDING else f"{value:.3g}"
