"""One way from a case to its record: found, or claimed, run and stored; runs at once share it."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock, Timeout

from suite import machine
from suite.data import Dataset, load_gtsrb, load_synthetic
from suite.errors import RecordError, SuiteError
from suite.files import code_digest, file_digest
from suite.measure.pipeline import run_case
from suite.records import Record, record_key
from suite.stacks.loading import library_digest, load
from suite.store import find, store

if TYPE_CHECKING:
    from suite.cases import Case
    from suite.measure.run import Pedantic
    from suite.stacks.protocol import Stack

SUITE = Path(__file__).parents[1]
MEASURING = ("data", "files.py", "machine.py", "measure", "networks", "stacks")
"""The files and folders of the suite that decide a number: what a record's code digest covers.

A better report, band or diagnosis makes no case run anew; a case itself is in its settings.
"""

VARIABLES = (
    "GLIBC_TUNABLES",
    "KERAS_BACKEND",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_USE_LEGACY_KERAS",
    "XLA_FLAGS",
)
"""Environment variables that decide what a framework computes, or how fast: a row's `env` or a
user's own. They are part of a record's key."""

WEIGHTS = ("random", "imagenet", "surrogate")
"""Where a case's weights come from; anything else is the path of a file."""


class Session(NamedTuple):
    """What all cases of one run share.

    Attributes:
        release: Row of the release table that is installed.
        tier: A key of `suite.tables.TIERS`.
        records: Folder of the records.
        stack: The framework under measurement.
        environment: Versions, digests and machine: all of a record's environment but the data.
        dataset: Loads the data of a name and size in pixels, each once.
    """

    release: str
    tier: str
    records: Path
    stack: Stack
    environment: Mapping[str, Any]
    dataset: Callable[[str, int], Dataset]

    @property
    def folder(self) -> Path:
        """Where the records of this release and tier lie."""
        return self.records / self.release / self.tier


def open_session(
    *, release: str, tier: str, records: Path, lock: Path, gtsrb_root: Path | None = None
) -> Session:
    """Load the framework that is installed and describe where it runs.

    Args:
        release: Row of the release table that is installed.
        tier: A key of `suite.tables.TIERS`.
        records: Folder of the records.
        lock: Lock file that the environment was installed from.
        gtsrb_root: Folder of GTSRB's archives; None takes the download's place.

    Raises:
        SuiteError: If the tier needs a GPU and there is none, or the lock cannot be read.
    """
    stack = load()
    if tier.startswith("full") and not stack.gpus():
        raise SuiteError(
            "the full tier needs a CUDA GPU, and the framework sees none: it would take weeks. "
            'Check the driver with `nvidia-smi`, or run `nox -s "benchmarks(tf-2.21)"` on the CPU.'
        )

    @functools.lru_cache(maxsize=None)
    def dataset(name: str, size_px: int) -> Dataset:
        if name == "synthetic":
            return load_synthetic(size_px=size_px)
        return load_gtsrb(gtsrb_root, size_px=size_px)

    return Session(release, tier, records, stack, described(stack, lock), dataset)


def described(stack: Stack, lock: Path) -> dict[str, Any]:
    """Describe what is installed and where it runs."""
    return {
        "stack": stack.__name__.rpartition(".")[2],
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "versions": stack.versions(),
        "lock_digest": file_digest(lock),
        "code_digest": code_digest(SUITE, MEASURING),
        "library_digest": library_digest(stack),
        "machine": machine.describe(stack.gpus()),
    }


def measure_once(
    case: Case,
    seed: int,
    *,
    session: Session,
    timer: Callable[[], Pedantic] | None = None,
) -> Record:
    """Find the record of a case and seed, or run the case and store it.

    Two runs at once do each case once: the second waits for the first one's record.

    Args:
        case: The row.
        seed: Of the run.
        session: What the run shares with others.
        timer: Gives pytest-benchmark's timer to a step-time case, if that has to run.

    Raises:
        SuiteError: If the data or weights cannot be had, or a record cannot be read or written.
        FixError: If this release cannot take the case's fix.
        ValueError: If a step-time case has no timer.
    """
    with claimed(session.folder / f".{case}-seed{seed}.lock"):
        data = session.dataset(case.data, case.size_px)
        around = {**session.environment, "data_digest": data.digest, **weights_digest(case)}
        key = record_key(case.settings(), around)
        release, tier = session.release, session.tier
        record = find(
            session.records, release=release, tier=tier, case=str(case), seed=seed, key=key
        )
        if record is None:
            record = run_case(
                case,
                seed=seed,
                release=release,
                tier=tier,
                stack=session.stack,
                dataset=data,
                environment=around,
                pedantic=timer() if timer else None,
            )
            store(record, session.records)
        return record


def weights_digest(case: Case) -> dict[str, str]:
    """Compute the digest of the case's weights file, if it starts from one."""
    return {} if case.weights in WEIGHTS else {"weights_digest": file_digest(Path(case.weights))}


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Hold the lock file of a case; say so where another run has it.

    Raises:
        RecordError: If the folder of the records cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"waiting for another run to finish {path.name}", file=sys.__stderr__)
            lock.acquire()
    except OSError as error:
        raise RecordError(
            f"{path} cannot be written: {error}. Expected a writable folder with free space for "
            "the records: free some, or name another with `-- --records DIR`."
        ) from error
    try:
        yield
    finally:
        lock.release()
