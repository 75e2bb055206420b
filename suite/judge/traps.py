"""The traps: what a call is expected to do in each release, and what is news."""

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
        name: Of the metric, and of the call in `suite.measure.questions.traps`.
        question: What is asked of a release.
        meaning: What a change of it does to adversarial training.
        source: Where it was reported or is documented.
        expected: Pairs of a version and the outcome that holds from it on; see `generation`.
    """

    name: str
    question: str
    meaning: str
    source: str
    expected: tuple[tuple[str, str], ...]


def read_traps(path: Path = TABLE) -> tuple[Trap, ...]:
    """Read the rows of a table of traps.

    Raises:
        ValueError: If its columns are not the fields of `Trap`.
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
    """Read ``"1.14 honoured; 3.0 raises"``; an outcome may hold spaces."""
    pairs = (part.strip().split(" ", maxsplit=1) for part in text.split(";"))
    return tuple((since, outcome) for since, outcome in pairs)


TRAPS = read_traps()
"""The traps, those of the optimizer first, then BatchNorm's, fit's, and the published code's."""


def generation(versions: Mapping[str, str]) -> str:
    """Tell which of a release's `versions` its behaviour goes with.

    It is Keras' own from Keras 3 on, and TensorFlow's before and with tf-keras, which goes on
    with Keras 2: one scale, on which later is larger.
    """
    keras = versions.get("keras", versions.get("keras-nightly", "2"))
    if "tf-keras" in versions or _number(keras) < (3,):
        return versions["tensorflow"]
    return keras


def expected(trap: Trap, version: str) -> str:
    """Look up the outcome that is stated of `trap` for a version as `generation` returns it.

    Raises:
        ValueError: If nothing is stated of so old a version.
    """
    holding = [outcome for since, outcome in trap.expected if _number(since) <= _number(version)]
    if not holding:
        raise ValueError(f"version must be at least {trap.expected[0][0]}. Received: {version}")
    return holding[-1]


def news(trap: Trap, record: Record) -> str:
    """Say how what a release was seen to do differs from what is expected; empty if it does not.

    Args:
        trap: A row of `TRAPS`.
        record: Of the question "traps".
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


def unexpected(record: Record) -> int:
    """Count the traps in which a release does something else than expected."""
    return sum(bool(news(trap, record)) for trap in TRAPS)


def _number(version: str) -> tuple[int, ...]:
    """Return the first two parts of a version as numbers."""
    return tuple(int(part) for part in version.split(".")[:2])
