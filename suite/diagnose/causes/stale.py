"""Rules for moving statistics that do not fit the images, and why they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from suite.diagnose.causes.why import SMALL_BATCH, STALE_KL, state_of, why_stale
from suite.diagnose.causes.worth import (
    LOST_FAR,
    POINTS,
    RECOVERED,
    accuracy,
    feature_probe,
    gain,
    improves,
    learned,
    mends_broken,
    points,
    share_of_gain,
    worth_of,
)
from suite.diagnose.found import OTHER, STALE, Finding
from suite.diagnose.trials import (
    ALIKE,
    BATCH_STATISTICS,
    INPUT_SCALE,
    ONLY_LAYER,
    ONLY_MEANS,
    ONLY_VARIANCES,
    PRECISE_BN,
    SINGLE,
)
from suite.networks.phases import INFERENCE, TRAINING

if TYPE_CHECKING:
    from suite.diagnose.found import Examination, LayerExamination
    from suite.diagnose.trials import Trial

ALONE = 3.0
"""Times the distance of all other layers' statistics from which one layer is the bad one."""

SMALL_SHIFT = 0.4
"""Standard deviations, or log variance ratio, that a stale statistic is off at least."""

LOCKED_WORTH = 0.5
"""Nats of information below which statistics that are never updated are held against a network."""

BETTER, CHANCE_DEVIATIONS = 1.5, 3.0
"""Times the accuracy of one probe, and standard deviations of the difference of two, from which
another probe is better."""


DRAWN: Mapping[str, str] = {
    BATCH_STATISTICS: "the images drawn at random",
    ALIKE: "the images sorted by brightness",
    SINGLE: "each image by itself",
}
"""What is in a batch, by the kind of trial."""

SERVES_SMALL = (
    "What serves: batches of 16 or more in training, or GroupNorm, whose statistics are each "
    "image's own."
)
SERVES_KINDS = (
    "What serves: a BatchNorm of its own for each call, or each flow of the training (dual-bn); or "
    "GroupNorm, which needs no statistics; or batches that mix the kinds."
)
"""What serves where no single set of statistics does."""


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


def _stale_layers(found: Examination) -> list[LayerExamination]:
    """List the layers whose statistics do not fit the images; the worst where new ones help."""
    stale = [layer for layer in found.layers if layer.symmetric_kl > STALE_KL]
    helped = found.precise and improves(found.inference, found.precise)
    if stale or not helped:
        return stale
    return [max(found.layers, key=lambda layer: layer.symmetric_kl)]


def stale_statistics(found: Examination) -> Finding | None:
    """Name stale statistics, if recomputing them mends the network."""
    precise, stale = found.precise, _stale_layers(found)
    if precise is None or not stale or not mends_broken(found, precise):
        return None
    if not learned(found, precise):
        return None  # no better than the most frequent class alone
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
    why = why_stale(found, stale, worst)
    words = (
        first,
        what.words,
        *why.words,
        *_scaled_besides(found, precise),
        f"{len(stale)} of {len(found.layers)} BatchNorm layers are stale; {worst.layer} most, its "
        f"mean {worst.mean_shift:.2g} standard deviations and its log variance ratio "
        f"{worst.log_variance_ratio:+.2g} off.",
    )
    cause = f"{why.name} ({what.name})" if why.name else what.name
    if points(found.inference, precise) <= -POINTS:
        return Finding(STALE, cause, stale[0].layer, "", (*words, _fitted(found, precise)))
    starts = worst if what.alone else stale[0]
    return Finding(STALE, cause, starts.layer, why.fix, words)


def _scaled_besides(found: Examination, precise: Trial) -> list[str]:
    """Say that another input scale does about as much, if one does: both may be wrong."""
    fed, enough = found.tried(INPUT_SCALE), RECOVERED * precise.evaluation.accuracy
    if fed is None or fed.evaluation.accuracy < enough or not improves(found.inference, fed):
        return []
    return [
        f"Fed as {fed.scale} instead, all statistics kept, it is right in "
        f"{fed.evaluation.accuracy:.1%}: if the training fed images so, feed these so, too, and "
        "recompute the statistics on such images."
    ]


def _fitted(found: Examination, precise: Trial) -> str:
    """Say that the weights were trained with the statistics as they are."""
    return (
        f"Recomputing them alone makes it worse ({precise.evaluation.accuracy:.1%} against "
        f"{accuracy(found, INFERENCE):.1%}): the weights were trained with them as they are. Let "
        "BatchNorm run in the training phase while it trains (training=True passed on, "
        "trainable=True), and train on."
    )


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


def locked_statistics(found: Examination) -> Finding | None:
    """Name statistics that nothing updates, where the features or the training show the harm.

    A head that was trained on the features of stale statistics does not gain by new ones: only
    what could be told from the features shows that they ruin them.
    """
    precise, stale = found.precise, _stale_layers(found)
    little = min(LOCKED_WORTH, found.label_entropy / 2)
    if precise is None or not stale or worth_of(found) > little:
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
    return initial and used and any(state.trained for state in found.norms)


def no_single_statistics(found: Examination) -> Finding | None:
    """Say that only the batch's own statistics serve: each kind of batch has others.

    So it is after a training on several flows, such as clean and perturbed images, whose batches
    differ (Xie et al. 2020): any one set of moving statistics fits none of them.
    """
    tried = [found.tried(kind) for kind in (BATCH_STATISTICS, ALIKE, SINGLE)]
    better = [trial for trial in tried if trial and improves(found.inference, trial)]
    best = next(
        (trial for trial in better if found.precise and improves(found.precise, trial)), None
    )
    if best is None or not learned(found, best):
        return None
    shared = [layer for layer in found.layers if state_of(found, layer).calls > 1]
    small = best.kind == SINGLE or found.batch_size <= SMALL_BATCH
    recomputed = accuracy(found, PRECISE_BN)
    words = (
        f"With the statistics of each batch, {DRAWN[best.kind]}, the network is right in "
        f"{best.evaluation.accuracy:.1%}; with one set of moving statistics it is right in "
        f"{accuracy(found, INFERENCE):.1%}, and in {recomputed:.1%} with one recomputed on all "
        f"these images: no single set serves, since {_each_has_its_own(found, shared, best)}.",
        SERVES_SMALL if small else SERVES_KINDS,
    )
    layer = (*shared, *found.layers)[0].layer
    return Finding(STALE, "no single set of statistics", layer, "group-norm", words)


def _each_has_its_own(found: Examination, shared: Sequence[LayerExamination], best: Trial) -> str:
    """Say what has statistics of its own: a call of a layer, a small batch, a kind of batch."""
    if best.kind == SINGLE:
        return "each image has its own: the training ran in batches of one, or of very few"
    if found.batch_size <= SMALL_BATCH:
        return f"a batch of {found.batch_size} is too small to estimate any, and each has its own"
    if not shared:
        return "each kind of batch has its own"
    calls = state_of(found, shared[0]).calls
    return f"{shared[0].layer} is called {calls} times for a batch, and each call has its own"


def phases_disagree(found: Examination) -> Finding | None:
    """Say that something but BatchNorm's statistics makes the inference phase worse."""
    trained = found.tried(TRAINING)
    batch = found.tried(BATCH_STATISTICS) or found.inference
    if trained is None or not learned(found, trained):
        return None
    if not (improves(found.inference, trained) and improves(batch, trained)):
        return None  # or BatchNorm explains it
    without = (
        f" BatchNorm alone normalising by the batch gives {batch.evaluation.accuracy:.1%}, so "
        "it is not to blame: a layer other than BatchNorm does something else in the two phases."
        if found.layers
        else " There is no BatchNorm, so another layer does something else in the two phases."
    )
    words = (
        f"In the training phase the network is right in {trained.evaluation.accuracy:.1%}, in the "
        f"inference phase, in which it is used, in {accuracy(found, INFERENCE):.1%}.{without}",
        "Compare what each layer that takes `training` (Dropout, noise, augmentation, layers of "
        "your own) does with training=False.",
    )
    return Finding(OTHER, "phases disagree", "", "", words)
