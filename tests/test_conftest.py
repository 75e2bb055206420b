"""Whole benchmark sessions in a process of their own, as nox starts them."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from suite.store import read_record, write_record
from tests.processes import UNLOADED, outside

ROOT = Path(__file__).parents[1]
CASE, OTHER = "attack-lenet5", "step-time-lenet5"  # seconds each
RECORD = Path("tf-2.21", "quickstart", f"{CASE}-seed0.json")

Session = Callable[..., "subprocess.CompletedProcess[str]"]


LOCK = ROOT / "locks" / "tf-2.21.txt"
START = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"


def arguments(records: Path, *extra: str, planted: str = "") -> list[str]:
    """Write the command of a run; what is `planted` runs before it in the same process."""
    options = ["--release", "tf-2.21", "--lock", str(LOCK), "--tier", "quickstart"]
    start = ["-c", f"{planted}\n{START}"] if planted else ["-m", "pytest"]
    command = [sys.executable, *start, *UNLOADED, "benchmarks", *options]
    return [*command, "--records", str(records), "-k", f"{CASE}-", *extra]


def run(
    records: Path, *extra: str, planted: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments(records, *extra, planted=planted),
        cwd=ROOT,
        env={**outside(), **environment},
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
    assert f"{folder / 'tf-2.21' / 'quickstart'} has the records, checks.txt" in finished.stdout
    assert "tf-2.21 does as expected: all 10 checks hold." in finished.stdout
    assert "FGSM on the model's own predictions, on LeNet-5" in finished.stdout
    table = (folder / RECORD.parent / "checks.txt").read_text()
    assert table.count("attack-lenet5 (seed 0)") == 10
    return folder


@pytest.fixture
def copied(records: Path, tmp_path: Path) -> Path:
    """Copy those records to where a test may add to them."""
    return Path(shutil.copytree(records, tmp_path / "copied"))


def test_a_finished_case_is_not_run_again(records: Path) -> None:
    before = (records / RECORD).stat().st_mtime_ns
    assert run(records).returncode == 0
    assert (records / RECORD).stat().st_mtime_ns == before


def test_a_case_whose_lock_changed_is_run_again_and_the_old_record_kept(
    copied: Path, tmp_path: Path
) -> None:
    old = read_record(copied / RECORD)
    other = tmp_path / LOCK.name
    other.write_text(f"{LOCK.read_text()}# resolved anew\n")
    assert run(copied, "--lock", str(other)).returncode == 0
    assert read_record(copied / RECORD).key != old.key
    kept = copied / RECORD.parent / "superseded" / f"{old.name}-{old.key[:8]}.json"
    assert kept.exists()
    assert run(copied).returncode == 0


def test_a_damaged_record_ends_the_session_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / RECORD
    path.parent.mkdir(parents=True)
    path.write_text('{"schema": 1')
    finished = run(tmp_path)
    assert finished.returncode == 2
    assert str(path) in finished.stdout
    assert path.read_text() == '{"schema": 1'


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="tf-2.21 is measured with 3.11")
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


def test_a_test_that_crashes_is_told_as_no_answer(copied: Path) -> None:
    planted = (
        "from suite.measure.questions import step_time\n"
        "def crash(*args, **options):\n"
        "    raise MemoryError('no space')\n"
        "step_time.fixed_training = crash\n"
    )
    finished = run(copied, "-k", f"{CASE}- or {OTHER}-", planted=planted)
    assert finished.returncode == 2
    assert "tf-2.21 is not fully judged: 10 checks hold; 1 test gave NO ANSWER" in finished.stdout
    assert "NO ANSWER benchmarks/test_step_time.py" in finished.stdout
    assert "MemoryError('no space')" in finished.stdout


LACKING = """
from suite.errors import FixError
from suite.measure import once
real = once.measure_once
def measure_once(case, seed, **more):
    if "step-time" in str(case):
        raise FixError("the fix is of a later release")
    return real(case, seed, **more)
once.measure_once = measure_once
"""


@pytest.mark.parametrize(("option", "status"), [("-v", 2), ("--partial", 0)])
def test_a_skipped_case_is_told_and_no_pass_unless_asked_for(
    option: str, status: int, copied: Path
) -> None:
    finished = run(copied, "-k", f"{CASE}- or {OTHER}-", option, planted=LACKING)
    assert finished.returncode == status
    assert "tf-2.21 is not fully judged: 10 checks hold; 1 test gave NO ANSWER" in finished.stdout
    assert re.search(r"NO ANSWER benchmarks\S+: .*the fix is of a later release", finished.stdout)


@pytest.mark.parametrize("option", ["-v", "--partial"])
def test_a_run_that_measures_nothing_is_no_pass(option: str, tmp_path: Path) -> None:
    finished = run(tmp_path, "-k", f"{OTHER}-", option, planted=LACKING)
    assert finished.returncode == 2
    assert "tf-2.21 is not judged: no case was measured, and none was found." in finished.stdout
    assert re.search(r"NO ANSWER benchmarks\S+: .*the fix is of a later release", finished.stdout)


@pytest.mark.parametrize("options", [("-k", "nothing_is_called_so"), ("--collect-only",)])
def test_a_run_of_no_test_is_no_pass(options: tuple[str, ...], tmp_path: Path) -> None:
    finished = run(tmp_path, "--partial", *options)
    assert finished.returncode == 2
    assert "tf-2.21 is not judged: no case was measured, and none was found." in finished.stdout


def test_a_failed_check_counts_where_another_gives_no_answer(copied: Path) -> None:
    record = read_record(copied / RECORD)
    (copied / RECORD).unlink()
    write_record(replace(record, metrics={**record.metrics, "linear_error": 0.5}), copied / RECORD)
    finished = run(copied, "-k", f"{CASE}- or {OTHER}-", planted=LACKING)
    assert finished.returncode == 1
    assert "linear_error is 0.5, expected 0 to 1e-06" in finished.stdout
    assert re.search(r"NO ANSWER benchmarks\S+: .*the fix is of a later release", finished.stdout)


def test_a_table_that_cannot_be_written_is_told_and_the_verdicts_count(copied: Path) -> None:
    table = copied / RECORD.parent / "checks.txt"
    table.unlink()
    (table / "in the way").mkdir(parents=True)
    finished = run(copied)
    assert finished.returncode == 0, finished.stdout
    [line] = [line for line in finished.stdout.splitlines() if line.startswith("NOT WRITTEN")]
    assert str(table) in line


def test_unknown_release_options_are_asked_for(tmp_path: Path) -> None:
    finished = run(tmp_path, "--release", "")
    assert finished.returncode != 0
    assert "nox -s quickstart" in finished.stderr


def test_a_failing_check_names_case_metric_value_and_band(tmp_path: Path) -> None:
    planted = (
        "from suite.measure.questions import attack\n"
        "real = attack.fgsm_by_hand\n"
        "attack.fgsm_by_hand = lambda *args: real(*args) + 0.005\n"
    )
    finished = run(tmp_path, planted=planted)
    assert finished.returncode == 1
    assert f"{CASE} (seed 0): linear_error is 0.005, expected 0 to 1e-06" in finished.stdout


def test_a_killed_session_leaves_nothing_half_written(tmp_path: Path) -> None:
    process = subprocess.Popen(
        arguments(tmp_path),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=outside(),
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / RECORD.parent).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run(tmp_path).returncode == 0
    assert read_record(tmp_path / RECORD).case == CASE


# Evidence that cannot lie


def refused(finished: subprocess.CompletedProcess[str], records: Path) -> str:
    """Return the line that a run was refused with, before it stored anything."""
    assert finished.returncode == 2, finished.stdout + finished.stderr
    assert list(records.rglob("*.json")) == []
    [line] = [line for line in finished.stdout.splitlines() if line.startswith("! ")]
    return line


def test_no_release_can_be_stored_as_another(tmp_path: Path) -> None:
    told = refused(run(tmp_path, "--release", "tf-2.15"), tmp_path)
    assert "tf-2.21.txt is not the lock of tf-2.15 in the quickstart tier, expected" in told


def test_a_lock_of_other_versions_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / LOCK.name
    lock.write_text(re.sub(r"(?m)^keras==\S+", "keras==3.14.0", LOCK.read_text()))
    told = refused(run(tmp_path, "--lock", str(lock)), tmp_path)
    assert re.search(r"does not hold what \S+ lists: keras \S+, expected 3\.14\.0\.", told)


def test_modules_beside_the_environment_are_refused(tmp_path: Path) -> None:
    for name in ("sitecustomize", "cleverhans", "planted"):
        (tmp_path / f"{name}.py").write_text("")
    told = refused(run(tmp_path, "-p", "planted", PYTHONPATH=str(tmp_path)), tmp_path)
    for name in ("sitecustomize", "cleverhans", "planted"):
        assert f"{name} from {tmp_path}/{name}.py" in told


def test_settings_that_keras_cannot_take_are_refused(tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text('{"floatx": "float8"}')
    (tmp_path / "records").mkdir()
    finished = run(tmp_path / "records", KERAS_HOME=str(tmp_path))
    assert "keras.json is no file of Keras' settings" in refused(finished, tmp_path / "records")


def test_other_variables_and_settings_of_keras_are_no_clean_run(
    records: Path, tmp_path: Path
) -> None:
    clean = read_record(records / RECORD)
    (tmp_path / "keras.json").write_text('{"floatx": "float32", "epsilon": 0.001}')
    finished = run(tmp_path, KERAS_HOME=str(tmp_path), TF_NUM_INTRAOP_THREADS="3")
    assert finished.returncode in (0, 1)
    other = read_record(tmp_path / RECORD)
    assert other.key != clean.key
    assert other.environment["keras"]["epsilon"] == 0.001
    assert other.environment["variables"]["TF_NUM_INTRAOP_THREADS"] == "3"


def test_pytest_ends_where_the_nox_that_started_it_is_gone(tmp_path: Path) -> None:
    assert run(tmp_path, SUITE_PARENT="1").returncode == -signal.SIGTERM
    assert not (tmp_path / RECORD).exists()
