"""What images, features, predictions and labels have to do with one another: pure numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import binom, rankdata

from suite.networks.preprocessing import IMAGENET_DEVIATION, IMAGENET_MEAN, IMAGENET_MEAN_BGR

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDS = 4
RIDGE = 0.3
"""Of a kernel whose diagonal is 1 on average."""

CAFFE_MEAN = np.array(IMAGENET_MEAN_BGR, np.float32)
TORCH_MEAN = np.array(IMAGENET_MEAN, np.float32)
TORCH_DEVIATION = np.array(IMAGENET_DEVIATION, np.float32)
RGB = 3


class Probe(NamedTuple):
    """How well a linear classifier, fitted and judged on different images, tells the labels.

    Attributes:
        accuracy: Fraction of the images classified rightly.
        chance: Share of the most frequent label.
        p_value: Of as many hits by chance.
    """

    accuracy: float
    chance: float
    p_value: float


class Predictions(NamedTuple):
    """What the predictions look like beside the labels.

    Attributes:
        variation: Spread of the logits over the images, relative to what they are; 0 if constant.
        dead_outputs: Classes whose output hardly varies while others' do.
        permuted_accuracy: Accuracy on one half of the images, the classes renamed as fits the
            other half best.
        centred_accuracy: Accuracy with each class' mean over the images taken off its output: what
            it is but for a bias.
        confidence: Mean probability of the predicted class.
        confidence_auc: Chance that a right prediction is surer than a wrong one; nan where there
            are not five of each.
        marginal_distance: Total variation between the predicted classes and the labels.
    """

    variation: float
    dead_outputs: tuple[int, ...]
    permuted_accuracy: float
    centred_accuracy: float
    confidence: float
    confidence_auc: float
    marginal_distance: float


def probe(features: NDArray[np.float64], labels: NDArray[np.int64]) -> Probe:
    """Return how well ridge regression on ``(n, d)`` `features` tells `labels`."""
    known, targets = np.unique(labels, return_inverse=True)
    values = np.where(np.isfinite(features), features, 0.0)
    scale = np.abs(values).max(axis=0)
    spread = values.std(axis=0)
    used = values[:, spread > 1e-5 * scale] if scale.any() else values[:, :0]
    z = (used - used.mean(axis=0)) / used.std(axis=0) if used.size else np.zeros((len(labels), 1))
    kernel = z @ z.T / z.shape[1]
    folds = np.arange(len(labels)) % FOLDS
    predicted = np.empty(len(labels), dtype=np.int64)
    for fold in range(FOLDS):
        test, train = folds == fold, folds != fold
        one_hot = np.eye(len(known))[targets[train]]
        prior = one_hot.mean(axis=0)
        gram = kernel[np.ix_(train, train)] + RIDGE * np.eye(int(train.sum()))
        weights = np.linalg.solve(gram, one_hot - prior)
        predicted[test] = np.argmax(kernel[np.ix_(test, train)] @ weights + prior, axis=1)
    hits = int(np.sum(predicted == targets))
    chance = float(np.bincount(targets).max() / len(labels))
    return Probe(hits / len(labels), chance, float(binom.sf(hits - 1, len(labels), chance)))


def permuted_accuracy(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Return the accuracy with classes renamed, each half of the images judging the other's."""
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
    """Return the chance that a right prediction is surer than a wrong one."""
    hits, misses = int(right.sum()), int((~right).sum())
    if min(hits, misses) < 5:  # noqa: PLR2004
        return float("nan")
    ranks = rankdata(confidence)
    return float((ranks[right].sum() - hits * (hits + 1) / 2) / (hits * misses))


def marginal_distance(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Return the total variation distance of two samples of classes."""
    size = int(max(predicted.max(), labels.max())) + 1
    shares = [np.bincount(values, minlength=size) / len(values) for values in (predicted, labels)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def input_conventions(images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return `images` in the scales that networks are trained with, by what the scale is.

    What they were in is guessed from their range: once as the nearest convention, once as their
    own smallest and largest value.
    """
    found: dict[str, NDArray[np.float32]] = {}
    for source, pixels in _decoded(images).items():
        for target, scaled in _encoded(pixels).items():
            for order, ordered in _orders(scaled).items():
                name = f"{source} -> {target}{order}"
                known = [images, *found.values()]
                if not any(np.allclose(ordered, other, rtol=1e-3, atol=1e-4) for other in known):
                    found[name] = ordered
    return found


def _decoded(images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return pixels in [0, 1], by the scale that `images` are taken to have."""
    low, high = float(images.min()), float(images.max())
    span = max(high - low, 1e-12)
    pixels: dict[str, NDArray[np.float32]] = {}
    if low >= 0 and high <= 1:
        pixels["[0, 1]"] = images
    elif low >= 0 and high <= 255:  # noqa: PLR2004
        pixels["[0, 255]"] = images / np.float32(255)
    elif low >= -1 and high <= 1:
        pixels["[-1, 1]"] = (images + 1) / np.float32(2)
    elif images.shape[-1] == RGB and low > -3 and high < 3:  # noqa: PLR2004
        pixels["mean and deviation (torch)"] = images * TORCH_DEVIATION + TORCH_MEAN
    elif images.shape[-1] == RGB:
        pixels["BGR, mean subtracted (caffe)"] = (images + CAFFE_MEAN)[..., ::-1] / np.float32(255)
    pixels[f"[{low:.3g}, {high:.3g}]"] = (images - np.float32(low)) / np.float32(span)
    return pixels


def _encoded(pixels: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return `pixels` of [0, 1] in each convention."""
    axes = tuple(range(pixels.ndim - 1))
    deviation = pixels.std(axis=axes) + np.float32(1e-7)
    encoded = {
        "[0, 1]": pixels,
        "[0, 255]": pixels * np.float32(255),
        "[-1, 1]": pixels * np.float32(2) - np.float32(1),
        "standardised": (pixels - pixels.mean(axis=axes)) / deviation,
        "[0, 1/255]": pixels / np.float32(255),
    }
    if pixels.shape[-1] == RGB:
        encoded["mean and deviation (torch)"] = (pixels - TORCH_MEAN) / TORCH_DEVIATION
        encoded["BGR, mean subtracted (caffe)"] = pixels[..., ::-1] * np.float32(255) - CAFFE_MEAN
    return encoded


def _orders(images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return `images` as they are, and with the channels reversed."""
    if images.shape[-1] != RGB:
        return {"": images}
    return {"": images, ", channels reversed": images[..., ::-1]}
