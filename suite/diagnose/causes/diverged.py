"""Rules for weights that exploded or are not finite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from suite.diagnose.causes.head import mismatch
from suite.diagnose.causes.why import STALE_KL
from suite.diagnose.causes.worth import (
    LEARNED,
    POINTS,
    SURE,
    as_good,
    far_off,
    gain,
    improves,
    kernels,
    learned,
    mends,
    mends_broken,
    points,
    reaches,
    worth_of,
)
from suite.diagnose.found import DIVERGED, OTHER, STALE, STATISTIC, WEIGHT, Finding
from suite.diagnose.trials import FLOAT32, RESCALED
from suite.networks.phases import TRAINING

if TYPE_CHECKING:
    from suite.diagnose.found import Examination, NonFinite
    from suite.diagnose.trials import Trial

HALF = "float16"  # ends at 65504
LITTLE = 0.01  # share that is not written in numbers

AVERAGED = (
    "Training on does not mend it: an average that a NaN went into stays NaN. One batch is enough, "
    "with a number that is not finite (look for it with np.isfinite(images).all()), or of a single "
    "value a channel, whose unbiased variance is 0 / 0 (drop a last batch of one); loss scaling "
    "passes over the step of the weights, not over that of the statistics."
)
SET_WRONG = (
    "No training makes a variance below 0: the statistics were set by hand or loaded as something "
    "else, such as means and variances exchanged. Keras keeps gamma, beta, moving mean, moving "
    "variance, in this order: look at what set them, and at the other weights that it set."
)
"""Where statistics that cannot be computed with come from: of a training, or not."""

EXPLODED = 30.0
"""Times the scale of their initialisation that no trained weights have."""

ALL_EXPLODED = 5.0
"""The same of the median layer, of two the smaller."""


def diverged(found: Examination) -> Finding | None:
    """Say what is not finite, and where it begins: weights, moving statistics or activations."""
    broken = found.broken
    if broken is None:
        return None
    tests = (_weights, _half_precision, _statistics, _training_only, _activations)
    return next((finding for finding in (test(found, broken) for test in tests) if finding), None)


def _weights(found: Examination, broken: NonFinite) -> Finding | None:
    """Say that weights are NaN or infinite."""
    if broken.what != WEIGHT:
        return None
    words = [
        f"The {broken.name} of {broken.layer} is NaN or infinite in {_share(broken)} of its "
        "numbers: the training has diverged. Go back to a checkpoint before that, with a smaller "
        "learning rate.",
    ]
    if broken.dtype == HALF:
        words.append("It is kept in float16, which ends at 65504: train with loss scaling.")
    wrong = mismatch(found.head) if found.head else None
    if wrong is not None:
        words.append(f"What may have led to it: {wrong.words}")
    return Finding(DIVERGED, "NaN weights", broken.layer, "", tuple(words))


def _share(broken: NonFinite) -> str:
    """Write how much is not finite, a little of much included."""
    return f"{broken.share:.0%}" if broken.share >= LITTLE else f"under {LITTLE:.0%}"


def _half_precision(found: Examination, broken: NonFinite) -> Finding | None:
    """Say that numbers grow too large for float16, with weights that are finite."""
    full = found.tried(FLOAT32)
    if broken.dtype != HALF or (full is not None and not _finite(full)):
        return None
    if full is not None and not broken.share and points(found.inference, full) < POINTS:
        return None  # what float16 makes otherwise does no harm
    if full is not None and broken.what == STATISTIC and _fits(found.precise, full):
        return None  # what is recomputed fits into float16
    words = [f"{_what_overflows(broken)} All weights are finite: the training has not diverged."]
    if full is None:
        words.append("The network could not be copied to try it in float32.")
    else:
        besides = ", its statistics recomputed" if broken.what == STATISTIC else ""
        words.append(
            f"The same weights in float32{besides}, tried here, are right in "
            f"{full.evaluation.accuracy:.1%} instead of "
            f"{_as_it_is(found, broken).evaluation.accuracy:.1%}."
        )
    words.append(
        f'Let {broken.layer or "that part"} compute in float32 (dtype="float32"), or scale what '
        "goes into it down; in training, scale the loss (LossScaleOptimizer)."
    )
    return Finding(OTHER, "overflow in half precision", broken.layer, "", tuple(words))


def _fits(precise: Trial | None, full: Trial) -> bool:
    """True where recomputed statistics do in half precision what they do in float32."""
    return precise is not None and _finite(precise) and points(precise, full) < POINTS


def _what_overflows(broken: NonFinite) -> str:
    """Say which numbers are too large for float16."""
    if broken.what == STATISTIC:
        return (
            f"The {broken.name} of {broken.layer} is infinite or NaN in {_share(broken)} of its "
            "channels: it overflows in half precision, since it is kept in float16, which ends at "
            "65504."
        )
    part = f"for {_share(broken)} of the images" if broken.share else "inside it"
    phase = " of the training phase" if broken.phase == TRAINING else ""
    return (
        f"{_place(broken)} overflows in half precision{phase} {part}: float16 ends at 65504, and "
        f"what goes in is as large as {broken.largest:.3g}."
    )


def _place(broken: NonFinite) -> str:
    """Name the layer, or the model's own call between its layers."""
    return f"{broken.layer} ({broken.kind})" if broken.layer else "The model's own call"


def _as_it_is(found: Examination, broken: NonFinite) -> Trial:
    """Pick the trial of the phase in which something is not finite."""
    return found.tried(broken.phase) or found.inference


def _finite(trial: Trial) -> bool:
    """True where all outputs of a trial could be read."""
    return bool(np.isfinite(trial.evaluation.cross_entropy))


def _statistics(found: Examination, broken: NonFinite) -> Finding | None:
    """Say that only moving statistics are to blame: they are recomputed in seconds."""
    precise = found.precise
    norm = any(layer.layer == broken.layer for layer in found.layers)
    if precise is None or not norm or not (_finite(precise) or broken.what == STATISTIC):
        return None
    if broken.phase == TRAINING:
        return None
    what, named = broken.name or "moving variance", _statistic_in_words(broken)
    set_wrong = broken.what != STATISTIC and _epsilon(found, broken.layer) > 0
    before, after = found.inference.evaluation, precise.evaluation
    words = (
        f"{named} All weights are finite, and nothing is lost: statistics are recomputed in "
        f"seconds. Recomputed on these images, tried here, they take the network from "
        f"{before.accuracy:.1%} to {after.accuracy:.1%} right.",
        SET_WRONG if set_wrong else AVERAGED,
    )
    return Finding(STALE, f"{what} not finite", broken.layer, "precise-bn", words)


def _statistic_in_words(broken: NonFinite) -> str:
    """Say which statistic cannot be computed with."""
    if broken.what == STATISTIC:
        return (
            f"The {broken.name} of {broken.layer} is NaN or infinite in {_share(broken)} of its "
            "channels."
        )
    return (
        f"{broken.layer} makes NaN or infinite numbers of finite ones: its moving variance is "
        "below 0, or 0 with an epsilon of 0."
    )


def _epsilon(found: Examination, name: str) -> float:
    """Tell what a BatchNorm layer adds to the variance."""
    return next(layer.epsilon for layer in found.layers if layer.layer == name)


def _training_only(found: Examination, broken: NonFinite) -> Finding | None:
    """Say that only the training phase is not finite."""
    if broken.phase != TRAINING:
        return None
    told = found.inference.evaluation
    words = (
        f"In the training phase {_place(broken)} puts out NaN or infinite numbers for "
        f"{_share(broken)} of the images, though what goes in is finite (up to "
        f"{broken.largest:.3g}) and so are all weights; the inference phase is finite and right in "
        f"{told.accuracy:.1%}.",
        "A step of training would make the weights NaN. In BatchNorm: the variance of a channel in "
        "a batch is 0 with an epsilon of 0, or too large; else a division by 0 or a logarithm.",
    )
    return Finding(OTHER, "NaN in the training phase", broken.layer, "", words)


def _activations(found: Examination, broken: NonFinite) -> Finding | None:
    """Say where activations are no longer finite though all weights are."""
    if not broken.share:
        return None  # all is finite, only not as in float32
    large = max(found.weights, key=lambda entry: entry.ratio, default=None)
    told = (
        f"{_place(broken)} puts out NaN or infinite numbers for {_share(broken)} of the images, "
        f"though what goes in is finite (up to {broken.largest:.3g}) and so are all weights."
    )
    if large is not None and large.ratio > EXPLODED:
        words = (
            told,
            f"Those of {large.layer} are the largest, {large.ratio:.3g} times as at the start: "
            "they have exploded. Go back to a checkpoint, with a smaller learning rate or clipped "
            "gradients.",
        )
        return Finding(DIVERGED, "exploded weights", large.layer, "", words)
    advice = (
        "Look for a division by 0, a logarithm or root of what is not above 0, or an exponential "
        "of large numbers in it, and bound what goes in: x / (y + 1e-7), log(x + 1e-7)."
    )
    return Finding(OTHER, "NaN activations", broken.layer, "", (told, advice))


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
    ratios = sorted(entry.ratio for entry in kernels(found)) or [0.0]
    all_large = ratios[(len(ratios) - 1) // 2] > ALL_EXPLODED
    well = learned(found) and reaches(found, found.inference)
    if all_large and not well and worth_of(found) < SURE * found.label_entropy:
        return _exploded_finding(found, kernels(found)[0].layer, mended=None)
    return None


def _mended_by(found: Examination, rescaled: Trial) -> float | None:
    """Tell the nats that the network gives with weights scaled back; None if that mends nothing.

    Where it tells the classes, scaling back puts no more images right and statistics fit, large
    weights make it too sure, and not wrong.
    """
    entropy, before = found.label_entropy, found.inference
    large = any(entry.layer == rescaled.layer and entry.ratio > EXPLODED for entry in found.weights)
    if learned(found) and not improves(before, rescaled) and not (large and far_off(found)):
        return None
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
    if any(each.symmetric_kl > STALE_KL for each in found.layers):
        words.append(
            "Statistics that no longer fit behind it are the consequence: recomputing them hides "
            "the cause."
        )
    words.append("Go back to a checkpoint, with a smaller learning rate or clipped gradients.")
    return Finding(DIVERGED, "exploded weights", layer, "", tuple(words))
