"""Tests of the command `rebaseline`: the records of one release and tier become its baseline."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from suite import store as storing
from suite.__main__ import main
from suite.commands import rebaseline
from suite.judge import staleness
from suite.judge.history import FOUND, HISTORY, MEASURED, read_history
from suite.store import read_records
from tests.commands.conftest import (
    PLAIN_CASE,
    TRACE,
    VALUES,
    Fill,
    Output,
    write_locks,
    write_project,
)

SHOW = ["rebaseline", "--release", "tf-2.21", "--tier", "small"]
COMMAND = [*SHOW, "--reason", "to test"]
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


def test_rebaseline_names_the_cases_that_lose_seeds(fill: Fill, capsys: Output) -> None:
    fill("records", [0.90, 0.91, 0.92, 0.93, 0.94, 0.95])
    assert main(COMMAND) == 0
    Path("records/tf-2.21/small/lenet5-plain-seed5.json").unlink()
    capsys.readouterr()
    main(COMMAND)
    assert "with fewer seeds than before: lenet5-plain (6 -> 5)" in capsys.readouterr().out


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


def test_rebaseline_of_steps_and_draws_alone_says_so(
    fill: Fill, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = staleness.asked("small")
    more = {"random-lenet5": asked[PLAIN_CASE]}
    monkeypatch.setattr(staleness, "asked", lambda _: {**asked, **more})
    fill("records", [0.8], case="random-lenet5", settings=asked[PLAIN_CASE].settings())
    assert main(COMMAND) == 0
    assert "(measure them, or tell why in gaps.csv): all cases; " in capsys.readouterr().out


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


LOWER = [value - 0.3 for value in reversed(VALUES)]


def content(folder: Path = TARGET) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def fill_lower(fill: Fill) -> None:
    """Make a baseline by the command, then records that are worse by 30 points."""
    fill("records", wall_s=1.0)
    assert main(COMMAND) == 0
    shutil.rmtree("records")
    fill("records", LOWER, wall_s=2.0)


def test_a_first_baseline_begins_its_index(fill: Fill) -> None:
    fill("records")
    assert main([*SHOW, "--reason", 'the "first"\none: größer']) == 0
    (entry,) = read_history(TARGET)
    today = datetime.now(UTC).date().isoformat()
    assert (entry.how, entry.reason, entry.former) == (MEASURED, 'the "first" one: größer', "")
    assert entry.date <= today
    assert str(entry.cases[PLAIN_CASE]["clean_accuracy"]) == "0.81 ± 0.016 (5)"
    assert main(["compare"]) == 0


def test_without_a_reason_it_is_shown_and_nothing_is_written(fill: Fill, capsys: Output) -> None:
    fill("records", wall_s=1.0)
    fill("baselines", [v - 0.1 for v in VALUES], wall_s=2.0)
    before = content()
    assert main(SHOW) == 2
    told = capsys.readouterr()
    assert told.out.startswith("1 of 1 cases changes, none gets worse; the gate leaves 1 undecided")
    assert "better than chance allows" in told.out
    assert "0.71 ± 0.016 (5)   0.81 ± 0.016 (5)   +10 points" in told.out
    assert "--reason is missing, expected why the baseline changes" in told.err
    assert content() == before


def test_a_dry_run_only_shows(fill: Fill, capsys: Output) -> None:
    fill("records")
    assert main([*SHOW, "--dry-run"]) == 0
    assert "Nothing was written (--dry-run)" in capsys.readouterr().out
    assert not Path("baselines").exists()


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_what_the_gate_calls_worse_is_refused(fill: Fill, capsys: Output, more: list[str]) -> None:
    fill_lower(fill)
    before = content()
    capsys.readouterr()
    assert main([*COMMAND, *more]) == 1
    told = capsys.readouterr().out
    assert told.startswith(
        f"1 of 1 cases changes, 1 gets worse: {PLAIN_CASE}: clean_accuracy is 30 points lower ("
    )
    assert f"Refused: the gate calls {PLAIN_CASE} worse" in told
    assert f"--worse {PLAIN_CASE} --reason" in told
    assert content() == before


def test_what_is_worse_is_accepted_by_name_and_the_index_says_so(fill: Fill) -> None:
    fill_lower(fill)
    assert main([*SHOW, "--worse", PLAIN_CASE, "--reason", "it is meant"]) == 0
    former, entry = read_history(TARGET)
    assert (former.worse, entry.reason, entry.former) == ([], "it is meant", former.digest)
    assert entry.worse[0].startswith(f"{PLAIN_CASE}: clean_accuracy is 30 points lower (")
    assert [r.metrics["clean_accuracy"] for r in read_records(TARGET)] == LOWER
    assert str(former.cases[PLAIN_CASE]["clean_accuracy"]) == "0.81 ± 0.016 (5)"


def test_the_numbers_of_a_baseline_without_an_index_are_not_lost(fill: Fill) -> None:
    fill("baselines", wall_s=1.0)
    fill("records", [value + 0.1 for value in VALUES], wall_s=2.0)
    assert main(COMMAND) == 0
    found, entry = read_history(TARGET)
    assert (found.how, entry.how) == (FOUND, MEASURED)
    assert "neither its reason nor its day is known" in found.reason
    assert str(found.cases[PLAIN_CASE]["clean_accuracy"]) == "0.81 ± 0.016 (5)"


def test_the_baseline_itself_is_nothing_to_write(fill: Fill, capsys: Output) -> None:
    fill("records")
    assert main(COMMAND) == 0
    before = content()
    assert main(SHOW) == 0
    assert "0 of 1 cases change, none gets worse.\n" in capsys.readouterr().out
    assert content() == before


@pytest.mark.parametrize("option", ["--worse", "--removed"])
def test_a_case_that_is_none_is_an_error(fill: Fill, option: str, capsys: Output) -> None:
    fill_lower(fill)
    before = content()
    assert main([*COMMAND, option, "nonsense"]) == 2
    assert "--worse or --removed names nonsense, expected cases of" in capsys.readouterr().err
    assert content() == before


def test_a_baseline_that_was_edited_by_hand_is_an_error(fill: Fill, capsys: Output) -> None:
    fill_lower(fill)
    fill("baselines", [0.2])
    before = content()
    assert main(COMMAND) == 2
    assert "edited, merged or copied by hand" in capsys.readouterr().err
    assert content() == before
    assert main([*SHOW, "--index", "--reason", "a merge"]) == 0
    assert [entry.how for entry in read_history(TARGET)] == [MEASURED, FOUND]
    assert main([*COMMAND, "--dry-run"]) == 0


@pytest.mark.parametrize("text", [b"{", b"\xff\n", b"<<<<<<< HEAD\n", b"[]\n"])
def test_a_damaged_index_is_an_error(fill: Fill, capsys: Output, text: bytes) -> None:
    fill_lower(fill)
    (TARGET / HISTORY).write_bytes(text)
    before = content()
    for command in (COMMAND, [*COMMAND, "--index"]):
        assert main(command) == 2
        assert f"{HISTORY} is no index of a baseline: line 1: " in capsys.readouterr().err
    assert content() == before


def test_the_index_alone_can_be_written_with_its_day(fill: Fill, capsys: Output) -> None:
    fill("baselines")
    records = content()
    entered = [*SHOW, "--index", "--reason", "there was none", "--date", "2026-11-22"]
    assert main(entered) == 0
    (entry,) = read_history(TARGET)
    assert (entry.date, entry.how, entry.reason) == ("2026-11-22", FOUND, "there was none")
    assert {**content(), **records} == content()
    assert main(entered) == 0
    assert "tells of these records already: nothing to write" in capsys.readouterr().out
    assert len(read_history(TARGET)) == 1


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--index"], "--reason is missing"),
        (["--index", "--dry-run", "--reason", "x"], "give one of them"),
        (["--index", "--reason", "x", "--date", "today"], "'today' is no day"),
        (["--reason", "x", "--date", "2026-11-22"], "--date goes with --index alone"),
        (["--reason", " "], "--reason is empty"),
        (["--reason", "half \udcff"], "--reason is no text in UTF-8"),
    ],
)
def test_options_that_make_no_sense_are_errors(
    fill: Fill, capsys: Output, more: list[str], told: str
) -> None:
    fill("baselines")
    fill("records", wall_s=2.0)
    before = content()
    assert main([*SHOW, *more]) == 2
    assert told in capsys.readouterr().err
    assert content() == before


def test_an_index_without_a_baseline_is_refused(fill: Fill, capsys: Output) -> None:
    fill("records")
    assert main([*COMMAND, "--index"]) == 2
    assert "is missing, expected a baseline to enter into its index" in capsys.readouterr().err
    assert not Path("baselines").exists()


def test_a_release_without_a_row_is_refused(fill: Fill, capsys: Output) -> None:
    fill("records")
    assert main(["rebaseline", "--release", "tf-9", "--tier", "small", "--reason", "x"]) == 2
    told = "tf-9 is no row of the release table, expected one of tf-2.21, tf-2.15, "
    assert told in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_leaves_everything(
    fill: Fill, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_lower(fill)
    before = content()

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(storing, "_swap", refuse)
    assert main([*COMMAND, "--worse", PLAIN_CASE]) == 2
    assert "cannot be written: Permission denied" in capsys.readouterr().err
    assert content() == before
    assert [path.name for path in TARGET.parent.iterdir()] == ["small"]


def test_records_and_index_are_exchanged_in_one_rename(
    fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_lower(fill)
    swap, seen = storing._swap, []

    def spy(fresh: Path, folder: Path, retired: Path) -> None:
        seen.append((len(read_history(fresh)), len(read_history(folder))))
        swap(fresh, folder, retired)

    monkeypatch.setattr(storing, "_swap", spy)
    assert main([*COMMAND, "--worse", PLAIN_CASE]) == 0
    assert seen == [(2, 1)]
    assert len(read_history(TARGET)) == 2


def test_a_baseline_that_another_command_changed_meanwhile_is_left_alone(
    fill: Fill, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_lower(fill)
    judge = rebaseline.renewal

    def overtaken(*sides: Any) -> Any:
        fill("baselines", [0.7])
        return judge(*sides)

    monkeypatch.setattr(rebaseline, "renewal", overtaken)
    assert main([*COMMAND, "--worse", PLAIN_CASE]) == 2
    assert "another `rebaseline` was at work. Give the command again" in capsys.readouterr().err
    assert read_records(TARGET)[0].metrics == {"clean_accuracy": 0.7}
