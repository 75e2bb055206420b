"""The release table: the rows that are installed side by side and measured by the same cases."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.errors import ReleaseError
from suite.files import read_within

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it to these Pythons

PROJECT = Path("pyproject.toml")
PROJECT_BYTES = 1_000_000
TABLES = (("releases", ""), ("gpu-releases", "-gpu"))
"""The tables of ``[tool.suite]``, each with what the names of its lock files end in."""

BUILDS = {"tensorflow": ("tensorflow-cpu", "tensorflow")}
"""The distributions of a package that has several, the preferred one first."""

WATCHED = Path(".github", "watched", "requirements.txt")
"""The newest versions that the table has, for an update bot to raise."""

NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
_PYTHON = re.compile(r"3\.\d+")
_FIELDS = {
    "name": str,
    "python": str,
    "pins": list,
    "reason": str,
    "env": dict,
    "unpinned": bool,
    "find-links": str,
}


@dataclass(frozen=True)
class Release:
    """One row of the release table.

    Attributes:
        name: Its name everywhere, such as ``"tf-2.21"``.
        python: The Python it runs on, such as ``"3.11"``.
        pins: The packages under measurement, each ``"package==version"`` unless `unpinned`.
        reason: Why the row is there, and why its unusual pins are.
        suffix: End of its lock's name: ``"-gpu"`` with CUDA, else empty.
        unpinned: True if it is resolved anew each time it runs: no lock is committed, and a
            failure fails nothing else.
        find_links: Where to find wheels that PyPI does not have; may be empty.

    Raises:
        ValueError: If a field is outside its range.
    """

    name: str
    python: str
    pins: tuple[str, ...]
    reason: str
    suffix: str = ""
    unpinned: bool = False
    find_links: str = ""

    def __post_init__(self) -> None:
        """Check the fields."""
        if not NAME.fullmatch(self.name):
            raise ValueError(f"name must be lowercase, digits, . and -. Received: {self.name}")
        if not _PYTHON.fullmatch(self.python):
            raise ValueError(f"python must be such as 3.11. Received: {self.python}")
        inexact = [pin for pin in self.pins if "==" not in pin]
        if not self.pins or (inexact and not self.unpinned):
            raise ValueError(f"pins must be such as keras==3.15.1. Received: {inexact or 'none'}")
        if not self.reason:
            raise ValueError("reason must say why the row is there. Received: nothing")

    @property
    def lock(self) -> str:
        """The name of its lock file without ``.txt``."""
        return self.name + self.suffix

    def __str__(self) -> str:
        """Return the name."""
        return self.name


def read_releases(project: Path = PROJECT, *, table: str = "releases") -> tuple[Release, ...]:
    """Read the rows of one release table, in their order.

    Args:
        project: The ``pyproject.toml`` that holds it.
        table: A key of `TABLES`.

    Raises:
        ReleaseError: If the file cannot be read, or a row is wrong.
    """
    settings = read_table(project)
    rows = tuple(_release(row, project, dict(TABLES)[table]) for row in settings.get(table, []))
    names = [row.name for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ReleaseError(f"{project}: {table} has {', '.join(twice)} twice. Rename one row.")
    return rows


def read_project(project: Path = PROJECT) -> dict[str, Any]:
    """Read ``pyproject.toml``.

    Raises:
        ReleaseError: If it cannot be read.
    """
    try:
        return tomllib.loads(read_within(project, PROJECT_BYTES).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ReleaseError(f"{project} cannot be read: {error}. Mend it.") from error


def read_table(project: Path = PROJECT) -> dict[str, Any]:
    """Read ``[tool.suite]`` of a project; its rows are checked one by one by `read_releases`.

    Raises:
        ReleaseError: If it cannot be read, or has no rows.
    """
    tools = read_project(project).get("tool")
    settings = tools.get("suite") if isinstance(tools, dict) else None
    if not (isinstance(settings, dict) and all(_has_rows(settings, *table) for table in TABLES)):
        raise ReleaseError(
            f"{project} has no release table, expected [tool.suite] with [[tool.suite.releases]]. "
            "Restore it from version control."
        )
    return settings


def _has_rows(settings: dict[str, Any], table: str, suffix: str) -> bool:
    """True where a table of rows is one; that of the GPUs may be missing."""
    rows = settings.get(table, [] if suffix else None)
    return isinstance(rows, list) and all(isinstance(row, dict) for row in rows)


def _release(row: dict[str, Any], project: Path, suffix: str) -> Release:
    """Check one row as the file holds it and make it a `Release`, or raise ReleaseError."""
    unknown, name = sorted(set(row) - set(_FIELDS)), row.get("name", "a row without a name")
    if unknown:
        raise ReleaseError(
            f"{project}: {name} has {', '.join(unknown)}. Its fields can be {', '.join(_FIELDS)}."
        )
    for field, value in row.items():
        if not isinstance(value, _FIELDS[field]):
            kind = _FIELDS[field].__name__
            raise ReleaseError(f"{project}: {name}: {field} must be a {kind}. Received: {value!r}")
    try:
        return Release(
            name=row["name"],
            python=row["python"],
            pins=tuple(row["pins"]),
            reason=row["reason"],
            suffix=suffix,
            unpinned=row.get("unpinned", False),
            find_links=row.get("find-links", ""),
        )
    except KeyError as error:
        raise ReleaseError(f"{project}: {name} has no {error}. Add it.") from error
    except ValueError as error:
        raise ReleaseError(f"{project}: {name}: {error}") from error


def pinned(row: Release, package: str) -> str:
    """Read the version of a package that a row pins, of whichever build; empty if it pins none."""
    pins = dict(pin.split("==", 1) for pin in row.pins if "==" in pin)
    builds = BUILDS.get(package, (package,))
    return next((pins[build] for build in builds if build in pins), "")


def chosen(rows: tuple[Release, ...], names: str | None) -> tuple[Release, ...]:
    """Pick the rows that ``a,b,c`` names, in that order; for None all, unpinned ones last.

    Raises:
        ReleaseError: If a name belongs to no row.
    """
    if names is None:
        return tuple(sorted(rows, key=lambda row: row.unpinned))
    by_name = {row.name: row for row in rows}
    wanted = list(dict.fromkeys(filter(None, map(str.strip, names.split(",")))))
    unknown = [name for name in wanted if name not in by_name]
    if unknown or not wanted:
        raise ReleaseError(
            f"{', '.join(unknown) or 'nothing'} is no row of the release table, which has "
            f"{', '.join(by_name)}."
        )
    return tuple(by_name[name] for name in wanted)
