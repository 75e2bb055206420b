"""What the gate said of a release: as it judged just now, or as it wrote down in JSON before."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator

from suite.errors import RecordError
from suite.files import parse_json
from suite.judge.gate.finding import NO_WORSE, UNDECIDED, WORSE, Answer, Finding
from suite.records import NOT_FINITE
from suite.report import gate
from suite.report.answer import grouped, headline, merged, missed
from suite.report.gate import Told, closing, layers
from suite.report.gate_json import SCHEMA

SCHEMA_FILE = Path(gate.__file__).with_name("gate.schema.json")
NUMBERS = ("estimate", "low", "high", "margin", "p", "detectable")
ASIDE = "further_s"  # a field of a finding's JSON that no finding has


class Mark(NamedTuple):
    """How a verdict is shown: never by its colour alone.

    Attributes:
        style: A class of assets/page.css.
        symbol: One character.
        word: The verdict.
    """

    style: str
    symbol: str
    word: str


MARKS: Mapping[str, Mark] = {
    NO_WORSE: Mark("good", "\N{CHECK MARK}", NO_WORSE),
    WORSE: Mark("bad", "\N{BALLOT X}", WORSE),
    UNDECIDED: Mark("open", "?", UNDECIDED),
}
MISSING = Mark("open", "\N{EMPTY SET}", "missing")
OUTSIDE = Mark("odd", "\N{BLACK UP-POINTING TRIANGLE}", "out of band")
WITHIN = Mark("fine", "\N{BULLET}", "in band")
BASELINE = Mark("none", "\N{BLACK DIAMOND}", "baseline")
MEASURED = Mark("none", "\N{WHITE CIRCLE}", "measured")
WORDS = [mark.word for mark in (*MARKS.values(), MISSING, OUTSIDE, WITHIN, BASELINE, MEASURED)]
"""Every verdict that a cell may have."""


class Judged(NamedTuple):
    """The gate's answer about one release.

    Attributes:
        baseline: What the release was compared with, as a row of the release table.
        candidate: The row that was judged.
        stored: True where the baseline was a stored one.
        decision: One of `suite.judge.gate.finding.DECISIONS`.
        answer: The answer in one sentence.
        missed: The smallest effects that would have been found; empty where none can be told.
        findings: Everything that was judged.
        missing: What should have been judged and could not be.
        notes: How much was judged, how sure it is, and what was expected.
        source: The file that it was read from; empty where it was judged just now.
    """

    baseline: str
    candidate: str
    stored: bool
    decision: str
    answer: str
    missed: str
    findings: Sequence[Finding]
    missing: Sequence[str]
    notes: Sequence[str]
    source: str = ""

    @property
    def mark(self) -> Mark:
        """How the answer is shown."""
        return MARKS[self.decision]

    @property
    def lacking(self) -> list[str]:
        """What is missing, that of one reason together."""
        return grouped(self.missing, named=None)

    def of(self, case: str) -> list[Finding]:
        """Pick the findings of a case, those that decide first."""
        own = [finding for finding in self.findings if finding.case == case]
        return sorted(own, key=lambda finding: not finding.primary)

    def lacks(self, case: str) -> list[str]:
        """Pick what is missing of a case, without its name."""
        own = merged(text for text in self.missing if text.startswith(f"{case}: "))
        return [text.partition(": ")[2] for text in own]


def of_told(told: Told) -> Judged:
    """Sum up what the gate judged just now."""
    answer, (before, after) = told.answer, told.sides
    return Judged(
        baseline=before.release,
        candidate=after.release,
        stored=before.stored,
        decision=answer.decision,
        answer=headline(answer, told.titles),
        missed=missed(answer.findings),
        findings=answer.findings,
        missing=answer.missing,
        notes=[*layers(answer), *closing(told)],
    )


def of_json(text: bytes, source: str) -> Judged:
    """Read an answer that the gate wrote down before.

    Raises:
        RecordError: If it is none, or of another layout.
    """
    try:
        content = parse_json(text)
        fault = _fault(content)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{source} is not JSON: {error}. Write it anew: --json FILE") from error
    if fault:
        raise RecordError(
            f"{source} is no verdict of the gate: {fault}. Write it anew with the gate's --json."
        )
    findings = [_finding(found) for found in content["findings"]]
    before, after = content["expected"]
    answer = Answer(content["baseline"], content["candidate"], findings, content["missing"])
    return Judged(
        baseline=before["release"],
        candidate=after["release"],
        stored=before["stored"],
        decision=content["decision"],
        answer=content["answer"],
        missed=missed(findings),
        findings=findings,
        missing=content["missing"],
        notes=[*layers(answer), *content["notes"]],
        source=source,
    )


def _fault(content: Any) -> str:
    """Say in what a verdict differs from its layout; empty where it does not."""
    given = content.get("schema") if isinstance(content, dict) else None
    if given != SCHEMA:
        return f"its schema is {given!r:.100}, this suite reads {SCHEMA}"
    error = next(_validator().iter_errors(content), None)
    return f"{error.json_path}: {error.message:.200}" if error else ""


@lru_cache(maxsize=None)
def _validator() -> Draft202012Validator:
    """Make what checks a verdict against its layout."""
    return Draft202012Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))


def _finding(content: Mapping[str, Any]) -> Finding:
    """Make a finding of its JSON."""
    own = {name: value for name, value in content.items() if name != ASIDE}
    for name in NUMBERS:
        own[name] = float(own[name]) if own[name] in NOT_FINITE else own[name]
    return Finding(**{**own, "seeds": tuple(own["seeds"])})


def mark_of(found: Sequence[Finding], lacking: Sequence[str]) -> Mark | None:
    """Sum up what the gate says of a case: the worst counts; None where it says nothing."""
    decisions = {finding.decision for finding in found if finding.primary}
    for decision in (WORSE, UNDECIDED):
        if decision in decisions:
            return MARKS[decision]
    if lacking:
        return MISSING
    return MARKS[NO_WORSE] if decisions else None
