"""Tests of suite.commands.provenance: the commit a folder is at, and whether it is clean."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from suite.commands.provenance import provenance

FILE = "a-seed0.json"


def git(folder: Path, *arguments: str) -> str:
    """Run git with a name of its own."""
    names = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *names, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def baselines(tmp_path: Path) -> Path:
    """Return a folder with one file that is committed."""
    folder = tmp_path / "baselines"
    folder.mkdir()
    (folder / FILE).write_text("0.5")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "a baseline", "--date", "2024-05-01T12:00:00+00:00")
    return folder


def test_a_clean_folder_is_told_with_the_commit_that_changed_it_last(baselines: Path) -> None:
    commit = git(baselines, "rev-parse", "--short", "HEAD")
    (baselines.parent / "other").write_text("")
    git(baselines.parent, "add", ".")
    git(baselines.parent, "commit", "-qm", "something else")
    told = provenance(baselines)
    assert told.startswith(f"{baselines}: as committed (last changed by {commit} of 2")
    assert told.endswith("), clean")


def test_a_changed_a_new_an_ignored_and_a_removed_file_are_told(baselines: Path) -> None:
    (baselines / FILE).write_text("0.6")
    assert provenance(baselines).endswith(f" in baselines/{FILE}")
    assert ": NOT CLEAN, other than its commit (of " in provenance(baselines)
    (baselines / "b-seed0.json").write_text("")
    (baselines.parent / ".gitignore").write_text("c-*")
    (baselines / "c-seed0.json").write_text("")
    (baselines / FILE).unlink()
    told = provenance(baselines)
    assert all(f"baselines/{name}-seed0.json" in told for name in "abc")


def test_another_repository_that_variables_name_is_not_asked(
    baselines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (baselines / FILE).write_text("0.6")
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    (other / "baselines").mkdir()
    (other / "baselines" / FILE).write_text("0.6")
    git(other, "add", ".")
    git(other, "commit", "-qm", "forged")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert "NOT CLEAN" in provenance(baselines)


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_a_change_that_gits_index_is_told_to_overlook_is_told(baselines: Path, flag: str) -> None:
    git(baselines, "update-index", flag, FILE)
    status = (baselines / FILE).stat()
    (baselines / FILE).write_text("0.6")
    os.utime(baselines / FILE, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert git(baselines, "status", "--porcelain") == ""
    assert "NOT CLEAN" in provenance(baselines)


def test_what_only_another_commit_has_is_told(baselines: Path) -> None:
    (baselines / FILE).write_text("0.6")
    git(baselines, "add", ".")
    assert "NOT CLEAN" in provenance(baselines)


@pytest.mark.parametrize("made", [True, False])
def test_without_a_commit_it_cannot_be_told(tmp_path: Path, made: bool) -> None:
    folder = tmp_path / "baselines"
    if made:
        folder.mkdir()
    told = f"{folder}: no git commit holds it, so whether it was edited cannot be told"
    assert provenance(folder) == told


def test_a_folder_that_was_never_committed_cannot_be_told(baselines: Path) -> None:
    other = baselines.with_name("other")
    other.mkdir()
    (other / FILE).write_text("")
    assert "no git commit holds it" in provenance(other)


def test_without_git_it_cannot_be_told(baselines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "nowhere")
    assert "no git commit holds it" in provenance(baselines)


def test_many_changes_are_counted(baselines: Path) -> None:
    for number in range(9):
        (baselines / f"{number}.json").write_text("")
    assert provenance(baselines).endswith("baselines/2.json and 6 more")
