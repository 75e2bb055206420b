"""What BatchNorm's statistics did, layer by layer, and in which phases a step really ran."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from suite.fixes import batch_norms
from suite.phases import ADVERSARIAL, CLEAN, CLEAN_KEPT, INFERENCE, OWN, TRAINING, Phases
from suite.stacks import Images, Labels, Network, Stack, TrainStep
from suite.training import cross_entropy
from suite.types import Model

if TYPE_CHECKING:
    from typing import TypeAlias

Moments: TypeAlias = "tuple[np.ndarray, np.ndarray]"
"""Mean and variance of each channel, ``(channels,)`` both."""

AGREEMENT = 2e-6  # relative; the float32 kernels of two graphs differ by less than 2e-7
PLANTED = 1e-4  # relative, of a pass under statistics that were measured in another pass
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


def keyed(model: Model) -> dict[str, Model]:
    """Return the BatchNorm layers of `model` in order, by name.

    Nested models may have layers of one name, as two copies of one base do: the second is
    ``name:2``, the third ``name:3``.
    """
    found: dict[str, Model] = {}
    counts: dict[str, int] = {}
    for layer in batch_norms(model):
        count = counts[layer.name] = counts.get(layer.name, 0) + 1
        found[layer.name if count == 1 else f"{layer.name}:{count}"] = layer
    return found


def moving_moments(model: Model) -> dict[str, Moments]:
    """Return the moving mean and variance of every BatchNorm layer, by the names of `keyed`."""
    return {name: tuple(layer.get_weights()[-2:]) for name, layer in keyed(model).items()}


def plant(model: Model, moments: Mapping[str, Moments]) -> None:
    """Set the moving statistics of `model`."""
    for name, layer in keyed(model).items():
        layer.set_weights([*layer.get_weights()[:-2], *moments[name]])


@contextmanager
def _momentum_zero(model: Model) -> Iterator[None]:
    """Have the moving statistics become each batch's, and put them and the momenta back."""
    layers = list(batch_norms(model))
    momenta = [layer.momentum for layer in layers]
    try:
        with state_kept(model):
            for layer in layers:
                layer.momentum = 0.0
            yield
    finally:
        for layer, momentum in zip(layers, momenta):
            layer.momentum = momentum


def batch_moments(
    stack: Stack, model: Model, images: Images, *, network: Network | None = None
) -> dict[str, Moments]:
    """Return the mean and variance that `images` have at the input of every BatchNorm layer.

    Each layer is asked itself: with momentum 0 its moving statistics become the batch's. So the
    variance is the one the release would store: Keras 2 divides by n - 1, Keras 3 by n. The
    model is left as it was. A `network` of `model` that is called for nothing else spares its
    compilation at the next call.
    """
    with _momentum_zero(model):
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
    with _momentum_zero(model):
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
    plant(
        model,
        population_moments(stack, model, (images[i : i + batch_size] for i in starts)),
    )


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


def observable(phases: Phases) -> Phases:
    """Return what losses can tell of `phases`: what normalised the perturbed images.

    Whether they also update the moving statistics shows in no loss of that step: of two kinds
    of adversarial pass with one normalisation, the one is returned that `observed_phases` does.
    """
    by = ADVERSARIAL[phases.adversarial].by
    return phases._replace(adversarial={OWN: TRAINING, CLEAN: CLEAN_KEPT}.get(by, INFERENCE))


def observed_phases(
    stack: Stack,
    network: Network,
    step: TrainStep,
    images: Images,
    labels: Labels,
    *,
    epsilon: float,
    kinds: Sequence[str] = (TRAINING, INFERENCE),
    branch_network: Network | None = None,
) -> list[Phases]:
    """Return every choice of phases under which `step` would report what it does report.

    The step is run with learning rate 0, and all choices are tried beside it with the
    suite's own forward passes, each from the same state, which is put back. So a step that runs
    in other phases than it was told, or on other perturbed images, is found out. Phases that
    the network cannot tell apart (no BatchNorm, no dropout) are all returned; under the plain
    loss only the clean pass counts. Where a graph of TensorFlow 1 updates statistics, its
    adversarial pass may read them before or meanwhile, and is known to `UNORDERED` alone.

    Args:
        stack: Of the release.
        network: What the clean images go through.
        step: What is examined.
        images: One batch.
        labels: Of `images`.
        epsilon: FGSM step in the max norm; pixels are in [0, 1].
        kinds: Of `suite.phases.ADVERSARIAL`, what the adversarial pass may be; each is told as
            what is `observable` of it. The clean batch's normalisation is tried by planting its
            statistics, and where the clean pass runs in training alone.
        branch_network: What the perturbed images go through; None takes `network`.
    """
    branch = branch_network or network
    with ExitStack() as kept:
        for model in (network.model, branch.model):
            kept.enter_context(state_kept(model))
        result = step(images, labels, 0.0)
    reported = (result.clean_ce, result.adversarial_ce)
    unordered = stack.GRAPH and any(batch_norms(network.model))
    choices = _choices(kinds)
    of_clean = (
        population_moments(stack, network.model, [images])
        if any(choice.adversarial == CLEAN_KEPT for choice in choices)
        else {}
    )

    def agrees(phases: Phases) -> bool:
        loose = unordered and phases.clean == TRAINING
        close = PLANTED if phases.adversarial == CLEAN_KEPT else AGREEMENT
        tolerances = (AGREEMENT, UNORDERED if loose else close)

        def attempt(*, updated: bool) -> Sequence[float]:
            passes = (network, branch)
            return _try(
                passes, images, labels, phases, epsilon=epsilon, updated=updated, of_clean=of_clean
            )

        orders = (
            [attempt(updated=updated) for _ in range(2)]
            for updated in ((True, False) if loose else (True,))
        )
        return any(_agree(tries, reported, tolerances) for tries in orders)

    return [phases for phases in choices if agrees(phases)]


def _choices(kinds: Sequence[str]) -> list[Phases]:
    """Return the phases that a step may run in, as far as they are observable."""
    all_kinds = itertools.starmap(
        Phases, itertools.product((TRAINING, INFERENCE), (TRAINING, INFERENCE), kinds)
    )
    return [
        phases
        for phases in dict.fromkeys(map(observable, all_kinds))
        if phases.clean == TRAINING or phases.adversarial != CLEAN_KEPT
    ]


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
    passes: tuple[Network, Network],
    images: Images,
    labels: Labels,
    phases: Phases,
    *,
    epsilon: float,
    updated: bool,
    of_clean: Mapping[str, Moments],
) -> Sequence[float]:
    """Return the clean and the adversarial cross-entropy of a step under `phases`.

    The adversarial pass sees the statistics `updated` by the clean one, or as they were before,
    or those of the clean images, `of_clean`.
    """
    network, branch = passes
    with state_kept(network.model), state_kept(branch.model):
        state = network.model.get_weights()
        clean_ce = cross_entropy(network.logits(images, training=phases.clean == TRAINING), labels)
        if not updated:
            network.model.set_weights(state)
        perturbed = branch.craft(images, epsilon=epsilon, training=phases.attack == TRAINING)
        if phases.adversarial == CLEAN_KEPT:
            plant(branch.model, of_clean)
        logits = branch.logits(perturbed, training=phases.adversarial == TRAINING)
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
