"""Tests of suite.report.verdicts: the answer comes first, and every verdict can be had."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from suite.judge.bands import Band
from suite.judge.verdicts import Verdict, judge
from suite.report.verdicts import (
    ACCEPT,
    LEAVE_OUT,
    MOST,
    Leniency,
    Report,
    answer,
    findings,
    markdown_rows,
    notes,
    page,
    regressions,
    text_table,
    unanswered,
)

LONG = "resnet50-w0.25-adversarial-intended-bn-momentum-0.5"
METRIC = "adversarial_inference_information_gain"
BAND = Band(0.3123, 0.5812)
GOOD = judge(LONG, METRIC, 0.4123, BAND, seed="seed 0", baseline="0.4467 ± 0.014 (5)")
BAD = judge("net-plain", "clean_accuracy", 0.2, BAND, seed="seed 1")
NEW = Verdict("vgg19", "seed 0", "loss", 1.5, None, "", "new", "not in the baseline")
GONE = Verdict("alexnet", "", "all", None, None, "", "vanished", "no record of the case")
OTHER = Verdict("vgg19-x", "", "step_s", 1.0, None, "1 ± 0 (5)", "not comparable", "times of b")
DATA = Verdict(
    "lenet5", "seed 2", "data_digest", None, None, "", "not comparable", "the data", True
)
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
    rows = markdown_rows(ALL)
    assert rows[1] == (
        "| net-plain (seed 1) | clean_accuracy | - | 0.2 | 0.3123 to 0.5812 | regression |"
    )
    assert len(rows) == len(ALL)


def report(*verdicts: Verdict, **content: object) -> Report:
    made = Report("tf-2.21", "small", **content)  # type: ignore[arg-type]
    made.count(verdicts)
    return made


def test_verdicts_are_counted_and_only_what_must_be_told_is_kept() -> None:
    found = report(*ALL, DATA)
    assert (found.judged, found.regressions) == (2, 1)
    assert found.cases == {LONG: {"seed 0"}, "net-plain": {"seed 1"}}
    assert found.failures == [
        "net-plain (seed 1): clean_accuracy is 0.2, expected 0.3123 to 0.5812"
    ]
    assert found.missing == {
        "not in the baseline": {"loss of vgg19": None},
        "no record of the case": {"alexnet": None},
    }
    assert found.obstacles == {"the data": ["lenet5 (seed 2)"]}
    assert dict(found.waived) == {"times of b": 1}


def test_the_answer_to_what_passes_says_how_much_was_judged() -> None:
    one, two = report(GOOD), report(GOOD)
    two.release = "tf-2.15"
    assert answer([one], Leniency()) == (
        "No regression in 1 number of 1 case of tf-2.21 small (seed 0)."
    )
    assert answer([one, two], Leniency()) == (
        "No regression in 2 numbers of 2 cases of 2 releases (seed 0)."
    )
    assert unanswered([one, two], Leniency()) == []


def test_a_pass_says_how_large_a_difference_it_would_have_missed() -> None:
    numbers = [
        judge(case, "clean_accuracy", 0.5, band, seed=f"seed {seed}")
        for case, band in (("a", Band(0.3, 0.7)), ("b", Band(0.46, 0.55)))
        for seed in (0, 1)
    ]
    said = "It would miss 4.5 to 20.0 points of clean accuracy: see `nox -s gate`."
    assert answer([report(*numbers)], Leniency()).endswith(f"(seeds 0, 1). {said}")
    assert ". It would miss 20.0 points of" in answer([report(*numbers[:2])], Leniency())
    assert "miss " not in answer([report(*numbers, BAD)], Leniency())


def test_seeds_in_a_row_are_told_as_a_range() -> None:
    numbers = [judge("net", "loss", 0.4, BAND, seed=f"seed {seed}") for seed in (0, 1, 2, 10, 7, 8)]
    assert "(seeds 0 to 2, 7, 8, 10)" in answer([report(*numbers)], Leniency())


def test_a_regression_is_the_answer_and_what_cannot_be_told_comes_after_it() -> None:
    found = report(GOOD, BAD, GONE)
    assert answer([found], Leniency()) == (
        "1 REGRESSION in 2 numbers of 2 cases of tf-2.21 small (seeds 0, 1); of the rest it cannot "
        "be told: 1 missing case or number."
    )
    assert regressions([found, found]) == 2


def test_what_is_missing_stale_or_not_comparable_leaves_the_answer_open() -> None:
    found = report(GOOD, GONE, NEW, DATA, stale_records=3)
    assert answer([found], Leniency()) == (
        "COULD NOT TELL: 3 stale records, 1 record that cannot be compared, 2 missing cases or "
        "numbers; no regression in 1 number of 1 case of tf-2.21 small (seed 0)."
    )


def test_what_is_allowed_is_repeated() -> None:
    found = report(GOOD, GONE, stale_records=3)
    for stale, words in ((LEAVE_OUT, "left out"), (ACCEPT, "judged all the same")):
        allowed = Leniency(stale, partial=True)
        assert unanswered([found], allowed) == []
        assert answer([found], allowed) == (
            "No regression in 1 number of 1 case of tf-2.21 small (seed 0); PARTIAL, missing: "
            f"alexnet of tf-2.21 small; 3 stale records {words}."
        )


def test_other_data_cannot_be_allowed() -> None:
    assert unanswered([report(GOOD, DATA)], Leniency(ACCEPT, partial=True)) == [
        "1 record that cannot be compared"
    ]


@pytest.mark.parametrize("verdicts", [[], [NEW], [OTHER]])
def test_where_nothing_was_judged_the_answer_says_so_whatever_is_allowed(
    verdicts: list[Verdict],
) -> None:
    found = [report(*verdicts)]
    assert unanswered(found, Leniency(ACCEPT, partial=True)) == ["nothing was judged"]
    assert answer(found, Leniency(partial=True)).startswith("COULD NOT TELL: nothing was judged")


def test_findings_are_told_with_regressions_first() -> None:
    found = report(GONE, DATA, BAD, stale={"the lock: a, expected b": ["x-seed0", "x-seed1"]})
    assert list(findings(found, Leniency())) == [
        "REGRESSION tf-2.21 small: net-plain (seed 1): clean_accuracy is 0.2, expected 0.3123 to "
        "0.5812",
        "NOT COMPARABLE tf-2.21 small: the data: lenet5 (seed 2)",
        "STALE tf-2.21 small: the lock: a, expected b: 2 (x-seed0, x-seed1)",
        "MISSING tf-2.21 small: no record of the case: alexnet",
    ]
    assert "stale, left out, tf-2.21 small: the lock: a, expected b: 2 (x-seed0, x-seed1)" in list(
        findings(found, Leniency(LEAVE_OUT))
    )


def test_of_many_findings_the_first_are_told_and_the_others_counted() -> None:
    found = report(*[BAD] * (MOST + 5))
    assert len(found.failures) == MOST
    assert list(findings(found, Leniency()))[-1] == "REGRESSION tf-2.21 small: and 5 more"
    names = [f"case{number}" for number in range(9)]
    gone = [Verdict(name, "", "all", None, None, "", "vanished", "gone") for name in names]
    [line] = findings(report(*gone), Leniency())
    assert line == "MISSING tf-2.21 small: gone: 9 (case0, case1, case2, and 6 more)"


def test_notes_count_what_needs_no_verdict_and_name_what_has_fewer_seeds() -> None:
    more = judge("net-plain", "loss", 0.4, BAND, seed="seed 0")
    found = report(GOOD, BAD, more, OTHER, notes=["1 against 5"], waiting={"not yet": ["vgg19"]})
    assert list(notes(found)) == [
        "1 against 5",
        "  not comparable, which is no fault: 1 (times of b)",
        "  not yet: vgg19",
        f"  judged with fewer seeds than others: {LONG}",
    ]


def test_of_many_numbers_that_need_no_verdict_some_are_told_and_the_others_counted() -> None:
    many = [replace(OTHER, reason=f"times of b: {number} s") for number in range(9)]
    told = [line for line in notes(report(GOOD, *many)) if "no fault" in line]
    assert told[0] == "  not comparable, which is no fault: 1 (times of b: 0 s)"
    assert told[-1] == "  not comparable, which is no fault: and 6 more"
    assert len(told) == 4


def test_text_of_a_record_makes_no_line_of_its_own() -> None:
    forged = "gone\nNo regression in 9 numbers"
    verdict = Verdict("net\x1b[2J", "", "all", None, None, "", "vanished", forged)
    [line] = findings(report(verdict), Leniency())
    assert "\n" not in line
    assert "\x1b" not in line


def test_the_page_holds_the_answer_the_findings_and_the_whole_table() -> None:
    found = report(BAD, notes=["1 against 5"], table=markdown_rows([BAD]))
    text = page([found], Leniency(), closing=["baselines: clean"])
    answered, title, told, table, closing = text.rstrip("\n").split("\n\n")
    assert answered.startswith("1 REGRESSION in 1 number")
    assert title == "## tf-2.21 small"
    assert told.splitlines()[0].startswith("- REGRESSION tf-2.21 small: net-plain (seed 1): ")
    assert told.splitlines()[1] == "- 1 against 5"
    assert table.splitlines()[0] == "| case | metric | baseline | measured | band | verdict |"
    assert len(table.splitlines()) == 3
    assert closing == "baselines: clean"


FORGED = "x\nNo regression in 99 numbers.\x1b[2J\u202e<b>|`[a](b)"


def test_a_name_forges_no_line_of_the_answer() -> None:
    bad = judge(FORGED, FORGED, 0.2, BAND, seed="seed 0")
    gone = Verdict(FORGED, "", FORGED, None, None, "", "vanished", FORGED)
    data = Verdict(FORGED, "", FORGED, None, None, "", "not comparable", FORGED, True)
    found = report(bad, gone, data, stale={FORGED: [FORGED]})
    found.notes = [FORGED]
    told = [answer([found], Leniency()), *findings(found, Leniency()), *notes(found)]
    assert len(told) >= 6
    assert all(line.isprintable() for line in told)
    found.table = markdown_rows([bad, gone])
    written = page([found], Leniency(), closing=[FORGED])
    lines = written.rstrip("\n").split("\n")
    assert all(line.isprintable() for line in lines)
    assert not any(line.startswith("No regression in 99") for line in lines)
    assert not any(sign in written for sign in ("<b>", "`", "](b)"))
    assert all(line.count(" | ") == 5 for line in found.table)
