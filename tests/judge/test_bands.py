"""Tests of suite.judge.bands: a band is a closed interval and says so in words."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from suite.errors import RecordError
from suite.judge.bands import Band, Row, bands, bands_of, rows, stack_of
from suite.judge.metrics import METRICS
from suite.records import Record
from suite.tables import TIERS, table
from tests.bounds import within

MakeRecord = Callable[..., Record]
STACKS = ("eager", "graph", "jax", "torch")
CONTROL = "resnet50-w0.25-intended-none"


def test_a_band_holds_its_bounds_and_what_lies_between() -> None:
    band = Band(0.25, 0.5)
    assert all(value in band for value in (0.25, 0.3, 0.5))
    assert all(value not in band for value in (0.2499, 0.5001, -0.3, math.inf))


@pytest.mark.parametrize("band", [Band(0, 1), Band(-math.inf, 1), Band(0, math.inf)], ids=str)
def test_nan_lies_in_no_band(band: Band) -> None:
    assert band.__contains__(math.nan) is False


def test_a_band_of_one_value_holds_it_alone() -> None:
    assert 3.0 in Band(3, 3)
    assert 3.001 not in Band(3, 3)


@pytest.mark.parametrize(("low", "high"), [(1, 0), (math.nan, 1), (0, math.nan)])
def test_bounds_that_are_no_interval_are_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match=f"low must be at most high. Received: {low} and {high}"):
        Band(low, high)


@pytest.mark.parametrize(
    ("band", "words"),
    [
        (Band(0.25, 0.5), "0.25 to 0.5"),
        (Band(0.25, math.inf), "at least 0.25"),
        (Band(-math.inf, 0.123456), "at most 0.1235"),
    ],
)
def test_a_band_says_what_it_allows(band: Band, words: str) -> None:
    assert str(band) == words


def cases(tier: str) -> list[str]:
    return [str(case) for name in TIERS[tier].tables for case in table(name, tier=tier)]


def test_only_a_stack_that_ends_elsewhere_has_bands_of_its_own() -> None:
    eager = bands(CONTROL, tier="small", stack="eager")
    assert bands(CONTROL, tier="small", stack="torch") == eager
    graph = bands(CONTROL, tier="small", stack="graph")
    assert set(graph) == set(eager)
    assert 1 in eager["updates_per_step"]
    assert 1 not in graph["updates_per_step"]
    assert 2 in graph["updates_per_step"]
    full = "resnet50-intended-none"
    assert bands(full, tier="full", stack="graph") == bands(full, tier="full", stack="eager")


def test_a_record_is_judged_by_the_bands_of_its_stack(make_record: MakeRecord) -> None:
    old = {"versions": {"tensorflow": "1.14.0"}}
    new = {"stack": "eager", "versions": {"tensorflow": "2.21.0"}}
    jax = {"stack": "jax", "versions": {"jax": "0.9.2"}}
    for around, stack in ((old, "graph"), (new, "eager"), (jax, "jax")):
        record = make_record(case=CONTROL, environment=around)
        assert stack_of(record) == stack
        assert bands_of(record) == bands(CONTROL, tier="small", stack=stack)


def test_a_record_that_names_no_framework_is_refused(make_record: MakeRecord) -> None:
    with pytest.raises(RecordError, match="does not say which framework measured it"):
        stack_of(make_record(environment={"versions": {"numpy": "2.0.0"}}))


def test_of_rows_for_one_metric_the_last_that_matches_counts() -> None:
    small = [row for row in rows() if row.tier == "small" and row.case == CONTROL]
    twice = [row for row in small if row.metric == "updates_per_step"]
    assert [row.stack for row in twice] == ["*", "graph"]
    assert bands(CONTROL, tier="small", stack="graph")["updates_per_step"] == twice[1].band
    assert bands(CONTROL, tier="small", stack="eager")["updates_per_step"] == twice[0].band


def test_an_empty_bound_is_none() -> None:
    row = Row("*", "*", "*", "loss_rise", "", "", "", "")
    assert row.band == Band(-math.inf, math.inf)
    assert row._replace(low="0.5").band == Band(0.5, math.inf)
    assert row._replace(high="0").band == Band(-math.inf, 0.0)


HEADER = ",".join(Row._fields)
BAD_TABLES = [
    (b"", "must have the columns"),
    (b"tier\n", "must have the columns"),
    (b"\xff\xfe", "must be a table in UTF-8. Received: 'utf-8' codec"),
    (b'"' + b"x" * 200_000, "must be a table in UTF-8. Received: field larger than"),
    (b"x" * 1_100_000, "must be a table in UTF-8. Received: .*more than 1,000,000 bytes"),
    (f"{HEADER}\na,b\n".encode(), "must have 8 fields in each row. Received: .* in row 2"),
    (f"{HEADER}\n\n".encode(), "must have 8 fields in each row"),
    (f"{HEADER}\n*,*,*,m,low,1,,\n".encode(), r"row 2 \('\*'\): could not convert"),
    (f"{HEADER}\n*,*,*,m,2,1,,\n".encode(), "row 2 .*low must be at most high"),
    (f"{HEADER}\n*,*,*,m,nan,1,,\n".encode(), "row 2 .*low must be at most high"),
]


@pytest.mark.parametrize(("content", "message"), BAD_TABLES, ids=range(len(BAD_TABLES)))
def test_a_table_that_is_none_is_refused_when_it_is_read(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "bands.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        rows(path)
    assert len(str(caught.value)) < 600


def test_a_table_that_cannot_be_read_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "bands.csv")
    with within(30), pytest.raises(ValueError, match="it is a named pipe"):
        rows(tmp_path / "bands.csv")


def test_a_table_with_other_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bands.csv"
    path.write_text("tier,case,low\nsmall,x,1\n", encoding="utf-8")
    with pytest.raises(ValueError, match="must have the columns"):
        rows(path)


@pytest.mark.parametrize("tier", ["quickstart", "small", "study"])
def test_every_row_of_bands_belongs_to_a_case_of_its_tier(tier: str) -> None:
    own = [row for row in rows() if row.matches(tier=tier, stack=row.stack, case=row.case)]
    names = cases(tier)
    lone = [
        row.case
        for row in own
        if not any(row.matches(tier=tier, stack=row.stack, case=name) for name in names)
    ]
    assert own
    assert {case for case in lone if "*" not in case and case != "traps"} == set()


def test_every_band_is_of_a_metric_that_can_be_judged() -> None:
    assert {row.metric for row in rows()} <= set(METRICS)


@pytest.mark.parametrize("stack", [stack for stack in STACKS if stack != "eager"])
def test_bands_of_a_stack_replace_bands_that_all_have(stack: str) -> None:
    for row in rows():
        if row.stack == stack:
            common = bands(row.case, tier=row.tier, stack="eager")
            assert row.metric in common
            assert common[row.metric] != row.band


def test_the_table_is_plain_csv_without_a_row_twice() -> None:
    keys = [row[:4] for row in rows()]
    assert len(set(keys)) == len(keys)
    path = Path(bands.__wrapped__.__code__.co_filename).with_name("bands.csv")
    with path.open(encoding="utf-8", newline="") as file:
        assert all(len(line) == len(Row._fields) for line in csv.reader(file))


def test_a_control_of_the_study_that_learns_is_no_control() -> None:
    control, mended = (
        bands(f"resnet50-w0.25-intended-{fix}-b32-lr0.01-32px", tier="study", stack="eager")
        for fix in ("none", "bn-momentum-0.5")
    )
    assert 1.5 not in control["adversarial_branch_gain"]
    assert 0.0 not in mended["adversarial_branch_gain"]
    assert 0.0 not in mended["information_gain"]


@pytest.mark.parametrize("tier", ["quickstart", "small", "study"])
@pytest.mark.parametrize("stack", STACKS)
def test_every_case_is_judged_by_bands_with_a_finite_side(tier: str, stack: str) -> None:
    for case in cases(tier):
        found = bands(case, tier=tier, stack=stack)
        assert found, case
        for metric, band in found.items():
            assert math.isfinite(band.low) or math.isfinite(band.high), f"{case} {metric}"
