"""What predictions are worth beside the labels: outputs in, trials out; pure numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from suite.diagnose.found import Evaluation, InputScale, Predictions, Trial

if TYPE_CHECKING:
    from numpy.typing import NDArray

BELOW_CHANCE = 2.0
"""Nats below chance at which an image's score ends, so that a few sure errors do not decide."""

DEAD = 1e-3
"""Spread of an output, relative to the others', below which it is dead."""

FEW = 5
"""Right or wrong predictions below which their confidences are not compared."""

LAST_LAYERS = 3
"""Layers at a network's end among which a sigmoid may be that of its outputs."""


class Reader(NamedTuple):
    """How the network's outputs are read: "logits", "probabilities" or "sigmoid"."""

    kind: str

    def log_probabilities(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert outputs to ``(n, classes)`` log-probabilities."""
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


def reader_of(outputs: NDArray[np.float64], activations: Sequence[str]) -> Reader:
    """Tell logits from probabilities by what the outputs add up to, and the last activations.

    Args:
        outputs: ``(n, classes)``.
        activations: Names of all layers' activations, "" where a layer has none.
    """
    inside = bool(((outputs >= 0) & (outputs <= 1)).all())
    if inside and outputs.shape[1] > 1 and np.allclose(outputs.sum(axis=1), 1, atol=1e-2):
        return Reader("probabilities")
    sigmoid = "sigmoid" in activations[-LAST_LAYERS:]
    return Reader("sigmoid" if inside and (sigmoid or outputs.shape[1] == 1) else "logits")


class Judge(NamedTuple):
    """Scores outputs against the labels of a sample.

    Attributes:
        labels: ``(n,)``.
        reader: How outputs are read.
    """

    labels: NDArray[np.int64]
    reader: Reader

    @property
    def entropy(self) -> float:
        """Entropy of the labels, nats."""
        return label_entropy(self.labels)

    def scores(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give each image the log-probability of its label, bounded below."""
        return np.maximum(self._likelihoods(outputs), -self.entropy - BELOW_CHANCE)

    def trial(
        self,
        kind: str,
        outputs: NDArray[np.float64],
        *,
        layer: str = "",
        scale: InputScale | None = None,
    ) -> Trial:
        """Evaluate the outputs for all images that one condition led to."""
        predicted = predicted_classes(outputs, self.reader)
        cross_entropy = float(-self._likelihoods(outputs).mean())
        evaluation = Evaluation(
            accuracy=float(np.mean(predicted == self.labels)),
            information_gain=self.entropy - cross_entropy,
            cross_entropy=cross_entropy,
            classes_predicted=len(np.unique(predicted)),
        )
        return Trial(kind, layer, self.scores(outputs), evaluation, scale)

    def _likelihoods(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pick the log-probability of each label; that of a NaN is as bad as can be."""
        with np.errstate(all="ignore"):
            logs = self.reader.log_probabilities(outputs)
        picked: NDArray[np.float64] = logs[np.arange(len(outputs)), self.labels[: len(outputs)]]
        return np.where(np.isfinite(picked), picked, -np.inf)


def label_entropy(labels: NDArray[np.int64]) -> float:
    """Compute the entropy of `labels`, nats."""
    shares = np.bincount(labels) / len(labels)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def predicted_classes(outputs: NDArray[np.float64], reader: Reader) -> NDArray[np.int64]:
    """Pick the class predicted for each image."""
    with np.errstate(all="ignore"):
        logs = np.nan_to_num(reader.log_probabilities(outputs))
    predicted: NDArray[np.int64] = np.argmax(logs, axis=1)
    return predicted


def compared(judge: Judge, outputs: NDArray[np.float64]) -> Predictions:
    """Compare the predictions that `outputs` make with the labels."""
    labels = judge.labels
    with np.errstate(all="ignore"):
        logs = np.nan_to_num(judge.reader.log_probabilities(outputs), neginf=-1e3)
    predicted = np.argmax(logs, axis=1)
    confidence = np.exp(logs.max(axis=1))
    raw = outputs if judge.reader.kind == "logits" else np.log(np.maximum(outputs, 1e-38))
    missing = sorted(set(labels.tolist()) - set(predicted.tolist()))
    dead = dead_outputs(np.nan_to_num(raw)) if missing else set()
    centred = np.argmax(np.nan_to_num(raw - raw.mean(axis=0)), axis=1)
    return Predictions(
        variation=float(np.sqrt(np.mean(logs.std(axis=0) ** 2))),
        dead_outputs=tuple(label for label in missing if label in dead),
        centred_accuracy=float(np.mean(centred == labels)),
        permuted_accuracy=permuted_accuracy(predicted, labels),
        confidence=float(confidence.mean()),
        confidence_auc=confidence_auc(confidence, predicted == labels),
        marginal_distance=marginal_distance(predicted, labels),
    )


def dead_outputs(values: NDArray[np.float64]) -> set[int]:
    """Find the columns of ``(n, classes)`` logits that no image moves.

    Of log-probabilities those that all move alike: what moves them is the other classes.
    """
    covariance = np.atleast_2d(np.cov(values, rowvar=False))
    variance = np.diag(covariance)
    apart = variance[:, None] + variance[None, :] - 2 * covariance
    np.fill_diagonal(apart, variance)
    usual = float(np.median(apart))
    return set(np.flatnonzero(apart.min(axis=0) < DEAD**2 * usual).tolist())


def permuted_accuracy(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Compute the accuracy with classes renamed, each half of the images judging the other's."""
    size = int(max(predicted.max(), labels.max())) + 1
    hits = 0
    for parity in (0, 1):
        fit = np.arange(len(labels)) % 2 == parity
        confusion = np.zeros((size, size))
        np.add.at(confusion, (predicted[fit], labels[fit]), 1)
        rows, columns = linear_sum_assignment(-confusion)
        renamed = np.empty(size, dtype=np.int64)
        renamed[rows] = columns
        hits += int(np.sum(renamed[predicted[~fit]] == labels[~fit]))
    return hits / len(labels)


def confidence_auc(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Compute the chance that a right prediction is surer than a wrong one; nan of too few."""
    hits, misses = int(right.sum()), int((~right).sum())
    if min(hits, misses) < FEW:
        return float("nan")
    ranks = rankdata(confidence)
    return float((ranks[right].sum() - hits * (hits + 1) / 2) / (hits * misses))


def marginal_distance(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Compute the total variation distance of two samples of classes."""
    size = int(max(predicted.max(), labels.max())) + 1
    shares = [np.bincount(values, minlength=size) / len(values) for values in (predicted, labels)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)
