"""What does CleverHans' fast gradient method do, beside the same attack computed by hand?"""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from suite.measure.evaluation import Floats, log_likelihood
from suite.measure.run import Measured, Run, fixed_training, probe
from suite.networks.types import Images, Labels, Model
from suite.stacks.protocol import Stack

LINEAR_SIDE_PX = 8  # of the images for the linear model, whose attack is computed by hand
LINEAR_CLASSES = 5
LINEAR_IMAGES = 64


def attack(run: Run) -> Measured:
    """Attack the case's untrained model and measure what CleverHans' attack does."""
    model = fixed_training(run).model
    images, labels = probe(run.test, len(run.test.labels))
    metrics = attack_metrics(run.stack, model, images, labels, epsilon=run.case.epsilon)
    return Measured({**metrics, "parameters": float(model.count_params())}, {}, [], {})


def attack_metrics(
    stack: Stack, model: Model, images: Images, labels: Labels, *, epsilon: float
) -> dict[str, float]:
    """Measure the perturbed `images`, crafted in the inference phase, and their effect.

    Args:
        stack: The framework under measurement.
        model: The model that is attacked; a change of its state is measured too.
        images: ``(batch, height, width, 3)`` in [0, 1].
        labels: ``(batch,)``, the true ones.
        epsilon: FGSM step in the max norm.
    """
    network, state = stack.network(model), model.get_weights()
    perturbed = network.craft(images, epsilon=epsilon, training=False)
    clean = network.logits(images, training=False)
    predicted = clean.argmax(axis=1)
    attacked = network.logits(perturbed, training=False)
    before = log_likelihood(clean, predicted)
    change = np.abs(perturbed.astype(np.float64) - images)
    return {
        "perturbation_max": float(change.max()),
        "perturbed_fraction": float((change > 0).mean()),
        "pixel_min": float(perturbed.min()),
        "pixel_max": float(perturbed.max()),
        "loss_rise": float((before - log_likelihood(attacked, predicted)).mean()),
        "raised_fraction": float((log_likelihood(attacked, predicted) < before).mean()),
        "true_label_accuracy": float((predicted == labels).mean()),
        "state_change": state_change(state, model.get_weights()),
        **linear_errors(stack, epsilon=epsilon),
    }


def state_change(before: list[np.ndarray], after: list[np.ndarray]) -> float:
    """Measure the largest change of any weight or statistic."""
    changes = [np.max(np.abs(old - new)) for old, new in zip(before, after)]
    return float(np.max(changes))


def linear_errors(stack: Stack, *, epsilon: float) -> dict[str, float]:
    """Measure how far CleverHans is from FGSM by hand on a linear model.

    ``linear_error`` is the distance from the attack by hand that uses the model's predictions, as
    CleverHans should. ``linear_label_gap`` is the distance from the one that uses other labels:
    it shows that the labels matter.
    """
    rng = np.random.default_rng(0)
    shape = (LINEAR_IMAGES, LINEAR_SIDE_PX, LINEAR_SIDE_PX, 3)
    images = rng.random(shape, dtype=np.float32)
    kernel = rng.normal(scale=0.1, size=(LINEAR_SIDE_PX**2 * 3, LINEAR_CLASSES)).astype(np.float32)
    keras = stack.keras
    inputs = keras.Input(shape[1:])
    dense = keras.layers.Dense(LINEAR_CLASSES, use_bias=False)
    model = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    dense.set_weights([kernel])
    crafted = stack.network(model).craft(images, epsilon=epsilon, training=False)
    predicted = (images.reshape(LINEAR_IMAGES, -1) @ kernel).argmax(axis=1)
    by_hand = fgsm_by_hand(images, kernel, predicted, epsilon)
    leaking = fgsm_by_hand(images, kernel, (predicted + 1) % LINEAR_CLASSES, epsilon)
    return {
        "linear_error": float(np.abs(crafted - by_hand).max()),
        "linear_label_gap": float(np.abs(crafted - leaking).max()),
    }


def fgsm_by_hand(images: Images, kernel: np.ndarray, labels: Labels, epsilon: float) -> Floats:
    """Compute x + epsilon sign(dCE/dx), clipped to [0, 1], for logits = flat(x) @ kernel.

    This is FGSM (Goodfellow et al. 2015); the gradient of the softmax cross-entropy is
    (p - onehot(y)) @ kernel.T.
    """
    logits = images.reshape(len(images), -1).astype(np.float64) @ kernel
    probabilities: Floats = softmax(logits, axis=1)
    probabilities[np.arange(len(labels)), labels] -= 1
    gradient: Floats = (probabilities @ kernel.T).reshape(images.shape)
    perturbed: Floats = np.clip(images + epsilon * np.sign(gradient), 0, 1)
    return perturbed
