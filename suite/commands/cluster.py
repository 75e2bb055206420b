"""`cluster`: measure cases and seeds of the rows on a cluster of Ray; answer first."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path

from suite import tables
from suite.commands.cluster_jobs import LOGS, Result, line
from suite.commands.cluster_link import add_address, connected
from suite.commands.cluster_node import Job
from suite.commands.costs import matches
from suite.commands.options import (
    ERROR_STATUS,
    INTERRUPTED_STATUS,
    REGRESSION_STATUS,
    patterns,
    positive,
    release_table,
    seeds,
)
from suite.commands.plan import SESSIONS, Plan
from suite.commands.processes import stopped_together
from suite.errors import SuiteError
from suite.releases import Release, chosen, read_releases
from suite.report.text import printable
from suite.tables import TIERS


def main(arguments: Sequence[str]) -> int:
    """Measure what has no record that holds, print what is there and what is missing, and why.

    Raises:
        SuiteError: If a name is none, no cluster answers, or data, locks or records are at fault.
    """
    options = _parser().parse_args(arguments)
    plan, results = planned(options), list[Result]()
    lacking, began_s, interrupted = plan.lacking(), time.perf_counter(), False
    with redirect_stdout(sys.stderr):  # what happens meanwhile: the answer comes first
        try:
            if lacking:
                _measure(options, plan, lacking, results)
        except KeyboardInterrupt:
            interrupted = True
    left = plan.lacking()
    seconds = time.perf_counter() - began_s
    for told in answer(plan, lacking, left, results, seconds=seconds):
        print(printable(told))
    if interrupted:
        print("interrupted; the same command goes on with it")
        return INTERRUPTED_STATUS
    if left:
        return ERROR_STATUS
    return REGRESSION_STATUS if any(result.reason for result in results) else 0


def planned(options: argparse.Namespace) -> Plan:
    """Read what is to be measured.

    Raises:
        SuiteError: If a row or a case is none, or the tier has no such row.
    """
    rows = _rows(options)
    cases = [name for name in measurable(options.tier) if matches(name, options.cases)]
    if not cases:
        raise SuiteError(
            f"--cases {','.join(options.cases)} names no case of the {options.tier} tier, which "
            f"has {', '.join(measurable(options.tier))}."
        )
    return Plan(rows, cases, options.seeds, options.records, options.tier)


def measurable(tier: str) -> list[str]:
    """Name the cases that tests of the tier ask for: states are made by a session of their own."""
    names = (name for name in tables.TABLES if name != "states")
    asked = (case for name in names for case in tables.table(name, tier=tier))
    return [*dict.fromkeys(str(case) for case in asked if case.weights != "photographs")]


def _rows(options: argparse.Namespace) -> tuple[Release, ...]:
    """Pick the rows: of the tier's table those that have a lock, or those that are named.

    Raises:
        SuiteError: If a name is no row, or quickstart is asked of another row than its own.
    """
    table = "gpu-releases" if TIERS[options.tier].gpu else "releases"
    known, default = read_releases(table=table), str(release_table()["default"])
    if options.tier == "quickstart":
        if options.rows not in (None, default):
            raise SuiteError(f"the quickstart tier runs on {default} alone. Leave --rows out.")
        return chosen(known, default)
    pinned = tuple(row for row in known if not row.unpinned)
    return pinned if options.rows is None else chosen(known, options.rows)


def _measure(
    options: argparse.Namespace, plan: Plan, lacking: Sequence[Job], results: list[Result]
) -> None:
    """Measure on the cluster, and tell of each job when it has ended."""
    print(f"{len(lacking)} job{'s' * (len(lacking) > 1)} to run", flush=True)
    with (
        connected(options.address, plan, cpus=options.cpus) as cluster,
        stopped_together([]),
    ):
        for number, result in enumerate(cluster.run(plan), start=1):
            results.append(result)
            print(printable(f"{number}/{len(lacking)} {line(result)}"), flush=True)


def answer(
    plan: Plan,
    lacking: Sequence[Job],
    left: Sequence[Job],
    results: Sequence[Result],
    *,
    seconds: float,
) -> Iterator[str]:
    """Yield what is there and what is missing, with the reasons.

    Args:
        plan: What was asked for.
        lacking: What had no record at the beginning.
        left: What has none now.
        results: What became of the jobs.
        seconds: How long it took.
    """
    every = len(plan.rows) * len(plan.cases) * len(plan.seeds)
    before, after = (every - sum(len(job.seeds) for job in jobs) for jobs in (lacking, left))
    nodes = len({result.node for result in results if result.node})
    now = f", {after - before} measured now in {seconds:.0f} s" if lacking else ""
    there = f" on {nodes} node{'s' * (nodes > 1)}" if nodes else ""
    yield f"{after} of {every} records are there{now}{there}; they lie in {plan.records}."
    reasons = {(result.job.row, result.job.case): result.reason for result in results}
    for job in left:
        why = reasons.get((job.row, job.case)) or reasons.get((job.row, "")) or "it was not run"
        log = plan.records / job.row / LOGS / f"{job.case}.log"
        yield f"MISSING {job}: {why}{f'; log: {log}' if log.exists() else ''}"
    for result in results:
        if result.reason and not result.missing:
            yield f"measured, but not as expected: {result.job}: {result.reason}"


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="nox -s cluster --",
        description="Measure rows, cases and seeds on a cluster of Ray; what has its record is "
        "not run again. Exit status 0: all are there, 1: a check failed, 2: some are missing.",
        allow_abbrev=False,
    )
    add_address(parser, required=True)
    parser.add_argument("--rows", metavar="A,B", help="these rows of the release table; all")
    parser.add_argument("--seeds", type=seeds, default=[0], metavar="0,1", help="of each case; 0")
    parser.add_argument(
        "--cases", type=patterns, default=[], metavar="PATTERN,...", help="these cases; all"
    )
    parser.add_argument("--tier", choices=SESSIONS, default="small", help="their size; small")
    parser.add_argument(
        "--cpus", type=positive, metavar="N", help="processors of a job; those of the smallest node"
    )
    parser.add_argument("--records", type=Path, default=Path("records"), metavar="DIR")
    return parser
