"""`gate`: may you upgrade from one release to another? Measure both, judge, answer first."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path

from suite.commands import pairs
from suite.commands.cluster_link import add_address, connected
from suite.commands.costs import place
from suite.commands.gating import Gate, judged, opened, refreshed, told
from suite.commands.options import (
    ERROR_STATUS,
    REGRESSION_STATUS,
    budget,
    patterns,
    positive,
    refuse_more,
    seeds,
)
from suite.commands.plan import Plan
from suite.commands.processes import stopped_together
from suite.commands.rounds import Rounds, clock_s
from suite.errors import SuiteError
from suite.files import write_atomically
from suite.judge.gate.cost import MARGINS as COSTS
from suite.judge.gate.cost import UNITS
from suite.judge.gate.decide import further
from suite.judge.gate.evidence import ASKED, TRAINING, Side
from suite.judge.gate.finding import NO_WORSE, WORSE
from suite.judge.gate.outcome import MARGINS
from suite.judge.metrics import METRICS
from suite.releases import chosen, read_releases
from suite.report.gate import Told, lines, page
from suite.report.gate_json import verdict
from suite.report.gate_summary import summary
from suite.report.grid import terminal_width
from suite.report.junit import junit

STATUSES = {NO_WORSE: 0, WORSE: REGRESSION_STATUS}
WRITTEN = ("markdown", "summary", "json", "junit")  # options that name a file
ACCURACY = "accuracy"  # as people call the unit of a share of images
SHARE = 0.5  # of the budget, for time and memory at most: seeds need some too


def main(arguments: Sequence[str]) -> int:
    """Measure what is missing of both sides, judge, print the answer first, return its status.

    Raises:
        SuiteError: If a row, a seed or a file cannot be used.
    """
    options, more = _parser().parse_known_args(arguments)
    if options.address or options.no_run:
        refuse_more(more, by="a cluster" if options.address else "what is not run")
    _clear([getattr(options, name) for name in WRITTEN if getattr(options, name)])
    gate, rounds = opened(options), None
    if options.cases and not (gate.wanted or gate.timed):
        named = ",".join(options.cases)
        raise SuiteError(f"--cases {named} names no case, expected of {', '.join(gate.every)}.")
    if not options.no_run:
        with redirect_stdout(sys.stderr):  # what is measured meanwhile: the answer comes first
            rounds = _measure(gate, more)
    found = told(gate, rounds)
    try:
        _write(found, options)
    finally:  # the answer of hours is told even where a file cannot be written
        for line in lines(found, width=terminal_width(), verbose=options.verbose):
            print(line)
    return STATUSES.get(found.answer.decision, ERROR_STATUS)


def _clear(files: Sequence[Path]) -> None:
    """Remove what an earlier gate said: it must not stand for an answer that never came.

    Raises:
        SuiteError: If two are one file, or one is a link, a folder or a device; none is removed.
    """
    for path in files:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise SuiteError(
                f"{path} cannot be written: it is a link, a folder or a device, expected a file."
            )
    if len({path.resolve() for path in files}) < len(files):
        raise SuiteError(
            f"{', '.join(map(str, files))}: found one file twice, expected one for each option."
        )
    for path in files:
        if path.is_file():
            path.unlink()


def _measure(gate: Gate, more: Sequence[str]) -> Rounds:
    """Measure what is missing, in the order of its cost."""
    options, sides = gate.options, [side for side in gate.sides if not side.stored]
    rounds = Rounds(
        rows={
            root: chosen(read_releases(), ",".join(s.release for s in sides if s.root == root))
            for root in {side.root: None for side in sides}
        },
        until_s=clock_s() + options.budget,
        jobs=options.jobs,
        arguments=more,
    )
    with ExitStack() as stack:
        if options.address:
            rounds.cluster = stack.enter_context(connected(options.address, _all(gate, rounds)))
        stack.enter_context(stopped_together(rounds.running))
        for question in filter(lambda question: question != TRAINING, ASKED):
            own = [name for name, case in gate.measured.items() if case.question == question]
            rounds.run(own, _seeds(sides, question, 1))
        if gate.timed and not rounds.over:
            _measure_costs(gate, rounds)
        _measure_outcome(gate, rounds, sides)
    return rounds


def _all(gate: Gate, rounds: Rounds) -> Plan:
    """Plan all that may be measured: what a cluster needs for it is sent there once."""
    rows = [row for rows in rounds.rows.values() for row in rows]
    return Plan(rows, [*gate.wanted], [], gate.options.records)


def _measure_costs(gate: Gate, rounds: Rounds) -> None:
    """Have both rows make steps in turn, for a share of the budget at most."""
    rows = [chosen(read_releases(), side.release)[0] for side in gate.sides]
    pairs.measure(
        gate.sides,
        [*gate.timed],
        [
            pairs.opener(row, side, rounds.arguments)
            for row, side in zip(rows, gate.sides, strict=True)
        ],
        path=place(gate.options.records, gate.sides),
        running=rounds.running,
        until_s=min(rounds.until_s, clock_s() + SHARE * gate.options.budget),
        margins=gate.options.margin,
    )


def _measure_outcome(gate: Gate, rounds: Rounds, sides: Sequence[Side]) -> None:
    """Measure the seeds of the first look, then more of the cases that are not decided."""
    trained = [name for name, case in gate.measured.items() if case.question == TRAINING]
    counts = dict.fromkeys(trained, gate.plan.first)
    most = max(len(side.seeds.get(TRAINING, ())) for side in sides)
    waiting, made = trained, -1
    while waiting and not rounds.over:
        for count in sorted({counts[case] for case in waiting}):
            own = [case for case in waiting if counts[case] == count]
            rounds.run(own, _seeds(sides, TRAINING, count))
        answer, found = judged(refreshed(gate))
        former, made = made, sum(len(evidence.records) for evidence in found)
        more = further(answer, plan=gate.plan) if made > former else {}
        waiting = [case for case in trained if more.get(case) and counts[case] < most]
        for case in waiting:
            counts[case] += more[case]


def _seeds(sides: Sequence[Side], question: str, count: int) -> dict[Path, Sequence[int]]:
    """Pick the first seeds of each side for a question, by the folder of its records."""
    return {side.root: side.seeds.get(question, ())[:count] for side in sides}


def _write(found: Told, options: argparse.Namespace) -> None:
    """Write the answer to the files that the user names.

    Raises:
        RecordError: If one cannot be written.
    """
    for path, text in (
        (options.markdown, page),
        (options.summary, summary),
        (options.json, lambda found: f"{json.dumps(verdict(found), indent=1)}\n"),
        (options.junit, junit),
    ):
        if path:
            write_atomically(path, text(found).encode("utf-8", "replace"))


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
        help="how much worse is no worse, by unit or metric: accuracy=0.02,nats=0.1,time=0.05",
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
    add_address(parser)
    parser.add_argument("--jobs", type=positive, default=2, metavar="N", help="rows at once; 2")
    parser.add_argument("--records", type=Path, default=Path("records"), metavar="DIR")
    parser.add_argument("--baselines", type=Path, default=Path("baselines"), metavar="DIR")
    for name in WRITTEN:
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
        name = "fraction" if name == ACCURACY else name
        decisive = [*UNITS, *(metric for metric, row in METRICS.items() if row.primary)]
        if name not in {*MARGINS, *COSTS, *decisive}:
            units = ", ".join((ACCURACY, *MARGINS, *COSTS))
            raise argparse.ArgumentTypeError(
                f"must name a unit ({units}) or a metric that decides ({', '.join(decisive)}). "
                f"Received: {name:.80}"
            )
        found[name] = float(value)
    return found
