"""Tests of suite.stacks.eager: the step, the phases and the attack, against sums made elsewhere."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from suite.networks.phases import ADVERSARIAL, INFERENCE, PHASES, TRAINING, Phases
from suite.stacks import eager

tf = pytest.importorskip("tensorflow")
if tf.__version__.startswith("1."):
    pytest.skip("the eager stack is that of TensorFlow 2", allow_module_level=True)


if TYPE_CHECKING:
    from suite.networks.types import Images, Labels, Model
    from suite.stacks.protocol import Stack

EPSILON = 0.05
MOMENTUM = 0.9
BN_EPSILON = 1e-3
RATES = (0.1, 0.03, 0.2)
POLICIES = [
    *PHASES.values(),
    Phases("inference", "training", "inference"),
    Phases("training", "training", "training"),
    None,
]


def linear(stack: Stack) -> Model:
    keras = stack.keras
    stack.seed(0)
    inputs = keras.Input((8, 8, 3))
    return keras.Model(
        inputs, keras.layers.Dense(5, use_bias=False)(keras.layers.Flatten()(inputs))
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def linear_terms(kernel: np.ndarray, flat: np.ndarray, labels: Labels) -> tuple[Any, Any, Any, Any]:
    """Return CE, accuracy, gradient to the kernel and gradient to each image, of a linear model."""
    logits = flat @ kernel
    chances = softmax(logits)
    errors = chances - np.eye(5)[labels]
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


def taped_step(
    model: Model, images: Images, labels: Labels, phases: Phases | None
) -> tuple[list[float], list[np.ndarray]]:
    """Return both cross-entropies and the gradients, pass by pass, without CleverHans."""
    clean, attack, adversarial = (phase == "training" for phase in phases or ("training",) * 3)
    perturbed = taped_attack(model, images, training=attack)
    with tf.GradientTape() as tape:
        clean_ce = taped_ce(model(images, training=clean), labels)
        losses = [clean_ce]
        if phases is not None:
            losses.append(taped_ce(model(perturbed, training=adversarial), labels))
        loss = tf.add_n(losses) / len(losses)
    gradients = tape.gradient(loss, model.trainable_variables)
    return [float(loss), *map(float, losses)], [np.asarray(gradient) for gradient in gradients]


def taped_attack(model: Model, images: Images, *, training: bool) -> np.ndarray:
    x = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = model(x, training=training)
        ce = taped_ce(logits, np.asarray(logits).argmax(axis=1))
    return np.clip(images + np.float32(EPSILON) * np.sign(tape.gradient(ce, x)), 0, 1)


def taped_ce(logits: Any, labels: Labels) -> Any:
    return -tf.reduce_mean(tf.gather(tf.nn.log_softmax(logits), labels, batch_dims=1))


@pytest.mark.parametrize("phases", POLICIES, ids=str)
def test_a_step_runs_each_pass_in_its_phase(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels, phases: Phases | None
) -> None:
    state = foreign_model.get_weights()
    losses, gradients = taped_step(foreign_model, images, labels, phases)
    foreign_model.set_weights(state)
    before = [np.asarray(variable) for variable in foreign_model.trainable_variables]
    result = stack.train_step(foreign_model, phases=phases, epsilon=EPSILON)(images, labels, 0.1)
    found = [result.loss, result.clean_ce, result.adversarial_ce][: len(losses)]
    np.testing.assert_allclose(found, losses, rtol=1e-4)
    for variable, old, gradient in zip(
        foreign_model.trainable_variables, before, gradients, strict=True
    ):
        expected = -0.1 * (1 + MOMENTUM) * gradient
        rounding = 0.02 * np.abs(expected).max() + 1e-6  # a few pixels' gradients are 0 but for it
        np.testing.assert_allclose(np.asarray(variable) - old, expected, rtol=0, atol=rounding)


def bn_statistics(model: Model) -> tuple[np.ndarray, np.ndarray]:
    layer = model.get_layer("bn")
    return np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)


@pytest.mark.parametrize("phases", [None, PHASES["intended"]], ids=["plain", "intended"])
def test_the_clean_pass_updates_the_statistics_exactly_once(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels, phases: Phases | None
) -> None:
    kernel, bias = foreign_model.get_layer("conv").get_weights()
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))
    features = np.einsum("nhwcij,ijco->nhwo", windows, kernel) + bias
    old_mean, old_variance = bn_statistics(foreign_model)
    stack.train_step(foreign_model, phases=phases, epsilon=EPSILON)(images, labels, 0.1)
    mean, variance = bn_statistics(foreign_model)
    share = 1 - foreign_model.get_layer("bn").momentum
    assert share == pytest.approx(0.01)
    batch_mean, batch_variance = features.mean(axis=(0, 1, 2)), features.var(axis=(0, 1, 2))
    np.testing.assert_allclose(mean - old_mean, share * (batch_mean - old_mean), rtol=1e-3)
    np.testing.assert_allclose(
        variance - old_variance, share * (batch_variance - old_variance), rtol=1e-2
    )


def test_the_literal_phases_never_update_the_statistics(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels
) -> None:
    before = bn_statistics(foreign_model)
    step = stack.train_step(foreign_model, phases=PHASES["literal"], epsilon=EPSILON)
    for _ in range(3):
        step(images, labels, 0.1)
    np.testing.assert_array_equal(bn_statistics(foreign_model), before)


def test_frozen_layers_stay_and_the_others_learn(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels
) -> None:
    foreign_model.get_layer("conv").trainable = False
    before = {layer.name: layer.get_weights() for layer in foreign_model.layers}
    step = stack.train_step(foreign_model, phases=PHASES["intended"], epsilon=EPSILON)
    step(images, labels, 0.1)
    np.testing.assert_array_equal(
        foreign_model.get_layer("conv").get_weights()[0], before["conv"][0]
    )
    for name in ("bn", "logits"):
        for old, new in zip(before[name], foreign_model.get_layer(name).get_weights()):
            assert (old != new).any()


def test_perturbed_images_are_held_constant_even_for_an_attack_that_has_a_gradient(
    stack: Stack, images: Images, labels: Labels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attack(model_fn: Any, x: Any, *_: Any, **__: Any) -> Any:
        return x * (1 + tf.reduce_sum(model_fn(x) ** 2))

    model = linear(stack)
    kernel = model.get_weights()[0]
    monkeypatch.setattr(eager, "fast_gradient_method", attack)
    stack.train_step(model, phases=PHASES["literal"], epsilon=EPSILON)(images, labels, 0.1)
    flat = images.reshape(len(images), -1).astype(np.float64)
    perturbed = flat * (1 + ((flat @ kernel) ** 2).sum())
    gradient = sum(linear_terms(kernel, x, labels)[2] for x in (flat, perturbed)) / 2
    np.testing.assert_allclose(
        model.get_weights()[0] - kernel, -0.1 * 1.9 * gradient, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_logits_and_attack_run_in_the_phase_asked_for(
    stack: Stack, foreign_model: Model, images: Images, training: bool
) -> None:
    network, state = stack.network(foreign_model), foreign_model.get_weights()
    expected = np.asarray(foreign_model(images, training=training))
    by_hand = taped_attack(foreign_model, images, training=training)
    other = taped_attack(foreign_model, images, training=not training)
    foreign_model.set_weights(state)
    np.testing.assert_allclose(network.logits(images, training=training), expected, rtol=1e-4)
    crafted = network.craft(images, epsilon=EPSILON, training=training)
    assert (np.abs(crafted - by_hand) > 1e-6).mean() < 0.01  # rounding decides the sign of zeros
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
    np.testing.assert_allclose(
        model.get_weights()[0] - kernel, -0.01 * np.sign(gradient), rtol=0, atol=5e-4
    )


def test_one_seed_governs_python_numpy_and_initial_weights(stack: Stack) -> None:
    def drawn(seed: int) -> list[float]:
        stack.seed(seed)
        kernel = stack.keras.layers.Dense(1)
        kernel.build((None, 2))
        noise = stack.keras.layers.Dropout(0.5)(np.ones((1, 64), np.float32), training=True)
        return [
            random.random(),  # noqa: S311
            np.random.random(),
            float(np.asarray(kernel.kernel)[0, 0]),
            *np.asarray(noise).ravel().tolist(),
        ]

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert first == again
    assert all(a != b for a, b in zip(first[:3], other[:3]))
    assert first[3:] != other[3:]


def test_versions_name_what_is_running(stack: Stack) -> None:
    versions = stack.versions()
    assert versions["tensorflow"] == tf.__version__
    assert versions["keras"].split(".")[0] in ("2", "3")
    assert versions["numpy"] == np.__version__
    assert versions["cleverhans"] == "4.0.0"
    assert versions["python"].startswith("3.")


def test_without_a_gpu_no_device_memory_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eager, "gpus", list)
    assert eager.peak_device_bytes() is None


def handwritten(weights: Any, x: Any, moments: Any) -> Any:
    """Return the logits of `foreign_model` in TF operations; `moments` None are the batch's."""
    kernel, bias, gamma, beta, dense, shift = weights
    x = tf.nn.conv2d(x, kernel, 1, "VALID") + bias
    mean, variance = tf.nn.moments(x, (0, 1, 2)) if moments is None else moments
    x = gamma * (x - mean) / tf.sqrt(variance + BN_EPSILON) + beta
    return tf.reshape(tf.nn.relu(x), (len(x), -1)) @ dense + shift


def moments_by_hand(stack: Stack, weights: Any, x: Any) -> list[np.ndarray]:
    """Return the moments at the BatchNorm of `foreign_model`, as the release would store them."""
    kernel, bias, *_ = (np.asarray(weight, np.float64) for weight in weights)
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(x), (3, 3), axis=(1, 2))
    features = (np.einsum("nhwcij,ijco->nhwo", windows, kernel) + bias).reshape(-1, 4)
    ddof = 1 if stack.versions()["keras"].startswith("2") else 0
    return [features.mean(axis=0), features.var(axis=0, ddof=ddof)]


def parts(model: Model) -> tuple[list[np.ndarray], list[np.ndarray]]:
    kernel, bias, gamma, beta, mean, variance, dense, shift = model.get_weights()
    return [kernel, bias, gamma, beta, dense, shift], [mean, variance]


def moved_by_hand(old: Any, batch: Any, momentum: float) -> list[np.ndarray]:
    return [momentum * one + (1 - momentum) * other for one, other in zip(old, batch)]


@pytest.mark.parametrize("kind", ADVERSARIAL)
@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_each_kind_of_adversarial_pass_is_that_of_a_network_by_hand(
    stack: Stack,
    foreign_model: Model,
    images: Images,
    labels: Labels,
    *,
    kind: str,
    momentum: float,
) -> None:
    by, updates = ADVERSARIAL[kind]
    foreign_model.get_layer("bn").momentum = momentum
    weights, statistics = parts(foreign_model)
    clean = [np.float32(x) for x in moments_by_hand(stack, weights, images)]
    moving = [np.float32(x) for x in moved_by_hand(statistics, clean, momentum)]
    step = stack.train_step(
        foreign_model, phases=Phases(TRAINING, INFERENCE, kind), epsilon=EPSILON
    )
    variables = [tf.Variable(weight) for weight in weights]
    x = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = handwritten(weights, x, moving)
        ce = taped_ce(logits, np.asarray(logits).argmax(axis=1))
    perturbed = np.clip(images + np.float32(EPSILON) * np.sign(tape.gradient(ce, x)), 0, 1)
    moments = {"own batch": None, "clean batch": clean, "moving statistics": moving}[by]
    with tf.GradientTape() as tape:
        clean_ce = taped_ce(handwritten(variables, images, None), labels)
        adversarial_ce = taped_ce(handwritten(variables, perturbed, moments), labels)
        loss = (clean_ce + adversarial_ce) / 2
    gradients = tape.gradient(loss, variables)
    expected = moving
    if updates:
        expected = moved_by_hand(moving, moments_by_hand(stack, weights, perturbed), momentum)
    result = step(images, labels, 0.1)
    np.testing.assert_allclose(
        [result.loss, result.clean_ce, result.adversarial_ce],
        [float(loss), float(clean_ce), float(adversarial_ce)],
        rtol=1e-4,
    )
    after, found = parts(foreign_model)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    for old, new, gradient in zip(weights, after, gradients):
        change = -0.1 * (1 + MOMENTUM) * np.asarray(gradient)
        rounding = 0.02 * np.abs(change).max() + 1e-6
        np.testing.assert_allclose(new - old, change, rtol=0, atol=rounding)
