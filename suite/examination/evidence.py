"""The images and labels of a diagnosis, found to be good, and what predictions are worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.examination.listening import FEATURES, Heard, Layer, Network
from suite.examination.relations import (
    Predictions,
    Probe,
    confidence_auc,
    marginal_distance,
    permuted_accuracy,
    probe,
)
from suite.types import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_IMAGES = 16
"""With fewer no difference of predictions is significant."""

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


class Sample(NamedTuple):
    """The images examined.

    Attributes:
        images: ``(n, height, width, channels)`` float32, in random order.
        labels: ``(n,)`` int64.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    def first(self, count: int) -> Sample:
        """Return its first images."""
        return Sample(self.images[:count], self.labels[:count])


def sampled(
    model: Model, images: NDArray[Any], labels: NDArray[Any], *, limit: int, seed: int
) -> Sample:
    """Return at most `limit` of the images, drawn at random, once they are found to be good.

    Raises:
        ValueError: If they are not.
    """
    _check_images(model, images)
    labels = _check_labels(labels, len(images))
    chosen = np.random.default_rng(seed).permutation(len(images))[:limit]
    sample = Sample(images[chosen].astype(np.float32), labels[chosen].astype(np.int64))
    if not np.isfinite(sample.images).all():
        raise ValueError("images must be finite. Received: NaN or infinite pixels")
    if len(np.unique(sample.labels)) < 2:  # noqa: PLR2004
        raise ValueError(
            "labels must be of two classes at least: of one class nothing can be told apart. "
            f"Received: {len(labels)} labels, all {sample.labels[0]}"
        )
    return sample


def _check_images(model: Model, images: NDArray[Any]) -> None:
    """Raise ValueError unless `images` are enough, and of the shape that `model` takes."""
    shape = getattr(model, "input_shape", None)
    if shape is not None and not isinstance(shape, tuple):
        told = f"model must have one input. Received: {len(shape)}"
        raise ValueError(told)
    if images.dtype.kind not in "fiu":
        raise ValueError(f"images must be numbers. Received: dtype {images.dtype}")
    fits = images.ndim > 1 and (
        shape is None
        or (
            len(shape) == images.ndim
            and all(want in (None, have) for want, have in zip(shape[1:], images.shape[1:]))
        )
    )
    if not fits:
        expected = ("n", *shape[1:]) if shape else "(n, height, width, channels)"
        raise ValueError(
            f"images must be of the network's input shape {expected}: resize them. "
            f"Received: shape {images.shape}"
        )
    if len(images) < LEAST_IMAGES:
        raise ValueError(
            f"images must be {LEAST_IMAGES} at least, better 256: of fewer nothing can be said "
            f"with confidence. Received: {len(images)}"
        )


def _check_labels(labels: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Return `labels` as ``(n,)`` integers; ValueError if they are no labels of `count` images."""
    if labels.ndim == 2 and labels.shape[1] == 1:  # noqa: PLR2004
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "fiu":
        raise ValueError(
            "labels must be integers of shape (n,), not one-hot: labels.argmax(axis=1) makes them. "
            f"Received: shape {labels.shape}, dtype {labels.dtype}"
        )
    if len(labels) != count:
        raise ValueError(f"labels must be one an image, {count}. Received: {len(labels)}")
    if not (np.isfinite(labels) & (labels == np.round(labels)) & (labels >= 0)).all():
        raise ValueError("labels must be whole numbers from 0. Received: others")
    return labels.astype(np.int64)


def told_classes(labels: NDArray[np.int64], outputs: NDArray[Any], classes: int | None) -> int:
    """Return the number of classes the network tells apart.

    Raises:
        ValueError: If labels or outputs are not of that many.
    """
    if outputs.ndim != 2:  # noqa: PLR2004
        raise ValueError(
            "model must put out (n, classes) logits or probabilities. Received: outputs of shape "
            f"(n, {', '.join(map(str, outputs.shape[1:]))})"
        )
    told = max(2, int(outputs.shape[1]))
    if classes is not None and classes != told:
        raise ValueError(
            f"classes must be {told}, as many as the network has outputs: is it the network of "
            f"these data? Received: {classes}"
        )
    if labels.max() >= told:
        raise ValueError(
            f"labels must be in [0, {told - 1}], since the network has {told} outputs: is it the "
            f"network of these data? Received: {labels.max()}"
        )
    return told


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
