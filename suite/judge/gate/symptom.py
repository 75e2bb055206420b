"""The symptom of a fault: what the gate calls worse, and whether an environment shows it too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from suite.judge.gate.decide import PLAN, decide
from suite.judge.gate.finding import (
    NO_WORSE,
    OUTCOME,
    RANDOM_PARTS,
    STEP_MAP,
    UNDECIDED,
    WORSE,
    Answer,
    Finding,
)
from suite.judge.gate.outcome import MARGINS
from suite.judge.gate.steps import step_findings
from suite.judge.parity.compare import Comparison, compare_states
from suite.judge.parity.distances import Distance
from suite.judge.parity.implied import Place
from suite.records import Record

GOOD, BAD, UNRESOLVED = "good", "bad", "unresolved"
"""What an environment is: the last is one that cannot be built, imported or decided."""

SEARCHED = (STEP_MAP, RANDOM_PARTS, OUTCOME)  # layers, the cheapest first; time is in no record


class Symptom(NamedTuple):
    """What is worse, and where it is looked for again.

    Attributes:
        layer: One of `suite.judge.gate.finding.LAYERS`.
        case: Name of the case.
        metric: Metric or quantity, as in the finding.
        quantity: Of the step map, what parts first; empty where no quantity does.
        part: The layer of the network in which it parts; empty if it is of none.
        words: What the gate found.
        cause: What the steps look like, where no quantity parts but what trains, or how often.
    """

    layer: str
    case: str
    metric: str
    quantity: str = ""
    part: str = ""
    words: str = ""
    cause: str = ""

    @property
    def place(self) -> str:
        """What parts, and where."""
        what = self.quantity or self.cause or self.metric
        return f"{what}{f' of {self.part}' if self.part else ''} in {self.case} ({self.layer})"

    @property
    def kind(self) -> str:
        """The kind of its cause: in an environment that shows it the values may be others."""
        return _kind(self.cause)


class Seen(NamedTuple):
    """What one environment shows of a symptom.

    Attributes:
        status: `GOOD`, `BAD` or `UNRESOLVED`.
        words: What was found, or why nothing was.
        further: True where more seeds may decide.
        lasting: True for what is unresolved and will be when it is tried again.
    """

    status: str
    words: str
    further: bool = False
    lasting: bool = False


def gravest(answer: Answer, *, metric: str = "") -> list[Finding]:
    """List what is worse, the cheapest layer first; of a metric alone, if one is named."""
    worse = [
        finding
        for finding in answer.findings
        if finding.decision == WORSE
        and finding.layer in SEARCHED
        and (finding.metric == metric if metric else finding.primary)
    ]
    return sorted(worse, key=lambda finding: SEARCHED.index(finding.layer))


def symptom_of(
    finding: Finding, before: Sequence[Record], after: Sequence[Record], *, quantity: str = ""
) -> Symptom:
    """Say what to look for: for a step that differs, the quantity and layer that part first.

    Args:
        finding: What is worse.
        before: Records of the baseline.
        after: Records of the candidate.
        quantity: The quantity of the step map to look for, if it parts; empty for the first.
    """
    compared = _compared(finding.case, before, after) if finding.layer == STEP_MAP else []
    places = [distance.place for distance in _parted(compared)]
    own = [place for place in places if place.quantity == quantity]
    place = next(iter(own or places), None)
    return Symptom(
        layer=finding.layer,
        case=finding.case,
        metric=finding.metric,
        quantity=place.quantity if place else "",
        part=_part(place) if place else "",
        words=finding.words,
        cause=next((cause for each in compared for cause in each.causes), ""),
    )


def _compared(case: str, before: Sequence[Record], after: Sequence[Record]) -> list[Comparison]:
    """Compare the steps of a case, state by state."""
    theirs = {record.seed: record for record in before if record.case == case}
    return [
        compared
        for mine in after
        if mine.case == case and mine.seed in theirs
        for compared in compare_states(mine, theirs[mine.seed])
    ]


def _parted(compared: Iterable[Comparison]) -> list[Distance]:
    """List the places at which steps part, cause before effect, state by state."""
    return [distance for each in compared for distance in each.distances if distance.diverges]


def _part(place: Place) -> str:
    """Name the layer of a place, and its weight."""
    return "/".join(filter(None, (place.layer, place.weight)))


def shown(
    symptom: Symptom,
    before: Sequence[Record],
    after: Sequence[Record],
    *,
    margins: Mapping[str, float] = MARGINS,
) -> Seen:
    """Judge whether an environment shows a symptom.

    Args:
        symptom: What is looked for.
        before: Records of the baseline, of the symptom's case.
        after: Records of the environment, of the same case.
        margins: How much worse still counts as no worse.
    """
    if symptom.layer == STEP_MAP:
        found = step_findings(before, after)
    else:
        found = [*decide("", "", before=before, after=after, margins=margins).findings]
    wanted = (symptom.layer, symptom.case, symptom.metric)
    own = [finding for finding in found if finding[:3] == wanted]
    if not own:
        return Seen(UNRESOLVED, f"nothing was judged of {symptom.metric}")
    finding = next((each for each in own if each.decision == WORSE), own[0])
    if finding.decision == WORSE and symptom.layer == STEP_MAP:
        return _again(symptom, _compared(symptom.case, before, after), finding)
    statuses = {WORSE: BAD, NO_WORSE: GOOD, UNDECIDED: UNRESOLVED}
    more = finding.decision == UNDECIDED and 0 < min(finding.seeds) < PLAN.last
    return Seen(statuses[finding.decision], finding.words, more)


def _again(symptom: Symptom, compared: Sequence[Comparison], finding: Finding) -> Seen:
    """Tell whether steps part as the symptom says; where they part otherwise it is another's."""
    for distance in _parted(compared):
        place = distance.place
        if symptom.quantity and (place.quantity, _part(place)) == (symptom.quantity, symptom.part):
            return Seen(BAD, f"{place} parts, by {distance.against}")
    for cause in (cause for each in compared for cause in each.causes):
        if not symptom.quantity and _kind(cause) == symptom.kind:
            return Seen(BAD, cause)
    return Seen(GOOD, f"agrees there; but another difference shows: {finding.words}")


def _kind(cause: str) -> str:
    """Name what kind of cause it is: what comes before its values."""
    return cause.partition(":")[0]
