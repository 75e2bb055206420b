"""Tests of suite.judge.parity.implied: a trace tells what the training computed with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from suite.errors import RecordError
from suite.judge.parity.implied import (
    Place,
    descent,
    fgsm_epsilon,
    first_rates,
    layers_of,
    loss_weights,
    replay,
    steps_of,
    trace_of,
    update_counts,
    updates_per_step,
)
from tests.judge.parity.conftest import (
    LAYERS,
    PROJECTIONS,
    STEPS,
    Make,
    MakeRecord,
    with_entries,
    with_nan,
)


def test_a_trace_is_read_by_place(make: Make) -> None:
    trace = trace_of(make())
    assert steps_of(trace) == list(range(STEPS))
    assert list(layers_of(trace)) == list(LAYERS)
    assert trace[Place(2, "gradient", "conv", "kernel")]["weight"] == "kernel"
    assert str(Place(2, "gradient", "conv", "kernel")) == "step 2, gradient of conv/kernel"
    assert str(Place(0, "loss")) == "step 0, loss"


def test_a_record_that_holds_no_trace_is_refused(make_record: MakeRecord) -> None:
    with pytest.raises(RecordError, match=r"net-plain-seed0 of tf-2.21 holds no trace: 'step'"):
        trace_of(make_record())


@pytest.mark.parametrize(
    ("planted", "settings"),
    [
        ({}, (1.0, 0.9, True, 0.0)),
        ({"rate": 1.1}, (1.1, 0.9, True, 0.0)),
        ({"sgd": 0.8, "nesterov": False}, (1.0, 0.8, False, 0.0)),
        ({"sgd": 0.0, "nesterov": False}, (1.0, 0.0, False, 0.0)),
        ({"sgd": 0.0, "nesterov": False, "decay": 0.05}, (1.0, 0.0, False, 0.05)),
    ],
    ids=str,
)
def test_the_updates_tell_the_settings_of_sgd(
    make: Make, planted: dict[str, Any], settings: tuple[float, ...]
) -> None:
    found = descent(trace_of(make(**planted)))
    assert found is not None
    assert found[:4] == pytest.approx(settings, abs=1e-6)
    assert found.unexplained < 1e-6


def test_fewer_than_three_finite_steps_tell_no_settings(make: Make) -> None:
    for step, told in ((2, False), (3, True)):
        broken = with_nan(make(), lambda e, step=step: e["step"] >= step)
        assert (descent(trace_of(broken)) is not None) == told


@pytest.mark.parametrize("huge", [1e300, -1e300, float("inf")])
def test_numbers_too_large_to_be_fitted_are_not(
    make: Make, capfd: pytest.CaptureFixture[str], huge: float
) -> None:
    def grow(entry: dict[str, Any]) -> None:
        entry.update({"projections": [huge] * PROJECTIONS} if "projections" in entry else {})
        entry.update({"value": huge} if "value" in entry else {})

    trace = trace_of(with_entries(make(), grow))
    with np.errstate(all="ignore"):
        assert descent(trace) is None
        assert loss_weights(trace) is None
    assert "".join(capfd.readouterr()) == ""  # the fit itself would print


def test_the_first_updates_tell_the_rate_of_each_layer(make: Make) -> None:
    rates = first_rates(trace_of(make(sgd=0.0, nesterov=False, rate=1.5)))
    assert rates == pytest.approx({"conv": 1.5, "first_bn": 1.5, "logits": 1.5})


@pytest.mark.parametrize("updates", [0, 1, 2])
def test_the_statistics_tell_the_updates_of_a_step(make: Make, updates: int) -> None:
    trace = trace_of(make(updates=updates))
    assert set(update_counts(trace)) == {(x, kind) for x in LAYERS for kind in ("mean", "variance")}
    assert list(update_counts(trace).values()) == pytest.approx([updates] * 4)
    assert updates_per_step(trace) == pytest.approx(updates)


def test_the_losses_tell_their_weights(make: Make) -> None:
    assert loss_weights(trace_of(make(clean_share=0.3))) == pytest.approx((0.3, 0.7))
    broken = with_nan(make(), lambda e: e["step"] >= 1)
    assert loss_weights(trace_of(broken)) is None


def test_the_pixels_tell_epsilon(make: Make) -> None:
    assert fgsm_epsilon(trace_of(make(epsilon=0.02))) == 0.02
    plain = {p: e for p, e in trace_of(make()).items() if p.quantity != "perturbation"}
    assert fgsm_epsilon(plain) is None


def test_a_step_is_compared_with_the_suites_own_passes(make: Make) -> None:
    found = replay(trace_of(make(wrong_pass=0.05)), 0)
    assert found is not None
    assert (found.clean, found.adversarial) == pytest.approx((0.0, 0.05))
    assert found.reach > 1
    plain = {p: e for p, e in trace_of(make()).items() if p.quantity != "replay"}
    assert replay(plain, 0) is None
