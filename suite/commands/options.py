"""What several commands share: exit statuses, kinds of options, the release table."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from suite.errors import SuiteError
from suite.releases import read_project

REGRESSION_STATUS = 1
ILL_STATUS = 1  # of `diagnose`: something was found
ERROR_STATUS = 2
INTERRUPTED_STATUS = 130  # what shells give for Ctrl-C


def positive(text: str) -> int:
    """Return the number that an option names."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a positive number. Received: {text}")
    return int(text)


def several(text: str) -> int:
    """Return the number of images that an option names."""
    if not text.isdecimal() or int(text) < 2:  # noqa: PLR2004 - one has no statistics
        raise argparse.ArgumentTypeError(f"must be a number of 2 or more. Received: {text}")
    return int(text)


def seed(text: str) -> int:
    """Return the seed that an option names."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number. Received: {text}")
    return int(text)


def release_table() -> dict[str, Any]:
    """Return the release table of the project."""
    table: dict[str, Any] = read_project()["tool"]["suite"]
    return table


def unpinned(table: Mapping[str, Any]) -> set[str]:
    """Return the names of the releases that are no gate."""
    return {row["name"] for row in table.get("releases", []) if row.get("unpinned")}


def write_text(path: Path, text: str) -> None:
    """Write a report or raise SuiteError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SuiteError(
            f"{path} cannot be written: {error.strerror}. Name another file with --markdown."
        ) from error


def check_figure(name: Path) -> None:
    """Raise SuiteError unless the figure is to be a format that can be written."""
    if name.suffix.lower() not in (".png", ".svg"):
        raise SuiteError(f"{name}: no such format of figures. Name a .png or a .svg with --figure.")
