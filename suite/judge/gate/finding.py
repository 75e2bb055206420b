"""Findings: what the gate says of each thing that it judged, and the answer that follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

NO_WORSE, WORSE, UNDECIDED = DECISIONS = ("no worse", "worse", "undecided")
STEP_MAP, RANDOM_PARTS, OUTCOME, COST = LAYERS = ("step map", "random parts", "outcome", "cost")


class Finding(NamedTuple):
    """What is said of one quantity of one case.

    Attributes:
        layer: One of `LAYERS`.
        case: Name of the case.
        metric: The metric or quantity that was judged.
        decision: One of `DECISIONS`; a step that differs for no known reason is worse.
        words: What was found, by how much and how sure, in one sentence.
        estimate: The candidate's value less the baseline's, in `unit`; None where there is none.
        low: Lower end of the interval of the estimate.
        high: Upper end of it.
        margin: How much worse than the baseline still counts as no worse, in `unit`.
        unit: Unit of the numbers above, such as "points" or "nats"; empty for a plain number.
        p: Of the hypothesis that nothing differs, before Holm's correction.
        detectable: The smallest effect that is found with a power of 0.8, in `unit`.
        seeds: Number of seeds of the baseline and of the candidate.
        further: Seeds on each side that are expected to decide what is undecided.
        primary: False for a diagnostic, which is printed and decides nothing.
    """

    layer: str
    case: str
    metric: str
    decision: str
    words: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    unit: str = ""
    p: float | None = None
    detectable: float | None = None
    seeds: tuple[int, int] = (0, 0)
    further: int | None = None
    primary: bool = True


class Answer(NamedTuple):
    """May the candidate replace the baseline?

    Attributes:
        baseline: Name of the release, or of the stored baseline, that is compared with.
        candidate: Name of the release that is judged.
        findings: Everything that was judged.
        missing: What should have been judged and could not be, each with the reason.
    """

    baseline: str
    candidate: str
    findings: Sequence[Finding]
    missing: Sequence[str] = ()

    @property
    def decision(self) -> str:
        """Worse if anything is; undecided if anything is or is missing, or nothing was judged."""
        decisions = {finding.decision for finding in self.findings if finding.primary}
        if WORSE in decisions:
            return WORSE
        whole = decisions == {NO_WORSE} and not self.missing
        return NO_WORSE if whole else UNDECIDED
