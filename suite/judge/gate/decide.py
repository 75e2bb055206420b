"""The decision: everything that the gate judges, put together into one answer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from suite.judge.gate.draws import draw_findings
from suite.judge.gate.finding import NO_WORSE, UNDECIDED, WORSE, Answer, Finding
from suite.judge.gate.limits import lacking, limit_findings
from suite.judge.gate.outcome import MARGINS, outcome_findings
from suite.judge.gate.paired import BASELINE, CANDIDATE, MEND, kept_twice
from suite.judge.gate.sequential import Plan, holm
from suite.judge.gate.steps import step_findings
from suite.records import Record

PLAN = Plan()
RANDOM_SHARE = 0.1
"""Of the level, for the random parts: thousands of draws lose nothing by it, and seeds would."""


def decide(
    baseline: str,
    candidate: str,
    *,
    before: Sequence[Record],
    after: Sequence[Record],
    expected: Iterable[tuple[str, Collection[int]]] = (),
    expected_before: Iterable[tuple[str, Collection[int]]] = (),
    plan: Plan = PLAN,
    margins: Mapping[str, float] = MARGINS,
) -> Answer:
    """Say whether the candidate may replace the baseline.

    Args:
        baseline: Name of the release, or of the stored baseline, that is compared with.
        candidate: Name of the release that is judged.
        before: Records of the baseline.
        after: Records of the candidate.
        expected: Cases, each with the seeds that the candidate should have records of.
        expected_before: The same of the baseline.
        plan: The looks at the seeds, the level and the power.
        margins: How much worse still counts as no worse, by unit or name of a metric.
    """
    share = replace(plan, level=plan.level * (1 - RANDOM_SHARE))
    outcome, missing = outcome_findings(before, after, plan=share, margins=margins)
    findings = [
        *step_findings(before, after),
        *corrected(draw_findings(before, after), plan.level * RANDOM_SHARE),
        *limit_findings(before, after),
        *outcome,
    ]
    lost = [
        *_absent(BASELINE, before, expected_before),
        *_absent(CANDIDATE, after, expected),
    ]
    twice = [f"{case}: {fault}" for case, fault in kept_twice(before, after)]
    missing = [*lost, *missing, *lacking(before, after), *twice]
    return Answer(baseline, candidate, findings, [*dict.fromkeys(missing)])


def _absent(
    side: str, records: Iterable[Record], expected: Iterable[tuple[str, Collection[int]]]
) -> list[str]:
    """Say which cases and seeds have no record, though they should."""
    there: dict[str, set[int]] = {}
    for record in records:
        there.setdefault(record.case, set()).add(record.seed)
    found = []
    for case, seeds in expected:
        lost = sorted(set(seeds) - there.get(case, set()))
        if case not in there:
            found.append(f"{case}: {side} has no record of it. {MEND}")
        elif lost:
            named = ", ".join(map(str, lost))
            found.append(f"{case}: {side} has no record of seed {named}. {MEND}")
    return found


def corrected(findings: Sequence[Finding], level: float) -> list[Finding]:
    """Take back what is worse by a p-value that is no surprise among so many (Holm).

    Args:
        findings: Of the random parts: those without a p-value are left as they are.
        level: Chance that any of them is worse where nothing differs.
    """
    adjusted = iter(holm([finding.p for finding in findings if finding.p is not None]))
    found = []
    for finding in findings:
        p = None if finding.p is None else next(adjusted)
        expected = finding.decision == WORSE and p is not None and p > level
        words = (
            f"{finding.words}; no surprise among so many (p = {p:.2g} over all)" if expected else ""
        )
        found.append(finding._replace(decision=NO_WORSE, words=words) if expected else finding)
    return found


def further(answer: Answer, *, plan: Plan = PLAN) -> dict[str, int]:
    """Count by case the seeds on each side that are expected to decide what is undecided.

    No case gets more than the plan's last look. One that would need twice that, or that nothing
    would decide, goes on to the next look alone: a few seeds tell little of how many are needed.

    Args:
        answer: What is known so far.
        plan: The looks.
    """
    wanted: dict[str, int] = {}
    for finding in answer.findings:
        have = min(finding.seeds)
        if finding.primary and finding.decision == UNDECIDED and 0 < have < plan.last:
            seeds = _seeds(finding.further, have, plan)
            wanted[finding.case] = max(wanted.get(finding.case, 0), seeds)
    return wanted


def _seeds(expected: int | None, have: int, plan: Plan) -> int:
    """Count the seeds to add to those that a side has, by how many are expected to decide."""
    if expected is None or have + expected > 2 * plan.last:
        return plan.next_look(have + 1) - have
    return min(expected, plan.last - have)
