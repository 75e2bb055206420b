"""`gate`: may you upgrade from one release to another? Measure both, judge, answer first."""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from suite.cases import Case
from suite.commands.options import ERROR_STATUS, REGRESSION_STATUS, positive
from suite.commands.processes import stopped_together
from suite.commands.provenance import inspected
from suite.commands.rounds import Rounds, clock_s
from suite.errors import SuiteError
from suite.files import write_atomically
from suite.judge.compatibility import TIER
from suite.judge.gate.decide import PLAN, decide, further
from suite.judge.gate.evidence import (
    ASKED,
    DRAWS,
    STEPS,
    TRAINING,
    Evidence,
    Side,
    dropped,
    gathered,
)
from suite.judge.gate.finding import NO_WORSE, OUTCOME, RANDOM_PARTS, STEP_MAP, WORSE, Answer
from suite.judge.gate.interval import SHOWN
from suite.judge.gate.limits import METRIC as LIMITS
from suite.judge.gate.outcome import MARGINS
from suite.judge.staleness import present
from suite.networks.architectures import ARCHITECTURES
from suite.records import Record
from suite.releases import Release, chosen, read_releases
from suite.report.gate import Scope, Told, lines, page, verdict
from suite.report.grid import terminal_width
from suite.report.junit import junit
from suite.store import stored_cases
from suite.tables import asked

LAYER_OF = {STEPS: STEP_MAP, DRAWS: RANDOM_PARTS, TRAINING: OUTCOME}
STATUSES = {NO_WORSE: 0, WORSE: REGRESSION_STATUS}
STORED = "stored"
ACCURACY = "accuracy"  # as people call the unit of a share of images
SEED_DIGITS = 9
UNITS_S = {"h": 3600, "m": 60, "s": 1}
STATES = "states"  # the folder of the baselines that holds the weights that steps start from


def main(arguments: Sequence[str]) -> int:
    """Measure what is missing of both sides, judge, print the answer first, return its status.

    Raises:
        SuiteError: If a row, a seed or a file cannot be used.
    """
    options, more = _parser().parse_known_args(arguments)
    cases = {name: case for name, case in asked(TIER).items() if case.question in ASKED}
    gate = Gate(options, _sides(options), cases)
    notes = []
    if not options.no_run:
        with redirect_stdout(sys.stderr):  # what is measured meanwhile: the answer comes first
            notes = _measure(gate, more)
    told = _told(gate, notes)
    _write(told, options)
    for line in lines(told, width=terminal_width(), verbose=options.verbose):
        print(line)
    return STATUSES.get(told.answer.decision, ERROR_STATUS)


class Gate(NamedTuple):
    """What is compared.

    Attributes:
        options: As the user gave them.
        sides: The baseline and the candidate.
        cases: All cases that the gate judges, by name.
    """

    options: argparse.Namespace
    sides: tuple[Side, Side]
    cases: Mapping[str, Case]

    @property
    def wanted(self) -> dict[str, Case]:
        """The cases that are measured: those that the user names."""
        patterns = self.options.cases
        return {name: case for name, case in self.cases.items() if _matches(name, patterns)}


def _matches(name: str, patterns: Sequence[str]) -> bool:
    """True where a name holds one of some words, or fits one of some patterns."""
    return not patterns or any(part in name or fnmatchcase(name, part) for part in patterns)


def _sides(options: argparse.Namespace) -> tuple[Side, Side]:
    """Find out what is compared with what.

    One row against itself gets seeds of its own on each side: the same runs would say nothing.

    Raises:
        SuiteError: If a name is no row of the release table.
    """
    candidate = _row(options.candidate)
    word, _, named = options.baseline.partition(":")
    stored = word == STORED
    baseline = _row((named or candidate.name) if stored else options.baseline)
    same = not stored and baseline == candidate
    seeds = options.seeds or (None if options.no_run else [*range(PLAN.last * (1 + same))])
    if same and seeds is None:
        seeds = [*range(2 * PLAN.last)]
    own = (seeds[0::2], seeds[1::2]) if same and seeds else (seeds, seeds)
    root, name = options.records, baseline.name
    if stored:
        root, name, own = options.baselines, f"the stored baseline of {name}", (None, own[1])
    return (
        _side(name, baseline, root, own[0], stored=stored, first=seeds),
        _side(candidate.name, candidate, options.records, own[1], first=seeds),
    )


def _side(
    name: str,
    row: Release,
    root: Path,
    seeds: Sequence[int] | None,
    *,
    first: Sequence[int] | None,
    stored: bool = False,
) -> Side:
    """Say where the records of a side lie and what they must be.

    The steps start from stored states, so that one seed tells all there is to tell.
    """
    counted: dict[str, Sequence[int]] = {}
    if seeds is not None and first:
        counted = {question: seeds if question == TRAINING else seeds[:1] for question in ASKED}
        counted[STEPS] = first[:1]  # of both sides, to compare the same steps
    return Side(name, row.name, root, TIER, counted, present(row.name, TIER), stored)


def _row(name: str) -> Release:
    """Look up a row of the release table.

    Raises:
        SuiteError: If there is none of this name.
    """
    found = chosen(read_releases(), name)
    if len(found) > 1:
        raise SuiteError(f"{name} names {len(found)} rows, expected one.")
    return found[0]


def _measure(gate: Gate, more: Sequence[str]) -> list[str]:
    """Measure what is missing, in the order of its cost, and tell what is worth to know of it."""
    options, sides = gate.options, [side for side in gate.sides if not side.stored]
    names = ",".join(dict.fromkeys(side.release for side in sides))
    rounds = Rounds(
        rows=chosen(read_releases(), names),
        records=options.records,
        until_s=clock_s() + options.budget,
        jobs=options.jobs,
        arguments=more,
    )
    with stopped_together(rounds.running):
        for question in filter(lambda question: question != TRAINING, ASKED):
            own = [name for name, case in gate.wanted.items() if case.question == question]
            rounds.run(own, _seeds(sides, question, 1))
        _measure_outcome(gate, rounds, sides)
    return rounds.notes()


def _measure_outcome(gate: Gate, rounds: Rounds, sides: Sequence[Side]) -> None:
    """Measure the seeds of the first look, then more of the cases that are not decided."""
    trained = [name for name, case in gate.wanted.items() if case.question == TRAINING]
    counts = dict.fromkeys(trained, PLAN.first)
    most = max(len(side.seeds.get(TRAINING, ())) for side in sides)
    waiting, made = trained, -1
    while waiting and not rounds.over:
        for count in sorted({counts[case] for case in waiting}):
            own = [case for case in waiting if counts[case] == count]
            rounds.run(own, _seeds(sides, TRAINING, count))
        answer, found = _judged(gate)
        former, made = made, sum(len(evidence.records) for evidence in found)
        more = further(answer, plan=PLAN) if made > former else {}
        waiting = [case for case in trained if more.get(case) and counts[case] < most]
        for case in waiting:
            counts[case] += more[case]


def _seeds(sides: Sequence[Side], question: str, count: int) -> list[int]:
    """Pick the first seeds of each side for a question; each seed once."""
    return sorted({seed for side in sides for seed in side.seeds.get(question, ())[:count]})


def _judged(gate: Gate) -> tuple[Answer, list[Evidence]]:
    """Judge the records that lie there."""
    lenient = gate.options.stale
    found = [gathered(side, gate.wanted, lenient=lenient) for side in gate.sides]
    answer = decide(
        *(side.name for side in gate.sides),
        before=found[0].records,
        after=found[1].records,
        expected_before=[*_expected(gate, gate.sides[0])],
        expected=[*_expected(gate, gate.sides[1])],
        plan=PLAN,
        margins=gate.options.margin,
    )
    own = [text for evidence in found for text in evidence.missing]
    missing = [*own, *_left_out(gate), *answer.missing]
    return answer._replace(missing=[*missing, *_unjudged(gate, answer)]), found


def _unjudged(gate: Gate, answer: Answer) -> Iterator[str]:
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
    for name, case in gate.wanted.items():
        count = PLAN.first if case.question == TRAINING else 1
        yield name, side.seeds.get(case.question, ())[:count]


def _left_out(gate: Gate) -> Iterator[str]:
    """Yield what the user or an edit kept out of the answer."""
    for case in sorted(set(gate.cases) - set(gate.wanted)):
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


def _told(gate: Gate, notes: Sequence[str]) -> Told:
    """Judge, and put together all that belongs to the answer."""
    answer, found = _judged(gate)
    more = [note for evidence in found for note in evidence.notes()]
    clean = [state.words for folder in _stored(gate) for state in [inspected(folder)]]
    return Told(
        answer=answer,
        sides=[_scope(evidence, gate) for evidence in found],
        margins=_shown({**MARGINS, **gate.options.margin}),
        level=PLAN.level,
        seconds=_seconds(found),
        titles={name: ARCHITECTURES[case.architecture].title for name, case in gate.cases.items()},
        notes=[*notes, *more, *clean],
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
        unit, factor = SHOWN.get(name, (name, 1.0))
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


def _write(told: Told, options: argparse.Namespace) -> None:
    """Write the answer to the files that the user names.

    Raises:
        RecordError: If one cannot be written.
    """
    for path, text in (
        (options.markdown, page),
        (options.json, lambda told: f"{json.dumps(verdict(told), indent=1)}\n"),
        (options.junit, junit),
    ):
        if path:
            write_atomically(path, text(told).encode("utf-8", "replace"))


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="nox -s gate --",
        description="Tell whether a release may replace another; exit status 0: no worse, 1: "
        "worse, 2: undecided. Further options are those of a benchmark run.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--baseline", required=True, metavar="ROW",
        help="the row that you have, or `stored`, or `stored:ROW`: the stored baseline",
    )  # fmt: skip
    parser.add_argument("--candidate", required=True, metavar="ROW", help="the row you would take")
    parser.add_argument(
        "--margin", type=margins, default={}, metavar="UNIT=NUMBER,...",
        help="how much worse is no worse, by unit or metric: accuracy=0.02,nats=0.1",
    )  # fmt: skip
    parser.add_argument(
        "--budget", type=budget, default=1800, metavar="30m", help="time to measure in; 30m"
    )
    parser.add_argument("--seeds", type=seeds, metavar="0,1,2", help="seeds, in their order")
    parser.add_argument(
        "--cases", type=patterns, default=[], metavar="PATTERN,...", help="measure these alone"
    )
    parser.add_argument("--no-run", action="store_true", help="judge what is there; run nothing")
    parser.add_argument(
        "--stale", action="store_true", help="judge stale records too: still undecided at best"
    )
    parser.add_argument("--jobs", type=positive, default=2, metavar="N", help="rows at once; 2")
    parser.add_argument("--records", type=Path, default=Path("records"), metavar="DIR")
    parser.add_argument("--baselines", type=Path, default=Path("baselines"), metavar="DIR")
    for name in ("markdown", "json", "junit"):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help="write the answer here")
    parser.add_argument("-v", "--verbose", action="store_true", help="print every finding")
    return parser


def margins(text: str) -> dict[str, float]:
    """Read what `--margin` gives, by unit or metric."""
    found = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if not (name and re.fullmatch(r"\d+(\.\d+)?|\.\d+", value)):
            raise argparse.ArgumentTypeError(
                f"must be such as accuracy=0.02,nats=0.1. Received: {text:.80}"
            )
        found["fraction" if name == ACCURACY else name] = float(value)
    return found


def budget(text: str) -> int:
    """Read a time such as 30m, 2h or 90s, in seconds."""
    if not re.fullmatch(r"\d{1,6}[hms]", text):
        raise argparse.ArgumentTypeError(f"must be such as 30m, 2h or 90s. Received: {text:.80}")
    return int(text[:-1]) * UNITS_S[text[-1]]


def seeds(text: str) -> list[int]:
    """Read seeds, each once, in their order."""
    numbers = text.split(",")
    if not all(number.isdecimal() and len(number) <= SEED_DIGITS for number in numbers):
        raise argparse.ArgumentTypeError(f"must be numbers, such as 0,1,2. Received: {text:.80}")
    return [*dict.fromkeys(map(int, numbers))]


def patterns(text: str) -> list[str]:
    """Read words or patterns of the names of cases."""
    return [part for part in text.split(",") if part]
