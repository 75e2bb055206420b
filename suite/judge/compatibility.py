"""Compatibility: which records of a release are as they should be, and what its last run said."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from suite.cases import Case
from suite.judge.bands import MENDED, Band, bands_of
from suite.judge.verdicts import judge
from suite.networks.architectures import ARCHITECTURES
from suite.records import Record
from suite.tables import table

if TYPE_CHECKING:
    from typing import TypeAlias

TIER = "small"
OUTCOME_SCHEMA = 1
GAIN = "adversarial_branch_gain"  # what tells whether a network stalls
OUTCOME_KINDS: Mapping[str, tuple[type, ...]] = {
    "passed": (bool,),
    "installs": (bool, type(None)),
    "imports": (bool, type(None)),
    "seconds": (float, int),
    "reason": (str,),
    "lock_digest": (str,),
    "date": (str,),
}
"""The types that the fields of `Outcome` may have, as its JSON file may hold anything."""

Fault: TypeAlias = "Callable[[Record], str]"
"""Says what is wrong with a record; empty text if it is as it should be."""


@dataclass(frozen=True)
class Outcome:
    """How the last run of a row of the release table ended.

    Attributes:
        passed: True where it ended without an error or a failed check.
        installs: True where its environment could be made; None if that is not known.
        imports: True where its framework could be imported; None if that is not known.
        seconds: How long it ran.
        reason: Why it did not pass, in one line; empty if it did.
        lock_digest: Digest of its lock; empty where there was none.
        date: The day, ISO 8601 in UTC.
        schema: Version of this layout, `OUTCOME_SCHEMA`.

    Raises:
        ValueError: If `schema` is not `OUTCOME_SCHEMA`, or a field is of another type.
    """

    passed: bool
    installs: bool | None
    imports: bool | None
    seconds: float
    reason: str
    lock_digest: str
    date: str
    schema: int = OUTCOME_SCHEMA

    def __post_init__(self) -> None:
        if self.schema != OUTCOME_SCHEMA:
            raise ValueError(f"schema must be {OUTCOME_SCHEMA}. Received: {self.schema!r:.40}")
        for name, kinds in OUTCOME_KINDS.items():
            value = getattr(self, name)
            if type(value) not in kinds or value != value:  # noqa: PLR0124 - NaN is no time
                rule = " or ".join(kind.__name__ for kind in kinds)
                raise ValueError(f"{name} must be of type {rule}. Received: {value!r:.40}")


class Evidence(NamedTuple):
    """All that is stored of one row of the release table.

    Attributes:
        release: Name of the row.
        lock_digest: Digest of its lock as it is now; empty where there is none.
        records: Its records of the small tier, whatever their lock.
        outcome: How its last run ended; None if it never ran.
        code: Digest of the code that measures, as it is now; empty for that of the newest record.
    """

    release: str
    lock_digest: str
    records: tuple[Record, ...]
    outcome: Outcome | None
    code: str = ""

    @property
    def current(self) -> tuple[Record, ...]:
        """The records that were made with the present lock; no other counts."""
        digest = self.lock_digest
        return tuple(r for r in self.records if r.environment["lock_digest"] == digest)


def outside_band(record: Record) -> str:
    """Name the first metric of a record that lies outside its band; a record of none is no pass."""
    verdicts = [
        judge(record.case, metric, record.metrics[metric], band, seed=f"seed {record.seed}")
        for metric, band in bands_of(record).items()
        if metric in record.metrics
    ]
    if not verdicts:
        return f"{record.name} holds none of the numbers that are judged"
    return next((str(verdict) for verdict in verdicts if verdict.failed), "")


def not_stalled(record: Record) -> str:
    """Say that the adversarial branch of a control learned, if it did."""
    return _gain_outside(record, bands_of(record)[GAIN])


def not_mended(record: Record) -> str:
    """Say that the adversarial branch of a treatment did not learn, if it did not."""
    return _gain_outside(record, Band(MENDED, math.inf))


def _gain_outside(record: Record, band: Band) -> str:
    """Say that the gain of the adversarial branch is missing or lies outside `band`."""
    if GAIN not in record.metrics:
        return f"{record.name} holds no {GAIN}"
    verdict = judge(record.case, GAIN, record.metrics[GAIN], band, seed=f"seed {record.seed}")
    return str(verdict) if verdict.failed else ""


def cases_without_batch_norm() -> tuple[Case, ...]:
    """List the accuracy cases of the networks without BatchNorm, which cannot stall."""
    rows = table("accuracy", tier=TIER)
    return tuple(row for row in rows if not ARCHITECTURES[row.architecture].batch_norm)


def control_cases() -> tuple[Case, ...]:
    """List the cases of the ResNet without a fix, one a phase policy."""
    return tuple(row for row in table("stall", tier=TIER) if row.fix == "none")


def treatment_cases() -> tuple[Case, ...]:
    """List the cases of the ResNet with a fix that mends the stall.

    Another momentum does not mend it under literal phases, which never update the statistics.
    """
    rows = table("stall", tier=TIER)
    useless = ("literal", "bn-momentum-0.5")
    return tuple(row for row in rows if row.fix != "none" and (row.loss, row.fix) != useless)
