"""A network evaluated with one thing changed: a trial that mends it points to the cause."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from suite.diagnose.found import (
    INPUT_SCALE,
    ONLY_LAYER,
    ONLY_MEANS,
    ONLY_VARIANCES,
    RESCALED,
    InputScale,
    LayerExamination,
    Trial,
    Weights,
)
from suite.diagnose.inputs import Images, joined
from suite.diagnose.network import Network, Recomputed
from suite.diagnose.predictions import Judge
from suite.diagnose.probes import input_conventions
from suite.diagnose.sample import Sample
from suite.diagnose.statistics import pooled_statistics, symmetric_kl

SCREENED = 48
"""Images on which interventions are tried before the best one is made on all."""

OUTLIER = 4.0
"""Times the median of the layers' weights from which a layer's may be exploded."""

CANDIDATES, LIKE = 4, 0.3
"""Input scales among which the statistics choose, and the nats within which they are alike."""


class Tried(NamedTuple):
    """What interventions led to.

    Attributes:
        trials: `ONLY_MEANS` to `INPUT_SCALE`, as far as they could be made.
        input_kl: Symmetric divergence of the worst BatchNorm layer under the input scale that
            was tried, nats; nan without any.
    """

    trials: tuple[Trial, ...]
    input_kl: float


UNTRIED = Tried((), float("nan"))
"""Nothing was tried: nothing could mend the network."""


class Given(NamedTuple):
    """What is known of the network before anything is tried.

    Attributes:
        weights: How large its weights are.
        layers: Its BatchNorm layers.
        recomputed: Their statistics made anew; None without BatchNorm.
        batch_size: Images in a batch of the training phase.
    """

    weights: Sequence[Weights]
    layers: Sequence[LayerExamination]
    recomputed: Recomputed | None
    batch_size: int


def intervene(network: Network, sample: Sample, judge: Judge, given: Given) -> Tried:
    """Try what could mend the network, one thing at a time, and put each back."""
    repaired: tuple[Trial, ...] = ()
    if given.recomputed:
        repaired = repair(network, sample, judge, given.layers, given.recomputed)
    rescaled = rescale(network, sample, judge, given.weights)
    scaled, input_kl = scale_inputs(network, sample, judge, batch_size=given.batch_size)
    return Tried((*repaired, *rescaled, *scaled), input_kl)


def repair(
    network: Network,
    sample: Sample,
    judge: Judge,
    layers: Sequence[LayerExamination],
    recomputed: Recomputed,
) -> tuple[Trial, ...]:
    """Evaluate the network with only some of its moving statistics recomputed."""
    moving, batch = recomputed.moving, recomputed.batch
    worst = int(np.argmax([layer.symmetric_kl for layer in layers]))
    one = [*moving[:worst], batch[worst], *moving[worst + 1 :]]
    repairs = (
        (ONLY_MEANS, "", [(new[0], old[1]) for old, new in zip(moving, batch)]),
        (ONLY_VARIANCES, "", [(old[0], new[1]) for old, new in zip(moving, batch)]),
        (ONLY_LAYER, layers[worst].layer, one),
    )
    outputs = [network.run_with(statistics, sample.images) for _, _, statistics in repairs]
    return tuple(
        judge.trial(kind, each, layer=layer) for (kind, layer, _), each in zip(repairs, outputs)
    )


def rescale(
    network: Network, sample: Sample, judge: Judge, weights: Sequence[Weights]
) -> tuple[Trial, ...]:
    """Evaluate the network with the weights that stand out divided by how much they do.

    Of four ways to divide them, the best on `SCREENED` images is tried on all: by exactly how much
    they stand out or by a power of ten, as people scale; with the biases or without. No trial is
    made where no weights stand out.
    """
    large = outliers(weights)
    if not large:
        return ()
    rounded = {layer: 10.0 ** round(np.log10(factor)) for layer, factor in large.items()}
    ways = tuple(itertools.product((large, rounded), (False, True)))
    few = sample.images[:SCREENED]
    outputs = [network.run_divided(few, factors, bias=bias) for factors, bias in ways]
    factors, bias = ways[int(np.argmax([judge.scores(each).mean() for each in outputs]))]
    first = next(layer for layer in large if large[layer] > max(large.values()) / OUTLIER)
    whole = network.run_divided(sample.images, factors, bias=bias)
    return (judge.trial(RESCALED, whole, layer=first),)


def outliers(weights: Sequence[Weights]) -> dict[str, float]:
    """Find the layers whose weights stand out: by how many times the median kernel's."""
    kernels = [entry.ratio for entry in weights if entry.kernel]
    usual = float(np.median(kernels)) if kernels else 1.0
    return {entry.layer: entry.ratio / usual for entry in weights if entry.ratio > OUTLIER * usual}


def scale_inputs(
    network: Network, sample: Sample, judge: Judge, *, batch_size: int
) -> tuple[tuple[Trial, ...], float]:
    """Evaluate the network with the images in the input scale that suits it best.

    Returns:
        The trial, none where nothing that is fed has a scale; and the symmetric divergence of the
        worst BatchNorm layer's statistics under that scale, nan without any.
    """
    tries = input_conventions(sample.images)
    if not tries:
        return (), float("nan")
    few = joined([images[:SCREENED] for images in tries.values()])
    parts = np.split(network.run(few, training=False), len(tries))
    worth = {scale: float(judge.scores(part).mean()) for scale, part in zip(tries, parts)}
    best, input_kl = max(worth, key=worth.__getitem__), float("nan")
    if network.norms:
        distances = {
            scale: _input_kl(network, tries[scale][: 2 * SCREENED], batch_size=batch_size)
            for scale in _alike(worth)
        }
        best = min(distances, key=distances.__getitem__)
        input_kl = distances[best]
    outputs = network.run(tries[best], training=False)
    return (judge.trial(INPUT_SCALE, outputs, scale=best),), input_kl


def _alike(worth: Mapping[InputScale, float]) -> list[InputScale]:
    """Pick the `CANDIDATES` best input scales that are about as good as the best one."""
    good = sorted(worth, key=worth.__getitem__)[-CANDIDATES:]
    return [scale for scale in good if worth[scale] > max(worth.values()) - LIKE]


def _input_kl(network: Network, images: Images, *, batch_size: int) -> float:
    """Measure how far the worst layer's moving statistics are from those of `images`."""
    moving = network.statistics()
    forced = network.hear_forced(images, batch_size=batch_size)
    return max(
        symmetric_kl(old, pooled_statistics(parts), float(layer.epsilon))
        for layer, old, parts in zip(network.norms, moving, forced.moments)
    )
