"""What a node of a cluster does with a job: the row's environment once a node, then its run.

It runs in the Python that Ray runs in there, where little is installed: it imports the standard
library and filelock, which Ray brings.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from suite.commands.outcomes import Files, outcome_of, untried
from suite.commands.processes import END_TOGETHER, GRACE_S
from suite.errors import SuiteError
from suite.files import RECORD_BYTES, SUITE, read_within, tail_of
from suite.judge.compatibility import Outcome
from suite.locks import Fault

PROJECT = SUITE.parent  # as it was sent to the node
JOB, HELD = "job", ".held"
DIGITS = 16  # of a lock's digest in the name of a folder
SPENT = ("files", "environment", "run")  # what the time on a node goes to
NO_NOX = (
    "the Python of Ray there, {}, has no nox, which makes the environments of the rows: install it "
    "with `{} -m pip install 'nox[uv]'`"
)
LAUNCH = """\
import os, sys
from suite.machine import end_with
end_with(int(sys.argv[1]))
os.execv("/bin/sh", ["/bin/sh", "-c", sys.argv[2]])"""
"""Starts a shell that ends with this process, even if that is killed. Ray has threads, so the
request is made by a Python of its own instead of between fork and exec."""


class Job(NamedTuple):
    """What of pytest's session is to run.

    Attributes:
        row: Name of a row of the release table.
        case: Name of a case, measured alone; empty for the row's whole session, which judges.
        seeds: Of the case.
    """

    row: str
    case: str
    seeds: tuple[int, ...]

    def __str__(self) -> str:
        seeds = ",".join(map(str, self.seeds))
        return f"{self.row} {self.case or 'judged'} seed{'s' * (len(self.seeds) > 1)} {seeds}"


class Order(NamedTuple):
    """How the jobs of a row are run.

    Attributes:
        tier: A key of `suite.tables.TIERS`.
        session: The words that name nox's session.
        lock: Digest of the row's lock, after which its environment is called.
        options: Of pytest, for the row's whole session.
    """

    tier: str
    session: tuple[str, ...]
    lock: str
    options: tuple[str, ...]


class Place(NamedTuple):
    """What a node has for its jobs.

    Attributes:
        cache: Folder of what they share.
        data: Folder of GTSRB's files; None where the job needs none.
        placed_s: What it took to get the suite and the data there.
    """

    cache: Path
    data: Path | None
    placed_s: float


class Returned(NamedTuple):
    """What comes back from a node.

    Attributes:
        node: Its name.
        outcome: What became of the job.
        made: The files that the run left in the folder of the records, by their names there.
        reports: The log, nox's reports and pytest's, as far as there are any.
        seconds: What the time went to, by `SPENT`.
    """

    node: str
    outcome: Outcome
    made: Mapping[str, bytes]
    reports: Mapping[str, bytes]
    seconds: Mapping[str, float]


def measured(job: Job, order: Order, place: Place, given: Mapping[str, bytes]) -> Returned:
    """Run a job in the environment of its row and return all that it left, whole.

    What a node lacks, and a disk that is full, are the outcome: no other try would fare better.

    Args:
        job: What is to run.
        order: How.
        place: What the node has.
        given: Records that there are, by the names of their files.
    """
    node = socket.gethostname()
    try:
        return _measured(job, order, place, given)
    except (OSError, SuiteError) as error:
        return Returned(node, untried(Fault(f"{error}", True), lock_digest=order.lock), {}, {}, {})


def _measured(job: Job, order: Order, place: Place, given: Mapping[str, bytes]) -> Returned:
    """Make the environment, run, and read all that is left.

    Raises:
        SuiteError: If the node lacks nox.
        OSError: If something cannot be written or read.
    """
    if importlib.util.find_spec("nox") is None:
        raise SuiteError(NO_NOX.format(sys.executable, sys.executable))
    with own_folder(place.cache / "jobs") as folder:
        files, records = files_in(folder), folder / "records"
        home = records / job.row / order.tier
        home.mkdir(parents=True)
        for name, content in given.items():
            (home / name).write_bytes(content)
        times = [time.perf_counter()]
        status = made(order, place, files)
        times.append(time.perf_counter())
        status = status or ran(job, order, place, files, records)
        times.append(time.perf_counter())
        spent = (place.placed_s, times[1] - times[0], times[2] - times[1])
        outcome = outcome_of(files, status=status, seconds=sum(spent), lock_digest=order.lock)
        seconds = dict(zip(SPENT, spent, strict=True))
        return Returned(socket.gethostname(), outcome, _contents(home), _reports(files), seconds)


@contextmanager
def own_folder(root: Path) -> Iterator[Path]:
    """Give a job a folder below `root`, and remove it in the end; first those of killed jobs."""
    root.mkdir(parents=True, exist_ok=True)
    alone = FileLock(root.with_name(f"{root.name}.lock"))
    with alone:  # a new folder is not held yet
        for left in root.glob("suite-job-*"):
            with suppress(Timeout), FileLock(left / HELD, timeout=0):
                shutil.rmtree(left)
        folder = Path(tempfile.mkdtemp(prefix="suite-job-", dir=root))
        held = FileLock(folder / HELD).acquire()
    with held:
        try:
            yield folder
        finally:
            with alone:  # half removed it is not held any more, and another job would remove it too
                shutil.rmtree(folder)


def files_in(folder: Path) -> Files:
    """Name the log and the reports of a job."""
    names = (".log", "-made.json", "-run.json", "-tests.xml")
    return Files(*(folder / f"{JOB}{name}" for name in names))


def made(order: Order, place: Place, files: Files) -> int:
    """Make the environment of a row, one job at a time; nox's status.

    Its folder is called after the lock, so that rows, and versions of a row, stand side by side.
    """
    environments = environments_of(order, place)
    environments.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(environments.with_name(f"{environments.name}.lock")):
        command = nox(order, place, "--install-only", "--report", str(files.made))
        return ended([*command, *_row(order)], files.log)


def ran(job: Job, order: Order, place: Place, files: Files, records: Path) -> int:
    """Run a job's part of the row's session in its environment; nox's status."""
    command = [*nox(order, place, "--report", str(files.run)), *(_row(order) or ["--"])]
    command += [*options_of(job, order.options), f"--records={records}"]
    data = {"GTSRB_ROOT": str(place.data)} if place.data else {}
    return ended([*command, "--junitxml", str(files.tests)], files.log, **data)


def options_of(job: Job, options: Iterable[str]) -> list[str]:
    """Write pytest's options for a job: a case is measured alone, a whole session judges."""
    if not job.case:
        return [*options]
    seeds = ",".join(map(str, job.seeds))
    return ["-k", f"[{job.case}-seed", "--seeds", seeds, "--alone", "--partial"]


def environments_of(order: Order, place: Place) -> Path:
    """Name the folder in which nox makes the environment of a row's lock."""
    return place.cache / "environments" / order.lock.rpartition(":")[2][:DIGITS]


def nox(order: Order, place: Place, *options: str) -> list[str]:
    """Write the call of nox for a row's session."""
    where = ("--non-interactive", "--envdir", str(environments_of(order, place)))
    return [sys.executable, "-m", "nox", *where, *options, "-s", order.session[0]]


def _row(order: Order) -> list[str]:
    """Write the row as the session's first argument, where its name does not hold it."""
    return ["--", *order.session[1:]] if order.session[1:] else []


def ended(command: Sequence[str], log: Path, **variables: str) -> int:
    """Run a command to its end, all of it in one group that ends with this process.

    Args:
        command: Its words.
        log: Gets what it prints.
        variables: Of its environment, beside those of the node.
    """
    script = f"{END_TOGETHER}\n{shlex.join(command)} & nox=$!; wait $nox"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(os.getpid()), script],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=PROJECT,
            env={**os.environ, **variables},
            start_new_session=True,
        )
    try:
        return process.wait()
    finally:
        if process.poll() is None:  # the job was cancelled
            os.killpg(process.pid, signal.SIGTERM)
            _waited(process)


def _waited(process: subprocess.Popen[bytes]) -> None:
    """Wait for a group that was told to end, and end it by force after `GRACE_S`."""
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _contents(folder: Path) -> dict[str, bytes]:
    """Read what a run left in the folder of its records: no hidden file is one of them."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    return {path.relative_to(folder).as_posix(): read_within(path, RECORD_BYTES) for path in paths}


def _reports(files: Files) -> dict[str, bytes]:
    """Read the log's end and the reports, as far as there are any."""
    found = {
        name: read_within(path, RECORD_BYTES)
        for name, path in files._asdict().items()
        if name != "log" and path.is_file()
    }
    return {**found, "log": tail_of(files.log)}
