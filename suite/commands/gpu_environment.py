"""The environment beside an installed framework: links to its packages, and those of a bundle.

The suite measures only in environments that it can check file by file. So this one holds nothing
but what packages recorded: links to the files of the framework's, and the bundle's own. It imports
the standard library alone.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import re
import shutil
import sys
import venv
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path, PurePosixPath
from typing import Any

from suite.errors import SuiteError
from suite.libraries import installed, site_packages

INSTALLED = "installed.txt"  # in the environment: its lock, which lists what is there
OUTERMOST = 2  # parts of the path of a package's own RECORD: some bring others along, deeper
CUDA = ("nvidia-", "cuda-")  # how the packages begin that a framework finds by their files


def make_environment(folder: Path, own: Path, asked: Mapping[str, Any]) -> Path:
    """Make the environment in `folder`, if that is not done; give its Python.

    Args:
        folder: Where it lies.
        own: The packages of the bundle, unpacked.
        asked: What the bundle says: ``python``, its version, and ``beside``, the packages that it
            does not bring.

    Raises:
        SuiteError: If this Python is another, or lacks a package.
    """
    python = folder / "bin" / "python"
    if (folder / INSTALLED).exists():
        return python
    _check_python(asked["python"])
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, symlinks=True)
    site = site_packages(folder)
    shutil.copytree(own, site, dirs_exist_ok=True)
    brought, present = installed(site), _present()
    _check_beside({*asked["beside"]} - {*present})
    for name, package in sorted(needed(asked["beside"], present).items()):
        if name not in brought:
            link(package, site)
    lines = (f"{name}=={version}\n" for name, version in sorted(installed(site).items()))
    (folder / INSTALLED).write_text("".join(lines))
    return python


def _check_python(expected: str) -> None:
    """Refuse another version than the bundle's.

    Raises:
        SuiteError: If this Python is one.
    """
    found = "{}.{}".format(*sys.version_info)
    if found != expected:
        raise SuiteError(
            f"this is Python {found}, expected {expected}, for which the bundle has its packages. "
            "Run it with that Python, or make a bundle of a row for this one."
        )


def _check_beside(lacking: set[str]) -> None:
    """Refuse a machine that lacks what the bundle does not bring.

    Raises:
        SuiteError: If it does.
    """
    if lacking:
        raise SuiteError(
            f"this Python ({sys.executable}) lacks {', '.join(sorted(lacking))}, expected beside "
            "what the bundle brings. Make the bundle anew: `nox -s gpu-bundle -- ROW --installed "
            "FILE`, the file holding what `python3 -m pip freeze` prints here."
        )


def normal(name: str) -> str:
    """Write the name of a package as locks do."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _present() -> dict[str, Distribution]:
    """Find the packages of this Python, by name; the first on its path is the one it imports."""
    return {normal(found.metadata["Name"]): found for found in reversed([*distributions()])}


def needed(names: Iterable[str], present: Mapping[str, Distribution]) -> dict[str, Distribution]:
    """Pick some packages and all that they ask for, as far as it is there, extras left out."""
    found: dict[str, Distribution] = {}
    waiting = [*names, *(name for name in present if name.startswith(CUDA))]
    while waiting:
        name = waiting.pop()
        if name in present and name not in found:
            found[name] = present[name]
            waiting += map(normal, _wanted(present[name]))
    return found


def _wanted(package: Distribution) -> Iterator[str]:
    """Yield the names of the packages that one asks for without extras."""
    for line in package.requires or ():
        name = re.match(r"[\w.-]+", line)
        if name and not re.search(r"extra\s*==", line):
            yield name[0]


def link(package: Distribution, site: Path) -> None:
    """Link the files of a package into `site`, with the byte code that its Python has of them.

    Its RECORD is written anew: it lists what is there, each file with the digest that it had.

    Raises:
        SuiteError: If it has no RECORD.
    """
    text, record, kept = package.read_text("RECORD"), None, []
    for row in filter(None, csv.reader((text or "").splitlines())):
        name, source = PurePosixPath(row[0]), Path(str(package.locate_file(row[0])))
        if ".." in name.parts or name.is_absolute() or name.suffix == ".pyc":
            continue
        if name.match("*.dist-info/RECORD") and len(name.parts) == OUTERMOST:
            record = name
        elif source.is_file():
            _place(source, site / name)
            if name.suffix == ".py":
                _place(*_byte_code(source, site / name))
        else:
            continue
        kept.append(row)
    if record is None:
        raise SuiteError(
            f"{package.metadata['Name']} has no RECORD of its files, by which they could be "
            "checked. Install it by pip."
        )
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(kept)
    (site / record).parent.mkdir(parents=True, exist_ok=True)
    (site / record).write_text(written.getvalue(), encoding="utf-8")


def _byte_code(source: Path, place: Path) -> tuple[Path, Path]:
    """Name the file of a source's byte code, and where it belongs beside a link to the source."""
    compiled = Path(importlib.util.cache_from_source(str(source)))
    return compiled, place.parent / compiled.parent.name / compiled.name


def _place(source: Path, place: Path) -> None:
    """Link a file, if it is there and nothing lies in its place yet."""
    if source.is_file() and not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(source.resolve())
