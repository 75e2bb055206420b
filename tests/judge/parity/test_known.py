"""Tests of suite.judge.parity.known: a known difference is verified by its size, or is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from suite.judge.parity.compare import compare_traces
from suite.measure.summaries import PROJECTIONS, Entry
from suite.records import Record
from tests.judge.parity.conftest import GRAPH, KERAS_2, Make, with_entries, with_nan


def test_the_variances_correction_is_listed_verified_and_taken_out(make: Make) -> None:
    found = compare_traces(make(versions=KERAS_2, correction=1), make("tf-2.21"))
    assert found.agrees
    [known] = found.known
    assert "divided by n - 1 here, by n there" in known
    assert "times 1.03226 (n = 32)" in known


def test_the_correction_is_taken_out_of_every_step_of_fast_statistics(make: Make) -> None:
    fast = {"set_momentum": 0.5, "momentum": 0.5}
    found = compare_traces(make(versions=KERAS_2, correction=1, **fast), make("tf-2.21", **fast))
    assert found.agrees
    assert max(distance.value for distance in found.distances) < 1e-4


def test_a_variance_off_by_more_than_the_correction_is_found(make: Make) -> None:
    found = compare_traces(make(versions=KERAS_2, correction=2), make("tf-2.21"))
    assert not found.agrees


def test_a_corrected_variance_that_is_not_a_number_diverges(make: Make) -> None:
    record = make(versions=KERAS_2, correction=1)
    broken = with_nan(record, lambda e: e["step"] == 2 and e["quantity"] == "batch variance")
    first = compare_traces(broken, make("tf-2.21")).first
    assert first is not None
    assert str(first.place) == "step 2, batch variance of first_bn"


def test_the_graphs_second_update_is_known_and_that_of_others_is_not(make: Make) -> None:
    graph = compare_traces(make(versions=GRAPH, correction=1, updates=2), make("tf-2.21"))
    assert graph.agrees
    assert "2.0000 a step here, 1.0000 there" in graph.known[-1]
    later = {place.quantity: allowed for place, _, allowed in graph.distances if place.step}
    assert later["batch"] == 0
    assert later["adversarial_ce"] == 0.03
    assert later["gradient"] == float("inf")
    eager = make(versions=KERAS_2, correction=1, updates=2)
    assert not compare_traces(eager, make("tf-2.21")).agrees


def test_the_stack_that_a_record_names_decides_whether_it_is_a_graph(make: Make) -> None:
    planted: dict[str, Any] = {"correction": 1, "updates": 2}
    named = make(versions=KERAS_2, stack="graph", **planted)
    assert compare_traces(named, make("tf-2.21")).agrees
    named = make(versions=GRAPH, stack="eager", **planted)
    assert not compare_traces(named, make("tf-2.21")).agrees


def test_two_updates_under_the_plain_loss_are_not_known(make: Make) -> None:
    pair = [
        replace(record, settings={"phases": None})
        for record in (make(versions=GRAPH, correction=1, updates=2), make("tf-2.21"))
    ]
    assert not compare_traces(*pair).agrees


@pytest.mark.parametrize("kind", ["mean", "variance"])
def test_a_graph_that_freezes_a_layer_is_found_and_named(make: Make, kind: str) -> None:
    def freeze(entry: Entry) -> None:
        place = entry["quantity"], entry["layer"], entry.get("weight")
        if place == ("change", "second_bn", f"moving_{kind}"):
            entry.update(rms=0.0, projections=[0.0] * PROJECTIONS)

    graph = make(versions=GRAPH, correction=1, updates=2)
    found = compare_traces(with_entries(graph, freeze), make("tf-2.21"))
    assert not found.agrees
    told = f"updates a step 0 and 1 (second_bn/moving_{kind})"
    assert any(told in cause for cause in found.causes), found.causes


@pytest.mark.parametrize("step", [0, 3])
@pytest.mark.parametrize("quantity", ["adversarial_ce", "gradient"])
def test_nan_behind_the_graphs_second_update_is_found(make: Make, quantity: str, step: int) -> None:
    record = make(versions=GRAPH, correction=1, updates=2)
    broken = with_nan(record, lambda e: (e["step"], e["quantity"]) == (step, quantity))
    first = compare_traces(broken, make("tf-2.21")).first
    assert first is not None
    assert (first.place.step, first.place.quantity) == (step, quantity)


def test_the_graphs_adversarial_pass_is_held_loosely(make: Make) -> None:
    honest = make("tf-2.21")
    for wrong, agrees in ((0.01, True), (0.1, False)):
        record = make(versions=GRAPH, correction=1, updates=2, wrong_pass=wrong)
        found = compare_traces(record, honest)
        assert found.agrees == agrees
    assert "step's adversarial pass is not the one it was told" in found.causes[0]


def test_a_graph_whose_adversarial_pass_counts_other_images_agrees(make: Make) -> None:
    planted: dict[str, Any] = {"correction": 1, "updates": 2, "miscounted": 3}
    planted.update({"set_rate": None, "late": None})
    assert compare_traces(make(versions=GRAPH, **planted), make("tf-2.21")).agrees


def test_a_graph_that_leaves_the_order_open_may_apply_other_gradients_than_traced(
    make: Make,
) -> None:
    planted: dict[str, Any] = {"correction": 1, "unordered": 0.012}
    assert compare_traces(make(versions=GRAPH, updates=2, **planted), make("tf-2.21")).agrees
    eager = compare_traces(make(versions=KERAS_2, **planted), make("tf-2.21"))
    assert any("Optimizer" in cause for cause in eager.causes), eager.causes


def test_the_graphs_later_steps_are_judged_by_what_they_imply(make: Make) -> None:
    graph = make(versions=GRAPH, correction=1, updates=2, sgd=0.8)
    found = compare_traces(graph, make("tf-2.21"))
    assert not found.agrees
    assert found.first is None
    assert any("momentum 0.8 here" in cause for cause in found.causes)


def resting_graph(make: Make, **planted: Any) -> Record:
    """Make the record of a graph that is due no update of its statistics."""
    return make("tf-1.14", GRAPH, correction=1, updates=0, **planted)


def poisoned(record: Record, quantity: str = "change", *, step: int = 1) -> Record:
    """Copy a record, with NaN in the first entry of `quantity` at `step`, and in what follows."""
    own = (e for e in record.statistics if (e["step"], e["quantity"]) == (step, quantity))
    first = next(own)
    return with_nan(
        record,
        lambda e: e == first or (e["step"] > step and e["quantity"] not in ("batch", "replay")),
    )


def rests(entry: Entry) -> bool:
    """True where an entry is of a moving statistic, or did not move."""
    return entry.get("rms") == 0 or entry.get("weight", "").startswith("moving")


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("step", [0, 1])
def test_the_graphs_nan_where_no_update_is_due_is_known(
    make: Make, step: int, swapped: bool
) -> None:
    pair = [poisoned(resting_graph(make), step=step), make("tf-2.21", updates=0)]
    found = compare_traces(*(reversed(pair) if swapped else pair))
    assert found.agrees, found.causes
    assert f"1 of 4 become NaN {'there' if swapped else 'here'}" in found.known[-1]
    places = [place for place, *_ in found.distances]
    assert {place.quantity for place in places if place.step == step + 1} == {"batch"}
    assert "batch mean" in {place.quantity for place in places if place.step == step}


@pytest.mark.parametrize("steps", [(1, 3), (3, 1)])
def test_of_two_poisoned_graphs_the_first_nan_ends_the_comparison(
    make: Make, steps: tuple[int, int]
) -> None:
    found = compare_traces(*(poisoned(resting_graph(make), step=step) for step in steps))
    assert found.agrees, found.causes
    assert {d.place.quantity for d in found.distances if d.place.step == 2} == {"batch"}


def test_a_graph_whose_nan_reaches_its_first_step_agrees_still(make: Make) -> None:
    graph = poisoned(resting_graph(make), step=0)
    reached = ("adversarial_ce", "loss", "gradient", "change")
    broken = with_nan(graph, lambda e: e["quantity"] in reached and not rests(e))
    found = compare_traces(broken, make("tf-2.21", updates=0))
    assert found.agrees, found.causes


def test_other_faults_of_a_graph_poisoned_at_its_first_step_are_told(make: Make) -> None:
    graph = poisoned(resting_graph(make, epsilon=0.011), step=0)
    [cause] = compare_traces(graph, make("tf-2.21", updates=0)).causes
    assert "FGSM epsilon" in cause


def test_nan_of_other_releases_or_before_the_statistics_is_not_known(make: Make) -> None:
    honest = make("tf-2.21", updates=0)
    eager = make(versions=KERAS_2, correction=1, updates=0)
    assert compare_traces(eager, honest).agrees
    assert not compare_traces(poisoned(eager), honest).agrees
    graph = resting_graph(make)
    assert not compare_traces(poisoned(graph, "inference logits"), honest).agrees
    moving = poisoned(make("tf-1.14", GRAPH, correction=1))
    assert not compare_traces(moving, make("tf-2.21")).agrees
    other = with_nan(
        honest,
        lambda e: (e["step"], e["layer"], e.get("weight")) == (1, "first_bn", "moving_variance"),
    )
    assert not compare_traces(poisoned(graph), other).agrees
    assert compare_traces(poisoned(graph), poisoned(graph)).agrees
