"""Tests of suite.judge.traps: what is expected of a version, and a change told in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from suite.errors import RecordError
from suite.judge.traps import TRAPS, expected, generation, news, read_traps, unexpected
from suite.measure.questions.trap_calls import OUTCOMES
from suite.measure.questions.traps import CALLS
from suite.records import Record

MakeRecord = Callable[..., Record]
LATEST = {"keras": "3.15.1", "tensorflow": "2.21.0"}
BY_NAME = {trap.name: trap for trap in TRAPS}


def seen(make_record: MakeRecord, **outcomes: str) -> Record:
    """Make the record of a release in which all is as expected but `outcomes`."""
    rows = [
        {
            "trap": trap.name,
            "outcome": outcomes.get(trap.name, expected(trap, "3.15.1")),
            "detail": "moved by 0.01",
        }
        for trap in TRAPS
    ]
    return make_record("traps", question="traps", statistics=rows, environment={"versions": LATEST})


@pytest.mark.parametrize(
    ("versions", "version"),
    [
        ({"tensorflow": "1.14.0", "keras": "2.2.4-tf"}, "1.14.0"),
        ({"tensorflow": "2.3.4"}, "2.3.4"),
        ({"tensorflow": "2.15.1", "keras": "2.15.0"}, "2.15.1"),
        ({"tensorflow": "2.16.2", "keras": "3.3.3"}, "3.3.3"),
        ({"tensorflow": "2.16.2", "keras": "3.3.3", "tf-keras": "2.16.0"}, "2.16.2"),
        ({"tensorflow": "2.22.0-dev20260101", "keras-nightly": "3.16.0.dev2026"}, "3.16.0.dev2026"),
        ({"jax": "0.9.2", "keras": "3.15.1"}, "3.15.1"),
    ],
)
def test_behaviour_goes_with_keras_from_3_on_and_with_tensorflow_before(
    versions: dict[str, str], version: str
) -> None:
    assert generation(versions) == version


@pytest.mark.parametrize(
    ("version", "outcome"),
    [
        ("1.14.0", "honoured"),
        ("2.9.3", "honoured"),
        ("2.10.1", "honoured"),
        ("2.11.1", "ignored"),
        ("2.16.2", "ignored"),
        ("3.3.3", "raises"),
        ("4.0.0", "raises"),
    ],
)
def test_the_last_outcome_that_began_is_expected(version: str, outcome: str) -> None:
    assert expected(BY_NAME["lr_argument"], version) == outcome


def test_nothing_is_expected_of_a_version_before_the_first() -> None:
    with pytest.raises(ValueError, match=r"version must be at least 1.14. Received: 1.13.1"):
        expected(BY_NAME["lr_argument"], "1.13.1")


def test_rows_are_well_formed_and_each_has_its_call() -> None:
    assert list(BY_NAME) == list(CALLS)
    assert len(BY_NAME) == len(TRAPS)
    assert len(set(OUTCOMES)) == len(OUTCOMES)
    for trap in TRAPS:
        assert {outcome for _, outcome in trap.expected} <= set(OUTCOMES)
        versions = [tuple(map(int, since.split("."))) for since, _ in trap.expected]
        assert versions == sorted(set(versions))
        assert versions[0] == (1, 14)
        assert trap.source.startswith("https://")


def test_an_outcome_may_hold_spaces() -> None:
    assert ("1.14", "n - 1") in BY_NAME["variance_correction"].expected


def test_a_table_with_other_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "traps.csv"
    path.write_text("name,expected\nlr,1.14 honoured\n", encoding="utf-8")
    with pytest.raises(ValueError, match="must have the columns"):
        read_traps(path)


@pytest.mark.parametrize(
    "row",
    [
        "lr,q,m,s", "lr,q,m,s,1.14 honoured,more", "lr,q,m,s,", "lr,q,m,s,1.14",
        "lr,q,m,s,honoured", "lr,q,m,s,x.y honoured", "lr,q,m,s,2.0 raises; 1.14 honoured",
        "lr,q,m,s,1.14 a;",
        "lr,q,m,s,1234567.0 raises", "lr,q,m,s,-1.0 raises",
    ],
)  # fmt: skip
def test_a_row_that_is_none_is_refused_when_the_table_is_read(tmp_path: Path, row: str) -> None:
    path = tmp_path / "traps.csv"
    path.write_text(f"name,question,meaning,source,expected\n{row}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"traps\.csv.* must (have 5 fields|be such as)"):
        read_traps(path)


@pytest.mark.parametrize(
    "versions",
    [
        {},
        {"keras": "2.3.1"},
        {"keras": "three"},
        {"keras": [3]},
        {"tensorflow": "1.2"},
        {"keras": ""},
    ],
)
def test_a_record_that_tells_no_version_is_named(
    make_record: MakeRecord, versions: dict[str, Any]
) -> None:
    record = seen(make_record)
    told = {**record.environment, "versions": versions}
    with pytest.raises(RecordError, match=f"{record.name} of {record.release}: version"):
        news(TRAPS[0], replace(record, environment=told))


@pytest.mark.parametrize("change", [[], [{}], [{"trap": 1}], [{"trap": "NAME"}], None])
def test_a_record_that_does_not_tell_what_a_trap_did_is_named(
    make_record: MakeRecord, change: list[dict[str, Any]] | None
) -> None:
    record = seen(make_record)
    rows = [*record.statistics, *record.statistics] if change is None else change
    rows = [{**row, "trap": TRAPS[0].name} if row.get("trap") == "NAME" else row for row in rows]
    with pytest.raises(RecordError, match=rf"rows on the trap {TRAPS[0].name}, expected one"):
        news(TRAPS[0], replace(record, statistics=rows))


def test_what_is_as_expected_is_no_news(make_record: MakeRecord) -> None:
    record = seen(make_record)
    assert not any(news(trap, record) for trap in TRAPS)
    assert unexpected(record) == 0


def test_news_name_the_trap_what_was_seen_what_was_expected_and_what_it_means(
    make_record: MakeRecord,
) -> None:
    trap = BY_NAME["lr_argument"]
    record = seen(make_record, lr_argument="ignored")
    told = news(trap, record)
    for part in (trap.name, "Seen: ignored (moved by 0.01)", "3.15.1: raises", trap.meaning):
        assert part in told
    assert unexpected(record) == 1
    assert not news(BY_NAME["loss_key"], record)


def test_each_trap_has_a_name_of_its_own() -> None:
    assert len({trap.name for trap in TRAPS}) == len(TRAPS)
