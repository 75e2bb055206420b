"""GPUs are Ray's to give: a job of the full tier gets one, and no two jobs get the same."""

from __future__ import annotations

from pathlib import Path

from suite.store import read_records
from tests.cluster.conftest import Drive, Nodes

FULL = ("--tier", "full", "--rows", "tf-2.21", "--cases", "lenet5-plain,lenet5-intended-none")


def test_a_cluster_without_a_gpu_says_so_at_once(drive: Drive, tmp_path: Path) -> None:
    driver = drive(tmp_path, *FULL)
    said = driver.communicate(timeout=300)[0]
    assert driver.returncode == 2
    assert "no node of the cluster has 1 processors and a GPU, which a job takes" in said


def test_jobs_at_once_see_a_gpu_each(nodes: Nodes, drive: Drive, tmp_path: Path) -> None:
    nodes.add(num_cpus=2, num_gpus=2)  # Ray is told of them; there need be none
    driver = drive(tmp_path, *FULL, "--cpus", "1")
    said = driver.communicate(timeout=300)[0]
    assert driver.returncode == 0, said
    records = read_records(tmp_path / "tf-2.21" / "full")
    seen = [record.environment["variables"]["CUDA_VISIBLE_DEVICES"] for record in records]
    assert sorted(seen) == ["0", "1"]
