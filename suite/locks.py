"""The locks: what each row of the release table resolves to, with hashes; are they fresh?

Run by ``nox -s lock`` with nothing installed but uv: the standard library's alone.
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
from suite.releases import PROJECT, TABLES, Release, read_project, read_releases

LOCKS = Path("locks")
PLATFORM = "x86_64-unknown-linux-gnu"  # the README's; a universal lock would resolve for all others
TOOLS = "tools"
TOOLS_PYTHON = "3.11"
OPTIONS = (
    "--generate-hashes",
    "--no-annotate",
    "--no-emit-index-url",
    "--no-emit-find-links",
    "--quiet",
)

_HEADER = re.compile(r"# inputs (\w+)\n# content (\w+)\n")
_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==(\S+)", re.MULTILINE)


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


def lock_of(row: Release) -> Lock:
    """Return the lock of a row."""
    return Lock(row.lock, row.python, row.pins, find_links=row.find_links)


def update(locks: Sequence[Lock], *, upgrade: bool = False) -> list[str]:
    """Write every lock that can be had and return why the others cannot."""
    problems = []
    for lock in locks:
        try:
            text = resolved(lock, upgrade=upgrade)
        except ReleaseError as error:
            problems.append(str(error))
            continue
        _write(lock.path, text)
        print(f"{lock.path}: {len(_PIN.findall(text))} packages")
    return problems


def check(locks: Sequence[Lock]) -> list[str]:
    """Return for every stale lock what is wrong with it and what would change; write none."""
    return [found for found in map(problem, locks) if found]


def problem(lock: Lock) -> str:
    """Return what is wrong with a lock, why, and what to do; nothing if it is fresh."""
    fault = staleness(lock)
    if not fault:
        return ""
    try:
        changes = _changes(_pins(lock.path), dict(_PIN.findall(resolved(lock))))
    except ReleaseError as error:
        return f"{fault}; {error}"
    return f"{fault}{changes}. Run `nox -s lock -- {_row(lock)}`"


def staleness(lock: Lock) -> str:
    """Return what is wrong with a lock file; nothing if it is what its row resolved to.

    Its header holds the digests of what went in and of what came out, so no network is needed.
    """
    if not lock.path.exists():
        return f"{lock.path} is missing"
    text = lock.path.read_text(encoding="utf-8")
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


def strangers() -> list[str]:
    """Return the lock files that belong to no row."""
    rows = [row for table, _ in TABLES for row in read_releases(table=table)]
    known = {*(row.lock for row in rows), TOOLS}
    paths = sorted(path for path in LOCKS.glob("*.txt") if path.stem not in known)
    return [f"{path} belongs to no row of the release table. Remove it" for path in paths]


def inputs(lock: Lock) -> str:
    """Return all that decides what a lock resolves to, but the registry, as text."""
    project = read_project()
    constraint = LOCKS / f"{lock.constraint}.txt"
    return json.dumps(
        {
            "lock": lock[1:],
            "platform": PLATFORM,
            "dependencies": project["project"]["dependencies"],
            "group": project["dependency-groups"][lock.group] if lock.group else [],
            "uv": project["tool"]["uv"],
            "constraint": _pins(constraint) if lock.constraint else {},
        },
        sort_keys=True,
    )


def resolved(lock: Lock, *, upgrade: bool = False) -> str:
    """Return the text of a lock as uv resolves it, keeping versions that still fit.

    Raises:
        ReleaseError: If nothing fits; it names the row and gives uv's reason. If uv is missing.
    """
    if shutil.which("uv") is None:
        raise ReleaseError(
            "uv is missing, which resolves the locks: install it with `pip install uv`"
        )
    with tempfile.TemporaryDirectory() as folder:
        pins, output = Path(folder, "pins.in"), Path(folder, "lock.txt")
        pins.write_text("\n".join(lock.pins), encoding="utf-8")
        if lock.path.exists() and not upgrade:
            shutil.copy(lock.path, output)
        done = subprocess.run(
            ["uv", "pip", "compile", str(PROJECT), str(pins), *_options(lock, output)],
            env={**os.environ, **find_links(lock.find_links, os.environ)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ReleaseError(f"{lock.name} cannot be resolved: {one_line(done.stderr)}")
        body = _HEADER.sub("", output.read_text(encoding="utf-8"))
    return f"# inputs {_digest(inputs(lock))}\n# content {_digest(body)}\n{body}"


def _options(lock: Lock, output: Path) -> list[str]:
    """Return uv's options."""
    options = ["--python-version", lock.python, "--python-platform", PLATFORM, *OPTIONS]
    options += ["--group", lock.group] if lock.group else []
    options += ["-c", str(LOCKS / f"{lock.constraint}.txt")] if lock.constraint else []
    return [*options, "--custom-compile-command", "nox -s lock", "--output-file", str(output)]


def find_links(row: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return uv's setting of where else wheels lie: this machine's own first, or the row's."""
    own = environment.get("UV_FIND_LINKS") or environment.get("PIP_FIND_LINKS")
    return {"UV_FIND_LINKS": own or row} if row else {}


def one_line(message: str) -> str:
    """Return an error message on one line, without line drawing and the word "error"."""
    words = re.sub(r"[^\x20-\x7e]", " ", message).split()
    return " ".join(words).removeprefix("error: ").rstrip(".")


def _changes(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """Return which versions a new lock would change; nothing where there is no old one."""
    changes = [
        f"{name} {old.get(name, 'absent')} -> {new.get(name, 'absent')}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
    return f"; would change {', '.join(changes)}" if changes and old else ""


def _pins(path: Path) -> dict[str, str]:
    """Return the versions that a lock file holds; none if there is no file."""
    return dict(_PIN.findall(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _row(lock: Lock) -> str:
    """Return the name of the lock's row."""
    return lock.name.removesuffix("-gpu")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    """Write a lock as a whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
