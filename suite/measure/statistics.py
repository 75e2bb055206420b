"""What BatchNorm's statistics did, layer by layer, and in which phases a step really ran."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from suite.networks.batch_norm import (
    Moments,
    keyed,
    momentum_zero,
    moving_moments,
    plant_moments,
    state_kept,
)
from suite.networks.types import Images, Labels, Model
from suite.stacks.protocol import Network, Stack, TrainStep


class LayerStatistics(NamedTuple):
    """How far one BatchNorm's moving statistics are from those of a batch.

    Attributes:
        layer: Name of the layer.
        mean_shift: Root mean square over the channels of (moving mean - batch mean) / batch
            standard deviation; 0 when they fit.
        log_variance_ratio: Mean over the channels of ln(moving variance / batch variance).
    """

    layer: str
    mean_shift: float
    log_variance_ratio: float


def batch_moments(
    stack: Stack, model: Model, images: Images, *, network: Network | None = None
) -> dict[str, Moments]:
    """Return the mean and variance that `images` have at the input of every BatchNorm layer.

    Each layer is asked itself: with momentum 0 its moving statistics become the batch's. So the
    variance is the one the release would store: Keras 2 divides by n - 1, Keras 3 by n. The
    model is left as it was. A `network` of `model` that is called for nothing else spares its
    compilation at the next call.
    """
    with momentum_zero(model):
        (network or stack.network(model)).logits(images, training=True)
        return moving_moments(model)


def population_moments(stack: Stack, model: Model, batches: Iterable[Images]) -> dict[str, Moments]:
    """Return the mean and variance that all images have at the input of every BatchNorm layer.

    Each batch is normalised by itself, and the batches are put together by the law of total
    variance, each weighted by its images; within a batch it is the variance that the release
    stores. The model is left as it was, and a layer that no training pass updates keeps its
    statistics (Wu & Johnson 2021).

    Raises:
        ValueError: If there are no batches.
    """
    with momentum_zero(model):
        found: list[tuple[int, dict[str, Moments]]] = []
        network = stack.network(model)
        for images in batches:
            if not found:  # leaves no rounding of far larger statistics behind
                network.logits(images, training=True)
            network.logits(images, training=True)
            found.append((len(images), moving_moments(model)))
    if not found:
        raise ValueError("batches must hold at least one. Received: none")
    counts, moments = zip(*found)
    return {name: _pooled(counts, [batch[name] for batch in moments]) for name in moments[0]}


def _pooled(counts: Sequence[int], moments: Sequence[Moments]) -> Moments:
    """Return the moments of several batches of so many images together."""
    means, variances = (np.array(parts, np.float64) for parts in zip(*moments))
    mean = np.average(means, axis=0, weights=counts)
    return mean, np.average(variances + (means - mean) ** 2, axis=0, weights=counts)


def recompute_statistics(stack: Stack, model: Model, images: Images, batch_size: int = 32) -> None:
    """Set the moving statistics of `model` to those of `images` (Wu & Johnson 2021)."""
    starts = range(0, len(images), batch_size)
    plant_moments(
        model,
        population_moments(stack, model, (images[i : i + batch_size] for i in starts)),
    )


def compare_moments(name: str, moving: Moments, batch: Moments, epsilon: float) -> LayerStatistics:
    """Return the distance of `moving` from `batch`; `epsilon` keeps dead channels finite."""
    (moving_mean, moving_variance), (mean, variance) = moving, batch
    shift = (moving_mean - mean) / np.sqrt(variance + epsilon)
    ratio = np.log((moving_variance + epsilon) / (variance + epsilon))
    return LayerStatistics(name, float(np.sqrt(np.mean(shift**2))), float(np.mean(ratio)))


def layer_statistics(stack: Stack, model: Model, images: Images) -> list[LayerStatistics]:
    """Return the distance of the moving statistics from those of `images`, layer by layer."""
    moving, batch = moving_moments(model), batch_moments(stack, model, images)
    return [
        compare_moments(name, moving[name], batch[name], float(layer.epsilon))
        for name, layer in keyed(model).items()
    ]


def updates_per_step(
    stack: Stack, model: Model, step: TrainStep, images: Images, labels: Labels
) -> dict[str, float]:
    """Return how often one step updates BatchNorm's statistics, the median over the layers.

    An update goes 1 - momentum of the way to the batch's mean, so the way gone tells their number:
    0 where none runs, 2 where the graph of TensorFlow 1 runs them twice from the same statistics.
    The model is left as it was; without BatchNorm there is nothing to tell.
    """
    before, batch = moving_moments(model), batch_moments(stack, model, images)
    with state_kept(model):
        step(images, labels, 0.0)
        after = moving_moments(model)
    counts = [
        _updates(before[name][0], after[name][0], batch[name][0], layer.momentum)
        for name, layer in keyed(model).items()
    ]
    return {"updates_per_step": float(np.median(counts))} if counts else {}


def _updates(before: np.ndarray, after: np.ndarray, batch: np.ndarray, momentum: float) -> float:
    """Return how many updates towards `batch` took the moving mean from `before` to `after`."""
    distance = batch - before
    moved = np.vdot(after - before, distance) / np.vdot(distance, distance)
    return float(moved / (1 - momentum))


def statistics_moved(before: dict[str, Moments], after: dict[str, Moments]) -> float:
    """Return the largest change of any moving statistic, NaN if any is; 0 if none was updated."""
    changes = [
        float(np.max(np.abs(new - old)))
        for name in before
        for old, new in zip(before[name], after[name])
    ]
    return float(np.max(changes, initial=0.0))


def statistics_summary(layers: Sequence[LayerStatistics]) -> dict[str, float]:
    """Return the worst layer's distances, NaN if any is; nothing without BatchNorm."""
    if not layers:
        return {}
    return {
        "statistics_mean_shift": float(np.max([layer.mean_shift for layer in layers])),
        "statistics_log_variance_ratio": float(
            np.max([abs(layer.log_variance_ratio) for layer in layers])
        ),
    }
