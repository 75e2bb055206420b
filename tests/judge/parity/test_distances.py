"""Tests of suite.judge.parity.distances: how far traces lie apart, and how far they may."""

from __future__ import annotations

import base64
import math

import numpy as np
import pytest

from suite.judge.parity.compare import compare_traces
from suite.judge.parity.distances import (
    FINITE,
    FOLLOWING,
    TOLERANCES,
    Circumstances,
    Distance,
    absolute_difference,
    distances,
    flips,
    tolerance_name,
    turned_tolerance,
)
from suite.judge.parity.implied import ACCURACIES, Place, trace_of
from tests.judge.parity.conftest import Against, Make, with_nan


def test_rounding_is_no_difference(against: Against) -> None:
    found = against(noise=1e-6)
    assert found.agrees
    assert max(distance.value for distance in found.distances) > 0


def test_the_first_step_and_layer_that_diverge_are_told(against: Against) -> None:
    first = against(forward=0.01).first
    assert first is not None
    assert str(first.place) == "step 0, batch mean of second_bn"
    assert first.value == pytest.approx(0.01, rel=0.9)


def test_what_is_not_a_number_in_one_release_alone_diverges(make: Make) -> None:
    odd = with_nan(make(), lambda e: (e["step"], e["quantity"]) == (0, "inference logits"))
    first = compare_traces(odd, make("tf-2.21")).first
    assert first is not None
    assert (first.place.step, first.place.quantity) == (0, "inference logits")
    assert compare_traces(odd, odd).agrees


def test_losses_that_are_not_a_number_in_both_do_not_differ(make: Make) -> None:
    odd = with_nan(make(), lambda e: e["quantity"] in ("adversarial_ce", "loss"))
    found = compare_traces(odd, odd)
    assert found.agrees, found
    assert not compare_traces(odd, make("tf-2.21")).agrees


def test_what_follows_turned_units_is_excused_under_an_adaptive_optimizer_alone() -> None:
    later = Distance(Place(1, "change", "bn", "moving_mean"), 0.04, 0.02)
    assert turned_tolerance(later, attacked=False, adaptive=True) == FOLLOWING
    assert turned_tolerance(later, attacked=False, adaptive=False) == 0


def test_every_tolerance_is_of_a_quantity_that_is_traced(make: Make) -> None:
    names = {tolerance_name(place) for place in trace_of(make())}
    assert set(TOLERANCES) <= names
    assert names - set(TOLERANCES) == {
        "batch norm",
        "evaluation",
        "optimizer",
        "several steps",
        "start",
        "replay",
        *ACCURACIES,
    }


@pytest.mark.parametrize(
    ("value", "tolerance", "diverges"),
    [(0.1, 0.1, False), (0.11, 0.1, True), (math.nan, 0.1, True), (math.nan, FINITE, True)],
)
def test_what_is_more_than_the_tolerance_or_no_number_diverges(
    value: float, tolerance: float, *, diverges: bool
) -> None:
    assert Distance(Place(0, "loss"), value, tolerance).diverges == diverges


def test_numbers_that_are_none_in_both_do_not_differ() -> None:
    here, there = np.array([1.0, math.nan, math.nan, math.inf]), np.array([3.0, math.nan, 1.0, 0.0])
    np.testing.assert_array_equal(absolute_difference(here, there), [2.0, 0.0, math.nan, math.inf])
    assert absolute_difference(math.inf, math.inf) == 0


def test_pixels_that_rose_in_one_trace_alone_are_counted() -> None:
    def signs(*rose: int) -> str:
        return base64.b64encode(np.packbits(np.array(rose, bool)).tobytes()).decode()

    here = signs(1, 1, 0, 0, 1, 0, 1, 0)
    assert flips(here, here).mean() == 0
    assert flips(here, signs(1, 0, 0, 0, 1, 0, 1, 1)).mean() == 0.25
    assert flips(here, signs(*[0] * 16)).mean() == 1


def test_later_gradients_may_lie_further_apart_behind_an_attack(make: Make) -> None:
    """A few pixels that rounding turned changed VGG19's by half within three steps."""
    theirs = trace_of(make("tf-2.21"))
    slope = next(p for p in theirs if p.quantity == "gradient" and p.step == 2)
    calm = {place: entry for place, entry in theirs.items() if place.quantity != "perturbation"}
    for trace, allowed in ((theirs, 1.0), (calm, 0.5)):
        found = distances(trace, trace, Circumstances())
        assert next(each for each in found if each.place == slope).tolerance == allowed
