"""Tests of suite.report.verdicts: every verdict is told, in full, at every width."""

from __future__ import annotations

import math

import pytest

from suite.judge.bands import Band
from suite.judge.verdicts import Verdict, judge
from suite.report.verdicts import markdown_table, summary, text_table

LONG = "resnet50-w0.25-adversarial-intended-bn-momentum-0.5"
METRIC = "adversarial_inference_information_gain"
BAND = Band(0.3123, 0.5812)
GOOD = judge(LONG, METRIC, 0.4123, BAND, seed="seed 0", baseline="0.4467 ± 0.014 (5)")
BAD = judge("net-plain", "clean_accuracy", 0.2, BAND, seed="seed 1")
NEW = Verdict("vgg19", "seed 0", "loss", 1.5, None, "", "new", "there is no baseline")
GONE = Verdict("alexnet", "", "all", None, None, "", "vanished", "there is no record")
OTHER = Verdict("vgg19-x", "", "step_s", 1.0, None, "1 ± 0 (5)", "not comparable", "times of b")
DATA = Verdict("lenet5", "", "data_digest", None, None, "", "not comparable", "the data", True)
ALL = [GOOD, BAD, NEW, GONE, OTHER]


def test_a_row_holds_case_metric_baseline_measured_band_and_verdict() -> None:
    [line] = [line for line in text_table(ALL).splitlines() if METRIC in line]
    assert line.split("  ")[0] == f"{LONG} (seed 0)"
    for cell in (METRIC, "0.4467 ± 0.014 (5)", "0.4123", "0.3123 to 0.5812", "pass"):
        assert f"  {cell}" in line


def test_a_narrow_table_cuts_nothing_off() -> None:
    text = text_table(ALL, width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    columns = [line.ljust(80) for line in text.splitlines() if "---" not in line]
    case_width = text.splitlines()[0].index("metric")
    folded = "".join(line[:case_width].strip() for line in columns)
    assert LONG in folded
    for number in ("0.4123", "0.4467", "0.014", "0.3123", "0.5812", "0.2", "not comparable"):
        assert number in text


def test_a_table_for_a_log_holds_no_control_characters() -> None:
    assert "\x1b" not in text_table(ALL)
    assert "\x1b[1;31mregression" in text_table(ALL, colour=True)


def test_names_in_brackets_are_not_taken_for_markup() -> None:
    odd = judge("case[red]", "loss", math.nan, BAND)
    assert "case[red]" in text_table([odd])


def test_markdown_holds_the_same_rows() -> None:
    head, rule, *rows = markdown_table(ALL).splitlines()
    assert head == "| case | metric | baseline | measured | band | verdict |"
    assert rule.count("---") == 6
    assert rows[1] == (
        "| net-plain (seed 1) | clean_accuracy | - | 0.2 | 0.3123 to 0.5812 | regression |"
    )
    assert len(rows) == len(ALL)


def test_the_summary_counts_and_names_in_plain_words() -> None:
    assert summary(ALL).splitlines() == [
        "1 of 2 checks passed; 1 regression:",
        "  net-plain (seed 1): clean_accuracy is 0.2, expected 0.3123 to 0.5812",
        "not comparable: 1 (times of b)",
        "new: vgg19",
        "vanished: alexnet",
    ]


def test_the_summary_of_what_passed_is_one_line() -> None:
    assert summary([GOOD, GOOD]) == "2 of 2 checks passed."


def test_a_blocking_verdict_counts_as_a_regression() -> None:
    assert summary([DATA]) == "0 of 1 checks passed; 1 regression:\n  lenet5: the data"


def test_a_new_metric_of_a_known_case_is_named_with_its_case() -> None:
    metric = Verdict(LONG, "seed 0", "loss", 1.5, None, "", "new", "there is no baseline")
    assert summary([GOOD, metric]).splitlines()[1] == f"new: loss of {LONG}"


@pytest.mark.parametrize("verdicts", [[], [NEW], [OTHER]])
def test_where_nothing_was_judged_the_summary_says_so(verdicts: list[Verdict]) -> None:
    assert summary(verdicts).startswith("Nothing was judged.")
