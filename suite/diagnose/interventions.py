"""A network evaluated with one thing changed: what mends it is the cause."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.diagnose.network import Layer, Network, NormsHeard, is_batch_norm
from suite.diagnose.predictions import Judge
from suite.diagnose.probes import input_conventions
from suite.diagnose.sample import Sample
from suite.diagnose.statistics import Statistics, pooled_statistics, symmetric_kl

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from suite.diagnose.found import LayerExamination, Weights

SCREENED = 48
"""Images on which interventions are tried before the best one is made on all."""

OUTLIER = 4.0
"""Times the median of the layers' weights from which a layer's may be exploded."""

CANDIDATES, LIKE = 4, 0.3
"""Input scales of which the statistics choose, and the nats within which they are alike."""


def repair(
    network: Network,
    sample: Sample,
    judged: Judge,
    *,
    moving: Sequence[Statistics],
    batch: Sequence[Statistics],
    layers: Sequence[LayerExamination],
) -> None:
    """Evaluate the network with only some of its statistics recomputed."""
    worst = int(np.argmax([layer.symmetric_kl for layer in layers]))
    repairs = {
        "only means": [(new[0], old[1]) for old, new in zip(moving, batch)],
        "only variances": [(old[0], new[1]) for old, new in zip(moving, batch)],
        f"only {layers[worst].layer}": [
            new if index == worst else old for index, (old, new) in enumerate(zip(moving, batch))
        ],
    }
    for name, statistics in repairs.items():
        network.set_statistics(statistics)
        judged.add(name, network.run(sample.images, training=False))
    network.set_statistics(moving)


def rescale(
    network: Network,
    sample: Sample,
    judged: Judge,
    weights: Sequence[Weights],
) -> None:
    """Evaluate the network with the layers whose weights stand out brought back to the others'."""
    kernels = [entry.ratio for entry in weights if entry.kind != "BatchNormalization"]
    usual = float(np.median(kernels)) if kernels else 1.0
    large = {entry.layer: entry.ratio / usual for entry in weights if entry.ratio > OUTLIER * usual}
    named = {layer.name: layer for layer in network.layers}
    layers = [named[name] for name in large]
    if not layers:
        return
    few = sample.first(SCREENED)
    best, best_outputs = -np.inf, None
    for rounded, bias in itertools.product((False, True), (False, True)):
        with _scaled(network, layers, large, rounded=rounded, bias=bias):
            score = float(judged.score(network.run(few.images, training=False)).mean())
            if score > best:
                best, best_outputs = score, network.run(sample.images, training=False)
    if best_outputs is not None:
        first = next(name for name in large if large[name] > max(large.values()) / OUTLIER)
        judged.add(f"rescaled: {first}", best_outputs)


@contextmanager
def _scaled(
    network: Network,
    layers: Sequence[Layer],
    large: Mapping[str, float],
    *,
    rounded: bool,
    bias: bool,
) -> Iterator[None]:
    """Divide the weights of `layers` by what they are too `large`, for a time.

    Args:
        network: The network of the layers.
        layers: Those with weights that stand out.
        large: By how much, by name.
        rounded: To the next power of ten: by what people scale.
        bias: Divide the bias, too.
    """
    changed = []
    for layer in layers:
        factor = large[layer.name]
        factor = 10.0 ** round(np.log10(factor)) if rounded else factor
        for variable in layer.weights:
            values = network.numpy(variable)
            if is_statistic(layer, variable) or (len(variable.shape) < 2 and not bias):  # noqa: PLR2004
                continue
            changed.append((variable, np.array(values)))
            variable.assign(values / factor)
    try:
        yield
    finally:
        for variable, values in changed:
            variable.assign(values)


def is_statistic(layer: Layer, variable: Any) -> bool:
    """Return whether `variable` is one of a BatchNorm layer's moving statistics."""
    return is_batch_norm(layer) and variable is not layer.gamma and variable is not layer.beta


def scale_inputs(
    network: Network,
    sample: Sample,
    judged: Judge,
    moving: Sequence[Statistics],
    *,
    batch_size: int,
) -> float:
    """Evaluate the network with the images in the input scale that suits it best.

    Returns:
        Symmetric divergence of the worst BatchNorm layer's statistics under it; nan without any.
    """
    tries = input_conventions(sample.images)
    few = np.concatenate([images[:SCREENED] for images in tries.values()])
    outputs = np.split(network.run(few, training=False), len(tries))
    scores = {name: float(judged.score(each).mean()) for name, each in zip(tries, outputs)}
    if not network.norms:
        best = max(scores, key=scores.__getitem__)
        judged.add(f"input: {best}", network.run(tries[best], training=False))
        return float("nan")
    good = sorted(scores, key=scores.__getitem__)[-CANDIDATES:]
    good = [name for name in good if scores[name] > max(scores.values()) - LIKE]
    distances = {
        name: _input_kl(network, tries[name][: 2 * SCREENED], moving, batch_size=batch_size)
        for name in good
    }
    best = min(distances, key=distances.__getitem__)
    judged.add(f"input: {best}", network.run(tries[best], training=False))
    return distances[best]


def _input_kl(
    network: Network,
    images: NDArray[np.float32],
    moving: Sequence[Statistics],
    *,
    batch_size: int,
) -> float:
    """Return the symmetric divergence of the worst layer's statistics from those of `images`."""
    forced = forced_pass(network, images, moving, batch_size=batch_size)
    return max(
        symmetric_kl(old, pooled_statistics(parts), float(layer.epsilon))
        for layer, old, parts in zip(network.norms, moving, forced.moments)
    )


def forced_pass(
    network: Network,
    images: NDArray[np.float32],
    moving: Sequence[Statistics],
    *,
    batch_size: int,
) -> NormsHeard:
    """Return a pass in which every BatchNorm layer normalises by the batch, and nothing trains."""
    flags = [layer.trainable for layer in network.norms]
    forced = network.hear_norms(images, training=False, batch_size=batch_size, forced=True)
    for layer, flag in zip(network.norms, flags):
        layer.trainable = flag
    network.set_statistics(moving)
    return forced
