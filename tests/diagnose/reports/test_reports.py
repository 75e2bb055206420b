"""Tests of thirty-one public reports: the diagnosis names what their threads found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from suite.diagnose.found import HEALTHY
from suite.networks.types import Keras
from suite.report.pages import markers
from tests.diagnose.nets import QUIET
from tests.diagnose.reports import page
from tests.diagnose.reports.measure import MENDED, examined, lacking
from tests.diagnose.reports.nets import MEASURES
from tests.diagnose.reports.report import CLASSES, FOLDER, Report, sample
from tests.diagnose.reports.table import REPORTS

ROOT = Path(__file__).parents[3]
MEASURED = page.read(ROOT / page.MEASURED)
LEAST_RIGHT, LARGEST_BYTES = 28, 1_500_000

pytestmark = [
    QUIET,
    pytest.mark.filterwarnings("ignore:You are using a softmax over axis:UserWarning"),  # it is one
]


def name_of(cause: str) -> str:
    """Leave away which statistics are stale: that may hang on how a framework rounds."""
    return cause.partition(" (")[0]


@pytest.mark.parametrize("report", REPORTS, ids=str)
def test_a_report_shows_its_symptom_and_is_diagnosed_as_the_table_says(
    report: Report, keras: Keras
) -> None:
    model, data, found = examined(report, keras)
    row = MEASURED[report.name]
    assert MEASURES[report.measure](model, data) < row.after - MENDED
    assert not row.right or lacking(report, found) == []
    assert (found.verdict, name_of(found.cause)) == (row.verdict, name_of(row.cause))


def test_most_reports_are_right_and_their_advice_mends_them() -> None:
    assert len(REPORTS) == len(MEASURED) == len({report.address for report in REPORTS})
    assert sum(row.right for row in MEASURED.values()) >= LEAST_RIGHT
    assert sum(row.mended for row in MEASURED.values()) >= LEAST_RIGHT
    assert all(row.verdict != HEALTHY for row in MEASURED.values())


def test_the_page_shows_what_was_measured() -> None:
    begin, end = markers(page.SECTION)
    shown = (ROOT / page.PAGE).read_text(encoding="utf-8").split(begin)[1].split(end)[0]
    assert shown.strip() == page.table(REPORTS, MEASURED)


def test_what_is_stored_is_small_and_has_every_class() -> None:
    images, labels = sample()
    assert images.min() >= 0
    assert images.max() <= 1
    assert np.bincount(labels, minlength=CLASSES).min() > 0
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < LARGEST_BYTES
    names = {report.weights or report.name for report in REPORTS} | {"signs"}
    assert {file.stem for file in FOLDER.iterdir()} == names
