"""Workers, nodes and drivers that are killed at random moments: what was asked for is there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from suite.store import read_records
from tests.cluster.conftest import Drive, Nodes, leftovers, wait_until

ROWS, CASES, SEEDS = ("tf-2.21", "tf-2.15"), ("lenet5-plain", "parity-lenet5-plain"), (0, 1)
ASKED = ("--rows", ",".join(ROWS), "--cases", "lenet5-plain", "--seeds", "0,1")
KILLS = 20
DONE_S = 900.0
LATEST_S = 6.0  # after the first job began


def whole(records: Path) -> None:
    """Every record is there once, can be read as a whole, and nothing else lies beside it."""
    for row in ROWS:
        found = [record.name for record in read_records(records / row / "small")]
        assert found == sorted(f"{case}-seed{seed}" for case in CASES for seed in SEEDS)
        assert not (records / row / "small" / "superseded").exists()
        assert not [*records.rglob("*.tmp")]


@pytest.mark.parametrize("attempt", range(KILLS))
def test_nothing_is_lost_double_or_half(
    attempt: int, nodes: Nodes, drive: Drive, tmp_path: Path
) -> None:
    draw = random.Random()
    driver = drive(tmp_path, *ASKED)
    wait_until(lambda: nodes.jobs() or driver.poll() is not None)
    time.sleep(draw.uniform(0, LATEST_S))
    KILLERS[attempt % len(KILLERS)](nodes, driver, draw)
    said = driver.communicate(timeout=DONE_S)[0]
    if driver.returncode == -signal.SIGKILL:
        wait_until(lambda: not leftovers())
        driver = drive(tmp_path, *ASKED)
        said = driver.communicate(timeout=DONE_S)[0]
    assert driver.returncode == 0, said
    assert "8 of 8 records are there" in said
    whole(tmp_path)
    wait_until(lambda: not leftovers())


def kill_worker(nodes: Nodes, _: subprocess.Popen[str], draw: random.Random) -> None:
    for worker in nodes.jobs()[: draw.choice((1, 2))]:
        os.kill(worker, signal.SIGKILL)


def kill_node(nodes: Nodes, _: subprocess.Popen[str], draw: random.Random) -> None:
    nodes.kill(draw.choice(nodes.live))
    nodes.add()


def kill_driver(_: Nodes, driver: subprocess.Popen[str], __: random.Random) -> None:
    driver.kill()


KILLERS = (kill_worker, kill_node, kill_driver)
