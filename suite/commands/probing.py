"""One environment after the other: does it show the symptom? What is known is not asked again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from suite.commands.intermediate import Bench, Point, now_of, refusal
from suite.commands.rounds import clock_s
from suite.errors import RecordError, SuiteError
from suite.files import SUITE, code_digest, parse_json, read_bytes, write_atomically
from suite.judge.compatibility import TIER, Outcome
from suite.judge.gate.decide import PLAN
from suite.judge.gate.evidence import TRAINING, Side, gathered
from suite.judge.gate.symptom import BAD, GOOD, UNRESOLVED, Seen, Symptom, shown
from suite.records import Record
from suite.report.bisect import Step
from suite.report.text import printable
from suite.tables import asked

JOURNAL = "journal.json"
AGAIN = "-again"  # ends the name of a folder whose records confirm


@dataclass
class Search:
    """A search for the cause of a symptom.

    Attributes:
        symptom: What is looked for.
        baseline: The row that does not show it.
        candidate: The row that does.
        records: Folder of all records.
        root: Folder of what the search makes.
        bench: Where points are measured.
        margins: How much worse still counts as no worse.
        steps: What was tried.
    """

    symptom: Symptom
    baseline: Point
    candidate: Point
    records: Path
    root: Path
    bench: Bench
    margins: Mapping[str, float]
    steps: list[Step] = field(default_factory=list)

    def look(self, point: Point, stage: str, *, again: bool = False) -> str:
        """Tell whether a point shows the symptom, and note it in the chain.

        Args:
            point: The environment.
            stage: The part of the search that asks.
            again: True to measure it anew, whatever was measured before.

        Raises:
            BudgetError: If the budget is spent.
            SuiteError: If the baseline cannot be measured.
        """
        if again:
            point = point._replace(folder=point.folder.with_name(f"{point.folder.name}{AGAIN}"))
        start_s, key = clock_s(), self._key(point, again=again)
        noted = self._noted().get(key)
        seen = Seen(*noted) if noted else self._seen(point)
        if not noted and (seen.status != UNRESOLVED or seen.lasting):
            self._note(key, seen)
        return self._tell(stage, point, seen, clock_s() - start_s, known=bool(noted))

    def tell_unresolved(self, stage: str, title: str, reason: str) -> str:
        """Note in the chain what could not be tried, and give its status."""
        self.steps.append(Step(stage, title, UNRESOLVED, printable(reason, limit=400)))
        print(printable(f"{title}: {UNRESOLVED}: {reason}", limit=400), flush=True)
        return UNRESOLVED

    def _tell(self, stage: str, point: Point, seen: Seen, seconds: float, *, known: bool) -> str:
        """Add a step to the chain and give its status."""
        note = f" [resolved {point.note}]" if point.note else ""
        words = printable(f"{seen.words}{note}", limit=800)
        step = Step(stage, point.title, seen.status, words, round(seconds, 1), known=known)
        self.steps.append(step)
        before = " (known from before)" if known else f" ({seconds:.0f} s)"
        print(printable(f"{point.title}: {seen.status}{before}", limit=400), flush=True)
        return seen.status

    def _seen(self, point: Point) -> Seen:
        """Measure a point, with more seeds where they may decide, and judge it.

        Raises:
            SuiteError: If the baseline cannot be measured, or the budget is spent.
        """
        refused = refusal(point)
        if refused:
            return Seen(UNRESOLVED, refused)
        trained = asked(TIER)[self.symptom.case].question == TRAINING
        count = PLAN.first if trained else 1
        while True:
            before = self._records(self.baseline, range(count))
            if isinstance(before, Outcome):
                raise SuiteError(f"{self.baseline.title} cannot be measured: {_why(before)}")
            after = self._records(point, range(count))
            if isinstance(after, Outcome):
                return Seen(UNRESOLVED, _why(after), lasting=after.imports is False)
            seen = shown(self.symptom, before, after, margins=self.margins)
            if not (trained and seen.further and count < PLAN.last):
                return seen
            count = PLAN.next_look(count + 1)

    def _records(self, point: Point, seeds: Sequence[int]) -> list[Record] | Outcome:
        """Find the records of some seeds of a point, or measure them; give what became of it."""
        found = self._fresh(point, seeds)
        if len(found) == len(seeds):
            return found

        def read() -> None:
            found[:] = self._fresh(point, seeds)

        outcome = self.bench.measured(point, self.symptom.case, seeds, read)
        return found if len(found) == len(seeds) else outcome

    def _fresh(self, point: Point, seeds: Sequence[int]) -> list[Record]:
        """Read the records of some seeds of a point that were made as they would be now."""
        case = asked(TIER)[self.symptom.case]
        now = now_of(point, self.bench.project)
        own = {case.question: seeds}
        side = Side(point.title, point.release.name, point.folder, TIER, own, now)
        return gathered(side, {str(case): case}).records

    def _key(self, point: Point, *, again: bool) -> str:
        """Compute the digest of all that decides what a point shows."""
        content = [
            point.digest, self.baseline.digest, code_digest(SUITE), list(self.symptom[:5]),
            self.symptom.kind, dict(self.margins), again,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _noted(self) -> dict[str, list[Any]]:
        """Read what is known of points; nothing if there is no journal, or it is damaged."""
        with suppress(RecordError, ValueError):
            found = parse_json(read_bytes(self.root / JOURNAL))
            if isinstance(found, dict):
                return {key: seen for key, seen in found.items() if _is_seen(seen)}
        return {}

    def _note(self, key: str, seen: Seen) -> None:
        """Write down what a point shows."""
        text = json.dumps({**self._noted(), key: list(seen)}, indent=1)
        write_atomically(self.root / JOURNAL, text.encode())


def _is_seen(entry: Any) -> bool:
    """True where an entry of the journal is what one of ours looks like."""
    statuses = (GOOD, BAD, UNRESOLVED)
    return isinstance(entry, list) and len(entry) == len(Seen._fields) and entry[0] in statuses


def _why(outcome: Outcome) -> str:
    """Say why a run left no record that counts."""
    return outcome.reason or "it ran, and left no record that counts"
