"""A fresh clone measures its smallest real case on a cluster of this machine alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from suite.store import read_records
from tests.cluster.conftest import PROJECT

CASE = "attack-lenet5"


def test_a_fresh_clone_measures_on_this_machine(tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "-q", str(PROJECT), str(tmp_path / "clone")], check=True)
    command = [sys.executable, "-m", "nox", "-s", "cluster", "--", "--address", "local"]
    done = subprocess.run(
        [*command, "--tier", "quickstart", "--cases", CASE],
        cwd=tmp_path / "clone",
        env={**os.environ, "SUITE_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    (first,) = done.stdout.splitlines()
    assert first.startswith("1 of 1 records are there, 1 measured now in ")
    folder = tmp_path / "clone" / "records" / "tf-2.21" / "quickstart"
    (record,) = read_records(folder)
    assert record.case == CASE
