"""What several commands share: exit statuses, the words of errors, types of options."""

from __future__ import annotations

import argparse
import re
import sys
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from suite.cases import read_seeds
from suite.errors import RecordError, ReleaseError, SuiteError
from suite.report.text import printable
from suite.store import places

REGRESSION_STATUS = 1
ILL_STATUS = 1  # of `diagnose`: something is wrong with the network
ERROR_STATUS = 2  # it could not be told; of argparse too
INTERRUPTED_STATUS = 130  # what shells give for Ctrl-C

MOST = 2**31 - 1  # of a number that is given: more seeds no generator and counts nothing there is
DIGITS = len(str(MOST))
UNITS_S = {"h": 3600, "m": 60, "s": 1}
SHOWN = 400  # characters of the message of an error that is not ours


def explained(error: BaseException) -> str:
    """Say in one line what ended a command: what was found, and what to do."""
    words = printable(f"{type(error).__name__}: {error}".rstrip(": "), limit=SHOWN)
    if isinstance(error, SuiteError):
        return printable(str(error))
    if isinstance(error, MemoryError):
        return f"Memory ran out ({words}). Give smaller or fewer files, or free some memory."
    if isinstance(error, ModuleNotFoundError):
        return (
            f"{words}. Run this through nox, or install the suite in the environment of this "
            f"Python, {sys.executable}: python -m pip install . (commands need Python 3.11)."
        )
    if isinstance(error, OSError):
        place = error.filename or "The output, or a file,"
        found = printable(f"{place} cannot be read or written: {error.strerror or error}")
        return f"{found}. Make room or give access, or name another place."
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"Unforeseen: {words}{where}. Please report it with the output of --debug."


def folders_of(root: Path, releases: Collection[str], tiers: Sequence[str]) -> list[Path]:
    """Find the folders of some tiers' records below `root`, by tier and release.

    Raises:
        RecordError: If what lies there cannot be read: it may hold what matters.
    """
    from suite.tables import TIERS  # noqa: PLC0415 - loads more than errors need

    found = places(root, releases=releases, tiers=TIERS)
    for place in found:
        if place.fault and place.tier in ("", *tiers):
            raise RecordError(f"{place.path}: {place.fault}.".replace("..", "."))
    return [place.path for tier in tiers for place in found if place.tier == tier]


@contextmanager
def reporting(place: str) -> Iterator[None]:
    """Tell of records below `place` of which no report can be made, though each is whole.

    Raises:
        RecordError: If one lacks what its question has, or holds something else.
    """
    try:
        yield
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise RecordError(
            f"{place} holds a record that is whole, but lacks a metric or curve of its question, "
            f"or holds another kind of value ({type(error).__name__}: {error}). Find it by "
            "version control, or with --debug; run its case again."
        ) from error


def number(text: str, *, least: int) -> int:
    """Read a whole number from `least` to `MOST`."""
    if not (text.isdecimal() and len(text) <= DIGITS and least <= int(text) <= MOST):
        raise argparse.ArgumentTypeError(
            f"must be a whole number from {least} to {MOST}. Received: {printable(text, limit=40)}"
        )
    return int(text)


def named(text: str) -> str:
    """Read a name; an empty one, as of a variable that is not set, would stand for all."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must be a name, or left out. Received: an empty one")
    return text


def positive(text: str) -> int:
    """Read a number of 1 or more."""
    return number(text, least=1)


def several(text: str) -> int:
    """Read a number of 2 or more: one has no statistics."""
    return number(text, least=2)


def seed(text: str) -> int:
    """Read a seed."""
    return number(text, least=0)


def budget(text: str) -> int:
    """Read a time such as 30m, 2h or 90s, in seconds."""
    if not re.fullmatch(r"\d{1,6}[hms]", text):
        raise argparse.ArgumentTypeError(f"must be such as 30m, 2h or 90s. Received: {text:.80}")
    return int(text[:-1]) * UNITS_S[text[-1]]


def patterns(text: str) -> list[str]:
    """Read words or patterns of the names of cases; none would stand for all."""
    named(text.replace(",", " "))
    return [part for part in text.split(",") if part.strip()]


def refuse_more(given: Sequence[str], *, of: str = "pytest", by: str = "what is not run") -> None:
    """Refuse further options where nothing runs that would read them.

    Raises:
        SuiteError: If there are any.
    """
    if given:
        raise SuiteError(f"{by} takes no options of {of}. Leave out: {' '.join(given)}")


def release_table() -> dict[str, Any]:
    """Read the project's ``[tool.suite]``.

    Raises:
        ReleaseError: If it cannot be read, or lacks its default or the name of a row.
    """
    from suite.releases import PROJECT, read_table  # noqa: PLC0415 - needs 3.11, errors do not

    table = read_table()
    names = [table.get("default"), *(row.get("name") for row in table["releases"])]
    if not all(isinstance(name, str) for name in names):
        rule = "a default and a name in each row of [tool.suite]"
        raise ReleaseError(f"{PROJECT} lacks {rule}. Restore it from version control.")
    return table


def unpinned(table: Mapping[str, Any]) -> set[str]:
    """Name the releases whose failure fails nothing else, those of GPUs too."""
    rows = [*table.get("releases", []), *table.get("gpu-releases", [])]
    return {row["name"] for row in rows if row.get("unpinned")}


def write_text(path: Path, text: str) -> None:
    """Write a report to a file.

    Raises:
        SuiteError: If it cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise SuiteError(
            f"{path} cannot be written: {error.strerror}. Name another file with --markdown."
        ) from error


def check_figure(name: Path) -> None:
    """Refuse a figure that is neither a ``.png`` nor a ``.svg``.

    Raises:
        SuiteError: If its name ends otherwise.
    """
    if name.suffix.lower() not in (".png", ".svg"):
        raise SuiteError(f"{name}: no such format of figures. Name a .png or a .svg with --figure.")


def seeds(text: str) -> list[int]:
    """Read seeds, each once, in their order."""
    return [*dict.fromkeys(read_seeds(text))]
