"""Layer 3, the outcome: what the seeds of both sides say of each metric of each case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from suite.judge.gate.finding import Finding
from suite.judge.gate.interval import Claim, Surprise, best, claim_of, judge_claim
from suite.judge.gate.paired import Pairs, pairs
from suite.judge.gate.sequential import Plan, holm
from suite.judge.gate.stalls import Stalls, judge_stalls, stalls
from suite.judge.metrics import EVALUATED, metric_row
from suite.records import Record

MARGINS: Mapping[str, float] = MappingProxyType({"fraction": 0.02, "nats": 0.1})
"""How much worse still counts as no worse, by the unit of the metric; names of metrics go first."""

TRAINED = ("training", "fixes")
"""Questions of a network that was trained: the others' metrics are all diagnostics."""

INSTEAD: Mapping[str, str] = MappingProxyType({"clean_branch_gain": "adversarial_branch_gain"})
"""Metrics that are primary only in a case without the other, with which they go together."""


def outcome_findings(
    before: Sequence[Record],
    after: Sequence[Record],
    *,
    plan: Plan,
    margins: Mapping[str, float] = MARGINS,
) -> tuple[list[Finding], list[str]]:
    """Judge every metric of every case by the seeds of both sides.

    A metric is "no worse" where the repeated interval (Jennison and Turnbull, 1989) of the
    difference lies above minus the margin. It is "worse" where the candidate's mean is lower by
    more than the margin, with a p-value that, corrected for all looks and (Holm, 1979) for all
    primary metrics of all cases, is at most the plan's level. All else is undecided, and fails
    where the metric is a gain (`suite.judge.gate.interval.Claim.needed`). "No worse" needs no
    correction for many metrics: the answer says it only where each metric does, and so it errs no
    more often than a single one of them does (Berger, 1982: intersection-union tests).

    Args:
        before: Records of the baseline.
        after: Records of the candidate.
        plan: The looks, the level and the power.
        margins: By unit or by name of a metric; what it lacks is as in `MARGINS`.

    Returns:
        The findings, and what cannot be compared, with the reason.
    """
    found, missing = pairs(before, after)
    counted = stalls(found)
    questions = {record.case: record.question for record in (*before, *after)}
    claims = _claims(found, counted, questions, plan=plan, margins={**MARGINS, **margins})
    surprises = _surprises(claims, counted, plan)
    nothing = Surprise(1.0, max(1, len(surprises)))
    metrics = [judge_claim(own, surprises.get(own.name, nothing), plan) for own in claims]
    rates = [judge_stalls(own, surprises.get(own.name, nothing).p, plan) for own in counted]
    return metrics + rates, missing


def _claims(
    found: Sequence[Pairs],
    counted: Sequence[Stalls],
    questions: Mapping[str, str],
    *,
    plan: Plan,
    margins: Mapping[str, float],
) -> list[Claim]:
    """Make a claim of each metric of each case."""
    controls = {own.case for own in counted if own.control}
    there = {own.name for own in found}
    claims = [
        claim_of(
            own,
            margin=margins.get(own.metric, margins.get(metric_row(own.metric).unit)),
            usual=MARGINS.get(metric_row(own.metric).unit, 0.0),
            primary=questions[own.case] in TRAINED and _is_primary(own, there, controls),
            plan=plan,
        )
        for own in found
    ]
    cases = sorted({own.pairs.case for own in claims})
    chosen = (best([own for own in claims if own.pairs.case == case], plan) for case in cases)
    instead = {own.name: own for own in chosen if own is not None}
    return [instead.get(own.name, own) for own in claims]


def _is_primary(own: Pairs, there: set[tuple[str, str]], controls: set[str]) -> bool:
    """True where the answer depends on a metric of a trained case.

    A network that stalls is judged by that alone: what its predictions are worth is chance.
    """
    replaced = (own.case, INSTEAD.get(own.metric, "")) in there
    guesses = own.case in controls and own.metric in EVALUATED
    return metric_row(own.metric).primary and not replaced and not guesses


def _surprises(
    claims: Sequence[Claim], counted: Sequence[Stalls], plan: Plan
) -> dict[tuple[str, str], Surprise]:
    """Correct the p-values of what can be worse for all looks and for each other.

    All primary metrics count, whether the answer needs them or not: to leave out those that vary
    much in a few seeds would keep those that vary little by luck, which look worse by luck too.
    """
    chances = {claim.name: claim.p for claim in claims if claim.primary}
    most = len(chances) + len(counted)
    tested = [own for own in counted if own.can_be_worse(most, plan)]
    chances.update({own.name: own.chance(plan) for own in tested})
    adjusted = holm(list(chances.values()))
    return {name: Surprise(p, len(chances)) for name, p in zip(chances, adjusted)}
