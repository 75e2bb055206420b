"""Tests of suite.records: a record is plain JSON, checked when made, and known by its key."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from suite.records import Record, record_key

MakeRecord = Callable[..., Record]


def test_a_written_record_holds_no_shared_mutable_state(make_record: MakeRecord) -> None:
    metrics = {"clean_accuracy": 0.5}
    record = make_record(metrics=metrics)
    metrics["clean_accuracy"] = 0.9
    assert record.metrics == {"clean_accuracy": 0.5}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema must be 1"),
        ({"schema": True}, "schema must be 1"),
        ({"tier": "a/b"}, "tier must match"),
        ({"question": ""}, "question must match"),
        ({"case": "../lenet5"}, "case must match"),
        ({"release": ""}, "release must match"),
        ({"seed": -1}, "seed must be"),
        ({"seed": True}, "seed must be"),
        ({"seed": 1.0}, "seed must be"),
        ({"key": "abc"}, "key must be"),
        ({"metrics": {"a": "much"}}, r"metrics\['a'\] must be a number"),
        ({"metrics": {"a": True}}, r"metrics\['a'\] must be a number"),
        ({"metrics": [1.0]}, "metrics must be a mapping"),
        ({"curves": {"loss": 1.0}}, r"curves\['loss'\] must be a list"),
        ({"curves": {"loss": [None]}}, r"curves\['loss'\] must be a list"),
        ({"statistics": [1]}, "statistics must be a list of mappings"),
        ({"timing": {"step_s": {1}}}, r"timing\['step_s'\] must be a JSON value"),
        ({"settings": {"fix": "nan"}}, r"settings\['fix'\] must be a JSON value"),
        ({"settings": {1: "a"}}, "must be a JSON value"),
        ({"started_at": "2024-05-01T12:00:00"}, "started_at must be"),
        ({"started_at": "2024-05-01T12:00:00+02:00"}, "started_at must be"),
        ({"started_at": "today"}, "started_at must be"),
        ({"wall_s": -1.0}, "wall_s must be"),
        ({"wall_s": math.nan}, "wall_s must be"),
        ({"environment": {"data_digest": ""}}, r"environment\['data_digest'\] must be text"),
        ({"environment": {"lock_digest": None}}, r"environment\['lock_digest'\] must be text"),
        ({"environment": {"versions": "2.21"}}, r"environment\['versions'\] must be a mapping"),
        ({"environment": {"fingerprint": ""}}, "fingerprint'.* must be text"),
    ],
)
def test_a_field_out_of_range_is_refused(
    make_record: MakeRecord, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"{message}.*Received"):
        make_record(**changes)


def test_the_key_follows_all_that_decides_the_result(make_record: MakeRecord) -> None:
    record = make_record()
    settings, environment = record.settings, record.environment
    key = record_key(settings, environment)
    assert key == record_key(dict(reversed(list(settings.items()))), environment)
    assert key != record_key({**settings, "steps": 4}, environment)
    for name in ("data_digest", "lock_digest", "code_digest", "versions"):
        assert key != record_key(settings, {**environment, name: "other"})


def test_of_the_machine_only_the_fingerprint_decides_the_key(make_record: MakeRecord) -> None:
    record = make_record()
    machine = record.environment["machine"]
    other = {**record.environment, "machine": {**machine, "memory_gb": 64}}
    assert record_key(record.settings, other) == record.key
    other = {**record.environment, "machine": {**machine, "fingerprint": "machine-b"}}
    assert record_key(record.settings, other) != record.key
