"""What BatchNorm's statistics are and do, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

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
            standard deviation; 0 where they fit.
        log_variance_ratio: Mean over the channels of ln(moving variance / batch variance).
    """

    layer: str
    mean_shift: float
    log_variance_ratio: float


def batch_moments(
    stack: Stack, model: Model, images: Images, *, network: Network | None = None
) -> dict[str, Moments]:
    """Measure the mean and variance of `images` at the input of every BatchNorm layer.

    The layers measure them: with momentum 0, their moving statistics become the batch's. So the
    variance is the one that the release would store: Keras 2 divides by n - 1, Keras 3 by n. The
    model is left as it was. Passing the same `network` of `model` to several calls, and using it
    for nothing else, saves compiling it each time.
    """
    with momentum_zero(model):
        (network or stack.network(model)).logits(images, training=True)
        return moving_moments(model)


def population_moments(
    stack: Stack, model: Model, batches: Iterable[Images], *, stored: bool = False
) -> dict[str, Moments]:
    """Measure the mean and variance of all images at the input of every BatchNorm layer.

    Each batch is normalised by itself (Wu & Johnson 2021). The batches are combined by the law of
    total variance, weighted by their numbers of images. Within a batch the variance divides by n
    under every release, as in fvcore's ``update_bn_stats``; or it is `stored`, the one of
    `batch_moments`. The model is left as it was. For a layer that no training pass updates, the
    result is its own moving statistics.

    Raises:
        ValueError: If there are no batches.
    """
    corrected = {} if stored else _dividing_by_less(model)
    old = moving_moments(model)
    with momentum_zero(model), _positions_noted(corrected) as positions:
        found: list[tuple[int, dict[str, Moments]]] = []
        network = stack.network(model)
        for images in batches:
            if not found:  # once more, to leave no rounding of far larger statistics behind
                network.logits(images, training=True)
            network.logits(images, training=True)
            new = moving_moments(model)
            for name in corrected:
                if not np.array_equal(new[name], old[name]):  # else it is no batch's variance
                    new[name] = _divided_by_n(new[name], len(images) * positions[name])
            found.append((len(images), new))
    if not found:
        raise ValueError("batches must hold at least one batch. Received: none")
    counts, moments = zip(*found)
    return {name: _pooled(counts, [batch[name] for batch in moments]) for name in moments[0]}


def _dividing_by_less(model: Model) -> dict[str, Model]:
    """Find the BatchNorm layers that store a variance divided by n - 1: Keras 2's fused ones."""
    return {name: layer for name, layer in keyed(model).items() if getattr(layer, "fused", False)}


def _divided_by_n(moments: Moments, values: int) -> Moments:
    """Undo Bessel's correction of the variance of so many values a channel."""
    mean, variance = moments
    return mean, variance * (max(1, values - 1) / values)


@contextmanager
def _positions_noted(layers: Mapping[str, Model]) -> Iterator[dict[str, int]]:
    """Note how many values of a channel each layer takes in for an image, when it is called.

    The ``call`` of these layer objects is wrapped for a time: only there is the size known
    wherever a layer sits. The library's classes are not touched.
    """
    noted: dict[str, int] = {}
    with ExitStack() as stack:
        for name, layer in layers.items():
            object.__setattr__(layer, "call", _noting(noted, name, layer))
            stack.callback(object.__delattr__, layer, "call")
        yield noted


def _noting(noted: dict[str, int], name: str, layer: Model) -> Callable[..., Any]:
    """Wrap the ``call`` of a layer so that it notes the size of its input first."""
    call, channels = layer.call, int(layer.moving_mean.shape[0])

    def noting(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        sizes = [int(size) for size in tuple(inputs.shape)[1:]]
        noted[name] = int(np.prod(sizes)) // channels
        return call(inputs, *args, **kwargs)

    return noting


def _pooled(counts: Sequence[int], moments: Sequence[Moments]) -> Moments:
    """Combine the moments of several batches, which have so many images each."""
    means, variances = (np.array(parts, np.float64) for parts in zip(*moments))
    mean = np.average(means, axis=0, weights=counts)
    return mean, np.average(variances + (means - mean) ** 2, axis=0, weights=counts)


def recompute_statistics(stack: Stack, model: Model, images: Images, batch_size: int = 32) -> None:
    """Set the moving statistics of `model` to those of `images` (Wu & Johnson 2021).

    Their variance divides by n under every release, as in `population_moments`.
    """
    starts = range(0, len(images), batch_size)
    plant_moments(
        model,
        population_moments(stack, model, (images[i : i + batch_size] for i in starts)),
    )


def compare_moments(name: str, moving: Moments, batch: Moments, epsilon: float) -> LayerStatistics:
    """Measure the distance of `moving` from `batch`; `epsilon` keeps dead channels finite."""
    (moving_mean, moving_variance), (mean, variance) = moving, batch
    shift = (moving_mean - mean) / np.sqrt(variance + epsilon)
    ratio = np.log((moving_variance + epsilon) / (variance + epsilon))
    return LayerStatistics(name, float(np.sqrt(np.mean(shift**2))), float(np.mean(ratio)))


def layer_statistics(
    stack: Stack, model: Model, images: Images, *, network: Network | None = None
) -> list[LayerStatistics]:
    """Measure how far the moving statistics of each layer are from those of `images`.

    A `network` is used as by `batch_moments`.
    """
    moving, batch = moving_moments(model), batch_moments(stack, model, images, network=network)
    return [
        compare_moments(name, moving[name], batch[name], float(layer.epsilon))
        for name, layer in keyed(model).items()
    ]


def updates_per_step(
    stack: Stack,
    model: Model,
    step: TrainStep,
    images: Images,
    labels: Labels,
    *,
    network: Network | None = None,
) -> dict[str, float]:
    """Count how often one step updates BatchNorm's statistics: the median over the layers.

    An update goes 1 - momentum of the way to the batch's mean, so the way gone tells the number of
    updates: 0 where none runs, 2 where the graph of TensorFlow 1 runs them twice from the same
    statistics. The model is left as it was; without BatchNorm the result is empty. A `network` is
    used as by `batch_moments`.
    """
    before, batch = moving_moments(model), batch_moments(stack, model, images, network=network)
    with state_kept(model):
        step(images, labels, 0.0)
        after = moving_moments(model)
    counts = [
        _updates(before[name][0], after[name][0], batch[name][0], layer.momentum)
        for name, layer in keyed(model).items()
    ]
    return {"updates_per_step": float(np.median(counts))} if counts else {}


def _updates(before: np.ndarray, after: np.ndarray, batch: np.ndarray, momentum: float) -> float:
    """Count the updates towards `batch` that took the moving mean from `before` to `after`."""
    distance = batch - before
    moved = np.vdot(after - before, distance) / np.vdot(distance, distance)
    return float(moved / (1 - momentum))


def statistics_moved(before: dict[str, Moments], after: dict[str, Moments]) -> float:
    """Measure the largest change of any moving statistic: NaN if one is, 0 if none was updated."""
    changes = [
        float(np.max(np.abs(new - old)))
        for name in before
        for old, new in zip(before[name], after[name])
    ]
    return float(np.max(changes, initial=0.0))


def statistics_summary(layers: Sequence[LayerStatistics]) -> dict[str, float]:
    """Take the distances of the worst layer, NaN if one is; nothing without BatchNorm."""
    if not layers:
        return {}
    return {
        "statistics_mean_shift": float(np.max([layer.mean_shift for layer in layers])),
        "statistics_log_variance_ratio": float(
            np.max([abs(layer.log_variance_ratio) for layer in layers])
        ),
    }
