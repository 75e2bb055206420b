"""Tests of the command line: which command runs, and what it loads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from suite.records import Record

MakeRecord = Callable[..., Record]
Fill = Callable[..., None]
Output = pytest.CaptureFixture[str]


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
    done = subprocess.run(  # noqa: S603 - our own code
        command, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
