"""All public reports that are rebuilt here."""

from __future__ import annotations

from tests.diagnose.reports import inputs, labels, layers, statistics, updates
from tests.diagnose.reports.report import Report

REPORTS: tuple[Report, ...] = (
    *statistics.ROWS,
    *updates.ROWS,
    *layers.ROWS,
    *inputs.ROWS,
    *labels.ROWS,
)
