"""Faults of cost: a worker without and one with the fault make steps in turn, as in the gate.

`python -m tests.faults.costs --runs 20` counts how often a planted slowdown is found, and how often
two workers of the same code are told apart.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from suite import machine
from suite.commands.costs import Costs
from suite.commands.outcomes import files_of
from suite.commands.pairs import measure
from suite.commands.processes import Run, stopped_together
from suite.data import load_synthetic
from suite.judge.gate.cost import METRICS
from suite.judge.gate.evidence import Side
from suite.judge.gate.finding import COST, WORSE, Finding
from suite.judge.staleness import Present
from suite.measure.once import Session
from suite.measure.worker import serve
from suite.releases import chosen, read_releases
from suite.stacks.loading import load
from tests.faults import inputs
from tests.faults.bench import RELEASE, TIER
from tests.faults.fault import Fault, wrapped
from tests.faults.score import Outcome

CASES = ("step-time-lenet5", "step-time-resnet50-w0.25")
BUDGET_S = 900.0
CHANGES = {"cost-15-percent-slower": inputs.slower, "cost-30-percent-memory": inputs.heavier}


def begin(address: str, *, folder: Path, fault: str, share: float) -> Run:
    """Start a worker of this Python, with a fault planted in it, or none."""
    release = chosen(read_releases(), RELEASE)[0]
    files = files_of(release, folder, fault or "honest")
    files.log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.faults.costs", "--worker", address]
    command += ["--fault", fault, "--share", str(share)]
    env = {**os.environ, machine.PARENT: str(os.getpid())}
    with files.log.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - of this file
            command, env=env, stdout=log, stderr=log, start_new_session=True
        )
    return Run(release, process, time.perf_counter(), files)


def work(address: str, fault: str, share: float) -> None:
    """Be a worker, with a fault planted that takes a share of a step's time, or none."""
    machine.end_with_parent()
    stack = load()
    said = {"lock_digest": "", "code_digest": "", "library_digest": "", "variables": {}}
    session = Session(
        RELEASE, TIER, Path(), stack, {**said, "machine": machine.describe(stack.gpus())},
        lambda _, size_px: load_synthetic(size_px=size_px),
    )  # fmt: skip
    with contextlib.ExitStack() as planted:
        planted.enter_context(mock.patch.object(inputs, "SLOWER", share))
        if fault:
            place = f"{stack.__name__}:train_step"  # of whichever stack is installed
            planted.enter_context(wrapped(place, CHANGES[fault])())
        serve(address, session)


def findings(
    fault: str,
    share: float,
    *,
    cases: Sequence[str] = CASES,
    margins: dict[str, float] | None = None,
) -> list[Finding]:
    """Measure an honest worker against one with a fault, as the gate does, until it is decided."""
    costs = measured(fault, share, cases=cases, margins=margins)
    return [finding for case in cases for finding in costs.findings(case, margins or {})]


def measured(
    fault: str,
    share: float,
    *,
    cases: Sequence[str],
    margins: dict[str, float] | None = None,
) -> Costs:
    """Let an honest worker and one with a fault make steps in turn."""
    now = Present({}, "", "", {}, "", "")
    side = Side(RELEASE, RELEASE, Path(), TIER, {}, now)
    running: list[Run] = []
    with TemporaryDirectory() as folder, stopped_together(running):
        openers: list[Callable[[str], Run]] = [
            functools.partial(begin, folder=Path(folder, str(n)), fault=name, share=share)
            for n, name in enumerate(("", fault))
        ]
        return measure(
            (side, side), cases, openers, path=Path(folder, "costs.json"), running=running,
            until_s=time.perf_counter() + BUDGET_S, margins=margins or {},
        )  # fmt: skip


def outcome(fault: Fault) -> Outcome:
    """Tell whether the cost layer finds a fault, and in which words."""
    start = time.perf_counter()
    made = findings(fault.name, inputs.SLOWER, cases=CASES[:1])
    found = Outcome(fault.name, fault.group, fault.what, seconds=time.perf_counter() - start)
    worse = [each for each in made if each.decision == WORSE]
    if not worse:
        return found
    words = " ".join(f"{each.metric}: {each.words}" for each in worse)
    named = bool(re.search(fault.named, words))
    return found._replace(layer=COST, case=worse[0].case, words=words, named=named)


def trial(runs: int, share: float, out: Path) -> None:
    """Make runs with and without a planted slowdown, one of each in turn; write what each found.

    What the file holds already counts, so that the same command goes on with it.
    """
    former = len(out.read_text().splitlines()) // 2 if out.exists() else 0
    for run in range(former, runs):
        for fault in ("", "cost-15-percent-slower"):
            start, load_before = time.perf_counter(), os.getloadavg()[0]
            made = findings(fault, share)
            row = {
                "run": run, "planted": share if fault else 0.0,
                "seconds": round(time.perf_counter() - start),
                "load": [load_before, os.getloadavg()[0]],
                "findings": [each._asdict() for each in made],
            }  # fmt: skip
            with out.open("a") as file:
                file.write(f"{json.dumps(row)}\n")
    for planted in (0.0, share):
        print(summary(out, planted))  # noqa: T201 - a command prints


def summary(out: Path, planted: float) -> str:
    """Count the decisions of each case and metric over the runs."""
    rows = [
        row for row in map(json.loads, out.read_text().splitlines()) if row["planted"] == planted
    ]
    lines = [f"planted {100 * planted:g} %: {len(rows)} runs"]
    for case in CASES:
        for metric in METRICS:
            ends = [
                each["decision"]
                for row in rows
                for each in row["findings"]
                if (each["case"], each["metric"]) == (case, metric)
            ]
            counted = ", ".join(f"{ends.count(end)} {end}" for end in sorted({*ends}))
            lines.append(f"  {case} {metric}: {counted}")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Be a worker, or make the runs."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.costs")
    parser.add_argument("--worker", metavar="SOCKET")
    parser.add_argument("--fault", default="")
    parser.add_argument("--share", type=float, default=0.1, help="of a step, that is planted")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("costs.jsonl"), metavar="FILE")
    options = parser.parse_args(arguments)
    if options.worker:
        work(options.worker, options.fault, options.share)
    else:
        trial(options.runs, options.share, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
