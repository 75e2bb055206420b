"""What tests ask of processes that they did not start themselves."""

from __future__ import annotations

from pathlib import Path


def alive(pid: int) -> bool:
    """True while a process is neither gone nor waiting for its parent to notice its end."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # gone before the file is opened, or before it is read
        return False
    return state not in "ZX"
