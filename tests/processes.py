"""What tests ask of other processes, and how they start a benchmark session as nox does."""

from __future__ import annotations

import os
from pathlib import Path

UNLOADED = ("-p", "no:hypothesispytest", "-p", "no:xdist")
"""Options of pytest: no release's environment has these two, and they take seconds."""


def outside() -> dict[str, str]:
    """Return the variables without those that tell pytest-benchmark of a parallel run."""
    return {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_XDIST")}


def alive(pid: int) -> bool:
    """True while a process is neither gone nor waiting for its parent to notice its end."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # gone before the file is opened, or before it is read
        return False
    return state not in "ZX"
