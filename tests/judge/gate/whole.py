"""Whole gates between two releases that do not differ, drawn from a stored baseline.

`python -m tests.judge.gate.whole 100` prints what becomes of 100 of them, with five and ten stored
seeds, and where both sides grow. Every training case draws all its primary metrics together, normal
with the means and covariances of its stored seeds; no seed is on both sides.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from suite.judge.baselines import by_case
from suite.judge.gate.finding import NO_WORSE, UNDECIDED, WORSE
from suite.judge.gate.outcome import outcome_findings
from suite.judge.gate.sequential import Plan
from suite.judge.metrics import METRICS
from suite.records import Record
from suite.store import read_record
from tests.judge.gate.conftest import AFTER

ROOT = Path(__file__).parents[3] / "baselines"
STORED = {"five stored": 5, "ten stored": 10, "both grow": None}


class Law(NamedTuple):
    """What the seeds of a case give.

    Attributes:
        record: One of its records, from which a simulated one takes all else.
        names: Of its primary metrics.
        means: One for each name.
        residuals: ``(seeds, names)``, whose product with itself is the covariance.
    """

    record: Record
    names: list[str]
    means: np.ndarray
    residuals: np.ndarray

    def records(self, rng: np.random.Generator, *, first: int, plan: Plan) -> list[Record]:
        """Draw as many seeds as the last look takes, from the one that is named first."""
        drawn = rng.standard_normal((plan.last, len(self.residuals))) @ self.residuals
        return [
            dataclasses.replace(
                self.record,
                seed=seed,
                started_at=f"2026-01-01T00:00:00.{seed:06d}+00:00",
                wall_s=float(seed),
                environment={**self.record.environment, "surrogate_digest": f"sha256:{seed}"},
                metrics={**self.record.metrics, **dict(zip(self.names, row.tolist()))},
            )
            for seed, row in enumerate(self.means + drawn, start=first)
        ]


@functools.lru_cache(maxsize=None)
def trained(release: str) -> tuple[Record, ...]:
    """Read the trained cases of a stored baseline, without their curves."""
    paths = sorted((ROOT / release / "small").glob("*.json"))
    found = [read_record(path, bare=True) for path in paths]
    return tuple(record for record in found if record.question == "training")


@functools.lru_cache(maxsize=None)
def laws() -> tuple[Law, ...]:
    """Sum up each trained case of the stored baseline."""
    return tuple(map(_law, by_case(trained(AFTER)).values()))


def _law(records: list[Record]) -> Law:
    """Sum up the primary metrics of a case's seeds."""
    names = [name for name in records[0].metrics if name in METRICS and METRICS[name].primary]
    numbers = np.array([[record.metrics[name] for name in names] for record in records])
    means = numbers.mean(axis=0)
    return Law(records[0], names, means, (numbers - means) / np.sqrt(len(records) - 1))


def gate(drawn: list[tuple[list[Record], list[Record]]], plan: Plan, stored: int | None) -> str:
    """Judge drawn cases as the gate does: what is undecided gets the seeds of the next look."""
    looks = {own[0].case: plan.first for own, _ in drawn}
    for following in (*plan.looks[1:], plan.last):
        before = [r for own, _ in drawn for r in own[: stored or looks[own[0].case]]]
        after = [r for _, other in drawn for r in other[: looks[other[0].case]]]
        found, missing = outcome_findings(before, after, plan=plan)
        assert not missing
        primary = [each for each in found if each.primary]
        looks.update({each.case: following for each in primary if each.decision == UNDECIDED})
    ends = {each.decision for each in primary}
    return next(end for end in (WORSE, UNDECIDED, NO_WORSE) if end in ends)


def simulate(runs: int, stored: int | None, *, seed: int = 0) -> Counter[str]:
    """Count the answers of many gates between a release and itself."""
    rng, plan, known = np.random.default_rng(seed), Plan(), laws()
    ends: Counter[str] = Counter()
    for _ in range(runs):
        drawn = [
            (law.records(rng, first=0, plan=plan), law.records(rng, first=plan.last, plan=plan))
            for law in known
        ]
        ends[gate(drawn, plan, stored)] += 1
    return ends


if __name__ == "__main__":
    for title, seeds in STORED.items():
        print(title, dict(simulate(int(sys.argv[1]), seeds)))  # noqa: T201 - a command prints
