"""GPUs: the one that a run has to itself, and what NVML says of its use while a case runs."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from suite import machine
from suite.errors import SuiteError

VISIBLE = "CUDA_VISIBLE_DEVICES"  # the GPUs that a process may use: their places or their UUIDs
POLL_S = 1.0  # between two looks for a free GPU
SAMPLED_S = 1.0  # between two samples of a case, which takes minutes to hours
QUANTITIES: Mapping[str, Callable[[Any, Any], float]] = {
    "gpu_utilisation": lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100,
    "gpu_memory_bytes": lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used,
    "gpu_power_w": lambda nvml, gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000,
}
"""What is asked of NVML: the fraction of the time in which a kernel ran, memory, power."""

HELD: dict[Path, FileLock] = {}
"""The leases of this process, until it ends: a framework never lets go of a GPU."""


@functools.lru_cache(maxsize=None)
def uuids() -> tuple[str, ...]:
    """List the UUIDs of this machine's GPUs, in the order of the bus; none without a driver."""
    return tuple(line for line in machine.cards("uuid") if line.startswith("GPU-"))


def visible(known: Sequence[str], variables: Mapping[str, str]) -> list[str]:
    """List the UUIDs of the GPUs that a process may use, its first choice first.

    As CUDA does, it stops at the first entry that names none, such as -1. A place counts in the
    order of the bus, as `nvidia-smi` and Ray count. A part of a GPU (MIG) has a name of its own.

    Args:
        known: The UUIDs of all GPUs.
        variables: Environment variables.
    """
    if VISIBLE not in variables:
        return [*known]
    found = []
    for entry in map(str.strip, variables[VISIBLE].split(",")):
        named = [one for one in known if entry and one.startswith(entry)]
        if entry.isdecimal() and int(entry) < len(known):
            named = [known[int(entry)]]
        if entry.startswith("MIG-"):
            named = [entry]
        if len(named) != 1:
            break
        found += named
    return found


def lease(folder: Path | None = None) -> str | None:
    """Take a GPU that no other run has and make it the only one that this process sees.

    It is this process's until it ends, however it ends. Where all are taken, wait and say so. It
    has to be done before a framework is loaded, which looks at the variable once.

    Args:
        folder: Of the locks; None takes one of the user's on this machine.

    Returns:
        The GPU's UUID; None where there is none.

    Raises:
        SuiteError: If the folder cannot be written.
    """
    mine = visible(uuids(), os.environ)
    if not mine:
        return None
    folder = folder or Path(tempfile.gettempdir(), f"suite-gpus-{os.getuid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = _waited(folder, mine)
    except OSError as error:
        raise SuiteError(
            f"{folder} cannot be written: {error}. Expected: a folder for the locks of the GPUs, "
            "of which each run takes one. Remove it, or name another place by TMPDIR."
        ) from error
    os.environ[VISIBLE] = taken
    return taken


def _waited(folder: Path, wanted: Sequence[str]) -> str:
    """Wait for one of the wanted GPUs to be free, and take it."""
    told = False
    while True:
        for uuid in wanted:
            if _take(folder / f"{uuid}.lock"):
                return uuid
        if not told:
            some = "the GPU is" if len(wanted) == 1 else f"all {len(wanted)} GPUs are"
            print(f"waiting: {some} taken by other runs", file=sys.__stderr__)
            told = True
        time.sleep(POLL_S)


def _take(path: Path) -> bool:
    """Take a lock, unless another process has it."""
    if path in HELD:
        return True
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    HELD[path] = lock
    return True


@contextlib.contextmanager
def sampled(every_s: float = SAMPLED_S) -> Iterator[dict[str, float]]:
    """Sample the use of the GPU in the block; what is given is filled at its end.

    It holds the mean and the peak of each of `QUANTITIES` that the GPU tells, and nothing where
    there is no GPU, no driver or no package nvidia-ml-py.
    """
    found: dict[str, float] = {}
    asked = _asked()
    if asked is None:
        yield found
        return
    samples, ended = [_sample(*asked)], threading.Event()

    def watch() -> None:
        while not ended.wait(every_s):
            samples.append(_sample(*asked))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()
        samples.append(_sample(*asked))
        found.update(_summary(samples))


def _asked() -> tuple[Any, Any] | None:
    """Give NVML and the GPU that this process uses; None where one of them is missing."""
    try:
        nvml = importlib.import_module("pynvml")
    except ModuleNotFoundError:
        return None
    mine = visible(uuids(), os.environ)
    try:
        nvml.nvmlInit()
        return (nvml, nvml.nvmlDeviceGetHandleByUUID(mine[0])) if mine else None
    except nvml.NVMLError:  # no driver
        return None


def _sample(nvml: Any, gpu: Any) -> dict[str, float]:
    """Ask for each quantity once; what the GPU does not support is left out."""
    found = {}
    for name, ask in QUANTITIES.items():
        with contextlib.suppress(nvml.NVMLError):
            found[name] = float(ask(nvml, gpu))
    return found


def _summary(samples: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Compute the mean and the peak of each quantity."""
    summary = {}
    for name in QUANTITIES:
        values = [sample[name] for sample in samples if name in sample]
        if values:
            summary[f"{name}_mean"] = sum(values) / len(values)
            summary[f"{name}_peak"] = max(values)
    return summary
