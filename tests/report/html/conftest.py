"""Records and findings that a report is made of."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from suite.judge.gate.finding import NO_WORSE, OUTCOME, WORSE, Finding
from suite.records import Record
from suite.report.html.judged import Judged
from suite.report.html.runs import Run, run_of
from tests.conftest import record_of

if TYPE_CHECKING:
    from typing import TypeAlias

MakeRuns: TypeAlias = "Callable[..., list[Run]]"

CASE, OLD, NEW = "resnet50-w0.25-intended-none", "tf-2.15", "tf-2.21"
ENTROPY = 3.5
SETTINGS = {
    "architecture": "resnet50", "loss": "intended", "fix": "none", "width": 0.25,
    "phases": ["training", "inference", "inference"], "test_images": 1000,
}  # fmt: skip


def assert_in_order(text: str, parts: Sequence[str]) -> None:
    """Check that a text has all parts, each behind the one before."""
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)


def packed(image: np.ndarray) -> str:
    """Write an image as a record holds it."""
    return base64.b64encode(zlib.compress(image.tobytes())).decode()


def example(size_px: int = 4, **changes: Any) -> dict[str, Any]:
    """Make the row about an example."""
    clean = np.full((size_px, size_px, 3), 100, dtype=np.uint8)
    return {
        "image": packed(clean), "perturbed": packed(clean + 3), "size_px": size_px, "label": 14,
        "clean_probabilities": {"14": 0.9, "38": 0.05}, "perturbed_probabilities": {"38": 0.8},
        **changes,
    }  # fmt: skip


def rows(step: int) -> list[dict[str, Any]]:
    """Make the rows about BatchNorm after a step."""
    return [
        {"layer": name, "mean_shift": shift, "log_variance_ratio": -shift, "step": step}
        for name, shift in (("bn1", 2.0), ("bn2", 0.5))
    ]


def training(seed: int = 0, **changes: Any) -> Record:
    """Make the record of a training whose adversarial branch stalls."""
    steps = 200
    content: dict[str, Any] = {
        "case": CASE,
        "settings": SETTINGS,
        "curves": {
            "step_clean_ce": list(np.linspace(ENTROPY, 1.0, steps)),
            "step_adversarial_ce": [ENTROPY] * steps,
            "step_clean_accuracy": list(np.linspace(0, 0.8, steps)),
            "clean_accuracy": [0.06, 0.07],
            "training_phase_clean_accuracy": [0.5, 0.6],
        },
        "metrics": {
            "clean_accuracy": 0.5 + seed / 100,
            "clean_branch_gain": 2.2,
            "adversarial_branch_gain": 0.0,
        },
        "statistics": [
            *(row for step in range(0, 40, 2) for row in rows(step)),
            {"label": 14, "predicted": {"14": 20, "38": 3}},
            example(),
        ],
    }
    return record_of(seed=seed, **{**content, **changes})


@pytest.fixture
def make_runs() -> MakeRuns:
    """Give a function that makes the runs of some seeds on one release."""

    def made(release: str = NEW, seeds: int = 5, *, stored: bool = False, **more: Any) -> list[Run]:
        records = [training(seed, release=release, **more) for seed in range(seeds)]
        return [run_of(record, stored=stored) for record in records]

    return made


def finding(**changes: Any) -> Finding:
    """Make a finding about an accuracy."""
    made = Finding(
        OUTCOME, CASE, "clean_accuracy", NO_WORSE, "clean_accuracy is 1 points lower", -1.0, -2.5,
        0.5, 2.0, "points", detectable=1.5, seeds=(5, 5),
    )  # fmt: skip
    return made._replace(**changes)


def judgement(*findings: Finding, **changes: Any) -> Judged:
    """Make an answer of the gate about the new release."""
    made = Judged(
        OLD, NEW, stored=False, decision=WORSE,
        answer="May you upgrade from tf-2.15 to tf-2.21? No: it is worse.",
        missed="1.5 points (somewhere)", findings=findings or (finding(decision=WORSE),),
        missing=(), notes=("how sure: very",),
    )  # fmt: skip
    return made._replace(**changes)
