"""Tests of suite.report.claims: the verdicts, their rules and numbers, on both outputs."""

from __future__ import annotations

from suite.judge.claims import RULES
from suite.report.claims import claims_markdown, claims_text
from tests.judge.conftest import NONE, MakeRecord, MakeRuns

MOMENTUM = "BatchNorm momentum 0.5 mends it"


def test_markdown_has_a_column_a_release_and_policy_then_rules_and_numbers(runs: MakeRuns) -> None:
    old = runs("literal", release="tf-1.14", inference=NONE, branch=NONE)
    old += runs("literal", "bn-momentum-0.5", release="tf-1.14")
    new = [*runs("literal"), *runs("literal", "bn-momentum-0.5", inference=NONE, branch=NONE)]
    page = claims_markdown([*old, *new]).splitlines()
    assert page[0] == "| claim | tf-2.21 literal |"  # a column only where something is measured
    assert page[2] == f"| {MOMENTUM} | true |"
    assert f"- tf-2.21, literal: {MOMENTUM}: **true**. none: 5/5 stall" in "\n".join(page)
    assert f"\n\n{RULES}\n\n<details>" in "\n".join(page)
    assert page[-2:] == ["", "</details>"]


def test_what_lacks_records_is_a_line_a_release_and_policy(runs: MakeRuns) -> None:
    mended = runs("literal", "bn-momentum-0.5", inference=NONE, branch=NONE)
    page = claims_markdown([*runs("literal"), *mended])
    [line] = [line for line in page.splitlines() if line.startswith("- tf-2.21, intended")]
    assert f"not measured: {MOMENTUM} (no records of none and bn-momentum-0.5); more" in line
    assert "| - |" not in page
    alone = claims_markdown(runs("literal"))
    assert alone.startswith("The claims: not measured.")
    assert f"- tf-2.21, literal: not measured: {MOMENTUM} (no records of bn-mom" in alone


def test_a_verdict_from_few_seeds_is_marked_in_the_table(runs: MakeRuns) -> None:
    control = runs("intended")
    mended = runs("intended", "bn-momentum-0.5", inference=NONE, branch=NONE)
    for records, cell in (
        ([*control, *mended], "| true |"),
        ([*control[:4], *mended], "| true (fewer than 5 seeds) |"),
    ):
        [row] = [line for line in claims_markdown(records).splitlines() if MOMENTUM in line][:1]
        assert row.endswith(cell)


def test_text_has_a_row_a_claim(runs: MakeRuns) -> None:
    text = claims_text(runs("literal"))
    rows = [line.split() for line in text.splitlines() if line.startswith(MOMENTUM)]
    start = [*MOMENTUM.split(), "tf-2.21"]
    assert [row[: len(start) + 1] for row in rows] == [[*start, "literal"], [*start, "intended"]]
    assert text.endswith(RULES)


def test_nothing_is_not_measured(make_record: MakeRecord) -> None:
    assert claims_markdown([make_record()]) == "The claims: not measured."
    assert claims_text([]) == "The claims: not measured."
