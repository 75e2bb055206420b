"""The libraries of an environment, held against its lock and against what their packages hold.

It imports the standard library alone: a verdict asks about environments that it does not run in.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from suite.errors import RecordError, SuiteError
from suite.files import (
    CHUNK_BYTES,
    open_regular,
    parse_json,
    read_bytes,
    read_within,
    write_atomically,
)

INSTALLER = "pip"  # virtualenv puts it into an environment; it computes nothing
RECORD_BYTES = 32_000_000  # of a package's list of files, or of what is kept of an environment
STORE = "suite-files.json"  # beside the libraries: it goes with the environment
SHOWN = 3  # faults that a message names
BYTE_CODE = re.compile(r"\.pyc(\.\d+)?$")  # with a number while Python writes it
PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==(\S+)", re.MULTILINE)


class Entry(NamedTuple):
    """What the RECORD of a package says of one of its files.

    Attributes:
        package: Its name and version, such as ``"keras 3.15.1"``.
        digest: ``"sha256=..."`` of the file; empty where none is given.
    """

    package: str
    digest: str


def site_packages(environment: Path) -> Path:
    """Find the folder of the libraries in an environment.

    Raises:
        SuiteError: If there is none.
    """
    found = sorted(environment.glob("lib/python3*/site-packages"))
    if not found:
        raise SuiteError(f"{environment} has no site-packages, expected an environment of nox.")
    return found[0]


def read_pins(lock: Path) -> dict[str, str]:
    """Read the versions that a lock file lists, by package.

    Raises:
        RecordError: If it cannot be read.
    """
    return dict(PIN.findall(read_bytes(lock).decode("utf-8", "replace")))


def installed(folder: Path) -> dict[str, str]:
    """List the versions of the packages in a folder of libraries, by their normalised names."""
    split = [_package(info) for info in folder.glob("*.dist-info")]
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in split}


def _package(info: Path) -> tuple[str, str]:
    """Read the name and the version of a package off the name of its folder of metadata."""
    name, _, version = info.name[: -len(".dist-info")].rpartition("-")
    return name, version


def library_digest(folder: Path) -> str:
    """Compute ``"sha256:..."`` of what the packages in `folder` hold, by their RECORDs.

    Environments that are installed from the same lock have the same digest, wherever they lie.

    Raises:
        SuiteError: If a RECORD cannot be read.
    """
    digest = hashlib.sha256()
    for path, entries in sorted(recorded(folder).items()):
        owners = sorted(e for e in entries if not e.package.startswith(f"{INSTALLER} "))
        if owners and ".dist-info/" not in path and not path.endswith(".pyc"):
            digest.update(f"{path} {[tuple(owner) for owner in owners]}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def check_versions(folder: Path, lock: Path) -> None:
    """Refuse libraries that are not those of a lock.

    Raises:
        SuiteError: If a package of the lock is missing or has another version, or the lock lists
            none or cannot be read.
    """
    pins, found = read_pins(lock), installed(folder)
    others = [
        f"{name} {found.get(name, 'is missing')}, expected {version}"
        for name, version in sorted(pins.items())
        if found.get(name) != version
    ]
    if others or not pins:
        raise SuiteError(
            f"{folder} does not hold what {lock} lists: {_some(others) or 'no package at all'}. "
            "The record would bear another release's name. Run the session of the release "
            "(`nox -l` lists them): it installs the lock that it names."
        )


def check_files(folder: Path) -> None:
    """Refuse libraries in which a file is not as its package brought it.

    Python's files are read each time (0.6 s for the 91 MB of TensorFlow 2.21's environment). The
    digests of all others (1.5 GB, 4 s) are kept in the environment, together with size, inode and
    the times of the last changes, of which no program can set the second. Byte code is no
    package's: where it changed since it was first seen, it is removed, and Python makes it anew
    of the source.

    Raises:
        SuiteError: If a file was edited, is missing or belongs to no package, or a RECORD cannot
            be read.
    """
    owned, present = recorded(folder), set(_present(folder))
    store = folder.parents[2] / STORE
    known, compiled = _known(store), set(_compiled(present, owned))
    faults, kept = _altered(folder, owned, known)
    kept.update(_as_before(folder, compiled, known))
    if kept != known:
        with suppress(RecordError):  # it saves time and nothing else
            write_atomically(store, json.dumps(kept, sort_keys=True).encode())
    faults.update(dict.fromkeys(sorted(present - {*owned, *compiled}), "belongs to no package"))
    if faults:
        raise SuiteError(
            f"{folder} is not what its packages brought: "
            f"{_some([f'{path} {what}' for path, what in faults.items()])}. "
            + _mend(folder, {entry.package for path in faults for entry in owned.get(path, [])})
        )


def _mend(folder: Path, packages: Iterable[str]) -> str:
    """Tell how the environment becomes what it was; uv links files to copies that it keeps."""
    commands = [f"rm -r {folder.parents[2]}"]
    names = sorted(package.split()[0] for package in packages)
    commands += [f"uv cache clean {' '.join(names)}"] if names else []
    return f"Make it anew: `{'; '.join(commands)}`, then the session again."


def _some(faults: Sequence[str]) -> str:
    """Name the first faults and count the others."""
    more = [f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
    return "; ".join([*faults[:SHOWN], *more])


def recorded(folder: Path) -> dict[str, list[Entry]]:
    """List the files that the RECORDs of a folder name inside it, each with all its owners.

    Two packages may bring the same file (py-cpuinfo and py-cpuinfo2 do); the last one installed
    has it.

    Raises:
        SuiteError: If a RECORD cannot be read.
    """
    found = defaultdict(list)
    for info in sorted(folder.glob("*.dist-info")):
        for row in filter(None, csv.reader(_lines(info / "RECORD"))):
            path = os.path.normpath(row[0])
            if not path.startswith((os.pardir, os.sep)):
                found[path].append(Entry(" ".join(_package(info)), "".join(row[1:2])))
    return dict(found)


def _lines(record: Path) -> list[str]:
    """Read the lines of a RECORD.

    Raises:
        SuiteError: If it cannot be read.
    """
    try:
        return read_within(record, RECORD_BYTES).decode("utf-8", "replace").splitlines()
    except OSError as error:
        raise SuiteError(
            f"{record} cannot be read: {error.strerror}. Expected: the list of the package's "
            f"files. Remove the environment (`rm -r {record.parents[4]}`) and run again."
        ) from error


def _present(folder: Path) -> Iterator[str]:
    """List all files below a folder, relative to it; a link to a folder is one of them."""
    for place, folders, files in os.walk(folder):
        inside = os.path.relpath(place, folder)
        links = [name for name in folders if Path(place, name).is_symlink()]
        for name in (*files, *links):
            yield os.path.normpath(f"{inside}/{name}")


def _compiled(present: Iterable[str], owned: Mapping[str, object]) -> Iterator[str]:
    """Pick the byte code that Python keeps of sources that a package brought."""
    for path in present:
        place, cached, name = path.rpartition("__pycache__/")
        source = f"{place}{name.partition('.')[0]}.py"
        if cached and BYTE_CODE.search(name) and source in owned:
            yield path


def _altered(
    folder: Path, owned: Mapping[str, Iterable[Entry]], known: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Say which files are not as any of their owners recorded them, and what to keep of others."""
    faults, kept = {}, {}
    for path, entries in sorted(owned.items()):
        digests = {entry.digest for entry in entries if entry.digest}
        if not digests or path.endswith(".pyc"):
            continue
        if not (folder / path).exists():
            faults[path] = "is missing"
            continue
        state = _state(folder / path)
        seen, _, digest = known.get(path, "").rpartition(" ")
        if path.endswith(".py") or seen != state or digest not in digests:
            digest = _digest(folder / path)
        if digest in digests:
            kept[path] = f"{state} {digest}"
        else:
            faults[path] = "was edited or damaged"
    return faults, kept


def _as_before(folder: Path, compiled: Iterable[str], known: Mapping[str, str]) -> dict[str, str]:
    """Remove the byte code that changed since it was first seen; give the state of the rest.

    Raises:
        SuiteError: If it cannot be removed.
    """
    kept = {}
    for path in compiled:
        with suppress(FileNotFoundError):  # another session was faster
            state = _state(folder / path)
            if known.get(path, state) == state:
                kept[path] = state
            else:
                _remove(folder / path)
    return kept


def _remove(path: Path) -> None:
    """Remove a file.

    Raises:
        SuiteError: If the system refuses.
        FileNotFoundError: If it is gone.
    """
    try:
        path.unlink()
    except PermissionError as error:
        raise SuiteError(
            f"{path} changed since it was first seen, and cannot be removed: {error.strerror}. "
            "Expected: byte code that Python made of its source. Remove it by hand."
        ) from error


def _known(store: Path) -> dict[str, str]:
    """Read what is kept; nothing if there is no such file, or it is damaged."""
    try:
        found = parse_json(read_within(store, RECORD_BYTES))
    except (OSError, ValueError):
        return {}
    return {path: str(text) for path, text in found.items()} if isinstance(found, dict) else {}


def _state(path: Path) -> str:
    """Tell what changes with a file: its size, inode and the times of the last changes."""
    status = path.stat()
    return f"{status.st_size} {status.st_ino} {status.st_mtime_ns} {status.st_ctime_ns}"


def _digest(path: Path) -> str:
    """Compute a file's digest as a RECORD writes it; empty if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open_regular(path) as file:
            for chunk in iter(lambda: file.read(CHUNK_BYTES), b""):
                digest.update(chunk)
    except OSError:
        return ""
    return f"sha256={base64.urlsafe_b64encode(digest.digest()).decode().rstrip('=')}"
