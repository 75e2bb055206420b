"""The one way from a case to its record: found, or else run and stored; parallel runs share it."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock, Timeout

from suite.cases import probe_digest, require
from suite.data import Dataset, load_gtsrb, load_synthetic
from suite.errors import RecordError, SuiteError
from suite.files import file_digest
from suite.measure.checkpoint import Checkpoint
from suite.measure.environment import check_environment, describe
from suite.measure.gpu import lease
from suite.measure.kept import Kept
from suite.measure.pipeline import run_case
from suite.measure.states import states_path
from suite.measure.weights import GIVEN
from suite.records import Record, record_key
from suite.stacks.loading import load
from suite.store import find, store
from suite.tables import TIERS

if TYPE_CHECKING:
    from suite.cases import Case
    from suite.measure.run import Pedantic
    from suite.stacks.protocol import Stack

STATES = "states"  # the weights that a file of the repository holds

SHARING = ("training",)
"""The questions whose seeds share what is compiled. The others measure what compiling costs, trace
it, or attack from a random start, which the framework's own seed decides."""


NO_FILES: Mapping[str, Path] = MappingProxyType({})


class Session(NamedTuple):
    """What all cases of one run share.

    Attributes:
        release: The installed row of the release table.
        tier: A key of `suite.tables.TIERS`.
        records: Folder of all records.
        stack: The framework under measurement.
        environment: A record's environment except for what a case adds: versions, digests,
            machine.
        dataset: Loads the data of a name and a size in pixels, each once.
        kept: What was compiled for the case at hand; None compiles it anew for each seed.
        files: Weights that the user gave, by architecture.
    """

    release: str
    tier: str
    records: Path
    stack: Stack
    environment: Mapping[str, Any]
    dataset: Callable[[str, int], Dataset]
    kept: Kept | None = None
    files: Mapping[str, Path] = NO_FILES

    @property
    def folder(self) -> Path:
        """The folder of the records of this release and tier."""
        return self.records / self.release / self.tier


def open_session(
    *,
    release: str,
    tier: str,
    records: Path,
    lock: Path,
    gtsrb_root: Path | None = None,
    files: Mapping[str, Path] = NO_FILES,
    shares_gpu: bool = False,
) -> Session:
    """Load the framework that is installed and describe where it runs.

    Args:
        release: The installed row of the release table.
        tier: A key of `suite.tables.TIERS`.
        records: Folder of all records.
        lock: Lock file that the environment was installed from.
        gtsrb_root: Folder of GTSRB's archives; None takes the folder of the download.
        files: Weights that the user gave, by architecture.
        shares_gpu: True where the caller divides the GPU among several runs; else a run of a tier
            that needs one takes one to itself, and waits while all are taken.

    Raises:
        SuiteError: If the environment is not what its labels say, or the tier needs a GPU and
            there is none.
        ValueError: If `tier` is no tier.
    """
    require("tier", tier, TIERS)
    check_environment(release, tier, lock)
    if TIERS[tier].gpu and not shares_gpu:
        lease()  # first: a framework looks at all GPUs when it is loaded
    variables = dict(os.environ)  # some frameworks set their own
    stack = load()
    if TIERS[tier].gpu and not (TIERS[tier].rehearsal or stack.gpus()):
        raise SuiteError(
            f"the {tier} tier needs a CUDA GPU, and the framework sees none: it would take weeks. "
            'Check the driver with `nvidia-smi`, or run `nox -s "benchmarks(tf-2.21)"` on the CPU.'
        )
    environment, data = describe(stack, lock, variables=variables), datasets(gtsrb_root)
    return Session(release, tier, records, stack, environment, data, Kept(), files)


def datasets(gtsrb_root: Path | None) -> Callable[[str, int], Dataset]:
    """Make the loader of a session's data, by name and size in pixels: each is loaded once."""

    @functools.lru_cache(maxsize=None)
    def dataset(name: str, size_px: int) -> Dataset:
        if name == "synthetic":
            return load_synthetic(size_px=size_px)
        return load_gtsrb(gtsrb_root, size_px=size_px)

    return dataset


def measure_once(
    case: Case,
    seed: int,
    *,
    session: Session,
    timer: Callable[[], Pedantic] | None = None,
) -> Record:
    """Find the record of a case and seed, or run the case and store its record.

    Parallel runs make each record once: the second waits for the first.

    Args:
        case: The row.
        seed: Seed of the run.
        session: What all cases of the run share.
        timer: Gives pytest-benchmark's timer to a step-time case; called only if that has to run.

    Raises:
        SuiteError: If data or weights are missing, or a record cannot be read or written.
        FixError: If this release cannot take the case's fix.
        ValueError: If a step-time case has no timer.
    """
    data = session.dataset(case.data, case.size_px)
    file = session.files.get(case.architecture) if case.weights in GIVEN else None
    made_from = {**probe_digest(case.question), **weights_digest(case, file)}
    environment = {**session.environment, "data_digest": data.digest, **made_from}
    where = {"release": session.release, "tier": session.tier}
    key = record_key(case.settings(), environment)
    look_up = functools.partial(find, session.records, **where, case=str(case), seed=seed, key=key)
    found = look_up()  # unclaimed: what is finished can be read in a folder that cannot be written
    if found is not None:
        return found
    with claimed(session.folder / f".{case}-seed{seed}.lock"):
        found = look_up()  # another run may have made it while this one waited
        if found is not None:
            return found
        checkpoint = _checkpoint(session, case, seed, key)
        made = run_case(
            case, seed=seed, **where, stack=session.stack, dataset=data,
            environment=environment, pedantic=timer() if timer else None,
            kept=session.kept if case.question in SHARING else None, file=file,
            checkpoint=checkpoint,
        )  # fmt: skip
        store(made, session.records)
        if checkpoint:
            checkpoint.remove()
        return made


def _checkpoint(session: Session, case: Case, seed: int, key: str) -> Checkpoint | None:
    """Name the checkpoint of a case that trains for hours; None where it takes minutes."""
    if not TIERS[session.tier].gpu:
        return None
    return Checkpoint(session.folder / f".{case}-seed{seed}.checkpoint", key, seed)


def weights_digest(case: Case, file: Path | None) -> dict[str, str]:
    """Compute the digest of the states, or the `file` of weights, that the case starts from.

    Raises:
        RecordError: If the file cannot be read.
    """
    source = states_path(case) if case.weights == STATES else file
    return {"weights_digest": file_digest(source)} if source else {}


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Hold the lock file of a case; wait and say so while another run has it.

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
            f"{path} cannot be written: {error}. Expected: a writable folder with room for the "
            "records. Free some space, or name another folder with `-- --records DIR`."
        ) from error
    try:
        yield
    finally:
        lock.release()
