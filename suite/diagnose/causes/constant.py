"""Rules for outputs that do not follow the images: dead heads, shuffled or permuted labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from suite.diagnose.causes.stale import never_trained
from suite.diagnose.causes.worth import (
    LEARNED,
    best_probe,
    features_tell,
    last_kernel,
    learned,
    worth_of,
)
from suite.diagnose.found import Finding

if TYPE_CHECKING:
    from suite.diagnose.found import Examination

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


def permuted_labels(found: Examination) -> Finding | None:
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


def shuffled_labels(found: Examination) -> Finding | None:
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
    if blind and not learned(found) and found.images >= BLIND_IMAGES:
        words = [
            "Neither from the pixels nor from any features can the labels be told better than by "
            "chance: labels and images do not belong together (label shuffle), or these images "
            "tell nothing."
        ]
        return Finding("something else", "label shuffle", "", "", tuple(words))
    return None


def dead_output(found: Examination) -> Finding | None:
    """Name the layer at which what the images differ by is lost."""
    missing = found.predictions.dead_outputs
    if missing and features_tell(found) and found.predictions.variation > CONSTANT:
        layer = last_kernel(found)
        words = (
            f"{len(missing)} of {found.classes} outputs of {layer} are dead, though there are "
            f"images of their classes: no image moves them ({', '.join(map(str, missing[:8]))}).",
        )
        return Finding("constant predictor", "dead head", layer, "", words)
    if _biased(found):
        layer = last_kernel(found)
        words = (
            f"The bias of {layer} outweighs whatever the images say: without it the network is "
            f"right in {found.predictions.centred_accuracy:.1%}.",
        )
        return Finding("constant predictor", "dead head", layer, "", words)
    if worth_of(found) > LEARNED or found.predictions.variation > CONSTANT:
        return None
    if never_trained(found) or not (_first_dead(found) or _faint_head(found)):
        return None
    layer = _first_dead(found)
    head = layer in _heads(found) or not layer
    layer = layer or last_kernel(found)
    informed = best_probe(found)
    said = (
        f"Whatever the image, the output is the same: from {layer} on nothing varies.",
        f"The features before it are fine: fitted anew, a linear head on them is right in "
        f"{informed:.1%}. Initialise it anew and train it with a smaller learning rate."
        if features_tell(found)
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


def _heads(found: Examination) -> list[str]:
    """Return the layers after the last with positions: the head."""
    dense = [index for index, unit in enumerate(found.units) if unit.kind == "Dense"]
    return [unit.layer for unit in found.units[dense[0] :]] if dense else [last_kernel(found)]


def _first_dead(found: Examination) -> str:
    """Return the first layer from which no output varies over the images; "" if all do."""
    dead = ""
    for unit in reversed(found.units):
        if unit.variation > DEAD_UNIT:
            break
        dead = unit.layer
    return dead
