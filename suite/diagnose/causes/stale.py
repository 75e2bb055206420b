"""Rules for moving statistics that do not fit the images, and why they do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

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
from suite.diagnose.found import HEALTHY, ONLY_LAYER, ONLY_MEANS, ONLY_VARIANCES, STALE, Finding
from suite.networks.phases import INFERENCE

if TYPE_CHECKING:
    from suite.diagnose.found import Examination, LayerExamination, Trial

STALE_KL = 0.3
"""Symmetric divergence, nats a channel, that sampling and somewhat different images stay below."""

ALONE = 3.0
"""Times the distance of all other layers' statistics from which one layer is the bad one."""

SMALL_SHIFT = 0.4
"""Standard deviations, or log variance ratio, that a stale statistic is off at least."""

LOWEST_MOMENTUM, SLOW_MOMENTUM, HIGHEST_MOMENTUM = 0.5, 0.98, 0.9995
"""Below the first, statistics are those of the last batches; from the second on they may lag
behind a training; from the third on they need more than 1,400 steps to halve a distance."""

NOISE_KL = 3.0
"""Distance that statistics of the last batch may have by chance."""

USUAL_MOMENTUM, BEGINNING = 0.99, 4
"""Keras' own momentum, and the half-lives in which a training has only begun."""

LAGGING = 0.9
"""Share of the way from 0 and 1 below which statistics are still on it."""

LOCKED_WORTH = 0.5
"""Nats of information below which statistics that are never updated are held against a network."""

BETTER, CHANCE_DEVIATIONS = 1.5, 3.0
"""Times the accuracy of one probe, and standard deviations of the difference of two, from which
another probe is better."""


class What(NamedTuple):
    """Which statistics are stale.

    Attributes:
        name: Of the cause.
        words: A sentence.
        alone: Whether one bad layer explains it.
    """

    name: str
    words: str
    alone: bool = False


class Why(NamedTuple):
    """What keeps statistics stale.

    Attributes:
        name: Of the cause; "" where nothing does.
        fix: The row of `suite.networks.fixes.FIXES` to try first.
        words: Sentences.
    """

    name: str
    fix: str
    words: tuple[str, ...]


def early(found: Examination) -> Finding | None:
    """Say that a training has only begun: usual statistics on their way from 0 and 1 will arrive.

    With a usual momentum the next few hundred steps bring them there; nothing is broken.
    """
    precise, stale = found.precise, _stale_layers(found)
    if precise is None or not stale or not mends_broken(found, precise) or not found.iterations:
        return None
    begun = all(
        layer.momentum <= USUAL_MOMENTUM and found.iterations < BEGINNING * layer.half_life_steps
        for layer in stale
    )
    gone = _way_gone(found, stale)
    if not begun or _lock(stale) or gone is None:
        return None
    words = (
        f"Healthy, but the training has only begun: after {found.iterations} steps the moving "
        f"statistics have gone {gone:.0%} of their way from 0 and 1, and the inference phase lags "
        f"behind. With statistics of these images it gives "
        f"{gain(precise, found.label_entropy):.2f} nats. Train on, or lower the momentum.",
    )
    return Finding(HEALTHY, "", "", "", words)


def _stale_layers(found: Examination) -> list[LayerExamination]:
    """List the layers whose statistics do not fit the images."""
    return [layer for layer in found.layers if layer.symmetric_kl > STALE_KL]


def _way_gone(found: Examination, stale: Sequence[LayerExamination]) -> float | None:
    """Tell how much of their way most stale statistics have gone; None if most are not on it."""
    way = [state.travelled for state, layer in zip(found.norms, found.layers) if layer in stale]
    lagging = [share for share in way if 0 < share < LAGGING]
    return float(np.median(lagging)) if 2 * len(lagging) > len(way) else None


def stale_statistics(found: Examination) -> Finding | None:
    """Name stale statistics, if recomputing them mends the network."""
    precise, stale = found.precise, _stale_layers(found)
    if precise is None or not stale or not mends_broken(found, precise):
        return None
    before, after = found.inference.evaluation, precise.evaluation
    first = (
        "Moving statistics recomputed on these images, all weights kept, take the network from "
        f"{before.accuracy:.1%} to {after.accuracy:.1%} right, from {before.information_gain:.2f} "
        f"to {after.information_gain:.2f} nats: BatchNorm's moving statistics are stale."
    )
    return _stale_finding(found, precise, stale, first)


def _stale_finding(
    found: Examination, precise: Trial, stale: Sequence[LayerExamination], first: str
) -> Finding:
    """Say what is stale, and why it came to be."""
    worst = max(stale, key=lambda layer: layer.symmetric_kl)
    shown = gain(precise, 0.0) - gain(found.inference, 0.0) > LOST_FAR
    what = _what_by_trials(found, worst) if shown else _what_by_distance(stale)
    why = _lock(stale) or _slow_momentum(found, stale, worst) or _nothing_keeps(found, stale)
    words = (
        first,
        what.words,
        *why.words,
        f"{len(stale)} of {len(found.layers)} BatchNorm layers are stale; {worst.layer} most, its "
        f"mean {worst.mean_shift:.2g} standard deviations and its log variance ratio "
        f"{worst.log_variance_ratio:+.2g} off.",
    )
    cause = f"{why.name} ({what.name})" if why.name else what.name
    starts = worst if what.alone else stale[0]
    return Finding(STALE, cause, starts.layer, why.fix, words)


def _what_by_trials(found: Examination, worst: LayerExamination) -> What:
    """Tell which statistics are stale by what recomputing only a part of them restores."""
    means, variances = share_of_gain(found, ONLY_MEANS), share_of_gain(found, ONLY_VARIANCES)
    alone = share_of_gain(found, ONLY_LAYER, layer=worst.layer)
    if means > RECOVERED and means > variances:
        kind, told = "stale mean", f"the means alone restore {means:.0%} of it"
    elif variances > RECOVERED:
        kind, told = "stale variance", f"the variances alone restore {variances:.0%} of it"
    else:
        kind = "stale mean and variance"
        told = f"the means alone restore {means:.0%} of it, the variances alone {variances:.0%}"
    others = [layer.symmetric_kl for layer in found.layers if layer is not worst]
    if others and worst.symmetric_kl > ALONE * max(others) and alone > RECOVERED:
        words = (
            f"One of {len(found.layers)} layers explains it, {worst.layer}, which alone restores "
            f"{alone:.0%}; {told}."
        )
        return What(f"one bad layer: {kind}", words, alone=True)
    return What(kind, f"Of the statistics {told}.")


def _what_by_distance(stale: Sequence[LayerExamination]) -> What:
    """Tell which statistics are stale by their distances: no outputs tell them apart."""
    shift = float(np.median([layer.mean_shift for layer in stale]))
    ratio = float(np.median([abs(layer.log_variance_ratio) for layer in stale]))
    words = (
        f"In the median stale layer the means are {shift:.2g} standard deviations off, the log "
        f"variance ratio is {ratio:.2g}."
    )
    if shift < SMALL_SHIFT <= ratio:
        return What("stale variance", words)
    return What("stale mean" if ratio < SMALL_SHIFT else "stale mean and variance", words)


def _lock(stale: Sequence[LayerExamination]) -> Why | None:
    """Tell what keeps most of the stale layers in the inference phase, if anything does."""
    frozen = [layer for layer in stale if not layer.trainable]
    pinned = [layer for layer in stale if layer.trainable and layer.phase == INFERENCE]
    if 2 * len(frozen) >= len(stale):
        words = (
            f"{len(frozen)} of the {len(stale)} stale layers are frozen (trainable=False): they "
            "run in the inference phase even in training, and nothing updates them. Recompute "
            "them, or set trainable=True and train on."
        )
        return Why("frozen by mistake", "precise-bn", (words,))
    if 2 * len(pinned) >= len(stale):
        words = (
            f"{len(pinned)} of the {len(stale)} stale layers ran in the inference phase when the "
            "model was called with training=True: the phase is pinned, nothing is ever updated. "
            "Pass `training` on to them, or recompute them."
        )
        return Why("phase pinned", "precise-bn", (words,))
    return None


def _slow_momentum(
    found: Examination, stale: Sequence[LayerExamination], worst: LayerExamination
) -> Why | None:
    """Blame the momentum, if it is too high or too low for what was seen."""
    momentum = worst.momentum
    if momentum < LOWEST_MOMENTUM and worst.symmetric_kl < NOISE_KL:
        words = (
            f"Momentum {momentum:g} keeps the statistics of the last batch alone, which are "
            "noise; in PyTorch it would mean 1 minus as much."
        )
        return Why("wrong momentum", "bn-momentum-0.9", (words,))
    made = "" if worst.updates_seen is None else f", and {worst.updates_seen} were made"
    slow = (
        f"Momentum {momentum:g} halves the distance in {worst.half_life_steps:.3g} steps{made}: "
        "too slow."
    )
    if momentum >= HIGHEST_MOMENTUM:
        return Why("wrong momentum", "bn-momentum-0.5", (slow,))
    gone = _way_gone(found, stale)
    if momentum >= SLOW_MOMENTUM and gone is not None:
        words = f"The statistics have gone {gone:.0%} of their way from 0 and 1."
        return Why("wrong momentum", "bn-momentum-0.5", (slow, words))
    return None


def _nothing_keeps(found: Examination, stale: Sequence[LayerExamination]) -> Why:
    """Tell statistics that were never updated from those of other data."""
    if all(state.initial for state, layer in zip(found.norms, found.layers) if layer in stale):
        words = (
            "The stale statistics still are exactly 0 and 1, though the network is trained: the "
            "training ran with the phase pinned to inference, and nothing was ever updated."
        )
        return Why("phase pinned", "precise-bn", (words,))
    words = "Nothing keeps the statistics from being updated: they are of other data or were set."
    return Why("", "precise-bn", (words,))


def never_trained(found: Examination) -> bool:
    """True where nothing was ever trained: gamma, beta and the statistics are the first."""
    return bool(found.norms) and all(state.initial and not state.trained for state in found.norms)


def locked_statistics(found: Examination) -> Finding | None:
    """Name statistics that nothing updates, where the features or the training show the harm.

    A head that was trained on the features of stale statistics does not gain by new ones: only
    what could be told from the features shows that they ruin them.
    """
    precise, stale = found.precise, _stale_layers(found)
    if precise is None or not stale or worth_of(found) > LOCKED_WORTH:
        return None
    before, after = feature_probe(found, precise=False), feature_probe(found, precise=True)
    better = _probably_better(before, after, found.images)
    if _locked(found, stale, better=better):
        told = (
            "Most BatchNorm layers do not normalise these images, in training either, and the "
            f"network learns little. From its features a linear head tells {before:.1%} of the "
            f"images, with recomputed statistics {after:.1%}."
        )
        return _stale_finding(found, precise, stale, told)
    foreign = not any(state.initial for state in found.norms)
    if foreign and better and not learned(found):
        told = (
            f"From the network's features a linear head tells {before:.1%} of the images; with "
            f"recomputed statistics it tells {after:.1%}: stale BatchNorm statistics ruin them."
        )
        return _stale_finding(found, precise, stale, told)
    return None


def _probably_better(before: float, after: float, images: int) -> bool:
    """True where an accuracy is half as high again, and by more than chance has it."""
    sure = (after - before) * images > CHANCE_DEVIATIONS * np.sqrt(images / 2)
    return bool(sure) and after > BETTER * before


def _locked(found: Examination, stale: Sequence[LayerExamination], *, better: bool) -> bool:
    """True where most stale layers are never updated to harm, or no layer of a trained network."""
    locked = [layer for layer in stale if not layer.trainable or layer.phase == INFERENCE]
    initial = all(state.initial for state in found.norms)
    if 2 * len(locked) >= len(stale) and (better or initial):
        return True
    used = found.iterations is None or found.iterations > 0
    never = initial and used and any(state.trained for state in found.norms)
    return never and not learned(found)
