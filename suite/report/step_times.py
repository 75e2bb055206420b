"""Step times: written as pytest-benchmark's JSON, which its own `compare` reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest_benchmark
from pytest_benchmark.stats import Stats

from suite.files import write_atomically
from suite.records import Record
from suite.store import read_records

SUFFIX = "_step_s"
TIMED = "adversarial"  # the series that pytest-benchmark itself times
BENCHMARK = ("benchmarks/test_step_time.py", "test_adversarial_step_costs_its_ratio")
"""File and name of the test that makes the records: its parameter is a record's name."""


def write_benchmark_json(folder: Path) -> Path | None:
    """Write the step times of all records in `folder` beside them, and return the new file.

    Returns:
        The file; None if the folder holds no step times.

    Raises:
        RecordError: If a record in `folder` is damaged, or the file cannot be written.
    """
    records = [record for record in read_records(folder) if record.question == "step-time"]
    if not records:
        return None
    content = {
        "machine_info": dict(records[0].environment["machine"]),
        "commit_info": {"id": records[0].environment["code_digest"], "dirty": False},
        "benchmarks": [entry for record in records for entry in _entries(record)],
        "datetime": max(record.started_at for record in records),
        "version": pytest_benchmark.__version__,
    }
    path = folder / "timing" / "step-times.json"
    write_atomically(path, json.dumps(content, indent=1).encode())
    return path


def _entries(record: Record) -> list[dict[str, Any]]:
    """Make one pytest-benchmark entry for each series of step times in a record.

    pytest-benchmark times the adversarial step in the test, so that entry is under the test's
    node id; the plain steps, made in turns with these, follow under their own name.
    """
    return [
        _entry(record, name[: -len(SUFFIX)], list(times_s))
        for name, times_s in record.curves.items()
        if name.endswith(SUFFIX)
    ]


def _entry(record: Record, loss: str, times_s: list[float]) -> dict[str, Any]:
    """Make the entry of one series; pytest-benchmark's own class computes its statistics."""
    stats = Stats()
    for time_s in times_s:
        stats.update(time_s)
    param = record.name if loss == TIMED else f"{record.name}-{loss}"
    path, test = BENCHMARK
    return {
        "group": record.case,
        "name": f"{test}[{param}]",
        "fullname": f"{path}::{test}[{param}]",
        "params": {"case": record.case, "seed": record.seed, "loss": loss},
        "param": param,
        "extra_info": {"key": record.key},
        "options": {"disable_gc": False, "timer": "perf_counter", "warmup": True},
        "stats": {**stats.as_dict(), "iterations": 1, "data": times_s},
    }
