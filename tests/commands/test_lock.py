"""Tests of suite.commands.lock: a stale lock is named, an impossible row stops no other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from suite.__main__ import main as command_line
from suite.commands.lock import main
from suite.locks import group_locks

ROOT = Path(__file__).parents[2]
PROJECT = """
[project]
dependencies = ["numpy"]
[dependency-groups]
tools = ["nox"]
check = ["torch==2.0+cpu"]
[tool.uv]
[tool.suite]
default = "good"
[[tool.suite.releases]]
name = "good"
python = "3.11"
pins = ["keras==3.15.1"]
reason = "to test"
[[tool.suite.releases]]
name = "other"
python = "3.12"
pins = ["keras==3.14.0"]
reason = "to test"
[[tool.suite.releases]]
name = "nightly"
python = "3.12"
pins = ["keras-nightly"]
reason = "to test"
unpinned = true
[[tool.suite.gpu-releases]]
name = "good"
python = "3.11"
pins = ["keras==3.15.1"]
reason = "to test"
"""
UV = """#!{python}
import pathlib, sys
arguments = sys.argv[1:]
pins = pathlib.Path(arguments[3]).read_text()
if "==9.9" in pins:
    sys.exit("  \\u00d7 No solution found\\n  \\u2570 Because there is no version of keras==9.9")
output = pathlib.Path(arguments[arguments.index("--output-file") + 1])
kept = [line for line in output.read_text().splitlines() if line.startswith("numpy")] \\
    if output.exists() else ["numpy==2.0"]
output.write_text("\\n".join(["# made by uv", pins, *kept]) + "\\n")
"""

Output = pytest.CaptureFixture[str]
Change = Callable[[str, str], None]


@pytest.fixture
def change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Change:
    """Return a function that edits pyproject.toml; a fake uv and the locks lie beside it."""
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text(PROJECT)
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(UV.format(python=sys.executable), encoding="utf-8")
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{uv.parent}{os.pathsep}{os.environ['PATH']}")
    assert main([]) == 0

    def edit(old: str, new: str) -> None:
        text = Path("pyproject.toml").read_text()
        assert old in text
        Path("pyproject.toml").write_text(text.replace(old, new))

    return edit


def contents() -> dict[str, str]:
    return {path.name: path.read_text() for path in Path("locks").iterdir()}


@pytest.mark.usefixtures("change")
def test_every_pinned_row_and_dependency_group_gets_a_lock_that_is_fresh(capsys: Output) -> None:
    assert set(contents()) == {f"{name}.txt" for name in ALL}
    assert main(["good"]) == 0
    assert "locks/good.txt: 2 packages" in capsys.readouterr().out
    assert main(["--check"]) == 0
    assert capsys.readouterr().err == ""


ALL = {"good", "good-gpu", "other", "tools", "check"}


@pytest.mark.parametrize(
    ("old", "new", "stale"),
    [
        ('python = "3.12"\npins = ["keras==', 'python = "3.13"\npins = ["keras==', {"other"}),
        ("keras==3.14.0", "keras==3.14.1", {"other"}),
        ('dependencies = ["numpy"]', 'dependencies = ["numpy", "rich"]', ALL),
        ("[tool.uv]", '[[tool.uv.dependency-metadata]]\nname = "keras"', ALL),
        ('tools = ["nox"]', 'tools = ["nox", "ruff"]', {"tools"}),
    ],
)
def test_a_lock_whose_inputs_changed_is_named(
    change: Change, capsys: Output, old: str, new: str, stale: set[str]
) -> None:
    before = contents()
    change(old, new)
    assert main(["--check"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert {line.split()[1] for line in errors} == {f"locks/{name}.txt" for name in stale}
    assert all("is stale" in line for line in errors)
    assert contents() == before


def test_a_stale_lock_tells_what_would_change(change: Change, capsys: Output) -> None:
    change("keras==3.14.0", "keras==3.14.1")
    main(["--check"])
    error = capsys.readouterr().err
    assert "; would change keras 3.14.0 -> 3.14.1. Run `nox -s lock -- other`" in error


@pytest.mark.usefixtures("change")
def test_a_missing_lock_is_named(capsys: Output) -> None:
    Path("locks/other.txt").unlink()
    assert main(["--check"]) == 1
    assert capsys.readouterr().err == (
        "error: locks/other.txt is missing. Run `nox -s lock -- other`\n"
    )
    assert not Path("locks/other.txt").exists()


@pytest.mark.usefixtures("change")
@pytest.mark.parametrize(("old", "new"), [("numpy==2.0", "numpy==1.0"), ("# made", "# Made")])
def test_a_hand_edited_lock_is_named(capsys: Output, old: str, new: str) -> None:
    path = Path("locks/good-gpu.txt")
    path.write_text(path.read_text().replace(old, new))
    assert main(["--check"]) == 1
    assert "error: locks/good-gpu.txt was edited by hand" in capsys.readouterr().err


@pytest.mark.usefixtures("change")
def test_a_lock_that_no_session_made_is_named(capsys: Output) -> None:
    Path("locks/good.txt").write_text("keras==3.15.1\n")
    assert main(["--check", "good"]) == 1
    assert "locks/good.txt has no header of `nox -s lock`" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_without_uv_a_lock_cannot_be_made_and_the_error_says_how_to_get_it(
    change: Change, capsys: Output, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    change("keras==3.14.0", "keras==3.14.1")
    monkeypatch.setenv("PATH", "nowhere")
    assert main([*arguments, "other"]) == (1 if arguments else 2)
    error = capsys.readouterr().err
    assert "uv is missing, which resolves the locks: install it with `pip install uv`" in error
    assert ("locks/other.txt is stale" in error) == bool(arguments)


def test_a_lock_of_no_row_is_named(change: Change, capsys: Output) -> None:
    change('name = "other"', 'name = "another"')
    assert main(["--check"]) == 1
    assert "locks/other.txt belongs to no row of the release table" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_an_impossible_row_gives_its_reason_and_stops_no_other(
    change: Change, capsys: Output, arguments: list[str]
) -> None:
    change('"3.11"\npins = ["keras==3.15.1"]', '"3.11"\npins = ["keras==9.9"]')
    Path("locks/other.txt").unlink()
    before = contents()
    assert main(arguments) == (1 if arguments else 2)
    error = capsys.readouterr().err
    reason = "good cannot be resolved: No solution found Because there is no version of keras==9.9"
    assert reason in error
    assert ("locks/other.txt is missing" in error) == bool(arguments)
    assert Path("locks/other.txt").exists() == (not arguments)
    assert contents()["good.txt"] == before["good.txt"]


def test_one_row_is_locked_alone_with_its_gpu_row(change: Change, capsys: Output) -> None:
    change("numpy", "scipy")
    capsys.readouterr()
    assert main(["good"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["locks/good.txt", "locks/good-gpu.txt"]


def test_a_group_with_a_build_of_its_own_looks_where_the_rows_find_theirs(change: Change) -> None:
    change('name = "other"', 'find-links = "https://wheels"\nname = "other"')
    found = {group.name: (group.find_links, group.constraint) for group in group_locks()}
    assert found == {"tools": ("", "good"), "check": ("https://wheels", "good")}


@pytest.mark.usefixtures("change")
def test_an_unpinned_row_is_locked_only_when_named() -> None:
    assert "nightly.txt" not in contents()
    assert main(["--upgrade", "nightly"]) == 0
    assert "keras-nightly" in contents()["nightly.txt"]
    assert main(["--check"]) == 0


@pytest.mark.usefixtures("change")
def test_an_unknown_row_is_an_error_that_lists_the_rows(capsys: Output) -> None:
    assert command_line(["lock", "tf-7"]) == 2
    message = (
        "error: tf-7 is no row of the release table, which has good, other, nightly, tools, check."
    )
    assert capsys.readouterr().err == f"{message}\n"


@pytest.mark.usefixtures("change")
def test_versions_that_still_fit_are_kept_unless_upgraded() -> None:
    path = Path("locks/good.txt")
    path.write_text(path.read_text().replace("numpy==2.0", "numpy==1.0"))
    main(["good"])
    assert "numpy==1.0" in path.read_text()
    main(["good", "--upgrade"])
    assert "numpy==2.0" in path.read_text()


def test_locks_are_checked_with_nothing_installed_but_python(tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from suite.__main__ import main; "
    code += "assert not any('site-packages' in path for path in sys.path); sys.exit(main())"
    command = [sys.executable, "-I", "-S", "-c", code, "lock", "--check"]
    folders = [ROOT / "locks", ROOT / "pyproject.toml"]
    for path in folders:
        (tmp_path / path.name).symlink_to(path)
    done = subprocess.run(
        command, cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
