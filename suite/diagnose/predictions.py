"""What predictions are worth beside the labels: outputs in, trials out; pure numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from suite.diagnose.trials import CENTRED, RENAMED, Evaluation, InputScale, Predictions, Trial

if TYPE_CHECKING:
    from numpy.typing import NDArray

BELOW_CHANCE = 2.0
"""Nats below chance at which an image's score ends, so that a few sure errors do not decide."""

DEAD = 1e-3
"""Spread of an output, relative to the others', below which it is dead."""

FEW = 5
"""Right or wrong predictions below which their confidences are not compared."""

LEAST, TINY = 1e-7, 1e-38
"""Probabilities that a loss of Keras tells from 0, and that float32 does."""

NONE = -1e3
"""Log-probability that stands for that of nothing."""

MOST = 1e38
"""Output that stands for infinity: what float32 ends at."""

LAST_LAYERS = 3
"""Layers at a network's end among which a sigmoid may be that of its outputs."""


class Reader(NamedTuple):
    """How the network's outputs are read.

    Attributes:
        kind: "logits", "probabilities" or "sigmoid".
        classes: That they tell apart; 0 where unknown.
    """

    kind: str
    classes: int = 0

    def log_probabilities(
        self, outputs: NDArray[np.float64], *, least: float = LEAST
    ) -> NDArray[np.float64]:
        """Convert outputs to ``(..., classes)`` log-probabilities, none below that of `least`."""
        if self.kind == "probabilities":
            return np.log(np.clip(outputs, least, 1))
        logits = outputs
        if self.kind == "sigmoid":
            clipped = np.clip(outputs, least, 1 - LEAST)
            logits = np.log(clipped / (1 - clipped))
        if logits.shape[-1] == 1:
            logits = np.concatenate([0 * logits, logits], axis=-1)
        logits = logits - logits.max(axis=-1, keepdims=True)
        normed: NDArray[np.float64] = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        return normed


def reader_of(outputs: NDArray[np.float64], activations: Sequence[str]) -> Reader:
    """Tell logits from probabilities by what the outputs add up to, and the last activations.

    Args:
        outputs: ``(..., classes)``.
        activations: Names of all layers' activations, "" where a layer has none.
    """
    inside = bool(((outputs >= 0) & (outputs <= 1)).all())
    if inside and outputs.shape[-1] > 1 and np.allclose(outputs.sum(axis=-1), 1, atol=1e-2):
        return Reader("probabilities", outputs.shape[-1])
    sigmoid = "sigmoid" in activations[-LAST_LAYERS:]
    kind = "sigmoid" if inside and (sigmoid or outputs.shape[-1] == 1) else "logits"
    return Reader(kind, max(2, outputs.shape[-1]))


class Judge(NamedTuple):
    """Scores outputs against the labels of a sample.

    Attributes:
        labels: ``(n,)``; ``(n, places)`` where each position has its own: an image then counts as
            the mean of its positions, which are no independent answers.
        reader: How outputs are read.
    """

    labels: NDArray[np.int64]
    reader: Reader

    @property
    def entropy(self) -> float:
        """Entropy of the labels, nats; of one class alone that of a guess among all."""
        return label_entropy(self.labels) or float(np.log(max(1, self.reader.classes)))

    def scores(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give each image the log-probability of its label, bounded below."""
        return by_image(np.maximum(self._likelihoods(outputs), -self.entropy - BELOW_CHANCE))

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
        numbers = np.isfinite(outputs).all(axis=-1)  # NaN is right of no class
        hits = (predicted == self.labels) & numbers
        cross_entropy = float(-self._likelihoods(outputs).mean())
        evaluation = Evaluation(
            accuracy=float(np.mean(hits)),
            information_gain=self.entropy - cross_entropy,
            cross_entropy=cross_entropy,
            classes_predicted=len(np.unique(predicted)),
        )
        return Trial(kind, layer, self.scores(outputs), by_image(hits), evaluation, scale)

    def read_otherwise(self, outputs: NDArray[np.float64]) -> tuple[Trial, Trial]:
        """Evaluate the same outputs with the classes renamed, and without a bias."""
        with np.errstate(all="ignore"):
            logs = np.nan_to_num(self.reader.log_probabilities(outputs, least=TINY), neginf=NONE)
        others = Judge(self.labels, Reader("logits", logs.shape[-1]))
        return (
            others.trial(RENAMED, renamed(logs, self.labels)),
            others.trial(CENTRED, logs - logs.mean(axis=tuple(range(logs.ndim - 1)))),
        )

    def _likelihoods(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pick the log-probability of each label; that of a NaN is as bad as can be."""
        with np.errstate(all="ignore"):
            logs = self.reader.log_probabilities(outputs)
        labels = self.labels[: len(outputs), ..., None]
        picked: NDArray[np.float64] = np.take_along_axis(logs, labels, axis=-1)[..., 0]
        return np.where(np.isfinite(picked), picked, -np.inf)


def by_image(values: NDArray[Any]) -> NDArray[Any]:
    """Average ``(n, places)`` values over the positions of each image; ``(n,)`` stay."""
    return values if values.ndim == 1 else values.mean(axis=1)


def label_entropy(labels: NDArray[np.int64]) -> float:
    """Compute the entropy of `labels`, nats."""
    shares = np.bincount(labels.ravel()) / labels.size
    shares = shares[shares > 0]
    return float(abs((shares * np.log(shares)).sum()))  # no -0


def predicted_classes(outputs: NDArray[np.float64], reader: Reader) -> NDArray[np.int64]:
    """Pick the class predicted for each image, or position."""
    with np.errstate(all="ignore"):
        logs = np.nan_to_num(reader.log_probabilities(outputs))
    predicted: NDArray[np.int64] = np.argmax(logs, axis=-1)
    return predicted


def compared(judge: Judge, outputs: NDArray[np.float64]) -> Predictions:
    """Compare the predictions that `outputs` make with the labels."""
    labels, outputs = judge.labels.ravel(), outputs.reshape(-1, outputs.shape[-1])
    with np.errstate(all="ignore"):
        logs = np.nan_to_num(judge.reader.log_probabilities(outputs), neginf=NONE)
    predicted = np.argmax(logs, axis=1)
    confidence = np.exp(logs.max(axis=1))
    raw = outputs if judge.reader.kind == "logits" else np.log(np.maximum(outputs, 1e-38))
    missing = sorted(set(labels.tolist()) - set(predicted.tolist()))
    dead = dead_outputs(np.clip(np.nan_to_num(raw), -MOST, MOST)) if missing else set()
    return Predictions(
        variation=float(np.sqrt(np.mean(logs.std(axis=0) ** 2))),
        dead_outputs=tuple(label for label in missing if label in dead),
        confidence=float(confidence.mean()),
        confidence_auc=confidence_auc(confidence, predicted == labels),
        marginal_distance=marginal_distance(predicted, labels),
        names=tuple(fitting_names(predicted, labels, logs.shape[-1]).tolist()),
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


def renamed(logs: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rename the classes of predictions, each half of the images as fits the other."""
    predicted, changed = logs.argmax(axis=-1), np.empty_like(logs)
    for parity in (0, 1):
        fit = np.arange(len(labels)) % 2 == parity
        names = fitting_names(predicted[fit], labels[fit], logs.shape[-1])
        changed[~fit] = logs[~fit][..., np.argsort(names)]
    return changed


def fitting_names(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    """Find the label that fits each of `size` outputs best, each given once."""
    confusion = np.zeros((size, size))
    np.add.at(confusion, (predicted, labels), 1)
    names: NDArray[np.int64] = linear_sum_assignment(-confusion)[1]
    return names


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
