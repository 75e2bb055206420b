"""Fixtures that several of the suite's own tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from suite.records import SCHEMA_VERSION, Record, record_key

MakeRecord = Callable[..., Record]


@pytest.fixture
def make_record() -> MakeRecord:
    """Return a function that makes a valid record; its arguments replace fields."""
    return _record


def _record(case: str = "lenet5-plain", seed: int = 0, **changes: Any) -> Record:
    settings = changes.pop("settings", {"architecture": "lenet5", "steps": 3, "test_images": 1000})
    environment = _environment(**changes.pop("environment", {}))
    content = {
        "schema": SCHEMA_VERSION,
        "release": "tf-2.21",
        "tier": "small",
        "question": "accuracy",
        "key": record_key(settings, environment),
        "metrics": {"clean_accuracy": 0.8},
        "curves": {"loss": [3.4, 2.1, 1.0]},
        "statistics": [{"layer": "bn1", "distance": 0.5}],
        "timing": {"step_s": [0.1, 0.2]},
        "started_at": "2024-05-01T12:00:00+00:00",
        "wall_s": 1.5,
    }
    return Record(
        **{**content, **changes}, case=case, seed=seed, settings=settings, environment=environment
    )


def _environment(**changes: Any) -> dict[str, Any]:
    machine = {"fingerprint": changes.pop("fingerprint", "machine-a"), "cores": 2}
    content = {
        "versions": {"numpy": "2.0.0"},
        "lock_digest": "sha256:1",
        "data_digest": "sha256:2",
        "code_digest": "sha256:3",
        "machine": machine,
    }
    return {**content, **changes}
