"""Rules for predictions that do not follow the labels: shuffled labels, dead heads and layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binom

from suite.diagnose.attempts import READ, listed
from suite.diagnose.causes.worth import (
    LEARNED,
    POINTS,
    RECOVERED,
    SIGNIFICANT,
    accuracy,
    best_probe,
    features_tell,
    improves,
    kernels,
    last_kernel,
    learned,
    worth_of,
)
from suite.diagnose.found import CONSTANT, OTHER, Finding
from suite.diagnose.trials import CENTRED, INPUT_SCALE, RENAMED
from suite.networks.phases import INFERENCE

if TYPE_CHECKING:
    from suite.diagnose.found import Examination

PERMUTED, PERMUTED_IMAGES = 0.15, 8
"""Accuracy that renaming the classes must gain, unless the features tell no more than it then
gives, and the number of images that it must put right."""

MARGINALS = 0.4
"""Distance of predicted classes from the labels below which the predictions vary as they do."""

UNDUE, CARELESS = 0.25, 0.62
"""Confidence above the accuracy from which it is undue, and power of the confidence to tell right
from wrong up to which it tells nothing."""

UNTOLD, BLIND_IMAGES = 0.05, 128
"""p-value above which a probe tells nothing, and the images it takes to say so, half of them of
other classes than the most frequent one."""

UNBALANCED = 0.75
"""Share of the most frequent class from which a network that predicts it alone does what pays."""

MISSED, TOLD, WELL = 4, 0.5, 0.7
"""Images of a class that it takes to miss it, their share that a linear head must tell, and the
accuracy in the other classes from which it is not the whole training that is short."""

FLAT = 0.05
"""Spread of the log-probabilities over the images, nats, below which the output is constant."""

FAINT = 0.1
"""Times the scale of its initialisation below which a kernel is next to nothing."""

FAINT_SCALE = 0.05
"""Root mean square of a BatchNorm's scale, at the start 1, below which it lets nothing through;
exactly 0 is one that starts there, as the last of a residual block may."""

DEAD_UNIT = 1e-3
"""Relative spread over the images below which a layer's output is constant."""

LISTED = 8  # dead outputs that are named


def permuted_labels(found: Examination) -> Finding | None:
    """Say that the classes are in another order, if renaming them mends the predictions."""
    told, trial = accuracy(found, INFERENCE), found.tried(RENAMED)
    if trial is None or not improves(found.inference, trial):
        return None
    fed = found.tried(INPUT_SCALE)
    if fed and improves(trial, fed):  # such as turned shapes, of which some are like others
        return None
    renamed, few = trial.evaluation.accuracy, 2 * min(found.majority, (1 + found.majority) / 4)
    if renamed < few or (renamed - told) * found.images < PERMUTED_IMAGES:
        return None
    whole = renamed >= told + PERMUTED or renamed >= best_probe(found) - POINTS
    if not whole or renamed < RECOVERED * best_probe(found):
        return None  # classes that are confused whole, as frames of one track are
    words = (
        f"With the classes renamed the accuracy is {renamed:.1%} instead of {told:.1%}: the labels "
        f"are a consistent permutation of the network's classes ({renamings(found)}). Compare the "
        "order of the classes of the data (folders are sorted by name) with that of the training.",
    )
    return Finding(OTHER, "label shuffle (classes permuted)", "", "", words)


def renamings(found: Examination) -> str:
    """List what the network calls the classes of the images."""
    present = np.unique(found.labels)
    pairs = [
        f"label {label} is its {output}"
        for output, label in enumerate(found.predictions.names)
        if output != label and label in present
    ]
    return listed(pairs, LISTED)


def shuffled_labels(found: Examination) -> Finding | None:
    """Say that labels do not belong to the images: sure predictions miss them, or nothing tells."""
    told = found.inference.evaluation
    if _sure_and_wrong(found):
        words = (
            f"The predictions are varied and sure ({found.predictions.confidence:.0%} on average), "
            f"but right in only {told.accuracy:.1%}, and no surer where they are right: labels and "
            "images do not belong together. Check that both were shuffled alike.",
        )
        return Finding(OTHER, "label shuffle", "", "", words)
    blind = all(probe.p_value > UNTOLD for probe in found.probes)
    others = found.images * (1 - found.majority)  # with few of them a probe has no power
    if blind and not learned(found) and others >= BLIND_IMAGES / 2:
        words = (
            "Neither from the pixels nor from any features can the labels be told better than by "
            "chance: labels and images do not belong together (label shuffle), or these images "
            "tell nothing.",
        )
        return Finding(OTHER, "label shuffle", "", "", words)
    return None


def _sure_and_wrong(found: Examination) -> bool:
    """True where predictions vary as labels do and are sure, but no surer where they are right."""
    looks, told = found.predictions, found.inference.evaluation
    varied = looks.marginal_distance < MARGINALS and told.classes_predicted > 2  # noqa: PLR2004
    sure = looks.confidence > max(told.accuracy + UNDUE, 2 / found.classes)
    if any(probe.p_value < SIGNIFICANT for probe in found.probes):
        return False  # what a linear model tells belongs to the images
    return varied and sure and not looks.confidence_auc > CARELESS  # nan: hardly any right


def dead_outputs(found: Examination) -> Finding | None:
    """Say that outputs never move though there are images of their classes."""
    missing = found.predictions.dead_outputs
    if not (missing and features_tell(found) and found.predictions.variation > FLAT):
        return None
    layer = last_kernel(found)
    words = (
        f"{len(missing)} of {found.classes} outputs of {layer} are dead, though there are images "
        f"of their classes: no image moves them ({', '.join(map(str, missing[:LISTED]))}).",
    )
    return Finding(CONSTANT, "dead head", layer, "", words)


def biased_head(found: Examination) -> Finding | None:
    """Say that one class is always predicted, and but for a bias the right ones would be."""
    told, centred = found.inference.evaluation, accuracy(found, CENTRED)
    if told.classes_predicted != 1 or centred <= 2 * max(told.accuracy, found.majority):
        return None
    if centred < RECOVERED * best_probe(found):
        return None  # the features are others than those that the head was trained on
    layer = last_kernel(found)
    words = (
        f"The bias of {layer} outweighs whatever the images say: without it the network is "
        f"right in {centred:.1%}.",
    )
    return Finding(CONSTANT, "dead head", layer, "", words)


def constant_output(found: Examination) -> Finding | None:
    """Name the layer after which all images look alike."""
    if worth_of(found) > LEARNED or found.predictions.variation > FLAT:
        return None
    dead = _first_dead(found)
    if not dead and not _faint_head(found):
        return None
    layer = _kernel_at(found, dead) or last_kernel(found)
    head = not dead or dead in _head_layers(found)
    words = (
        f"Whatever the image, the output is the same: from {layer} on nothing varies.",
        "The features before it are fine: fitted anew, a linear head on them is right in "
        f"{best_probe(found):.1%}. Initialise it anew and train it with a smaller learning rate."
        if features_tell(found)
        else "The features tell nothing of the labels either.",
    )
    return Finding(CONSTANT, "dead head" if head else "dead layer", layer, "", words)


def faint_scales(found: Examination) -> Finding | None:
    """Name scales of BatchNorm next to 0 where the output is constant: statistics mend nothing."""
    faint = [entry for entry in found.weights if not entry.kernel and 0 < entry.ratio < FAINT_SCALE]
    precise = found.precise
    mended = precise is not None and learned(found, precise)
    if not faint or mended or worth_of(found) > LEARNED or found.predictions.variation > FLAT:
        return None
    scales = sum(not entry.kernel for entry in found.weights)
    words = (
        f"The scales (gamma) of {len(faint)} of {scales} BatchNorm layers are next to 0, "
        f"{faint[0].ratio:.2g} in {faint[0].layer}, where they start at 1: what comes behind "
        "hardly sees the image. Weight decay does so, or an L1 penalty, where it is put on gamma.",
        "Recomputing the statistics alone gives no more"
        + (f" ({precise.evaluation.accuracy:.1%})" if precise else "")
        + f"; a head fitted anew on the features is right in {best_probe(found):.1%}. Leave gamma "
        "and beta out of the decay, set gamma to 1 where it is next to 0, recompute the "
        "statistics, and train on.",
    )
    return Finding(CONSTANT, "scales next to 0", faint[0].layer, "", words)


def unbalanced(found: Examination) -> Finding | None:
    """Say that a network that predicts one class does so where most of the images are of it."""
    told = found.inference.evaluation
    constant = told.classes_predicted == 1 and told.accuracy == found.majority
    if not constant or found.majority < UNBALANCED:
        return None
    rest = round(found.images * (1 - found.majority))
    words = (
        f"It always predicts the class that {found.majority:.1%} of the images are of: the loss "
        "pays for that first. Labels need not be wrong for it, and statistics need not either: no "
        "other trial here makes it tell more.",
        f"From {rest} images of other classes nothing more can be told. Give as many images of "
        "each class, here and in training (class_weight, or balanced batches), and look at the "
        "recall of each class, not at the accuracy.",
    )
    return Finding(CONSTANT, "unbalanced classes", "", "", words)


def missing_classes(found: Examination) -> Finding | None:
    """Name classes that are never right though the features tell them, if others are."""
    missed = missed_classes(found)
    of_them = np.isin(found.labels, missed)
    if not missed or len(np.unique(found.labels[~of_them])) < 2:  # noqa: PLR2004
        return None  # where one class is always predicted, or nothing is right, none is worse off
    read = [probe for probe in found.probes if len(probe.hits) == len(of_them)]
    probe = max(read, key=lambda probe: float(probe.hits[of_them].mean()), default=None)
    if probe is None:
        return None
    told, others = float(probe.hits[of_them].mean()), found.inference.hits[~of_them].mean()
    share = float(of_them.mean())
    by_chance = binom.sf(probe.hits[of_them].sum() - 1, of_them.sum(), share)
    if told < TOLD or by_chance > SIGNIFICANT or others < WELL:
        return None
    words = (
        f"{named_classes(missed)} never predicted rightly, in {of_them.sum()} images, while the "
        f"others are in {others:.1%}. The images tell them: a linear model of "
        f"{READ[probe.source]} is right in {told:.1%} of these.",
        "So the images are fine, and the output is not: look whether the training had these "
        "classes at all, under the same numbers (a generator's folders, a split by class, labels "
        "from 1), how rare they were (class_weight), and whether the loss masks them.",
    )
    return Finding(OTHER, "classes never predicted", last_kernel(found), "", words)


def missed_classes(found: Examination) -> list[int]:
    """List the classes of which there are images, but none is right."""
    if found.labels.ndim > 1:
        return []
    counts = np.bincount(found.labels)
    right = np.bincount(found.labels, weights=found.inference.hits)
    return [int(label) for label in np.flatnonzero((counts >= MISSED) & (right == 0))]


def named_classes(labels: list[int]) -> str:
    """Name classes as the subject of a sentence."""
    names = listed(labels, LISTED)
    return f"Class {names} is" if len(labels) == 1 else f"The classes {names} are"


def _kernel_at(found: Examination, layer: str) -> str:
    """Name the last layer with a kernel up to `layer`, which may be an activation."""
    names = {entry.layer for entry in kernels(found)}
    before = ""
    for unit in found.units:
        before = unit.layer if unit.layer in names else before
        if unit.layer == layer:
            return before or layer
    return layer


def _faint_head(found: Examination) -> bool:
    """True where the last kernel is next to nothing beside its initialisation."""
    return any(entry.ratio < FAINT for entry in kernels(found)[-1:])


def _head_layers(found: Examination) -> list[str]:
    """Name the layers from the first Dense on, else the last one with a kernel."""
    dense = [index for index, unit in enumerate(found.units) if unit.kind == "Dense"]
    return [unit.layer for unit in found.units[dense[0] :]] if dense else [last_kernel(found)]


def _first_dead(found: Examination) -> str:
    """Name the first layer from which no output varies over the images; "" if all do."""
    dead = ""
    for unit in reversed(found.units):
        if unit.variation > DEAD_UNIT:
            break
        dead = unit.layer
    return dead
