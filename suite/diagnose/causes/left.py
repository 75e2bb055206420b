"""What is left when no cause is found: never trained, improved by something, healthy, unlearned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from suite.diagnose.attempts import in_words, listed
from suite.diagnose.causes.head import head_notes, label_question
from suite.diagnose.causes.why import (
    HIGHEST_MOMENTUM,
    LOWEST_MOMENTUM,
    SMALL_BATCH,
    STALE_KL,
    state_of,
)
from suite.diagnose.causes.worth import (
    POINTS,
    SIGNIFICANT,
    SURE,
    best_model,
    best_probe,
    features_tell,
    learned,
    more_right,
    points,
    reaches,
    worth_of,
)
from suite.diagnose.found import CONSTANT, HEALTHY, OTHER, UNDECIDED, Finding
from suite.diagnose.trials import CENTRED, INPUT_SCALE, RENAMED, RESCALED
from suite.networks.phases import TRAINING

if TYPE_CHECKING:
    from suite.diagnose.found import Examination

HELPED: Mapping[str, str] = {
    TRAINING: "phases disagree",
    RESCALED: "weights that stand out",
    INPUT_SCALE: "wrong input scale",
    RENAMED: "label shuffle (classes permuted)",
    CENTRED: "biased head",
}
"""Causes by the kind of trial that helps, where no rule says more; else it is the statistics."""

LISTED = 4  # layers that are named
LEANING = 0.5
"""Distance of predicted classes from the labels from which the outputs lean to a few classes."""

BEHIND, FAR_BEHIND = 0.1, 0.2
"""Accuracy by which a linear model must be ahead to be worth a word, and not to be healthy."""

SKIPPED = (
    "load_weights(by_name=True) passes over names that do not match without a word, and "
    "skip_mismatch=True over shapes."
)
BATCHES = "If the batches of the training were smaller than the {} taken here, say so (batch_size)."

TRAINING_TOO = (
    "Examine images of the training, too. If it is right in them, these are unlike them (turned, "
    "mirrored, cut, coloured or lit otherwise, another source), or it has learned them by heart; "
    "if not, weights were loaded into the wrong places, or it is to be trained on."
)


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
    best = max(found.trials[1:], key=lambda trial: points(found.inference, trial))
    if points(found.inference, best) < POINTS:
        return None
    by_chance = more_right(found.inference, best)
    told = (
        f"With one thing changed, {in_words(best)}, the network is right in "
        f"{best.evaluation.accuracy:.1%} instead of {found.inference.evaluation.accuracy:.1%}"
    )
    if by_chance >= SIGNIFICANT:
        doubt = (
            f"On {found.images} images that may be chance (McNemar's exact test: p = "
            f"{by_chance:.2g}, asked is {SIGNIFICANT:g}): examine four times as many."
        )
        words = (f"{told}.", doubt, TRAINING_TOO)
        return Finding(UNDECIDED, "", "", "", words) if learned(found) else None
    if not reaches(found, best):
        doubt = (
            f"That is far from what a linear model tells, {best_model(found):.1%}, so it is not "
            "all that is wrong: of a network that has not learned much, whatever changes the "
            "outputs changes the accuracy."
        )
        smaller = [BATCHES.format(found.batch_size)] if found.layers else []
        more = (f"{told}.", doubt, *_leaning(found), *smaller, TRAINING_TOO)
        return Finding(UNDECIDED, "", "", "", more)
    sure = f"Chance does so in fewer than one of {1 / SIGNIFICANT:,.0f} networks (McNemar's test)."
    cause = HELPED.get(best.kind, "statistics that do not fit")
    return Finding(OTHER, cause, best.layer, "", (f"{told}.", sure))


def _leaning(found: Examination) -> list[str]:
    """Say that the predictions lean to a few classes, if they do."""
    if found.predictions.marginal_distance < LEANING:
        return []
    return [
        f"Its predictions lean to some classes ({found.inference.evaluation.classes_predicted} "
        "in all), whatever the images are of: look at class_weight, sample_weight and how many "
        "images of each class the training had, before you train on."
    ]


def _behind(found: Examination, least: float = BEHIND) -> list[str]:
    """Say that a linear model does better than the network, if it does by `least`."""
    best = best_model(found)
    if best < found.inference.evaluation.accuracy + least:
        return []
    return [
        f"A linear model fitted to three quarters of these images is right in {best:.1%} "
        "of the others, so there is more to be had than it gives. " + TRAINING_TOO
    ]


def healthy(found: Examination) -> Finding | None:
    """Say that a network that tells the classes is healthy, unless a linear model is far ahead."""
    if not learned(found):
        return None
    short = bool(_behind(found, FAR_BEHIND))
    first = "No cause is found" if short else "Healthy"
    words = [f"{first}: nothing that was tried makes it right in clearly more images."]
    before, precise = found.inference.evaluation, found.precise
    if precise is not None:
        worst, after = max(found.layers, key=lambda layer: layer.symmetric_kl), precise.evaluation
        words.append(
            f"Recomputing BatchNorm's statistics takes it from {before.accuracy:.1%} to "
            f"{after.accuracy:.1%} right and from {before.information_gain:.2f} to "
            f"{after.information_gain:.2f} nats. The largest distance is that of {worst.layer}, "
            f"{worst.symmetric_kl:.2g} nats."
        )
        if worst.symmetric_kl > STALE_KL:
            words.append("That is far, but does no harm here.")
    verdict = UNDECIDED if short else HEALTHY
    return Finding(verdict, "", "", "", (*words, *_warnings(found)))


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
    return [*words, *_behind(found), *head_notes(found)]


def unlearned(found: Examination) -> Finding:
    """Say what is left: the network tells nothing; what was ruled out, what was not, what next."""
    constant = found.inference.evaluation.classes_predicted == 1
    head = features_tell(found)
    words = (
        "The network tells nothing of the labels.",
        f"Ruled out, by trying: {_ruled_out(found)}.",
        f"A linear head fitted anew on its features is right in {best_probe(found):.1%}: "
        + ("they tell more than the head does." if head else "the features tell nothing either."),
        f"Not ruled out: {_batches(found)}images prepared otherwise than in the training (order "
        "of the axes, crop, size), batches that were not shuffled, too few steps, a learning rate "
        "too high or too low, a loss that does not fit the outputs, labels that went wrong in "
        "training alone, images learned by heart (examine those of the training: it is right in "
        "them, then).",
        "Next: train it on 32 of these images alone, without augmentation. If it cannot learn them "
        "by heart in 200 steps, it is the loss, the learning rate or the layers, and more "
        "training will not help; if it can, train on all, and look at the data pipeline.",
        *label_question(found),
    )
    if not constant:
        return Finding(UNDECIDED, "", "", "", words)
    return Finding(CONSTANT, "not trained" if head else "nothing learned", "", "", words)


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
