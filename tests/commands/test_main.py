"""Tests of the command line: which command runs, and what it loads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from suite import commands
from suite.__main__ import COMMANDS, main
from tests.commands.conftest import Fill, Output


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
    assert runnable == set(COMMANDS)


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
