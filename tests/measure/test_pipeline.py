"""Tests of suite.measure.pipeline: what a run records, and that a seed decides it to the bit."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from suite.cases import Case
from suite.data import label_entropy
from suite.measure import pipeline
from suite.measure.questions import stall
from suite.measure.run import subsets
from suite.records import Record, record_key
from suite.stacks import loading
from suite.stacks.protocol import Stack
from tests.measure.conftest import ENVIRONMENT, SMALL, coloured, run_small

ALEXNET = Case("alexnet", **SMALL)
ROOT = Path(__file__).parents[2]


def curves(record: Record) -> dict[str, Any]:
    """Collect all that a run measured, but for its times."""
    return {**record.metrics, **{k: v for k, v in record.curves.items() if k != "step_s"}}


@pytest.fixture(scope="module")
def alexnet(stack: Stack) -> Record:
    return run_small(stack, ALEXNET)


def test_the_same_seed_gives_the_same_run_to_the_last_bit(stack: Stack, alexnet: Record) -> None:
    assert curves(run_small(stack, ALEXNET)) == curves(alexnet)


def test_another_seed_gives_another_run(stack: Stack, alexnet: Record) -> None:
    other = run_small(stack, ALEXNET, seed=1)
    assert set(other.curves["step_loss"]).isdisjoint(alexnet.curves["step_loss"])


def test_another_process_gives_the_same_run_to_the_last_bit(alexnet: Record) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
        "from tests.measure.test_pipeline import print_curves; print_curves()"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == curves(alexnet)


def print_curves() -> None:
    sys.stdout.write(json.dumps(curves(run_small(loading.load(), ALEXNET))) + "\n")


def test_a_record_tells_what_was_run(alexnet: Record) -> None:
    assert (alexnet.case, alexnet.seed, alexnet.question) == (str(ALEXNET), 0, "training")
    assert (alexnet.release, alexnet.tier) == ("tf-2.21", "small")
    assert alexnet.settings == ALEXNET.settings()
    assert alexnet.metrics["parameters"] > 0
    assert alexnet.wall_s > 0


def test_the_surrogate_is_told_by_its_digest_and_its_key_is_that_of_what_made_it(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def digest(case: Case, **given: Any) -> dict[str, str]:
        asked.append((case, given))
        return {"surrogate_digest": "sha256:7"}

    monkeypatch.setattr(pipeline, "surrogate_digest", digest)
    case = replace(ALEXNET, question="attack")
    record = run_small(stack, case, seed=3)
    assert asked == [(case, {"seed": 3, "environment": ENVIRONMENT})]
    assert record.environment == {**ENVIRONMENT, "surrogate_digest": "sha256:7"}
    assert record.key == record_key(case.settings(), ENVIRONMENT)


def test_every_step_and_epoch_is_on_the_curves(alexnet: Record) -> None:
    steps = {name: len(values) for name, values in alexnet.curves.items() if "step" in name}
    assert steps == dict.fromkeys(
        [
            *("step_loss", "step_clean_ce", "step_clean_accuracy"),
            *("step_adversarial_ce", "step_adversarial_accuracy", "step_s"),
        ],
        6,
    )
    for phase in ("", "training_phase_"):
        for name in ("clean_accuracy", "adversarial_accuracy", "information_gain"):
            values = alexnet.curves[phase + name]
            assert len(values) == 2
            assert values[-1] == alexnet.metrics[phase + name]


def test_the_last_quarter_of_the_steps_makes_the_tail_metrics(alexnet: Record) -> None:
    train, _ = subsets(ALEXNET, coloured(), seed=0)
    entropy = label_entropy(train.labels)
    assert alexnet.metrics["train_accuracy"] == alexnet.curves["step_clean_accuracy"][-1]
    for branch in ("clean", "adversarial"):
        last = alexnet.curves[f"step_{branch}_ce"][-1]
        assert alexnet.metrics[f"{branch}_branch_gain"] == pytest.approx(entropy - last)
    tail = stall.tail_metrics(
        {"step_clean_accuracy": range(8), "step_clean_ce": range(8)}, entropy=10.0
    )
    assert tail == {"train_accuracy": 6.5, "clean_branch_gain": 3.5}
