"""Tests of suite.stacks.graph: the published code, its phases and the attack, against sums."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from suite.networks.phases import ADVERSARIAL, INFERENCE, PHASES, TRAINING, Phases
from suite.stacks import graph, published

tf = pytest.importorskip("tensorflow")
if not tf.__version__.startswith("1."):
    pytest.skip("only TensorFlow 1 has sessions and runs CleverHans 3", allow_module_level=True)


if TYPE_CHECKING:
    from suite.networks.types import Images, Labels, Model
    from suite.stacks.protocol import Stack

EPSILON = 0.05
MOMENTUM = 0.9
RATES = (0.1, 0.03, 0.2)
EXPLICIT = Phases("training", "training", "training")
POLICIES = [*PHASES.values(), EXPLICIT, None]


@pytest.fixture
def linear(stack: Stack) -> Model:
    stack.seed(0)
    return linear_model(stack)


def linear_model(stack: Stack) -> Model:
    layers = stack.keras.layers
    inputs = stack.keras.Input((8, 8, 3))
    outputs = layers.Dense(5, use_bias=False)(layers.Flatten()(inputs))
    return stack.keras.Model(inputs, outputs)


def linear_terms(kernel: np.ndarray, flat: np.ndarray, labels: Labels) -> tuple[Any, Any, Any, Any]:
    """Return CE, accuracy, gradient to the kernel and gradient to each image, of a linear model."""
    logits = flat @ kernel
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances = odds / odds.sum(axis=1, keepdims=True)
    errors = chances - np.eye(5)[labels]
    ce = -np.log(chances[np.arange(len(labels)), labels]).mean()
    accuracy = (logits.argmax(axis=1) == labels).mean()
    return ce, accuracy, flat.T @ errors / len(labels), errors @ kernel.T


def linear_perturbed(kernel: np.ndarray, flat: np.ndarray) -> np.ndarray:
    predicted = (flat @ kernel).argmax(axis=1)
    *_, to_images = linear_terms(kernel, flat, predicted)
    return np.clip(flat + EPSILON * np.sign(to_images), 0, 1)


@pytest.mark.parametrize("phases", POLICIES, ids=str)
def test_three_steps_are_nesterovs_by_hand(
    stack: Stack, linear: Model, images: Images, labels: Labels, phases: Phases | None
) -> None:
    step = stack.train_step(linear, phases=phases, epsilon=EPSILON)
    kernel = linear.get_weights()[0].astype(np.float64)
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
        np.testing.assert_allclose(linear.get_weights()[0], kernel, rtol=1e-3, atol=1e-5)
    assert (result.adversarial_ce is None) == (phases is None)


def evaluated(images: Images, terms: Any) -> list[np.ndarray]:
    """Return ``terms(placeholder)`` of `images`, without any update."""
    inputs = tf.placeholder(tf.float32, (None, 8, 8, 3))
    return tf.keras.backend.function([inputs], terms(inputs))([images])


def cross_entropy(logits: Any, labels: Any) -> Any:
    return -tf.reduce_mean(tf.reduce_sum(tf.one_hot(labels, 5) * tf.nn.log_softmax(logits), axis=1))


def attack_by_hand(model: Model, images: Images, *, training: bool) -> np.ndarray:
    def terms(inputs: Any) -> Any:
        logits = model(inputs, training=training)
        return tf.gradients(cross_entropy(logits, tf.argmax(logits, axis=1)), inputs)

    [gradient] = evaluated(images, terms)
    return np.clip(images + np.float32(EPSILON) * np.sign(gradient), 0, 1)


def step_by_hand(
    model: Model, images: Images, labels: Labels, phases: Phases | None
) -> tuple[list[float], list[np.ndarray]]:
    """Return loss, cross-entropies and gradients, pass by pass, without CleverHans.

    Every pass sees the statistics as they were before the step.
    """
    clean, attack, adversarial = (phase == "training" for phase in phases or EXPLICIT)
    passes = [(images, clean)]
    if phases is not None:
        passes.append((attack_by_hand(model, images, training=attack), adversarial))

    def terms(inputs: Any, training: bool) -> list[Any]:
        ce = cross_entropy(model(inputs, training=training), labels)
        return [ce, *tf.gradients(ce, model.trainable_weights)]

    found = [evaluated(x, lambda inputs, t=t: terms(inputs, t)) for x, t in passes]
    losses, *gradients = (np.array(of_all) for of_all in zip(*found))
    return [losses.mean(), *losses], [gradient.mean(axis=0) for gradient in gradients]


@pytest.mark.parametrize("phases", POLICIES, ids=str)
def test_a_step_runs_each_pass_in_its_phase(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels, phases: Phases | None
) -> None:
    """Under the intended phases, in a few runs of a hundred a read comes after an update."""
    raced = phases == PHASES["intended"]
    losses, gradients = step_by_hand(foreign_model, images, labels, phases)
    trainable = [weight.name for weight in foreign_model.trainable_weights]
    names = [weight.name for weight in foreign_model.weights]
    before = dict(zip(names, foreign_model.get_weights()))
    result = stack.train_step(foreign_model, phases=phases, epsilon=EPSILON)(images, labels, 0.1)
    after = dict(zip(names, foreign_model.get_weights()))
    found = [result.loss, result.clean_ce, result.adversarial_ce][: len(losses)]
    np.testing.assert_allclose(found, losses, rtol=1e-2 if raced else 1e-4)
    assert result.clean_ce == pytest.approx(losses[1], rel=1e-4)
    for name, gradient in zip(trainable, gradients):
        expected = -0.1 * (1 + MOMENTUM) * gradient
        share = 0.05 if raced else 0.02  # a few pixels' gradients are 0 but for rounding
        rounding = share * np.abs(expected).max() + 1e-6
        np.testing.assert_allclose(after[name] - before[name], expected, rtol=0, atol=rounding)


@pytest.mark.parametrize("phases", POLICIES, ids=str)
def test_gradients_are_those_of_the_steps_loss_and_move_nothing(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels, phases: Phases | None
) -> None:
    before = foreign_model.get_weights()
    _, expected = step_by_hand(foreign_model, images, labels, phases)
    found = stack.gradients(foreign_model, phases=phases, epsilon=EPSILON)(images, labels)
    assert len(found) == len(foreign_model.trainable_weights)
    for gradient, by_hand in zip(found, expected):
        rounding = 0.02 * np.abs(by_hand).max() + 1e-6
        np.testing.assert_allclose(gradient, by_hand, rtol=0, atol=rounding)
    for old, new in zip(before, foreign_model.get_weights()):
        np.testing.assert_array_equal(new, old)


def test_the_published_attack_reaches_through_a_nested_model(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels
) -> None:
    inputs = stack.keras.Input((8, 8, 3))
    squeeze = stack.keras.layers.Conv2D(3, 1, name="squeeze")
    outer = stack.keras.Model(inputs, foreign_model(squeeze(inputs)))
    losses, _ = step_by_hand(outer, images, labels, PHASES["literal"])
    result = stack.train_step(outer, phases=PHASES["literal"], epsilon=EPSILON)(images, labels, 0.1)
    found = [result.loss, result.clean_ce, result.adversarial_ce]
    np.testing.assert_allclose(found, losses, rtol=1e-4)


def bn_statistics(model: Model) -> tuple[np.ndarray, np.ndarray]:
    _, _, mean, variance = model.get_layer("bn").get_weights()
    return mean, variance


def batch_statistics(model: Model, images: Images) -> tuple[np.ndarray, np.ndarray]:
    kernel, bias = model.get_layer("conv").get_weights()
    windows = [images[:, i : i + 6, j : j + 6] for i in range(3) for j in range(3)]
    features = np.concatenate(windows, axis=-1) @ kernel.reshape(27, -1) + bias
    return features.mean(axis=(0, 1, 2)), features.var(axis=(0, 1, 2), ddof=1)


UPDATES = {None: 1, PHASES["literal"]: 0, PHASES["intended"]: 2, EXPLICIT: 4}


@pytest.mark.parametrize("phases", UPDATES, ids=str)
def test_a_step_updates_the_statistics_so_many_times(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels, phases: Phases | None
) -> None:
    """The updates all start from the same statistics, so they add up."""
    old_mean, old_variance = bn_statistics(foreign_model)
    batch_mean, batch_variance = batch_statistics(foreign_model, images)
    stack.train_step(foreign_model, phases=phases, epsilon=EPSILON)(images, labels, 0.1)
    mean, variance = bn_statistics(foreign_model)
    share = UPDATES[phases] * (1 - foreign_model.get_layer("bn").momentum)
    rtol = 0.1 if phases == EXPLICIT else 2e-2  # one update is by the perturbed images
    np.testing.assert_allclose(mean - old_mean, share * (batch_mean - old_mean), rtol)
    np.testing.assert_allclose(
        variance - old_variance, share * (batch_variance - old_variance), rtol
    )


def test_the_pinned_phase_stays_within_the_literal_step(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels
) -> None:
    literal = stack.train_step(linear_model(stack), phases=PHASES["literal"], epsilon=EPSILON)
    plain = stack.train_step(foreign_model, phases=None, epsilon=EPSILON)
    losses, _ = step_by_hand(foreign_model, images, labels, None)
    literal(images, labels, 0.1)
    before = bn_statistics(foreign_model)
    assert plain(images, labels, 0.1).loss == pytest.approx(losses[0], rel=1e-4)
    assert (bn_statistics(foreign_model)[0] != before[0]).all()
    assert not isinstance(stack.keras.backend.learning_phase(), int)


def test_a_plain_step_beside_an_adversarial_one_updates_the_statistics_once(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels
) -> None:
    stack.train_step(foreign_model, phases=PHASES["intended"], epsilon=EPSILON)
    plain = stack.train_step(foreign_model, phases=None, epsilon=EPSILON)
    old, _ = bn_statistics(foreign_model)
    batch, _ = batch_statistics(foreign_model, images)
    plain(images, labels, 0.1)
    np.testing.assert_allclose(bn_statistics(foreign_model)[0] - old, 0.01 * (batch - old), 2e-2)


def test_a_second_adversarial_step_of_one_model_is_refused(
    stack: Stack, foreign_model: Model
) -> None:
    stack.train_step(foreign_model, phases=PHASES["intended"], epsilon=EPSILON)
    with pytest.raises(ValueError, match=r"model must have no other adversarial step.* Received: "):
        stack.train_step(foreign_model, phases=PHASES["literal"], epsilon=EPSILON)


def test_a_training_pass_updates_by_the_momentum_of_that_moment_and_no_other_pass_does(
    stack: Stack, foreign_model: Model, images: Images
) -> None:
    before = foreign_model.get_weights()
    network = stack.network(foreign_model)
    network.logits(images, training=True)
    old = bn_statistics(foreign_model)
    foreign_model.get_layer("bn").momentum = 0.0
    foreign_model.set_weights(before)
    network = stack.network(foreign_model)
    for training in (False, True):
        network.craft(images, epsilon=EPSILON, training=training)
    network.logits(images, training=False)
    for kept, weight in zip(before, foreign_model.get_weights()):
        np.testing.assert_array_equal(weight, kept)
    network.logits(images, training=True)
    for found, batch, moved in zip(
        bn_statistics(foreign_model), batch_statistics(foreign_model, images), old
    ):
        np.testing.assert_allclose(found, batch, rtol=1e-4, atol=1e-6)
        assert (np.abs(moved - batch) > 1e-3).all()


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


@pytest.mark.parametrize("phases", [PHASES["literal"], EXPLICIT], ids=str)
def test_perturbed_images_are_held_constant_even_for_an_attack_that_has_a_gradient(
    linear: Model, images: Images, labels: Labels, phases: Phases, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Attack(published.FastGradientMethod):
        def generate(self, x: Any, **_: Any) -> Any:
            return x * (1 + tf.reduce_sum(self.model.get_logits(x) ** 2))

    kernel = linear.get_weights()[0]
    monkeypatch.setattr(published, "FastGradientMethod", Attack)
    graph.train_step(linear, phases=phases, epsilon=EPSILON)(images, labels, 0.1)
    flat = images.reshape(len(images), -1).astype(np.float64)
    perturbed = flat * (1 + ((flat @ kernel) ** 2).sum())
    gradient = sum(linear_terms(kernel, x, labels)[2] for x in (flat, perturbed)) / 2
    np.testing.assert_allclose(
        linear.get_weights()[0] - kernel, -0.1 * 1.9 * gradient, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_logits_and_attack_run_in_the_phase_asked_for(
    stack: Stack, foreign_model: Model, images: Images, training: bool
) -> None:
    network, state = stack.network(foreign_model), foreign_model.get_weights()
    [expected] = evaluated(images, lambda x: [foreign_model(x, training=training)])
    by_hand = attack_by_hand(foreign_model, images, training=training)
    other = attack_by_hand(foreign_model, images, training=not training)
    np.testing.assert_allclose(network.logits(images, training=training), expected, rtol=1e-4)
    foreign_model.set_weights(state)
    crafted = network.craft(images, epsilon=EPSILON, training=training)
    assert (np.abs(crafted - by_hand) > 1e-6).mean() < 0.01  # rounding decides the sign of zeros
    assert (np.abs(crafted - other) > 1e-6).mean() > 0.1


def test_the_attack_stays_within_epsilon_and_the_pixels_range(
    stack: Stack, linear: Model, images: Images
) -> None:
    network = stack.network(linear)
    flat = images.reshape(len(images), -1)
    crafted = network.craft(images, epsilon=EPSILON, training=False)
    expected = linear_perturbed(linear.get_weights()[0], flat).reshape(images.shape)
    np.testing.assert_allclose(crafted, expected, atol=1e-6)
    assert crafted.min() == 0
    assert crafted.max() == 1
    assert np.abs(crafted - images).max() == pytest.approx(EPSILON, rel=1e-4)
    smaller = network.craft(images, epsilon=EPSILON / 2, training=False)
    assert np.abs(smaller - images).max() == pytest.approx(EPSILON / 2, rel=1e-4)


def test_crafting_follows_a_change_of_the_weights(
    stack: Stack, linear: Model, images: Images
) -> None:
    network = stack.network(linear)
    first = network.craft(images, epsilon=EPSILON, training=False)
    linear.set_weights([-2 * linear.get_weights()[0][:, ::-1]])
    expected = linear_perturbed(linear.get_weights()[0], images.reshape(len(images), -1))
    second = network.craft(images, epsilon=EPSILON, training=False)
    np.testing.assert_allclose(second.reshape(expected.shape), expected, atol=1e-6)
    assert (first != second).any()


def test_adam_moves_every_weight_by_the_learning_rate_at_first(
    stack: Stack, linear: Model, images: Images, labels: Labels
) -> None:
    kernel = linear.get_weights()[0]
    stack.train_step(linear, phases=None, epsilon=0.0, optimizer="adam")(images, labels, 0.01)
    gradient = linear_terms(kernel, images.reshape(len(images), -1), labels)[2]
    np.testing.assert_allclose(
        linear.get_weights()[0] - kernel, -0.01 * np.sign(gradient), rtol=0, atol=5e-4
    )


def test_saturated_outputs_keep_their_cross_entropy(
    stack: Stack, linear: Model, images: Images, labels: Labels
) -> None:
    """Keras sees the logits behind the softmax: nothing is clipped at 1e-7, which is 16 nats."""
    kernel = 300 * linear.get_weights()[0]
    linear.set_weights([kernel])
    logits = images.reshape(len(images), -1) @ kernel
    expected = (logits.max(axis=1) - logits[np.arange(6), labels]).mean()
    for phases in (None, PHASES["literal"]):
        result = stack.train_step(linear, phases=phases, epsilon=0.0)(images, labels, 0.0)
        assert expected > 30
        assert result.clean_ce == pytest.approx(expected, rel=1e-3)
        assert result.loss == pytest.approx(expected, rel=1e-3)


def test_one_seed_governs_python_numpy_initial_weights_and_dropout(stack: Stack) -> None:
    def drawn(seed: int) -> list[float]:
        stack.seed(seed)
        layers = stack.keras.layers
        inputs = stack.keras.Input((64,))
        dense = layers.Dense(1)
        model = stack.keras.Model(inputs, dense(layers.Dropout(0.5)(inputs)))
        noise = stack.network(model).logits(np.ones((1, 64), np.float32), training=True)
        return [
            random.random(),  # noqa: S311
            np.random.random(),
            float(dense.get_weights()[0][0, 0]),
            float(noise[0, 0]) / float(dense.get_weights()[0].sum()),
        ]

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert first == again
    assert all(a != b for a, b in zip(first, other))


def test_two_runs_of_one_seed_have_the_same_losses(
    stack: Stack, images: Images, labels: Labels
) -> None:
    def losses() -> list[float]:
        stack.seed(5)
        layers = stack.keras.layers
        inputs = stack.keras.Input((8, 8, 3))
        x = layers.Dropout(0.2)(layers.BatchNormalization()(layers.Conv2D(4, 3)(inputs)))
        model = stack.keras.Model(inputs, layers.Dense(5)(layers.Flatten()(x)))
        step = stack.train_step(model, phases=None, epsilon=0.0)
        return [step(images, labels, 0.1).loss for _ in range(3)]

    assert losses() == losses()


def test_versions_name_what_is_running(stack: Stack) -> None:
    versions = stack.versions()
    assert versions["tensorflow"] == tf.__version__
    assert versions["keras"] == "2.2.4-tf"
    assert versions["numpy"] == np.__version__
    assert versions["cleverhans"] == "3.1.0"
    assert versions["python"].startswith("3.7")


def test_the_stand_in_for_tensorflow_addons_is_gone_after_the_import() -> None:
    assert "tensorflow_addons" not in sys.modules


def test_no_device_memory_is_reported(stack: Stack) -> None:
    assert stack.peak_device_bytes() is None


def handwritten_ce(weights: Any, x: Any, moments: Any, labels: Labels) -> Any:
    """Return the cross-entropy of `foreign_model` in TF operations; `moments` None: the batch's."""
    kernel, bias, gamma, beta, dense, shift = weights
    x = tf.nn.conv2d(x, kernel, 1, "VALID") + bias
    mean, variance = tf.nn.moments(x, (0, 1, 2)) if moments is None else moments
    x = gamma * (x - mean) / tf.sqrt(variance + 1e-3) + beta
    logits = tf.matmul(tf.reshape(tf.nn.relu(x), (len(labels), -1)), dense) + shift
    ce = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    return tf.reduce_mean(ce), logits


def moments_by_hand(weights: Any, x: Any) -> list[np.ndarray]:
    kernel, bias, *_ = (np.asarray(weight, np.float64) for weight in weights)
    strides = (*x.strides[:1], *x.strides[1:3], *x.strides[1:3], x.strides[3])
    windows = np.lib.stride_tricks.as_strided(x, (len(x), 6, 6, 3, 3, 3), strides)
    features = (np.einsum("nhwijc,ijco->nhwo", windows, kernel) + bias).reshape(-1, 4)
    return [features.mean(axis=0), features.var(axis=0, ddof=1)]


def moved_by_hand(old: Any, batch: Any, momentum: float) -> list[np.ndarray]:
    return [np.float32(momentum * one + (1 - momentum) * other) for one, other in zip(old, batch)]


@pytest.mark.parametrize(
    "kind", [kind for kind in ADVERSARIAL if kind not in {TRAINING, INFERENCE}]
)
def test_each_kind_of_adversarial_pass_is_that_of_a_network_by_hand(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels, kind: str
) -> None:
    by, updates = ADVERSARIAL[kind]
    kernel, bias, gamma, beta, mean, variance, dense, shift = foreign_model.get_weights()
    weights, momentum = [kernel, bias, gamma, beta, dense, shift], 0.99
    clean = moments_by_hand(weights, images)
    moving = moved_by_hand([mean, variance], clean, momentum)
    phases = Phases(TRAINING, INFERENCE, kind)
    step = stack.train_step(foreign_model, phases=phases, epsilon=EPSILON)
    session = tf.keras.backend.get_session()
    x = tf.constant(images)
    _, logits = handwritten_ce(weights, x, moving, labels)
    predicted = session.run(logits).argmax(axis=1)
    ce, _ = handwritten_ce(weights, x, moving, predicted)
    [gradient] = session.run(tf.gradients(ce, [x]))
    perturbed = np.clip(images + np.float32(EPSILON) * np.sign(gradient), 0, 1)
    moments = {"own batch": None, "clean batch": np.float32(clean), "moving statistics": moving}
    constants = [tf.constant(weight) for weight in weights]
    clean_ce, _ = handwritten_ce(constants, images, None, labels)
    other_ce, _ = handwritten_ce(constants, perturbed, moments[by], labels)
    gradients = tf.gradients((clean_ce + other_ce) / 2, constants)
    *ces, gradients = session.run([clean_ce, other_ce, gradients])
    result = step(images, labels, 0.1)
    np.testing.assert_allclose([result.clean_ce, result.adversarial_ce], ces, rtol=1e-4)
    if updates:
        moving = moved_by_hand(moving, moments_by_hand(weights, perturbed), momentum)
    after = foreign_model.get_weights()
    np.testing.assert_allclose(after[4:6], moving, rtol=1e-4, atol=1e-5)
    for old, new, gradient in zip(weights, [*after[:4], *after[6:]], gradients):
        change = -0.1 * (1 + MOMENTUM) * np.asarray(gradient)
        rounding = 0.02 * np.abs(change).max() + 1e-6
        np.testing.assert_allclose(new - old, change, rtol=0, atol=rounding)


def test_the_two_kinds_of_a_normalisation_give_one_loss_and_another_than_the_clean_batchs(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels
) -> None:
    state, losses = foreign_model.get_weights(), {}
    for kind in ("own-kept", "clean-kept", "clean-updating", "moving-updating"):
        phases = Phases(TRAINING, INFERENCE, kind)
        step = stack.train_step(foreign_model, phases=phases, epsilon=EPSILON)
        losses[kind] = step(images, labels, 0.0).adversarial_ce
        foreign_model.set_weights(state)
    assert losses["clean-kept"] == pytest.approx(losses["clean-updating"], rel=1e-6)
    found = sorted(losses[kind] for kind in ("own-kept", "clean-kept", "moving-updating"))
    assert min(np.diff(found)) > 1e-3
