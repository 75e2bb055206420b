"""What BatchNorm's statistics did, layer by layer, and in which phases a step really ran."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from suite.cases import INFERENCE, TRAINING, Phases
from suite.fixes import batch_norms
from suite.stacks import Images, Labels, Network, Stack, TrainStep
from suite.training import cross_entropy
from suite.types import Model

if TYPE_CHECKING:
    from typing import TypeAlias

Moments: TypeAlias = "tuple[np.ndarray, np.ndarray]"
"""Mean and variance of each channel, ``(channels,)`` both."""

AGREEMENT = 2e-6  # relative; the float32 kernels of two graphs differ by less than 2e-7
UNORDERED = 1e-2  # relative, of a pass that reads statistics while they are updated


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


@contextmanager
def state_kept(model: Model) -> Iterator[None]:
    """Put every weight and statistic of `model` back on leaving."""
    state = model.get_weights()
    try:
        yield
    finally:
        model.set_weights(state)


def moving_moments(model: Model) -> dict[str, Moments]:
    """Return the moving mean and variance of every BatchNorm layer, by layer name."""
    return {layer.name: tuple(layer.get_weights()[-2:]) for layer in batch_norms(model)}


def batch_moments(
    stack: Stack, model: Model, images: Images, *, network: Network | None = None
) -> dict[str, Moments]:
    """Return the mean and variance that `images` have at the input of every BatchNorm layer.

    Each layer is asked itself: with momentum 0 its moving statistics become the batch's. So the
    variance is the one the release would store: Keras 2 divides by n - 1, Keras 3 by n. The
    model is left as it was. A `network` of `model` that is called for nothing else spares its
    compilation at the next call.
    """
    layers = list(batch_norms(model))
    momenta = [layer.momentum for layer in layers]
    try:
        with state_kept(model):
            for layer in layers:
                layer.momentum = 0.0
            (network or stack.network(model)).logits(images, training=True)
            return moving_moments(model)
    finally:
        for layer, momentum in zip(layers, momenta):
            layer.momentum = momentum


def compare_moments(name: str, moving: Moments, batch: Moments, epsilon: float) -> LayerStatistics:
    """Return the distance of `moving` from `batch`; `epsilon` keeps dead channels finite."""
    (moving_mean, moving_variance), (mean, variance) = moving, batch
    shift = (moving_mean - mean) / np.sqrt(variance + epsilon)
    ratio = np.log((moving_variance + epsilon) / (variance + epsilon))
    return LayerStatistics(name, float(np.sqrt(np.mean(shift**2))), float(np.mean(ratio)))


def statistics(stack: Stack, model: Model, images: Images) -> list[LayerStatistics]:
    """Return the distance of the moving statistics from those of `images`, layer by layer."""
    moving, batch = moving_moments(model), batch_moments(stack, model, images)
    return [
        compare_moments(layer.name, moving[layer.name], batch[layer.name], float(layer.epsilon))
        for layer in batch_norms(model)
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
        _updates(before[layer.name][0], after[layer.name][0], batch[layer.name][0], layer.momentum)
        for layer in batch_norms(model)
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


def observed_phases(
    stack: Stack,
    network: Network,
    step: TrainStep,
    images: Images,
    labels: Labels,
    *,
    epsilon: float,
) -> list[Phases]:
    """Return every choice of phases under which `step` would report what it does report.

    The step is run with learning rate 0, and all eight choices are tried beside it with the
    suite's own forward passes, each from the same state, which is put back. So a step that runs
    in other phases than it was told, or on other perturbed images, is found out. Phases that
    the network cannot tell apart (no BatchNorm, no dropout) are all returned; under the plain
    loss only the clean pass counts. Where a graph of TensorFlow 1 updates statistics, its
    adversarial pass may read them before or meanwhile, and is known to `UNORDERED` alone.
    """
    with state_kept(network.model):
        result = step(images, labels, 0.0)
    reported = (result.clean_ce, result.adversarial_ce)
    unordered = stack.GRAPH and any(batch_norms(network.model))
    choices = itertools.starmap(Phases, itertools.product((TRAINING, INFERENCE), repeat=3))

    def agrees(phases: Phases) -> bool:
        loose = unordered and phases.clean == TRAINING
        tolerances = (AGREEMENT, UNORDERED if loose else AGREEMENT)
        orders = (
            [
                _try(network, images, labels, phases, epsilon=epsilon, updated=updated)
                for _ in range(2)
            ]
            for updated in ((True, False) if loose else (True,))
        )
        return any(_agree(tries, reported, tolerances) for tries in orders)

    return [phases for phases in choices if agrees(phases)]


def _agree(
    tries: Sequence[Sequence[float]],
    reported: Sequence[float | None],
    tolerances: Sequence[float],
) -> bool:
    """Return whether each reported value is that of the tries, or varies from try to try.

    Dropout makes a pass vary: no two draws are the same to the last bit. The plain loss reports
    no adversarial cross-entropy: None is not compared.
    """
    return all(
        measured is None or not _same(first, second) or _close(first, measured, tolerance)
        for first, second, measured, tolerance in zip(*tries, reported, tolerances)
    )


def _try(
    network: Network,
    images: Images,
    labels: Labels,
    phases: Phases,
    *,
    epsilon: float,
    updated: bool,
) -> Sequence[float]:
    """Return the clean and the adversarial cross-entropy of a step under `phases`.

    The adversarial pass sees the statistics `updated` by the clean one, or as they were before.
    """
    clean, attack, adversarial = (phase == TRAINING for phase in phases)
    with state_kept(network.model):
        state = network.model.get_weights()
        clean_ce = cross_entropy(network.logits(images, training=clean), labels)
        if not updated:
            network.model.set_weights(state)
        perturbed = network.craft(images, epsilon=epsilon, training=attack)
        logits = network.logits(perturbed, training=adversarial)
        return clean_ce, cross_entropy(logits, labels)


def _same(first: float, second: float) -> bool:
    """Return whether two cross-entropies are the same to the last bit, NaN included."""
    return first == second or bool(np.isnan(first) and np.isnan(second))


def _close(first: float, second: float, tolerance: float) -> bool:
    """Return whether two cross-entropies are the same but for a relative `tolerance`."""
    return bool(np.isclose(first, second, rtol=tolerance, atol=1e-7, equal_nan=True))


def summary(layers: Sequence[LayerStatistics]) -> dict[str, float]:
    """Return the worst layer's distances, NaN if any is; nothing without BatchNorm."""
    if not layers:
        return {}
    return {
        "statistics_mean_shift": float(np.max([layer.mean_shift for layer in layers])),
        "statistics_log_variance_ratio": float(
            np.max([abs(layer.log_variance_ratio) for layer in layers])
        ),
    }
