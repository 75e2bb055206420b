"""A network evaluated with one thing changed: a trial that mends it points to the cause."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from suite.diagnose.causes.worth import LEARNED, POINTS, points
from suite.diagnose.found import LayerExamination, ScaleFit, Weights
from suite.diagnose.hearing import Recomputed
from suite.diagnose.inputs import parts_of
from suite.diagnose.network import Network
from suite.diagnose.predictions import Judge
from suite.diagnose.sample import Sample
from suite.diagnose.scales import scale_inputs, screened
from suite.diagnose.trials import (
    ALIKE,
    ONLY_LAYER,
    ONLY_MEANS,
    ONLY_VARIANCES,
    PRECISE_BN,
    RESCALED,
    SINGLE,
    Probe,
    Trial,
)

OUTLIER = 4.0
"""Times the median of the layers' weights from which a layer's may be exploded."""


class Tried(NamedTuple):
    """What interventions led to.

    Attributes:
        trials: `ALIKE`, `SINGLE` to `INPUT_SCALE`, as far as they could be made.
        scale_fit: How BatchNorm's statistics fit the input scale that was tried; None without any.
        probes: What can be told from the activations in that scale.
    """

    trials: tuple[Trial, ...] = ()
    scale_fit: ScaleFit | None = None
    probes: tuple[Probe, ...] = ()


UNTRIED = Tried()
"""Nothing was tried: nothing could mend the network."""


class Given(NamedTuple):
    """What is known of the network before anything is tried.

    Attributes:
        weights: How large its weights are.
        layers: Its BatchNorm layers.
        recomputed: Their statistics made anew; None without BatchNorm.
        batch_size: Images in a batch of the training phase.
    """

    weights: tuple[Weights, ...]
    layers: Sequence[LayerExamination]
    recomputed: Recomputed | None
    batch_size: int


def intervene(network: Network, sample: Sample, judge: Judge, given: Given) -> Tried:
    """Try what could mend the network, one thing at a time, and put each back."""
    repaired: tuple[Trial, ...] = ()
    if given.recomputed:
        repaired = alike(network, sample, judge, given.recomputed, batch_size=given.batch_size)
        repaired += single(network, sample, judge, given.recomputed)
        if not network.works_long(sample.images) or _tells(judge, given.recomputed):
            repaired += repair(network, sample, judge, given.layers, given.recomputed)
    rescaled = rescale(network, sample, judge, given.weights)
    scaled = scale_inputs(
        network, sample, judge, recomputed=given.recomputed, batch_size=given.batch_size
    )
    return Tried((*repaired, *rescaled, *scaled.trials), scaled.fit, scaled.probes)


def _tells(judge: Judge, recomputed: Recomputed) -> bool:
    """True where the network tells anything with all of its statistics recomputed."""
    return float(judge.scores(recomputed.precise.outputs).mean()) + judge.entropy > LEARNED


def alike(
    network: Network, sample: Sample, judge: Judge, recomputed: Recomputed, *, batch_size: int
) -> tuple[Trial, ...]:
    """Evaluate the network in batches of images alike, each normalised by its batch.

    A network whose training saw images of one kind at a time, such as clean and perturbed ones, or
    one camera's, has statistics for none of them; sorted by brightness, kinds mostly fall apart.
    Where that takes long, one batch has to show that it is better than batches of all kinds.
    """
    light = sum(
        part.reshape(len(part), -1).mean(axis=1) for part in parts_of(sample.images).values()
    )
    order = np.argsort(light, kind="stable")
    if network.works_long(sample.images):
        few = np.array_split(order, max(1, round(len(order) / batch_size)))[0]
        tried = network.hear_forced(sample.images[few], batch_size=len(few)).outputs
        mixed = recomputed.forced.outputs[few]
        those = judge._replace(labels=judge.labels[few])
        if those.scores(tried).mean() <= those.scores(mixed).mean() + LEARNED:
            return ()
    forced = network.hear_forced(sample.images[order], batch_size=batch_size)
    outputs = np.empty_like(forced.outputs)
    outputs[order] = forced.outputs
    return (judge.trial(ALIKE, outputs),)


def single(
    network: Network, sample: Sample, judge: Judge, recomputed: Recomputed
) -> tuple[Trial, ...]:
    """Evaluate the network with each image normalised by itself, as a training in batches of one.

    So it is tried where recomputed statistics leave the network poor, and made of all images where
    it is better on a few.
    """
    precise = recomputed.precise.outputs
    poor = float(judge.scores(precise).mean()) < -judge.entropy / 2
    if network.works_long(sample.images) or not poor:
        return ()
    few = screened(sample.images)
    tried = network.hear_forced(sample.images[:few], batch_size=1).outputs
    those = judge._replace(labels=judge.labels[:few])
    if points(those.trial(PRECISE_BN, precise[:few]), those.trial(SINGLE, tried)) < POINTS:
        return ()
    return (judge.trial(SINGLE, network.hear_forced(sample.images, batch_size=1).outputs),)


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

    Of four ways to divide them, the best on a few images is tried on all: by exactly how much
    they stand out or by a power of ten, as people scale; with the biases or without. No trial is
    made where no weights stand out.
    """
    large = outliers(weights)
    if not large:
        return ()
    rounded = {layer: 10.0 ** round(np.log10(factor)) for layer, factor in large.items()}
    ways = tuple(itertools.product((large, rounded), (False, True)))
    few = sample.images[: screened(sample.images)]
    outputs = [network.run_divided(few, factors, bias=bias) for factors, bias in ways]
    factors, bias = ways[int(np.argmax([judge.scores(each).mean() for each in outputs]))]
    first = next(layer for layer in large if large[layer] > max(large.values()) / OUTLIER)
    whole = network.run_divided(sample.images, factors, bias=bias)
    return (judge.trial(RESCALED, whole, layer=first),)


def outliers(weights: Sequence[Weights]) -> dict[str, float]:
    """Find the layers whose weights stand out: by how many times the median kernel's beyond 0."""
    kernels = [entry.ratio for entry in weights if entry.kernel and entry.ratio > 0]
    usual = float(np.median(kernels)) if kernels else 1.0
    return {entry.layer: entry.ratio / usual for entry in weights if entry.ratio > OUTLIER * usual}
