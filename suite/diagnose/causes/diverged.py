"""Rules for weights that exploded or are not finite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from suite.diagnose.causes.worth import (
    LEARNED,
    SURE,
    as_good,
    gain,
    kernels,
    learned,
    mends,
    mends_broken,
    worth_of,
)
from suite.diagnose.found import DIVERGED, RESCALED, Finding

if TYPE_CHECKING:
    from suite.diagnose.found import Examination, Trial

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
        return Finding(DIVERGED, "NaN weights", found.nonfinite, "", words)
    best = found.precise or found.inference
    if not found.overflow or best.evaluation.information_gain > LEARNED:
        return None
    layer = max(found.weights, key=lambda entry: entry.ratio).layer if found.weights else ""
    words = (
        f"The outputs are NaN or infinite though all weights are finite; those of {layer} are the "
        "largest beside their initialisation.",
    )
    return Finding(DIVERGED, "exploded weights", layer, "", words)


def exploded(found: Examination) -> Finding | None:
    """Find a layer whose weights exploded: scaling it back helps, or the network is useless."""
    rescaled = found.tried(RESCALED)
    if rescaled is not None:
        mended = _mended_by(found, rescaled)
        if mended is not None:
            return _exploded_finding(found, rescaled.layer, mended=mended)
    largest = [entry for entry in found.weights if entry.ratio > EXPLODED]
    if largest and not learned(found):
        return _exploded_finding(found, largest[0].layer, mended=None)
    ratios = [entry.ratio for entry in kernels(found)]
    all_large = float(np.median(ratios or [0])) > ALL_EXPLODED
    if all_large and worth_of(found) < SURE * found.label_entropy:
        return _exploded_finding(found, kernels(found)[0].layer, mended=None)
    return None


def _mended_by(found: Examination, rescaled: Trial) -> float | None:
    """Tell the nats that the network gives with weights scaled back; None if that mends nothing."""
    entropy, before = found.label_entropy, found.inference
    large = any(entry.layer == rescaled.layer and entry.ratio > EXPLODED for entry in found.weights)
    mended = mends(before, rescaled, entropy) or (large and mends_broken(found, rescaled))
    if mended and as_good(found, rescaled):
        return gain(rescaled, entropy)
    cooled = rescaled.evaluation.information_gain
    if before.evaluation.information_gain < -entropy and cooled > LEARNED:
        return cooled
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
    return Finding(DIVERGED, "exploded weights", layer, "", tuple(words))
