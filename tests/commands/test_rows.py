"""Tests of suite.commands.rows: the matrix of a workflow, from the release table alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from suite.__main__ import main as command_line
from suite.commands import rows
from suite.commands.rows import main
from suite.releases import WATCHED, read_releases
from tests.commands.conftest import NIGHTLY, ROWS, Output, write_locks, write_project

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a project with locks, of which one row has a stored baseline, committed.

    Another row's has its draws alone.
    """
    monkeypatch.chdir(tmp_path)
    write_project()
    write_locks()
    for row, case in (("tf-2.15", "lenet5-plain"), ("tf-2.16", "random-lenet5")):
        Path("baselines", row, "small").mkdir(parents=True)
        Path("baselines", row, "small", f"{case}-seed0.json").touch()
    git("init", "--quiet")
    git("add", ".")
    git("-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "-m", "first")
    return tmp_path


def git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True)  # noqa: S607 - whichever there is


def matrix(capsys: Output, *options: str) -> list[dict[str, Any]]:
    assert main(["--json", *options]) == 0
    entries: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["include"]
    return entries


def names(capsys: Output, *options: str) -> list[str]:
    return [entry["row"] for entry in matrix(capsys, *options)]


@pytest.mark.usefixtures("project")
def test_the_matrix_has_every_pinned_row_and_the_baseline_that_judges_it(capsys: Output) -> None:
    found = {entry["row"]: entry["baseline"] for entry in matrix(capsys)}
    assert found == {**dict.fromkeys(ROWS, "stored:tf-2.21"), "tf-2.15": "stored"}


@pytest.mark.usefixtures("project")
def test_the_nightly_row_is_asked_for_by_itself_and_has_no_lock(capsys: Output) -> None:
    (found,) = matrix(capsys, "--unpinned")
    assert (found["row"], found["environment"]) == (NIGHTLY, "")


@pytest.mark.usefixtures("project")
def test_an_environment_is_cached_by_its_lock(capsys: Output) -> None:
    before = matrix(capsys)
    path = Path("locks", "tf-2.16.txt")
    path.write_text(path.read_text() + "# changed\n")
    after = matrix(capsys)
    assert [new["row"] for old, new in zip(before, after) if old != new] == ["tf-2.16"]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("name", ["measuring_digest", "probing_digest"])
def test_records_are_cached_by_the_code_that_measures_and_that_probes(
    capsys: Output, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = {entry["code"] for entry in matrix(capsys)}
    monkeypatch.setattr(rows, name, lambda: "sha256:0")
    after = {entry["code"] for entry in matrix(capsys)}
    assert (len(before), len(after), before & after) == (1, 1, set())


@pytest.mark.usefixtures("project")
def test_a_pull_request_gates_the_rows_whose_lock_it_changes_else_the_default(
    capsys: Output,
) -> None:
    assert names(capsys, "--changed-from", "HEAD") == ["tf-2.21"]
    for name in ("tf-2.16", "tf-1.14", "tf-2.21-gpu"):  # that of a GPU gates nothing
        Path("locks", f"{name}.txt").write_text("new\n")
    assert names(capsys, "--changed-from", "HEAD") == ["tf-2.16", "tf-1.14"]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("commit", ["0" * 40, "--output=stolen", "no such"])
def test_a_commit_that_git_does_not_have_is_told(capsys: Output, commit: str) -> None:
    assert command_line(["rows", f"--changed-from={commit}"]) == 2
    assert "fetch-depth: 2" in capsys.readouterr().err
    assert not Path("stolen").exists()


@pytest.mark.usefixtures("project")
def test_a_watched_version_that_is_raised_is_gated_until_it_has_a_row(capsys: Output) -> None:
    WATCHED.parent.mkdir(parents=True)
    WATCHED.write_text("keras==1\nnumpy==2.0.0\n")  # of which the rows have the second
    git("add", ".")
    (found,) = matrix(capsys, "--changed-from", "HEAD")
    assert (found["row"], found["baseline"]) == ("keras==1", "stored:tf-2.21")
    assert found["environment"] == ""
    Path("locks", "tf-2.16.txt").write_text("new\n")  # beside it
    assert [row["row"] for row in matrix(capsys, "--changed-from", "HEAD")] == [
        "tf-2.16",
        "keras==1",
    ]


@pytest.mark.usefixtures("project")
def test_rows_are_named_and_others_refused(capsys: Output) -> None:
    assert names(capsys, "--rows", "tf-2.15,tf-nightly") == ["tf-2.15", NIGHTLY]
    assert command_line(["rows", "--rows", "tf-9"]) == 2
    assert "tf-9 is no row of the release table" in capsys.readouterr().err


def test_the_table_of_this_project_is_listed_with_nothing_installed() -> None:
    command = [sys.executable, "-S", "-m", "suite", "rows", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)["include"]
    pinned = [row.name for row in read_releases(ROOT / "pyproject.toml") if not row.unpinned]
    assert [entry["row"] for entry in found] == pinned
    assert {entry["baseline"] for entry in found if entry["row"] in ("tf-2.21", "tf-2.15")} == {
        "stored"
    }
    assert all(entry["environment"] for entry in found)
