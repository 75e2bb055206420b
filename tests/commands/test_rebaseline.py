"""Tests of the command `rebaseline`: the records of one release and tier become its baseline."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from suite.__main__ import main
from suite.judge import staleness
from suite.store import read_records
from tests.commands.conftest import (
    PLAIN_CASE,
    TRACE,
    Fill,
    Output,
    write_locks,
    write_project,
)

COMMAND = ["rebaseline", "--release", "tf-2.21", "--tier", "small", "--reason", "to test"]
TARGET = Path("baselines/tf-2.21/small")


def test_rebaseline_makes_the_records_the_baseline(fill: Fill, capsys: Output) -> None:
    fill("records")
    fill("records", [0.0], case=TRACE)
    assert main(COMMAND) == 0
    output = capsys.readouterr().out
    assert output.startswith("First baseline: 2 cases, none before.\n")
    assert f"\nnew: {PLAIN_CASE}, {TRACE}\n{TARGET}: 6 records of 2 cases\n" in output
    assert "CHANGELOG.md" in output
    assert {record.case for record in read_records(TARGET)} == {PLAIN_CASE, TRACE}
    assert main(["compare"]) == 0


def test_rebaseline_names_the_cases_it_removed(fill: Fill, capsys: Output) -> None:
    fill("records")
    fill("baselines", case="vgg19")
    assert main(COMMAND) == 2
    assert main([*COMMAND, "--removed", "vgg19"]) == 0
    assert "removed: vgg19\n" in capsys.readouterr().out


def test_rebaseline_keeps_the_cases_without_records_where_it_is_told_to(
    fill: Fill, capsys: Output
) -> None:
    fill("records")
    fill("baselines", case="vgg19")
    before = sorted(path.read_bytes() for path in TARGET.glob("vgg19-*.json"))
    assert main([*COMMAND, "--keep"]) == 0
    assert sorted(path.read_bytes() for path in TARGET.glob("vgg19-*.json")) == before
    assert {record.case for record in read_records(TARGET)} == {PLAIN_CASE, "vgg19"}
    assert f"new: {PLAIN_CASE}\n" in capsys.readouterr().out


def test_rebaseline_names_the_cases_that_the_tier_has_and_the_baseline_lacks(
    fill: Fill, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill("records")
    asked = staleness.asked("small")
    monkeypatch.setattr(staleness, "asked", lambda _: {**asked, "vgg19": asked[PLAIN_CASE]})
    assert main(COMMAND) == 0
    assert "why in gaps.csv): vgg19\n" in capsys.readouterr().out


def test_rebaseline_of_too_few_seeds_is_an_error(fill: Fill, capsys: Output) -> None:
    fill("records", [0.8, 0.81])
    assert main(COMMAND) == 2
    assert "holds 2 seeds, expected at least 5" in capsys.readouterr().err
    assert not Path("baselines").exists()


def test_after_a_changed_pin_nothing_stale_becomes_a_baseline(fill: Fill, capsys: Output) -> None:
    fill("records")
    write_project(pin="numpy==1.9.0")
    write_locks(pin="numpy==1.9.0")
    assert main(COMMAND) == 2
    error = capsys.readouterr().err
    assert f"5 of 5 records in records/tf-2.21/small are stale, such as {PLAIN_CASE}-seed0" in error
    assert "the lock: sha256:" in error
    assert not Path("baselines").exists()


@pytest.mark.parametrize(
    ("environment", "what"),
    [
        ({"lock_digest": "sha256:9"}, "the lock: sha256:9, expected sha256:"),
        ({"code_digest": "sha256:9"}, "the code that measures: sha256:9, expected sha256:"),
        ({"data_digest": "sha256:9"}, "the data: sha256:9, expected sha256:"),
    ],
)
def test_one_record_of_another_lock_code_or_data_is_refused(
    fill: Fill, capsys: Output, environment: dict[str, Any], what: str
) -> None:
    fill("records", [0.8] * 6)
    fill("records")
    (Path("records/tf-2.21/small") / f"{PLAIN_CASE}-seed5.json").unlink()
    fill("records", [0.8], environment=environment)
    assert main(COMMAND) == 2
    error = capsys.readouterr().err
    assert f"1 of 5 records in records/tf-2.21/small are stale, such as {PLAIN_CASE}-seed0" in error
    assert what in error


def test_one_run_that_stands_for_five_seeds_is_refused(fill: Fill, capsys: Output) -> None:
    fill("records", [0.8] * 5)
    assert main(COMMAND) == 2
    assert f"case {PLAIN_CASE}: seed 1 has the very numbers of seed 0" in capsys.readouterr().err
    assert not Path("baselines").exists()


@pytest.mark.parametrize("name", ["../elsewhere", "/elsewhere", ".", "..", "", "tf-2.21/"])
def test_a_release_that_leaves_the_folder_is_refused(fill: Fill, capsys: Output, name: str) -> None:
    fill("records")
    shutil.copytree("records/tf-2.21", "elsewhere")
    assert main(["rebaseline", "--release", name, "--tier", "small"]) == 2
    assert "expected the folder of one release and tier there" in capsys.readouterr().err
    assert not Path("baselines").exists()
    assert sorted(path.name for path in Path("elsewhere").iterdir()) == ["small"]


@pytest.mark.parametrize("link", ["baselines/tf-2.21", "baselines/tf-2.21/small"])
def test_a_link_that_leads_out_of_the_baselines_is_refused(
    fill: Fill, capsys: Output, tmp_path: Path, link: str
) -> None:
    fill("records")
    elsewhere = tmp_path / "elsewhere" / "small"
    elsewhere.mkdir(parents=True)
    Path(link).parent.mkdir(parents=True)
    Path(link).symlink_to(elsewhere if link.endswith("small") else elsewhere.parent)
    assert main(COMMAND) == 2
    assert "and no link" in capsys.readouterr().err
    assert list(elsewhere.iterdir()) == []


def test_a_tier_that_there_is_not_is_refused(fill: Fill, capsys: Output) -> None:
    fill("records")
    with pytest.raises(SystemExit) as ended:
        main(["rebaseline", "--release", "tf-2.21", "--tier", "../small"])
    assert ended.value.code == 2
    assert "invalid choice: '../small'" in capsys.readouterr().err
