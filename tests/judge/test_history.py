"""Tests of suite.judge.history: the index of a baseline, written, read, and held against it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from suite.errors import RecordError
from suite.judge.baselines import by_case
from suite.judge.history import (
    FOUND,
    HISTORY,
    Entry,
    check_fits,
    check_whole,
    entry_of,
    history_text,
    numbers,
    read_history,
    records_digest,
)
from suite.records import Record
from suite.store import read_records, store
from tests.judge.conftest import VALUES, MakeRecord, MakeRuns

ROOT = Path(__file__).parents[2]
DAY = "2026-11-26"


def entry(records: list[Record], **changes: Any) -> Entry:
    return entry_of(by_case(records), **{"day": DAY, "reason": "to test", **changes})


@pytest.fixture
def folder(tmp_path: Path, seeds: MakeRuns) -> Path:
    """Give a baseline of one case without an index."""
    for record in seeds("clean_accuracy", VALUES):
        store(record, tmp_path)
    return tmp_path / "tf-2.21" / "small"


def test_an_entry_holds_mean_deviation_and_seeds_of_every_metric(seeds: MakeRuns) -> None:
    found = entry(seeds("clean_accuracy", VALUES)).cases["net-plain"]["clean_accuracy"]
    assert found.mean == pytest.approx(mean(VALUES), rel=1e-6)
    assert found.deviation == pytest.approx(stdev(VALUES), rel=1e-5)
    assert found.seeds == len(VALUES)
    assert str(found) == "0.81 ± 0.016 (5)"


def test_an_entry_tells_what_its_records_were_made_with(make_record: MakeRecord) -> None:
    records = [
        make_record(seed=0),
        make_record(
            seed=1,
            started_at="2026-11-22T00:00:00+00:00",
            environment={"versions": {"numpy": "1.9"}, "code_digest": "sha256:9"},
        ),
    ]
    found = entry(records, removed=["b", "a"], former="sha256:0", worse=["x is lower"])
    assert found.measured == ["2024-05-01", "2026-11-22"]
    assert found.versions == {"numpy": ["1.9", "2.0.0"], "python": ["3.11.7"]}
    assert (found.code, found.lock) == (["sha256:3", "sha256:9"], ["sha256:1"])
    assert (found.data, found.removed) == (["sha256:2"], ["a", "b"])
    assert (found.former, found.worse) == ("sha256:0", ["x is lower"])


def test_an_index_is_read_as_it_was_written(seeds: MakeRuns, tmp_path: Path) -> None:
    runs = seeds("last_loss", [math.nan, 1.0, 2.0]) + seeds("last_loss", [math.inf] * 2, case="b")
    entries = [entry(runs), entry(seeds("clean_accuracy", VALUES), how=FOUND)]
    (tmp_path / HISTORY).write_bytes(history_text(entries))
    assert repr(read_history(tmp_path)) == repr(entries)
    assert math.isnan(read_history(tmp_path)[0].cases["net-plain"]["last_loss"].mean)
    assert read_history(tmp_path)[0].cases["b"]["last_loss"].mean == math.inf


def test_an_index_of_which_an_entry_is_missing_or_a_day_is_wrong_is_refused(
    seeds: MakeRuns, tmp_path: Path
) -> None:
    first = entry(seeds("clean_accuracy", VALUES))
    second = entry(seeds("clean_accuracy", VALUES[::-1]), former=first.digest)
    third = entry(seeds("last_loss", VALUES), former=second.digest)
    check_whole([first, second, third], tmp_path)
    for broken in (
        [first, third], [second, first], [first._replace(date="2099-01-01"), second, third],
    ):  # fmt: skip
        with pytest.raises(RecordError, match=r"does not follow that of .*git checkout"):
            check_whole(broken, tmp_path)


def test_of_a_single_seed_no_deviation_is_told(make_record: MakeRecord) -> None:
    assert str(numbers([make_record()])["clean_accuracy"]) == "0.8 (1)"
    assert entry([make_record()]).cases == {}


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("two\nlines\r\nand\ta tab ", "two lines and a tab"),
        ("\"quotes\", 'others' and \\", "\"quotes\", 'others' and \\"),
        ("Größe, 大きさ, \u2028 \x1b[31m", "Größe, 大きさ, \x1b[31m"),
        ("| a table | <b>", "| a table | <b>"),
    ],
)
def test_a_reason_is_kept_on_one_line(
    seeds: MakeRuns, tmp_path: Path, reason: str, kept: str
) -> None:
    found = entry(seeds("clean_accuracy", VALUES), reason=reason)
    (tmp_path / HISTORY).write_bytes(history_text([found, found]))
    assert [read.reason for read in read_history(tmp_path)] == [kept, kept]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"reason": " \n"}, "--reason is empty, expected why"),
        ({"reason": "half \udcff"}, "--reason is no text in UTF-8"),
        ({"day": "26.11.2026"}, "'26.11.2026' is no day, expected one such as"),
    ],
)
def test_an_entry_without_a_reason_or_day_is_refused(
    seeds: MakeRuns, change: dict[str, str], told: str
) -> None:
    with pytest.raises(RecordError, match=told):
        entry(seeds("clean_accuracy", VALUES), **change)


NUMBERS = {"net": {"clean_accuracy": [1, 2]}}
DAMAGED = [
    ("{", "line 2: "),
    ("<<<<<<< HEAD", "line 2: "),
    ("", "line 2: "),
    ("[]", "it must have the fields date, reason.*Received: 'list'"),
    ({"reason": None}, "reason must be text. Received: None"),
    ({"how": "guessed"}, r"how must be one of \('measured', 'found'\)"),
    ({"date": "today"}, "line 2: Invalid isoformat string"),
    ({"measured": [DAY]}, "measured must be two days"),
    ({"code": "sha256:1"}, "code must be a list of texts"),
    ({"versions": {"numpy": "2"}}, "versions must be lists of texts"),
    ({"cases": []}, "cases must be metrics by case"),
    ({"cases": {"net": 1}}, "cases must be metrics by case"),
    ({"cases": NUMBERS}, "a metric must be a mean, a standard deviation and a number of seeds"),
    ({"cases": {"net": {"x": [1, "2", 5]}}}, "a metric must be a mean"),
    ({"cases": {"net": {"x": [1, 2, 0]}}}, "a metric must be a mean"),
    ({"cases": {"net": {"x": [True, 2, 5]}}}, "a metric must be a mean"),
    ({"cases": {"net": {"x": [1, -2, 5]}}}, "a standard deviation must be 0 or more"),
    ({"another": 1}, "it must have the fields"),
]


@pytest.mark.parametrize(("damage", "told"), DAMAGED, ids=lambda part: str(part)[:20])
def test_a_damaged_index_is_named_with_its_line_and_how_to_restore_it(
    seeds: MakeRuns, tmp_path: Path, damage: Any, told: str
) -> None:
    whole = history_text([entry(seeds("clean_accuracy", VALUES))]).decode()
    line = damage if isinstance(damage, str) else json.dumps({**json.loads(whole), **damage})
    (tmp_path / HISTORY).write_text(f"{whole}{line}\n{whole}", encoding="utf-8")
    with pytest.raises(RecordError, match=told) as error:
        read_history(tmp_path)
    assert f"{HISTORY} is no index of a baseline: line 2: " in str(error.value)
    assert f"git checkout -- {tmp_path}" in str(error.value)


def test_an_index_that_is_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / HISTORY).mkdir()
    with pytest.raises(RecordError, match="it is a folder, expected a file"):
        read_history(tmp_path)


def test_the_digest_of_records_is_that_of_their_files_in_any_order(
    folder: Path, make_record: MakeRecord
) -> None:
    odd = make_record("odd", metrics={"last_loss": math.nan}, curves={"loss": [math.inf, 1.0]})
    path = store(odd, folder.parent.parent)
    records = read_records(folder)
    assert records_digest(reversed(records)) == records_digest(records)
    written = [odd if record.name == odd.name else record for record in records]
    assert records_digest(written) == records_digest(records)
    path.unlink()
    assert records_digest(read_records(folder)) != records_digest(records)


def test_records_that_are_not_those_of_the_last_entry_are_an_error(
    folder: Path, make_record: MakeRecord
) -> None:
    entries = [entry(read_records(folder))]
    check_fits(entries, read_records(folder), folder)
    store(make_record(seed=0, metrics={"clean_accuracy": 0.99}), folder.parent.parent)
    with pytest.raises(
        RecordError, match=r"edited, merged or copied by hand.*git checkout.*--index"
    ):
        check_fits(entries, read_records(folder), folder)
    with pytest.raises(RecordError, match=f"its index {HISTORY} is missing"):
        check_fits([], read_records(folder), folder)


def test_every_stored_baseline_has_an_index_that_ends_with_its_records() -> None:
    for place in sorted((ROOT / "baselines").glob("tf-*/*")):
        check_fits(read_history(place), read_records(place), place)


def test_the_index_still_tells_of_the_baseline_that_was_replaced() -> None:
    former, *_, now = read_history(ROOT / "baselines/tf-2.21/small")
    case, metric = "vgg19-w0.25-intended-none", "adversarial_branch_gain"
    lower = former.cases[case][metric].mean - 0.6337  # of tf-2.15, docs/gate.md
    assert lower == pytest.approx(-0.149, abs=5e-4)
    assert now.cases[case][metric].mean > former.cases[case][metric].mean + 0.1
