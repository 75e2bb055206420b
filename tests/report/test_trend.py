"""Tests of suite.report.trend: the page and the figure of every metric over the releases."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from suite.judge.history import Entry, Numbers
from suite.report.trend import Row, drawn, oldest_first, trends_figure, trends_markdown

RELEASES = ("tf-2.21", "tf-2.15", "tf-1.14")


def entry(**changes: Any) -> Entry:
    """Make an entry of one case; `clean` is its accuracy."""
    clean = changes.pop("clean", 0.8)
    cases = {
        "net-plain": {"clean_accuracy": Numbers(clean, 0.01, 5), "parameters": Numbers(9, 0, 5)}
    }
    fields = {
        "date": "2026-11-22", "reason": "to test", "how": "measured", "worse": [], "removed": [],
        "former": "", "digest": "sha256:1", "measured": ["2026-11-21", "2026-11-22"],
        "versions": {"tensorflow": ["2.21.0"], "numpy": ["2.0"]}, "code": ["c"], "lock": ["l"],
        "data": ["d"], "cases": cases,
    }  # fmt: skip
    return Entry(**{**fields, **changes})


def row(release: str, *entries: Entry, tier: str = "small") -> Row:
    return Row(release, tier, entries)


def test_the_page_says_which_rows_have_no_baseline() -> None:
    page = trends_markdown([row("tf-2.21", entry()), row("tf-2.15", entry())], RELEASES)
    first = page.splitlines()[0]
    assert first == (
        "- small tier: 2 of 3 rows have a baseline (tf-2.21, tf-2.15); without one: tf-1.14."
    )


def test_a_baseline_of_steps_and_draws_alone_has_no_numbers_to_tell() -> None:
    bare = row("tf-1.14", entry(cases={}))
    page = trends_markdown([bare, row("tf-2.15", entry()), row("tf-2.21", entry())], RELEASES)
    first = "- small tier: 2 of 3 rows have a baseline (tf-2.15, tf-2.21)"
    assert page.startswith(f"{first}; of steps and draws alone: tf-1.14.\n")
    assert "| case | tf-2.15 | tf-2.21 |" in page
    assert "| steps and draws alone |" in page


def test_a_baseline_of_steps_and_draws_alone_has_no_place_in_the_figure(tmp_path: Path) -> None:
    rows = [row("tf-1.14", entry(cases={})), row("tf-2.15", entry()), row("tf-2.21", entry())]
    trends_figure(rows, tmp_path / "trends.svg")
    content = (tmp_path / "trends.svg").read_text(encoding="utf-8")
    assert [name for name in RELEASES if f">{name}<" in content] == ["tf-2.21", "tf-2.15"]


def test_a_metric_stands_release_by_release_with_what_it_was_before() -> None:
    rows = [row("tf-2.15", entry()), row("tf-2.21", entry(clean=0.7), entry(clean=0.75))]
    page = trends_markdown(rows, RELEASES)
    assert "### clean_accuracy\n\n| case | tf-2.15 | tf-2.21 |" in page
    line = "| net-plain | 0.8 ± 0.01 (5) | 0.75 ± 0.01 (5); was 0.7 ± 0.01 (5) |"
    assert line in page.splitlines()
    assert "### parameters" not in page


def test_a_case_that_a_baseline_lacks_or_lost_is_absent() -> None:
    rows = [row("tf-2.15", entry(), entry(cases={})), row("tf-2.21", entry())]
    page = trends_markdown(rows, RELEASES)
    assert "| net-plain | - | 0.8 ± 0.01 (5) |" in page.splitlines()
    assert "| 0: 1 removed |" in page


def test_a_baseline_that_repeats_its_numbers_was_nothing_else() -> None:
    page = trends_markdown([row("tf-2.21", entry(), entry())], RELEASES)
    assert "; was" not in page.partition("## Every change")[0].replace('"was"', "")
    assert "| 1: none changed |" in page


def test_a_tier_of_one_baseline_has_no_trend_yet() -> None:
    page = trends_markdown([row("tf-2.21", entry(), tier="study")], RELEASES)
    assert "## The study tier\n\nOne baseline, never changed" in page
    assert "### clean_accuracy" not in page


def test_every_change_stands_with_its_reason_whatever_is_in_it() -> None:
    reason = "| a | <script>alert(1)</script> @you \x1b[31m"
    own = entry(reason=reason, worse=["net-plain: clean_accuracy is lower"], clean=0.5)
    page = trends_markdown([row("tf-2.21", entry(), own)], RELEASES)
    last = page.splitlines()[-1]
    assert last.startswith("| tf-2.21 small | 2026-11-22 | &#124; a &#124; &#60;script>")
    assert "| 1: 1 changed | 2026-11-21 to 2026-11-22 | tensorflow 2.21.0 |" in last
    assert last.endswith("| net-plain |")
    assert "\x1b" not in page
    assert last.count("|") == 8


def test_baselines_stand_from_the_oldest_tensorflow_to_none() -> None:
    versions = {"a": "2.21.0", "b": "2.9.1", "c": "2.15.1"}
    rows = [row(name, entry(versions={"tensorflow": [v]})) for name, v in versions.items()]
    rows.insert(0, row("jax", entry(versions={})))
    assert [found.release for found in oldest_first(rows)] == ["b", "c", "a", "jax"]


def test_a_case_is_drawn_where_there_is_something_to_compare() -> None:
    assert drawn([row("tf-2.21", entry())]) == []
    assert drawn([row("tf-2.21", entry()), row("tf-2.15", entry())]) == [("small", "net-plain")]
    changed = [row("tf-2.21", entry(), entry(clean=0.7))]
    assert drawn(changed) == [("small", "net-plain")]


def test_the_figure_has_a_panel_a_case_and_is_the_same_each_time(tmp_path: Path) -> None:
    gone = entry(cases={"$x^2$": {"clean_accuracy": Numbers(float("nan"), float("nan"), 5)}})
    rows = [row("tf-2.15", entry(), gone), row("tf-2.21", gone, entry(clean=0.7), entry())]
    files = [tmp_path / name for name in ("a.svg", "b.svg")]
    for file in files:
        trends_figure(rows, file)
    assert files[0].read_bytes() == files[1].read_bytes()
    texts = [element.text for element in ET.parse(files[0]).iter() if element.tag.endswith("text")]  # noqa: S314 - our own
    assert {"net-plain", "tf-2.15", "tf-2.21"} <= {*texts}


def test_without_anything_to_compare_the_figure_is_empty(tmp_path: Path) -> None:
    trends_figure([], tmp_path / "empty.svg")
    assert b"hollow" in (tmp_path / "empty.svg").read_bytes()
