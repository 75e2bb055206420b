"""What several commands share: exit statuses, types of options, the release table."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from suite.errors import SuiteError
from suite.releases import read_project

REGRESSION_STATUS = 1
ILL_STATUS = 1  # of `diagnose`: something is wrong with the network
ERROR_STATUS = 2
INTERRUPTED_STATUS = 130  # what shells give for Ctrl-C


def positive(text: str) -> int:
    """Read a number of 1 or more."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a positive number. Received: {text}")
    return int(text)


def several(text: str) -> int:
    """Read a number of 2 or more."""
    if not text.isdecimal() or int(text) < 2:  # noqa: PLR2004 - one has no statistics
        raise argparse.ArgumentTypeError(f"must be a number of 2 or more. Received: {text}")
    return int(text)


def seed(text: str) -> int:
    """Read a seed: a whole number."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number. Received: {text}")
    return int(text)


def release_table() -> dict[str, Any]:
    """Read the project's ``[tool.suite]``."""
    table: dict[str, Any] = read_project()["tool"]["suite"]
    return table


def unpinned(table: Mapping[str, Any]) -> set[str]:
    """Name the releases whose failure fails nothing else."""
    return {row["name"] for row in table.get("releases", []) if row.get("unpinned")}


def write_text(path: Path, text: str) -> None:
    """Write a report to a file.

    Raises:
        SuiteError: If it cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
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
