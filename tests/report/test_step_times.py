"""Tests of suite.report.step_times: pytest-benchmark itself reads what is written."""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from suite.errors import RecordError
from suite.records import Record
from suite.report.step_times import BENCHMARK, write_benchmark_json
from suite.store import record_path, store
from suite.tables import table
from tests.processes import UNLOADED, outside

ROOT = Path(__file__).parents[2]
PLAIN_S = [0.1, 0.3, 0.2, 0.5]
ADVERSARIAL_S = [0.4, 0.8, 0.6]


@pytest.fixture
def folder(tmp_path: Path, make_record: Callable[..., Record]) -> Path:
    """Return a folder with one step-time record and another of training."""
    times = {"plain_step_s": PLAIN_S, "adversarial_step_s": ADVERSARIAL_S}
    store(make_record("step-time-vgg19", question="step-time", curves=times), tmp_path)
    trained = {"step_s": [9.0], "step_loss": [1.0]}
    store(make_record("vgg19-plain", question="training", curves=trained), tmp_path)
    return record_path(tmp_path, release="tf-2.21", tier="small", case="x", seed=0).parent


def test_each_series_is_an_entry_with_pytest_benchmarks_statistics(folder: Path) -> None:
    path = write_benchmark_json(folder)
    assert path is not None
    content = json.loads(path.read_text())
    entries = {entry["params"]["loss"]: entry for entry in content["benchmarks"]}
    assert set(entries) == {"plain", "adversarial"}
    for loss, times_s in (("plain", PLAIN_S), ("adversarial", ADVERSARIAL_S)):
        found = entries[loss]["stats"]
        assert found["data"] == times_s
        assert found["rounds"] == len(times_s)
        assert found["median"] == pytest.approx(statistics.median(times_s))
        assert found["mean"] == pytest.approx(statistics.mean(times_s))
        assert found["stddev"] == pytest.approx(statistics.stdev(times_s))
        assert (found["min"], found["max"]) == (min(times_s), max(times_s))
        assert entries[loss]["stats"]["data"] == times_s
    assert content["machine_info"]["fingerprint"] == "machine-a"


def test_pytest_benchmarks_own_compare_puts_two_runs_side_by_side(
    folder: Path, tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    slower = {"plain_step_s": [0.2, 0.3], "adversarial_step_s": [0.5, 0.9]}
    record = make_record("step-time-vgg19", question="step-time", curves=slower)
    store(record, tmp_path / "other")
    other = tmp_path / "other" / folder.relative_to(tmp_path)
    files = [str(write_benchmark_json(each)) for each in (folder, other)]
    command = [sys.executable, "-m", "pytest_benchmark", "compare", "--group-by=fullname", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    told = done.stdout + done.stderr
    for param in ("step-time-vgg19-seed0", "step-time-vgg19-seed0-plain"):
        name = f"{'::'.join(BENCHMARK)}[{param}]"
        assert f"benchmark '{name}': 2 tests" in told


def test_the_timed_series_lies_under_the_node_id_of_its_test(
    tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    options = ["--release", "tf-2.21", "--lock", "locks/tf-2.21.txt", "--tier", "small"]
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "benchmarks", *options]
    done = subprocess.run(  # noqa: S603
        [*command, "-k", "step_time", "--seeds", "0,1"],
        cwd=ROOT, env=outside(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    collected = {line for line in done.stdout.splitlines() if "::" in line}
    cases = {str(case) for name in ("step-time", "full-size") for case in table(name, tier="small")}
    for case, seed in itertools.product(cases, (0, 1)):
        times = {"plain_step_s": PLAIN_S, "adversarial_step_s": ADVERSARIAL_S}
        store(make_record(case, seed=seed, question="step-time", curves=times), tmp_path)
    path = write_benchmark_json(tmp_path / "tf-2.21" / "small")
    assert path is not None
    entries = json.loads(path.read_text())["benchmarks"]
    timed = {each["fullname"] for each in entries if each["params"]["loss"] == "adversarial"}
    assert timed == collected


def test_writing_again_replaces_the_file_and_leaves_no_other(folder: Path) -> None:
    first = write_benchmark_json(folder)
    assert write_benchmark_json(folder) == first
    assert first is not None
    assert [path.name for path in first.parent.iterdir()] == [first.name]


def test_without_step_times_nothing_is_written(
    tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    store(make_record("vgg19-plain", question="training"), tmp_path)
    folder = tmp_path / "tf-2.21" / "small"
    assert write_benchmark_json(folder) is None
    assert not (folder / "timing").exists()


def test_a_damaged_record_is_an_error(folder: Path) -> None:
    [path, *_] = folder.glob("step-time*.json")
    path.write_text(path.read_text()[:100])
    with pytest.raises(RecordError, match=path.name):
        write_benchmark_json(folder)


def session(records: Path, *more: str) -> str:
    """Time the steps of LeNet-5 on drawn signs in a session of its own; return what it says."""
    where = ["--release", "tf-2.21", "--lock", "locks/tf-2.21.txt", "--records", str(records)]
    chosen = ["--tier", "quickstart", "-k", "step-time-lenet5 or attack-lenet5"]
    command = [sys.executable, "-m", "pytest", *UNLOADED, "benchmarks", *where, *chosen, "-rs"]
    done = subprocess.run(  # noqa: S603
        [*command, *more], cwd=ROOT, env=outside(), capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Time steps alone, of what could also be attacked; return the folder of records."""
    records = tmp_path_factory.mktemp("first")
    assert "1 passed, 1 skipped" in session(records, "--benchmark-only")
    return records


def test_pytest_benchmarks_options_work_on_the_step_times(first: Path, tmp_path: Path) -> None:
    stored = first / "tf-2.21" / "quickstart" / "timing" / "step-times.json"
    again = session(tmp_path, f"--benchmark-compare={stored}", "-k", "step-time-lenet5")
    assert "benchmark 'step-time-lenet5': 2 tests" in again
    assert "[step-time-lenet5-seed0] (NOW)" in again
    assert "machine_info is different" not in again
    assert "1 passed" in again


def test_no_step_is_timed_without_a_timer(tmp_path: Path) -> None:
    disabled = session(tmp_path, "--benchmark-disable", "-k", "step-time-lenet5")
    assert "no step is timed: pytest-benchmark is disabled" in disabled
    assert "1 skipped" in disabled


def test_a_case_that_has_its_record_is_not_timed(first: Path) -> None:
    found = session(first, "-k", "step-time-lenet5")
    assert "1 passed" in found  # pytest-benchmark's warning of an unused fixture is an error here
    assert "Benchmark fixture was not used" not in found
    assert "Rounds" not in found
