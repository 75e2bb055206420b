"""Real rows on a real cluster: two whose pins conflict, measured at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from suite.store import read_records
from tests.cluster.conftest import PROJECT, Nodes, leftovers, title

ROWS = ("tf-2.21", "tf-2.15")  # NumPy 2 and Keras 3 against NumPy 1 and Keras 2
CASE = "attack-lenet5"
NO_DATA = "GTSRB_ROOT names no folder: both rows measure GTSRB"


def running() -> set[str]:
    """Name the rows whose pytest runs at the moment."""
    lines = [line for line in map(title, Path("/proc").glob("[0-9]*")) if "suite-job-" in line]
    return {row for row in ROWS for line in lines if f"--release {row} " in line}


@pytest.mark.skipif("GTSRB_ROOT" not in os.environ, reason=NO_DATA)
def test_rows_that_conflict_are_measured_at_once(nodes: Nodes, tmp_path: Path) -> None:
    seen, ended = set[frozenset[str]](), threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            seen.add(frozenset(running()))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        done = subprocess.run(
            [
                sys.executable, "-m", "suite", "cluster", "--address", nodes.address,
                "--rows", ",".join(ROWS), "--cases", CASE, "--records", str(tmp_path),
            ],
            cwd=PROJECT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        ended.set()
        watching.join()
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    versions = {}
    for row in ROWS:
        (record,) = read_records(tmp_path / row / "small")
        versions[row] = record.environment["versions"]["numpy"]
    assert versions["tf-2.21"].startswith("2.")
    assert versions["tf-2.15"].startswith("1.")
    assert frozenset(ROWS) in seen, seen
    assert not leftovers()
    again = time.monotonic()
    subprocess.run(done.args, cwd=PROJECT, check=True, capture_output=True)
    assert time.monotonic() - again < 60  # nothing is measured twice
