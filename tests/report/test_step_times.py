"""Tests of suite.report.step_times: pytest-benchmark itself reads what is written."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from suite.errors import RecordError
from suite.records import Record
from suite.report.step_times import write_benchmark_json
from suite.store import record_path, store

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
    entries = {entry["param"]: entry for entry in content["benchmarks"]}
    assert set(entries) == {"plain", "adversarial"}
    for loss, times_s in (("plain", PLAIN_S), ("adversarial", ADVERSARIAL_S)):
        found = entries[loss]["stats"]
        assert found["data"] == times_s
        assert found["rounds"] == len(times_s)
        assert found["median"] == pytest.approx(statistics.median(times_s))
        assert found["mean"] == pytest.approx(statistics.mean(times_s))
        assert found["stddev"] == pytest.approx(statistics.stdev(times_s))
        assert (found["min"], found["max"]) == (min(times_s), max(times_s))
        assert entries[loss]["name"] == f"step-time-vgg19-seed0[{loss}]"
    assert content["machine_info"]["fingerprint"] == "machine-a"


def test_pytest_benchmarks_own_compare_reads_both_series(folder: Path) -> None:
    path = write_benchmark_json(folder)
    command = [sys.executable, "-m", "pytest_benchmark", "compare", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    told = done.stdout + done.stderr
    for loss in ("plain", "adversarial"):
        assert f"step-time-vgg19-seed0[{loss}]" in told
    assert "2 benchmarks" in told or "2 tests" in told


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
