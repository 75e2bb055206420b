"""Bands: the limits within which each metric of each case must end, by tier and stack."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from suite.errors import RecordError
from suite.files import read_table
from suite.records import Record

DERIVED = ("clean_accuracy_cost", "difference_from_control")
"""The metrics that are computed from two records, and are in neither."""

TABLE = Path(__file__).with_name("bands.csv")
STALLED = 0.1  # nats; a constant predictor gains about 0, one that is not yet constant even less
MENDED = 5 * STALLED  # nats; what a network with a fix must gain at least, far from any stall


@dataclass(frozen=True)
class Band:
    """A closed interval in which a metric must lie.

    Attributes:
        low: Smallest value allowed; minus infinity for no limit.
        high: Largest value allowed; infinity for no limit.

    Raises:
        ValueError: If a bound is NaN or ``low`` exceeds ``high``.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"low must be at most high. Received: {self.low} and {self.high}")

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"at least {self.low:.4g}"
        if math.isinf(self.low):
            return f"at most {self.high:.4g}"
        if self.low == self.high:
            return f"exactly {self.low:.12g}"
        return f"{self.low:.4g} to {self.high:.4g}"


class Row(NamedTuple):
    """One row of the table of bands: a limit that holds in any release, and why.

    What follows from the seeds of one release is in its baseline, and nowhere else.

    Attributes:
        tier: Patterns of the tiers that the row is for, separated by spaces, of which one must
            match; ``*`` in a pattern stands for any text.
        stack: Patterns of the stacks.
        case: Patterns of the cases.
        metric: Name of the one metric.
        low: Smallest value allowed; empty for no limit.
        high: Largest value allowed; empty for no limit.
        why: The reason for the limits.
    """

    tier: str
    stack: str
    case: str
    metric: str
    low: str
    high: str
    why: str

    def matches(self, *, tier: str, stack: str, case: str) -> bool:
        """True where the row is for this tier, stack and case."""
        names = ((tier, self.tier), (stack, self.stack), (case, self.case))
        return all(_is_like(name, patterns) for name, patterns in names)

    @property
    def band(self) -> Band:
        """The interval that the row allows."""
        return Band(float(self.low or -math.inf), float(self.high or math.inf))


def _is_like(name: str, patterns: str) -> bool:
    """True where a name matches one of the patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns.split())


@functools.lru_cache(maxsize=None)
def bands(case: str, *, tier: str, stack: str) -> Mapping[str, Band]:
    """Look up the band of each metric of a case; of several rows for a metric the last one counts.

    Args:
        case: Name of the case.
        tier: Name of its tier.
        stack: Name of the stack it ran on, a module of `suite.stacks`.
    """
    found = (row for row in rows() if row.matches(tier=tier, stack=stack, case=case))
    return {row.metric: row.band for row in found}


@functools.lru_cache(maxsize=None)
def rows(path: Path = TABLE) -> tuple[Row, ...]:
    """Read the rows of a table of bands, in the order of the file.

    Raises:
        ValueError: If the columns of the file are not the fields of `Row`, or a limit is no number.
    """
    found = tuple(Row(*line) for line in read_table(path, Row._fields))
    for number, row in enumerate(found, start=2):
        try:
            _ = row.band
        except ValueError as error:
            raise ValueError(f"{path}, row {number} ({row.case!r:.80}): {error}") from error
    return found


def bands_of(record: Record) -> Mapping[str, Band]:
    """Look up the bands that a record is judged by.

    Raises:
        RecordError: If the record does not say which framework measured it.
    """
    return bands(record.case, tier=record.tier, stack=stack_of(record))


def judged(record: Record) -> dict[str, float]:
    """Pick the numbers of a record that have a band; all others are recorded alone.

    Raises:
        RecordError: If one that has a band is missing, or the record does not say which framework
            measured it.
    """
    names = [name for name in bands_of(record) if name not in DERIVED]
    missing = [name for name in names if name not in record.metrics]
    if missing:
        raise RecordError(
            f"{record.name} of {record.release} holds no {', '.join(missing)}. Expected all that "
            "suite/judge/bands.csv has a row for. Make the record anew."
        )
    return {name: record.metrics[name] for name in names}


def stack_of(record: Record) -> str:
    """Name the stack that a record was measured on.

    Old records do not name their stack; the version of TensorFlow then decides.

    Raises:
        RecordError: If the record names neither.
    """
    environment = record.environment
    if "stack" in environment:
        return str(environment["stack"])
    tensorflow = str(environment["versions"].get("tensorflow", ""))
    if not tensorflow:
        raise RecordError(
            f"{record.name} of {record.release} does not say which framework measured it. Expected "
            "environment.stack, or the version of tensorflow. Make the record anew."
        )
    return "graph" if tensorflow.startswith("1.") else "eager"
