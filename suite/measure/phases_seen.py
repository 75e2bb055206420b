"""In which phases a step really ran, told by its losses."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import numpy as np

from suite.measure.evaluation import cross_entropy
from suite.measure.statistics import population_moments
from suite.networks.batch_norm import Moments, batch_norms, plant_moments, state_kept
from suite.networks.phases import ADVERSARIAL, CLEAN, CLEAN_KEPT, INFERENCE, OWN, TRAINING, Phases
from suite.networks.types import Images, Labels
from suite.stacks.protocol import Network, Stack, TrainStep

AGREEMENT = 2e-6  # relative; the float32 kernels of two graphs differ by less than 2e-7
PLANTED = 1e-4  # relative, of a pass under statistics that were measured in another pass
UNORDERED = 1e-2  # relative, of a pass that reads statistics while they are updated


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
            plant_moments(branch.model, of_clean)
        logits = branch.logits(perturbed, training=phases.adversarial == TRAINING)
        return clean_ce, cross_entropy(logits, labels)


def _same(first: float, second: float) -> bool:
    """Return whether two cross-entropies are the same to the last bit, NaN included."""
    return first == second or bool(np.isnan(first) and np.isnan(second))


def _close(first: float, second: float, tolerance: float) -> bool:
    """Return whether two cross-entropies are the same but for a relative `tolerance`."""
    return bool(np.isclose(first, second, rtol=tolerance, atol=1e-7, equal_nan=True))
