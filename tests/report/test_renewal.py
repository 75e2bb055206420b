"""Tests of suite.report.renewal: the answer, and how sure each change is."""

from __future__ import annotations

from suite.judge.renewal import Renewal, renewal
from suite.records import Record
from suite.report.renewal import LEGEND, answer, lines
from tests.conftest import MakeRecord

NOISE = (0.00, 0.02, -0.01, 0.01, 0.03)


def side(make_record: MakeRecord, lasted: float, **means: float) -> list[Record]:
    """Make five runs of each case, named with _ for -, around a mean accuracy."""
    return [
        make_record(
            case.replace("_", "-"),
            seed=seed,
            wall_s=lasted + seed / 7 + number / 64,
            metrics={"clean_accuracy": mean + own, "classes_predicted": 40 + 10 * mean + own},
            started_at=f"2024-05-01T12:00:0{seed}+00:00",
        )
        for number, (case, mean) in enumerate(means.items())
        for seed, own in enumerate(NOISE)
    ]


def changes(make_record: MakeRecord) -> Renewal:
    former = side(make_record, 1.0, a_same=0.8, b_worse=0.8, c_better=0.6, d_gone=0.5)
    fresh = side(make_record, 2.0, a_same=0.8, b_worse=0.5, c_better=0.7, e_new=0.5)
    return renewal(former, fresh)


def test_the_answer_counts_what_changes_and_names_what_gets_worse(make_record: MakeRecord) -> None:
    told = answer(changes(make_record))
    assert told.startswith(
        "2 of 5 cases change, 1 is new, 1 removed, 1 gets worse: b-worse: clean_a"
    )
    assert "clean_accuracy is 30 points lower (" in told


def test_a_first_baseline_has_nothing_to_compare_with(make_record: MakeRecord) -> None:
    found = renewal([], side(make_record, 1.0, a=0.8, b=0.7))
    assert answer(found) == "First baseline: 2 cases, none before."
    assert list(lines(found)) == [answer(found)]


def test_several_that_get_worse_are_all_named(make_record: MakeRecord) -> None:
    former = side(make_record, 1.0, a=0.8, b=0.8)
    told = answer(renewal(former, side(make_record, 2.0, a=0.5, b=0.4)))
    assert told.startswith("2 of 2 cases change, 2 get worse: ")
    assert told.endswith("; also b.")


def test_the_table_shows_old_new_difference_and_how_sure(make_record: MakeRecord) -> None:
    told = list(lines(changes(make_record)))
    table = next(text for text in told if text.startswith("case "))
    first, second = table.splitlines()[2:]
    cells = [cell.strip() for cell in first.split("   ") if cell]
    assert cells[:5] == [
        "b-worse", "clean_accuracy", "0.81 ± 0.016 (5)", "0.51 ± 0.016 (5)", "-30 points",
    ]  # fmt: skip
    assert cells[-1] == "worse"
    assert second.startswith("c-better")
    assert LEGEND in told
    assert told[-1] == "2 diagnostics differ too: -v"


def test_with_v_diagnostics_are_shown_too(make_record: MakeRecord) -> None:
    told = "\n".join(lines(changes(make_record), verbose=True))
    assert told.count("classes_predicted") == 2
    assert "differ too" not in told


def test_what_cannot_be_compared_is_said(make_record: MakeRecord) -> None:
    former = side(make_record, 1.0, a=0.8)
    other = [
        make_record("a", seed=seed, metrics={"clean_accuracy": 0.1 * seed}, settings={"steps": 9})
        for seed in range(5)
    ]
    told = list(lines(renewal(former, other)))
    assert told[0] == "1 of 1 cases changes, none gets worse; the gate leaves 1 undecided."
    assert told[1].startswith("cannot be compared: a: it has records of 2 different values of sett")
