"""A project without anything else, to which records can be added."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from suite.records import Record
from suite.store import store

if TYPE_CHECKING:
    from typing import TypeAlias

MakeRecord: TypeAlias = "Callable[..., Record]"
Fill: TypeAlias = "Callable[..., None]"
Output: TypeAlias = "pytest.CaptureFixture[str]"

VALUES = [0.80, 0.82, 0.79, 0.81, 0.83]


@pytest.fixture
def fill(tmp_path: Path, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch) -> Fill:
    """Return a function that stores one record a value, in a project without anything else."""
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text('[tool.suite]\ndefault = "tf-2.21"\n', encoding="utf-8")

    def fill(root: str, values: list[float] = VALUES, **changes: Any) -> None:
        for seed, value in enumerate(values):
            metrics = {"clean_accuracy": value}
            store(make_record(seed=seed, metrics=metrics, **changes), Path(root))

    return fill
