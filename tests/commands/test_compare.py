"""Tests of the command `compare`: what it judges, what it prints, the status it ends with."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from suite import store, tables
from suite.__main__ import main
from suite.cases import Case
from suite.commands.cluster_jobs import LOGS
from suite.judge import staleness
from suite.judge.baselines import expected_band
from suite.store import read_record, write_record
from tests.commands.conftest import (
    CASES,
    NIGHTLY,
    OF_BUNDLES,
    PLAIN_CASE,
    TRACE,
    VALUES,
    Fill,
    Output,
    write_locks,
    write_project,
)

SMALL = Path("tf-2.21") / "small"
SECOND = Case("lenet5")
SECOND_CASE = "lenet5-intended-none"


@pytest.fixture
def two(fill: Fill, monkeypatch: pytest.MonkeyPatch) -> Fill:
    """Return `fill` in a project whose tier asks for two cases."""
    both = {**CASES, "no-stall": (SECOND,)}
    monkeypatch.setattr(tables, "TABLES", both)
    return fill


def told(capsys: Output) -> tuple[str, str]:
    """Return the answer, and all that stands below it."""
    answer, _, rest = capsys.readouterr().out.partition("\n")
    return answer, rest


# The answer


def test_compare_passes_what_agrees_and_says_first_how_much_was_judged(
    fill: Fill, capsys: Output
) -> None:
    fill("baselines")
    fill("records", [0.815])
    assert main(["compare"]) == 0
    answer, rest = told(capsys)
    said, _, missed = answer.partition(" It would miss ")
    assert said == "No regression in 1 number of 1 case of tf-2.21 small (seed 0)."
    band = expected_band("clean_accuracy", VALUES, test_images=1000)
    assert missed.startswith(f"{50 * (band.high - band.low):.1f} points of clean accuracy")
    assert "tf-2.21 small: 1 records against 5 of the baseline of tf-2.21" in rest


def test_compare_fails_on_a_regression_and_names_it(fill: Fill, capsys: Output) -> None:
    fill("baselines")
    fill("records", [0.815, 0.1])
    assert main(["compare"]) == 1
    answer, rest = told(capsys)
    assert answer == "1 REGRESSION in 2 numbers of 1 case of tf-2.21 small (seeds 0, 1)."
    expected = "REGRESSION tf-2.21 small: lenet5-plain (seed 1): clean_accuracy is 0.1, expected"
    assert rest.startswith(expected)


def test_what_passed_is_counted_and_printed_only_on_request(fill: Fill, capsys: Output) -> None:
    fill("baselines")
    fill("records")
    main(["compare"])
    _, rest = told(capsys)
    assert "seed 3" not in rest
    assert "every verdict, those that passed too: -v, or --markdown FILE" in rest
    main(["compare", "-v"])
    assert f"{PLAIN_CASE} (seed 3)" in told(capsys)[1]


def test_of_many_regressions_the_first_are_told_and_the_rest_counted(
    fill: Fill, capsys: Output
) -> None:
    fill("baselines")
    fill("records", [0.1] * 30)
    assert main(["compare"]) == 1
    _, rest = told(capsys)
    assert rest.count("clean_accuracy is 0.1") == 20
    assert "REGRESSION tf-2.21 small: and 10 more" in rest


def test_compare_judges_every_release_and_tier_that_has_records(fill: Fill, capsys: Output) -> None:
    for release, tier in (("tf-2.15", "small"), ("tf-2.21", "small"), ("tf-2.21", "full")):
        fill("records", [0.8], release=release, tier=tier)
        fill("baselines", release=release, tier=tier)
    assert main(["compare"]) == 0
    assert "3 numbers of 3 cases of 2 releases (seed 0)." in told(capsys)[0]
    assert main(["compare", "--release", "tf-2.21", "--tier", "full"]) == 0
    assert "1 number of 1 case of tf-2.21 full (seed 0)." in told(capsys)[0]


def test_compare_leaves_out_the_quickstart_unless_asked_for_it_and_says_so(
    fill: Fill, capsys: Output
) -> None:
    fill("records", [0.1], tier="quickstart")
    fill("records", [0.8])
    fill("baselines")
    fill("baselines", [0.66, 0.67, 0.68, 0.65, 0.64], tier="quickstart")
    assert main(["compare"]) == 0
    _, rest = told(capsys)
    assert "not judged unless named with --release or --tier: tf-2.21 quickstart" in rest
    assert main(["compare", "--tier", "quickstart"]) == 1


def test_compare_is_not_disturbed_by_what_other_sessions_leave_beside_the_records(
    fill: Fill, capsys: Output
) -> None:
    fill("baselines")
    fill("records", [0.8])
    fill("records", [0.1], tier="full-rehearsal")
    fill("records", [0.1], release=OF_BUNDLES, tier="sample")
    log = Path("records", "tf-2.21", LOGS, f"{PLAIN_CASE}.log")
    log.parent.mkdir()
    log.write_text("of a cluster")
    assert main(["compare"]) == 0
    aside = f"{OF_BUNDLES} sample, tf-2.21 full-rehearsal"
    rest = told(capsys)[1]
    assert f"not judged unless named with --release or --tier: {aside}" in rest
    assert rest.count("nox -s gate") == 1
    assert main(["compare", "--tier", "full-rehearsal"]) == 2
    assert "nox -s gate" not in told(capsys)[1]


def test_an_unpinned_release_is_part_of_no_gate_unless_it_is_named(fill: Fill) -> None:
    fill("baselines")
    fill("records", [0.815])
    fill("records", [0.1], release=NIGHTLY)
    assert main(["compare"]) == 0
    assert main(["compare", "--release", NIGHTLY, "--against", "tf-2.21"]) == 1


def test_compare_against_another_release_judges_by_its_baseline(fill: Fill, capsys: Output) -> None:
    fill("baselines", [0.67, 0.6701, 0.6702, 0.6703, 0.6704], release="tf-2.15")
    fill("baselines", environment={"versions": {"numpy": "1.0.0"}, "stack": "eager"})
    fill("records", [0.815])
    assert main(["compare"]) == 0
    assert "  numpy is 2.0.0, the baseline has 1.0.0" in told(capsys)[1]
    assert main(["compare", "--against", "tf-2.15"]) == 1
    _, rest = told(capsys)
    assert "against 5 of the baseline of tf-2.15" in rest
    assert "numpy is" not in rest


@pytest.mark.parametrize("name", ["../tf-2.15", "/elsewhere", ".", "tf-2.21/small/.."])
def test_a_baseline_outside_of_the_baselines_is_refused(
    fill: Fill, capsys: Output, name: str
) -> None:
    fill("records", [0.815])
    assert main(["compare", "--against", name]) == 2
    assert "does not lie in baselines" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("compare", "--release"),
        ("compare", "--against"),
        ("parity", "--release"),
        ("parity", "--reference"),
    ],
)
def test_an_empty_name_does_not_stand_for_all(command: str, option: str, capsys: Output) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, option, ""])
    assert left.value.code == 2
    assert "must be a name, or left out. Received: an empty one" in capsys.readouterr().err


def test_compare_without_records_names_the_command_that_makes_them(
    fill: Fill, capsys: Output
) -> None:
    del fill
    assert main(["compare", "--release", "tf-2.15"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: records/tf-2.15/* holds no records")
    assert 'nox -s "benchmarks(tf-2.15)"' in captured.err


@pytest.mark.parametrize("root", ["records", "baselines"])
def test_a_damaged_file_is_an_error_that_names_it(fill: Fill, capsys: Output, root: str) -> None:
    fill("baselines")
    fill("records")
    path = Path(root) / SMALL / f"{PLAIN_CASE}-seed3.json"
    path.write_text(path.read_text()[:-50])
    assert main(["compare"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {path} is not JSON")


def test_the_page_holds_the_answer_and_every_verdict(fill: Fill) -> None:
    fill("baselines")
    fill("records", [0.1, 0.8])
    assert main(["compare", "--markdown", "report.md"]) == 1
    text = Path("report.md").read_text()
    assert text.startswith("1 REGRESSION in 2 numbers of 1 case of tf-2.21 small (seeds 0, 1).\n")
    assert "\n## tf-2.21 small\n" in text
    assert "- REGRESSION tf-2.21 small: lenet5-plain (seed 0): clean_accuracy is 0.1" in text
    assert "\n| case | metric | baseline | measured | band | verdict |\n| --- |" in text
    assert "| lenet5-plain (seed 0) | clean_accuracy | 0.81 ± 0.016 (5) | 0.1 |" in text
    assert "| lenet5-plain (seed 1) | clean_accuracy | 0.81 ± 0.016 (5) | 0.8 |" in text


def test_a_report_that_cannot_be_written_is_an_error(fill: Fill, capsys: Output) -> None:
    fill("records")
    fill("baselines")
    assert main(["compare", "--markdown", "absent/report.md"]) == 2
    assert "absent/report.md cannot be written" in capsys.readouterr().err


# Stale evidence


def repin(pin: str) -> None:
    """Change a pin of all releases and lock again, with nothing run anew."""
    write_project(pin=pin)
    write_locks(pin=pin)


def test_after_a_changed_pin_and_a_new_lock_the_records_are_stale(
    fill: Fill, capsys: Output
) -> None:
    fill("baselines")
    fill("records")
    assert main(["compare"]) == 0
    told(capsys)
    repin("numpy==1.9.0")
    assert main(["compare"]) == 2
    answer, rest = told(capsys)
    assert answer == "COULD NOT TELL: 5 stale records, nothing was judged."
    assert rest.startswith("STALE tf-2.21 small: the lock: sha256:")
    assert f"5 ({PLAIN_CASE}-seed0, " in rest
    assert "STALE tf-2.21 small: the version of numpy: 2.0.0, expected 1.9.0: 5 (" in rest


def test_after_a_changed_pin_without_a_new_lock_both_are_named(fill: Fill, capsys: Output) -> None:
    fill("baselines")
    fill("records")
    write_project(pin="numpy==1.9.0")
    assert main(["compare"]) == 2
    _, rest = told(capsys)
    assert "expected locks/tf-2.21.txt is stale: its row" in rest
    assert "the version of numpy: 2.0.0, expected 1.9.0" in rest


def test_after_a_change_of_the_code_that_measures_the_records_are_stale(
    fill: Fill, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill("baselines")
    fill("records")
    monkeypatch.setattr(staleness, "measuring_digest", lambda *_: "sha256:0123")
    assert main(["compare"]) == 2
    assert "STALE tf-2.21 small: the code that measures: sha256:" in told(capsys)[1]


def test_the_fresh_are_judged_beside_the_stale_and_a_regression_counts_more(
    two: Fill, capsys: Output
) -> None:
    for case in (PLAIN_CASE, SECOND_CASE):
        two("baselines", case=case)
    two("records", case=PLAIN_CASE, environment={"lock_digest": "sha256:9"})
    two("records", [0.8], case=SECOND_CASE)
    assert main(["compare"]) == 2
    assert told(capsys)[0] == (
        "COULD NOT TELL: 5 stale records; no regression in 1 number of 1 case of tf-2.21 small "
        "(seed 0)."
    )
    two("records", [0.1], case=SECOND_CASE)
    assert main(["compare"]) == 1
    assert "; of the rest it cannot be told: 5 stale records." in told(capsys)[0]


def test_stale_records_can_be_left_out_and_the_answer_repeats_it(
    fill: Fill, capsys: Output
) -> None:
    fill("baselines")
    fill("records", environment={"lock_digest": "sha256:9"})
    fill("records", [0.8])
    assert main(["compare", "--stale", "leave-out"]) == 0
    answer, rest = told(capsys)
    assert "case of tf-2.21 small (seed 0); 4 stale records left out." in answer
    assert "stale, left out, tf-2.21 small: the lock: sha256:9, expected" in rest


def test_a_case_all_of_whose_records_are_left_out_is_missing(two: Fill, capsys: Output) -> None:
    for case in (PLAIN_CASE, SECOND_CASE):
        two("baselines", case=case)
    two("records", case=PLAIN_CASE, environment={"lock_digest": "sha256:9"})
    two("records", [0.8], case=SECOND_CASE)
    assert main(["compare", "--stale", "leave-out"]) == 2
    assert f"no record of the case that is not stale: {PLAIN_CASE}" in told(capsys)[1]
    assert main(["compare", "--stale", "leave-out", "--partial"]) == 0


def test_stale_records_can_be_judged_all_the_same_and_the_answer_repeats_it(
    fill: Fill, capsys: Output
) -> None:
    fill("baselines")
    fill("records", [0.8], environment={"lock_digest": "sha256:9"})
    assert main(["compare", "--stale", "accept"]) == 0
    assert "(seed 0); 1 stale record judged all the same." in told(capsys)[0]
    fill("records", [0.1], environment={"lock_digest": "sha256:9"})
    assert main(["compare", "--stale", "accept"]) == 1


def test_a_baseline_of_an_older_state_is_used_and_the_heading_says_so(
    fill: Fill, capsys: Output
) -> None:
    fill("baselines", environment={"code_digest": "sha256:0ld", "lock_digest": "sha256:8"})
    fill("records", [0.8])
    assert main(["compare"]) == 0
    note = "  baseline of an older state of the suite (code sha256:0ld; 2024-05-01)"
    assert note in told(capsys)[1]


def test_records_of_one_tier_must_be_of_one_data_set(fill: Fill, capsys: Output) -> None:
    fill("baselines", tier="full")
    fill("records", [0.8, 0.8], tier="full")
    path = Path("records/tf-2.21/full") / f"{PLAIN_CASE}-seed1.json"
    record = read_record(path)
    environment = {**record.environment, "data_digest": "sha256:9"}
    key = staleness.record_key(record.settings, environment)
    write_record(replace(record, environment=environment, key=key), path)
    assert main(["compare", "--tier", "full"]) == 2
    answer, rest = told(capsys)
    assert answer.startswith("COULD NOT TELL: ")
    assert "the data (gtsrb, 64 pixels) are sha256:9, expected " in rest
    assert "  the data (gtsrb, 64 pixels) not checked: only held against each other" in rest


def test_other_data_than_the_baselines_are_not_judged(fill: Fill, capsys: Output) -> None:
    fill("baselines", tier="full", environment={"data_digest": "sha256:9"})
    fill("records", [0.8], tier="full")
    assert main(["compare"]) == 2
    answer, rest = told(capsys)
    assert answer == "COULD NOT TELL: 1 record that cannot be compared, nothing was judged."
    assert "NOT COMPARABLE tf-2.21 full: the data are not those of the baseline" in rest


# Missing evidence


def test_where_only_traps_and_traces_lie_nothing_was_judged(fill: Fill, capsys: Output) -> None:
    fill("baselines")
    fill("records", [0.0], case=TRACE)
    fill("records", [0.0], case="traps")
    for more in ([], ["--partial"]):
        assert main(["compare", *more]) == 2
        answer, rest = told(capsys)
        assert "nothing was judged" in answer
        assert f"no record of the case: {PLAIN_CASE}" in rest


def test_a_case_without_a_record_is_missing_unless_that_is_allowed(
    two: Fill, capsys: Output
) -> None:
    two("baselines")
    two("baselines", case=SECOND_CASE)
    two("records", [0.8])
    assert main(["compare"]) == 2
    answer, rest = told(capsys)
    assert answer.startswith("COULD NOT TELL: 1 missing case or number; no regression in 1 number")
    assert f"MISSING tf-2.21 small: no record of the case: {SECOND_CASE}" in rest
    assert main(["compare", "--partial"]) == 0
    answer, rest = told(capsys)
    assert f"; PARTIAL, missing: {SECOND_CASE} of tf-2.21 small." in answer
    assert f"missing tf-2.21 small: no record of the case: {SECOND_CASE}" in rest


def test_a_case_whose_baseline_is_gone_is_missing(two: Fill, capsys: Output) -> None:
    two("baselines")
    two("records", [0.8])
    two("records", [0.1], case=SECOND_CASE)
    assert main(["compare"]) == 2
    assert f"MISSING tf-2.21 small: no baseline of the case: {SECOND_CASE}" in told(capsys)[1]


def test_a_case_that_neither_side_has_is_missing(two: Fill, capsys: Output) -> None:
    two("baselines")
    two("records", [0.8])
    assert main(["compare"]) == 2
    assert f"neither a record nor a baseline of the case: {SECOND_CASE}" in told(capsys)[1]


def test_a_baseline_may_lack_what_its_list_of_gaps_names(two: Fill, capsys: Output) -> None:
    two("baselines")
    two("records", [0.8])
    two("records", [0.1], case=SECOND_CASE)
    gap = f"release,tier,case,why\ntf-2.21,small,{SECOND_CASE},too slow\n"
    Path("baselines/gaps.csv").write_text(gap)
    assert main(["compare"]) == 0
    answer, rest = told(capsys)
    assert "(seed 0); no baseline yet of 1 case." in answer
    assert f"  no baseline yet (too slow): {SECOND_CASE}" in rest
    two("baselines", case=SECOND_CASE)
    assert main(["compare"]) == 1


@pytest.mark.parametrize(
    ("metrics", "reason"),
    [
        ({}, f"no number in the record of the case: {PLAIN_CASE}"),
        (
            {"train_accuracy": 0.85},
            f"in the baseline, and not measured: clean_accuracy of {PLAIN_CASE}",
        ),
        (
            {"clean_accuracy": 0.8, "train_accuracy": 0.85},
            f"measured, and not in the baseline: train_accuracy of {PLAIN_CASE}",
        ),
    ],
)
def test_a_number_that_one_side_lacks_is_missing(
    fill: Fill, capsys: Output, metrics: dict[str, float], reason: str
) -> None:
    fill("baselines")
    fill("records", [0.8], metrics=metrics)
    assert main(["compare"]) == 2
    assert f"MISSING tf-2.21 small: {reason}" in told(capsys)[1]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"question": "traps"}, "the question: 'traps', expected 'training'"),
        ({"case": "lenet5"}, "the case: lenet5, expected one of the small tier"),
    ],
)
def test_a_record_that_answers_no_question_of_its_tier_is_stale(
    fill: Fill, capsys: Output, changes: dict[str, Any], reason: str
) -> None:
    fill("baselines")
    fill("records", [0.8])
    fill("records", [0.8], **changes)
    assert main(["compare"]) == 2
    assert reason in told(capsys)[1]


def test_a_release_without_a_baseline_is_missing_and_tells_the_ways_out(
    fill: Fill, capsys: Output
) -> None:
    fill("baselines")
    fill("records", [0.815])
    fill("records", release="tf-1.14")
    assert main(["compare"]) == 2
    answer, rest = told(capsys)
    assert "no regression in 1 number" in answer
    assert "MISSING tf-1.14 small: no baseline there" in rest
    assert "baselines/tf-1.14/small" in rest
    assert "--against RELEASE" in rest
    assert "nox -s rebaseline" in rest
    assert main(["compare", "--partial"]) == 0
    assert main(["compare", "--release", "tf-2.21"]) == 0
    assert main(["compare", "--against", "tf-2.51"]) == 2


@pytest.mark.parametrize(
    ("place", "content", "fault"),
    [
        ("tf-2.15", "", "it is no folder, expected one of records: records/tf-2.15"),
        ("tf-2.15/small", "", "it is no folder, expected one of records: records/tf-2.15/small"),
        ("tf-2.15/smal/a.txt", "", "no tier is called so, expected one of quickstart, small,"),
        ("tf-2.15/small/a.txt", "", "it holds no record: records/tf-2.15/small"),
    ],
)
def test_a_place_beside_others_that_cannot_be_read_is_missing(
    fill: Fill, capsys: Output, place: str, content: str, fault: str
) -> None:
    fill("baselines")
    fill("records", [0.8])
    path = Path("records", place)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    assert main(["compare"]) == 2
    assert fault in told(capsys)[1]
    assert main(["compare", "--partial"]) == 0
    assert main(["compare", "--release", "tf-2.21"]) == 0


def test_reports_beside_the_records_are_no_evidence_that_is_missing(fill: Fill) -> None:
    fill("baselines")
    fill("records", [0.8])
    for name in ("records/notes.txt", "records/tf-2.21/matrix.json", "records/.lock"):
        Path(name).write_text("")
    assert main(["compare"]) == 0


# Ten thousand records


def test_each_file_is_read_once_and_what_is_not_asked_for_not_at_all(
    fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill("baselines")
    fill("records", [0.8, 0.81, 0.82])
    fill("records", [0.8], case=TRACE)
    fill("records", [0.8], tier="full")
    fill("records", [0.8], release="tf-2.15")
    read: Counter[str] = Counter()
    real = store.read_bytes

    def counted(path: Path) -> bytes:
        read[f"{path}"] += 1
        return real(path)

    monkeypatch.setattr(store, "read_bytes", counted)
    assert main(["compare", "--release", "tf-2.21", "--tier", "small"]) == 0
    assert set(read.values()) == {1}
    names = [f"{PLAIN_CASE}-seed{seed}.json" for seed in range(5)]
    expected = [f"baselines/{SMALL}/{name}" for name in names]
    assert sorted(read) == [*expected, *(f"records/{SMALL}/{name}" for name in names[:3])]


def peak_bytes() -> int:
    """Return the peak of the memory that a comparison takes."""
    tracemalloc.start()
    try:
        assert main(["compare"]) == 0
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_curves_of_the_records(fill: Fill, capsys: Output) -> None:
    curve = {"loss": [1 / 3] * 2_000}  # 60 kB
    fill("baselines")
    fill("records", [0.8] * 20, curves=curve)
    few = peak_bytes()
    fill("records", [0.8] * 220, curves=curve)
    assert (peak_bytes() - few) / 200 < 12_000
    del capsys


def test_the_gate_is_named_for_all_seeds_together(fill: Fill, capsys: Output) -> None:
    fill("baselines")
    fill("records", [0.815])
    assert main(["compare"]) == 0
    assert "nox -s gate -- --baseline stored --candidate tf-2.21\n" in capsys.readouterr().out
