"""Tests of suite.report.traps: one row a trap, one column a release."""

from __future__ import annotations

from collections.abc import Callable

from suite.judge.traps import TRAPS
from suite.records import Record
from suite.report.traps import stated_markdown, traps_markdown

MakeRecord = Callable[..., Record]

OLD = {"tensorflow": "2.10.1", "keras": "2.10.0"}
NEW = {"tensorflow": "2.21.0", "keras": "3.15.1"}


def traps_record(
    make_record: MakeRecord, release: str, versions: dict[str, str], lr: str, seed: int = 0
) -> Record:
    rows = [{"trap": "lr_argument", "outcome": lr, "detail": "moved"}]
    return make_record(
        case="traps",
        seed=seed,
        question="traps",
        release=release,
        statistics=rows,
        environment={"versions": versions},
    )


def row(table: str) -> str:
    return table.splitlines()[2].rsplit(") |", 1)[1]


def test_every_trap_has_a_row_and_every_release_a_column(make_record: MakeRecord) -> None:
    records = [
        traps_record(make_record, "tf-2.10", OLD, "honoured"),
        traps_record(make_record, "tf-2.21", NEW, "raises"),
        make_record(),
    ]
    lines = traps_markdown(records).splitlines()
    assert lines[0] == "| trap | tf-2.10 | tf-2.21 |"
    assert len(lines) == 2 + len(TRAPS)
    assert all(line.count(" | ") == 2 for line in lines)
    assert TRAPS[0].question in lines[2]
    assert lines[3].endswith("| - | - |")


def test_the_table_is_markdown_whatever_a_release_did(make_record: MakeRecord) -> None:
    table = traps_markdown([traps_record(make_record, "tf-2.21", NEW, "a|b")])
    assert row(table) == " a&#124;b ! |"
    assert not table.endswith("\n")


def test_a_change_from_the_release_before_is_bold(make_record: MakeRecord) -> None:
    records = [
        traps_record(make_record, "tf-2.8", {"tensorflow": "2.8.4"}, "honoured"),
        traps_record(make_record, "tf-2.10", OLD, "honoured"),
        traps_record(make_record, "tf-2.21", NEW, "raises"),
    ]
    assert row(traps_markdown(records)) == " honoured | honoured | **raises** |"


def test_what_is_not_as_stated_is_marked(make_record: MakeRecord) -> None:
    record = traps_record(make_record, "tf-2.21", NEW, "ignored")
    assert row(traps_markdown([record])) == " ignored ! |"


def test_the_first_seed_of_a_release_counts(make_record: MakeRecord) -> None:
    first = traps_record(make_record, "tf-2.21", NEW, "raises")
    second = traps_record(make_record, "tf-2.21", NEW, "ignored", seed=1)
    assert row(traps_markdown([first, second])) == " raises |"


def test_what_is_stated_of_a_trap_names_the_framework_whose_version_changed_it() -> None:
    lines = stated_markdown().splitlines()
    assert len(lines) == 2 + len(TRAPS)
    assert all(trap.source in line for trap, line in zip(TRAPS, lines[2:]))
    changes = "**honoured**; from TensorFlow 2.11: **ignored**; from Keras 3.0: **raises**"
    assert f" | {changes} | ignored, the published learning rate" in lines[2]
