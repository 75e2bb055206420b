"""Tests of the command line: which command runs, and what it loads."""

from __future__ import annotations

import csv
import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from suite import commands
from suite.__main__ import COMMANDS, main
from suite.errors import RecordError
from tests.commands.conftest import Fill, Output

ROOT = Path(__file__).parents[2]


def test_the_command_line_loads_no_framework_and_ends_with_its_status(fill: Fill) -> None:
    del fill
    script = (
        "import runpy, sys\n"
        "sys.argv = ['suite', 'compare']\n"
        "try:\n"
        "    runpy.run_module('suite', run_name='__main__')\n"
        "finally:\n"
        "    assert not {'tensorflow', 'keras', 'cleverhans', 'torch', 'jax'} & set(sys.modules)\n"
    )
    home = Path(sys.modules["suite"].__path__[0]).parent
    command = [sys.executable, "-W", "error", "-c", script]
    environment = {**os.environ, "PYTHONPATH": str(home)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")


def test_every_command_is_a_module_with_a_main_and_no_other_has_one() -> None:
    sources = Path(commands.__path__[0]).glob("*.py")
    runnable = {path.stem for path in sources if "\ndef main(" in path.read_text(encoding="utf-8")}
    assert runnable == {name.replace("-", "_") for name in COMMANDS}


def test_the_help_says_what_each_command_does(capsys: Output) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    printed = capsys.readouterr().out
    assert all(f"  {name:<12}{what}\n" in printed for name, what in COMMANDS.items())


def test_an_option_belongs_to_its_command(capsys: Output) -> None:
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    assert "--against RELEASE" in capsys.readouterr().out


def test_an_unknown_command_is_refused(capsys: Output) -> None:
    with pytest.raises(SystemExit) as left:
        main(["judge"])
    assert left.value.code == 2
    assert "invalid choice: 'judge'" in capsys.readouterr().err


BUFFERED = {name: os.environ[name] for name in os.environ if name != "PYTHONUNBUFFERED"}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], int]], None]:
    """Put a function in the place of a command, `data`."""

    def planted(function: Callable[[], int]) -> None:
        module = ModuleType("suite.commands.data")
        vars(module)["main"] = lambda _: function()
        monkeypatch.setitem(sys.modules, module.__name__, module)

    return planted


def raising(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("a\nerror: b"), "Unforeseen: KeyError: 'a\\nerror: b' at "),
        (RuntimeError("\x1b[31m\n0 regressions."), "Unforeseen: RuntimeError: \\x1b[31m\\n0 reg"),
        (AssertionError(), "Unforeseen: AssertionError at "),
        (RecursionError("too deep"), "Unforeseen: RecursionError: too deep at "),
        (csv.Error("field larger"), "Unforeseen: Error: field larger at "),
        (MemoryError(), "Memory ran out (MemoryError). Give "),
        (ModuleNotFoundError("No module named 'rich'"), "pip install ."),
        (
            OSError(errno.EACCES, "Permission denied", "a\nb"),
            "a\\nb cannot be read or written: Perm",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "The output, or a file, cannot be"),
        (RecordError("a\rb"), "error: a\\rb"),
    ],
)
def test_whatever_ends_a_command_is_told_in_one_line_and_no_verdict(
    plant: Callable[[Callable[[], int]], None],
    capsys: Output,
    error: Exception,
    words: str,
) -> None:
    plant(raising(error))
    assert main(["data"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert words in printed.err
    assert printed.err.rstrip("\n").isprintable()
    assert ("report it with the output of --debug" in printed.err) == ("Unforeseen" in words)


@pytest.mark.parametrize("arguments", [["--debug", "data"], ["data", "--debug"]])
def test_the_traceback_is_shown_where_it_is_wanted(
    plant: Callable[[Callable[[], int]], None], capsys: Output, arguments: list[str]
) -> None:
    plant(raising(ValueError("a\x1b[2Jb\nVerdict: fine")))
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "raise error" in "\n".join(lines)
    assert all(line.isprintable() for line in lines)
    assert lines[-1].startswith("error: Unforeseen: ValueError: a\\x1b[2Jb\\nVerdict: fine at ")


def test_an_interrupted_command_ends_with_130(
    plant: Callable[[Callable[[], int]], None], capsys: Output
) -> None:
    plant(raising(KeyboardInterrupt()))
    assert main(["data"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def run() -> Run:
    """Return a function that runs a command which prints 0 and much of ± in a shell's line."""

    def ran(shell: str, **environment: str) -> subprocess.CompletedProcess[str]:
        script = (
            "import sys, types\n"
            "command = types.ModuleType('suite.commands.data')\n"
            "def main(arguments):\n"
            "    print('\\u00b1 \\udcff \\u4e00\\n' * int(arguments[0]))\n"
            "    return 0\n"
            "command.main = main\n"
            "sys.modules[command.__name__] = command\n"
            "from suite.__main__ import main\n"
            "sys.exit(main(['data', sys.argv[1]]))\n"
        )
        home = Path(sys.modules["suite"].__path__[0]).parent
        return subprocess.run(
            ["/bin/bash", "-c", shell, "bash", sys.executable, "-c", script],
            env={**BUFFERED, "PYTHONPATH": str(home), **environment},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    return ran


@pytest.mark.parametrize("count", ["1", "100000"])  # within a buffer, and beyond
def test_output_that_nobody_reads_is_quiet_and_no_verdict(run: Run, count: str) -> None:
    done = run(f'("$@" {count}; echo $? >&2) | (exec <&-; sleep 3)')
    assert done.stderr == "2\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
@pytest.mark.parametrize("count", ["1", "100000"])
def test_output_that_cannot_be_written_is_an_error(run: Run, count: str) -> None:
    done = run(f'"$@" {count} > /dev/full')
    assert done.returncode == 2
    assert done.stderr == (
        "error: The output, or a file, cannot be read or written: No space left on device. Make "
        "room or give access, or name another place.\n"
    )
    assert run(f'"$@" {count} > /dev/full 2> /dev/full').returncode == 2
    assert run(f'"$@" {count} > /dev/full 2>&-').returncode == 2


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
)
def test_a_terminal_without_the_characters_shows_others(
    run: Run, environment: dict[str, str]
) -> None:
    done = run('"$@" 1', **environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "? ? ?\n\n", "")


def test_a_closed_output_is_as_good_as_none(run: Run) -> None:
    done = run('"$@" 1 >&- 2>&-')
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
def test_help_that_cannot_be_written_is_an_error() -> None:
    home = Path(sys.modules["suite"].__path__[0]).parent
    command = [sys.executable, "-m", "suite", "--help"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, cwd=home, env=BUFFERED, stdout=full, stderr=subprocess.PIPE, text=True,
            check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def found(*versions: str) -> list[str]:
    """List the Pythons of some versions that can be started; pyenv has names of others, too."""
    paths = filter(None, (shutil.which(f"python{version}") for version in versions))
    return [
        path
        for path in paths
        if not subprocess.run([path, "-c", ""], check=False, capture_output=True).returncode
    ]


BARE = [sys.executable, *found("3.7", "3.8", "3.13")]


@pytest.mark.parametrize("python", BARE)
@pytest.mark.parametrize("options", [[], ["--debug"]])
def test_a_bare_python_is_told_what_it_lacks(python: str, options: list[str]) -> None:
    command = [python, "-S", "-m", "suite", "compare", *options]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    said = done.stderr.splitlines()
    assert re.match(r"error: .*No module named .* Run this through nox, or install", said[-1])
    assert len(said) == 1 or options


TABLES = {
    "nothing": "",
    "no table": "tool = 3",
    "no rows": '[tool.suite]\ndefault = "tf-2.21"\n',
    "rows that are none": '[tool.suite]\ndefault = "tf-2.21"\nreleases = ["tf-2.21"]\n',
    "no default": '[tool.suite]\nreleases = [{name = "tf-2.21"}]\n',
    "no name": '[tool.suite]\ndefault = "tf-2.21"\nreleases = [{python = "3.11"}]\n',
}


@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES.keys())
@pytest.mark.parametrize("command", ["compare", "parity", "matrix", "results", "fix-table"])
def test_a_project_without_its_table_is_an_error_of_ours(
    command: str, text: str, fill: Fill, capsys: Output
) -> None:
    fill("records")
    Path("pyproject.toml").write_text(text)
    assert main([command, *(["--table"] if command == "matrix" else [])]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: pyproject.toml")
    assert "Unforeseen" not in line


def test_a_project_without_groups_has_locks_of_its_rows(fill: Fill, capsys: Output) -> None:
    fill("records")
    assert main(["lock", "--check"]) in (0, 1)
    assert "Unforeseen" not in capsys.readouterr().err
