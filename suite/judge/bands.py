"""The bands: where each metric of each case must end, in every tier and on every stack."""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from suite.errors import RecordError
from suite.records import Record

TABLE = Path(__file__).with_name("bands.csv")
STALLED = 0.1  # nats: a constant predictor gains about 0, a head still on its way there less
MENDED = 5 * STALLED  # nats; what a fix must gain at least, far from any stall


@dataclass(frozen=True)
class Band:
    """A closed interval in which a metric must lie.

    Attributes:
        low: Smallest value allowed; may be minus infinity.
        high: Largest value allowed; may be infinity.

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
    """One row of the table of bands; ``*`` in a name stands for any text.

    Attributes:
        tier: The tiers it is for.
        stack: The stacks.
        case: The cases.
        metric: The one metric.
        low: Smallest value allowed; empty for none.
        high: Largest value allowed; empty for none.
        seen: Mean ± standard deviation (runs) or range of the runs it was made from; may be empty.
        why: Its reason; may be empty.
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
        low, high = (float(text) if text else math.inf for text in (self.low, self.high))
        return Band(low if self.low else -math.inf, high)


@functools.lru_cache(maxsize=None)
def rows(path: Path = TABLE) -> tuple[Row, ...]:
    """Read the rows of a table of bands, in its order."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    if tuple(header) != Row._fields:
        raise ValueError(f"{path} must have the columns {Row._fields}. Received: {header}")
    return tuple(Row(*line) for line in lines)


@functools.lru_cache(maxsize=None)
def bands(case: str, *, tier: str, stack: str) -> Mapping[str, Band]:
    """Look up the bands of a case by metric; of rows for the same metric, the last one counts.

    Args:
        case: Name of the case.
        tier: Name of its tier.
        stack: Name of the stack it ran on, a module of `suite.stacks`.
    """
    found = (row for row in rows() if row.matches(tier=tier, stack=stack, case=case))
    return {row.metric: row.band for row in found}


def bands_of(record: Record) -> Mapping[str, Band]:
    """Look up the bands that a record is judged by."""
    return bands(record.case, tier=record.tier, stack=stack_of(record))


def stack_of(record: Record) -> str:
    """Tell the stack that a record was measured on.

    Records of before there was more than one TensorFlow stack do not name it: their version does.

    Raises:
        RecordError: If neither is there.
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
