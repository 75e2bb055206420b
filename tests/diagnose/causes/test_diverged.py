from __future__ import annotations

from suite.diagnose.found import (
    DIVERGED,
    HEALTHY,
    RESCALED,
    STALE,
    Weights,
)
from suite.networks.phases import INFERENCE, TRAINING
from tests.diagnose.causes.examined import found, stale_layers, trial, trials


def test_exploded_weights_come_before_the_statistics_behind_them() -> None:
    weights = (Weights("conv", True, 100.0), Weights("head", True, 1.2))
    made = trials(0.0, 1.2, trial(RESCALED, 1.2, layer="conv"))
    finding = found(made, layers=stale_layers(), weights=weights)
    assert finding[:3] == (DIVERGED, "exploded weights", "conv")


def test_weights_exploded_where_scaling_them_back_helps_a_network_that_still_tells_something() -> (
    None
):
    weights = (Weights("conv", True, 8.0), Weights("head", True, 1.2))
    made = trials(0.3, 0.3, trial(RESCALED, 1.2, layer="conv"))
    finding = found(made, weights=weights)
    assert finding[:3] == (DIVERGED, "exploded weights", "conv")
    assert "Scaled back, the network gives 1.20 nats." in finding.words
    worse = trials(0.3, 1.3, trial(RESCALED, 0.8, layer="conv"))  # recomputed statistics do more
    assert found(worse, weights=weights, layers=stale_layers()).verdict == STALE


def test_sure_errors_that_scaling_back_cools_are_of_exploded_weights() -> None:
    hot = trials(0.3, 0.3, trial(RESCALED, 0.3, layer="head"))
    evaluation = hot[0].evaluation._replace(information_gain=-50.0)
    weights = (Weights("conv", True, 1.0), Weights("head", True, 8.0))
    finding = found((hot[0]._replace(evaluation=evaluation), *hot[1:]), weights=weights)
    assert finding[:3] == (DIVERGED, "exploded weights", "head")


def test_weights_that_are_large_but_mend_nothing_are_not_the_cause() -> None:
    weights = (Weights("conv", True, 8.0), Weights("head", True, 1.2))
    made = trials(0.0, 1.2, trial(RESCALED, 0.0, layer="conv"))
    assert found(made, layers=stale_layers(), weights=weights).verdict == STALE
    assert found(trials(1.0, 1.0), weights=weights).verdict == HEALTHY


def test_kernels_that_are_all_large_have_exploded_whatever_the_scales_of_batch_norm() -> None:
    scales = tuple(Weights(f"bn{index}", False, 1.0) for index in range(5))
    kernels = (Weights("conv", True, 9.0), Weights("head", True, 9.0))
    finding = found(trials(0.05, 0.05), weights=(*kernels, *scales))
    assert finding[:3] == (DIVERGED, "exploded weights", "conv")


def test_weights_that_are_not_numbers_come_first() -> None:
    bare = (trial(INFERENCE, -1.0), trial(TRAINING, -1.0))
    finding = found(bare, layers=(), nonfinite="conv")
    assert finding[:3] == (DIVERGED, "NaN weights", "conv")


def test_outputs_too_large_to_compute_with_name_the_largest_weights() -> None:
    weights = (Weights("conv", True, 1e20), Weights("head", True, 1.2))
    finding = found(trials(-1.0, -1.0), weights=weights, overflow=True)
    assert finding[:3] == (DIVERGED, "exploded weights", "conv")
    assert "NaN or infinite though all weights are finite" in finding.words[0]
