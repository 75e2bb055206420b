"""Whole benchmark sessions in a process of their own, as nox starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from suite.store import read_record

ROOT = Path(__file__).parents[1]
CASE = "attack-lenet5"
RECORD = Path("tf-2.21", "quickstart", f"{CASE}-seed0.json")

Session = Callable[..., "subprocess.CompletedProcess[str]"]


def arguments(records: Path, *extra: str) -> list[str]:
    lock = ROOT / "locks" / "tf-2.21.txt"
    options = ["--release", "tf-2.21", "--lock", str(lock), "--tier", "quickstart"]
    command = [sys.executable, "-m", "pytest", "benchmarks", *options, "--records", str(records)]
    return [*command, "-k", f"{CASE}-", *extra]


def run(records: Path, *extra: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments(records, *extra),
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of records after one green session."""
    folder = tmp_path_factory.mktemp("records")
    finished = run(folder)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "SYNTHETIC SIGNS" in finished.stdout
    assert f"records: {folder / 'tf-2.21' / 'quickstart'}" in finished.stdout
    assert "tf-2.21 does as expected: all 10 checks hold." in finished.stdout
    assert "FGSM on the model's own predictions, on LeNet-5" in finished.stdout
    table = (folder / RECORD.parent / "checks.txt").read_text()
    assert table.count("attack-lenet5 (seed 0)") == 10
    return folder


def test_a_finished_case_is_not_run_again(records: Path) -> None:
    before = (records / RECORD).stat().st_mtime_ns
    assert run(records).returncode == 0
    assert (records / RECORD).stat().st_mtime_ns == before


def test_a_case_whose_lock_changed_is_run_again_and_the_old_record_kept(
    records: Path, tmp_path: Path
) -> None:
    old = read_record(records / RECORD)
    other = tmp_path / "other.txt"
    other.write_text("numpy==0\n")
    assert run(records, "--lock", str(other)).returncode == 0
    assert read_record(records / RECORD).key != old.key
    kept = records / RECORD.parent / "superseded" / f"{old.name}-{old.key[:8]}.json"
    assert kept.exists()
    assert run(records).returncode == 0


def test_a_damaged_record_ends_the_session_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / RECORD
    path.parent.mkdir(parents=True)
    path.write_text('{"schema": 1')
    finished = run(tmp_path)
    assert finished.returncode == 2
    assert str(path) in finished.stdout
    assert path.read_text() == '{"schema": 1'


def test_missing_data_ends_the_session_with_the_command_that_gets_it(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    finished = run(tmp_path, "--tier", "small", "--gtsrb-root", str(nowhere))
    assert finished.returncode == 2
    assert str(nowhere) in finished.stdout
    assert "nox -s data" in finished.stdout


@pytest.mark.parametrize(
    "named", ["benchmarks", "benchmarks/test_stall.py", "./benchmarks/test_attack.py"]
)
def test_benchmarks_without_a_release_are_refused_however_they_are_named(named: str) -> None:
    command = [sys.executable, "-m", "pytest", named, "--collect-only"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "benchmarks need --release and --lock" in done.stderr


def test_a_test_that_crashes_is_told_as_no_answer(tmp_path: Path) -> None:
    plugin = tmp_path / "planted.py"
    plugin.write_text(
        "from suite.measure.questions import attack\n"
        "def crash(*args, **options):\n"
        "    raise MemoryError('no space')\n"
        "attack.linear_errors = crash\n"
    )
    more = ["-p", "planted", "-k", f"{CASE}- or traps"]
    finished = run(tmp_path, *more, PYTHONPATH=str(tmp_path))
    assert finished.returncode == 1
    assert "tf-2.21 is not fully judged: 1 check holds; 1 test gave NO ANSWER" in finished.stdout
    assert "NO ANSWER benchmarks/test_attack.py" in finished.stdout
    assert "MemoryError('no space')" in finished.stdout


def test_unknown_release_options_are_asked_for(tmp_path: Path) -> None:
    finished = run(tmp_path, "--release", "")
    assert finished.returncode != 0
    assert "nox -s quickstart" in finished.stderr


def test_a_failing_check_names_case_metric_value_and_band(tmp_path: Path) -> None:
    plugin = tmp_path / "planted.py"
    plugin.write_text(
        "from suite.measure.questions import attack\n"
        "real = attack.fgsm_by_hand\n"
        "attack.fgsm_by_hand = lambda *args: real(*args) + 0.005\n"
    )
    finished = run(tmp_path, "-p", "planted", PYTHONPATH=str(tmp_path))
    assert finished.returncode == 1
    assert f"{CASE} (seed 0): linear_error is 0.005, expected 0 to 1e-06" in finished.stdout


def test_a_killed_session_leaves_nothing_half_written(tmp_path: Path) -> None:
    process = subprocess.Popen(
        arguments(tmp_path), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / RECORD.parent).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run(tmp_path).returncode == 0
    assert read_record(tmp_path / RECORD).case == CASE
