"""Tests of suite.measure.questions.fixes: what a fix is worth and costs, and how it is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from suite.measure.questions import fixes
from suite.measure.questions.stall import at_step
from suite.measure.run import Run, probe
from suite.measure.statistics import LayerStatistics, layer_statistics
from suite.records import Record
from suite.stacks.protocol import Stack
from tests.measure.conftest import NORMALISED, run_small

pytestmark = pytest.mark.usefixtures("shallow")

FIXED = replace(NORMALISED, question="fixes", train_images=64, learning_rate=0.01)


class Watched(NamedTuple):
    """A record of the control, and the layers' statistics when all but the cost was measured."""

    record: Record
    after: list[LayerStatistics]


@pytest.fixture(scope="module")
def watched(stack: Stack, shallow: None) -> Watched:
    del shallow  # it is in place
    seen: list[LayerStatistics] = []
    right = fixes.cost_ratio

    def cost_ratio(run: Run, fixed: Any, step: Any) -> float:
        images, _ = probe(run.train, 256)
        seen.extend(layer_statistics(stack, fixed.model, images))
        return right(run, fixed, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fixes, "cost_ratio", cost_ratio)
        return Watched(run_small(stack, FIXED), seen)


def test_a_fix_is_measured_by_more_than_its_training(stack: Stack, watched: Watched) -> None:
    record, trained = watched.record, run_small(stack, replace(FIXED, question="training"))
    assert record.curves["step_loss"] == trained.curves["step_loss"]
    assert trained.metrics.items() <= record.metrics.items()
    for phase in ("", "training_phase_"):
        assert 0 <= record.metrics[f"{phase}pgd_accuracy"] <= 1
    assert 0.2 < record.metrics["cost_ratio"] < 5


def test_recomputed_statistics_are_judged_and_put_back(watched: Watched) -> None:
    record, after = watched
    rows = [row for row in record.statistics if "layer" in row]
    assert at_step(after, rows[-1]["step"]) == rows[-len(after) :]
    stale, mended = (record.metrics[f"{prefix}information_gain"] for prefix in ("", "precise_bn_"))
    assert mended > stale


def test_a_schedule_of_the_fix_is_trained_to_its_end(stack: Stack) -> None:
    record = run_small(stack, replace(FIXED, fix="more-iterations"))
    assert len(record.curves["step_loss"]) == 64 / 4 * 5
    assert len(record.curves["clean_accuracy"]) == 5


@pytest.mark.parametrize("fix", ["precise-bn", "dual-bn", "training-phase", "group-norm"])
def test_fixes_of_every_kind_are_trained_in_the_phases_they_ask_for(stack: Stack, fix: str) -> None:
    record = run_small(stack, replace(FIXED, fix=fix))
    assert record.metrics["phases_agree"] == 1
    assert ("precise_bn_information_gain" in record.metrics) == (fix != "group-norm")


@pytest.mark.parametrize("loss", ["own-kept", "clean-kept", "clean-updating", "moving-updating"])
def test_every_point_of_the_grid_is_trained_as_told(stack: Stack, loss: str) -> None:
    record = run_small(stack, replace(FIXED, loss=loss))
    assert record.metrics["phases_agree"] == 1
