"""Tests of suite.measure.questions.attack: a right attack, and each way to get one wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from suite.cases import Case
from suite.measure.evaluation import log_likelihood
from suite.measure.questions import attack
from suite.networks.types import Images, Labels, Model
from suite.stacks import eager
from suite.stacks.protocol import Stack
from tests.measure.conftest import SMALL, run_small

EPSILON = 0.05
RIGHT = eager.fast_gradient_method


def measured(stack: Stack, model: Model, images: Images, labels: Labels) -> dict[str, float]:
    return attack.attack_metrics(stack, model, images, labels, epsilon=EPSILON)


def test_a_right_attack_is_told_as_such(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels
) -> None:
    metrics = measured(stack, foreign_model, images, labels)
    assert metrics["perturbation_max"] == pytest.approx(EPSILON, rel=1e-4)
    assert metrics["perturbed_fraction"] > 0.9
    assert metrics["pixel_min"] >= 0
    assert metrics["pixel_max"] <= 1
    assert metrics["loss_rise"] > 0.01
    assert metrics["raised_fraction"] == 1
    assert metrics["state_change"] == 0
    assert metrics["linear_error"] < 1e-6
    assert metrics["linear_label_gap"] == pytest.approx(2 * EPSILON, rel=1e-4)


def test_the_metrics_are_those_of_the_network_itself(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels
) -> None:
    logits = np.asarray(foreign_model(images, training=False))
    metrics = measured(stack, foreign_model, images, labels)
    predicted = logits.argmax(axis=1)
    assert metrics["true_label_accuracy"] == pytest.approx((predicted == labels).mean())
    crafted = stack.network(foreign_model).craft(images, epsilon=EPSILON, training=False)
    attacked = np.asarray(foreign_model(crafted, training=False))
    rise = log_likelihood(logits, predicted) - log_likelihood(attacked, predicted)
    assert metrics["loss_rise"] == pytest.approx(rise.mean(), rel=1e-4)


def faulty(**changes: Any) -> Any:
    def craft(model_fn: Any, x: Any, eps: Any, norm: Any, **options: Any) -> Any:
        scale = changes.get("scale", 1.0)
        options.update(
            {name: changes[name] for name in ("clip_min", "clip_max") if name in changes}
        )
        if "targeted" in changes:
            options["targeted"] = changes["targeted"]
        return RIGHT(model_fn, x, eps * scale, changes.get("norm", norm), **options)

    return craft


FAULTS = {
    "epsilon doubled": {"scale": 2.0},
    "epsilon halved": {"scale": 0.5},
    "sign flipped": {"scale": -1.0},
    "not clipped": {"clip_min": None, "clip_max": None},
    "clipped elsewhere": {"clip_max": 2.0},
    "euclidean norm": {"norm": 2},
    "targeted": {"targeted": True},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_attack_shows_on_the_linear_model(
    stack: Stack, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eager, "fast_gradient_method", faulty(**FAULTS[fault]))
    assert attack.linear_errors(stack, epsilon=EPSILON)["linear_error"] > 0.01


@pytest.mark.parametrize("fault", ["sign flipped", "targeted"])
def test_an_attack_that_helps_does_not_raise_the_loss(
    stack: Stack,
    foreign_model: Model,
    images: Images,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    monkeypatch.setattr(eager, "fast_gradient_method", faulty(**FAULTS[fault]))
    metrics = measured(stack, foreign_model, images, np.zeros(len(images), np.int64))
    assert metrics["loss_rise"] < 0
    assert metrics["raised_fraction"] == 0


def test_an_attack_on_other_labels_closes_the_label_gap(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf  # noqa: PLC0415

    def leaking(model_fn: Any, x: Any, eps: Any, norm: Any, **options: Any) -> Any:
        return RIGHT(model_fn, x, eps, norm, y=(tf.argmax(model_fn(x), 1) + 1) % 5, **options)

    monkeypatch.setattr(eager, "fast_gradient_method", leaking)
    errors = attack.linear_errors(stack, epsilon=EPSILON)
    assert errors["linear_error"] == pytest.approx(2 * EPSILON, rel=1e-4)
    assert errors["linear_label_gap"] < 1e-6


def test_crafting_in_the_training_phase_shows_as_a_change_of_state(
    stack: Stack,
    foreign_model: Model,
    images: Images,
    labels: Labels,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    craft = eager.EagerNetwork.craft

    def other_phase(network: Any, images: Images, *, epsilon: float, training: bool) -> Images:
        return craft(network, images, epsilon=epsilon, training=not training)

    monkeypatch.setattr(eager.EagerNetwork, "craft", other_phase)
    assert measured(stack, foreign_model, images, labels)["state_change"] > 0


def test_fgsm_by_hand_climbs_the_numerical_gradient() -> None:
    rng = np.random.default_rng(0)
    images = rng.uniform(0.2, 0.8, (2, 2, 2, 3)).astype(np.float32)
    kernel, labels = rng.normal(size=(12, 5)), np.array([1, 4])
    logits = images.reshape(2, -1).astype(np.float64) @ kernel
    base = log_likelihood(logits, labels)
    for index in range(12):
        nudged = images.reshape(2, -1).astype(np.float64)
        nudged[:, index] += 1e-6
        slope = base - log_likelihood(nudged @ kernel, labels)
        moved = attack.fgsm_by_hand(images, kernel, labels, 0.1) - images
        np.testing.assert_allclose(moved.reshape(2, -1)[:, index], 0.1 * np.sign(slope), rtol=1e-5)


def test_state_change_is_the_largest_of_any_array() -> None:
    before = [np.zeros(2), np.ones((2, 2))]
    after = [np.array([0.0, -0.3]), np.ones((2, 2)) * 1.2]
    assert attack.state_change(before, after) == pytest.approx(0.3)
    assert attack.state_change(before, before) == 0
    assert np.isnan(attack.state_change(before, [before[0], before[1] * np.nan]))


def test_an_attack_case_records_the_attacks_properties(stack: Stack) -> None:
    record = run_small(stack, Case("lenet5", question="attack", **SMALL))
    assert record.question == "attack"
    assert record.metrics["perturbation_max"] == pytest.approx(0.01, rel=1e-3)
    assert record.metrics["linear_error"] < 1e-6
    assert record.metrics["state_change"] == 0
    assert not record.curves
