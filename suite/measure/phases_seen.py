"""The phases in which a step really ran, found by comparing its losses with replays."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from suite.measure.evaluation import cross_entropy
from suite.measure.statistics import population_moments
from suite.networks.batch_norm import Moments, batch_norms, plant_moments, state_kept
from suite.networks.phases import ADVERSARIAL, CLEAN, CLEAN_KEPT, INFERENCE, OWN, TRAINING, Phases
from suite.networks.types import Images, Labels
from suite.stacks.protocol import Network, Stack, StepResult, TrainStep

AGREEMENT = 2e-6  # relative; the float32 kernels of two graphs differ by less than 2e-7
PLANTED = 1e-4  # relative, of a pass under statistics that were measured in another pass
UNORDERED = 1e-2  # relative, of a pass that reads statistics while they are updated
ABSOLUTE = 1e-7  # nats, for cross-entropies near 0


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
    """List every choice of phases that explains the losses of `step`.

    The step runs once with learning rate 0. Then every choice is replayed from the same state by
    the suite's own passes. So a step that runs in other phases than it was told, or on other
    perturbed images, is found out. Choices that the network cannot tell apart (without BatchNorm
    and dropout) are all listed; under the plain loss only the clean pass counts.

    Args:
        stack: The framework under measurement.
        network: The clean images go through it.
        step: The step that is examined; its weights and statistics are put back.
        images: One batch, ``(batch, height, width, 3)`` in [0, 1].
        labels: Their classes, ``(batch,)``.
        epsilon: FGSM step in the max norm.
        kinds: What the adversarial pass may be: keys of `suite.networks.phases.ADVERSARIAL`, of
            which only what is `observable` is told.
        branch_network: The perturbed images go through it; None takes `network`.
    """
    branch = branch_network or network
    with state_kept(network.model), state_kept(branch.model):
        reported = step(images, labels, 0.0)
    choices = _choices(kinds)
    planted = any(choice.adversarial == CLEAN_KEPT for choice in choices)
    of_clean = population_moments(stack, network.model, [images], stored=True) if planted else {}
    replay = Replay(network, branch, images, labels, epsilon, of_clean)
    unordered = stack.GRAPH and any(batch_norms(network.model))
    return [choice for choice in choices if _explains(choice, reported, replay, unordered)]


def observable(phases: Phases) -> Phases:
    """Reduce `phases` to what losses can tell: what normalises the perturbed images.

    Whether they also update the moving statistics shows in no loss of that step. Of two kinds of
    adversarial pass with the same normalisation, this is the one that `observed_phases` replays.
    """
    by = ADVERSARIAL[phases.adversarial].by
    return phases._replace(adversarial={OWN: TRAINING, CLEAN: CLEAN_KEPT}.get(by, INFERENCE))


def _choices(kinds: Sequence[str]) -> list[Phases]:
    """List the observable phases that a step may run in.

    The clean batch's statistics can normalise the perturbed images only where the clean pass
    runs in the training phase.
    """
    own = (TRAINING, INFERENCE)
    everything = map(observable, itertools.starmap(Phases, itertools.product(own, own, kinds)))
    return [
        phases
        for phases in dict.fromkeys(everything)
        if phases.clean == TRAINING or phases.adversarial != CLEAN_KEPT
    ]


class Replay(NamedTuple):
    """What the suite needs to run a step's passes by itself.

    Attributes:
        network: The clean images go through it.
        branch: The perturbed images go through it.
        images: One batch.
        labels: Their classes.
        epsilon: FGSM step in the max norm.
        of_clean: Mean and variance of the clean images in every BatchNorm layer.
    """

    network: Network
    branch: Network
    images: Images
    labels: Labels
    epsilon: float
    of_clean: Mapping[str, Moments]

    def losses(self, phases: Phases, *, updated: bool) -> tuple[float, float]:
        """Compute the clean and the adversarial cross-entropy of a step under `phases`.

        The adversarial pass reads the statistics of the clean images where `phases` say so, else
        the moving ones: `updated` by the clean pass, or as they were before it.
        """
        network, branch = self.network, self.branch
        with state_kept(network.model), state_kept(branch.model):
            state = network.model.get_weights()
            clean = network.logits(self.images, training=phases.clean == TRAINING)
            clean_ce = cross_entropy(clean, self.labels)
            if not updated:
                network.model.set_weights(state)
            attack = phases.attack == TRAINING
            perturbed = branch.craft(self.images, epsilon=self.epsilon, training=attack)
            if phases.adversarial == CLEAN_KEPT:
                plant_moments(branch.model, self.of_clean)
            adversarial = branch.logits(perturbed, training=phases.adversarial == TRAINING)
            return clean_ce, cross_entropy(adversarial, self.labels)


def _explains(phases: Phases, reported: StepResult, replay: Replay, unordered: bool) -> bool:
    """True where replays under `phases` give the losses that the step `reported`.

    In an `unordered` graph of TensorFlow 1, the adversarial pass may read the statistics before
    or while a clean training pass updates them: both orders are tried, and compared loosely.
    """
    loose = unordered and phases.clean == TRAINING
    orders = (True, False) if loose else (True,)
    tolerances = AGREEMENT, _adversarial_tolerance(phases, loose=loose)
    return any(
        _agree(reported, [replay.losses(phases, updated=updated) for _ in range(2)], tolerances)
        for updated in orders
    )


def _adversarial_tolerance(phases: Phases, *, loose: bool) -> float:
    """Choose how closely the replayed adversarial cross-entropy must agree."""
    if loose:
        return UNORDERED
    return PLANTED if phases.adversarial == CLEAN_KEPT else AGREEMENT


def _agree(
    reported: StepResult,
    replays: Sequence[tuple[float, float]],
    tolerances: tuple[float, float],
) -> bool:
    """True where each reported loss equals both replays, or the replays differ from each other.

    Dropout makes a pass vary: no two draws give the same cross-entropy to the last bit. The plain
    loss reports no adversarial cross-entropy: None is not compared.
    """
    losses = (reported.clean_ce, reported.adversarial_ce)
    return all(
        loss is None or not _same(first, second) or _close(first, loss, tolerance)
        for first, second, loss, tolerance in zip(*replays, losses, tolerances)
    )


def _same(first: float, second: float) -> bool:
    """True where two cross-entropies are the same to the last bit, or both are NaN."""
    return first == second or bool(np.isnan(first) and np.isnan(second))


def _close(first: float, second: float, tolerance: float) -> bool:
    """True where two cross-entropies are the same up to a relative `tolerance`, or both are NaN."""
    return bool(np.isclose(first, second, rtol=tolerance, atol=ABSOLUTE, equal_nan=True))
