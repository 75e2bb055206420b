"""The images and labels of a diagnosis, found to be good, and what predictions are worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from suite.diagnose.network import FEATURES, Heard, Layer, Network
from suite.diagnose.probes import (
    Predictions,
    Probe,
    confidence_auc,
    marginal_distance,
    permuted_accuracy,
    probe,
)
from suite.diagnose.sample import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

BELOW_CHANCE = 2.0
"""Nats below chance at which an image's score ends, so that a few sure errors do not decide."""

DEAD = 1e-3
"""Spread of an output, relative to the others', below which it is dead."""


class Evaluation(NamedTuple):
    """What the network's predictions are worth under one set of statistics.

    Attributes:
        accuracy: Fraction of the images classified rightly.
        information_gain: Entropy of the labels minus `cross_entropy`, nats.
        cross_entropy: Mean over the images, nats.
        classes_predicted: How many classes are predicted at all.
    """

    accuracy: float
    information_gain: float
    cross_entropy: float
    classes_predicted: int


class Reader(NamedTuple):
    """How the network's outputs are read: "logits", "probabilities" or "sigmoid"."""

    kind: str

    def log_probabilities(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``(n, classes)``, each row the logarithms of probabilities."""
        if self.kind == "probabilities":
            return np.log(np.clip(outputs, 1e-7, 1))
        logits = outputs
        if self.kind == "sigmoid":
            clipped = np.clip(outputs, 1e-7, 1 - 1e-7)
            logits = np.log(clipped / (1 - clipped))
        if logits.shape[1] == 1:
            logits = np.concatenate([0 * logits, logits], axis=1)
        logits = logits - logits.max(axis=1, keepdims=True)
        normed: NDArray[np.float64] = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return normed


def reader_of(network: Network, outputs: NDArray[np.float64]) -> Reader:
    """Return how to read `outputs`: as what they add up to says, and the last activation."""
    inside = bool(((outputs >= 0) & (outputs <= 1)).all())
    if inside and outputs.shape[1] > 1 and np.allclose(outputs.sum(axis=1), 1, atol=1e-2):
        return Reader("probabilities")
    sigmoid = any(_activation(layer) == "sigmoid" for layer in network.layers[-3:])
    return Reader("sigmoid" if inside and (sigmoid or outputs.shape[1] == 1) else "logits")


def _activation(layer: Layer) -> str:
    """Return the name of a layer's activation; "" if it has none."""
    return str(getattr(getattr(layer, "activation", None), "__name__", ""))


def label_entropy(labels: NDArray[np.int64]) -> float:
    """Return the entropy of `labels`, nats."""
    shares = np.bincount(labels) / len(labels)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


class Judge:
    """Evaluates outputs against the labels of a sample, and keeps all results by name."""

    def __init__(self, labels: NDArray[np.int64], reader: Reader) -> None:
        """Judge outputs that `reader` reads against `labels`."""
        self.labels = labels
        self.reader = reader
        self.entropy = label_entropy(labels)
        self.evaluations: dict[str, Evaluation] = {}
        self.scores: dict[str, NDArray[np.float64]] = {}

    def score(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return each image's log-probability of its label, bounded below."""
        return np.maximum(self._likelihoods(outputs), -self.entropy - BELOW_CHANCE)

    def add(self, name: str, outputs: NDArray[np.float64]) -> None:
        """Keep what `outputs` are worth under `name`."""
        predicted = outputs_classes(outputs, self.reader)
        cross_entropy = float(-self._likelihoods(outputs).mean())
        self.scores[name] = self.score(outputs)
        self.evaluations[name] = Evaluation(
            accuracy=float(np.mean(predicted == self.labels)),
            information_gain=self.entropy - cross_entropy,
            cross_entropy=cross_entropy,
            classes_predicted=len(np.unique(predicted)),
        )

    def _likelihoods(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the log-probability of each label; that of a NaN is as bad as can be."""
        with np.errstate(all="ignore"):
            logs = self.reader.log_probabilities(outputs)
        picked: NDArray[np.float64] = logs[np.arange(len(outputs)), self.labels[: len(outputs)]]
        return np.where(np.isfinite(picked), picked, -np.inf)


def outputs_classes(outputs: NDArray[np.float64], reader: Reader) -> NDArray[np.int64]:
    """Return the class predicted of each image."""
    with np.errstate(all="ignore"):
        logs = np.nan_to_num(reader.log_probabilities(outputs))
    predicted: NDArray[np.int64] = np.argmax(logs, axis=1)
    return predicted


def probes(sample: Sample, heard: Heard) -> dict[str, Probe]:
    """Return how well the labels can be told from what the network makes of the images."""
    flat = sample.images.reshape(len(sample.images), -1)
    pixels = flat[:, :: max(1, flat.shape[1] // FEATURES)].astype(np.float64)
    found: dict[str, NDArray[np.float64]] = {
        "pixels": pixels,
        "features": heard.head,
        "trunk": heard.trunk,
    }
    return {
        name: probe(values[:, :FEATURES], sample.labels)
        for name, values in found.items()
        if values.size
    }


def predictions(judged: Judge, outputs: NDArray[np.float64]) -> Predictions:
    """Return what the predictions look like beside the labels."""
    with np.errstate(all="ignore"):
        logs = np.nan_to_num(judged.reader.log_probabilities(outputs), neginf=-1e3)
    predicted = np.argmax(logs, axis=1)
    confidence = np.exp(logs.max(axis=1))
    wanted = sorted(set(judged.labels.tolist()) - set(predicted.tolist()))
    raw = outputs if judged.reader.kind == "logits" else np.log(np.maximum(outputs, 1e-38))
    return Predictions(
        variation=float(np.sqrt(np.mean(logs.std(axis=0) ** 2))),
        dead_outputs=tuple(k for k in wanted if k in dead_outputs(np.nan_to_num(raw))),
        centred_accuracy=float(
            np.mean(np.argmax(np.nan_to_num(raw - raw.mean(axis=0)), axis=1) == judged.labels)
        ),
        permuted_accuracy=permuted_accuracy(predicted, judged.labels),
        confidence=float(confidence.mean()),
        confidence_auc=confidence_auc(confidence, predicted == judged.labels),
        marginal_distance=marginal_distance(predicted, judged.labels),
    )


def dead_outputs(values: NDArray[np.float64]) -> set[int]:
    """Return the columns of ``(n, classes)`` logits that no image moves.

    Of logarithms of probabilities those that all move alike: what moves them is the others.
    """
    covariance = np.atleast_2d(np.cov(values, rowvar=False))
    variance = np.diag(covariance)
    apart = variance[:, None] + variance[None, :] - 2 * covariance
    np.fill_diagonal(apart, variance)
    usual = float(np.median(apart))
    return set(np.flatnonzero(apart.min(axis=0) < DEAD**2 * usual).tolist())
