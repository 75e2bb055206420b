"""What is left when no cause is found: never trained, improved by something, healthy, unlearned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from suite.diagnose.attempts import in_words, listed
from suite.diagnose.causes.constant import renamings
from suite.diagnose.causes.head import head_notes, label_question, tells_nats
from suite.diagnose.causes.scale import cause_of
from suite.diagnose.causes.why import (
    HIGHEST_MOMENTUM,
    LOWEST_MOMENTUM,
    SMALL_BATCH,
    STALE_KL,
    state_of,
    suspected_noise,
)
from suite.diagnose.causes.worth import (
    LEARNED,
    POINTS,
    SIGNIFICANT,
    SURE,
    best_model,
    best_probe,
    features_tell,
    learned,
    mends,
    more_right,
    points,
    reaches,
    worth_of,
)
from suite.diagnose.found import (
    BY_HEART,
    CONSTANT,
    HEALTHY,
    MORE_IMAGES,
    OTHER,
    TRAINING_IMAGES,
    UNDECIDED,
    Finding,
)
from suite.diagnose.trials import CENTRED, INPUT_SCALE, RENAMED, RESCALED
from suite.networks.phases import TRAINING

if TYPE_CHECKING:
    from suite.diagnose.found import Examination
    from suite.diagnose.trials import Trial

HELPED: Mapping[str, str] = {
    TRAINING: "phases disagree",
    RESCALED: "weights that stand out",
    RENAMED: "label shuffle (classes permuted)",
    CENTRED: "biased head",
}
"""Causes by the kind of trial that helps, where no rule says more; else it is the input, where it
was fed otherwise, or the statistics."""

LISTED = 4  # layers that are named
LEANING = 0.5
"""Distance of predicted classes from the labels from which the outputs lean to a few classes."""

BEHIND, FAR_BEHIND = 0.1, 0.15
"""Accuracy by which a linear model must be ahead to be worth a word, and not to be healthy."""

TIED = 0.02
"""Accuracy by which recomputed statistics, which can be kept, may be behind the best trial."""

ENOUGH_IMAGES, TIMES = 1000, 4
"""Images beyond which more are not asked for, and how many times as many are."""

SURELY_WRONG = -0.5
"""Nats below which a network is sure of what is wrong: it has learned, but something else."""

SKIPPED = (
    "load_weights(by_name=True) passes over names that do not match without a word, and "
    "skip_mismatch=True over shapes."
)
BATCHES = "If the batches of the training were smaller than the {} taken here, say so (batch_size)."

NEXT: Mapping[str, str] = {
    MORE_IMAGES: (
        f"Next: examine {TIMES} times as many images (--images, max_images); if there are no more, "
        "those of the training, too."
    ),
    TRAINING_IMAGES: (
        "Next: examine images of the training, with the labels that it was trained on. If it is "
        "right in them, these are unlike them (turned, mirrored, cut, coloured or lit otherwise, "
        "axes in another order; tokens of another vocabulary, or padded on the other side; another "
        "source; other labels), or it has learned them by heart; if not, weights were loaded into "
        "the wrong places (gamma and beta exchanged, another framework's order of axes), or it is "
        "to be trained on."
    ),
    BY_HEART: (
        "Next: train it on 32 of these images alone, without augmentation. If it cannot learn them "
        "by heart in 200 steps, it is the loss, the learning rate or the layers, and more "
        "training will not help; if it can, train on all, and look at the data pipeline."
    ),
}
"""The experiment that decides where nothing here does."""


def not_loaded(found: Examination) -> Finding | None:
    """Say that some layers still are exactly as they were made, while others were trained."""
    if not (found.untouched and found.touched) or worth_of(found) > SURE * found.label_entropy:
        return None
    norms = [layer for layer in found.layers if layer.layer in found.untouched]
    kernels = {entry.layer for entry in found.weights if entry.kernel}
    if not kernels.intersection(found.untouched) and not any(layer.trainable for layer in norms):
        return None  # frozen BatchNorm alone: its kernels may be trained
    count, whole = len(found.untouched), len(found.untouched) + len(found.touched)
    words = (
        f"{count} of {whole} layers still have exactly the values that Keras makes a layer with "
        f"(bias 0, scale 1, mean 0, variance 1): {listed(found.untouched, LISTED)}. The others do "
        f"not, such as {found.touched[0]}. So the weights of these layers were never loaded, or "
        "never trained.",
        f"{SKIPPED} Compare the names and a weight before and after loading.",
    )
    return Finding(OTHER, "weights not loaded", found.untouched[0], "", words)


def as_made(found: Examination) -> Finding | None:
    """Say that all layers still are exactly as they were made."""
    if not found.untouched or found.touched or learned(found):
        return None
    words = (
        f"All {len(found.untouched)} layers of which it can be told still have exactly the values "
        "that Keras makes a layer with (bias 0, scale 1, mean 0, variance 1): nothing was ever "
        "trained here, or the trained weights were not loaded.",
        f"{SKIPPED} Compare a weight before and after loading.",
    )
    return Finding(OTHER, "not trained, or weights not loaded", found.untouched[0], "", words)


def improved(found: Examination) -> Finding | None:
    """Say that something tried makes the network clearly better, or that it may."""
    best = _best(found)
    if points(found.inference, best) < POINTS:
        return None
    by_chance = more_right(found.inference, best)
    told = (
        f"With one thing changed, {in_words(best)}, the network is right in "
        f"{best.evaluation.accuracy:.1%} instead of {found.inference.evaluation.accuracy:.1%}."
    )
    if by_chance >= SIGNIFICANT:
        return _perhaps(found, best, told) if learned(found) else None
    if not reaches(found, best):
        doubt = (
            f"That is far from what a linear model tells, {best_model(found):.1%}, so it is not "
            "all that is wrong: of a network that has not learned much, whatever changes the "
            "outputs changes the accuracy."
        )
        smaller = [BATCHES.format(found.batch_size)] if found.layers else []
        renamed = _renamed(found) if best.kind == RENAMED else []
        return _undecided(
            TRAINING_IMAGES, told, doubt, *renamed, *_leaning(found), *_sure(found), *smaller
        )
    certain = f"Chance does so in fewer than one of {1 / SIGNIFICANT:,.0f} networks (McNemar)."
    other = cause_of(best.scale) if best.scale else "statistics that do not fit"
    cause = HELPED.get(best.kind, other)
    return Finding(OTHER, cause, best.layer, "", (told, certain))


def _best(found: Examination) -> Trial:
    """Pick the trial that is right most often, or what can be kept if it is as good."""
    best = max(found.trials[1:], key=lambda trial: points(found.inference, trial))
    precise = found.precise
    if precise is None or points(precise, best) > TIED:
        return best
    return best if points(found.inference, precise) < POINTS else precise


def _perhaps(found: Examination, best: Trial, told: str) -> Finding:
    """Say that a trial may be better by chance, what speaks for it all the same, and what next."""
    by_chance = more_right(found.inference, best)
    doubt = (
        f"On {found.images} images that may be chance (McNemar's exact test: p = {by_chance:.2g}, "
        f"asked is {SIGNIFICANT:g})."
    )
    of_norms = best.kind not in (RENAMED, CENTRED, RESCALED, INPUT_SCALE)
    suspect = suspected_noise(found) if of_norms else []
    more = more_right(found.inference, best, times=TIMES) < SIGNIFICANT
    following = MORE_IMAGES if more and found.images < ENOUGH_IMAGES else TRAINING_IMAGES
    return _undecided(following, told, doubt, *suspect, *_sure(found))


def _undecided(following: str, *words: str) -> Finding:
    """Say first that nothing decides, and last which experiment would."""
    first, *others = words
    told = (f"Undecided. {first}", *others, NEXT[following])
    return Finding(UNDECIDED, "", "", "", told, following)


def _renamed(found: Examination) -> list[str]:
    """Say which names would fit a network that is right in no more images than by chance."""
    if learned(found):
        return []
    return [f"The classes may be in another order, besides ({renamings(found)})."]


def _leaning(found: Examination) -> list[str]:
    """Say that the predictions lean to a few classes, if they do."""
    if found.predictions.marginal_distance < LEANING:
        return []
    predicted = found.inference.evaluation.classes_predicted
    return [
        f"It predicts {predicted} of {found.classes} classes, some far too often. If it does so of "
        "images of the training, too, look at class_weight, sample_weight and how many images of "
        "each class the training had, before you train on."
    ]


def _sure(found: Examination) -> list[str]:
    """Say that the network is surer than it is right, and whether large weights make it so."""
    told, cooled = found.inference.evaluation, found.tried(RESCALED)
    if told.information_gain > -LEARNED or not tells_nats(found):
        return []
    words = [
        f"It is surer than it is right: {told.information_gain:.2f} nats, where guessing gives 0."
    ]
    if cooled is not None and cooled.evaluation.information_gain > told.information_gain:
        words.append(
            f"The weights of {cooled.layer} are large; divided by how much they stand out, it is "
            f"right in {cooled.evaluation.accuracy:.1%} and gives "
            f"{cooled.evaluation.information_gain:.2f} nats. Where probabilities matter, divide "
            "the logits by a temperature fitted on other images (Guo et al. 2017)."
        )
    return words


def _behind(found: Examination, least: float = BEHIND) -> list[str]:
    """Say that a linear model does better than the network, if it does by `least`, and where."""
    told, head = found.inference.evaluation.accuracy, best_probe(found)
    if best_model(found) < told + least:
        return []
    words = [
        f"A linear model fitted to three quarters of these images is right in "
        f"{best_model(found):.1%} of the others, so there is more to be had than it gives."
    ]
    if head > told + least:
        words.append(
            f"A head fitted anew on its own features is right in {head:.1%}: what comes before "
            "the last layer tells these images, and the last layer does not fit it."
        )
    elif any(not layer.trainable for layer in found.layers):
        words.append(
            f"A head fitted anew on its own features is right in {head:.1%}, no more: what limits "
            "it is before the last layer, in the layers that are frozen. Let them train on, with "
            "a small learning rate."
        )
    return words


def healthy(found: Examination) -> Finding | None:
    """Say that a network that tells the classes is healthy, unless a linear model is far ahead."""
    if not learned(found):
        return None
    nothing = "nothing that was tried makes it right in clearly more images."
    words = (*_recomputed(found), *_warnings(found))
    if _behind(found, FAR_BEHIND):
        return _undecided(TRAINING_IMAGES, f"No cause is found: {nothing}", *words)
    return Finding(HEALTHY, "", "", "", (f"Healthy: {nothing}", *words))


def _recomputed(found: Examination) -> list[str]:
    """Say what recomputing BatchNorm's statistics gives, though it is no mend."""
    precise = found.precise
    if precise is None:
        return []
    before, after = found.inference.evaluation, precise.evaluation
    worst = max(found.layers, key=lambda layer: layer.symmetric_kl)
    words = [
        f"Recomputing BatchNorm's statistics takes it from {before.accuracy:.1%} to "
        f"{after.accuracy:.1%} right and from {before.information_gain:.2f} to "
        f"{after.information_gain:.2f} nats. The largest distance is that of {worst.layer}, "
        f"{worst.symmetric_kl:.2g} nats."
    ]
    if mends(found.inference, precise, found.label_entropy):
        words.append(
            "It is less sure of what is wrong then, and hardly more often right: these images are "
            "otherwise than those of the training (noise, contrast, light)."
        )
    elif worst.symmetric_kl > STALE_KL and points(found.inference, precise) <= -POINTS:
        frozen = "" if worst.trainable else " It is frozen:"
        words.append(
            f"That is far.{frozen} what comes behind was trained with it as it is, so do not "
            "recompute it alone."
        )
    elif worst.symmetric_kl > STALE_KL:
        words.append("That is far, but does no harm here.")
    return words + (suspected_noise(found) if points(found.inference, precise) > TIED else [])


def _warnings(found: Examination) -> list[str]:
    """Say what does no harm here but may elsewhere."""
    words = []
    odd = [
        layer for layer in found.layers if not LOWEST_MOMENTUM <= layer.momentum < HIGHEST_MOMENTUM
    ]
    if odd:
        words.append(
            f"Note the momentum of {len(odd)} BatchNorm layers, {odd[0].momentum:g} in "
            f"{odd[0].layer}: harmless for these statistics, not for new ones."
        )
    pinned = [layer for layer in found.layers if state_of(found, layer).initial]
    if pinned:
        words.append(
            f"Note that the statistics of {len(pinned)} BatchNorm layers still are 0 and 1, "
            f"{pinned[0].layer} first: the training ran with the phase pinned to inference, and "
            "the weights fit that. Do not recompute them."
        )
    return [*words, *_sure(found), *_behind(found), *head_notes(found)]


def unlearned(found: Examination) -> Finding:
    """Say what is left: the network tells nothing; what was ruled out, what was not, what next."""
    told, head = found.inference.evaluation, features_tell(found)
    constant = told.classes_predicted == 1
    astray = told.information_gain < SURELY_WRONG and tells_nats(found) and not constant
    following = TRAINING_IMAGES if astray else BY_HEART
    words = (
        "What the network puts out tells nothing of the labels.",
        *(_sure(found) if astray else ()),
        f"Ruled out, by trying: {_ruled_out(found)}.",
        f"A linear head fitted anew on its features is right in {best_probe(found):.1%}: "
        + ("they tell more than the head does." if head else "the features tell nothing either."),
        f"Not ruled out: {_batches(found)}images prepared otherwise than in the training (order "
        "of the axes, crop, size), batches that were not shuffled, too few steps, a learning rate "
        "too high or too low, a loss that does not fit the outputs, labels that went wrong in "
        "training alone, images learned by heart (examine those of the training: it is right in "
        "them, then).",
        NEXT[following],
        *label_question(found),
    )
    if not constant:
        return Finding(UNDECIDED, "", "", "", words, following)
    cause = "not trained" if head else "nothing learned"
    return Finding(CONSTANT, cause, "", "", words, following)


def _batches(found: Examination) -> str:
    """Say that the batches of the training may be too small for BatchNorm, if it has any."""
    if not found.layers:
        return ""
    if found.batch_size <= SMALL_BATCH:
        return f"batches of {found.batch_size}, too few for BatchNorm; "
    return f"batches in training smaller than the {found.batch_size} taken here (say which); "


def _ruled_out(found: Examination) -> str:
    """List what was tried and helped nothing, with the accuracy under each."""
    return "; ".join(
        f"{in_words(trial)} ({trial.evaluation.accuracy:.1%})" for trial in found.trials[1:]
    )
