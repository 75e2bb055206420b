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
    """One row of the table of bands; ``*`` in a pattern stands for any text.

    Attributes:
        tier: Pattern of the tiers that the row is for.
        stack: Pattern of the stacks.
        case: Pattern of the cases.
        metric: Name of the one metric.
        low: Smallest value allowed; empty for no limit.
        high: Largest value allowed; empty for no limit.
        seen: What the limits were chosen from: mean ± standard deviation (runs), or the range of
            the runs; may be empty.
        why: The reason for the limits; may be empty.
    """

    tier: str
    stack: str
    case: str
    metric: str
    low: str
    high: str
    seen: str
    why: str

    def matches(self, *, tier: str, stack: str, case: str) -> bool:
        """True where the row is for this tier, stack and case."""
        names = ((tier, self.tier), (stack, self.stack), (case, self.case))
        return all(fnmatchcase(name, pattern) for name, pattern in names)

    @property
    def band(self) -> Band:
        """The interval that the row allows."""
        return Band(float(self.low or -math.inf), float(self.high or math.inf))


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
