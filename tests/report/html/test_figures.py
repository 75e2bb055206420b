"""Tests of the report's figures: every number in its table, every plot told what to draw."""

from __future__ import annotations

import math

import numpy as np
import pytest

from suite.judge.gate.cost import Start
from suite.judge.parity.compare import Comparison
from suite.judge.parity.distances import Distance
from suite.judge.parity.implied import Place
from suite.report.html import figures, overview
from suite.report.html.images import pictures
from suite.report.html.runs import Example, Run
from suite.report.html.steps import step_map, words
from tests.report.html.conftest import CASE, NEW, OLD, MakeRuns, finding, rows


def column(table: figures.Table, name: str) -> list[object]:
    """Give a column of a table."""
    return [row[table.columns.index(name)] for row in table.rows]


def test_every_seed_stands_beside_those_of_other_releases(make_runs: MakeRuns) -> None:
    found = figures.seeds([*make_runs(OLD, stored=True), *make_runs()], CASE)
    assert column(found, "release") == ["tf-2.15 (stored)"] * 5 + [NEW] * 5
    assert column(found, "clean_accuracy") == [0.5, 0.51, 0.52, 0.53, 0.54] * 2
    assert found.options["choose"][0] == "clean_accuracy"
    assert not found.note


def test_many_seeds_are_thinned_out_evenly_by_value_and_it_is_said(make_runs: MakeRuns) -> None:
    found = figures.seeds(make_runs(seeds=70), CASE)
    values = column(found, "clean_accuracy")
    assert len(values) == figures.SEEDS
    assert (min(values), max(values)) == (0.5, 1.19)
    assert "50 more seeds are left out" in found.note


def test_numbers_that_no_plot_can_show_are_counted(make_runs: MakeRuns) -> None:
    found = figures.seeds(make_runs(metrics={"clean_accuracy": math.nan, "x": math.inf}), CASE)
    assert "10 numbers are not finite" in found.note


def test_the_interval_and_the_margin_lie_on_the_axis_of_the_seeds(make_runs: MakeRuns) -> None:
    found = figures.estimates([finding()], make_runs(OLD, stored=True), make_runs(), seeds_of="s")
    assert found is not None
    assert found.columns == ("metric", "baseline", "candidate", "low", "high", "margin")
    assert found.rows == [("clean_accuracy", "0.52", "0.51", "0.495", "0.525", "0.5")]
    assert found.options["sides"] == ["tf-2.15 (stored)", NEW]
    assert found.options["seeds"] == "s"


@pytest.mark.parametrize(
    "changes", [{"estimate": None}, {"metric": "nobody knows it"}, {"metric": "information_gain"}]
)
def test_a_difference_that_cannot_be_placed_is_not_drawn(
    make_runs: MakeRuns, changes: dict[str, object]
) -> None:
    odd, old, new = [finding(**changes)], make_runs(OLD), make_runs()
    assert figures.estimates(odd, old, new, seeds_of="") is None
    assert figures.estimates([finding()], [], new, seeds_of="") is None
    assert figures.estimates([finding()], old, [], seeds_of="") is None


def test_of_the_words_of_a_finding_those_stay_that_say_more_than_its_numbers() -> None:
    worse = finding(words="it is lower (-2.5 to 0.5 points; 5 and 5 seeds); p = 0.01 over all")
    stalled = finding(estimate=None, words="all within (their) limits", primary=False)
    found = figures.findings_table([worse, stalled], CASE)
    assert column(found, "in words") == ["p = 0.01 over all", "all within (their) limits"]
    assert column(found, "decision") == ["no worse", "(no worse)"]
    assert column(found, "interval")[0] == "-2.5 to +0.5"


def test_a_training_is_drawn_beside_its_control_with_the_lines_of_chance(
    make_runs: MakeRuns,
) -> None:
    found = figures.curves(make_runs(), name="mine", beside="control", other="the control")
    assert found is not None
    assert (found.options["beside"], found.options["besideName"]) == ("control", "the control")
    gains = found.options["groups"][figures.GAIN_GROUP]
    assert [rule["at"] for rule in gains["rules"]] == [0.0, 0.1]
    accuracy = found.options["groups"][figures.ACCURACY_GROUP]
    assert accuracy["rules"][0]["at"] == figures.MAJORITY
    assert {*gains["y"], *accuracy["y"]} < {*found.columns}
    assert "adversarial images in the phase inference" in found.note


def test_both_phases_are_drawn_epoch_by_epoch(make_runs: MakeRuns) -> None:
    found = figures.evaluations(make_runs(), name="mine")
    assert found is not None
    assert found.options["groups"][figures.ACCURACY_GROUP]["y"] == [
        "inference, clean",
        "training phase, clean",
    ]
    assert figures.evaluations(make_runs(curves={}), name="none") is None


def test_distances_of_batch_norm_are_a_row_a_layer_and_a_column_a_step(make_runs: MakeRuns) -> None:
    found = figures.norms(make_runs())
    assert found is not None
    assert [row[0] for row in found.rows] == ["bn1", "bn2"]
    assert found.columns[1] == "mean, step 0"
    assert found.columns[7] == "variance, step 0"
    assert found.rows[0] == ("bn1", *["2"] * 6, *["-2"] * 6)
    for group in found.options["groups"].values():
        assert sum(name.startswith(group["prefix"]) for name in found.columns) == 6
    assert figures.norms(make_runs(statistics=[])) is None


def test_what_a_mean_leaves_out_is_said(make_runs: MakeRuns) -> None:
    odd = {"step_clean_ce": [1.0] * 50, "clean_accuracy": [0.1]}
    runs = [*make_runs(), *make_runs(seeds=1, curves=odd), *make_runs(seeds=1, curves={})]
    for found in (figures.curves(runs, name=""), figures.evaluations(runs, name="")):
        assert found is not None
        assert "(mean over 5 of 7 seeds)" in found.caption
        assert "Of 7 seeds 2 are left out" in found.note
    whole = figures.curves(make_runs(), name="")
    assert whole is not None
    assert "(mean over 5 seeds)" in whole.caption
    assert "left out" not in whole.note


def test_runs_without_a_column_in_common_are_drawn_with_something_to_choose(
    make_runs: MakeRuns,
) -> None:
    ours, other = (
        make_runs(seeds=1, curves={name: [0.1, 0.2]})
        for name in ("clean_accuracy", "adversarial_accuracy")
    )
    found = figures.evaluations([*ours, *other], name="")
    assert found is not None
    assert found.options["choose"] == [figures.ACCURACY_GROUP]
    assert "(mean over 1 of 2 seeds)" in found.caption


def test_epochs_that_are_thinned_out_are_counted(make_runs: MakeRuns) -> None:
    found = figures.evaluations(make_runs(curves={"clean_accuracy": [0.1] * 40}), name="")
    assert found is not None
    assert len(found.rows) == 6
    assert found.note == "6 of 40 epochs are kept, evenly spread."
    few = figures.evaluations(make_runs(), name="")
    assert few is not None
    assert not few.note


def test_seeds_that_tell_other_layers_are_counted(make_runs: MakeRuns) -> None:
    whole, half = rows(0), rows(0)[:1]
    none = make_runs(seeds=1, statistics=[])
    same = figures.norms([*make_runs(statistics=[*whole, *whole]), *none])
    assert same is not None
    assert "Mean over 5 of 6 seeds" in same.note
    found = figures.norms([*make_runs(seeds=1, statistics=whole), *make_runs(statistics=half)])
    assert found is not None
    assert "Mean over 1 to 6 of 6 seeds" in found.note


def test_numbers_that_are_together_too_large_do_no_harm(make_runs: MakeRuns) -> None:
    huge = {"clean_accuracy": 1.7e308}
    runs = [*make_runs(OLD, metrics=huge), *make_runs(metrics=huge)]
    assert column(overview.trends(runs, [OLD, NEW], tier="small")[0], CASE) == [math.inf] * 2
    assert figures.estimates([finding()], runs[:5], runs[5:], seeds_of="") is None
    far = [{"layer": "bn", "mean_shift": 1.7e308, "log_variance_ratio": 0.0}]
    found = figures.norms(make_runs(statistics=far))
    assert found is not None
    assert found.rows == [("bn", "inf", "0")]


def test_the_difference_of_confusions_is_over_common_seeds(make_runs: MakeRuns) -> None:
    changed = [{"label": 14, "predicted": {"14": 18, "38": 5}}]
    found = figures.confusion(make_runs(OLD, 3), make_runs(statistics=changed))
    assert found is not None
    assert found.columns == ("label", "as 14", "as 38")
    assert found.rows == [("14", -6, 6)]
    assert "seeds 0, 1, 2" in found.caption
    same = figures.confusion(make_runs(OLD), make_runs())
    assert same is not None
    assert "no prediction changed" in same.caption
    assert not same.plot
    assert figures.confusion(make_runs(OLD, statistics=[]), make_runs()) is None


def compared(*distances: Distance) -> Comparison:
    """Make a comparison of some distances."""
    return Comparison("parity-net", 0, NEW, OLD, distances, ["a: b"], [], "20")


FAR = Distance(Place(1, "gradient", "conv1", "kernel"), 2.0, 0.5)
NEAR = Distance(Place(0, "gradient", "conv1", "kernel"), 0.1, 0.5)
LOST = Distance(Place(0, "loss"), math.nan, 0.5)
EXACT = Distance(Place(0, "batch"), 0.0, 0.0)


def test_the_step_map_marks_the_first_divergence() -> None:
    found = step_map([compared(EXACT, NEAR, FAR), compared(LOST)])
    assert found.options["first"] == ["conv1", "gradient"]
    assert dict(zip(found.columns, found.rows[0])) == {
        "layer": "(whole step)", "batch": "0", "gradient": "", "loss": "inf",
    }  # fmt: skip
    assert dict(zip(found.columns, found.rows[1]))["gradient"] == "4"
    agree = step_map([compared(EXACT, NEAR)])
    assert "first" not in agree.options
    assert "none diverges" in agree.caption


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.5, "1"), (0.5000001, "1.1"), (0.52, "1.1"), (0.6, "1.2"), (4.98, "10"), (60.0, "1.2e+02")],
)
def test_what_is_over_its_tolerance_is_never_written_as_within(value: float, shown: str) -> None:
    found = step_map([compared(Distance(Place(1, "gradient", "conv1", "kernel"), value, 0.5))])
    assert found.rows == [("conv1", shown)]
    assert (float(shown) > found.options["limit"]) == ("none diverges" not in found.caption)


def test_what_is_known_of_several_states_is_said_once() -> None:
    said = words([compared(NEAR), compared(NEAR, FAR)._replace(state="100")])
    assert said[0] == "after 20: known difference: a: b"
    assert said[1].startswith("after 100: first divergence: step 1, gradient of conv1/kernel")
    assert sum("known difference" in line for line in said) == 1


def test_the_images_are_files_within_the_page() -> None:
    clean = np.full((4, 4, 3), 100, dtype=np.uint8)
    found = pictures(Example(clean, clean + 3, "14", ({"14": 0.9}, {"38": 0.8})))
    assert all(picture.source.startswith("data:image/png;base64,") for picture in found)
    assert "at most 0.0118 of a pixel's range" in found[1].alt
    assert "38 (80.0%)" in found[2].caption
    assert pictures(Example(clean, clean, "14", ({}, {})))[2].caption.endswith("nothing.")


def timed(runs: list[Run]) -> list[Run]:
    """Give runs the times of steps."""
    metrics = {"plain_step_s": 0.01, "adversarial_step_s": 0.02, overview.RATIO: 2.0}
    return [
        run._replace(record=type(run.record).of_json({**vars(run.record), "metrics": metrics}))
        for run in runs
    ]


def test_cost_stands_beside_its_floor(make_runs: MakeRuns) -> None:
    found = overview.costs(timed(make_runs(case="step-time-lenet5")))
    assert found is not None
    assert dict(zip(found.columns, found.rows[0])) == {
        "network, release": "step-time-lenet5", "release": NEW, "plain step (ms)": 10.0,
        "adversarial step (ms)": 20.0, "ratio": 2.0, "floor": 1.0, "limit": 6.0,
    }  # fmt: skip
    assert {rule["at"] for rule in found.options["rules"]} == {1.0, 3.0}
    assert overview.costs(make_runs()) is None


def test_paired_times_are_thinned_out_by_their_ratio_and_it_is_said() -> None:
    start = Start([(0.01, 0.01 + place / 1000) for place in range(100)])
    found = overview.pairs("step-time-lenet5", [start], OLD, NEW)
    assert len(found.rows) == overview.PAIRS
    assert (column(found, "ratio")[0], column(found, "ratio")[-1]) == pytest.approx((1.0, 10.9))
    assert found.note.startswith("30 of 100 pairs")


def test_a_trend_has_a_row_a_release_in_their_order(make_runs: MakeRuns) -> None:
    runs = [*make_runs(), *make_runs(OLD)]
    found = overview.trends(runs, [OLD, NEW], tier="small")[0]
    assert column(found, "release") == [OLD, NEW]
    assert column(found, CASE) == pytest.approx([0.52, 0.52])
    assert overview.trends(make_runs(), [OLD, NEW], tier="small") == []


def test_locks_differ_in_what_only_one_has_too() -> None:
    pins = {
        OLD: {"keras": "2.15", "numpy": "1.26", "old": "1"},
        NEW: {"keras": "3.15", "numpy": "1.26"},
    }
    found = overview.lock_difference(pins, OLD, NEW)
    assert found is not None
    assert found.rows == [("keras", "2.15", "3.15"), ("old", "1", "not there")]
    assert overview.lock_difference(pins, OLD, "tf-9") is None
    assert overview.locks({}) is None
