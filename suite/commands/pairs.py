"""Pairs: steps of two releases, made by a worker of each in turn, until it is clear what they cost.

A worker is a benchmark run of its row that does nothing but what it is asked at a Unix socket
(`suite.measure.worker`): environment, lock and variables are those of any other run.
"""

from __future__ import annotations

import functools
import json
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Client
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from suite.commands.costs import Costs, read, stale, write
from suite.commands.outcomes import outcome_of
from suite.commands.processes import GRACE_S, POLL_S, Run, start, stop
from suite.errors import RecordError, SuiteError
from suite.judge.gate.cost import FEWEST_BLOCKS, LOOKS, TIME, Start, precise
from suite.judge.gate.evidence import Side
from suite.locks import fault, lock_of
from suite.releases import Release
from suite.report.text import printable
from suite.report.waiting import waiting

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from typing import TypeAlias

    Ask: TypeAlias = Callable[[int], Mapping[str, Any]]
    Open: TypeAlias = Callable[[str], Run]

JOB = "cost"  # names the logs and reports
BLOCKS, MOST_BLOCKS = 30, 100  # pairs of blocks a start: more where they scatter
BLOCK_S = 0.2  # of one side: a pair lies within the same second
FEWEST, MOST = 5, 50  # steps in a block
HANG_UP_S = 20.0  # for workers to end by themselves: pytest and nox report first
ANSWER_S = 600.0  # for an answer: the first takes as long as making the model
ADDRESS_BYTES = 100  # that a Unix socket's path may have
clock_s = time.perf_counter


class Worker(NamedTuple):
    """A worker that is connected.

    Attributes:
        run: Its process.
        connection: To its socket.
        said: What it said of its environment.
    """

    run: Run
    connection: Connection
    said: dict[str, Any]

    def ask(self, case: str, steps: int) -> dict[str, Any]:
        """Have some steps of a case made; give their seconds and the memory's peak.

        What is asked is waited for, though the budget ends meanwhile: it is a fraction of a second.

        Raises:
            SuiteError: If the worker ends or does not answer in `ANSWER_S`.
        """
        try:
            self.connection.send_bytes(json.dumps({"case": case, "steps": steps}).encode())
        except ConnectionError as error:
            raise SuiteError(_last_words(self.run)) from error
        return _received(self.run, self.connection, math.inf)


def _received(run: Run, connection: Connection, until_s: float) -> dict[str, Any]:
    """Wait for a worker's next message.

    Raises:
        SuiteError: If the worker ends or does not answer in time.
    """
    limit_s = max(0.0, min(ANSWER_S, until_s - clock_s()))
    try:
        if not connection.poll(limit_s):
            raise SuiteError(f"the worker of {run.release} did not answer within {limit_s:.0f} s")
        found: dict[str, Any] = json.loads(connection.recv_bytes())
    except (EOFError, ConnectionError) as error:
        raise SuiteError(_last_words(run)) from error
    return found


def _last_words(run: Run) -> str:
    """Say why a worker has ended, once its process has."""
    deadline_s = clock_s() + GRACE_S
    while run.process.poll() is None and clock_s() < deadline_s:
        time.sleep(POLL_S)
    status = run.process.poll()
    outcome = outcome_of(run.files, status=status or 0, seconds=0.0, lock_digest="")
    said = outcome.reason or f"it ended with status {status}"
    return f"the worker of {run.release} ended: {said} (log in {run.files.log})"


def connected(run: Run, address: str, *, until_s: float) -> Worker:
    """Wait for a worker's socket, which it makes when its framework is loaded, and connect.

    Raises:
        SuiteError: If it ends before, or takes too long.
    """
    while run.process.poll() is None:
        try:
            connection = Client(address, family="AF_UNIX")
        except (FileNotFoundError, ConnectionRefusedError):
            if clock_s() > until_s:
                raise SuiteError(f"the worker of {run.release} was not there in time") from None
            time.sleep(POLL_S)
        else:
            return Worker(run, connection, _received(run, connection, until_s))
    raise SuiteError(_last_words(run))


def opener(row: Release, side: Side, arguments: Sequence[str]) -> Open:
    """Give what starts the worker of a row at an address."""

    def started(address: str) -> Run:
        unfit = None if row.unpinned else fault(lock_of(row))
        if unfit:
            raise SuiteError(f"{row}: {unfit.text}")
        return start(row, side.root, [*arguments, "--worker", address], job=JOB)

    return started


@contextmanager
def workers(
    openers: Sequence[Open], running: list[Run], *, until_s: float
) -> Iterator[list[Worker]]:
    """Start a worker a side, one after the other as both may share an environment; end them.

    Args:
        openers: Start the worker of each side.
        running: Holds what is running meanwhile, so that a signal can stop it.
        until_s: The clock at which the budget is spent.

    Raises:
        SuiteError: If one cannot be started.
    """
    made: list[Worker] = []
    runs: list[Run] = []
    with TemporaryDirectory(prefix="cost-") as folder:
        try:
            for number, begin in enumerate(openers):
                address = str(Path(folder, str(number)))
                if len(address.encode()) > ADDRESS_BYTES:
                    raise SuiteError(f"{address} is too long for a socket: give a shorter TMPDIR")
                runs.append(begin(address))
                running.append(runs[-1])
                made.append(connected(runs[-1], address, until_s=until_s))
            yield made
        finally:
            _end(made, runs)
            for run in runs:
                running.remove(run)


def _end(made: Sequence[Worker], runs: Sequence[Run]) -> None:
    """Hang up, upon which workers end by themselves; stop those that do not."""
    for worker in made:
        worker.connection.close()
    deadline_s = clock_s() + HANG_UP_S * bool(made)
    while any(run.process.poll() is None for run in runs) and clock_s() < deadline_s:
        time.sleep(POLL_S)
    stop(runs)


def alternated(asks: Sequence[Ask], draw: random.Random, *, until_s: float) -> Start:
    """Have both sides make blocks of steps in turn, in an order that is drawn for each pair.

    Of each block the fastest step counts: where ten processes share two cores, most steps are
    interrupted, and their median is that of the others' work.

    Args:
        asks: Make a number of steps on the baseline, and on the candidate.
        draw: Draws the order.
        until_s: The clock at which to end, if enough was measured by then.

    Raises:
        SuiteError: If too little was.
    """
    if clock_s() >= until_s:
        raise SuiteError(f"the budget was spent after 0 of {FEWEST_BLOCKS} pairs")
    first = [ask(FEWEST) for ask in asks]  # makes the model
    step_s = max(statistics.median(answer["step_s"]) for answer in first)
    count = min(MOST, max(FEWEST, round(BLOCK_S / step_s)))
    pairs: list[tuple[float, float]] = []
    peaks = [0.0, 0.0]
    while not _enough(pairs) and clock_s() < until_s:
        fastest = [0.0, 0.0]
        for side in draw.sample((0, 1), 2):
            answer = asks[side](count)
            fastest[side] = min(answer["step_s"])
            peaks[side] = max(peaks[side], answer.get("peak_memory_bytes", 0.0))
        pairs.append((fastest[0], fastest[1]))
    if len(pairs) < FEWEST_BLOCKS:
        raise SuiteError(f"the budget was spent after {len(pairs)} of {FEWEST_BLOCKS} pairs")
    return Start(pairs, (peaks[0], peaks[1]) if all(peaks) else None)


def _enough(pairs: Sequence[tuple[float, float]]) -> bool:
    """True where further pairs of blocks are not worth their time."""
    known = len(pairs) >= BLOCKS and precise(Start(pairs).ratios(TIME))
    return known or len(pairs) >= MOST_BLOCKS


def measure(
    sides: tuple[Side, Side],
    cases: Sequence[str],
    openers: Sequence[Open],
    *,
    path: Path,
    running: list[Run],
    until_s: float,
    margins: Mapping[str, float],
) -> Costs:
    """Measure until every case is decided, there were `LOOKS` starts, or the budget is spent.

    What is stored and still of the present counts, so that the same command goes on with it. What
    goes wrong is stored too, as the reason why something is undecided.

    Args:
        sides: The baseline and the candidate.
        cases: Names of the cases whose steps are timed.
        openers: Start the worker of each side.
        path: Where the result is stored after each start.
        running: As of `workers`.
        until_s: The clock at which the budget is spent.
        margins: As of `cost_findings`.

    Raises:
        RecordError: If the result cannot be written.
    """
    costs = _kept(path, sides)
    costs.fault = ""
    while _waiting(costs, cases, margins):
        try:
            with workers(openers, running, until_s=until_s) as pair:
                said = [worker.said for worker in pair]
                costs = costs if costs.sides == said else Costs(said)
                _start(costs, pair, _waiting(costs, cases, margins), until_s=until_s)
        except SuiteError as error:
            costs.fault = str(error)
            break
        finally:
            write(costs, path)
    return costs


def _kept(path: Path, sides: tuple[Side, Side]) -> Costs:
    """Read what is stored and still of the present; nothing where it cannot be read."""
    try:
        costs = read(path)
    except RecordError as error:
        print(printable(f"{error} It is measured anew."), flush=True)
        return Costs()
    return Costs() if costs.sides and any(stale(costs, sides)) else costs


def _start(costs: Costs, pair: Sequence[Worker], cases: Sequence[str], *, until_s: float) -> None:
    """Have one start of both workers time the steps of some cases.

    Raises:
        SuiteError: As of `alternated`.
    """
    for case in cases:
        print(f"timing steps of {case} in turn", flush=True)
        asks = [functools.partial(worker.ask, case) for worker in pair]
        with waiting(f"timing steps of {case} in turn"):
            made = alternated(asks, random.Random(), until_s=until_s)  # noqa: S311
        costs.starts.setdefault(case, []).append(made)


def _waiting(costs: Costs, cases: Sequence[str], margins: Mapping[str, float]) -> list[str]:
    """Pick the cases that are not decided and have a look left."""
    undecided = costs.open(cases, margins)
    return [case for case in undecided if len(costs.starts.get(case, [])) < LOOKS]
