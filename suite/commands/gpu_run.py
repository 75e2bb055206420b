"""What a bundle does beside a GPU: unpack, measure within its time, leave few files.

It runs in that machine's own Python, where nothing of the suite is installed, so it imports the
standard library alone. Each run is a slice: what is not finished goes on in the next.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from suite.commands.gpu_environment import INSTALLED, make_environment
from suite.errors import SuiteError
from suite.machine import cards

CONTENT = "bundle.json"  # in the bundle: what is to be measured
SAMPLE = Path("sample.zip")  # of the data, in the bundle
TIMED = "step-time"  # the question that a worker answers while no other runs
SHOWN = ("clean_accuracy", "adversarial_accuracy", "adversarial_branch_gain", "adversarial_step_s")
LOG, USAGE, OVERHEAD = "log.txt", "gpu.csv", "overhead.txt"
FILES, FILE_BYTES = 8, 16 << 20  # at most, that a run leaves
RECORD_FILES = FILES - 3  # beside `LOG`, `USAGE` and `OVERHEAD`
BARE_LOOPS = "benchmarks/bare_loops.py"  # in the bundle, as in the repository
DIRECTORY_BYTES = 200  # of an archive's list of members, for each
LOG_BYTES = 1_000_000  # kept of each log
PACK_S = 60.0  # between two times at which the files are written
POLL_S = 0.5
USAGE_S = 5
QUERY = "timestamp,name,utilization.gpu,memory.used,power.draw"
AT_ONCE = 6  # cases, where no driver tells the GPU's memory
CASE_MIB = 14_000  # of it that a process of ResNet-50 comes to hold: PyTorch keeps what it took


class Slice(NamedTuple):
    """One run of a bundle.

    Attributes:
        name: Of this run; no other has it.
        work: What is kept from slice to slice lies there.
        out: Gets the files.
        home: The unpacked bundle.
        asked: What the bundle asks for.
        python: Of the environment.
        deadline_s: By the monotonic clock.
    """

    name: str
    work: Path
    out: Path
    home: Path
    asked: Mapping[str, Any]
    python: Path
    deadline_s: float

    @property
    def records(self) -> Path:
        """The folder of the records."""
        return self.work.joinpath("records", self.asked["release"], self.asked["tier"])

    @property
    def logs(self) -> Path:
        """The folder of the logs of all slices."""
        return self.work / "logs"


def run_slice(arguments: Sequence[str], bundle: Path) -> int:
    """Measure what a bundle asks for, within its time; 0 when all of it is there, else 1.

    With ``--overhead``, how fast its steps are beside bare loops; 0 when all are fast enough.

    Raises:
        SuiteError: If this machine is not the one that the bundle was made for, or not one of the
            first cases could be measured.
    """
    options, begun_s = _parser().parse_args(arguments), time.monotonic()
    work = options.work.resolve()
    home = unpacked(bundle, work)
    asked = json.loads((home / CONTENT).read_text())
    python = make_environment(work / "env", home / "site", asked)
    shutil.copy(work / "env" / INSTALLED, home / "locks" / f"{asked['release']}-gpu.txt")
    print(f"environment ready after {time.monotonic() - begun_s:.0f} s", flush=True)
    name, deadline_s = f"{time.time_ns()}", begun_s + 60 * options.minutes
    run = Slice(name, work, options.out.resolve(), home, asked, python, deadline_s)
    for folder in (run.out, run.records, run.logs):
        folder.mkdir(parents=True, exist_ok=True)
    if options.overhead:
        return overhead(run)
    with usage_noted(run.logs / USAGE):
        measure(run, workers=1, alone=True)
        if not own_records(run):
            raise SuiteError(f"nothing can be measured here: {_last_line(run)}")
        measure(run, workers=options.jobs, alone=False)
    return tell(run)


def unpacked(bundle: Path, work: Path) -> Path:
    """Unpack a bundle into its working folder, if that is not done; give the place."""
    home, stamp = work / "bundle", hashlib.sha256(bundle.read_bytes()).hexdigest()
    done = home / "unpacked.txt"
    if not done.exists() or done.read_text() != stamp:
        for folder in (home, work / "env"):
            shutil.rmtree(folder, ignore_errors=True)
        with zipfile.ZipFile(bundle) as archive:
            archive.extractall(home)
        (home / "locks").mkdir()
        if (home / "records").is_dir():  # of earlier slices, on whatever machine
            _bring(home / "records", work / "records")
        done.write_text(stamp)
    return home


def _bring(source: Path, target: Path) -> None:
    """Copy the records that a bundle brings, but none over one that was made later."""
    for path in sorted(source.rglob("*.json")):
        place = target / path.relative_to(source)
        if not place.exists() or _started_at(path) > _started_at(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, place)


def _started_at(path: Path) -> str:
    """Read when a record was begun, ISO 8601; empty where the file does not tell."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["started_at"])
    except (LookupError, TypeError, ValueError):
        return ""


def overhead(run: Slice) -> int:
    """Compare the suite's steps with bare loops while nothing else runs; give pytest's status.

    What was told is printed and left, also where the time ends first (status 1).
    """
    command = [f"{run.python}", "-m", "pytest", "-W", "default", BARE_LOOPS]
    command += ["--tier", run.asked["tier"]]
    variables = {**_variables(run), "PYTHONUNBUFFERED": "1"}  # a killed process has told all
    place, seconds = run.out / OVERHEAD, run.deadline_s - time.monotonic()
    status, end = 1, "The time was up: run it again with more --minutes."
    with place.open("wb") as told, contextlib.suppress(subprocess.TimeoutExpired):
        status, end = subprocess.run(
            command, cwd=run.home, env=variables, stdout=told, stderr=told, timeout=seconds,
            check=False,
        ).returncode, f"All of it: {place}"  # fmt: skip
    print(place.read_text(encoding="utf-8", errors="replace"), end, sep="\n")
    return status


def measure(run: Slice, *, workers: int, alone: bool) -> None:
    """Let workers measure until nothing is left for them or the time is up; leave the files.

    A worker that a case brought down is replaced, a few times; no worker takes that case again in
    this slice.
    """
    crew = [_start(run, workers, alone) for _ in range(workers)]
    spare, packed_s = workers, time.monotonic()
    try:
        while crew and time.monotonic() < run.deadline_s:
            time.sleep(POLL_S)
            fallen = sum(bool(worker.poll()) for worker in crew)
            crew = [worker for worker in crew if worker.returncode is None]
            crew += [_start(run, workers, alone) for _ in range(min(fallen, spare))]
            spare -= min(fallen, spare)
            if time.monotonic() - packed_s > PACK_S:
                packed_s = time.monotonic()
                pack(run)
    finally:
        for worker in crew:
            worker.kill()
            worker.wait()
        pack(run)


def _start(run: Slice, workers: int, alone: bool) -> subprocess.Popen[bytes]:
    """Start a worker, which ends with this process."""
    command = [f"{run.python}", "-m", "suite", "gpu-work", "--slice", run.name]
    command += ["--records", f"{run.work / 'records'}"]
    command += ["--workers", f"{workers}", *(["--alone"] if alone else [])]
    command += ["--seconds", f"{run.deadline_s - time.monotonic():.0f}"]
    with (run.logs / f"{run.name}-{'alone' if alone else 'together'}.log").open("ab") as log:
        return subprocess.Popen(command, cwd=run.home, env=_variables(run), stderr=log)


def _variables(run: Slice) -> dict[str, str]:
    """State the environment of a worker, as the sessions do."""
    cache = f"{run.work / 'cache'}"
    own = {"SUITE_CACHE": cache, "KERAS_HOME": cache, "SUITE_PARENT": f"{os.getpid()}"}
    seen = {
        name: value
        for name, value in os.environ.items()
        if any(fnmatchcase(name, pattern) for pattern in run.asked["passed"])
    }
    return {**seen, **run.asked["env"], **own}


@contextlib.contextmanager
def usage_noted(path: Path) -> Iterator[None]:
    """Note what the GPU does meanwhile, where its driver tells."""
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader", "-l", f"{USAGE_S}"]
    if not shutil.which(command[0]):
        yield
        return
    with path.open("ab") as file, subprocess.Popen(command, stdout=file) as noting:
        try:
            yield
        finally:
            noting.terminate()


def pack(run: Slice) -> None:
    """Write the files: records, what they were made with, logs, and what the GPU did."""
    _pack_records(run)
    logs = sorted(run.logs.glob("*.log"), key=lambda path: path.stat().st_mtime)
    text = b"".join(f"== {log.name}\n".encode() + log.read_bytes()[-LOG_BYTES:] for log in logs)
    (run.out / LOG).write_bytes(text[-FILE_BYTES:])
    if (run.logs / USAGE).exists():
        (run.out / USAGE).write_bytes((run.logs / USAGE).read_bytes()[-FILE_BYTES:])


def _pack_records(run: Slice) -> None:
    """Write the records into archives, none of which is too large; one more of before is removed.

    Raises:
        SuiteError: If there are too many of them.
    """
    waiting = own_records(run)
    made_with = [run.home / CONTENT, run.work / "env" / INSTALLED]
    for number in range(1, RECORD_FILES + 1):
        path = run.logs / f"records-{number}.zip"
        if waiting or number == 1:
            waiting = _archived(path, made_with, waiting)
            shutil.move(path, run.out / path.name)  # whole
        else:
            (run.out / path.name).unlink(missing_ok=True)
    if waiting:
        raise SuiteError(f"{len(waiting)} records fit in no file; they stay in {run.records}.")


def own_records(run: Slice) -> list[Path]:
    """List the records of what is asked for, made by this code, with these packages and images.

    A bundle brings others along where it is made anew for other seeds or images: what is asked for
    of them is made again, and `gpu-collect` would take none of them.
    """
    lock = (run.work / "env" / INSTALLED).read_bytes()
    return [path for path in sorted(run.records.glob("*.json")) if is_own(path, run.asked, lock)]


def is_own(path: Path, asked: Mapping[str, Any], lock: bytes) -> bool:
    """Tell whether a record is there that a bundle need not make again.

    The machine and how many cases shared it are stated in it and decide nothing: another machine
    with the same packages, or other ``--jobs``, goes on where the last one ended.

    Args:
        path: Of the record.
        asked: What the bundle asks for.
        lock: What the bundle's environment holds.
    """
    try:
        environment = json.loads(path.read_text(encoding="utf-8"))["environment"]
        return not any(differences(path.stem, environment, asked, lock))
    except (LookupError, OSError, TypeError, ValueError):  # absent or damaged: it is made
        return False


def names_of(asked: Mapping[str, Any]) -> list[str]:
    """Name the records that a bundle asks for."""
    return [f"{case}-seed{seed}" for case, seed in asked["jobs"]]


def differences(
    name: str, environment: Mapping[str, Any], asked: Mapping[str, Any], lock: bytes
) -> Iterator[str]:
    """Say in what a record is not one that a bundle asks for, made with what it brings.

    Args:
        name: Of the record.
        environment: Of the record.
        asked: What the bundle asks for.
        lock: What the bundle's environment held.
    """
    if name not in names_of(asked):
        yield "it was not asked for"
    probes = environment.get("probe_digest", asked["probe_digest"])
    if (environment["code_digest"], probes) != (asked["code_digest"], asked["probe_digest"]):
        yield "other code made it"
    if environment["lock_digest"] != f"sha256:{hashlib.sha256(lock).hexdigest()}":
        yield f"it was not made with what {INSTALLED} lists"
    if environment["data_digest"] not in asked["data_digests"]:
        yield "it saw other images"


def _archived(path: Path, whole: Sequence[Path], waiting: Sequence[Path]) -> list[Path]:
    """Write some files, and as many of those that wait as fit; give those that do not."""
    left = list(waiting)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in whole:
            archive.write(file, file.name)
        while left and _size(archive) + left[0].stat().st_size < FILE_BYTES:
            file = left.pop(0)
            archive.write(file, f"records/{file.name}")
    return left


def _size(archive: zipfile.ZipFile) -> int:
    """Tell how large an archive is so far, with the list of its members."""
    return archive.start_dir + DIRECTORY_BYTES * (1 + len(archive.namelist()))


def _last_line(run: Slice) -> str:
    """Give the last line of the logs: it tells why nothing went on."""
    lines = (run.out / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    return f"{lines[-1]} (all of it: {run.out / LOG})" if lines else "no worker said why."


def tell(run: Slice) -> int:
    """Say what there is and what is left; give the status."""
    names = names_of(run.asked)
    made = {path.stem for path in own_records(run)}
    left = [name for name in names if name not in made]
    print(f"{len(names) - len(left)} of {len(names)} records, in {run.out}")
    if left:
        print(f"the same command goes on with {', '.join(left[:3])}; why it ended: {run.out / LOG}")
    return 1 if left else 0


def at_once() -> int:
    """Tell how many cases share a GPU: their steps are many small kernels, one does not fill it."""
    sizes_mib = [int(size) for card in cards("memory.total") for size in re.findall(r"\d+", card)]
    fitting = sizes_mib[0] // CASE_MIB if sizes_mib else AT_ONCE
    return max(1, min(fitting, len(os.sched_getaffinity(0))))


def minutes(text: str) -> float:
    """Read the minutes of a slice."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0. Received: {text:.80}")
    return value


def count(text: str) -> int:
    """Read how many cases are measured at once."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more. Received: {text:.80}")
    return value


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python3 gpu-bundle.pyz", description="Measure what the bundle asks for, in slices."
    )
    parser.add_argument("--work", type=Path, default=Path("gpu-work"), help="kept between slices")
    parser.add_argument("--out", type=Path, default=Path("gpu-out"), help="gets at most 8 files")
    parser.add_argument("--minutes", type=minutes, default=9.0, help="of this slice, its start too")
    parser.add_argument(
        "--jobs", type=count, default=at_once(),
        help="cases at once; else as many as fit into the GPU's memory, at most one a core",
    )  # fmt: skip
    parser.add_argument(
        "--overhead", action="store_true", help="time steps beside bare loops, and nothing else"
    )
    return parser


def started(bundle: Path) -> int:
    """Run a bundle by its command line; what the user can mend is told in one line."""
    try:
        return run_slice(sys.argv[1:], bundle)
    except (SuiteError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
