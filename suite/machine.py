"""The machine that a record is made on, and the memory that this process uses."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import cpuinfo

if sys.version_info >= (3, 8):
    from importlib import metadata
else:
    import importlib_metadata as metadata

GIB = 2**30


def versions(names: Iterable[str]) -> dict[str, str]:
    """Look up the versions of Python and of those named distributions that are installed."""
    installed = {
        dist.metadata["Name"].lower().replace("_", "-"): dist.version
        for dist in metadata.distributions()
    }
    found = {name: installed[name] for name in names if name in installed}
    return {"python": platform.python_version(), **found}


@functools.lru_cache(maxsize=None)
def cpu_name() -> str:
    """Read the processor's brand name."""
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
    digest = hashlib.sha256(repr(sorted(parts.items())).encode()).hexdigest()
    return {**parts, "fingerprint": digest[:16]}


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
