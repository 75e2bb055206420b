"""Rules for weights that exploded or are not finite, and for images in a wrong scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from suite.diagnose.causes.worth import (
    LEARNED,
    SURE,
    as_good,
    gain,
    learned,
    mends,
    mends_broken,
    worth_of,
)
from suite.diagnose.found import Finding

if TYPE_CHECKING:
    from suite.diagnose.found import Examination

FITTED_KL = 1.0
"""Distance that no layer may keep where the input scale is the cause."""

EXPLODED = 30.0
"""Times the scale of their initialisation that no trained weights have."""

ALL_EXPLODED = 5.0
"""The same of the median layer."""


def diverged(found: Examination) -> Finding | None:
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


def exploded(found: Examination) -> Finding | None:
    """Name weights that stand out, if the network works with them brought back, or not at all."""
    entropy, before = found.label_entropy, found.scores["inference"]
    rescaled = {name: scores for name, scores in found.scores.items() if name[:9] == "rescaled:"}
    for name, scores in rescaled.items():
        large = any(entry.layer == name[10:] and entry.ratio > EXPLODED for entry in found.weights)
        mended = mends(before, scores, entropy) or (large and mends_broken(found, scores))
        if mended and as_good(scores, found.scores.get("precise-bn"), entropy):
            return _exploded_finding(found, name[10:], mended=gain(scores, entropy))
        cooled = found.evaluations[name].information_gain
        if found.evaluations["inference"].information_gain < -entropy and cooled > LEARNED:
            return _exploded_finding(found, name[10:], mended=cooled)
    kernels = [entry for entry in found.weights if entry.kind != "BatchNormalization"]
    largest = [entry for entry in found.weights if entry.ratio > EXPLODED]
    if largest and not learned(found):
        return _exploded_finding(found, largest[0].layer, mended=None)
    all_large = float(np.median([entry.ratio for entry in kernels] or [0])) > ALL_EXPLODED
    if all_large and worth_of(found) < SURE * entropy:
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


def wrong_input_scale(found: Examination) -> Finding | None:
    """Name the input scale, if the network works as well under another as it can."""
    name = next((name for name in found.scores if name.startswith("input: ")), "")
    if not name:
        return None
    entropy, scores = found.label_entropy, found.scores[name]
    if not mends_broken(found, scores):
        return None
    if not as_good(scores, found.scores.get("precise-bn"), entropy):
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
