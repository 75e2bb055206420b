"""The step map: where the steps of two releases from the same states part, and why."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from suite.errors import RecordError
from suite.judge.gate.finding import NO_WORSE, STEP_MAP, UNDECIDED, WORSE, Finding
from suite.judge.parity.compare import Comparison, compare_states
from suite.judge.parity.distances import Distance
from suite.records import Record

QUESTION = "parity"
METRIC = "steps"


def step_findings(before: Iterable[Record], after: Iterable[Record]) -> list[Finding]:
    """Judge whether the steps of the candidate are the baseline's, case by case.

    A step that differs for no known reason is worse: nothing in it is left to chance. What has no
    partner is undecided.

    Args:
        before: Records of the baseline; those of other questions are passed over.
        after: The same of the candidate.
    """
    mine, theirs = _traces(after), _traces(before)
    return [_finding(key, theirs.get(key), mine.get(key)) for key in sorted({*mine, *theirs})]


def _traces(records: Iterable[Record]) -> dict[tuple[str, int], Record]:
    """Pick the traces, by case and seed."""
    return {(r.case, r.seed): r for r in records if r.question == QUESTION}


def _finding(key: tuple[str, int], before: Record | None, after: Record | None) -> Finding:
    """Judge the steps of one case and seed."""
    case, _ = key
    if before is None or after is None:
        side = "baseline" if before is None else "candidate"
        return Finding(STEP_MAP, case, METRIC, UNDECIDED, f"The {side} has no trace of its steps.")
    try:
        found = compare_states(after, before)
    except RecordError as error:
        return Finding(STEP_MAP, case, METRIC, UNDECIDED, str(error))
    parted = [each for each in found if not each.agrees]
    words = _parting(parted, len(found)) if parted else _agreement(found)
    return Finding(STEP_MAP, case, METRIC, WORSE if parted else NO_WORSE, words, seeds=(1, 1))


def _parting(parted: Sequence[Comparison], states: int) -> str:
    """Say where the steps part first, by how much, and what it looks like."""
    ordered = sorted(parted, key=lambda each: each.first.place.step if each.first else math.inf)
    place = next((_place(each, each.first) for each in ordered if each.first), "")
    causes: dict[str, str] = {}
    for cause in (cause for each in ordered for cause in each.causes):
        kind = re.sub(r"\d+\.[\d.e+-]*", "", _kind(cause))
        causes.setdefault(kind, cause)  # once, however many states show it, with what numbers
    looks = " No cause the suite knows."
    if causes:
        looks = f" It looks like: {'; '.join(causes.values())}."
    return f"Steps from {len(parted)} of {states} states differ{place}.{looks}"


def _place(found: Comparison, first: Distance) -> str:
    """Name the place of a divergence, with its size."""
    start = f"the state after {found.state}, " if found.state else ""
    return f", first at {start}{first.place}, by {first.against}"


def _agreement(found: Sequence[Comparison]) -> str:
    """Say that all steps agree, but for which known differences, and how near to a tolerance."""
    known = list(dict.fromkeys(_kind(line) for each in found for line in each.known))
    but = f" but for known differences ({'; '.join(known)})" if known else ""
    nearest = ((each.nearest, each.state or "start") for each in found)
    bounded = [(distance, state) for distance, state in nearest if distance]
    if not bounded:
        return f"Steps from {len(found)} states agree{but}."
    near, state = max(bounded, key=lambda pair: pair[0].share)
    place = f"{state}, {near.place}, {near.share:.0%} of it"
    return f"Steps from {len(found)} states agree{but}; nearest to its tolerance: {place}."


def _kind(difference: str) -> str:
    """Name a difference in its first words."""
    return difference.partition(":")[0]
