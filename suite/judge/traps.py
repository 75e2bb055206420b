"""Traps: what a call is expected to do in each release, and whether a release does it."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from suite.records import Record

TABLE = Path(__file__).with_name("traps.csv")


class Trap(NamedTuple):
    """A call whose meaning depends on the release.

    Attributes:
        name: Name of the trap, and of its call in `suite.measure.questions.traps`.
        question: The question that each release answers.
        meaning: What another answer does to adversarial training.
        source: Address of the report or of the documentation.
        expected: Pairs of a version and the outcome that holds from this version on; see
            `generation`.
    """

    name: str
    question: str
    meaning: str
    source: str
    expected: tuple[tuple[str, str], ...]


def read_traps(path: Path = TABLE) -> tuple[Trap, ...]:
    """Read the rows of a table of traps, in the order of the file.

    Raises:
        ValueError: If the columns of the file are not the fields of `Trap`.
    """
    with path.open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    if tuple(header) != Trap._fields:
        raise ValueError(f"{path} must have the columns {Trap._fields}. Received: {header}")
    return tuple(
        Trap(name, question, meaning, source, _expectations(text))
        for name, question, meaning, source, text in lines
    )


def _expectations(text: str) -> tuple[tuple[str, str], ...]:
    """Split text such as ``"1.14 honoured; 3.0 raises"`` into pairs; an outcome may hold spaces."""
    pairs = (part.strip().split(" ", maxsplit=1) for part in text.split(";"))
    return tuple((since, outcome) for since, outcome in pairs)


TRAPS = read_traps()
"""The traps: of the optimizer, then of BatchNorm, of fit, and of the published code."""


def unexpected(record: Record) -> int:
    """Count the traps in which a release does something else than expected.

    Args:
        record: A record of the question "traps".
    """
    return sum(bool(news(trap, record)) for trap in TRAPS)


def news(trap: Trap, record: Record) -> str:
    """Describe how a release differs from what is expected of it; empty text if it does not.

    Args:
        trap: A row of `TRAPS`.
        record: A record of the question "traps".
    """
    [seen] = (row for row in record.statistics if row["trap"] == trap.name)
    version = generation(record.environment["versions"])
    stated, outcome = expected(trap, version), seen["outcome"]
    if outcome == stated:
        return ""
    return (
        f"{trap.name}: {trap.question} Seen: {outcome} ({seen['detail']}), expected for {version}: "
        f"{stated}. It matters, since: {trap.meaning}. If the release means it, state it as news "
        f"in suite/judge/traps.csv; see {trap.source}"
    )


def generation(versions: Mapping[str, str]) -> str:
    """Choose the one of a release's `versions` that decides how it behaves.

    That is the version of Keras from Keras 3 on, and of TensorFlow before, as well as with
    tf-keras, which is still Keras 2. The two form one scale, on which later is larger.
    """
    keras = versions.get("keras", versions.get("keras-nightly", "2"))
    if "tf-keras" in versions or _number(keras) < (3,):
        return versions["tensorflow"]
    return keras


def expected(trap: Trap, version: str) -> str:
    """Look up the outcome that is expected of a trap in a version as `generation` chooses it.

    Raises:
        ValueError: If the version is older than all that the trap's row is about.
    """
    holding = [outcome for since, outcome in trap.expected if _number(since) <= _number(version)]
    if not holding:
        raise ValueError(f"version must be at least {trap.expected[0][0]}. Received: {version}")
    return holding[-1]


def _number(version: str) -> tuple[int, ...]:
    """Turn the first two parts of a version into numbers, so that versions can be compared."""
    return tuple(int(part) for part in version.split(".")[:2])
