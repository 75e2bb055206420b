"""Tests of suite.measure.questions.stall: BatchNorm layer by layer, and the phases of a step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from suite.measure.questions import stall
from suite.networks.phases import PHASES
from suite.stacks.protocol import Stack
from tests.measure.conftest import NORMALISED, run_small

pytestmark = pytest.mark.usefixtures("shallow")


def test_batch_norm_is_recorded_layer_by_layer(stack: Stack) -> None:
    record = run_small(stack, NORMALISED)
    rows = [row for row in record.statistics if "layer" in row]
    steps = list(dict.fromkeys(row["step"] for row in rows))
    assert (steps[0], steps[-1]) == (0, len(record.curves["step_loss"]))
    assert [row["layer"] for row in rows] == ["first", "second"] * len(steps)
    shifts = [row["mean_shift"] for row in rows if row["step"] == steps[-1]]
    assert record.metrics["statistics_mean_shift"] == max(shifts) > 0
    assert record.metrics["statistics_moved"] > 0
    assert record.metrics["phases_agree"] == 1


def test_what_the_network_takes_images_for_is_recorded(stack: Stack) -> None:
    record = run_small(stack, NORMALISED)
    counts = {row["label"]: row["predicted"] for row in record.statistics if "predicted" in row}
    total = sum(sum(row.values()) for row in counts.values())
    right = sum(row.get(str(label), 0) for label, row in counts.items())
    assert record.metrics["clean_accuracy"] == pytest.approx(right / total)
    (shown,) = (row for row in record.statistics if "perturbed" in row)
    assert shown["size_px"] == NORMALISED.size_px


def test_looking_at_batch_norm_changes_no_training(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = []
    for times in (0, 3):
        monkeypatch.setattr(stall, "OBSERVED", times)
        losses.append(run_small(stack, NORMALISED).curves["step_loss"])
    assert losses[0] == losses[1]


def test_the_literal_phases_leave_every_statistic_alone(stack: Stack) -> None:
    record = run_small(stack, replace(NORMALISED, loss="literal"))
    assert record.metrics["statistics_moved"] == 0
    assert record.metrics["phases_agree"] == 1


def test_the_plain_loss_has_no_adversarial_branch(stack: Stack) -> None:
    record = run_small(stack, replace(NORMALISED, loss="plain"))
    assert "adversarial_branch_gain" not in record.metrics
    assert record.metrics["phases_agree"] == 1
    assert record.curves["step_loss"] == record.curves["step_clean_ce"]


@pytest.mark.parametrize("told", ["literal", "plain"])
def test_a_step_in_other_phases_than_told_is_recorded_as_such(
    stack: Stack, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = stack.train_step
    other = PHASES["literal" if told == "plain" else "intended"]

    def wrong(model: Any, *, phases: Any, epsilon: float, branch: Any) -> Any:
        del phases, branch
        step = right(model, phases=other, epsilon=epsilon)
        if told != "plain":
            return step
        return lambda *args: step(*args)._replace(adversarial_ce=None, adversarial_accuracy=None)

    monkeypatch.setattr(stack, "train_step", wrong)
    record = run_small(stack, replace(NORMALISED, loss=told, train_images=8))
    assert record.metrics["phases_agree"] == 0
