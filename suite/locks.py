"""The locks: what each row of the release table resolves to, and whether that is fresh.

`nox -s lock` runs this with nothing installed but uv, so it imports only the standard library.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from suite.errors import ReleaseError
from suite.files import file_digest, read_bytes, write_atomically
from suite.libraries import PIN, read_pins
from suite.releases import (
    PROJECT,
    TABLES,
    Release,
    read_project,
    read_releases,
    read_table,
)

LOCKS = Path("locks")
PLATFORM = (
    "x86_64-unknown-linux-gnu"  # the only one supported; a lock for every platform must fit all
)
GROUPS_PYTHON = "3.11"  # of the sessions that install a dependency group
OPTIONS = (
    "--generate-hashes",
    "--no-annotate",
    "--no-emit-index-url",
    "--no-emit-find-links",
    "--quiet",
)

NO_UV = "uv is missing, which resolves the locks: install it with `pip install uv`"

_HEADER = re.compile(r"# inputs (\w+)\n# content (\w+)\n")


class Lock(NamedTuple):
    """What one lock file is resolved from, beside the project's own dependencies.

    Attributes:
        name: Of the file, without ``.txt``.
        python: The Python it is for.
        pins: The row's.
        group: The dependency group it holds; may be empty.
        constraint: The lock whose versions it keeps; may be empty.
        find_links: Where wheels lie that PyPI does not have; may be empty.
    """

    name: str
    python: str
    pins: tuple[str, ...] = ()
    group: str = ""
    constraint: str = ""
    find_links: str = ""

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return LOCKS / f"{self.name}.txt"


class Fault(NamedTuple):
    """What is wrong with a lock.

    Attributes:
        text: What is wrong, what would change and what to do.
        unresolvable: True if no versions were found that fit the row.
    """

    text: str
    unresolvable: bool = False


def lock_of(row: Release) -> Lock:
    """Name the lock file of a row and what it is resolved from."""
    return Lock(row.lock, row.python, row.pins, find_links=row.find_links)


def group_locks() -> list[Lock]:
    """Name the lock of every dependency group: at the default row's versions, beside which it runs.

    A group that asks for a build of its own ("+cpu") looks where the rows find such wheels.
    """
    project = read_project()
    default = read_table().get("default", "")
    links = next((row.find_links for row in read_releases() if row.find_links), "")
    return [
        Lock(name, GROUPS_PYTHON, (), name, default, links if "+" in "".join(entries) else "")
        for name, entries in project.get("dependency-groups", {}).items()
    ]


def update(locks: Sequence[Lock], *, upgrade: bool = False) -> list[str]:
    """Resolve and write every lock; report in one line each those that cannot be resolved."""
    problems = []
    for lock in locks:
        try:
            text = resolved(lock, upgrade=upgrade)
        except ReleaseError as error:
            problems.append(str(error))
            continue
        write_atomically(lock.path, text.encode())
        print(f"{lock.path}: {len(PIN.findall(text))} packages")
    return problems


def check(locks: Sequence[Lock]) -> list[str]:
    """Report every stale lock in one line: what is wrong and what would change; write none."""
    return [found.text for found in map(fault, locks) if found]


def fault(lock: Lock) -> Fault | None:
    """Find what is wrong with a lock and what to do about it; None if it is fresh.

    A stale lock is resolved anew, which needs the network, to tell what would change.
    """
    reason = staleness(lock)
    if not reason:
        return None
    if not _has_uv():
        return Fault(f"{reason}; {NO_UV}")
    try:
        changes = _changes(pins_of(lock.path), dict(PIN.findall(resolved(lock))))
    except ReleaseError as error:
        return Fault(f"{reason}; {error}", unresolvable=True)
    return Fault(f"{reason}{changes}. Run `nox -s lock -- {_row(lock)}`")


def staleness(lock: Lock) -> str:
    """Say why a lock file is not what its row resolved to; empty if it is.

    Its header holds the digests of what went in and of what came out, so no network is needed.

    Raises:
        RecordError: If the file cannot be read.
    """
    if not lock.path.exists():
        return f"{lock.path} is missing"
    text = read_bytes(lock.path).decode("utf-8", "replace")
    header = _HEADER.match(text)
    if header is None:
        return f"{lock.path} has no header of `nox -s lock`"
    if header[2] != _digest(text[header.end() :]):
        return f"{lock.path} was edited by hand"
    if header[1] != _digest(inputs(lock)):
        return (
            f"{lock.path} is stale: its row, the project's dependencies or uv's settings "
            "changed since it was written"
        )
    return ""


def lock_digest(row: Release) -> str:
    """Compute the digest of a row's lock; empty if there is none, or it is stale.

    An unpinned row's is never stale: it is what the row resolved to when it last ran.
    """
    lock = lock_of(row)
    fits = lock.path.exists() if row.unpinned else not staleness(lock)
    return file_digest(lock.path) if fits else ""


def strangers() -> list[str]:
    """Report every lock file that belongs to no row, in one line."""
    rows = [row for table, _ in TABLES for row in read_releases(table=table)]
    known = {*(row.lock for row in rows), *(group.name for group in group_locks())}
    paths = sorted(path for path in LOCKS.glob("*.txt") if path.stem not in known)
    return [f"{path} belongs to no row of the release table. Remove it" for path in paths]


def inputs(lock: Lock) -> str:
    """Write down, as JSON, all that decides what a lock resolves to except the registry."""
    project = read_project()
    constraint = LOCKS / f"{lock.constraint}.txt"
    return json.dumps(
        {
            "lock": lock[1:],
            "platform": PLATFORM,
            "dependencies": project["project"]["dependencies"],
            "group": project["dependency-groups"][lock.group] if lock.group else [],
            "uv": project["tool"]["uv"],
            "constraint": pins_of(constraint) if lock.constraint else {},
        },
        sort_keys=True,
    )


def resolved(lock: Lock, *, upgrade: bool = False) -> str:
    """Resolve a lock with uv and return its text; versions that still fit are kept.

    Args:
        lock: The lock.
        upgrade: Forget the versions in its file, so that the newest that fit are taken.

    Raises:
        ReleaseError: If nothing fits; it names the row and gives uv's reason. If uv is missing.
    """
    start = lock.path if lock.path.exists() and not upgrade else None
    body = compiled(lock.name, lock.pins, _options(lock), links=lock.find_links, start=start)
    return f"# inputs {_digest(inputs(lock))}\n# content {_digest(body)}\n{body}"


def compiled(
    name: str,
    pins: Sequence[str],
    options: Sequence[str],
    *,
    links: str = "",
    start: Path | None = None,
    project: Path | None = PROJECT,
) -> str:
    """Resolve requirements with uv, by all settings of the user's, and return what it writes.

    Args:
        name: What they are called in an error.
        pins: The requirements, beside those of the project.
        options: Of `uv pip compile`.
        links: Where wheels lie that PyPI does not have; may be empty.
        start: A lock whose versions are kept where they still fit.
        project: The file whose dependencies are resolved too; None for none.

    Raises:
        ReleaseError: If nothing fits; it gives uv's reason. If uv is missing.
    """
    if not _has_uv():
        raise ReleaseError(NO_UV)
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "pins.in"), Path(folder, "lock.txt")
        source.write_text("\n".join(pins), encoding="utf-8")
        if start:
            shutil.copy(start, output)
        sources = [str(path) for path in (project, source) if path]
        done = subprocess.run(
            ["uv", "pip", "compile", *sources, *options, "--output-file", str(output)],
            env={**os.environ, **find_links(links, os.environ)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ReleaseError(f"{name} cannot be resolved: {one_line(done.stderr)}")
        return _HEADER.sub("", output.read_text(encoding="utf-8"))


def _has_uv() -> bool:
    return shutil.which("uv") is not None


def _options(lock: Lock) -> list[str]:
    """List the options that `uv pip compile` resolves a lock with."""
    options = ["--python-version", lock.python, "--python-platform", PLATFORM, *OPTIONS]
    options += ["--group", lock.group] if lock.group else []
    options += ["-c", str(LOCKS / f"{lock.constraint}.txt")] if lock.constraint else []
    return [*options, "--custom-compile-command", "nox -s lock"]


def find_links(row: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Set where uv looks for wheels that PyPI does not have: this machine's place, or the row's."""
    own = environment.get("UV_FIND_LINKS") or environment.get("PIP_FIND_LINKS")
    return {"UV_FIND_LINKS": own or row} if row else {}


def one_line(message: str) -> str:
    """Put an error message on one line, without line drawing and a leading "error"."""
    words = re.sub(r"[^\x20-\x7e]", " ", message).split()
    return " ".join(words).removeprefix("error: ").rstrip(".")


def _changes(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """Say which versions a new lock would change; empty if there is no old one."""
    changes = [
        f"{name} {old.get(name, 'absent')} -> {new.get(name, 'absent')}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
    return f"; would change {', '.join(changes)}" if changes and old else ""


def pins_of(path: Path) -> dict[str, str]:
    """Read the versions that a lock file holds; none if there is no file."""
    return read_pins(path) if path.exists() else {}


def _row(lock: Lock) -> str:
    """Name the row that a lock belongs to."""
    return lock.name.removesuffix("-gpu")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
