"""Tests of suite.stacks.torch: the step, the phases and the attack, against sums made elsewhere."""

from __future__ import annotations

import itertools
import os
import random
from typing import Any

import numpy as np
import pytest

from suite.stacks import torch

if os.environ.get("KERAS_BACKEND") != "torch":
    pytest.skip("KERAS_BACKEND is not torch: no Keras on PyTorch here", allow_module_level=True)

from importlib import metadata

import torch

from suite.networks.phases import ADVERSARIAL, INFERENCE, PHASES, TRAINING, Phases
from suite.networks.types import Images, Labels, Model
from suite.stacks.protocol import Stack

EPSILON = 0.05
MOMENTUM = 0.9
RATES = (0.1, 0.03, 0.2)
BN_EPSILON = 1e-3
BN_MOMENTUM = 0.5  # so small that a gradient through the moved statistics would show
POLICIES = [*itertools.starmap(Phases, itertools.product((TRAINING, INFERENCE), repeat=3)), None]


@pytest.fixture
def model(foreign_model: Model) -> Model:
    """Return a small BatchNorm network whose moving statistics belong to other data."""
    foreign_model.get_layer("bn").momentum = BN_MOMENTUM
    return foreign_model


def linear(stack: Stack) -> Model:
    keras = stack.keras
    stack.seed(0)
    inputs = keras.Input((8, 8, 3))
    dense = keras.layers.Dense(5, use_bias=False)
    return keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def linear_terms(kernel: np.ndarray, flat: np.ndarray, labels: Labels) -> tuple[Any, Any, Any, Any]:
    """Return CE, accuracy, gradient to the kernel and gradient to each image, of a linear model."""
    logits = flat @ kernel
    chances = softmax(logits)
    errors = chances - np.eye(kernel.shape[1])[labels]
    ce = -np.log(chances[np.arange(len(labels)), labels]).mean()
    accuracy = (logits.argmax(axis=1) == labels).mean()
    return ce, accuracy, flat.T @ errors / len(labels), errors @ kernel.T


def linear_perturbed(kernel: np.ndarray, flat: np.ndarray) -> np.ndarray:
    predicted = (flat @ kernel).argmax(axis=1)
    *_, to_images = linear_terms(kernel, flat, predicted)
    return np.clip(flat + EPSILON * np.sign(to_images), 0, 1)


@pytest.mark.parametrize("phases", [None, PHASES["literal"]], ids=["plain", "adversarial"])
def test_three_steps_are_nesterovs_by_hand(
    stack: Stack, images: Images, labels: Labels, phases: Phases | None
) -> None:
    model = linear(stack)
    step = stack.train_step(model, phases=phases, epsilon=EPSILON)
    kernel = model.get_weights()[0].astype(np.float64)
    velocity = np.zeros_like(kernel)
    flat = images.reshape(len(images), -1).astype(np.float64)
    for rate in RATES:
        ce, accuracy, gradient, _ = linear_terms(kernel, flat, labels)
        expected = [ce, ce, accuracy]
        if phases is not None:
            adversarial = linear_terms(kernel, linear_perturbed(kernel, flat), labels)
            expected = [(ce + adversarial[0]) / 2, ce, accuracy, *adversarial[:2]]
            gradient = (gradient + adversarial[2]) / 2
        velocity = MOMENTUM * velocity - rate * gradient
        kernel = kernel + MOMENTUM * velocity - rate * gradient
        result = step(images, labels, rate)
        np.testing.assert_allclose(result[: len(expected)], expected, rtol=1e-4)
        np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-3, atol=1e-5)
    assert (result.adversarial_ce is None) == (phases is None)


def by_hand(weights: Any, statistics: Any, x: Any, *, training: bool) -> Any:
    """Return logits of `foreign_model` in plain PyTorch; `statistics` are moved in place."""
    kernel, bias, gamma, beta, dense, shift = weights
    x = torch.nn.functional.conv2d(x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), bias)
    mean, variance = statistics
    if training:
        mean, variance = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), correction=0)
        for moving, batch in zip(statistics, (mean, variance)):
            moving.lerp_(batch.detach(), 1 - BN_MOMENTUM)
    scale = gamma / torch.sqrt(variance + BN_EPSILON)
    x = (x.permute(0, 2, 3, 1) - mean) * scale + beta
    return torch.relu(x).reshape(len(x), -1) @ dense + shift


def ce_by_hand(logits: Any, labels: Any) -> Any:
    chosen = torch.log_softmax(logits, dim=1)[torch.arange(len(labels)), labels]
    return -chosen.mean()


def attack_by_hand(
    weights: Any, statistics: Any, images: Images, *, training: bool
) -> torch.Tensor:
    """Return FGSM's images; both passes, for the labels and for the gradient, run in the phase."""
    x = torch.tensor(images, requires_grad=True)
    labels = by_hand(weights, statistics, x, training=training).argmax(dim=1)
    ce = ce_by_hand(by_hand(weights, statistics, x, training=training), labels)
    [gradient] = torch.autograd.grad(ce, [x])
    return (x + EPSILON * torch.sign(gradient)).clamp(0, 1).detach()


def step_by_hand(
    model: Model, images: Images, labels: Labels, phases: Phases | None
) -> tuple[list[float], list[np.ndarray], Any]:
    """Return loss and cross-entropies, gradients and moved statistics, pass by pass."""
    weights, statistics = tensors(model)
    y = torch.tensor(labels)
    clean, attack, adversarial = (phase == TRAINING for phase in phases or (TRAINING,) * 3)
    ces = [ce_by_hand(by_hand(weights, statistics, torch.tensor(images), training=clean), y)]
    if phases is not None:
        perturbed = attack_by_hand(weights, statistics, images, training=attack)
        ces.append(ce_by_hand(by_hand(weights, statistics, perturbed, training=adversarial), y))
    loss = torch.stack(ces).mean()
    gradients = [gradient.numpy() for gradient in torch.autograd.grad(loss, weights)]
    return torch.stack([loss, *ces]).tolist(), gradients, statistics


def tensors(model: Model) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    weights, statistics = parts(model)
    return [torch.tensor(w, requires_grad=True) for w in weights], list(
        map(torch.tensor, statistics)
    )


def parts(model: Model) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the weights and the moving statistics of `foreign_model`."""
    kernel, bias, gamma, beta, mean, variance, dense, shift = model.get_weights()
    return [kernel, bias, gamma, beta, dense, shift], [mean, variance]


def assert_close_but_for_rounding(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for one, other in zip(found, expected, strict=True):
        rounding = 0.02 * np.abs(other).max() + 1e-6  # a few pixels' gradients are 0 but for it
        np.testing.assert_allclose(one, other, rtol=0, atol=rounding)


@pytest.mark.parametrize("phases", POLICIES, ids=str)
def test_a_step_runs_each_pass_in_its_phase(
    stack: Stack, model: Model, images: Images, labels: Labels, phases: Phases | None
) -> None:
    losses, gradients, statistics = step_by_hand(model, images, labels, phases)
    before, _ = parts(model)
    result = stack.train_step(model, phases=phases, epsilon=EPSILON)(images, labels, 0.1)
    after, moved = parts(model)
    found = [result.loss, result.clean_ce, result.adversarial_ce][: len(losses)]
    np.testing.assert_allclose(found, losses, rtol=1e-4)
    np.testing.assert_allclose(moved, statistics, rtol=1e-5)
    changes = [new - old for old, new in zip(before, after, strict=True)]
    assert_close_but_for_rounding(changes, [-0.1 * (1 + MOMENTUM) * g for g in gradients])


@pytest.mark.parametrize("phases", [*PHASES.values(), POLICIES[0], None], ids=str)
def test_gradients_are_the_steps_and_move_no_state(
    stack: Stack, model: Model, images: Images, labels: Labels, phases: Phases | None
) -> None:
    before = model.get_weights()
    _, expected, _ = step_by_hand(model, images, labels, phases)
    found = stack.gradients(model, phases=phases, epsilon=EPSILON)(images, labels)
    assert_close_but_for_rounding(found, expected)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("phases", [None, PHASES["intended"]], ids=["plain", "intended"])
def test_the_clean_pass_moves_the_statistics_once_a_step(
    stack: Stack, model: Model, images: Images, labels: Labels, phases: Phases | None
) -> None:
    layer = model.get_layer("bn")
    before, state = layer.get_weights()[2:], model.get_weights()
    layer.momentum = 0.0
    stack.network(model).logits(images, training=True)
    batch = layer.get_weights()[2:]
    model.set_weights(state)
    layer.momentum = BN_MOMENTUM
    stack.train_step(model, phases=phases, epsilon=EPSILON)(images, labels, 0.1)
    for old, new, goal in zip(before, layer.get_weights()[2:], batch, strict=True):
        assert np.abs(goal - old).max() > 0.1
        np.testing.assert_allclose(
            new - old, (1 - BN_MOMENTUM) * (goal - old), rtol=1e-3, atol=1e-6
        )


def test_the_literal_phases_never_update_the_statistics(
    stack: Stack, model: Model, images: Images, labels: Labels
) -> None:
    _, before = parts(model)
    step = stack.train_step(model, phases=PHASES["literal"], epsilon=EPSILON)
    for _ in range(3):
        step(images, labels, 0.1)
    np.testing.assert_array_equal(parts(model)[1], before)


def test_frozen_layers_stay_and_the_others_learn(
    stack: Stack, model: Model, images: Images, labels: Labels
) -> None:
    model.get_layer("conv").trainable = False
    before = {layer.name: layer.get_weights() for layer in model.layers}
    step = stack.train_step(model, phases=PHASES["intended"], epsilon=EPSILON)
    step(images, labels, 0.1)
    np.testing.assert_array_equal(model.get_layer("conv").get_weights()[0], before["conv"][0])
    for name in ("bn", "logits"):
        for old, new in zip(before[name], model.get_layer(name).get_weights(), strict=True):
            assert (old != new).any()


def test_perturbed_images_are_held_constant_even_for_an_attack_that_has_a_gradient(
    stack: Stack, images: Images, labels: Labels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attack(model_fn: Any, x: Any, *_: Any, **__: Any) -> Any:
        return x * (1 + (model_fn(x) ** 2).sum())

    model = linear(stack)
    kernel = model.get_weights()[0]
    monkeypatch.setattr(torch_stack, "fast_gradient_method", attack)
    stack.train_step(model, phases=PHASES["literal"], epsilon=EPSILON)(images, labels, 0.1)
    flat = images.reshape(len(images), -1).astype(np.float64)
    perturbed = flat * (1 + ((flat @ kernel) ** 2).sum())
    gradient = sum(linear_terms(kernel, x, labels)[2] for x in (flat, perturbed)) / 2
    np.testing.assert_allclose(
        model.get_weights()[0] - kernel, -0.1 * 1.9 * gradient, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_logits_and_attack_run_in_the_phase_asked_for(
    stack: Stack, model: Model, images: Images, training: bool
) -> None:
    network, state = stack.network(model), model.get_weights()
    weights, moved = tensors(model)
    expected = by_hand(weights, moved, torch.tensor(images), training=training).detach()
    np.testing.assert_allclose(network.logits(images, training=training), expected, rtol=1e-4)
    np.testing.assert_allclose(parts(model)[1], moved, rtol=1e-5)
    model.set_weights(state)
    weights, moved = tensors(model)
    other = attack_by_hand(*tensors(model), images, training=not training).numpy()
    attacked = attack_by_hand(weights, moved, images, training=training).numpy()
    crafted = network.craft(images, epsilon=EPSILON, training=training)
    np.testing.assert_allclose(parts(model)[1], moved, rtol=1e-5)
    assert (np.abs(crafted - attacked) > 1e-6).mean() < 0.01  # rounding decides the sign of zeros
    assert (np.abs(crafted - other) > 1e-6).mean() > 0.1


def test_the_attack_stays_within_epsilon_and_the_pixels_range(stack: Stack, images: Images) -> None:
    model = linear(stack)
    crafted = stack.network(model).craft(images, epsilon=EPSILON, training=False)
    flat = images.reshape(len(images), -1)
    expected = linear_perturbed(model.get_weights()[0], flat).reshape(images.shape)
    np.testing.assert_allclose(crafted, expected, atol=1e-6)
    assert crafted.min() == 0
    assert crafted.max() == 1
    assert np.abs(crafted - images).max() == pytest.approx(EPSILON, rel=1e-4)


def test_crafting_follows_a_change_of_the_weights(stack: Stack, images: Images) -> None:
    model = linear(stack)
    network = stack.network(model)
    first = network.craft(images, epsilon=EPSILON, training=False)
    model.set_weights([-2 * model.get_weights()[0][:, ::-1]])
    expected = linear_perturbed(model.get_weights()[0], images.reshape(len(images), -1))
    second = network.craft(images, epsilon=EPSILON, training=False)
    np.testing.assert_allclose(second.reshape(expected.shape), expected, atol=1e-6)
    assert (first != second).any()


def test_adam_moves_every_weight_by_the_learning_rate_at_first(
    stack: Stack, images: Images, labels: Labels
) -> None:
    model = linear(stack)
    kernel = model.get_weights()[0]
    stack.train_step(model, phases=None, epsilon=0.0, optimizer="adam")(images, labels, 0.01)
    gradient = linear_terms(kernel, images.reshape(len(images), -1), labels)[2]
    expected = -0.01 * gradient / (np.abs(gradient) + 1e-7 / np.sqrt(1 - 0.999))
    np.testing.assert_allclose(model.get_weights()[0] - kernel, expected, rtol=0, atol=5e-4)


def test_one_seed_governs_python_numpy_and_initial_weights(stack: Stack) -> None:
    def drawn(seed: int) -> list[float]:
        stack.seed(seed)
        kernel = stack.keras.layers.Dense(1)
        kernel.build((None, 2))
        noise = stack.keras.layers.Dropout(0.5)(np.ones((1, 64), np.float32), training=True)
        return [
            random.random(),  # noqa: S311
            np.random.random(),
            float(kernel.get_weights()[0][0, 0]),
            *noise.ravel().tolist(),
        ]

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert first == again
    assert all(a != b for a, b in zip(first[:3], other[:3], strict=True))
    assert first[3:] != other[3:]


def test_dropout_draws_anew_at_every_step(stack: Stack, images: Images, labels: Labels) -> None:
    keras = stack.keras
    stack.seed(0)
    inputs = keras.Input((8, 8, 3))
    dropped = keras.layers.Dropout(0.5)(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(5)(dropped))
    step = stack.train_step(model, phases=PHASES["intended"], epsilon=EPSILON)
    first, second = (step(images, labels, 0.0) for _ in range(2))
    assert first.clean_ce != second.clean_ce
    assert first.adversarial_ce == second.adversarial_ce


def test_the_same_seed_gives_the_same_losses_to_the_bit(
    stack: Stack, model: Model, images: Images, labels: Labels
) -> None:
    state = model.get_weights()
    runs = []
    for _ in range(2):
        model.set_weights(state)
        step = stack.train_step(model, phases=PHASES["intended"], epsilon=EPSILON)
        runs.append([step(images, labels, 0.1) for _ in range(5)])
    assert runs[0] == runs[1]


def test_versions_name_what_is_running(stack: Stack) -> None:
    versions = stack.versions()
    assert versions["torch"] == torch.__version__
    assert versions["keras"] == metadata.version("keras")
    assert versions["numpy"] == np.__version__
    assert versions["cleverhans"] == "4.0.0"
    assert versions["python"].startswith("3.")


def test_without_a_gpu_no_device_memory_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "gpus", list)
    assert torch.peak_device_bytes() is None


def test_the_attack_leaves_no_gradient_at_the_weights(stack: Stack, images: Images) -> None:
    model = linear(stack)
    stack.network(model).craft(images, epsilon=EPSILON, training=False)
    assert [variable.value.grad for variable in model.trainable_variables] == [None]


def moved_by_hand(old: Any, batch: Any) -> list[torch.Tensor]:
    return [BN_MOMENTUM * one + (1 - BN_MOMENTUM) * other for one, other in zip(old, batch)]


def moments_by_hand(weights: Any, x: torch.Tensor) -> list[torch.Tensor]:
    kernel, bias, *_ = weights
    x = torch.nn.functional.conv2d(x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), bias)
    return [x.mean(dim=(0, 2, 3)).detach(), x.var(dim=(0, 2, 3), correction=0).detach()]


@pytest.mark.parametrize("kind", ADVERSARIAL)
def test_each_kind_of_adversarial_pass_is_that_of_a_network_by_hand(
    stack: Stack, model: Model, images: Images, labels: Labels, kind: str
) -> None:
    by, updates = ADVERSARIAL[kind]
    before, statistics = parts(model)
    weights = [torch.tensor(weight, requires_grad=True) for weight in before]
    clean = moments_by_hand(weights, torch.tensor(images))
    moving = moved_by_hand([torch.tensor(x) for x in statistics], clean)
    perturbed = attack_by_hand(weights, [x.clone() for x in moving], images, training=False)
    scratch = [torch.zeros(4), torch.zeros(4)]
    clean_logits = by_hand(weights, scratch, torch.tensor(images), training=True)
    moments = {"own batch": scratch, "clean batch": clean, "moving statistics": moving}[by]
    logits = by_hand(weights, [x.clone() for x in moments], perturbed, training=by == "own batch")
    ces = [ce_by_hand(x, torch.tensor(labels)) for x in (clean_logits, logits)]
    gradients = torch.autograd.grad(sum(ces) / 2, weights)
    expected = moved_by_hand(moving, moments_by_hand(weights, perturbed)) if updates else moving
    phases = Phases(TRAINING, INFERENCE, kind)
    result = stack.train_step(model, phases=phases, epsilon=EPSILON)(images, labels, 0.1)
    found = [result.clean_ce, result.adversarial_ce]
    np.testing.assert_allclose(found, [float(ce.detach()) for ce in ces], rtol=1e-4)
    after, moved = parts(model)
    for one, other in zip(moved, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    changes = [new - old for old, new in zip(before, after, strict=True)]
    assert_close_but_for_rounding(changes, [-0.1 * (1 + MOMENTUM) * g.numpy() for g in gradients])
