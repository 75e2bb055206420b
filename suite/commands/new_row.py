"""`new-row`: add a version that came out to the release table, with its lock, and gate it."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tomlkit
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from tomlkit.items import AoT, Table

from suite.commands.options import refuse_more, release_table
from suite.commands.processes import NOX
from suite.errors import ReleaseError
from suite.files import read_within, write_atomically
from suite.judge.compatibility import TIER
from suite.libraries import PIN
from suite.locks import Lock, resolved
from suite.releases import (
    BUILDS,
    PROJECT,
    PROJECT_BYTES,
    WATCHED,
    Release,
    pinned,
    read_releases,
)

FREED: Mapping[str, frozenset[str]] = {
    "tensorflow": frozenset({"keras", "numpy"}),
    "jax": frozenset({"numpy"}),
    "torch": frozenset({"numpy"}),
}
"""What uv may choose anew for a package's new version; whatever else a row pins stays."""

NO_SUCH = "there is no version of"  # as uv says it
PAGES = {"--trends": Path("docs", "trends.md"), "--cluster": Path("docs", "cluster.md")}
"""The generated pages that the rows of the table decide, by the option of `results`."""
BASELINES = Path("baselines")


class Wanted(NamedTuple):
    """The row that is to be added.

    Attributes:
        package: Its new package, such as ``"tensorflow"``.
        version: The version of it.
        base: The row that it is made from.
        name: Its name.
    """

    package: str
    version: str
    base: Release
    name: str


class Found(NamedTuple):
    """What the row resolves to.

    Attributes:
        python: Its Python.
        pins: Its pins, exact.
        lock: Where its lock lies.
        text: The lock's text.
    """

    python: str
    pins: tuple[str, ...]
    lock: Path
    text: str


def main(arguments: Sequence[str]) -> int:
    """Add the row and its lock, then gate it against the default row; return the gate's status.

    Raises:
        ReleaseError: If the version is there already, or cannot be resolved: nothing is written.
    """
    options, more = _parser().parse_known_args(arguments)
    if options.no_run:
        refuse_more(more, of="the gate")
    wanted = _wanted(options, read_releases())
    found = _resolve(wanted, [row.python for row in read_releases()])
    _write(wanted, found, options.reason or _reason(wanted, found))
    print(f"added {wanted.name} (Python {found.python}): {', '.join(found.pins)}")
    print(f"made from {wanted.base}; {found.lock}: {len(PIN.findall(found.text))} packages")
    _refresh(wanted)
    gate = ["-s", "gate", "--", *_gate_options(wanted.name), *more]
    print(f"gate: nox {' '.join(gate)}", flush=True)
    return 0 if options.no_run else subprocess.run([*NOX, *gate], check=False).returncode


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="nox -s new-row --",
        description="Add a row to the release table, resolve its lock, and gate it against the "
        "default row. Further options are the gate's, such as --budget 30m.",
        allow_abbrev=False,
    )
    parser.add_argument("pin", metavar="NAME==VERSION", help="such as tensorflow==2.22.0")
    parser.add_argument("--from", dest="base", metavar="ROW", help="the row to make it from")
    parser.add_argument("--reason", help="why the row is there; what it was made from otherwise")
    parser.add_argument("--no-run", action="store_true", help="say how to gate it; run nothing")
    return parser


def _wanted(options: argparse.Namespace, rows: Sequence[Release]) -> Wanted:
    """Find out which row is to be added.

    Raises:
        ReleaseError: If the argument is no such pin, no row pins the package, or one has it.
    """
    package, version = _parsed(options.pin)
    having = {row: own for row in rows if not row.unpinned and (own := pinned(row, package))}
    if not having:
        known = sorted({pin.partition("==")[0] for row in rows for pin in row.pins})
        raise ReleaseError(f"no row pins {package}, expected one of {', '.join(known)}.")
    base = _base(having, package, version, options.base)
    for row in having if package in BUILDS else [base]:
        if _same(having[row], version):
            raise ReleaseError(f"{row} has {package}=={version} already: gate that row.")
    return Wanted(package, version, base, _name(package, version, base, rows))


def _same(own: str, asked: str) -> bool:
    """True for a version of a row, such as 2.13.0+cpu, that is asked for with its build or not."""
    mine, other = Version(own), Version(asked)
    return mine == other or (not other.local and Version(mine.public) == other)


def _parsed(pin: str) -> tuple[str, str]:
    """Read ``NAME==VERSION``; every build of a package is named as the package.

    Raises:
        ReleaseError: If it is something else.
    """
    name, _, version = pin.partition("==")
    try:
        Version(version)
    except InvalidVersion as error:
        raise ReleaseError(f"{pin!r} is no pin, expected such as tensorflow==2.22.0.") from error
    package = str(canonicalize_name(name))
    return next((own for own, builds in BUILDS.items() if package in builds), package), version


def _base(having: Mapping[Release, str], package: str, version: str, named: str | None) -> Release:
    """Choose the row that the new one is made from.

    For a framework that is the newest that is no newer, else the oldest; for what runs on one, the
    default row.

    Raises:
        ReleaseError: If the named row does not pin the package.
    """
    default = named or ("" if package in FREED else release_table()["default"])
    for row in having:
        if row.name == default:
            return row
    if named:
        raise ReleaseError(f"{named} pins no {package}; {', '.join(map(str, having))} do.")
    if package not in FREED:
        return next(iter(having))
    asked = Version(Version(version).public)
    own = {row: Version(Version(pin).public) for row, pin in having.items()}
    older = [row for row in own if own[row] <= asked]
    return max(older, key=own.__getitem__) if older else [*having][-1]


def _name(package: str, version: str, base: Release, rows: Sequence[Release]) -> str:
    """Name the row: after major and minor version, or after the whole one where that is taken.

    Raises:
        ReleaseError: If both are taken.
    """
    prefix = "tf" if package in BUILDS else base.name.removesuffix(f"-{package}") + f"-{package}"
    whole = Version(version).public
    taken = {row.name for row in rows}
    names = [f"{prefix}-{'.'.join(whole.split('.')[:2])}", f"{prefix}-{whole}"]
    free = [name for name in names if name not in taken]
    if not free:
        raise ReleaseError(f"{names[1]} is a row already. Gate it, or remove it first.")
    return free[0]


def _resolve(wanted: Wanted, pythons: Sequence[str]) -> Found:
    """Resolve the row for the first build and Python that fit: the base's, else the newest.

    Raises:
        ReleaseError: If none does; it gives uv's reason for the base's Python.
    """
    base, reasons = wanted.base, list[str]()
    newest_first = sorted({*pythons}, key=Version, reverse=True)
    for build in BUILDS.get(wanted.package, (wanted.package,)):
        for python in dict.fromkeys([base.python, *newest_first]):
            asked = Lock(wanted.name, python, (*_asked(wanted, build),), find_links=base.find_links)
            try:
                versions = dict(PIN.findall(resolved(asked)))
                pins = tuple(f"{name}=={versions[name]}" for name in map(_name_of, asked.pins))
                lock = asked._replace(pins=pins)
                return Found(python, pins, lock.path, resolved(lock))
            except ReleaseError as error:
                reasons.append(f"{build} on Python {python}: {error}")
                if NO_SUCH in str(error):  # on no Python then
                    break
    raise ReleaseError(
        f"{wanted.package}=={wanted.version} cannot be added, nothing was written. {reasons[0]}. "
        "Name a version that is on the index, or with --from a row whose other pins fit it."
    )


def _asked(wanted: Wanted, build: str) -> Iterator[str]:
    """Yield what uv is asked for: the new version, what stays as it is, what it may choose."""
    builds = BUILDS.get(wanted.package, (wanted.package,))
    for pin in wanted.base.pins:
        name = _name_of(pin)
        if name in builds:
            yield f"{build}=={wanted.version}"
        else:
            yield name if name in FREED.get(wanted.package, ()) else pin


def _name_of(pin: str) -> str:
    """Read the name of a requirement."""
    return pin.partition("==")[0]


def _reason(wanted: Wanted, found: Found) -> str:
    """Say why the row is there and where its pins come from."""
    chosen = [pin for pin in found.pins if _name_of(pin) in FREED.get(wanted.package, ())]
    fitting = f"; uv chose {' and '.join(chosen)}" if chosen else ""
    return f"as {wanted.base}, with {wanted.package} {wanted.version}{fitting}"


def _write(wanted: Wanted, found: Found, reason: str) -> None:
    """Write the lock, and the row before the first that is not newer; comments stay.

    Raises:
        RecordError: If a file cannot be written.
    """
    document: Any = tomlkit.parse(read_within(PROJECT, PROJECT_BYTES).decode("utf-8"))
    rows: AoT = document["tool"]["suite"]["releases"]
    names = [row["name"] for row in rows]
    place = names.index(wanted.base.name)
    older = Version(wanted.version) < Version(pinned(wanted.base, wanted.package))
    rows.insert(place + older, _row(wanted, found, reason, rows[place]))
    write_atomically(found.lock, found.text.encode())
    write_atomically(PROJECT, tomlkit.dumps(document).encode())


def _row(wanted: Wanted, found: Found, reason: str, base: Mapping[str, Any]) -> Table:
    """Make the row as the file holds it: its environment variables are those of its base."""
    row = tomlkit.table()
    row.add("name", wanted.name)
    row.add("python", found.python)
    pins = tomlkit.array()
    pins.extend(found.pins)
    row.add("pins", pins)
    for field in ("env", "find-links"):
        if field in base:
            row.add(field, base[field])
    row.add("reason", reason)
    row.add(tomlkit.nl())
    return row


def _refresh(wanted: Wanted) -> None:
    """Bring what else names the rows up to date: the watched versions, and pages.

    Raises:
        ReleaseError: If a page cannot be renewed; the row is there all the same.
    """
    if WATCHED.exists():
        text = WATCHED.read_text(encoding="utf-8")
        former = re.search(rf"(?m)^{re.escape(wanted.package)}==(\S+)$", text)
        if former and Version(former[1]) < Version(wanted.version):
            raised = text.replace(former[0], f"{wanted.package}=={wanted.version}")
            write_atomically(WATCHED, raised.encode())
    pages = [part for name, page in PAGES.items() if page.exists() for part in (name, str(page))]
    if pages:
        command = [sys.executable, "-m", "suite", "results", *pages]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:  # it has said why
            raise ReleaseError(
                f"{wanted.name} is added, its lock too; the pages that name the rows are not. "
                f"Mend what is said above, then: nox -s results -- {' '.join(pages)}"
            )


def _gate_options(name: str) -> list[str]:
    """Name the two sides of the gate: the default row, by its stored baseline if it has one."""
    default = release_table()["default"]
    stored = (BASELINES / default / TIER).is_dir()
    return ["--baseline", f"stored:{default}" if stored else default, "--candidate", name]
