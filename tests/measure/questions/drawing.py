"""What the tests of the random parts ask of a record: is it in its bands, and what is worse?"""

from __future__ import annotations

from collections.abc import Mapping

from suite.judge.bands import Band, bands
from suite.judge.gate.draws import draw_findings
from suite.judge.gate.finding import WORSE
from suite.records import Record


def found(sound: Record, faulty: Record) -> dict[str, str]:
    """Return the words of what is worse, by quantity."""
    findings = draw_findings([sound], [faulty])
    return {row.metric: row.words for row in findings if row.decision == WORSE}


def own_bands(record: Record) -> Mapping[str, Band]:
    """Look up the bands of a record, of all stacks, but for that of the tier's own size."""
    rows = bands(record.case, tier="small", stack="eager")
    return {name: band for name, band in rows.items() if name != "parameters"}


def outside(record: Record) -> set[str]:
    """Name the metrics that lie outside their bands."""
    rows = own_bands(record).items()
    return {name for name, band in rows if record.metrics[name] not in band}
