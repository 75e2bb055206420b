"""The gate's judging: what is compared, which evidence there is of it, what follows."""

from __future__ import annotations

import argparse
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from suite.cases import Case
from suite.commands import costs
from suite.commands.provenance import inspected
from suite.commands.rounds import Rounds
from suite.errors import SuiteError
from suite.judge.compatibility import TIER
from suite.judge.gate.cost import MARGINS as COSTS
from suite.judge.gate.cost import SHOWN as COSTS_SHOWN
from suite.judge.gate.decide import PLAN, decide
from suite.judge.gate.evidence import (
    ASKED,
    DRAWS,
    STEPS,
    TRAINING,
    Evidence,
    Side,
    dropped,
    gathered,
    passed_over,
    unasked,
)
from suite.judge.gate.finding import OUTCOME, RANDOM_PARTS, STEP_MAP, Answer
from suite.judge.gate.interval import SHOWN
from suite.judge.gate.limits import METRIC as LIMITS
from suite.judge.gate.outcome import MARGINS
from suite.judge.gate.paired import MEND, SIDES
from suite.judge.gate.sequential import Plan
from suite.judge.staleness import present
from suite.networks.architectures import ARCHITECTURES
from suite.records import Record
from suite.releases import Release, chosen, read_releases
from suite.report.gate import Scope, Told
from suite.store import files_by_case, seed_of, stored_cases
from suite.tables import asked

LAYER_OF = {STEPS: STEP_MAP, DRAWS: RANDOM_PARTS, TRAINING: OUTCOME}
STORED = "stored"
NO_RECORD = re.compile(
    rf"(?P<case>\S+): (?P<side>{'|'.join(SIDES)}) has no record of (it|seed (?P<seeds>[\d, ]+))\. "
    + re.escape(MEND)
)
ITSELF = ".baseline"  # the folder in that of all records for a row that is compared with itself
STATES = "states"  # the folder of the baselines that holds the weights that steps start from


def opened(options: argparse.Namespace) -> Gate:
    """Find out what is compared with what, by the options of the command.

    Raises:
        SuiteError: If a name is no row of the release table.
    """
    cases = {name: case for name, case in asked(TIER).items() if case.question in ASKED}
    return Gate(options, _sides(options, PLAN), cases, PLAN)


class Gate(NamedTuple):
    """What is compared.

    Attributes:
        options: As the user gave them.
        sides: The baseline and the candidate.
        cases: All cases that the gate judges, by name.
        plan: The looks at the seeds and the level.
    """

    options: argparse.Namespace
    sides: tuple[Side, Side]
    cases: Mapping[str, Case]
    plan: Plan

    @property
    def wanted(self) -> dict[str, Case]:
        """The cases that are measured: those that the user names."""
        patterns = self.options.cases
        return {name: case for name, case in self.cases.items() if costs.matches(name, patterns)}

    @property
    def measured(self) -> dict[str, Case]:
        """The wanted cases that can be compared: a stored baseline may have no record of some."""
        held = [stored_cases(side.folder) for side in self.sides if side.stored]
        return {name: case for name, case in self.wanted.items() if all(name in h for h in held)}

    @property
    def timed(self) -> dict[str, Case]:
        """The cases whose steps are timed on both sides; none against a stored baseline."""
        return {} if self.stored else costs.costed(self.options.cases)

    @property
    def every(self) -> list[str]:
        """The names of all cases, those whose steps are timed too."""
        return [*self.cases, *(() if self.stored else costs.costed(()))]

    @property
    def stored(self) -> bool:
        """True where the baseline is a stored one: its steps were timed elsewhere, or long ago."""
        return any(side.stored for side in self.sides)


def _sides(options: argparse.Namespace, plan: Plan) -> tuple[Side, Side]:
    """Find out what is compared with what.

    One row against itself gets seeds and a folder of its own on each side: the same runs would say
    nothing.

    Raises:
        SuiteError: If a name is no row of the release table, or one without the stored baseline
            that is asked for.
    """
    candidate = _row(options.candidate)
    word, colon, named = options.baseline.partition(":")
    stored = word == STORED
    baseline = _row((named if colon else candidate.name) if stored else options.baseline)
    same = not stored and baseline == candidate
    seeds = options.seeds or (None if options.no_run else [*range(plan.last * (1 + same))])
    if same and seeds is None:
        seeds = [*range(2 * plan.last)]
    own = (seeds[0::2], seeds[1::2]) if same and seeds else (seeds, seeds)
    steps = (seeds or [])[:1]
    root, name = options.records / (ITSELF if same else ""), baseline.name
    if stored:
        _require_stored(options.baselines, name)
        root, name, own = options.baselines, f"the stored baseline of {name}", (None, own[1])
        steps = _traced(root / baseline.name / TIER) or steps
    return (
        _side(name, baseline, root, _counted(own[0], steps), stored=stored),
        _side(candidate.name, candidate, options.records, _counted(own[1], steps)),
    )


def _require_stored(root: Path, name: str) -> None:
    """Refuse a row that has no stored baseline, before anything is measured.

    Raises:
        SuiteError: If it has none; the error names the rows that have one.
    """
    having = [row.name for row in read_releases() if (root / row.name / TIER).is_dir()]
    if name not in having:
        raise SuiteError(
            f"{name} has no stored baseline. Found in {root}: {', '.join(having) or 'none'}. "
            "Compare with one of these (--baseline stored:ROW), or measure a row beside it "
            "(--baseline ROW), or make one: `nox -s rebaseline` after its benchmarks."
        )


def _traced(folder: Path) -> list[int]:
    """Find the seeds of the steps that a stored baseline holds, by the names of the files."""
    files = files_by_case(folder)
    own = (path for case, paths in files.items() if case.startswith(STEPS) for path in paths)
    return sorted({seed_of(path) for path in own})


def _counted(seeds: Sequence[int] | None, steps: Sequence[int]) -> dict[str, Sequence[int]]:
    """Say which seeds count, by question; without a question, all that there are.

    The steps start from stored states, so that one seed tells all there is to tell: the same one
    on both sides.
    """
    counted: dict[str, Sequence[int]] = {STEPS: steps} if steps else {}
    if seeds is None:
        return counted
    return {**dict.fromkeys(ASKED, seeds), STEPS: seeds[:1], **counted}


def _side(
    name: str, row: Release, root: Path, seeds: Mapping[str, Sequence[int]], *, stored: bool = False
) -> Side:
    """Say where the records of a side lie and what they must be."""
    return Side(name, row.name, root, TIER, seeds, present(row.name, TIER), stored)


def _row(name: str) -> Release:
    """Look up a row of the release table.

    Raises:
        SuiteError: If there is none of this name.
    """
    found = chosen(read_releases(), name)
    if len(found) > 1:
        raise SuiteError(f"{name} names {len(found)} rows, expected one.")
    return found[0]


def refreshed(gate: Gate) -> Gate:
    """Look up anew what the sides must be of: a run may have installed it."""
    before, after = (replace(side, now=present(side.release, side.tier)) for side in gate.sides)
    return gate._replace(sides=(before, after))


def judged(gate: Gate, known: Evidence | None = None) -> tuple[Answer, list[Evidence]]:
    """Judge the records that lie there.

    Args:
        gate: What is compared.
        known: The baseline's evidence, where it was gathered before.
    """
    lenient = gate.options.stale
    before, after = gate.sides
    found = [
        known or gathered(before, gate.wanted, lenient=lenient),
        gathered(after, gate.wanted, lenient=lenient),
    ]
    answer = decide(
        *(side.name for side in gate.sides),
        before=found[0].records,
        after=found[1].records,
        expected_before=[*_expected(gate, gate.sides[0])],
        expected=[*_expected(gate, gate.sides[1])],
        plan=gate.plan,
        margins=gate.options.margin,
    )
    findings, lacking = costs.judged(
        costs.place(gate.options.records, gate.sides),
        gate.sides,
        [*gate.timed],
        margins=gate.options.margin,
        lenient=lenient,
    )
    own = [text for evidence in found for text in evidence.missing]
    own += [
        text
        for evidence, other in (found, found[::-1])
        if not evidence.side.stored
        for text in passed_over(evidence, other, gate.wanted)
    ]
    if gate.options.seeds:
        own += [
            text
            for evidence in found
            if not evidence.side.stored
            for text in unasked(evidence, gate.options.seeds)
        ]
    missing = [*own, *_unchecked(gate), *_left_out(gate), *answer.missing]
    missing += [*unjudged(gate, answer), *lacking]
    return answer._replace(findings=[*answer.findings, *findings], missing=missing), found


def _unchecked(gate: Gate) -> Iterator[str]:
    """Yield whose libraries cannot be looked up though they were measured with just now."""
    for side in gate.sides:
        if side.now.unchecked and not (side.stored or gate.options.no_run):
            yield f"{side.name}: its libraries could not be checked: {side.now.unchecked}"


def unjudged(gate: Gate, answer: Answer) -> Iterator[str]:
    """Yield the cases that have records and yet nothing that the answer depends on."""
    decided = {
        (finding.layer, finding.case)
        for finding in answer.findings
        if finding.primary and finding.metric != LIMITS
    }
    lacking = {text.partition(": ")[0] for text in answer.missing}
    for name, case in gate.wanted.items():
        layer = LAYER_OF.get(case.question)
        if layer and (layer, name) not in decided and name not in lacking:
            yield f"{name}: nothing was found that the answer could depend on"


def _expected(gate: Gate, side: Side) -> Iterator[tuple[str, Sequence[int]]]:
    """Yield each case with the seeds that must be there: a trained one needs the first look's."""
    for name, case in (gate.wanted if side.stored else gate.measured).items():
        count = gate.plan.first if case.question == TRAINING else 1
        yield name, side.seeds.get(case.question, ())[:count]


def _left_out(gate: Gate) -> Iterator[str]:
    """Yield what the user or an edit kept out of the answer."""
    for case in sorted({*gate.every} - {*gate.wanted, *gate.timed}):
        yield f"{case}: not asked, because of --cases"
    for side in {side.release: side for side in gate.sides}.values():
        folder = gate.options.baselines / side.release / TIER
        yield from dropped(stored_cases(folder), asked(TIER), where=str(folder))
    for folder in _stored(gate):
        found = inspected(folder)
        if not found.clean:
            yield found.words


def _stored(gate: Gate) -> list[Path]:
    """List the folders of the baselines that the answer depends on."""
    states = gate.options.baselines / STATES
    return [
        *(side.folder for side in gate.sides if side.stored),
        *([states] if states.exists() else []),
    ]


def told(gate: Gate, rounds: Rounds | None = None) -> Told:
    """Judge what lies there after some rounds, and put together all that belongs to the answer."""
    answer, found = judged(refreshed(gate))
    if rounds is None:
        return told_of(gate, [], answer, found)
    missing = with_ends(answer.missing, gate.sides, rounds.failed)
    return told_of(gate, rounds.notes(), answer._replace(missing=missing), found)


def with_ends(
    missing: Iterable[str], sides: Sequence[Side], failed: Mapping[tuple[str, str, int], str]
) -> list[str]:
    """Say first of the runs that have no record what they ended with, where that is known."""
    named = dict(zip(SIDES, sides, strict=True))
    ended, rest = list[str](), list[str]()
    for text in missing:
        found = NO_RECORD.fullmatch(text)
        said = _ends(found["case"], found["seeds"], named[found["side"]], failed) if found else []
        ended += said
        rest += [] if said else [text]
    return [*ended, *rest]


def _ends(
    case: str, seeds: str | None, side: Side, failed: Mapping[tuple[str, str, int], str]
) -> list[str]:
    """Say what the runs of a case ended with: of the seeds that are named, or of the first."""
    own = {
        seed: why
        for (row, name, seed), why in failed.items()
        if (row, name) == (side.release, case) and not side.stored
    }
    if seeds is None:
        return [f"{case}: {side.name}: no record: {why}" for why in [*own.values()][:1]]
    lost = [*map(int, seeds.split(", "))]
    known = [seed for seed in lost if seed in own]
    if len(known) < len(lost):
        return []
    return [f"{case}: {side.name}: no record of seed {seed}: {own[seed]}" for seed in known]


def told_of(gate: Gate, notes: Sequence[str], answer: Answer, found: Sequence[Evidence]) -> Told:
    """Put together all that belongs to an answer."""
    more = [note for evidence in found for note in evidence.notes()]
    clean = [state.words for folder in _stored(gate) for state in [inspected(folder)]]
    return Told(
        answer=answer,
        sides=[_scope(evidence, gate) for evidence in found],
        margins=_shown({**MARGINS, **({} if gate.stored else COSTS), **gate.options.margin}),
        level=gate.plan.level,
        seconds=_seconds(found),
        titles={
            name: ARCHITECTURES[case.architecture].title
            for name, case in {**gate.cases, **gate.timed}.items()
        },
        notes=[*notes, *more, *clean, *([costs.NOT_JUDGED] if gate.stored else [])],
    )


def _scope(found: Evidence, gate: Gate) -> Scope:
    """Say what was expected of a side and what lay there."""
    side, now = found.side, found.side.now
    return Scope(
        name=side.name,
        release=side.release,
        stored=side.stored,
        folder=str(side.folder),
        cases=sorted(gate.cases),
        fewest=gate.plan.first,
        seeds=sorted({record.seed for record in found.records}),
        records=len(found.records),
        lock=now.lock,
        code=now.code,
        libraries=now.libraries,
        unchecked=now.unchecked,
    )


def _shown(margins: Mapping[str, float]) -> dict[str, float]:
    """Give margins in the units that findings are stated in."""
    found = {}
    for name, margin in margins.items():
        unit, factor = {**SHOWN, **COSTS_SHOWN}.get(name, (name, 1.0))
        found[unit] = margin * factor
    return found


def _seconds(found: Sequence[Evidence]) -> dict[str, float]:
    """Measure what one more seed of each case takes on both sides that are measured here."""
    totals: dict[str, float] = defaultdict(float)
    for evidence in found:
        own: dict[str, list[Record]] = defaultdict(list)
        for record in evidence.records:
            own[record.case].append(record)
        for case, records in own.items():
            totals[case] += statistics.fmean(record.wall_s for record in records)
    return dict(totals)
