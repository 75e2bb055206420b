"""The words of a bisection: the answer in one sentence, then the chain of what was tried."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from suite.judge.gate.symptom import Symptom

NAMED, NOTHING, UNDECIDED = ENDS = ("named", "nothing to bisect", "undecided")
SCHEMA = 1  # of the JSON; it changes when a field goes or changes its meaning


class Step(NamedTuple):
    """One thing that was tried.

    Attributes:
        stage: The part of the search.
        what: The environment, in words.
        status: Good, bad or unresolved.
        words: What was found there, or why nothing was.
        seconds: How long it took.
        known: True if it was known from an earlier run.
    """

    stage: str
    what: str
    status: str
    words: str
    seconds: float = 0.0
    known: bool = False


@dataclass
class Result:
    """What a bisection found.

    Attributes:
        baseline: Name of the row that is good.
        candidate: Name of the row that is judged.
        symptom: What is looked for; None where nothing is worse.
        metric: The metric or quantity that alone was looked at, where nothing of it is worse.
        nothing: What was looked at where nothing is worse; empty otherwise.
        others: How many other findings are worse.
        rows: The last good and the first bad row.
        passed_over: Rows between them that could not be tried.
        changed: In what the two differ.
        culprits: The smallest set of changes that shows the symptom.
        inseparable: Those of them without which the rest could not be tried.
        package: The one package that is to blame; empty if that is not known.
        versions: Its last good and its first bad version.
        skipped: Versions between them that could not be tried.
        unlisted: Why not all versions between them are known; empty where they are.
        culprit: What was confirmed from both sides; empty if nothing was.
        one_sided: How the second side was had; empty where it is the bad row.
        undecided: Why nothing is named; empty where something is.
        notes: What else there is to know.
        steps: What was tried.
    """

    baseline: str
    candidate: str
    symptom: Symptom | None = None
    metric: str = ""
    nothing: str = ""
    others: int = 0
    rows: tuple[str, str] | None = None
    passed_over: Sequence[str] = ()
    changed: Sequence[str] = ()
    culprits: Sequence[str] = ()
    inseparable: Sequence[str] = ()
    package: str = ""
    versions: tuple[str, str] | None = None
    skipped: Sequence[str] = ()
    unlisted: str = ""
    culprit: str = ""
    one_sided: str = ""
    undecided: str = ""
    notes: Sequence[str] = ()
    steps: list[Step] = field(default_factory=list)

    @property
    def end(self) -> str:
        """One of `ENDS`."""
        if self.culprit:
            return NAMED
        return NOTHING if self.nothing else UNDECIDED


def answer(result: Result) -> str:
    """Say in one sentence what is to blame, or why that is not known."""
    if result.end == NOTHING:
        what = f"{result.metric} is no worse" if result.metric else "nothing is worse"
        return (
            f"Nothing to bisect: {what} on {result.candidate} than on "
            f"{result.baseline}; {result.nothing}."
        )
    place = f"; what parts is {result.symptom.place}" if result.symptom else ""
    if result.end == NAMED:
        return f"To blame is {result.culprit}{_between(result)}{place}."
    known = _narrowed(result)
    why = result.undecided.rstrip(".")
    return f"Could not be decided: {why}{known}{place}."


def _between(result: Result) -> str:
    """Say between which versions and rows the fault begins."""
    version = ""
    if result.versions:
        version = f" (the last good version is {result.versions[0]}"
        skipped = f"; untried between them: {_named(result.skipped)}" if result.skipped else ""
        version += f"{skipped}{_unlisted(result)})"
    rows = result.rows
    return f"{version}, which came between {rows[0]} and {rows[1]}" if rows else version


def _narrowed(result: Result) -> str:
    """Say how far the search came."""
    parts = []
    if result.rows:
        parts.append(f"it begins between {result.rows[0]} and {result.rows[1]}")
    if result.culprits:
        parts.append(f"suspected: {', '.join(result.culprits)}")
    if result.versions:
        good, bad = result.versions
        parts.append(f"{result.package} {good} is good and {bad} bad{_unlisted(result)}")
    return f"; so far: {'; '.join(parts)}" if parts else ""


def _unlisted(result: Result) -> str:
    """Say that versions may lie between the last good and the first bad one, and why."""
    why = result.unlisted.rstrip(".")
    return f"; versions between them could not be listed: {why}" if why else ""


def _named(names: Sequence[str]) -> str:
    """Name a few, or the first and the last of many."""
    return ", ".join(names) if len(names) <= 4 else f"{names[0]} to {names[-1]}"  # noqa: PLR2004


def lines(result: Result, *, width: int | None = None) -> Iterator[str]:
    """Yield the answer, then what else there is to know, then the chain.

    Args:
        result: What was found.
        width: Characters a line; None for as many as needed.
    """
    yield from _wrapped(answer(result), width)
    yield from _more(result, width)
    if result.steps:
        yield ""
        yield "What was tried:"
    stage = ""
    for step in result.steps:
        if step.stage != stage:
            yield f"  {step.stage}"
            stage = step.stage
        time = "known from before" if step.known else f"{step.seconds:.0f} s"
        head = f"{step.status:<10} {step.what} ({time}): {step.words}"
        yield from _wrapped(head, width, indent=4)


def _wrapped(text: str, width: int | None, *, indent: int = 0) -> list[str]:
    """Break a text into lines, of which all but the first stand further in."""
    first, rest = " " * indent, " " * (indent + 2)
    if width is None:
        return [first + text]
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=rest)


def _more(result: Result, width: int | None) -> Iterator[str]:
    """Yield the facts beside the answer, one a line."""
    symptom = result.symptom
    facts = [
        f"The gate said: {symptom.words}" if symptom and symptom.words else "",
        f"Rows passed over: {', '.join(result.passed_over)}." if result.passed_over else "",
        f"The two rows differ in: {', '.join(result.changed)}." if result.changed else "",
        f"Could not be tried apart: {', '.join(result.inseparable)}."
        if len(result.inseparable) > 1
        else "",
        f"Confirmed from both sides, but {result.one_sided}."
        if result.one_sided
        else "Confirmed from both sides, measured anew."
        if result.culprit
        else "",
        f"{result.others} other findings are worse too: mend this one and ask again."
        if result.others
        else "",
        *result.notes,
    ]
    for fact in filter(None, facts):
        yield from _wrapped(fact, width)


def as_json(result: Result) -> dict[str, Any]:
    """Give all that was found, for programs."""
    content = asdict(result)
    return {
        **content,
        "schema": SCHEMA,
        "end": result.end,
        "answer": answer(result),
        "symptom": result.symptom._asdict() if result.symptom else None,
        "steps": [step._asdict() for step in result.steps],
    }
