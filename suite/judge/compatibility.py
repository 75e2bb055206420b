"""What each row of the release table could do: which of its records are as they should be."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from suite.cases import Case
from suite.judge.bands import MENDED, Band, bands_of
from suite.judge.verdicts import judge
from suite.networks.architectures import ARCHITECTURES
from suite.tables import table

if TYPE_CHECKING:
    from suite.records import Record

TIER = "small"
OUTCOME_SCHEMA = 1
Fault = Callable[[Case, "Record"], str]
"""Says what is wrong with the record of a case; nothing if it is as it should be."""


@dataclass(frozen=True)
class Outcome:
    """What became of a row of the release table when it last ran.

    Attributes:
        passed: Whether it ended without an error or a failed check.
        installs: Whether its environment could be made; None if that is not known.
        imports: Whether its framework could be imported; None if that is not known.
        seconds: How long it ran.
        reason: Why it did not pass, in one line; empty if it did.
        lock_digest: Digest of its lock; empty where there was none.
        date: The day, ISO 8601 in UTC.
        schema: Version of this layout, `OUTCOME_SCHEMA`.

    Raises:
        ValueError: If `schema` is another.
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
        """Check the schema."""
        if self.schema != OUTCOME_SCHEMA:
            raise ValueError(f"schema must be {OUTCOME_SCHEMA}. Received: {self.schema}")


class Evidence(NamedTuple):
    """All that is stored of one row.

    Attributes:
        release: Its name.
        lock_digest: Digest of its lock as it is now; empty where there is none.
        records: Those of the small tier, whatever their lock.
        outcome: Of its last run, if it ran.
    """

    release: str
    lock_digest: str
    records: tuple[Record, ...]
    outcome: Outcome | None

    @property
    def current(self) -> tuple[Record, ...]:
        """The records under the present lock, which alone count."""
        digest = self.lock_digest
        return tuple(r for r in self.records if r.environment["lock_digest"] == digest)


def outside_band(_: Case, record: Record) -> str:
    """Return the first metric of a record that lies outside the case's band, if one does."""
    verdicts = [
        judge(record.case, metric, record.metrics[metric], band, seed=f"seed {record.seed}")
        for metric, band in bands_of(record).items()
        if metric in record.metrics
    ]
    return next((str(verdict) for verdict in verdicts if verdict.failed), "")


def not_stalled(_: Case, record: Record) -> str:
    """Say that a control's adversarial branch learned, if it did."""
    return _gain_outside(record, bands_of(record)["adversarial_branch_gain"])


def not_mended(_: Case, record: Record) -> str:
    """Return that a treatment's adversarial branch did not learn, if it did not."""
    return _gain_outside(record, Band(MENDED, math.inf))


def _gain_outside(record: Record, band: Band) -> str:
    """Return that a record's gain of the adversarial branch lies outside `band`, if it does."""
    gain = record.metrics["adversarial_branch_gain"]
    seed = f"seed {record.seed}"
    verdict = judge(record.case, "adversarial_branch_gain", gain, band, seed=seed)
    return str(verdict) if verdict.failed else ""


def cases_without_batch_norm() -> tuple[Case, ...]:
    """Return the accuracy cases of the networks that have nothing to stall."""
    rows = table("accuracy", tier=TIER)
    return tuple(row for row in rows if not ARCHITECTURES[row.architecture].batch_norm)


def control_cases() -> tuple[Case, ...]:
    """Return the unfixed ResNets, one a phase policy."""
    return tuple(row for row in table("stall", tier=TIER) if row.fix == "none")


def treatment_cases() -> tuple[Case, ...]:
    """Return the fixed ResNets; momentum mends only where the statistics are updated."""
    rows = table("stall", tier=TIER)
    useless = ("literal", "bn-momentum-0.5")
    return tuple(row for row in rows if row.fix != "none" and (row.loss, row.fix) != useless)
