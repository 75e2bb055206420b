"""Provenance: the commit that a folder is at, and whether it is what was committed."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from suite.judge.verdicts import listed

NAMED = 3  # examples in a sentence
ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE")
"""Variables that make git look into another repository than that of the folder."""


class Provenance(NamedTuple):
    """Where a folder comes from.

    Attributes:
        clean: True where it is as it was committed.
        words: At which commit it is, and what differs from it.
    """

    clean: bool
    words: str


def provenance(folder: Path) -> str:
    """Say at which commit `folder` is and whether it is clean: a signed file can be forged."""
    return inspected(folder).words


def inspected(folder: Path) -> Provenance:
    """Compare `folder` with the commit that it is at.

    The files are compared by their content, whatever git's own index notes about them: it can be
    told to overlook changes.
    """
    last = _git(folder, "log", "-1", "--format=%h of %cs", "--", ".")
    if not last:
        words = f"{folder}: no git commit holds it, so whether it was edited cannot be told"
        return Provenance(False, words)
    with tempfile.TemporaryDirectory() as place:
        index = {"GIT_INDEX_FILE": str(Path(place, "index"))}
        _git(folder, "read-tree", "HEAD", variables=index)
        options = ("--porcelain", "--untracked-files=all", "--ignored", "-z")
        changed = _git(folder, "status", *options, "--", ".", variables=index)
    if changed is None:
        words = (
            f"{folder}: git cannot compare it with its commit, so it cannot be told if it is clean"
        )
        return Provenance(False, words)
    names = [entry[3:] for entry in changed.split("\0") if entry]
    if not names:
        words = f"{folder}: as committed (last changed by {last.strip()}), clean"
        return Provenance(True, words)
    others = listed(names, most=NAMED)
    words = f"{folder}: NOT CLEAN, other than its commit (of {last.strip()}) in {others}"
    return Provenance(False, words)


def _git(folder: Path, *arguments: str, variables: dict[str, str] | None = None) -> str | None:
    """Ask git about `folder`; None where there is no git, no repository or no commit."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed words and a folder
            ["git", "-C", str(folder), "-c", "core.fsmonitor=false", *arguments],  # noqa: S607 - the user's
            env={
                **{name: value for name, value in os.environ.items() if name not in ELSEWHERE},
                "LC_ALL": "C",
                **(variables or {}),
            },
            capture_output=True,
            check=False,
        )
    except OSError:
        return None
    return None if done.returncode else done.stdout.decode("utf-8", "replace")
