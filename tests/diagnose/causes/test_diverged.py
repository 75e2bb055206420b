from __future__ import annotations

import numpy as np
import pytest

from suite.diagnose.found import (
    ACTIVATION,
    DIVERGED,
    HEALTHY,
    OTHER,
    STALE,
    STATISTIC,
    UNDECIDED,
    WEIGHT,
    HeadLoss,
    NonFinite,
    Weights,
)
from suite.diagnose.trials import FLOAT32, RESCALED, Trial
from suite.networks.phases import INFERENCE, TRAINING
from tests.diagnose.causes.examined import found, layer, stale_layers, trial, trials


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


def hot(told: float, cooled: float) -> tuple[Trial, ...]:
    """Make up a network that is sure of what is wrong, and with its head scaled back is not."""
    made = trials(told, told, trial(RESCALED, cooled, layer="head"))
    evaluation = made[0].evaluation._replace(information_gain=-50.0)
    return (made[0]._replace(evaluation=evaluation), *made[1:])


def test_large_weights_that_make_a_network_too_sure_and_not_wrong_are_no_cause() -> None:
    weights = (Weights("conv", True, 1.0), Weights("head", True, 60.0))
    for worth, verdict in ((1.2, HEALTHY), (0.3, UNDECIDED)):
        finding = found(hot(worth, worth), weights=weights)
        assert finding[:2] == (verdict, "")
        words = " ".join(finding.words)
        assert "It is surer than it is right: -50.00 nats" in words
        assert "The weights of head are large" in words
        assert "temperature" in words
    useless = found(hot(0.0, 0.3), weights=weights)
    assert useless[:3] == (DIVERGED, "exploded weights", "head")


def test_kernels_that_are_all_large_do_no_harm_where_the_classes_are_told() -> None:
    kernels = (Weights("conv", True, 9.0), Weights("head", True, 9.0))
    assert found(trials(1.0, 1.0), weights=kernels).cause == ""


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


BARE = (trial(INFERENCE, -1.0), trial(TRAINING, -1.0))
KERNEL = NonFinite("conv", "Conv2D", WEIGHT, "kernel", 0.001, "float32", np.nan, INFERENCE)
VARIANCE = NonFinite(
    "bn2", "BatchNormalization", STATISTIC, "moving variance", 0.25, "float32", np.nan, INFERENCE
)
OVERFLOW = NonFinite("conv", "Conv2D", ACTIVATION, "", 1.0, "float16", 300.0, INFERENCE)
ACTIVE = OVERFLOW._replace(dtype="float32")


def test_weights_that_are_not_numbers_come_first() -> None:
    finding = found(BARE, layers=(), broken=KERNEL)
    assert finding[:3] == (DIVERGED, "NaN weights", "conv")
    assert "The kernel of conv is NaN or infinite in under 1% of its numbers" in finding.words[0]


def test_a_head_and_a_loss_that_may_have_made_weights_nan_are_named() -> None:
    head = HeadLoss("head", "linear", 4, "sparse_categorical_crossentropy", from_logits=False)
    words = found(BARE, layers=(), broken=KERNEL, head=head).words
    assert any("What may have led to it: head (4 units, linear)" in text for text in words)
    right = head._replace(from_logits=True)
    assert not any(
        "led to it" in text for text in found(BARE, layers=(), broken=KERNEL, head=right)[4]
    )


def test_a_statistic_that_is_not_a_number_is_recomputed_and_nothing_has_diverged() -> None:
    finding = found(trials(-1.0, 1.3), broken=VARIANCE)
    assert finding[:4] == (STALE, "moving variance not finite", "bn2", "precise-bn")
    assert "they take the network from 25.0% to 95.3% right" in finding.words[0]
    assert "moving variance of bn2 is NaN or infinite in 25% of its channels" in finding.words[0]


def test_a_layer_whose_variance_is_below_zero_is_a_statistic_to_recompute() -> None:
    finding = found(trials(-1.0, 1.3), broken=ACTIVE._replace(layer="bn2"))
    assert finding[:4] == (STALE, "moving variance not finite", "bn2", "precise-bn")
    assert "its moving variance is below 0" in finding.words[0]
    assert "No training makes a variance below 0" in finding.words[1]
    layers = tuple(layer(name, epsilon=0.0) for name in ("bn1", "bn2", "bn3"))
    none = found(trials(-1.0, 1.3), broken=ACTIVE._replace(layer="bn2"), layers=layers)
    assert "an average that a NaN went into stays NaN" in none.words[1]


@pytest.mark.parametrize("broken", [OVERFLOW, VARIANCE._replace(dtype="float16")])
def test_what_is_too_large_for_half_precision_is_no_divergence(broken: NonFinite) -> None:
    finding = found(trials(-1.0, -1.0, trial(FLOAT32, 1.3)), broken=broken)
    assert finding[:3] == (OTHER, "overflow in half precision", broken.layer)
    words = " ".join(finding.words)
    assert "65504" in words
    assert "are right in 95.3% instead of 25.0%" in words
    assert "not trained" not in words


def test_a_nan_statistic_of_half_precision_that_fits_when_recomputed_is_no_overflow() -> None:
    made = trials(-1.0, 1.3, trial(FLOAT32, 1.3))
    assert found(made, broken=VARIANCE._replace(dtype="float16")).verdict == STALE


def test_half_precision_that_could_not_be_tried_is_said_so() -> None:
    assert any("could not be copied" in text for text in found(BARE, broken=OVERFLOW).words)


def test_what_float16_makes_otherwise_without_harm_is_healthy() -> None:
    broken = OVERFLOW._replace(share=0.0)
    assert found(trials(1.0, 1.0, trial(FLOAT32, 1.01)), broken=broken).verdict == HEALTHY
    harmed = found(trials(0.6, 0.6, trial(FLOAT32, 1.3)), broken=broken)
    assert harmed.cause == "overflow in half precision"


def test_the_training_phase_alone_may_not_be_finite() -> None:
    broken = ACTIVE._replace(phase=TRAINING, layer="bn2", kind="BatchNormalization", share=0.5)
    finding = found(trials(1.3, 1.3), broken=broken)
    assert finding[:3] == (OTHER, "NaN in the training phase", "bn2")
    assert "the inference phase is finite and right in 95.3%" in finding.words[0]
    half = broken._replace(dtype="float16", layer="conv")
    assert found(trials(1.3, 1.3, trial(FLOAT32, 1.3)), broken=half).cause.startswith("overflow")


def test_activations_too_large_to_compute_with_name_the_largest_weights() -> None:
    weights = (Weights("conv", True, 1e20), Weights("head", True, 1.2))
    finding = found(trials(-1.0, -1.0), weights=weights, broken=ACTIVE)
    assert finding[:3] == (DIVERGED, "exploded weights", "conv")
    assert "what goes in is finite (up to 300) and so are all weights" in finding.words[0]


def test_a_layer_that_makes_a_nan_of_finite_numbers_is_named() -> None:
    broken = ACTIVE._replace(layer="log", kind="Lambda", share=0.02)
    finding = found(BARE, layers=(), broken=broken)
    assert finding[:3] == (OTHER, "NaN activations", "log")
    assert "log (Lambda) puts out NaN or infinite numbers for 2% of the images" in finding.words[0]
    own = found(BARE, layers=(), broken=broken._replace(layer=""))
    assert own.words[0].startswith("The model's own call puts out NaN")
