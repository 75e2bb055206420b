"""`gpu-work`: measure a bundle's cases, one after another, beside others that do the same."""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from suite.commands.gpu_run import CONTENT, SAMPLE, SHOWN, TIMED, is_own
from suite.commands.gpu_sample import load_sample
from suite.errors import RecordError
from suite.measure.once import Session, measure_once, open_session
from suite.records import Record
from suite.store import read_record
from suite.tables import asked


def main(arguments: Sequence[str]) -> int:
    """Measure every case and seed of the bundle in the working directory that nobody else has."""
    options, begun_s = _parser().parse_args(arguments), time.monotonic()
    content = json.loads(Path(CONTENT).read_text())
    cases, session = asked(content["tier"]), opened(content, options)
    lock = _lock(content["release"]).read_bytes()
    for name, seed in content["jobs"]:
        if (cases[name].question == TIMED) != options.alone:
            continue
        if is_own(session.folder / f"{name}-seed{seed}.json", content, lock):
            continue
        if longest_s(session.folder, name) > begun_s + options.seconds - time.monotonic():
            continue  # the time is better spent on a shorter one
        with claimed(session.folder, f"{name}-seed{seed}", options.slice) as mine:
            if mine:
                tell(measure_once(cases[name], seed, session=session, timer=lambda: pedantic))
    return 0


def longest_s(folder: Path, case: str) -> float:
    """Tell how long a case took at most, with the seeds that have a record; 0 where none has."""
    return max(map(_wall_s, folder.glob(f"{case}-seed*.json")), default=0.0)


def _wall_s(path: Path) -> float:
    """Read how long a record took; 0 where it is damaged and is made again."""
    try:
        return read_record(path).wall_s
    except RecordError:
        return 0.0


def opened(content: Mapping[str, Any], options: argparse.Namespace) -> Session:
    """Load the framework; the data is the bundle's, and a record tells how many ran at once."""

    @functools.cache
    def dataset(_: str, size_px: int) -> Any:
        return load_sample(SAMPLE, size_px=size_px)

    release = content["release"]
    session = open_session(
        release=release, tier=content["tier"], records=options.records,
        lock=_lock(release), shares_gpu=True,
    )  # fmt: skip
    environment = {**session.environment, "at_once": options.workers}
    return session._replace(dataset=dataset, environment=environment)


def _lock(release: str) -> Path:
    """Say where the bundle's list of what is installed lies."""
    return Path("locks", f"{release}-gpu.txt")


@contextmanager
def claimed(folder: Path, name: str, attempt: str) -> Iterator[bool]:
    """Hold a case and seed; False where another worker has it, or had it when it fell.

    Args:
        folder: Of the records.
        name: Of the record.
        attempt: The slice: in another, what fell is tried again.
    """
    tried, lock = folder / f".{name}.tried", FileLock(folder / f".{name}.claim", timeout=0)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        mine = not tried.exists() or tried.read_text() != attempt
        if mine:
            tried.write_text(attempt)
        yield mine
    finally:
        lock.release()


def pedantic(
    function: Callable[..., Any],
    *,
    setup: Callable[[], tuple[tuple[Any, ...], dict[str, Any]]],
    rounds: int,
    iterations: int,
    warmup_rounds: int,
) -> None:
    """Call a function as pytest-benchmark's timer does; the steps time themselves."""
    for _ in range(warmup_rounds + rounds * iterations):
        arguments, options = setup()
        function(*arguments, **options)


def tell(record: Record) -> None:
    """Print what a record says, in one line."""
    shown = [f"{name} {record.metrics[name]:.3f}" for name in SHOWN if name in record.metrics]
    print(", ".join([f"{record}: {record.wall_s:.0f} s", *shown]), flush=True)


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m suite gpu-work", description="Measure the cases of a bundle."
    )
    parser.add_argument("--slice", required=True, help="the run that it belongs to")
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--workers", type=int, required=True, help="that run at once")
    parser.add_argument("--seconds", type=float, required=True, help="until it is ended")
    parser.add_argument("--alone", action="store_true", help="time steps; else all other cases")
    return parser
