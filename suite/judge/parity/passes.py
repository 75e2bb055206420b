"""Passes: what two traces tell of the passes of a step, and of the losses that it minimises."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from suite.judge.parity.distances import (
    TOLERANCES,
    absolute_difference,
    distance,
    other_weights,
    reference_of,
    same,
    same_forward,
)
from suite.judge.parity.implied import (
    REPLAYED,
    Place,
    Replay,
    Trace,
    layers_of,
    loss_weights,
    replay,
    steps_of,
)

WEIGHTS = 0.01  # difference of the weights of the two cross-entropies, each of which is about 0.5
MISCOUNTED = 1.5  # images of a batch; two that are equally likely but for rounding may swap


def inference_differs(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Say that the inference pass is another one than the step's clean pass, without BatchNorm."""
    if layers_of(theirs) or other_weights(mine, theirs) or same_forward(mine, theirs):
        return
    if same_clean_pass(mine, theirs):
        yield (
            "The inference pass gives other logits from the same weights, while the step's clean "
            "pass is as there: it holds other weights, or is of another phase or network"
        )


def step_differs(mine: Trace, theirs: Trace, *, share: float = 0.0) -> Iterator[str]:
    """Say which pass of a step is not the one that the suite makes from the same weights.

    Args:
        mine: The trace that is compared.
        theirs: The trace of the reference.
        share: How far the adversarial pass may differ, as a share of its cross-entropy; rounding
            is always allowed.
    """
    for step in steps_of(theirs):
        here, there = replay(mine, step), replay(theirs, step)
        if here is None or there is None or (step and not _finite(here, there)):
            return  # what is not finite at a later step follows from the weights
        allowed = max(REPLAYED, share * theirs[Place(step, "adversarial_ce")]["value"])
        found = [*_passes_differ(here, there, allowed=allowed)]
        found = found or [*_accuracies_differ(here, there, graph=share > 0)]
        if found:  # the first step tells; what follows starts from other weights
            yield from (f"{words} (step {step})" if step else words for words in found)
            return


def _finite(*replays: Replay) -> bool:
    """True where every cross-entropy of a step and of its replay is a number."""
    return bool(np.isfinite([(each.clean, each.adversarial) for each in replays]).all())


def _passes_differ(here: Replay, there: Replay, *, allowed: float) -> Iterator[str]:
    """Say which pass of one step is another; the adversarial one may differ by what is allowed."""
    clean = absolute_difference(here.clean, there.clean) <= REPLAYED
    if not clean:
        yield (
            "The step's clean pass is not the one it was told: its cross-entropy is the replayed "
            f"one {here.clean:+.2g} nats here, {there.clean:+.2g} there. Another phase or loss"
        )
    if not absolute_difference(here.adversarial, there.adversarial) <= allowed:
        rises = (
            ", other labels or weights, or another epsilon inside the step: it rises "
            f"{here.reach:.4g} times as far as the attack of the suite's passes makes it rise, "
            f"{there.reach:.4g} times there"
        )
        yield (
            "The step's adversarial pass is not the one it was told: its cross-entropy is the "
            f"replayed one {here.adversarial:+.2g} nats here, {there.adversarial:+.2g} there. "
            f"Another phase or loss{rises if clean else ''}"
        )


def _accuracies_differ(here: Replay, there: Replay, *, graph: bool) -> Iterator[str]:
    """Say which pass of one step counts its images otherwise than the suite does.

    A `graph` leaves open which statistics its adversarial pass reads.
    """
    names = ("clean", "adversarial")[: 1 if graph else 2]
    for name, mine, theirs in zip(names, here.miscounted, there.miscounted):
        if not abs(mine - theirs) <= MISCOUNTED:
            yield (
                f"The accuracy that the step reports of its {name} pass is not that of its logits: "
                f"{mine:+.3g} images of the batch here, {theirs:+.3g} there"
            )


def counting_differs(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Say that a step under the plain loss, which is not replayed, counts its images otherwise."""
    place, replayed = Place(0, "clean_accuracy"), Place(0, "replay")
    if place not in theirs or replayed in theirs or not same_forward(mine, theirs):
        return
    images = theirs[Place(0, "batch")]["images"]
    here, there = (images * trace[place]["value"] for trace in (mine, theirs))
    if not abs(here - there) <= MISCOUNTED:
        yield (
            f"The accuracy that the step reports is another: {here:.3g} of {images} images here, "
            f"{there:.3g} there, from the same weights"
        )


def reported_loss_differs(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Say that a step under the plain loss, which is not replayed, is of another loss."""
    if other_plain_loss(mine, theirs):
        here, there = (trace[Place(0, "clean_ce")]["value"] for trace in (mine, theirs))
        yield (
            f"The loss that the step reports is another: {here:.6g} nats here, {there:.6g} there, "
            "of the same images and labels, and from weights that give the same logits"
        )


def loss_differs(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Say how the two cross-entropies are weighted in the loss, where that is not the same."""
    here, there = loss_weights(mine), loss_weights(theirs)
    if here and there and not all(same(*pair, floor=WEIGHTS) for pair in zip(here, there)):
        yield (
            f"Loss: {here[0]:.4g} CE(clean) + {here[1]:.4g} CE(adversarial) here, {there[0]:.4g} "
            f"and {there[1]:.4g} there"
        )


def same_clean_pass(mine: Trace, theirs: Trace) -> bool:
    """True where the clean pass of the first step tells the same cross-entropy."""
    place = Place(0, "clean_ce")
    apart = distance(place, mine[place], theirs[place], reference_of(theirs))
    return apart <= TOLERANCES[place.quantity].first


def other_plain_loss(mine: Trace, theirs: Trace) -> bool:
    """True where a step under the plain loss, which is not replayed, tells another one.

    It does so of the same images and labels, and from weights that give the same logits. Where
    there is BatchNorm, the step's pass is no inference pass, and nothing can be told.
    """
    plain = Place(0, "replay") not in theirs and not layers_of(theirs)
    fed = Place(0, "batch")
    same_batch = mine[fed]["digest"] == theirs[fed]["digest"]
    alike = plain and same_batch and same_forward(mine, theirs)
    return alike and not same_clean_pass(mine, theirs)
