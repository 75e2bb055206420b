"""The machine that a record is made on, and what this process uses of it."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

GIB = 2**30
PARENT = "SUITE_PARENT"
"""Environment variable with the process that a command must not outlive; nox's sessions set it."""

PR_SET_PDEATHSIG = 1  # of prctl(2)
CARD = "name,memory.total,driver_version"  # what decides how fast a GPU is
VECTORS = ("sse", "ssse", "avx", "fma", "f16c", "amx", "vnni")
"""How the names of the instructions begin that libraries choose their kernels by."""


def versions(names: Iterable[str]) -> dict[str, str]:
    """Look up the versions of Python and of those named distributions that are installed."""
    if sys.version_info >= (3, 8):
        from importlib import metadata  # noqa: PLC0415 - beside the other
    else:
        import importlib_metadata as metadata  # noqa: PLC0415 - a bare Python must get to its error
    installed = {
        dist.metadata["Name"].lower().replace("_", "-"): dist.version
        for dist in metadata.distributions()
    }
    found = {name: installed[name] for name in names if name in installed}
    return {"python": platform.python_version(), **found}


@functools.lru_cache(maxsize=None)
def cpu_name() -> str:
    """Read the processor's brand name."""
    import cpuinfo  # noqa: PLC0415 - some commands run where it is not installed

    return str(cpuinfo.get_cpu_info().get("brand_raw", platform.processor()))


def describe(gpus: Sequence[str]) -> dict[str, str | int | float | list[str]]:
    """Describe what decides how fast this machine is, with a ``fingerprint`` of all of it.

    Args:
        gpus: Names of the GPUs that the framework uses.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    parts: dict[str, str | int | float | list[str]] = {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "gpus": list(gpus),
        "memory_gib": round(memory / GIB),
        "system": f"{platform.system()} {platform.machine()}",
    }
    if gpus:
        parts["cards"] = cards()
    digest = hashlib.sha256(repr(sorted(parts.items())).encode()).hexdigest()
    return {**parts, "fingerprint": digest[:16]}


def cards(columns: str = CARD) -> list[str]:
    """List `columns` of each GPU, as nvidia-smi names them; nothing where no driver answers."""
    command = ("nvidia-smi", f"--query-gpu={columns}", "--format=csv,noheader")
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)  # noqa: S603 - its own
    except OSError:
        return []
    return [] if done.returncode else done.stdout.decode("utf-8", "replace").splitlines()


def instructions() -> str:
    """List the vector instructions that the processor offers; empty if the system is silent.

    Libraries choose their kernels by them, and other kernels round otherwise.
    """
    found = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    names = set(found[1].split()) if found else set()
    return " ".join(sorted(name for name in names if name.startswith(VECTORS)))


def end_with_parent() -> None:
    """End this process by SIGTERM when the process that `PARENT` names ends, even if it is killed.

    The variable is taken away: it is not meant for processes that this one starts.
    """
    parent = os.environ.pop(PARENT, "")
    if parent.isdecimal():
        end_with(int(parent))


def end_with(parent: int) -> None:
    """End this process, whatever it executes, by SIGTERM when its parent ends, even if killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it ended before this was asked for
        os.kill(os.getpid(), signal.SIGTERM)


def reset_peak_memory() -> bool:
    """Start measuring this process's peak memory anew; False where the system forbids it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_memory_bytes() -> int:
    """Read the peak resident memory of this process since the reset, in bytes (Linux only).

    Raises:
        OSError: If the system does not state it.
    """
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise OSError("/proc/self/status does not state VmHWM, the peak resident memory")
    return int(found[1]) * 1024
