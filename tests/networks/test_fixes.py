"""Tests of suite.networks.fixes: each changes what it names and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from suite.networks.batch_norm import batch_norms
from suite.networks.fixes import FIXES, apply, require_fix
from suite.networks.phases import GRID, INFERENCE, PHASES, TRAINING, Phases
from suite.networks.types import Model
from suite.stacks.protocol import Stack
from tests.arrays import assert_same
from tests.networks.conftest import SAVING, fixed_model, recompute, reloaded

OF_MODELS = (
    "bn-momentum-0.5",
    "bn-momentum-0.9",
    "bn-freeze",
    "bn-reset",
    "precise-bn",
    "imagenet-inputs",
    "dual-bn",
    "group-norm",
)
"""The fixes that change the model."""

OF_BATCH_NORM = tuple(name for name in OF_MODELS if name != "imagenet-inputs")

pytestmark = SAVING


def test_the_names_are_those_the_issue_lists() -> None:
    assert len(FIXES) == 13
    for name in (*FIXES, "bn-momentum-0", "bn-momentum-0.125"):
        require_fix(name)


@pytest.mark.parametrize(
    "name", ["", "momentum", "bn-momentum-1", "bn-momentum-nan", "bn-momentum--1", "bn-momentum-"]
)
def test_an_unknown_name_is_refused_with_the_rows(name: str) -> None:
    with pytest.raises(ValueError, match=r"fix must be one of none, .*X in \[0, 1\). Received: "):
        require_fix(name)


def test_the_control_changes_nothing(stack: Stack, foreign_model: Model) -> None:
    before = foreign_model.get_weights()
    fixed = apply("none", stack.keras, foreign_model, phases=PHASES["literal"])
    assert fixed == (foreign_model, foreign_model, PHASES["literal"], 32, 10, ())
    assert_same(before, foreign_model.get_weights())
    assert [layer.momentum for layer in batch_norms(foreign_model)] == pytest.approx([0.99])


@pytest.mark.parametrize("name", OF_MODELS)
def test_the_given_model_is_left_as_it_was(stack: Stack, nested: Model, name: str) -> None:
    weights, config = nested.get_weights(), str(nested.get_config())
    model = fixed_model(name, stack.keras, nested)
    assert str(nested.get_config()) == config
    shared = set(map(id, nested.weights)) & set(map(id, model.weights))
    assert not shared
    model.set_weights([0 * weight for weight in model.get_weights()])
    assert_same(weights, nested.get_weights())
    assert all(layer.trainable for layer in batch_norms(nested))


@pytest.mark.parametrize("name", ["bn-momentum-0.5", "bn-freeze", "dual-bn", "group-norm"])
def test_a_fixed_model_computes_the_same_after_saving_and_loading(
    stack: Stack, nested: Model, images: np.ndarray, tmp_path: Path, name: str
) -> None:
    model = fixed_model(name, stack.keras, nested)
    loaded = reloaded(stack.keras, model, tmp_path)
    settings = [
        [(layer.name, layer.momentum, layer.trainable) for layer in batch_norms(saved)]
        for saved in (model, loaded)
    ]
    assert settings[0] == settings[1]
    logits = [stack.network(saved).logits(images, training=False) for saved in (model, loaded)]
    np.testing.assert_allclose(*logits, rtol=1e-4, atol=1e-5)
    assert_same(model.get_weights(), loaded.get_weights())


def test_a_network_of_keras_applications_is_fixed(stack: Stack) -> None:
    keras = stack.keras
    model = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=5)
    count = len(list(batch_norms(model)))
    assert count == 52
    weights = model.get_weights()
    fixed = apply("bn-momentum-0.5", keras, model)
    assert "52 BatchNorm layers (bn_Conv1 to Conv_1_bn)" in fixed.changes[0]
    assert_same(weights, fixed.model.get_weights())
    if hasattr(keras.layers, "GroupNormalization"):
        assert not any(batch_norms(apply("group-norm", keras, model).model))


# The momentum


def published_patch(model: Model, momentum: float) -> Model:
    """Make the published answer's model: its config rewritten, its weights copied."""
    config = model.get_config()
    for layer in config["layers"]:
        if "momentum" in layer["config"]:
            layer["config"]["momentum"] = momentum
    patched = type(model).from_config(config)
    patched.set_weights(model.get_weights())
    return patched


def test_the_published_patch_and_the_attribute_and_the_fix_are_equal(
    stack: Stack, foreign_model: Model, images: np.ndarray
) -> None:
    keras = stack.keras
    passes = [np.roll(images, turn, axis=0) / (turn + 1) for turn in range(3)]

    def trained(model: Model) -> list[np.ndarray]:
        """List weights and outputs after passes in the training phase, and after steps."""
        network, found = stack.network(model), []
        step = stack.train_step(model, phases=None, epsilon=0.0)  # the same at each run on 1.14
        for act in (
            lambda batch: network.logits(batch, training=True),
            lambda batch: step(batch, np.arange(4, dtype=np.int64), 0.01),
        ):
            for batch in passes:
                act(batch)
            found += [*model.get_weights(), network.logits(images, training=False)]
        return found

    patched = trained(published_patch(foreign_model, 0.5))
    fixed = trained(apply("bn-momentum-0.5", keras, foreign_model).model)
    unfixed = trained(apply("bn-momentum-0.99", keras, foreign_model).model)
    foreign_model.get_layer("bn").momentum = 0.5
    by_attribute = trained(foreign_model)
    for found in (fixed, by_attribute):
        for array, expected in zip(found, patched):
            np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(unfixed[-1] - patched[-1]).max() > 0.01


def test_any_momentum_is_set_and_told_of(stack: Stack, nested: Model) -> None:
    fixed = apply("bn-momentum-0.75", stack.keras, nested)
    assert fixed.changes == ("momentum of 3 BatchNorm layers (shared to bn) 0.99 -> 0.75",)
    assert [layer.momentum for layer in batch_norms(fixed.model)] == [0.75] * 3
    again = apply("bn-momentum-0.75", stack.keras, fixed.model)
    assert again.changes == ("momentum of 3 BatchNorm layers (shared to bn) is 0.75 already",)


# Phases and schedule

T, I = TRAINING, INFERENCE  # noqa: E741 - as in the tables of phases


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("bn-inference", PHASES["intended"], Phases(I, I, I)),
        ("training-phase", PHASES["literal"], Phases(T, T, T)),
        ("attack-inference-loss-training", PHASES["intended"], Phases(T, I, T)),
        ("phase-scope", PHASES["literal"], PHASES["intended"]),
        ("phase-scope", PHASES["intended"], PHASES["intended"]),
        ("phase-scope", GRID["clean-kept"], GRID["clean-kept"]),
        ("training-phase", None, None),
        ("attack-inference-loss-training", None, None),
        ("phase-scope", None, None),
    ],
)
def test_a_fix_of_phases_keeps_the_model(
    stack: Stack, foreign_model: Model, name: str, given: Phases | None, expected: Phases | None
) -> None:
    fixed = apply(name, stack.keras, foreign_model, phases=given)
    assert fixed[:-1] == (foreign_model, foreign_model, expected, 32, 10)
    (words,) = fixed.changes
    assert words.startswith("nothing to change" if given == expected else "phases ")


def test_more_iterations_are_smaller_batches_for_longer(stack: Stack, foreign_model: Model) -> None:
    fixed = apply("more-iterations", stack.keras, foreign_model, batch_size=16, epochs=2)
    assert fixed[:-1] == (foreign_model, foreign_model, None, 8, 10)
    assert fixed.changes == ("batch size 16 -> 8", "epochs 2 -> 10")


def test_what_cannot_be_applied_says_what_is_missing(stack: Stack, foreign_model: Model) -> None:
    with pytest.raises(ValueError, match=r"phases must .* bn-freeze .* Received: None"):
        apply("bn-inference", stack.keras, foreign_model)
    with pytest.raises(ValueError, match="recompute must be a function"):
        apply("precise-bn", stack.keras, foreign_model)
    unbuilt = stack.keras.Sequential([stack.keras.layers.BatchNormalization()])
    with pytest.raises(ValueError, match="model must be built"):
        apply("bn-reset", stack.keras, unbuilt)


@pytest.mark.parametrize("name", OF_BATCH_NORM)
def test_without_batch_norm_there_is_nothing_to_change(stack: Stack, name: str) -> None:
    inputs = stack.keras.Input((2,))
    model = stack.keras.Model(inputs, stack.keras.layers.Dense(2)(inputs))
    fixed = apply(name, stack.keras, model, recompute=recompute)
    assert fixed[:2] == (model, model)
    assert fixed.changes == ("nothing to change: the model has no BatchNorm layer",)


# Statistics


@pytest.mark.parametrize(
    ("name", "mean", "variance"), [("bn-reset", 0.0, 1.0), ("precise-bn", 2.0, 3.0)]
)
def test_only_the_statistics_are_replaced(
    stack: Stack, nested: Model, name: str, mean: float, variance: float
) -> None:
    fixed = apply(name, stack.keras, nested, recompute=recompute)
    for old, new in zip(batch_norms(nested), batch_norms(fixed.model)):
        *learned, moving_mean, moving_variance = new.get_weights()
        assert_same(old.get_weights()[:-2], learned)
        np.testing.assert_array_equal(moving_mean, mean)
        np.testing.assert_array_equal(moving_variance, variance)
    old, new = (model.get_layer("head").get_weights() for model in (nested, fixed.model))
    assert_same(old, new)


def test_poisoned_statistics_are_reset_too(stack: Stack, foreign_model: Model) -> None:
    layer = foreign_model.get_layer("bn")
    layer.set_weights([np.nan * weight for weight in layer.get_weights()])
    fixed = apply("bn-reset", stack.keras, foreign_model)
    *_, mean, variance = fixed.model.get_layer("bn").get_weights()
    np.testing.assert_array_equal(mean, 0)
    np.testing.assert_array_equal(variance, 1)


def test_frozen_batch_norm_runs_in_the_inference_phase_or_says_that_it_does_not(
    stack: Stack, foreign_model: Model, images: np.ndarray
) -> None:
    fixed = apply("bn-freeze", stack.keras, foreign_model)
    network = stack.network(fixed.model)
    inference = network.logits(images, training=False)
    same = np.allclose(network.logits(images, training=True), inference, rtol=1e-5, atol=1e-6)
    assert same == (len(fixed.changes) == 1)
    assert ("from TensorFlow 2.0 on" in fixed.changes[-1]) != same
    learning = [weight.shape for weight in fixed.model.trainable_weights]
    assert len(learning) == len(foreign_model.trainable_weights) - 2


# Dual BatchNorm


def test_dual_batch_norm_shares_all_but_batch_norm(stack: Stack, nested: Model) -> None:
    fixed = apply("dual-bn", stack.keras, nested, phases=PHASES["intended"])
    assert fixed.phases == Phases(T, I, T)
    own = {id(weight) for layer in batch_norms(fixed.branch) for weight in layer.weights}
    assert len(own) == 3 + 4 + 4
    kept = {id(weight) for layer in batch_norms(fixed.model) for weight in layer.weights}
    every = [{id(weight) for weight in model.weights} for model in (fixed.model, fixed.branch)]
    assert every[0] - kept == every[1] - own
    assert not every[0] & own
    both = stack.keras.Model(
        fixed.model.inputs, [fixed.model(fixed.model.inputs), fixed.branch(fixed.model.inputs)]
    )
    assert {id(weight) for weight in both.weights} == every[0] | own


def test_a_step_of_one_dual_branch_moves_what_is_shared_and_not_the_others_statistics(
    stack: Stack, foreign_model: Model, images: np.ndarray
) -> None:
    fixed = apply("dual-bn", stack.keras, foreign_model, phases=PHASES["intended"])
    before = fixed.model.get_weights()
    step = stack.train_step(fixed.branch, phases=None, epsilon=0.0)
    step(images, np.arange(4, dtype=np.int64), 0.1)
    moved = [not np.array_equal(*pair) for pair in zip(before, fixed.model.get_weights())]
    names = [
        (layer.name, moved.pop(0)) for layer in fixed.model.layers for _ in layer.get_weights()
    ]
    assert {name for name, has_moved in names if has_moved} == {"conv", "logits"}
