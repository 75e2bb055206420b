"""Gains and accuracies are scikit-learn's and SciPy's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import accuracy_score, log_loss

from suite.data import Split, label_entropy
from suite.measure.evaluation import cross_entropy, evaluate

if TYPE_CHECKING:
    from suite.networks.types import Images, Labels, Model
    from suite.stacks.protocol import Stack


def test_the_entropy_of_labels_is_scipys() -> None:
    labels = np.random.default_rng(0).geometric(0.2, 5000)
    assert label_entropy(labels) == pytest.approx(entropy(np.bincount(labels)), rel=1e-12)


def test_the_cross_entropy_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(scale=3, size=(500, 43)), rng.integers(0, 43, 500)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = log_loss(labels, shares, labels=range(43))
    assert cross_entropy(logits, labels) == pytest.approx(expected, rel=1e-12)


def test_accuracies_and_gains_of_an_evaluation_are_scikit_learns(
    stack: Stack, foreign_model: Model, images: Images, labels: Labels
) -> None:
    eight_bit = np.round(images * 255).astype(np.uint8)
    names = np.array([f"{index:05}" for index in range(len(labels))])
    split = Split(eight_bit, labels, np.full(len(labels), -1), names)
    found = evaluate(stack.network(foreign_model), split, epsilon=0.02, training=False)
    network, clean = stack.network(foreign_model), eight_bit.astype(np.float32) / 255
    for prefix, given in (
        ("", clean),
        ("adversarial_", network.craft(clean, epsilon=0.02, training=False)),
    ):
        logits = network.logits(given, training=False).astype(np.float64)
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        gain = entropy(np.bincount(labels)) - log_loss(labels, shares, labels=range(5))
        assert found[f"{prefix}information_gain"] == pytest.approx(gain, abs=1e-5)
        accuracy = accuracy_score(labels, logits.argmax(axis=1))
        assert found[f"{prefix or 'clean_'}accuracy"] == pytest.approx(accuracy)
