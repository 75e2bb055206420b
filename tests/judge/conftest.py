"""Records made up for judging: seeds of a baseline, runs of a study, a release that does it all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from suite.cases import Case
from suite.judge.bands import Band, bands
from suite.judge.compatibility import TIER
from suite.records import Record
from suite.tables import table

if TYPE_CHECKING:
    from typing import TypeAlias

MakeRecord: TypeAlias = "Callable[..., Record]"
MakeRun: TypeAlias = "Callable[..., Record]"
MakeRuns: TypeAlias = "Callable[..., list[Record]]"

VALUES = [0.80, 0.82, 0.79, 0.81, 0.83]
GRAPH = {"stack": "graph", "versions": {"tensorflow": "1.14.0"}}
EAGER = {"stack": "eager", "versions": {"tensorflow": "2.21.0"}}
TREATED = "resnet50-w0.25-intended-bn-momentum-0.5"

ENTROPY = 3.5
STEPS = 80
STUDIED = {
    "architecture": "resnet50", "batch_size": 32, "learning_rate": 0.01, "size_px": 32,
    "width": 0.25, "epochs": 1,
}  # fmt: skip

LEARNED, STALLED = 1.5, 0.0
ALL, NONE = (STALLED,) * 5, (LEARNED,) * 5
SOME = (STALLED, STALLED, LEARNED, LEARNED, LEARNED)
FOUR = (STALLED,) * 4 + (LEARNED,)

DIGEST = "sha256:" + "ab" * 32
TABLES = ("accuracy", "stall", "attack", "step-time")


@pytest.fixture
def seeds(make_record: MakeRecord) -> MakeRuns:
    """Return a function that makes one record a value of a metric."""

    def made(metric: str, values: Sequence[float], **changes: Any) -> list[Record]:
        return [
            make_record(seed=seed, **{"metrics": {metric: value}, **changes})
            for seed, value in enumerate(values)
        ]

    return made


def updates(seeds: MakeRuns, values: Sequence[float], around: dict[str, Any]) -> list[Record]:
    """Make one record a value of the updates a step of a treated ResNet on one stack."""
    return seeds("updates_per_step", values, case=TREATED, environment=around)


@pytest.fixture
def make_run(make_record: MakeRecord) -> MakeRun:
    """Return a function that makes a record of question "fixes"; keywords replace metrics."""

    def made(
        loss: str = "intended",
        fix: str = "none",
        *,
        seed: int = 0,
        learns_after: int | None = None,
        settings: dict[str, Any] | None = None,
        **metrics: float,
    ) -> Record:
        learns = learns_after is not None
        gains = [0.0] * STEPS if learns_after is None else _steep(learns_after)
        branch = "clean" if loss == "plain" else "adversarial"
        return make_record(
            "-".join(["net", loss, fix, *map(str, (settings or {}).values())]),
            seed=seed,
            question="fixes",
            tier="study",
            settings={**STUDIED, "loss": loss, "fix": fix, **(settings or {})},
            curves={f"step_{branch}_ce": [ENTROPY - gain for gain in gains]},
            metrics={
                f"{branch}_branch_gain": float(np.mean(gains[-STEPS // 4 :])),
                "information_gain": LEARNED if learns else STALLED,
                **metrics,
            },
        )

    return made


def _steep(step: int) -> list[float]:
    """Make gains whose running mean over 10 steps first exceeds 0.1 nats after `step` steps."""
    return [0.0] * (step - 1) + [2.0] * (STEPS - step + 1)


def with_curve(record: Record, losses: list[float], **metrics: float) -> Record:
    """Give a record another curve, and the gain of its branch that this implies."""
    gain = {
        "adversarial_branch_gain": ENTROPY - float(np.mean(losses[-max(1, len(losses) // 4) :]))
    }
    changed = {**record.metrics, **gain, **metrics}
    return replace(record, curves={"step_adversarial_ce": losses}, metrics=changed)


@pytest.fixture
def runs(make_record: MakeRecord) -> MakeRuns:
    """Return a function that makes records of one case, a seed a gain; keywords are settings."""

    def made(
        loss: str,
        fix: str = "none",
        *,
        inference: Sequence[float] = ALL,
        branch: Sequence[float] = ALL,
        release: str = "tf-2.21",
        metrics: dict[str, float] | None = None,
        **settings: Any,
    ) -> list[Record]:
        name = "clean" if loss == "plain" else "adversarial"
        return [
            make_record(
                "-".join(["net", loss, fix, *map(str, settings.values())]),
                seed=seed,
                release=release,
                question="fixes",
                tier="study",
                settings={**STUDIED, "loss": loss, "fix": fix, **settings},
                curves={f"step_{name}_ce": [ENTROPY - gain] * 40},
                metrics={"information_gain": gain, f"{name}_branch_gain": own, **(metrics or {})},
            )
            for seed, (gain, own) in enumerate(zip(inference, branch))
        ]

    return made


@pytest.fixture
def good(make_record: MakeRecord) -> list[Record]:
    """Make one record of every case of the small tier, all as they should be."""
    cases: dict[str, Case] = {}
    for name in TABLES:
        for case in table(name, tier=TIER):
            cases.setdefault(str(case), case)
    return [_as_it_should_be(make_record, case) for case in cases.values()]


def _as_it_should_be(make_record: MakeRecord, case: Case) -> Record:
    own = bands(str(case), tier=TIER, stack="eager")
    metrics = {name: _inside(band) for name, band in own.items()}
    if case.question == "step-time":
        ratios = {"lenet5": 2.04, "resnet50": 3.11}
        metrics["adversarial_plain_ratio"] = ratios.get(case.architecture, 2.5)
    environment = {"lock_digest": DIGEST}
    return make_record(str(case), question=case.question, metrics=metrics, environment=environment)


def _inside(band: Band) -> float:
    """Choose a value that lies in `band`."""
    if math.isinf(band.high):
        return band.low + 1
    return band.high if math.isinf(band.low) else (band.low + band.high) / 2


def changed(store: list[Record], case: str, **metrics: float) -> list[Record]:
    """Replace metrics of one case of `store`."""
    assert case in {record.case for record in store}
    return [
        replace(record, metrics={**record.metrics, **metrics}) if record.case == case else record
        for record in store
    ]


def with_environment(store: list[Record], **changes: str) -> list[Record]:
    """Replace parts of the environment of all records of `store`."""
    return [replace(r, environment={**r.environment, **changes}) for r in store]
