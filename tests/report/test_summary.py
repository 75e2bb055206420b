"""Tests of suite.report.summary: the first screen says what holds and what does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from suite.judge.bands import Band, bands_of
from suite.judge.traps import TRAPS, expected
from suite.judge.verdicts import Verdict, judge
from suite.records import Record
from suite.report.summary import QUESTIONS, first_screen, question_of, write_table
from suite.store import read_record
from tests.judge.conftest import MakeRecord, changed

FOLDER = Path("records/tf-2.21/small")
BASELINE = Path(__file__).parents[2] / "baselines" / "tf-2.21" / "small"


def verdicts_on(records: list[Record]) -> list[Verdict]:
    return [
        judge(record.case, metric, record.metrics[metric], band, seed=f"seed {record.seed}")
        for record in records
        for metric, band in bands_of(record).items()
        if metric in record.metrics
    ]


@pytest.fixture(scope="module")
def stored() -> list[Record]:
    """Read the first seed of every case of a stored baseline."""
    return [read_record(path) for path in sorted(BASELINE.glob("*-seed0.json"))]


def words(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


def test_the_first_sentence_is_the_answer(stored: list[Record]) -> None:
    found = verdicts_on(stored)
    lines = first_screen(stored, found, folder=FOLDER)
    assert lines[0] == f"tf-2.21 does as expected: all {len(found)} checks hold."
    assert not any("FAIL" in line for line in lines)
    assert lines[-1] == f"{FOLDER} has the records, checks.txt (all checks, or -v)"


def test_every_question_has_a_line_with_its_numbers_in_words(stored: list[Record]) -> None:
    told = words(first_screen(stored, verdicts_on(stored), folder=FOLDER))
    metrics = {record.case: record.metrics for record in stored}
    control = 100 * metrics["resnet50-w0.25-literal-none"]["clean_accuracy"]
    mended = 100 * metrics["resnet50-w0.25-intended-bn-momentum-0.5"]["clean_accuracy"]
    plain, adversarial = (
        100 * metrics[f"lenet5-{case}"]["clean_accuracy"] for case in ("plain", "intended-none")
    )
    for part in (
        "attack holds FGSM on the model's own predictions, on AlexNet, LeNet-5, ResNet-50 and",
        f"LeNet-5 pays {plain - adversarial:.1f} points of accuracy: ",
        f"ResNet-50 without a fix stalls under `literal` phases: {control:.1f} % right, one class",
        f"Momentum 0.5 mends it under `intended` phases ({mended:.0f} %), does not mend it under",
        "a step of the adversarial loss costs ",
        "by the passes that it makes it would be 3.0.",
    ):
        assert part in told


def test_a_failure_is_named_in_the_first_sentence_its_question_and_in_full(
    stored: list[Record],
) -> None:
    records = changed(
        stored, "resnet50-w0.25-literal-none", adversarial_branch_gain=1.5, clean_accuracy=0.5
    )
    found = verdicts_on(records)
    lines = first_screen(records, found, folder=FOLDER)
    assert lines[0] == (
        f"tf-2.21 does NOT do as expected: 2 of {len(found)} checks fail, on stall."
    )
    told = words(lines)
    assert "stall FAILS" in told
    assert "ResNet-50 without a fix does NOT stall under `literal` phases: 50 % right" in told
    failed = [line for line in lines if line.startswith("FAILED ")]
    assert len(failed) == 2
    assert (
        "FAILED resnet50-w0.25-literal-none (seed 0): clean_accuracy is 0.5, expected 0 to 0.1"
        in failed
    )
    assert "mending holds" in told


def test_a_case_of_which_nothing_was_judged_is_said_to_be_recorded_alone(
    stored: list[Record],
) -> None:
    found = [verdict for verdict in verdicts_on(stored) if "alexnet" not in verdict.case]
    lines = first_screen(stored, found, folder=FOLDER)
    *others, last = sorted(record.case for record in stored if "alexnet" in record.case)
    told = f"RECORDED ALONE, without a limit to hold: {', '.join(others)} and {last}."
    assert words([told]) in words(lines)
    assert not any(
        "RECORDED" in line for line in first_screen(stored, verdicts_on(stored), folder=FOLDER)
    )


@pytest.mark.parametrize(
    ("unanswered", "first"),
    [
        ([], "tf-2.21 is rehearsed: 36 cases ran on the CPU."),
        (
            ["test_x: Killed"],
            "tf-2.21 is NOT wholly rehearsed: 36 cases ran on the CPU, and 1 "
            "test gave NO ANSWER, see below.",
        ),
    ],
)
def test_a_rehearsal_says_what_ran_and_judges_nothing(
    stored: list[Record], unanswered: list[str], first: str
) -> None:
    records = [replace(record, tier="full-rehearsal") for record in stored]
    told = words(first_screen(records, [], folder=FOLDER, unanswered=unanswered))
    assert told.startswith(f"{first} Nothing is judged: ")
    for word in ("holds", "stalls", "mend", "RECORDED ALONE"):
        assert word not in told
    assert all(text in told for text in unanswered)


def test_a_price_in_accuracy_is_told_in_points(stored: list[Record]) -> None:
    plain = next(r for r in stored if r.case == "lenet5-plain").metrics["clean_accuracy"]
    records = changed(stored, "lenet5-intended-none", clean_accuracy=plain - 0.05)
    told = words(first_screen(records, verdicts_on(records), folder=FOLDER))
    assert "LeNet-5 pays 5.0 points of accuracy: " in told


def test_a_stall_that_the_training_phase_hides_is_told_in_both_phases(stored: list[Record]) -> None:
    case = "resnet50-w0.25-plain"
    accuracies = {"train_accuracy": 0.8, "clean_accuracy": 0.05, "adversarial_accuracy": 0.04}
    for trained, words_of_it in (
        (0.79, "ResNet-50 under the plain loss: 80 % in training, 5.0 % when used"),
        (0.14, "ResNet-50 under the plain loss: 5.0 % clean, 4.0 % attacked"),
    ):
        records = changed(stored, case, training_phase_clean_accuracy=trained, **accuracies)
        assert words_of_it in words(first_screen(records, verdicts_on(records), folder=FOLDER))


def test_a_fix_that_no_longer_mends_is_not_said_to_mend(stored: list[Record]) -> None:
    case = "resnet50-w0.25-intended-bn-momentum-0.5"
    records = changed(stored, case, adversarial_branch_gain=0.0, clean_accuracy=0.05)
    told = words(first_screen(records, verdicts_on(records), folder=FOLDER))
    assert "Momentum 0.5 does not mend it under `intended` phases (5.0 %) and under" in told
    assert "mending FAILS" in told


def test_tests_without_an_answer_are_told_first_and_in_full(stored: list[Record]) -> None:
    crash = "benchmarks/test_stall.py::x: MemoryError()"
    lines = first_screen(stored, verdicts_on(stored), folder=FOLDER, unanswered=[crash])
    assert lines[0].startswith("tf-2.21 is not fully judged: ")
    assert lines[0].endswith("1 test gave NO ANSWER, see below.")
    assert f"NO ANSWER {crash}" in lines


def test_a_call_that_changed_its_meaning_is_told_in_full(make_record: MakeRecord) -> None:
    rows = [
        {"trap": trap.name, "outcome": expected(trap, "3.15.1"), "detail": ""} for trap in TRAPS
    ]
    rows[0]["outcome"] = "ignored"
    versions = {"keras": "3.15.1", "tensorflow": "2.21.0"}
    record = make_record(
        "traps", question="traps", statistics=rows, environment={"versions": versions}
    )
    found = [judge("traps", "unexpected", 1.0, bands_of(record)["unexpected"], seed="seed 0")]
    lines = first_screen([record], found, folder=FOLDER)
    assert f"{len(TRAPS) - 1} of {len(TRAPS)} calls" in words(lines)
    assert any(line.startswith(f"FAILED {TRAPS[0].name}: {TRAPS[0].question}") for line in lines)


def test_several_seeds_are_told_by_their_mean_and_range() -> None:
    records = [read_record(path) for path in sorted(BASELINE.glob("resnet50-w0.25-intended-none*"))]
    told = words(first_screen(records, verdicts_on(records), folder=FOLDER))
    mean = sum(record.metrics["clean_accuracy"] for record in records) / len(records)
    assert len(records) == 10
    assert f"under `intended` phases: {100 * mean:.1f} % right, 1 to" in told


def test_every_question_of_the_stored_records_has_its_words(stored: list[Record]) -> None:
    assert {question_of(record) for record in stored} <= set(QUESTIONS)


def test_lines_are_no_wider_than_a_page_where_there_is_no_terminal(stored: list[Record]) -> None:
    lines = first_screen(stored, verdicts_on(stored), folder=FOLDER)
    assert max(map(len, lines)) <= 100


def test_the_whole_table_follows_where_it_is_asked_for(stored: list[Record]) -> None:
    found = verdicts_on(stored)
    short = first_screen(stored, found, folder=FOLDER)
    whole = first_screen(stored, found, folder=FOLDER, whole=True)
    assert len(words(whole)) > len(words(short)) + 50 * len(found)


def test_the_table_of_all_checks_is_written_beside_the_records(
    stored: list[Record], tmp_path: Path
) -> None:
    found = verdicts_on(stored)
    lines = write_table(found, tmp_path).read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(found) + 2
    assert lines[0].split() == ["case", "metric", "baseline", "measured", "band", "verdict"]


def test_words_of_others_forge_no_line(stored: list[Record]) -> None:
    forged = "x: E('a')\nall 3 checks hold.\x1b[2J"
    verdict = judge(stored[0].case, forged, 0.2, Band(1, 2))
    lines = first_screen(stored, [verdict], folder=FOLDER, unanswered=[forged])
    assert all(line.isprintable() for line in lines)
    assert sum("all 3 checks hold" in line for line in lines) == 2
