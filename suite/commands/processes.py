"""The processes of several rows: nox for each, started and stopped together."""

from __future__ import annotations

import functools
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from suite.commands.outcomes import Files, files_of
from suite.errors import RecordError
from suite.machine import end_with
from suite.releases import Release

NOX = (sys.executable, "-m", "nox", "--non-interactive")
POLL_S = 0.1  # rows run for minutes
GRACE_S = 5.0  # for a stopped row's processes to end by themselves
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, `kill`, a closed terminal
END_TOGETHER = f"""\
trap 'trap "" TERM; kill 0; (sleep {GRACE_S:g}; kill -9 0) & wait $nox; exit' TERM"""
"""What a row's shell does at SIGTERM, which it gets when the matrix is gone: it ends its group."""


class Run(NamedTuple):
    """A row that is running.

    Attributes:
        release: The row.
        process: The leader of a process group of its own.
        started_s: The clock when it started.
        files: Its log and reports.
    """

    release: Release
    process: subprocess.Popen[bytes]
    started_s: float
    files: Files


@contextmanager
def stopped_together(running: Sequence[Run]) -> Iterator[None]:
    """Stop all that is still `running` when the block ends, whether by itself or by a signal.

    A signal that is ignored stays ignored: `nohup` and background jobs of a shell ask for that.
    """
    former = {number: signal.getsignal(number) for number in STOPS}
    for number, handler in former.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in STOPS:
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave processes behind
        stop(running)
        for number, handler in former.items():
            signal.signal(number, handler)


def stop(running: Sequence[Run]) -> None:
    """End the rows that still run, by force if they do not end within `GRACE_S`."""
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


def start(
    release: Release,
    records: Path,
    arguments: Sequence[str],
    *,
    job: str = "matrix",
    project: Path | None = None,
) -> Run:
    """Start one row: make its environment, then run the benchmarks in it.

    Args:
        release: The row.
        records: Where its records and reports go.
        arguments: Passed on to pytest.
        job: Names its log and reports.
        project: Folder of the noxfile; None for the current one. If it lies below another project,
            pytest must not take the place of the records for one of tests, and look there.

    Raises:
        RecordError: If its reports cannot be written.
    """
    files = files_of(release, records, job)
    place = str(records.resolve())
    more = (*arguments, *([f"--records={place}"] if project else ["--records", place]))
    try:
        files.log.parent.mkdir(parents=True, exist_ok=True)
        for path in files:  # an old report would be taken for this run's
            path.unlink(missing_ok=True)
        process = _begin(commands(release, files, more), files.log, project)
    except OSError as error:
        raise RecordError(
            f"{files.log} cannot be written: {error.strerror}. Free some space."
        ) from error
    print(f"{release} started, log in {files.log}", flush=True)
    return Run(release, process, time.perf_counter(), files)


def commands(release: Release, files: Files, arguments: Sequence[str]) -> str:
    """Write the shell's command for a row.

    Nox is called twice, because it does not report how far a session came: the first report tells
    whether the environment could be made.
    """
    row = ("-s", f"benchmarks({release})")
    make = (*NOX, "--install-only", "--report", files.made, *row)
    run = (*NOX, "--report", files.run, *row, "--", *arguments, "--junitxml", files.tests.resolve())
    first, second = (f"{shlex.join(map(str, part))} & nox=$!; wait $nox" for part in (make, run))
    return f"{END_TOGETHER}\n{first} || exit\n{second}"


def _begin(command: str, log: Path, project: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a shell in a process group of its own, which ends with this process, even if killed."""
    with log.open("wb") as output:
        return subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=project,
            start_new_session=True,
            preexec_fn=functools.partial(end_with, os.getpid()),  # noqa: PLW1509 - no threads here
        )
