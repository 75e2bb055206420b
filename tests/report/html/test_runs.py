"""Tests of suite.report.html.runs: what is kept of a record, whatever it holds."""

from __future__ import annotations

import base64
import math
import zlib
from typing import Any

import numpy as np
import pytest

from suite.report.html.runs import (
    EPOCH,
    GAINS,
    MOMENTS,
    POINTS,
    SIZE_PX,
    STEP,
    mean,
    mean_curves,
    run_of,
    spread,
)
from tests.report.html.conftest import example, packed, rows, training


def test_curves_are_thinned_out_with_their_ends_kept() -> None:
    steps = run_of(training(), stored=False).steps
    assert len(steps[STEP]) == POINTS
    assert (steps[STEP][0], steps[STEP][-1]) == (10.0, 200.0)
    assert all(len(column) == POINTS for column in steps.values())


def test_gains_are_those_of_the_study() -> None:
    steps = run_of(training(), stored=False).steps
    assert max(map(abs, steps[GAINS[1]])) < 1e-9
    assert steps[GAINS[0]][-1] > 2.2
    assert steps[GAINS[0]] == sorted(steps[GAINS[0]])


def test_a_record_keeps_neither_curves_nor_statistics() -> None:
    record = run_of(training(), stored=False).record
    assert (record.curves, record.statistics) == ({}, [])
    assert record.metrics == training().metrics


def test_both_phases_are_kept_epoch_by_epoch() -> None:
    epochs = run_of(training(), stored=False).epochs
    assert epochs == {
        EPOCH: [1.0, 2.0],
        "inference, clean": [0.06, 0.07],
        "training phase, clean": [0.5, 0.6],
    }


def test_distances_over_time_are_thinned_out_with_their_ends_kept() -> None:
    norms = run_of(training(), stored=False).norms
    steps = sorted({norm.step or 0 for norm in norms})
    assert len(steps) == MOMENTS
    assert (steps[0], steps[-1]) == (0, 38)
    assert len(norms) == 2 * MOMENTS


def test_distances_of_older_records_are_those_of_the_end() -> None:
    old = [{key: value for key, value in row.items() if key != "step"} for row in rows(0)]
    norms = run_of(training(statistics=old), stored=False).norms
    assert [(norm.layer, norm.step, norm.mean_shift) for norm in norms] == [
        ("bn1", None, 2.0),
        ("bn2", None, 0.5),
    ]


def test_an_example_is_unpacked() -> None:
    found = run_of(training(), stored=False).example
    assert found is not None
    assert found.clean.shape == (4, 4, 3)
    assert int(found.perturbed[0, 0, 0]) - int(found.clean[0, 0, 0]) == 3
    assert found.said[0] == {"14": 0.9, "38": 0.05}


BOMB = base64.b64encode(zlib.compress(bytes(50_000_000))).decode()


@pytest.mark.parametrize(
    "row",
    [
        example(image=BOMB),
        example(image="not base64!"),
        example(image=base64.b64encode(b"no zlib").decode()),
        example(image=packed(np.zeros((2, 2, 3), dtype=np.uint8))),
        {**example(), "size_px": SIZE_PX + 1},
        {**example(), "size_px": -4},
        {**example(), "size_px": float("inf")},
        example(clean_probabilities=[1, 2]),
        {"layer": "bn1"},
        {"layer": "bn1", "mean_shift": "far", "log_variance_ratio": 0.0},
        {"layer": "bn1", "mean_shift": 0.0, "log_variance_ratio": 0.0, "step": "late"},
        {"label": 1, "predicted": 7},
        {"predicted": {"1": 2}},
        {"label": 1, "predicted": {"1": float("nan")}},
    ],
)  # fmt: skip
def test_a_row_that_is_none_is_told_and_the_others_are_kept(row: dict[str, Any]) -> None:
    found = run_of(training(statistics=[row, *rows(0)]), stored=False)
    assert len(found.faults) == 1
    assert "a row of its statistics is none" in found.faults[0]
    assert [norm.layer for norm in found.norms] == ["bn1", "bn2"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308])
def test_curves_that_are_not_finite_are_kept_as_they_are(value: float) -> None:
    curves = {"step_clean_ce": [value] * 30, "step_clean_accuracy": [0.5, value] * 15}
    found = run_of(training(curves=curves), stored=False)
    assert not found.faults
    assert found.steps[STEP]


def test_curves_of_other_lengths_or_without_their_metric_do_no_harm() -> None:
    curves = {"step_clean_ce": [1.0] * 3, "step_adversarial_ce": [], "step_clean_accuracy": [0.1]}
    short = run_of(training(curves=curves), stored=False)
    assert short.steps[STEP] == [1.0]
    lacking = run_of(training(metrics={}), stored=False)
    assert "its gains cannot be drawn" in lacking.faults[0]
    assert lacking.steps["accuracy, clean batches"]


def test_means_are_of_the_runs_with_the_same_steps() -> None:
    found, count = mean_curves(
        [{STEP: [1.0, 2.0], "a": [1.0, math.inf]}, {}, {STEP: [1.0, 2.0], "a": [3.0, -math.inf]},
         {STEP: [1.0], "a": [9.0]}]
    )  # fmt: skip
    assert count == 2
    assert found["a"][0] == 2.0
    assert math.isnan(found["a"][1])
    assert mean_curves([{}, {}, {STEP: [1.0]}]) == ({}, 0)


def test_the_first_run_alone_does_not_choose_the_steps() -> None:
    short, long = {STEP: [1.0], "a": [9.0]}, {STEP: [1.0, 2.0], "a": [3.0, 4.0]}
    assert mean_curves([short, long, long]) == (long, 2)


def test_runs_without_a_column_in_common_are_not_averaged() -> None:
    found, count = mean_curves([{STEP: [1.0], "a": [2.0]}, {STEP: [1.0], "b": [3.0]}])
    assert (found, count) == ({STEP: [1.0], "a": [2.0]}, 1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], None), ([1, 2.0], 1.5), ([1.7e308] * 2, math.inf), ([math.inf, 1.0], math.inf)],
)
def test_a_mean_of_any_numbers_can_be_told(values: list[float], expected: float | None) -> None:
    assert mean(values) == expected
    assert math.isnan(mean([math.inf, -math.inf]) or 0.0)


@pytest.mark.parametrize(("count", "most"), [(1, 5), (5, 5), (1000, 7), (8, 7)])
def test_places_are_spread_from_the_first_to_the_last(count: int, most: int) -> None:
    places = spread(count, most)
    assert (places[0], places[-1]) == (0, count - 1)
    assert len(places) == min(count, most)
    assert places == sorted(set(places))
