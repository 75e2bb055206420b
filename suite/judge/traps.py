"""Traps: what a call is expected to do in each release, and whether a release does it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from suite.errors import RecordError
from suite.files import read_table
from suite.records import Record

TABLE = Path(__file__).with_name("traps.csv")
VERSION = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")


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


def _number(version: object) -> tuple[int, ...]:
    """Turn the first two parts of a version into numbers, so that versions can be compared.

    Raises:
        ValueError: If it does not begin with such parts.
    """
    found = VERSION.match(str(version))
    if found is None:
        raise ValueError(f"version must be such as 2.21.0. Received: {version!r:.40}")
    return tuple(int(part) for part in found[0].split("."))


def read_traps(path: Path = TABLE) -> tuple[Trap, ...]:
    """Read the rows of a table of traps, in the order of the file.

    Raises:
        ValueError: If the columns of the file are not the fields of `Trap`, or what is expected of
            a trap is not pairs of a version and an outcome, the oldest version first.
    """
    return tuple(
        Trap(name, question, meaning, source, _expectations(path, name, text))
        for name, question, meaning, source, text in read_table(path, Trap._fields)
    )


def _expectations(path: Path, name: str, text: str) -> tuple[tuple[str, str], ...]:
    """Split text such as ``"1.14 honoured; 3.0 raises"`` into pairs; an outcome may hold spaces.

    Raises:
        ValueError: If it is no such text.
    """
    pairs = [part.strip().split(" ", maxsplit=1) for part in text.split(";")]
    since = [pair[0] for pair in pairs if len(pair) == len(("since", "outcome"))]
    dated = len(since) == len(pairs) and all(map(VERSION.fullmatch, since))
    if not dated or sorted(since, key=_number) != since:
        rule = "such as '1.14 honoured; 3.0 raises', the oldest version first"
        raise ValueError(f"{path}, {name!r:.80}: expected must be {rule}. Received: {text!r:.80}")
    return tuple((pair[0], pair[1]) for pair in pairs)


TRAPS = read_traps()
"""The traps: of optimizers, BatchNorm, fit, layers, the published code, saving, and files."""


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

    Raises:
        RecordError: If the record does not tell what the trap did, or of which version.
    """
    try:
        version = generation(record.environment["versions"])
        stated = expected(trap, version)
    except ValueError as error:
        raise RecordError(f"{record.name} of {record.release}: {error}. Make it anew.") from error
    seen = _seen(trap, record)
    outcome = seen["outcome"]
    if outcome == stated:
        return ""
    return (
        f"{trap.name}: {trap.question} Seen: {outcome} ({seen['detail']}), expected for {version}: "
        f"{stated}. It matters, since: {trap.meaning}. If the release means it, state it as news "
        f"in suite/judge/traps.csv; see {trap.source}"
    )


def _seen(trap: Trap, record: Record) -> Mapping[str, Any]:
    """Find the row of a record that tells what a trap's call did.

    Raises:
        RecordError: If there is not exactly one, or it does not tell.
    """
    rows = [row for row in record.statistics if row.get("trap") == trap.name]
    if len(rows) != 1 or not {"outcome", "detail"} <= rows[0].keys():
        raise RecordError(
            f"{record.name} of {record.release} has {len(rows)} rows on the trap {trap.name}, "
            "expected one with outcome and detail. Make the record anew."
        )
    return rows[0]


def generation(versions: Mapping[str, str]) -> str:
    """Choose the one of a release's `versions` that decides how it behaves.

    That is the version of Keras from Keras 3 on, and of TensorFlow before, as well as with
    tf-keras, which is still Keras 2. The two form one scale, on which later is larger.

    Raises:
        ValueError: If the versions do not hold it.
    """
    keras = versions.get("keras", versions.get("keras-nightly", "2"))
    if "tf-keras" in versions or _number(keras) < (3,):
        if "tensorflow" not in versions:
            raise ValueError(f"versions must name tensorflow's. Received: {sorted(versions)!r:.80}")
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
