"""Records of whole cases, with numbers as a law gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from suite.judge.gate.finding import Finding
from suite.records import Record
from tests.conftest import MakeRecord

if TYPE_CHECKING:
    from typing import TypeAlias

MakeSide: TypeAlias = "Callable[..., list[Record]]"
BEFORE, AFTER = "tf-2.15", "tf-2.21"

LEARNED: Mapping[str, tuple[float, float]] = {
    "clean_accuracy": (0.8, 0.004),
    "adversarial_accuracy": (0.6, 0.004),
    "information_gain": (2.0, 0.03),
    "adversarial_branch_gain": (1.5, 0.03),
    "classes_predicted": (35.0, 1.0),
}
"""Mean and standard deviation over the seeds of a case that learns."""

STALLED: Mapping[str, tuple[float, float]] = {
    "clean_accuracy": (0.06, 0.03),
    "information_gain": (-0.05, 0.01),
    "adversarial_branch_gain": (-0.07, 0.01),
}
"""The same of a control."""


@pytest.fixture
def make_side(make_record: MakeRecord) -> MakeSide:
    """Give a function that makes the records of one case and side; keywords shift metrics."""

    def made(
        release: str = BEFORE,
        *,
        case: str = "net-intended-none",
        seeds: int = 10,
        law: Mapping[str, tuple[float, float]] = LEARNED,
        draw: int = 0,
        **shifts: float,
    ) -> list[Record]:
        rng = np.random.default_rng([draw, *map(ord, release + case)])
        return [
            make_record(
                case,
                seed=seed,
                release=release,
                wall_s=float(rng.random()),
                metrics={
                    name: float(rng.normal(mean, deviation)) + shifts.get(name, 0.0)
                    for name, (mean, deviation) in law.items()
                },
            )
            for seed in range(seeds)
        ]

    return made


def changed(records: Sequence[Record], seeds: int, **metrics: float) -> list[Record]:
    """Give the first seeds other values of some metrics."""
    return [
        replace(record, metrics={**record.metrics, **metrics}) if index < seeds else record
        for index, record in enumerate(records)
    ]


def only(findings: Sequence[Finding], metric: str) -> Finding:
    """Find the one finding of a metric."""
    (found,) = (finding for finding in findings if finding.metric == metric)
    return found
