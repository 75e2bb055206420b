"""Rows of the release table in turn: each is measured in its own environment, or refused."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from suite.commands.outcomes import outcome_of, untried
from suite.commands.processes import POLL_S, Run, start
from suite.judge.compatibility import Outcome
from suite.locks import fault, lock_digest, lock_of
from suite.releases import Release
from suite.report.waiting import Part, watching


def in_turn(
    rows: Sequence[Release],
    running: list[Run],
    *,
    records: Path,
    jobs: int = 1,
    arguments: Sequence[str] = (),
    job: str = "matrix",
    until_s: float = math.inf,
) -> Iterator[tuple[Release, Outcome]]:
    """Start the rows as others end, and tell of each what became of it.

    Args:
        rows: Rows of the release table, in the order in which they start.
        running: Holds what is running meanwhile, so that the caller can stop it.
        records: Where records, logs and reports go.
        jobs: Rows that run at the same time.
        arguments: Passed on to pytest.
        job: Names the logs and reports.
        until_s: The clock at which to end, whatever is still running.

    Yields:
        The row and what became of it.

    Raises:
        RecordError: If a report cannot be written.
    """
    waiting = list(rows)
    while (waiting or running) and time.perf_counter() < until_s:
        while waiting and len(running) < jobs:
            row = waiting.pop(0)
            refused = _refused(row)
            if refused:
                yield row, refused
            else:
                running.append(start(row, records, arguments, job=job))
        ended = [run for run in running if run.process.poll() is not None]
        for run in ended:
            running.remove(run)
            yield run.release, _ended(run)
        if not ended:  # else another row can start
            _wait(running, until_s)


def _wait(running: Sequence[Run], until_s: float) -> None:
    """Wait until a row has ended or the time is over, and show meanwhile what the rows are at."""
    with watching(functools.partial(print, flush=True)) as show:
        while running and time.perf_counter() < until_s:
            if any(run.process.poll() is not None for run in running):
                return
            now_s = time.perf_counter()
            show([Part(run.release.name, now_s - run.started_s, run.files.log) for run in running])
            time.sleep(POLL_S)


def _refused(row: Release) -> Outcome | None:
    """Tell why a row is not started: its lock is stale, so another release would be measured."""
    found = None if row.unpinned else fault(lock_of(row))
    return untried(found, lock_digest=lock_digest(row)) if found else None


def _ended(run: Run) -> Outcome:
    """Tell what became of a row whose process has ended."""
    return outcome_of(
        run.files,
        status=run.process.returncode,
        seconds=time.perf_counter() - run.started_s,
        lock_digest=lock_digest(run.release),
    )
