"""The rules that name what is wrong with a network from what was measured of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import binom
from scipy.stats import t as student

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from suite.examination.examine import Examination, LayerExamination

VERDICTS = ("healthy", "stale statistics", "constant predictor", "diverged", "something else")
"""What a network can be found to be."""

LOST = 0.2
"""Nats an image that an intervention must gain to be the mending of a cause."""

LOST_SHARE = 0.25
"""The same, as a share of what the network gives then: less is what other test images cost."""

LOST_FAR = 0.05
"""Nats an image that statistics must cost which are more than `FAR_KL` off."""

SIGNIFICANT = 1e-3
"""Of a test on the same images with and without an intervention; several are tried."""

LEARNED = 0.1
"""Nats of information from which a network tells anything."""

SURE = 0.75
"""Share of the labels' entropy from which a network cannot lose `LOST_SHARE`."""

STALE_KL = 0.3
"""Symmetric divergence, nats a channel, that sampling and somewhat different images stay below."""

FAR_KL = 3.0
"""The same that no healthy network comes near, whatever its images."""

FAR_LOG, HARMLESS = 3.0, 0.05
"""Log variance ratio, the channels' mean, that speaks for itself (a factor of 20), and the nats
that an intervention may then cost."""

ALONE = 3.0
"""Times the distance of all other layers' statistics from which one layer is the bad one."""

RECOVERED = 0.8
"""Share of what all recomputed statistics gain at which a part of them explains it."""

SMALL_SHIFT = 0.4
"""Standard deviations, or log variance ratio, that a stale statistic is off at least."""

FITTED_KL = 1.0
"""Distance that no layer may keep where the input scale is the cause."""

EXPLODED = 30.0
"""Times the scale of their initialisation that no trained weights have."""

ALL_EXPLODED = 5.0
"""The same of the median layer."""

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

PERMUTED = 0.15
"""Accuracy that renaming the classes must gain."""

MARGINALS = 0.4
"""Distance of predicted classes from the labels within which the predictions are varied alike."""

UNDUE, CARELESS = 0.25, 0.62
"""Confidence above the accuracy, and its power to tell right from wrong, of wrong labels."""

UNTOLD = 0.05
BLIND_IMAGES = 128
"""p-value above which a probe tells nothing, and the images it takes to say so."""

CONSTANT = 0.05
"""Spread of the log-probabilities over the images, nats, below which the output is constant."""

FAINT = 0.1
"""Times the scale of its initialisation below which a kernel is next to nothing."""

DEAD_UNIT = 1e-3
"""Relative spread over the images below which a layer's output is constant."""

LOCKED_WORTH = 0.5
"""Nats of information below which statistics that are never updated are held against a network."""


class Finding(NamedTuple):
    """What is wrong.

    Attributes:
        verdict: A row of `VERDICTS`.
        cause: Its short name; "" when healthy.
        layer: The layer that starts it; "".
        fix: The row of `suite.fixes.FIXES` to try first; "".
        words: Sentences.
    """

    verdict: str
    cause: str
    layer: str
    fix: str
    words: tuple[str, ...]


def gain(scores: NDArray[np.float64], entropy: float) -> float:
    """Return the information gain of bounded scores, nats."""
    return float(scores.mean()) + entropy


def mends(
    before: NDArray[np.float64], after: NDArray[np.float64], entropy: float, *, far: bool = False
) -> bool:
    """Return whether an intervention gains clearly and significantly, image by image.

    Less will do where statistics are so `far` off as those of no healthy network are.
    """
    gained = float(after.mean() - before.mean())
    worth = gain(after, entropy)
    enough = LOST_FAR if far else max(LOST, LOST_SHARE * worth)
    if worth < LEARNED or gained < enough:
        return False
    return _p_value(after - before) < SIGNIFICANT


def _p_value(differences: NDArray[np.float64]) -> float:
    """Return the one-sided p-value of Student's test; scores are bounded, so means behave."""
    error = float(differences.std(ddof=1)) / np.sqrt(len(differences))
    if error == 0:
        return float(differences.mean() <= 0)
    return float(student.sf(differences.mean() / error, len(differences) - 1))


def suspicious(information_gain: float, entropy: float, worst_kl: float) -> bool:
    """Return whether a network could be mended at all, so that interventions are worth a try."""
    return not information_gain >= SURE * entropy or worst_kl > FAR_KL


def judge(found: Examination) -> Finding:
    """Return what is wrong: what the first rule that applies says."""
    rules = (
        _diverged,
        _exploded,
        _wrong_input_scale,
        _early,
        _stale,
        _permuted_labels,
        _locked,
        _shuffled_labels,
        _dead,
        _healthy,
        _unlearned,
    )
    finding = next(finding for finding in (rule(found) for rule in rules) if finding)
    return finding._replace(words=(*finding.words, *_always(found)))


def _always(found: Examination) -> list[str]:
    """Return what is said of every network."""
    told = found.evaluations["inference"]
    words = [
        f"On {found.images} images it is right in {told.accuracy:.1%} (the most frequent class: "
        f"{found.majority:.1%}) and gives {told.information_gain:.2f} of "
        f"{found.label_entropy:.2f} nats in the inference phase; it predicts "
        f"{told.classes_predicted} of {found.classes} classes."
    ]
    if not found.layers and not found.nonfinite:
        words.insert(0, "The network has no BatchNorm: BatchNorm is not your problem.")
    return words


def _diverged(found: Examination) -> Finding | None:
    """Name the layer of NaN or infinite weights, or the first too large to compute with."""
    if found.nonfinite:
        words = (
            f"Weights or statistics of {found.nonfinite} are NaN or infinite: the training has "
            "diverged. Go back to a checkpoint before that, with a smaller learning rate.",
        )
        return Finding("diverged", "NaN weights", found.nonfinite, "", words)
    if not found.overflow:
        return None
    if (
        found.evaluations.get("precise-bn", found.evaluations["inference"]).information_gain
        > LEARNED
    ):
        return None
    layer = max(found.weights, key=lambda entry: entry.ratio).layer if found.weights else ""
    words = (
        f"The outputs are NaN or infinite though all weights are finite; those of {layer} are the "
        "largest beside their initialisation.",
    )
    return Finding("diverged", "exploded weights", layer, "", words)


def _exploded(found: Examination) -> Finding | None:
    """Name weights that stand out, if the network works with them brought back, or not at all."""
    entropy, before = found.label_entropy, found.scores["inference"]
    rescaled = {name: scores for name, scores in found.scores.items() if name[:9] == "rescaled:"}
    for name, scores in rescaled.items():
        large = any(entry.layer == name[10:] and entry.ratio > EXPLODED for entry in found.weights)
        mended = mends(before, scores, entropy) or (large and _mends(found, scores))
        if mended and _as_good(scores, found.scores.get("precise-bn"), entropy):
            return _exploded_finding(found, name[10:], mended=gain(scores, entropy))
        cooled = found.evaluations[name].information_gain
        if found.evaluations["inference"].information_gain < -entropy and cooled > LEARNED:
            return _exploded_finding(found, name[10:], mended=cooled)
    kernels = [entry for entry in found.weights if entry.kind != "BatchNormalization"]
    largest = [entry for entry in found.weights if entry.ratio > EXPLODED]
    if largest and not _learned(found):
        return _exploded_finding(found, largest[0].layer, mended=None)
    all_large = float(np.median([entry.ratio for entry in kernels] or [0])) > ALL_EXPLODED
    if all_large and _worth(found) < SURE * entropy:
        return _exploded_finding(found, kernels[0].layer, mended=None)
    return None


def _exploded_finding(found: Examination, layer: str, *, mended: float | None) -> Finding:
    """Say which layer's weights have exploded."""
    ratio = next(entry.ratio for entry in found.weights if entry.layer == layer)
    usual = float(np.median([entry.ratio for entry in found.weights]))
    words = [
        f"The weights of {layer} have exploded: their root mean square is {ratio:.3g} times that "
        f"of their initialisation, against {usual:.2g} in the median layer.",
    ]
    if mended is not None:
        words.append(f"Scaled back, the network gives {mended:.2f} nats.")
    if found.layers:
        words.append(
            "Statistics that no longer fit behind it are the consequence: recomputing them hides "
            "the cause. Go back to a checkpoint, with a smaller learning rate or clipped gradients."
        )
    return Finding("diverged", "exploded weights", layer, "", tuple(words))


def _wrong_input_scale(found: Examination) -> Finding | None:
    """Name the input scale, if the network works as well under another as it can."""
    name = next((name for name in found.scores if name.startswith("input: ")), "")
    if not name:
        return None
    entropy, scores = found.label_entropy, found.scores[name]
    if not _mends(found, scores):
        return None
    if not _as_good(scores, found.scores.get("precise-bn"), entropy):
        return None
    if found.layers and found.input_kl > FITTED_KL:
        return None
    change = name[7:]
    fix = "imagenet-inputs" if "caffe" in change.split("->")[1] else ""
    words = [
        f"The images are not in the input scale that the network was trained with: fed as "
        f"{change}, it gives {gain(scores, entropy):.2f} nats and is right in "
        f"{found.evaluations[name].accuracy:.1%}.",
        "Scale the images as in the training of these weights.",
    ]
    if found.layers:
        words.append("The moving statistics are not to blame: they fit the images so scaled.")
    return Finding("something else", "wrong input scale", "", fix, tuple(words))


def _mends(found: Examination, scores: NDArray[np.float64]) -> bool:
    """Return whether an intervention mends what is broken.

    Of statistics that are so far off as those of no healthy network are, it need only do no harm:
    unless the weights were trained with them as they are, when recomputing them would.
    """
    entropy, before = found.label_entropy, found.scores["inference"]
    far = max((state.typical_kl for state in found.norms), default=0.0) > FAR_KL
    if mends(before, scores, entropy, far=far):
        return True
    return _far_off(found) and gain(scores, entropy) > gain(before, entropy) - HARMLESS


def _far_off(found: Examination) -> bool:
    """Return whether all channels of a layer are off, and the network does not rely on it."""
    precise = found.scores.get("precise-bn")
    if precise is None or max(abs(layer.log_variance_ratio) for layer in found.layers) < FAR_LOG:
        return False
    worth = gain(precise, found.label_entropy)
    return worth > max(LEARNED, _worth(found) - HARMLESS)


def _as_good(
    scores: NDArray[np.float64], other: NDArray[np.float64] | None, entropy: float
) -> bool:
    """Return whether an intervention gains about what recomputed statistics do, or more."""
    return other is None or gain(scores, entropy) > RECOVERED * gain(other, entropy)


def _early(found: Examination) -> Finding | None:
    """Say that a training has only begun: usual statistics on their way from 0 and 1 will arrive.

    With a usual momentum the next few hundred steps bring them there; nothing is broken.
    """
    precise = found.scores.get("precise-bn")
    stale = [
        (layer, state)
        for layer, state in zip(found.layers, found.norms)
        if layer.symmetric_kl > STALE_KL
    ]
    if precise is None or not stale or not _mends(found, precise) or not found.iterations:
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


def _stale(found: Examination) -> Finding | None:
    """Name stale statistics, if recomputing them mends the network."""
    precise = found.scores.get("precise-bn")
    if precise is None:
        return None
    if not _mends(found, precise):
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
    means, variances = _share(found, "only means"), _share(found, "only variances")
    alone = _share(found, f"only {worst.layer}")
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


def _share(found: Examination, name: str) -> float:
    """Return the share of what all recomputed statistics gain that a part of them gains."""
    scores = found.scores
    if name not in scores:
        return 0.0
    whole = scores["precise-bn"].mean() - scores["inference"].mean()
    return float((scores[name].mean() - scores["inference"].mean()) / max(whole, 1e-9))


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


def _permuted_labels(found: Examination) -> Finding | None:
    """Say that the classes are in another order, if renaming them mends the predictions."""
    told, renamed = found.evaluations["inference"].accuracy, found.predictions.permuted_accuracy
    gained = (renamed - told) * found.images
    if renamed < told + PERMUTED or renamed < 2 * found.majority or gained < 8:  # noqa: PLR2004
        return None
    words = (
        f"With the classes renamed the accuracy is {renamed:.1%} instead of {told:.1%}: the labels "
        "are a consistent permutation of the network's classes. Compare the order of the classes "
        "of the data (folders are sorted by name) with that of the training.",
    )
    return Finding("something else", "label shuffle (classes permuted)", "", "", words)


def _shuffled_labels(found: Examination) -> Finding | None:
    """Say that labels do not belong to the images, if sure and varied predictions do not match."""
    looks, told = found.predictions, found.evaluations["inference"]
    varied = looks.marginal_distance < MARGINALS and told.classes_predicted > 2  # noqa: PLR2004
    blind = all(entry.p_value > UNTOLD for entry in found.probes.values())
    sure = looks.confidence > max(told.accuracy + UNDUE, 2 / found.classes)
    careless = not looks.confidence_auc > CARELESS  # nan: hardly any right
    if varied and sure and careless:
        words = [
            f"The predictions are varied and sure ({looks.confidence:.0%} on average), but right "
            f"in only {told.accuracy:.1%}, and no surer where they are right: labels and images do "
            "not belong together. Check that both were shuffled alike."
        ]
        return Finding("something else", "label shuffle", "", "", tuple(words))
    if blind and not _learned(found) and found.images >= BLIND_IMAGES:
        words = [
            "Neither from the pixels nor from any features can the labels be told better than by "
            "chance: labels and images do not belong together (label shuffle), or these images "
            "tell nothing."
        ]
        return Finding("something else", "label shuffle", "", "", tuple(words))
    return None


def _dead(found: Examination) -> Finding | None:
    """Name the layer at which what the images differ by is lost."""
    missing = found.predictions.dead_outputs
    if missing and _informed(found) and found.predictions.variation > CONSTANT:
        layer = _last_kernel(found)
        words = (
            f"{len(missing)} of {found.classes} outputs of {layer} are dead, though there are "
            f"images of their classes: no image moves them ({', '.join(map(str, missing[:8]))}).",
        )
        return Finding("constant predictor", "dead head", layer, "", words)
    if _biased(found):
        layer = _last_kernel(found)
        words = (
            f"The bias of {layer} outweighs whatever the images say: without it the network is "
            f"right in {found.predictions.centred_accuracy:.1%}.",
        )
        return Finding("constant predictor", "dead head", layer, "", words)
    if _worth(found) > LEARNED or found.predictions.variation > CONSTANT:
        return None
    if _untouched(found) or not (_first_dead(found) or _faint_head(found)):
        return None
    layer = _first_dead(found)
    head = layer in _heads(found) or not layer
    layer = layer or _last_kernel(found)
    informed = _best_probe(found)
    said = (
        f"Whatever the image, the output is the same: from {layer} on nothing varies.",
        f"The features before it are fine: fitted anew, a linear head on them is right in "
        f"{informed:.1%}. Initialise it anew and train it with a smaller learning rate."
        if _informed(found)
        else "The features tell nothing of the labels either.",
    )
    return Finding("constant predictor", "dead head" if head else "dead layer", layer, "", said)


def _biased(found: Examination) -> bool:
    """Return whether one class is predicted of all images, but for a bias the right ones."""
    told = found.evaluations["inference"]
    alone = told.classes_predicted == 1
    return alone and found.predictions.centred_accuracy > 2 * max(told.accuracy, found.majority)


def _faint_head(found: Examination) -> bool:
    """Return whether the last kernel is next to nothing beside its initialisation."""
    kernels = [entry for entry in found.weights if entry.kind != "BatchNormalization"]
    return bool(kernels) and kernels[-1].ratio < FAINT


def _untouched(found: Examination) -> bool:
    """Return whether nothing was ever trained: gamma, beta and the statistics are the first."""
    return bool(found.norms) and all(state.initial and not state.trained for state in found.norms)


def _locked(found: Examination) -> Finding | None:
    """Name statistics that nothing updates, where the features or the training show the harm.

    A head that was trained on the features of stale statistics does not gain by new ones: only
    what could be told from the features shows that they ruin them.
    """
    stale = [layer for layer in found.layers if layer.symmetric_kl > STALE_KL]
    locked = [layer for layer in stale if not layer.trainable or layer.phase == "inference"]
    if not stale or _worth(found) > LOCKED_WORTH:
        return None
    initial = [state.initial for state in found.norms]
    used = found.iterations is None or found.iterations > 0
    never = all(initial) and used and any(state.trained for state in found.norms)
    foreign = not any(initial)
    before, after = _feature_probe(found, ""), _feature_probe(found, " (precise-bn)")
    better = (after - before) * found.images > 3 * np.sqrt(
        found.images / 2
    ) and after > 1.5 * before
    if (2 * len(locked) >= len(stale) and (better or all(initial))) or (
        never and not _learned(found)
    ):
        told = (
            "Most BatchNorm layers do not normalise these images, in training either, and the "
            f"network learns little. From its features a linear head tells {before:.1%} of the "
            f"images, with recomputed statistics {after:.1%}."
        )
        return _stale_finding(found, stale, told)
    if foreign and better and not _learned(found):
        told = (
            f"From the network's features a linear head tells {before:.1%} of the images; with "
            f"recomputed statistics it tells {after:.1%}: stale BatchNorm statistics ruin them."
        )
        return _stale_finding(found, stale, told)
    return None


def _healthy(found: Examination) -> Finding | None:
    """Say that a network that tells the classes is healthy."""
    if not _learned(found):
        return None
    words = ["Healthy: no intervention makes it clearly better."]
    if found.layers:
        worst = max(found.layers, key=lambda layer: layer.symmetric_kl)
        words.append(
            "Recomputing BatchNorm's statistics gains nothing that matters: "
            f"{_worth(found):.2f} to {gain(found.scores['precise-bn'], found.label_entropy):.2f} "
            f"nats. The largest distance is that of {worst.layer}, {worst.symmetric_kl:.2g} nats."
        )
        if worst.symmetric_kl > STALE_KL:
            words.append("That is far, but does no harm here.")
    words += _warnings(found)
    return Finding("healthy", "", "", "", tuple(words))


def _warnings(found: Examination) -> list[str]:
    """Return what does no harm here but may."""
    words = []
    odd = [
        layer for layer in found.layers if not LOWEST_MOMENTUM <= layer.momentum < HIGHEST_MOMENTUM
    ]
    if odd:
        words.append(
            f"Note the momentum of {len(odd)} BatchNorm layers, {odd[0].momentum:g} in "
            f"{odd[0].layer}: harmless for these statistics, not for new ones."
        )
    return words


def _unlearned(found: Examination) -> Finding:
    """Say what is left: the network tells nothing, and no statistics are to blame."""
    told = found.evaluations["inference"]
    constant = told.classes_predicted == 1
    untouched = _untouched(found)
    words = [
        "The network tells nothing of the labels, in either phase, and recomputing statistics, "
        "other input scales or other names of the classes do not mend it.",
        f"A linear head fitted anew on its features is right in {_best_probe(found):.1%}: "
        + (
            "the head is not trained (enough)."
            if _informed(found)
            else "the features tell nothing either."
        ),
    ]
    cause = "not trained" if untouched or _informed(found) else "nothing learned"
    verdict = "constant predictor" if constant and not untouched else "something else"
    return Finding(verdict, cause, "", "", tuple(words))


def _learned(found: Examination) -> bool:
    """Return whether the network tells the classes better than chance."""
    told = found.evaluations["inference"].accuracy
    hits = round(told * found.images)
    by_chance = float(binom.sf(hits - 1, found.images, found.majority))
    return by_chance < SIGNIFICANT or _worth(found) > LEARNED


def _worth(found: Examination) -> float:
    """Return the bounded information gain in the inference phase, nats."""
    return gain(found.scores["inference"], found.label_entropy)


def _feature_probe(found: Examination, which: str) -> float:
    """Return the best accuracy of a linear head on the network's features."""
    names = (f"features{which}", f"trunk{which}")
    return max((found.probes[name].accuracy for name in names if name in found.probes), default=0.0)


def _best_probe(found: Examination) -> float:
    """Return the best accuracy of a linear head on any features."""
    return max(_feature_probe(found, ""), _feature_probe(found, " (precise-bn)"))


def _informed(found: Examination) -> bool:
    """Return whether the features tell the labels."""
    return any(
        entry.p_value < SIGNIFICANT for name, entry in found.probes.items() if name != "pixels"
    )


def _last_kernel(found: Examination) -> str:
    """Return the last layer with a kernel."""
    kernels = [entry for entry in found.weights if entry.kind != "BatchNormalization"]
    return kernels[-1].layer if kernels else ""


def _heads(found: Examination) -> list[str]:
    """Return the layers after the last with positions: the head."""
    dense = [index for index, unit in enumerate(found.units) if unit.kind == "Dense"]
    return [unit.layer for unit in found.units[dense[0] :]] if dense else [_last_kernel(found)]


def _first_dead(found: Examination) -> str:
    """Return the first layer from which no output varies over the images; "" if all do."""
    dead = ""
    for unit in reversed(found.units):
        if unit.variation > DEAD_UNIT:
            break
        dead = unit.layer
    return dead
