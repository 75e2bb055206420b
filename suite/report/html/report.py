"""The report: cases by releases, each cell with its evidence, put together for the template."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from suite.errors import SuiteError
from suite.judge.compatibility import TIER, outside_band
from suite.judge.gate.cost import Start
from suite.judge.gate.finding import OUTCOME, Finding
from suite.judge.metrics import METRICS
from suite.judge.study import CONTROL
from suite.report.html import commands, figures, overview
from suite.report.html.images import Picture, pictures, said
from suite.report.html.judged import (
    BASELINE,
    MEASURED,
    MISSING,
    OUTSIDE,
    WITHIN,
    WORDS,
    Judged,
    Mark,
    mark_of,
)
from suite.report.html.page import render
from suite.report.html.runs import Run
from suite.report.html.steps import Steps
from suite.report.html.table import Table

PREFERRED = "bn-momentum-0.5"  # the treatment that a control is drawn beside, if it was measured


class Unread(NamedTuple):
    """Something that could not be read or judged.

    Attributes:
        what: A file, or a record.
        why: The reason, with what to do.
    """

    what: str
    why: str


@dataclass
class Evidence:
    """All that the report is made of.

    Attributes:
        releases: The rows, the newest first.
        reference: The row that those without an answer are compared with; empty where none is.
        runs: What the records tell.
        judged: What the gate said, by row.
        others: Further answers of the gate, shown and not in the grid.
        expected: The cases of the small tier with their questions, by name.
        traces: The comparisons of the steps, by row and case.
        starts: What workers of the reference and of a row measured in turn, by row and case.
        pins: The versions in the locks, by row.
        unread: What could not be read or judged.
        places: The folders and files that it was made of.
        given: Those folders that were named.
    """

    releases: Sequence[str]
    reference: str
    runs: Sequence[Run]
    judged: Mapping[str, Judged] = field(default_factory=dict)
    others: Sequence[Judged] = ()
    expected: Mapping[str, str] = field(default_factory=dict)
    traces: Mapping[tuple[str, str], Steps] = field(default_factory=dict)
    starts: Mapping[str, Mapping[str, Sequence[Start]]] = field(default_factory=dict)
    pins: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unread: Sequence[Unread] = ()
    places: Sequence[str] = ()
    given: commands.Given = commands.Given()  # noqa: RUF009 - a tuple


@dataclass
class Cell:
    """One case on one release.

    Attributes:
        name: The element's id.
        release: The row.
        mark: The verdict.
        command: What reproduces it.
        words: What there is to say of it, a sentence each.
        tables: Tables and figures.
        pictures: Images of an example.
    """

    name: str
    release: str
    mark: Mark
    command: str
    words: list[str]
    tables: list[Table]
    pictures: list[Picture] = field(default_factory=list)


@dataclass
class Line:
    """One case on all releases: a line of the grid.

    Attributes:
        name: The element's id.
        case: Name of the case.
        tier: Its tier.
        question: What it asks.
        seeds: Every seed, or None where no record was read.
        cells: A cell a release; None where it was not measured.
    """

    name: str
    case: str
    tier: str
    question: str
    seeds: Table | None
    cells: list[Cell | None]

    @property
    def words(self) -> str:
        """The verdicts of its cells, for the filter."""
        return "|".join(dict.fromkeys(cell.mark.word for cell in self.cells if cell))


def report(evidence: Evidence) -> str:
    """Write the page."""
    shelf = Shelf(evidence)
    lines = [shelf.line(tier, case) for tier, case in shelf.cases]
    first = next(iter(evidence.judged.values()), None)
    answers = [*evidence.judged.values(), *evidence.others]
    return render(
        "report.html",
        evidence=evidence,
        first=first,
        answers=answers[1:] if first else answers,
        lines=lines,
        words=[word for word in WORDS if any(word in line.words.split("|") for line in lines)],
        questions=sorted({line.question for line in lines}),
        trends=shelf.trends(),
        costs=overview.costs(shelf.ordered(evidence.runs)),
        pairs=[*shelf.pairs()],
        difference=overview.lock_difference(
            evidence.pins, evidence.reference, first.candidate if first else ""
        ),
        locks=overview.locks(evidence.pins),
    )


class Shelf:
    """The evidence, sorted for looking things up.

    Attributes:
        evidence: All of it.
        cases: Tiers and names of the cases, in the order of the grid.
        pictured: The rows whose images are in the page: those of all would fill it.
    """

    def __init__(self, evidence: Evidence) -> None:
        """Sort the evidence."""
        self.evidence = evidence
        self._runs: dict[tuple[str, str], list[Run]] = defaultdict(list)
        for run in evidence.runs:
            self._runs[run.record.tier, run.record.case].append(run)
        told = {f.case for own in evidence.judged.values() for f in own.findings}
        small = sorted({(TIER, case) for case in {*evidence.expected, *told}} | {*self._runs})
        self.pictured = {evidence.reference, *[*evidence.judged][:1], *evidence.releases[:1]}
        self.cases = sorted(small, key=lambda place: (place[0] != TIER, *place))

    def of(self, tier: str, case: str, release: str, *, stored: bool) -> list[Run]:
        """Pick the seeds of a case on one release."""
        own = self._runs.get((tier, case), ())
        return [r for r in own if r.record.release == release and r.stored == stored]

    def own(self, tier: str, case: str, release: str) -> list[Run]:
        """Pick the seeds that stand for a release: those measured, or else its stored baseline."""
        measured = self.of(tier, case, release, stored=False)
        return measured or self.of(tier, case, release, stored=True)

    def before(self, tier: str, case: str, release: str) -> list[Run]:
        """Pick the seeds that those of a release are held against, never with themselves.

        The gate's answer about it names its baseline; without one, it is the common reference.
        """
        judged = self.evidence.judged.get(release)
        reference = judged.baseline if judged else self.evidence.reference
        if judged and judged.stored:
            found = self.of(tier, case, reference, stored=True)
        else:
            found = self.own(tier, case, reference)
        return [] if found == self.own(tier, case, release) else found

    def ordered(self, runs: Sequence[Run]) -> list[Run]:
        """Sort runs by release, the oldest first."""
        order = {release: place for place, release in enumerate(self.evidence.releases)}
        return sorted(runs, key=lambda r: (-order.get(r.record.release, 0), not r.stored))

    def line(self, tier: str, case: str) -> Line:
        """Put a case together."""
        runs = self.ordered(self._runs.get((tier, case), []))
        question = runs[0].record.question if runs else self.evidence.expected.get(case, "")
        return Line(
            _id("case", tier, case),
            case,
            tier,
            question,
            figures.seeds(runs, case, name=_id("seeds", tier, case)) if runs else None,
            [self.cell(tier, case, release) for release in self.evidence.releases],
        )

    def cell(self, tier: str, case: str, release: str) -> Cell | None:
        """Put the evidence of a case on one release together; None where there is none."""
        runs, before = self.own(tier, case, release), self.before(tier, case, release)
        judged = self.evidence.judged.get(release) if tier == TIER else None
        found = judged.of(case) if judged else []
        lacking = judged.lacks(case) if judged else []
        if not (runs or found or lacking):
            return None
        mark = mark_of(found, lacking) if judged else None
        said = [*lacking]
        if mark is None:
            mark, more = _by_bands(runs)
            said += more
            if release == self.evidence.reference and release not in self.evidence.judged:
                mark = mark if mark is OUTSIDE else BASELINE
        if judged and (found or lacking):
            command = commands.of_gate(judged, case, self.evidence.given)
        else:
            command = commands.of_tier(runs, self.evidence.given)
        cell = Cell(_id("cell", release, tier, case), release, mark, command, said, [])
        self._fill(cell, (tier, case, release), runs, before, found)
        return cell

    def _fill(
        self,
        cell: Cell,
        place: tuple[str, str, str],
        runs: Sequence[Run],
        before: Sequence[Run],
        found: Sequence[Finding],
    ) -> None:
        """Add the tables and figures of a cell."""
        tier, case, release = place
        if found:
            cell.tables.append(figures.findings_table(found, case))
        chosen = [f for f in found if f.layer == OUTCOME and (f.primary or _decides(f.metric))]
        drawn = figures.estimates(chosen, before, runs, seeds_of=_id("seeds", tier, case))
        cell.tables += [drawn] if drawn else []
        traces = self.evidence.traces.get((release, case)) if tier == TIER else None
        if traces:
            cell.tables.append(traces.table)
            cell.words += traces.words
        if runs:
            self._fill_training(cell, place, runs, before)

    def _fill_training(
        self,
        cell: Cell,
        place: tuple[str, str, str],
        runs: Sequence[Run],
        before: Sequence[Run],
    ) -> None:
        """Add what a training tells: curves, statistics, predictions, images."""
        tier, case, release = place
        other = self.counterpart(tier, case, release)
        names = [_id(kind, release, tier, case) for kind in ("curves", "epochs")]
        beside = [_id(kind, release, tier, other) if other else "" for kind in ("curves", "epochs")]
        cell.tables += filter(
            None,
            [
                figures.curves(runs, name=names[0], beside=beside[0], other=other),
                figures.evaluations(runs, name=names[1], beside=beside[1], other=other),
                figures.norms(runs),
                figures.confusion(before, runs) if before else None,
            ],
        )
        example = next((run.example for run in runs if run.example), None)
        if example and release in self.pictured:
            cell.pictures = pictures(example)
        elif example:
            cell.words += said(example)

    def counterpart(self, tier: str, case: str, release: str) -> str:
        """Name the control of a treatment, or a treatment of a control; empty without one."""
        runs = self.own(tier, case, release)
        if not runs or "fix" not in runs[0].record.settings:
            return ""
        mine = dict(runs[0].record.settings)
        fix = mine.pop("fix")
        found = {}
        for (other_tier, other), own in self._runs.items():
            there = dict(own[0].record.settings)
            if other_tier == tier and other != case and self.own(tier, other, release):
                named = str(there.pop("fix", ""))
                if there == mine:
                    found[named] = other
        wanted = [CONTROL] if fix != CONTROL else [PREFERRED, *sorted(found)]
        return next((found[name] for name in wanted if name in found), "")

    def trends(self) -> list[Table]:
        """Show each metric over the releases, the oldest first, tier by tier."""
        sides = [
            side
            for release in reversed(self.evidence.releases)
            for side in (f"{release} (stored)", release)
        ]
        tiers = dict.fromkeys(tier for tier, _ in self.cases)
        return [
            table
            for tier in tiers
            for own in [[run for run in self.evidence.runs if run.record.tier == tier]]
            for table in overview.trends(own, sides, tier=tier)
        ]

    def pairs(self) -> list[Table]:
        """Show the paired times of each row."""
        return [
            overview.pairs(case, starts, self.evidence.reference, release)
            for release, cases in self.evidence.starts.items()
            for case, starts in cases.items()
        ]


def _by_bands(runs: Sequence[Run]) -> tuple[Mark, list[str]]:
    """Judge the runs of a cell by the bands that hold in any release."""
    if not runs:
        return MISSING, []
    try:
        faults = [text for run in runs for text in [outside_band(run.record)] if text]
    except SuiteError as error:
        return MEASURED, [str(error)]
    unjudged = [text for text in faults if "holds none of the numbers" in text]
    if len(unjudged) == len(runs):
        return MEASURED, ["No limit holds for it in any release."]
    return (OUTSIDE, faults) if len(faults) > len(unjudged) else (WITHIN, [])


def _decides(metric: str) -> bool:
    """True for a metric that the gate may decide by; in some cases it is a diagnostic."""
    return metric in METRICS and METRICS[metric].primary


def _id(*parts: str) -> str:
    """Make an element's id of names, each of its own whatever they hold."""
    return "_".join(re.sub(r"[^A-Za-z0-9.-]", lambda sign: f"_{ord(sign[0]):x}_", p) for p in parts)
