"""The processes of a matrix: one nox session a row, started and stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from suite.errors import RecordError
from suite.locks import lock_of, problem
from suite.releases import Release

NOX = (sys.executable, "-m", "nox", "--non-interactive")
POLL_S = 0.1  # rows run for minutes
GRACE_S = 5.0  # for a stopped row's processes to end by themselves
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, `kill`, a closed terminal


class Run(NamedTuple):
    """A row that is running.

    Attributes:
        release: The row.
        process: Nox, the leader of a process group of its own.
        started_s: The clock when it started.
    """

    release: Release
    process: subprocess.Popen[bytes]
    started_s: float


@contextmanager
def stopped_together(running: Sequence[Run]) -> Iterator[None]:
    """Stop all that is `running` when the block is left, by one of `STOPS` too.

    A signal that is ignored still is: `nohup` and a shell's background ask for that.
    """
    former = {number: signal.getsignal(number) for number in STOPS}
    for number, handler in former.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in STOPS:
            signal.signal(number, signal.SIG_IGN)  # stopping is not to be stopped
        _stop(running)
        for number, handler in former.items():
            signal.signal(number, handler)


def _stop(running: Sequence[Run]) -> None:
    """End the processes of the rows that still run, by force where they do not end themselves."""
    live = [run for run in running if run.process.poll() is None]
    for run in live:
        os.killpg(run.process.pid, signal.SIGTERM)
    for run in live:
        try:
            run.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(run.process.pid, signal.SIGKILL)
            run.process.wait()
    for run in live:  # last: a terminal that hung up cannot be printed to
        print(f"{run.release} stopped; the same command goes on with it", flush=True)


def start(release: Release, records: Path, arguments: Sequence[str]) -> Run:
    """Start one row; its lock is checked first, for a stale one would measure something else."""
    command = [*NOX, "-s", f"benchmarks({release})", "--", *arguments]
    command += ["--records", str(records.resolve())]
    fault = "" if release.unpinned else problem(lock_of(release))
    if fault:
        command = [sys.executable, "-c", f"raise SystemExit({f'error: {fault}'!r})"]
    path = log_path(release, records)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
    except OSError as error:
        raise RecordError(
            f"{path} cannot be written: {error.strerror}. Free some space."
        ) from error
    print(f"{release} started, log in {path}", flush=True)
    return Run(release, process, time.perf_counter())


def log_path(release: Release, records: Path) -> Path:
    """Return where a row's output goes."""
    return records / release.name / "matrix.log"
