"""`bisect`: what made a release worse? First the row, then the package, then its version."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from suite.cases import Case
from suite.commands.bisecting import bisect
from suite.commands.gating import Gate, opened, refreshed, unjudged
from suite.commands.intermediate import Bench, Point, copy_of_project, new_removed, row_point
from suite.commands.options import ERROR_STATUS, REGRESSION_STATUS, budget, named, patterns
from suite.commands.probing import Search
from suite.commands.processes import stopped_together
from suite.commands.rounds import Rounds, clock_s
from suite.errors import BudgetError, SuiteError
from suite.files import write_atomically
from suite.judge.gate import draws, limits, stalls, steps
from suite.judge.gate.decide import decide, further
from suite.judge.gate.evidence import ATTACK, DRAWS, STEPS, TRAINING, Evidence, gathered
from suite.judge.gate.finding import UNDECIDED, Answer, Finding
from suite.judge.gate.symptom import gravest, symptom_of
from suite.judge.metrics import METRICS
from suite.judge.parity.distances import TOLERANCES
from suite.judge.verdicts import listed
from suite.releases import chosen, read_releases
from suite.report.bisect import NAMED, NOTHING, Result, as_json, lines
from suite.report.grid import terminal_width

STATUSES = {NAMED: REGRESSION_STATUS, NOTHING: 0}
FOLDER = ".bisect"  # in that of all records; hidden, as its records are of no row
SEEN = "time, memory and the attack's cases were not looked at"
QUESTION_OF = {
    **dict.fromkeys([*TOLERANCES, steps.METRIC], STEPS),
    **dict.fromkeys(draws.QUANTITIES, DRAWS),
}
"""The one question that a quantity is of; a metric is of training."""

SHOWN = 3  # reasons for which nothing can be decided
PLACES = (
    "GTSRB_ROOT", "GTSRB_ORIGINALS", "SUITE_CACHE", "UV_CACHE_DIR", "UV_CONFIG_FILE",
    "UV_FIND_LINKS", "PIP_FIND_LINKS",
)  # fmt: skip
"""Variables that name a place: environments are made in another folder than the current one."""


class Worse(NamedTuple):
    """What the gate's judging says of the two rows.

    Attributes:
        findings: What is worse, the cheapest layer first.
        answer: All that was judged.
        found: The evidence of both sides.
        notes: What is worth to know of the measuring.
    """

    findings: Sequence[Finding]
    answer: Answer
    found: Sequence[Evidence]
    notes: Sequence[str] = ()


def main(arguments: Sequence[str]) -> int:
    """Look for the cause, print the answer first, return its status.

    Raises:
        SuiteError: If a row, a case, a metric or a file cannot be used.
    """
    options, more = _parser().parse_known_args(arguments)
    options.metric = options.metric or ""
    if options.gtsrb_root:
        os.environ["GTSRB_ROOT"] = str(options.gtsrb_root)
    _make_absolute()
    result = Result(options.baseline, options.candidate)
    with redirect_stdout(sys.stderr):  # what is tried meanwhile: the answer comes first
        _search(options, more, result)
    try:
        if options.json:
            write_atomically(options.json, f"{json.dumps(as_json(result), indent=1)}\n".encode())
    finally:  # the answer of hours is told even where a file cannot be written
        for line in lines(result, width=terminal_width()):
            print(line)
    return STATUSES.get(result.end, ERROR_STATUS)


def _make_absolute() -> None:
    """Make the places absolute that environment variables name."""
    for name in PLACES:
        value = os.environ.get(name, "")
        if value and Path(value).exists():
            os.environ[name] = str(Path(value).resolve())


def _search(options: argparse.Namespace, more: Sequence[str], result: Result) -> None:
    """Find what is worse, and then why."""
    until_s, root = clock_s() + options.budget, (options.records / FOLDER).resolve()
    gate = _opened(options)
    ends = _ends(options)
    with (
        _alone(root),
        stopped_together([]),
        new_removed(ends, root),
        copy_of_project(root) as project,
    ):
        try:
            worse = _worse(gate, more, until_s)
            if not worse.findings:
                _tell_nothing(gate, worse, result, over=clock_s() >= until_s)
                return
            search = _search_of(gate, worse, Bench(until_s, more, project), root)
            result.symptom, result.steps = search.symptom, search.steps
            result.others = len(worse.findings) - 1
            _go_through(search, result)
        except BudgetError as error:
            result.undecided = f"{error} The same command goes on with it"


def _go_through(search: Search, result: Result) -> None:
    """Search for the cause; an error ends the chain, which is told all the same.

    Raises:
        BudgetError: If the budget is spent.
    """
    try:
        bisect(search, result)
    except BudgetError:
        raise
    except SuiteError as error:
        result.undecided = str(error)


def _ends(options: argparse.Namespace) -> list[Point]:
    """Give the environments of the two rows."""
    rows = chosen(read_releases(), f"{options.baseline},{options.candidate}")
    return [row_point(row, options.records) for row in rows]


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Let one search at a time use a folder.

    Raises:
        SuiteError: If another one is at work there.
    """
    root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(root / "lock", timeout=0):
            yield
    except Timeout as error:
        raise SuiteError(
            f"another bisect is at work in {root}. Wait for it, or name another --records DIR."
        ) from error


def _opened(options: argparse.Namespace) -> Gate:
    """Find out what is compared, by the gate's own rules.

    Raises:
        SuiteError: If a row, a case or a metric is none, or both rows are the same.
    """
    _check(options.metric)
    gate = opened(options)
    gate = gate._replace(
        cases={name: case for name, case in gate.cases.items() if case.question != ATTACK}
    )
    if options.baseline == options.candidate:
        raise SuiteError(f"--baseline and --candidate are both {options.baseline}, expected two.")
    if not gate.wanted:
        names = ", ".join(gate.cases)
        raise SuiteError(f"--case {','.join(options.cases)} fits no case, expected one of {names}.")
    related = {name: case for name, case in gate.cases.items() if _belongs(case, gate)}
    return _narrowed(gate._replace(options=_with_cases(options, [*gate.wanted, *related])))


def _check(metric: str) -> None:
    """Check that a metric or a quantity is one that is looked at.

    Raises:
        SuiteError: If it is not.
    """
    own = [name for name, row in METRICS.items() if not row.per_machine]
    others = [*QUESTION_OF, limits.METRIC, stalls.METRIC]
    if metric and metric not in (*own, *others):
        raise SuiteError(
            f"--metric {metric} is none that is looked at, expected one of "
            f"{', '.join([*own, *others])}."
        )


def _narrowed(gate: Gate) -> Gate:
    """Leave the cases alone that a quantity is of: it needs no seed to be trained.

    Raises:
        SuiteError: If there are none.
    """
    metric = gate.options.metric
    question = QUESTION_OF.get(metric)
    if not question:
        return gate
    own = {name: case for name, case in gate.wanted.items() if case.question == question}
    if not own:
        raise SuiteError(
            f"--metric {metric} is looked for in the cases called {question}-..., of which none is "
            "asked for. Name one with --case, or leave --case or --metric out."
        )
    return gate._replace(cases=own)


def _belongs(case: Case, gate: Gate) -> bool:
    """True for a cheaper case of a network and loss that is asked for: it may show why."""
    return case.question in (STEPS, DRAWS) and any(
        own.question == TRAINING
        and own.net == case.net
        and (case.question == DRAWS or own.loss == case.loss)
        for own in gate.wanted.values()
    )


def _with_cases(options: argparse.Namespace, cases: Sequence[str]) -> argparse.Namespace:
    """Copy the options with cases of their own."""
    return argparse.Namespace(**{**vars(options), "cases": [*dict.fromkeys(cases)]})


def _worse(gate: Gate, more: Sequence[str], until_s: float) -> Worse:
    """Judge the records that are there; measure what is missing, the cheapest layer first."""
    worse = _judged(gate)
    if worse.findings:
        return worse
    rows = chosen(read_releases(), f"{gate.options.baseline},{gate.options.candidate}")
    rounds = Rounds({gate.options.records: rows}, until_s, jobs=gate.options.jobs, arguments=more)
    with stopped_together(rounds.running):
        for question in (STEPS, DRAWS):
            cases = [name for name, case in gate.wanted.items() if case.question == question]
            rounds.run(cases, {gate.options.records: [0]})
            worse = _judged(gate)
            if worse.findings:
                return worse
        return _trained(gate, rounds)._replace(notes=rounds.notes())


def _trained(gate: Gate, rounds: Rounds) -> Worse:
    """Measure the seeds of the first look, then of the next ones for what is not decided."""
    waiting = [name for name, case in gate.wanted.items() if case.question == TRAINING]
    for count in gate.plan.looks:
        rounds.run(waiting, {gate.options.records: [*range(count)]})
        worse = _judged(gate)
        more = further(worse.answer, plan=gate.plan)
        waiting = [case for case in waiting if more.get(case)]
        if worse.findings or not waiting or rounds.over:
            return worse
    return worse


def _judged(gate: Gate) -> Worse:
    """Judge the records that are there: all but time and memory, which no search explains."""
    found = [gathered(side, gate.wanted) for side in refreshed(gate).sides]
    expected = [(name, _first(gate, case)) for name, case in gate.wanted.items()]
    answer = decide(
        *(side.name for side in gate.sides),
        before=found[0].records,
        after=found[1].records,
        expected=expected,
        expected_before=expected,
        plan=gate.plan,
    )
    missing = [*(text for each in found for text in each.missing), *answer.missing]
    answer = answer._replace(missing=missing)
    answer = answer._replace(missing=[*missing, *unjudged(gate, answer)])
    return Worse(_asked(gate.options.metric, answer, found), answer, found)


def _first(gate: Gate, case: Case) -> range:
    """Give the seeds without which a case is not judged."""
    return range(gate.plan.first if case.question == TRAINING else 1)


def _asked(metric: str, answer: Answer, found: Sequence[Evidence]) -> list[Finding]:
    """List what is worse, of a metric or a quantity if one is named, the cheapest layer first."""
    if metric in TOLERANCES:
        return [finding for finding in gravest(answer) if _parts(finding, metric, found)]
    return gravest(answer, metric=metric)


def _parts(finding: Finding, quantity: str, found: Sequence[Evidence]) -> bool:
    """True where a quantity of the step map parts."""
    records = [evidence.records for evidence in found]
    return symptom_of(finding, *records, quantity=quantity).quantity == quantity


def _search_of(gate: Gate, worse: Worse, bench: Bench, root: Path) -> Search:
    """Prepare the search for the cause of what is worse in the cheapest layer and case."""
    options = gate.options
    before, after = (evidence.records for evidence in worse.found)
    seconds = {record.case: record.wall_s for record in after}
    layer = worse.findings[0].layer
    own = [finding for finding in worse.findings if finding.layer == layer]
    finding = min(own, key=lambda each: seconds.get(each.case, 0.0))
    quantity = options.metric if options.metric in TOLERANCES else ""
    baseline, candidate = _ends(options)
    return Search(
        symptom=symptom_of(finding, before, after, quantity=quantity),
        baseline=baseline,
        candidate=candidate,
        records=options.records,
        root=root,
        bench=bench,
        margins=options.margin,
    )


def _tell_nothing(gate: Gate, worse: Worse, result: Result, *, over: bool) -> None:
    """Say that nothing is worse, or only what was not asked for, or what is missing for that."""
    result.metric = metric = gate.options.metric
    own, others = _looked_at(metric, worse.answer), gravest(worse.answer)
    looked = f"{len(own)} findings were judged, {', '.join(_counted(own))}"
    open_ = [f for f in own if f.decision == UNDECIDED]
    reasons = [*(_said(f) for f in [*others, *open_]), *worse.answer.missing]
    if own and not reasons:
        result.nothing = f"{looked} ({listed(sorted({f.case for f in own}))}); {SEEN}"
        return
    spent = "the budget is spent, and " if over else ""
    parts = "does not part" if metric in TOLERANCES else "was not found to be worse"
    what = f"{metric} {parts}" if metric else "nothing is worse"
    why = _some(reasons or ["no record that is judged has it"])
    result.undecided = f"{spent}{what} in what was judged, but {why}"
    hint = ["Without --metric the cause of what is worse is looked for."] if others else []
    result.notes = [f"{looked}." if own else "Nothing was judged.", *hint, *worse.notes]


def _looked_at(metric: str, answer: Answer) -> list[Finding]:
    """List the findings that decide, of a metric if one is named; of a diagnostic, all."""
    wanted = "" if metric in TOLERANCES else metric
    own = [f for f in answer.findings if wanted in ("", f.metric)]
    deciding = [f for f in own if f.primary]
    return deciding or (own if wanted else [])


def _said(finding: Finding) -> str:
    """Say what was decided of a finding, and why."""
    words = finding.words.rstrip(".")
    return f"{finding.case}, {finding.metric}, is {finding.decision} ({words})"


def _some(reasons: Sequence[str]) -> str:
    """Give the first reasons, and count the others."""
    more = [f"and {len(reasons) - SHOWN} more"] if len(reasons) > SHOWN else []
    return "; ".join([*(reason.rstrip(".") for reason in reasons[:SHOWN]), *more])


def _counted(findings: Sequence[Finding]) -> list[str]:
    """Count findings by their layers."""
    counts = Counter(finding.layer for finding in findings)
    return [f"{count} of the {layer}" for layer, count in counts.items()]


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="nox -s bisect --",
        description="Find the row, the package and the version that made a release worse; exit "
        "status 0: nothing is worse, 1: a culprit is named, 2: undecided. Further options are "
        "those of a benchmark run.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--baseline", type=named, required=True, metavar="ROW", help="the row that is good"
    )
    parser.add_argument(
        "--candidate", type=named, required=True, metavar="ROW", help="the row that may be worse"
    )
    parser.add_argument(
        "--case", dest="cases", type=patterns, default=[], metavar="PATTERN,...",
        help="look at these alone, and at the step map of their networks; all",
    )  # fmt: skip
    parser.add_argument(
        "--metric", type=named, metavar="NAME",
        help="what is worse: a metric, or a quantity of the step map; what the gate calls worse",
    )  # fmt: skip
    parser.add_argument(
        "--budget", type=budget, default=1800, metavar="30m", help="time to measure in; 30m"
    )
    parser.add_argument("--records", type=Path, default=Path("records"), metavar="DIR")
    parser.add_argument(
        "--gtsrb-root", type=Path, metavar="DIR", help="folder of GTSRB's archives; GTSRB_ROOT"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the chain here")
    parser.set_defaults(
        baselines=Path("baselines"), seeds=None, stale=False, no_run=True, margin={}, jobs=2
    )
    return parser
