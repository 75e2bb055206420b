"""What was measured of two releases' steps in turn: stored beside the gate's logs, and judged."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from suite import machine, tables
from suite.cases import Case
from suite.errors import RecordError
from suite.files import parse_json, read_within, write_atomically
from suite.judge.compatibility import TIER
from suite.judge.gate.cost import FEWEST_BLOCKS, Start, cost_findings, settled
from suite.judge.gate.evidence import Side
from suite.judge.gate.finding import COST, UNDECIDED, Finding
from suite.judge.staleness import brief
from suite.records import json_digest

QUESTION = "step-time"
FILE_BYTES = 10_000_000  # of a stored result, which has about 100 kB
NOT_JUDGED = (
    "time and memory were not judged: those of another machine or hour say nothing. Two rows are "
    "measured side by side: nox -s gate -- --baseline ROW --candidate ROW --cases 'step-time-*'"
)
MACHINE = ("cpu", "cores", "memory_gib", "system")


@dataclass
class Costs:
    """What the workers of two releases measured.

    Attributes:
        sides: What the worker of the baseline, then that of the candidate, said of itself.
        starts: What each start of both measured, by case.
        fault: What ended the last measurement before its time; empty if nothing did.
    """

    sides: list[dict[str, Any]] = field(default_factory=list)
    starts: dict[str, list[Start]] = field(default_factory=dict)
    fault: str = ""

    def findings(self, case: str, margins: Mapping[str, float]) -> list[Finding]:
        """Judge a case by all starts so far; nothing if there are none."""
        starts = self.starts.get(case, [])
        return cost_findings(case, starts, margins=margins) if starts else []

    def open(self, cases: Sequence[str], margins: Mapping[str, float]) -> list[str]:
        """Pick the cases that are not decided yet."""
        return [case for case in cases if not settled(self.findings(case, margins))]


def costed(patterns: Sequence[str]) -> dict[str, Case]:
    """List the cases whose steps are timed, by name: those that fit one of some patterns.

    Networks of the full size are none: a step of theirs takes as long as a hundred pairs.
    """
    cases = tables.table(QUESTION, tier=TIER) if QUESTION in tables.TABLES else ()
    return {str(case): case for case in cases if matches(str(case), patterns)}


def matches(name: str, patterns: Sequence[str]) -> bool:
    """True where a name holds one of some words, or fits one of some patterns."""
    return not patterns or any(part in name or fnmatchcase(name, part) for part in patterns)


def place(records: Path, sides: tuple[Side, Side]) -> Path:
    """Name the file that holds what was measured of two sides."""
    before, after = (side.release for side in sides)
    return records / after / f"cost-beside-{before}.json"


def write(costs: Costs, path: Path) -> None:
    """Store what was measured.

    Raises:
        RecordError: If it cannot be written.
    """
    content = asdict(costs)
    content["starts"] = {
        case: [start._asdict() for start in starts] for case, starts in costs.starts.items()
    }
    content["digest"] = json_digest(content)
    write_atomically(path, f"{json.dumps(content)}\n".encode())


def read(path: Path) -> Costs:
    """Read what was measured; without sides where nothing was yet.

    Raises:
        RecordError: If the file is damaged, or is not as a run wrote it.
    """
    if not os.path.lexists(path):
        return Costs()
    try:
        content = _as_written(parse_json(read_within(path, FILE_BYTES)))
        starts = {
            str(case): [_start(start) for start in given]
            for case, given in content["starts"].items()
        }
        return Costs([*map(dict, content["sides"])], starts, str(content["fault"]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RecordError(
            f"{path} cannot be read: {error!r:.200}. Remove it: a run makes it."
        ) from error


def _as_written(content: dict[str, Any]) -> dict[str, Any]:
    """Take the digest off what a run wrote.

    Raises:
        ValueError: If it is not that of the rest.
    """
    digest = content.pop("digest", None)
    if digest != json_digest(content):
        what = "it has no digest" if digest is None else "its digest is not that of its content"
        raise ValueError(f"{what}: it was edited, or written by an older suite")
    return content


def _start(content: Mapping[str, Any]) -> Start:
    """Read what one start measured.

    Raises:
        ValueError: If a number is not above zero.
    """
    memory = content["peak_memory_bytes"]
    made = Start(
        [(float(old), float(new)) for old, new in content["step_s"]],
        (float(memory[0]), float(memory[1])) if memory else None,
    )
    pairs = [*made.step_s, *([made.peak_memory_bytes] if made.peak_memory_bytes else [])]
    if not made.step_s or not all(0 < value < float("inf") for pair in pairs for value in pair):
        raise ValueError("times and memory must be above zero")
    return made


def stale(costs: Costs, sides: tuple[Side, Side]) -> Iterator[str]:
    """Yield in what was measured with something else than is here now, or on another machine."""
    if costs.starts and len(costs.sides) != len(sides):
        yield f"it states what {len(costs.sides)} of {len(sides)} workers were, expected both"
    for case, starts in costs.starts.items():
        fewest = min((len(start.step_s) for start in starts), default=FEWEST_BLOCKS)
        if fewest < FEWEST_BLOCKS:
            yield f"{case}: a start has {fewest} pairs of blocks, expected at least {FEWEST_BLOCKS}"
        if len({json.dumps(start) for start in starts}) < len(starts):
            yield f"{case}: two starts have the very same times, expected measurements of their own"
    here = machine.describe(())
    for side, said in zip(sides, costs.sides, strict=False):
        for what, name, expected in (
            ("the release", "release", side.release),
            ("the lock", "lock_digest", side.now.lock),
            ("the code that measures", "code_digest", side.now.code),
            ("the libraries", "library_digest", side.now.libraries),
        ):
            found = said.get(name, "not stated")
            if expected and found != expected:
                yield f"{side.name}: {what}: {brief(found)}, expected {brief(expected)}"
        then = said.get("machine")
        if not isinstance(then, dict):
            yield f"{side.name}: the machine: {then!r:.60}, expected what describes it"
            continue
        for part in MACHINE:
            if then.get(part) != here[part]:
                yield f"{side.name}: the machine's {part}: {then.get(part)}, expected {here[part]}"


def judged(
    path: Path,
    sides: tuple[Side, Side],
    cases: Sequence[str],
    *,
    margins: Mapping[str, float],
    lenient: bool = False,
) -> tuple[list[Finding], list[str]]:
    """Judge what is stored, and say what is missing or stale.

    Args:
        path: The file.
        sides: The baseline and the candidate, as they are now.
        cases: Those whose steps are timed.
        margins: As of `cost_findings`.
        lenient: True where stale results count; they are told all the same.
    """
    try:
        costs = read(path)
    except RecordError as error:
        return [], [f"{case}: {error}" for case in cases]
    old = [*dict.fromkeys(stale(costs, sides))]
    word = "stale, judged all the same" if lenient else "stale"
    missing = [f"{case}: {path}: {word}: {reason}" for reason in old for case in cases]
    found = [] if old and not lenient else [f for c in cases for f in costs.findings(c, margins)]
    ended = f": {costs.fault}" if costs.fault else ": `nox -s gate` measures them, without --no-run"
    for case in cases:
        own = {finding.metric for finding in found if finding.case == case}
        if len(own) < 2:  # noqa: PLR2004 - time and memory
            lost = "time and memory were" if not own else "memory was"
            missing.append(f"{case}: {lost} not measured side by side{ended}")
    return [_explained(finding, costs.fault) for finding in found], missing


def _explained(finding: Finding, fault: str) -> Finding:
    """Add to what is undecided why no more was measured."""
    if finding.layer == COST and finding.decision == UNDECIDED and fault:
        return finding._replace(words=f"{finding.words}; {fault}")
    return finding
