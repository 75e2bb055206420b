"""Rules for moving statistics that do not fit the images, and why they do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from suite.diagnose.causes.worth import (
    LOST_FAR,
    RECOVERED,
    feature_probe,
    gain,
    learned,
    mends_broken,
    share_of_gain,
    worth_of,
)
from suite.diagnose.found import Finding

if TYPE_CHECKING:
    from suite.diagnose.found import Examination, LayerExamination

STALE_KL = 0.3
"""Symmetric divergence, nats a channel, that sampling and somewhat different images stay below."""

ALONE = 3.0
"""Times the distance of all other layers' statistics from which one layer is the bad one."""

SMALL_SHIFT = 0.4
"""Standard deviations, or log variance ratio, that a stale statistic is off at least."""

LOWEST_MOMENTUM = 0.5
SLOW_MOMENTUM = 0.98
HIGHEST_MOMENTUM = 0.9995
"""Below the lowest statistics are those of the last batches, from the highest on they need more
than 1,400 steps to halve a distance; from `SLOW_MOMENTUM` on they may lag behind a training."""

NOISE_KL = 3.0
"""Distance that statistics of the last batch may have by chance."""

USUAL_MOMENTUM, BEGINNING = 0.99, 4
"""Keras' own momentum, and the half-lives in which a training has only begun."""

LAGGING = 0.9
"""Share of the way from 0 and 1 below which statistics are still on it."""

LOCKED_WORTH = 0.5
"""Nats of information below which statistics that are never updated are held against a network."""


def early(found: Examination) -> Finding | None:
    """Say that a training has only begun: usual statistics on their way from 0 and 1 will arrive.

    With a usual momentum the next few hundred steps bring them there; nothing is broken.
    """
    precise = found.scores.get("precise-bn")
    stale = [
        (layer, state)
        for layer, state in zip(found.layers, found.norms)
        if layer.symmetric_kl > STALE_KL
    ]
    if precise is None or not stale or not mends_broken(found, precise) or not found.iterations:
        return None
    begun = all(
        layer.momentum <= USUAL_MOMENTUM and found.iterations < BEGINNING * layer.half_life_steps
        for layer, _ in stale
    )
    way = [state.travelled for _, state in stale]
    lagging = [share for share in way if 0 < share < LAGGING]
    if not begun or _lock([layer for layer, _ in stale]) or 2 * len(lagging) <= len(way):
        return None
    words = (
        f"Healthy, but the training has only begun: after {found.iterations} steps the moving "
        f"statistics have gone {np.median(lagging):.0%} of their way from 0 and 1, and the "
        f"inference phase lags behind. With statistics of these images it gives "
        f"{gain(precise, found.label_entropy):.2f} nats. Train on, or lower the momentum.",
    )
    return Finding("healthy", "", "", "", words)


def stale_statistics(found: Examination) -> Finding | None:
    """Name stale statistics, if recomputing them mends the network."""
    precise = found.scores.get("precise-bn")
    if precise is None:
        return None
    if not mends_broken(found, precise):
        return None
    stale = [layer for layer in found.layers if layer.symmetric_kl > STALE_KL]
    return _stale_finding(found, stale, _recomputed_words(found)) if stale else None


def _recomputed_words(found: Examination) -> str:
    """Say what recomputing the statistics does."""
    before, after = found.evaluations["inference"], found.evaluations["precise-bn"]
    return (
        "Moving statistics recomputed on these images, all weights kept, take the network from "
        f"{before.accuracy:.1%} to {after.accuracy:.1%} right, from {before.information_gain:.2f} "
        f"to {after.information_gain:.2f} nats: BatchNorm's moving statistics are stale."
    )


def _stale_finding(found: Examination, stale: Sequence[LayerExamination], first: str) -> Finding:
    """Say what is stale, and why it came to be."""
    worst = max(stale, key=lambda layer: layer.symmetric_kl)
    told = gain(found.scores["precise-bn"], 0.0) - gain(found.scores["inference"], 0.0) > LOST_FAR
    what, what_words = _stale_what(found, worst) if told else _stale_distance(stale)
    why, fix, why_words = _stale_why(found, stale, worst)
    cause = f"{why} ({what})" if why else what
    starts = worst if what.startswith("one bad layer") else stale[0]
    words = (
        first,
        what_words,
        *why_words,
        f"{len(stale)} of {len(found.layers)} BatchNorm layers are stale; {worst.layer} most, its "
        f"mean {worst.mean_shift:.2g} standard deviations and its log variance ratio "
        f"{worst.log_variance_ratio:+.2g} off.",
    )
    return Finding("stale statistics", cause, starts.layer, fix, words)


def _stale_what(found: Examination, worst: LayerExamination) -> tuple[str, str]:
    """Return which statistics are stale, as a short name and in words."""
    means, variances = share_of_gain(found, "only means"), share_of_gain(found, "only variances")
    alone = share_of_gain(found, f"only {worst.layer}")
    if means > RECOVERED and means > variances:
        kind, told = "stale mean", f"the means alone restore {means:.0%} of it"
    elif variances > RECOVERED:
        kind, told = "stale variance", f"the variances alone restore {variances:.0%} of it"
    else:
        kind = "stale mean and variance"
        told = f"the means alone restore {means:.0%} of it, the variances alone {variances:.0%}"
    others = [layer.symmetric_kl for layer in found.layers if layer is not worst]
    if others and worst.symmetric_kl > ALONE * max(others) and alone > RECOVERED:
        return f"one bad layer: {kind}", (
            f"One of {len(found.layers)} layers explains it, {worst.layer}, which alone restores "
            f"{alone:.0%}; {told}."
        )
    return kind, f"Of the statistics {told}."


def _stale_distance(stale: Sequence[LayerExamination]) -> tuple[str, str]:
    """Return which statistics are stale by their distances: no outputs tell them apart."""
    shift = float(np.median([layer.mean_shift for layer in stale]))
    ratio = float(np.median([abs(layer.log_variance_ratio) for layer in stale]))
    words = (
        f"In the median stale layer the means are {shift:.2g} standard deviations off, the log "
        f"variance ratio is {ratio:.2g}."
    )
    if shift < SMALL_SHIFT <= ratio:
        return "stale variance", words
    return ("stale mean" if ratio < SMALL_SHIFT else "stale mean and variance"), words


def _stale_why(
    found: Examination, stale: Sequence[LayerExamination], worst: LayerExamination
) -> tuple[str, str, list[str]]:
    """Return why the statistics are stale, the fix, and words; "" where nothing keeps them so."""
    locked = _lock(stale)
    if locked:
        return locked
    slow = _slow_momentum(found, stale, worst)
    if slow:
        return slow
    if all(state.initial for state, layer in zip(found.norms, found.layers) if layer in stale):
        words = [
            "The stale statistics still are exactly 0 and 1, though the network is trained: the "
            "training ran with the phase pinned to inference, and nothing was ever updated."
        ]
        return "phase pinned", "precise-bn", words
    words = ["Nothing keeps the statistics from being updated: they are of other data or were set."]
    return "", "precise-bn", words


def _lock(stale: Sequence[LayerExamination]) -> tuple[str, str, list[str]] | None:
    """Return what keeps most of the stale layers in the inference phase, if anything does."""
    frozen = [layer for layer in stale if not layer.trainable]
    pinned = [layer for layer in stale if layer.trainable and layer.phase == "inference"]
    if 2 * len(frozen) >= len(stale):
        words = [
            f"{len(frozen)} of the {len(stale)} stale layers are frozen (trainable=False): they "
            "run in the inference phase even in training, and nothing updates them. Recompute "
            "them, or set trainable=True and train on."
        ]
        return "frozen by mistake", "precise-bn", words
    if 2 * len(pinned) >= len(stale):
        words = [
            f"{len(pinned)} of the {len(stale)} stale layers ran in the inference phase when the "
            "model was called with training=True: the phase is pinned, nothing is ever updated. "
            "Pass `training` on to them, or recompute them."
        ]
        return "phase pinned", "precise-bn", words
    return None


def _slow_momentum(
    found: Examination, stale: Sequence[LayerExamination], worst: LayerExamination
) -> tuple[str, str, list[str]] | None:
    """Return the momentum as the reason, if it is too high or too low for what was seen."""
    momentum = worst.momentum
    if momentum < LOWEST_MOMENTUM and worst.symmetric_kl < NOISE_KL:
        return (
            "wrong momentum",
            "bn-momentum-0.9",
            [
                f"Momentum {momentum:g} keeps the statistics of the last batch alone, which are "
                "noise; in PyTorch it would mean 1 minus as much."
            ],
        )
    told = (
        f"Momentum {momentum:g} halves the distance in {worst.half_life_steps:.3g} steps"
        + ("" if worst.updates_seen is None else f", and {worst.updates_seen} were made")
        + ": too slow."
    )
    way = [state.travelled for state, layer in zip(found.norms, found.layers) if layer in stale]
    lagging = [share for share in way if 0 < share < LAGGING]
    if momentum >= HIGHEST_MOMENTUM:
        return "wrong momentum", "bn-momentum-0.5", [told]
    if momentum >= SLOW_MOMENTUM and 2 * len(lagging) > len(way):
        return (
            "wrong momentum",
            "bn-momentum-0.5",
            [
                told,
                f"The statistics have gone {np.median(lagging):.0%} of their way from 0 and 1.",
            ],
        )
    return None


def never_trained(found: Examination) -> bool:
    """Return whether nothing was ever trained: gamma, beta and the statistics are the first."""
    return bool(found.norms) and all(state.initial and not state.trained for state in found.norms)


def locked_statistics(found: Examination) -> Finding | None:
    """Name statistics that nothing updates, where the features or the training show the harm.

    A head that was trained on the features of stale statistics does not gain by new ones: only
    what could be told from the features shows that they ruin them.
    """
    stale = [layer for layer in found.layers if layer.symmetric_kl > STALE_KL]
    locked = [layer for layer in stale if not layer.trainable or layer.phase == "inference"]
    if not stale or worth_of(found) > LOCKED_WORTH:
        return None
    initial = [state.initial for state in found.norms]
    used = found.iterations is None or found.iterations > 0
    never = all(initial) and used and any(state.trained for state in found.norms)
    foreign = not any(initial)
    before, after = feature_probe(found, ""), feature_probe(found, " (precise-bn)")
    better = (after - before) * found.images > 3 * np.sqrt(
        found.images / 2
    ) and after > 1.5 * before
    if (2 * len(locked) >= len(stale) and (better or all(initial))) or (
        never and not learned(found)
    ):
        told = (
            "Most BatchNorm layers do not normalise these images, in training either, and the "
            f"network learns little. From its features a linear head tells {before:.1%} of the "
            f"images, with recomputed statistics {after:.1%}."
        )
        return _stale_finding(found, stale, told)
    if foreign and better and not learned(found):
        told = (
            f"From the network's features a linear head tells {before:.1%} of the images; with "
            f"recomputed statistics it tells {after:.1%}: stale BatchNorm statistics ruin them."
        )
        return _stale_finding(found, stale, told)
    return None
