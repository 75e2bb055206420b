"""Tests of the command `results`: tables from stored records, printed and put into pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from suite.commands.results import main
from suite.errors import RecordError, ReleaseError, SuiteError
from suite.judge.baselines import by_case
from suite.judge.history import HISTORY, entry_of, history_text
from suite.records import Record
from suite.store import read_records, store

MakeRecord = Callable[..., Record]
Output = pytest.CaptureFixture[str]
SETTINGS = {
    "architecture": "lenet5", "width": 1.0, "loss": "intended", "fix": "none",
    "data": "gtsrb", "size_px": 32, "test_images": 1000, "epsilon": 0.01,
}  # fmt: skip
METRICS = {"clean_accuracy": 0.79, "adversarial_accuracy": 0.58, "information_gain": 2.6}
PAGE = "above\n<!-- results: begin -->\nformer text\n<!-- results: end -->\nbelow\n"
TABLE = '[tool.suite]\ndefault = "tf-2.21"\nreleases = [{name = "tf-2.21"}, {name = "tf-2.15"}]\n'


@pytest.fixture
def fill(
    tmp_path: Path, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Store a record of LeNet-5 in a project that has a release table and two pages."""
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text(TABLE, encoding="utf-8")
    for name in ("README.md", "results.md"):
        Path(name).write_text(PAGE, encoding="utf-8")

    def fill(release: str, tier: str, root: str = "baselines", seed: int = 0) -> None:
        store(
            make_record(
                "lenet5-intended-none",
                release=release,
                tier=tier,
                seed=seed,
                settings=SETTINGS,
                metrics=METRICS,
            ),
            Path(root),
        )

    return fill


def heads(text: str) -> list[str]:
    """List the titles of the tables."""
    return [line.strip("# ") for line in text.splitlines() if line.endswith(" tier")]


def test_releases_stand_in_the_order_of_the_release_table_others_behind(
    fill: Callable[..., None], capsys: Output
) -> None:
    for release in ("abc", "tf-2.15", "tf-2.21"):
        for tier in ("full", "small", "quickstart"):
            fill(release, tier)
    assert main([]) == 0
    assert heads(capsys.readouterr().out) == [
        "tf-2.21, small tier", "tf-2.21, full tier", "tf-2.15, small tier", "tf-2.15, full tier",
        "abc, small tier", "abc, full tier",
    ]  # fmt: skip


def test_pages_get_the_tables_and_the_readme_the_default_row_in_short(
    fill: Callable[..., None],
) -> None:
    fill("tf-2.21", "small")
    fill("tf-2.15", "small")
    assert main(["--page", "results.md", "--readme", "README.md"]) == 0
    page, readme = (Path(name).read_text(encoding="utf-8") for name in ("results.md", "README.md"))
    assert heads(page) == ["tf-2.21, small tier", "tf-2.15, small tier"]
    assert "| LeNet-5 | intended | none | - | .790 | .580 | 2.60 |" in page
    assert "| LeNet-5 | intended | - | 79% / 58% | 0/1 |" in readme
    assert "tf-2.15" not in readme
    for text in (page, readme):
        assert text.startswith("above\n<!-- results: begin -->\n\n")
        assert text.endswith("\n\n<!-- results: end -->\nbelow\n")
        assert "former text" not in text


def test_without_options_no_page_is_touched(fill: Callable[..., None]) -> None:
    fill("tf-2.21", "small")
    assert main([]) == 0
    assert Path("README.md").read_text(encoding="utf-8") == PAGE


def test_records_of_another_folder_are_read_where_it_is_named(
    fill: Callable[..., None], capsys: Output
) -> None:
    fill("tf-2.15", "small", root="records")
    assert main(["--records", "records"]) == 0
    assert heads(capsys.readouterr().out) == ["tf-2.15, small tier"]


def test_nothing_to_show_names_the_command_that_measures(fill: Callable[..., None]) -> None:
    with pytest.raises(SuiteError, match=r"^baselines holds no records.*benchmarks\(tf-2\.21\)"):
        main([])
    fill("tf-2.15", "small")
    with pytest.raises(SuiteError, match=r"^baselines holds no records of tf-2\.21, small"):
        main(["--readme", "README.md"])
    assert Path("README.md").read_text(encoding="utf-8") == PAGE


def test_a_page_without_markers_is_left_as_it_was(fill: Callable[..., None]) -> None:
    fill("tf-2.21", "small")
    Path("results.md").write_text("nothing\n", encoding="utf-8")
    with pytest.raises(ReleaseError, match="lacks the lines <!-- results: begin -->"):
        main(["--page", "results.md"])
    assert Path("results.md").read_text(encoding="utf-8") == "nothing\n"


def test_trends_are_written_from_the_indexes_with_their_figure(fill: Callable[..., None]) -> None:
    for release, reason in (("tf-2.21", "why so"), ("tf-2.15", "there was none")):
        for seed in (0, 1):
            fill(release, "small", seed=seed)
        folder = Path("baselines", release, "small")
        own = by_case(read_records(folder))
        entry = entry_of(own, day="2026-11-22", reason=reason)
        (folder / HISTORY).write_bytes(history_text([entry]))
    Path("trends.md").write_text(PAGE.replace("results", "trends"), encoding="utf-8")
    assert main(["--trends", "trends.md"]) == 0
    page = Path("trends.md").read_text(encoding="utf-8")
    assert "small tier: 2 of 2 rows have a baseline" in page
    assert "| tf-2.21 small | 2026-11-22 | why so |" in page
    assert Path("trends.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert "former text" not in page


@pytest.mark.parametrize("index", [None, b"{", b""])
def test_trends_of_a_baseline_without_an_index_of_its_records_are_an_error(
    fill: Callable[..., None], index: bytes | None
) -> None:
    fill("tf-2.21", "small")
    if index is not None:
        Path("baselines/tf-2.21/small", HISTORY).write_bytes(index)
    Path("trends.md").write_text(PAGE.replace("results", "trends"), encoding="utf-8")
    with pytest.raises(RecordError, match=r"baselines/tf-2\.21/small.*git checkout"):
        main(["--trends", "trends.md"])
    assert "former text" in Path("trends.md").read_text(encoding="utf-8")
    assert not Path("trends.svg").exists()
