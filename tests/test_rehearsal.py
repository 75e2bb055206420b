"""The full tier's cases of one network, on the CPU, as nox starts them: no GPU is needed for that.

`nox -s rehearsal -- ROW` runs those of all networks, which takes long, on any row of the CPU.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from suite.store import read_records
from suite.tables import asked
from tests.processes import outside

ROOT = Path(__file__).parents[1]
TIER = "full-rehearsal"
CHOSEN = "lenet5-intended-none or lenet5-plain or attack-lenet5-seed or step-time-lenet5-seed"
OPTIONS = ("--release", "tf-2.21", "--lock", str(ROOT / "locks" / "tf-2.21.txt"), "--tier", TIER)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="tf-2.21 is measured with 3.11")
def test_the_full_tiers_cases_of_a_network_run_on_the_cpu(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-W", "default", "benchmarks", *OPTIONS]
    done = subprocess.run(
        [*command, "--records", str(tmp_path), "-k", CHOSEN],
        cwd=ROOT,
        env=outside(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "tf-2.21" / TIER
    found = {record.case: record for record in read_records(folder)}
    assert set(found) == {name for name in asked(TIER) if "lenet5" in name and "float" not in name}
    assert len(found["lenet5-plain"].curves["step_loss"]) == 2 * (86 // 8)
    assert {record.question for record in found.values()} == {"training", "attack", "step-time"}
    assert list(folder.glob(".*.checkpoint")) == []
