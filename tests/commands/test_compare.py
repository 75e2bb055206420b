"""Tests of the command `compare`: what it judges, what it prints, the status it ends with."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.__main__ import main
from tests.commands.conftest import Fill, Output


def test_compare_passes_what_agrees(fill: Fill, capsys: Output) -> None:
    fill("baselines")
    fill("records", [0.815])
    assert main(["compare"]) == 0
    output = capsys.readouterr().out
    assert "tf-2.21 small: 1 records against 5 of the baseline of tf-2.21" in output
    assert "1 of 1 checks passed." in output


def test_compare_fails_on_a_regression(fill: Fill, capsys: Output) -> None:
    fill("baselines")
    fill("records", [0.815, 0.1])
    assert main(["compare"]) == 1
    assert "1 of 2 checks passed; 1 regression:" in capsys.readouterr().out


def test_compare_fails_on_other_data(fill: Fill) -> None:
    fill("baselines")
    fill("records", [0.815], environment={"data_digest": "sha256:9"})
    assert main(["compare"]) == 1


def test_compare_without_records_names_the_command_that_makes_them(
    fill: Fill, capsys: Output
) -> None:
    del fill
    assert main(["compare", "--release", "tf-2.15"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: records/tf-2.15/* holds no records")
    assert 'nox -s "benchmarks(tf-2.15)"' in captured.err


def test_compare_without_a_baseline_is_an_error_that_tells_the_ways_out(
    fill: Fill, capsys: Output
) -> None:
    fill("records")
    assert main(["compare"]) == 2
    error = capsys.readouterr().err
    assert "baselines/tf-2.21/small holds no baseline, so nothing can be judged" in error
    assert "--against RELEASE" in error
    assert "nox -s rebaseline" in error


def test_compare_judges_what_has_a_baseline_before_it_names_what_has_none(
    fill: Fill, capsys: Output
) -> None:
    fill("baselines")
    fill("records", [0.815])
    fill("records", release="tf-1.14")
    assert main(["compare"]) == 2
    printed = capsys.readouterr()
    assert "1 of 1 checks passed." in printed.out
    assert "baselines/tf-1.14/small holds no baseline" in printed.err
    assert main(["compare", "--release", "tf-2.21"]) == 0


def test_an_unpinned_release_is_part_of_no_gate_unless_it_is_named(fill: Fill) -> None:
    table = '[[tool.suite.releases]]\nname = "tf-nightly"\nunpinned = true\n'
    Path("pyproject.toml").write_text(table, encoding="utf-8")
    fill("baselines")
    fill("records", [0.815])
    fill("records", [0.1], release="tf-nightly")
    assert main(["compare"]) == 0
    assert main(["compare", "--release", "tf-nightly", "--against", "tf-2.21"]) == 1


def test_compare_judges_every_release_and_tier_that_has_records(fill: Fill, capsys: Output) -> None:
    for release, tier in (("tf-2.15", "small"), ("tf-2.21", "small"), ("tf-2.21", "full")):
        fill("records", [0.8], release=release, tier=tier)
        fill("baselines", release=release, tier=tier)
    assert main(["compare"]) == 0
    assert capsys.readouterr().out.count("1 of 1 checks passed.") == 3
    assert main(["compare", "--release", "tf-2.21", "--tier", "full"]) == 0
    assert capsys.readouterr().out.count("checks passed.") == 1


def test_compare_leaves_out_the_quickstart_unless_asked_for_it(fill: Fill, capsys: Output) -> None:
    fill("records", [0.1], tier="quickstart")
    fill("records", [0.8])
    for tier in ("quickstart", "small"):
        fill("baselines", tier=tier)
    assert main(["compare"]) == 0
    assert "quickstart" not in capsys.readouterr().out
    assert main(["compare", "--tier", "quickstart"]) == 1


def test_compare_against_another_release_judges_by_its_baseline(fill: Fill, capsys: Output) -> None:
    fill("baselines", [0.3, 0.31, 0.29, 0.3, 0.3], release="tf-2.15")
    fill("baselines")
    fill("records", [0.815], environment={"stack": "eager", "versions": {"numpy": "9"}})
    assert main(["compare"]) == 0
    assert "note: numpy is 9, the baseline has 2.0.0" in capsys.readouterr().out
    assert main(["compare", "--against", "tf-2.15"]) == 1
    output = capsys.readouterr().out
    assert "against 5 of the baseline of tf-2.15" in output
    assert "note:" not in output


def test_compare_against_a_release_without_baseline_is_an_error(fill: Fill, capsys: Output) -> None:
    fill("records")
    assert main(["compare", "--against", "tf-2.51"]) == 2
    assert "baselines/tf-2.51/small holds no baseline" in capsys.readouterr().err


@pytest.mark.parametrize("root", ["records", "baselines"])
def test_a_damaged_file_is_an_error_that_names_it(fill: Fill, capsys: Output, root: str) -> None:
    fill("baselines")
    fill("records")
    path = Path(root, "tf-2.21", "small", "net-plain-seed3.json")
    path.write_text(path.read_text()[:-50])
    assert main(["compare"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {path} is not JSON")


def test_compare_writes_the_same_report_as_markdown(fill: Fill) -> None:
    fill("baselines")
    fill("records", [0.1])
    assert main(["compare", "--markdown", "report.md"]) == 1
    text = Path("report.md").read_text()
    assert text.startswith("## tf-2.21 small: 1 records against 5 of the baseline of tf-2.21\n")
    assert "| net-plain (seed 0) | clean_accuracy | 0.81 ± 0.016 (5) | 0.1 |" in text
    assert "- 0 of 1 checks passed; 1 regression:" in text


def test_a_report_that_cannot_be_written_is_an_error(fill: Fill, capsys: Output) -> None:
    fill("records")
    fill("baselines")
    assert main(["compare", "--markdown", "absent/report.md"]) == 2
    assert "absent/report.md cannot be written" in capsys.readouterr().err
