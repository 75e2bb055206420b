"""The matrix: the small tier on the rows of the release table, each in its own environment."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from suite.errors import RecordError, ReleaseError
from suite.locks import lock_of, one_line, problem, staleness
from suite.records import file_digest, read_records, write_atomically
from suite.releases import Release
from suite.report.compatibility import TIER, Evidence, Outcome

NOX = (sys.executable, "-m", "nox", "--non-interactive")
POLL_S = 0.1  # rows run for minutes
GRACE_S = 5.0  # for a stopped row's processes to end by themselves
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, `kill`, a closed terminal
BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's is
SECTION = "compatibility"

_UNTRIED = re.compile(r"^error: locks/(?!.*cannot be resolved)")  # a stale lock
_STARTED = re.compile(r"^nox > (?:\S*/)?python -m pytest ", re.MULTILINE)
_TESTED = re.compile(r"^benchmarks/\S+ (?:PASSED|FAILED)|^(?:PASSED|FAILED) ", re.MULTILINE)
_IMPORT_FAILED = re.compile(r"^suite/stacks/__init__\.py:\d+: in load$", re.MULTILINE)
_REASONS = (  # the first that matches tells best; of it, the last match
    re.compile(r"^!+ (?:_pytest\.outcomes\.)?Exit: (.+?) !+$", re.MULTILINE | re.DOTALL),
    re.compile(r"^nox > Session \S+ (?:failed|aborted): (.+?)(?: \(took .*\))?\.?$", re.MULTILINE),
    re.compile(
        r"^(?:error: | +\N{MULTIPLICATION SIGN} )(.+?)(?=^nox > )", re.MULTILINE | re.DOTALL
    ),
    re.compile(
        r"nox > Command \S*python -m (pytest) .*( failed with exit code -\d+)$", re.MULTILINE
    ),
    re.compile(r"^(?:E|INTERNALERROR>) +([\w.]+(?:Error|Exception): .+)$", re.MULTILINE),
    re.compile(r"^(?:FAILED|ERROR):? (?!\[|usage: )(.+)$", re.MULTILINE),
    re.compile(r"^(?:__main__\.py|python -m pytest): error: (.+)$", re.MULTILINE),
    re.compile(r"^([\w.]+(?:Error|Exception): .+)$", re.MULTILINE),
    re.compile(r"^(?!nox > Session )(?:nox > )?(.*\S.*)$", re.MULTILINE),
)


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


def run_matrix(
    rows: Sequence[Release],
    *,
    records: Path,
    jobs: int = 1,
    arguments: Sequence[str] = (),
) -> dict[str, Outcome]:
    """Run the small tier of `rows`, `jobs` at once, and return what became of each.

    A row that fails stops no other. What is finished is not run again: its record is there.

    Args:
        rows: Rows of the release table, in the order in which they start.
        records: Where records, logs and outcomes go.
        jobs: Rows that run at the same time.
        arguments: Passed on to pytest.

    Raises:
        RecordError: If a log or an outcome cannot be written.
    """
    waiting, outcomes = list(rows), dict[str, Outcome]()
    running: list[Run] = []
    with stopped_together(running):
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_start(waiting.pop(0), records, arguments))
            for run in [run for run in running if run.process.poll() is not None]:
                running.remove(run)
                outcomes[run.release.name] = _finish(run, records)
                print(f"{len(outcomes)} of {len(rows)} rows done", flush=True)
            time.sleep(POLL_S)
    return outcomes


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


def _start(release: Release, records: Path, arguments: Sequence[str]) -> Run:
    """Start one row; its lock is checked first, for a stale one would measure something else."""
    command = [*NOX, "-s", f"benchmarks({release})", "--", *arguments]
    command += ["--records", str(records.resolve())]
    fault = "" if release.unpinned else problem(lock_of(release))
    if fault:
        command = [sys.executable, "-c", f"raise SystemExit({f'error: {fault}'!r})"]
    path = _log(release, records)
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


def _finish(run: Run, records: Path) -> Outcome:
    """Return what became of a row that has ended, after it is stored and printed."""
    log = _log(run.release, records).read_text(encoding="utf-8", errors="replace")
    passed = run.process.returncode == 0
    seconds = time.perf_counter() - run.started_s
    outcome = Outcome(
        passed=passed,
        installs=installed(log),
        imports=imported(log),
        seconds=round(seconds, 1),
        reason="" if passed else reason(log),
        lock_digest=lock_digest(run.release),
        date=datetime.now(UTC).date().isoformat(),
    )
    write_outcome(outcome, run.release, records)
    end = "passed" if passed else f"failed: {outcome.reason}"
    print(f"{run.release} {seconds:.0f} s, {end}", flush=True)
    return outcome


def installed(log: str) -> bool | None:
    """Return whether the environment could be made: nox went on to pytest; None if not tried."""
    return None if _UNTRIED.search(log) else bool(_STARTED.search(log))


def imported(log: str) -> bool | None:
    """Return whether the framework could be imported; None if the log does not tell.

    A benchmark that passed or failed had it; one that was an error in `suite.stacks.load` had not.
    """
    if _TESTED.search(log):
        return True
    return False if _IMPORT_FAILED.search(log) else None


def reason(log: str) -> str:
    """Return why a row failed, as one line of its log tells."""
    for pattern in _REASONS:
        found = pattern.findall(log)
        if found:
            return one_line("".join(found[-1]))
    return "it printed nothing"


def _log(release: Release, records: Path) -> Path:
    """Return where a row's output goes."""
    return records / release.name / "matrix.log"


def lock_digest(release: Release) -> str:
    """Return the digest of a row's lock; nothing where there is none that fits the row.

    An unpinned row's fits: it is what the row resolved to when it last ran.
    """
    lock = lock_of(release)
    fits = lock.path.exists() if release.unpinned else not staleness(lock)
    return file_digest(lock.path) if fits else ""


def write_outcome(outcome: Outcome, release: Release, records: Path) -> None:
    """Store what became of a row beside its records.

    Raises:
        RecordError: If it cannot be written.
    """
    content = json.dumps(asdict(outcome), indent=1)
    write_atomically(records / release.name / "matrix.json", f"{content}\n".encode())


def read_outcome(release: Release, records: Path) -> Outcome | None:
    """Return what became of a row when it last ran; None if it did not run yet.

    Raises:
        RecordError: If the file is damaged.
    """
    path = records / release.name / "matrix.json"
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Outcome(**content)
    except (OSError, ValueError, TypeError) as error:
        raise RecordError(f"{path} cannot be read: {error}. Remove it: a run makes it.") from error


def evidence(release: Release, records: Path) -> Evidence:
    """Return all that is stored of a row.

    Raises:
        RecordError: If a record is damaged.
    """
    stored = tuple(read_records(records / release.name / TIER))
    outcome = read_outcome(release, records)
    return Evidence(release.name, lock_digest(release), stored, outcome)


def disk_use(rows: Sequence[Release], environments: Path = Path(".nox")) -> str:
    """Return the size of every row's environment, and of all with each file counted once."""
    seen: dict[tuple[int, int], int] = {}
    parts = []
    for row in rows:
        files = _blocks(environments / re.sub(r"[^\w-]", "-", f"benchmarks-{row}"))
        seen.update(files)
        parts.append(f"{row} {_gigabytes(files.values())}")
    total = _gigabytes(seen.values())
    return f"disk: {', '.join(parts)}; together {total}, shared files counted once"


def _blocks(folder: Path) -> dict[tuple[int, int], int]:
    """Return the bytes that each file below `folder` takes on the disk, by device and inode."""
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            status = os.lstat(os.path.join(parent, name))  # noqa: PTH118 - a hundred thousand
            found[status.st_dev, status.st_ino] = status.st_blocks * BLOCK_BYTES
    return found


def _gigabytes(sizes: Iterable[int]) -> str:
    return f"{sum(sizes) / 1e9:.1f} GB"


def markers(section: str) -> tuple[str, str]:
    """Return the lines between which a section of a Markdown page is written."""
    return f"<!-- {section}: begin -->", f"<!-- {section}: end -->"


def write_section(page: Path, text: str, *, section: str = SECTION) -> None:
    """Put `text` between the markers of a section of a Markdown page.

    Raises:
        ReleaseError: If the page cannot be read or written or lacks the markers.
    """
    opening, closing = markers(section)
    try:
        before, begin, rest = page.read_text(encoding="utf-8").partition(f"{opening}\n")
        _, end, after = rest.partition(closing)
        if not (begin and end):
            raise ReleaseError(f"{page} lacks the lines {opening} and {closing}. Put them in.")
        write_atomically(page, f"{before}{begin}\n{text}\n\n{end}{after}".encode())
    except OSError as error:
        raise ReleaseError(f"{page} cannot be read: {error.strerror}. Name another.") from error
