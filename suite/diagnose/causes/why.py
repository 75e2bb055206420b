"""Why moving statistics do not fit: causes in the order in which their evidence decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from suite.diagnose.causes.worth import POINTS, accuracy
from suite.diagnose.trials import BATCH_STATISTICS, PRECISE_BN
from suite.networks.phases import INFERENCE, TRAINING

if TYPE_CHECKING:
    from suite.diagnose.found import Examination, LayerExamination, NormState

STALE_KL = 0.3
"""Symmetric divergence, nats a channel, that sampling and somewhat different images stay below."""

SUSPECT_KL = 0.1
"""Symmetric divergence, nats a channel, from which statistics of the training phase are suspect."""

LOWEST_MOMENTUM, SLOW_MOMENTUM, HIGHEST_MOMENTUM = 0.5, 0.98, 0.9995
"""Below the first, statistics are those of the last batches; from the second on they may lag
behind a training; from the third on they need more than 1,400 steps to halve a distance."""

USUAL_MOMENTUM, LOWER = 0.99, 0.9
"""Keras' own, at which a whole training brings statistics where they belong; and one that needs a
tenth of the steps."""

NOISE_KL = 3.0
"""Distance that statistics of the last batch may have by chance."""

SMALL_BATCH = 4
"""Images in a batch up to which its statistics are hardly those of the data."""

ARRIVED = 10
"""Half-lives after which statistics are a training's latest: a thousandth is left of the first."""

FEWEST, MOST = 0.7, 4.0
"""Updates of the statistics a step that a training makes."""

EXPLAINED = 0.7
"""Share of a divergence that an explanation must cover."""

DRAWING = ("Dropout", "Noise")
"""Parts of the names of layers that change the variance of what they pass on in training alone."""


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


def why_stale(
    found: Examination, stale: Sequence[LayerExamination], worst: LayerExamination
) -> Why:
    """Tell why statistics are stale; where nothing decides, what may be and what would tell."""
    told = (
        locked(stale)
        or _noise(worst)
        or _random_before(found, stale)
        or _never_updated(found, stale)
        or _unscaled_among(found)
        or _slow_momentum(found, stale, worst)
    )
    return told or _open_question(found, worst)


def locked(stale: Sequence[LayerExamination]) -> Why | None:
    """Tell what keeps most of the stale layers in the inference phase, if anything does."""
    frozen = [layer for layer in stale if not layer.trainable]
    pinned = [layer for layer in stale if layer.trainable and layer.phase == INFERENCE]
    if 2 * len(frozen) >= len(stale):
        words = (
            f"{len(frozen)} of the {len(stale)} stale layers are frozen (trainable=False): they "
            "run in the inference phase even in training, and nothing updates them. Recompute "
            "them, or set trainable=True and train on."
        )
        return Why("frozen by mistake", PRECISE_BN, (words,))
    if 2 * len(pinned) >= len(stale):
        words = (
            f"{len(pinned)} of the {len(stale)} stale layers ran in the inference phase when the "
            "model was called with training=True: the phase is pinned, nothing is ever updated. "
            "Pass `training` on to them, or recompute them."
        )
        return Why("phase pinned", PRECISE_BN, (words,))
    return None


def _noise(worst: LayerExamination) -> Why | None:
    """Blame a momentum so low that the statistics are those of the last batch."""
    momentum = worst.momentum
    if momentum >= LOWEST_MOMENTUM or worst.symmetric_kl >= NOISE_KL:
        return None
    words = (
        f"Momentum {momentum:g} keeps the statistics of the last batch alone, which are "
        "noise; in PyTorch it would mean 1 minus as much."
    )
    return Why("wrong momentum", "bn-momentum-0.9", (words,))


def _fit_training_alone(
    found: Examination, layers: Sequence[LayerExamination]
) -> list[LayerExamination]:
    """List the layers whose statistics fit what a training passes on, and only that."""
    return [
        layer
        for layer in layers
        if state_of(found, layer).training_kl < (1 - EXPLAINED) * layer.symmetric_kl
    ]


def suspected_noise(found: Examination) -> list[str]:
    """Say that Dropout or noise before a BatchNorm is suspect, if statistics fit it alone."""
    shifted = _fit_training_alone(found, found.layers)
    worst = max(shifted, key=lambda layer: layer.symmetric_kl, default=None)
    source = _drawing_before(found, worst.layer) if worst else ""
    if worst is None or not source or worst.symmetric_kl < SUSPECT_KL:
        return []
    return [
        "Suspect Dropout or noise before BatchNorm (Li et al. 2019): the statistics of "
        f"{worst.layer} fit what it takes in during training (symmetric KL "
        f"{state_of(found, worst).training_kl:.2g} nats), not at inference "
        f"({worst.symmetric_kl:.2g}); {source}, before it, is on in training alone and shifts the "
        "variance. Move it behind the last BatchNorm, or recompute the statistics with it off."
    ]


def _random_before(found: Examination, stale: Sequence[LayerExamination]) -> Why | None:
    """Blame Dropout before BatchNorm: the statistics fit what only a training passes on.

    Dropout keeps the mean and raises the variance, so statistics of the training phase do not fit
    the inference phase (Li et al. 2019).
    """
    shifted = _fit_training_alone(found, stale)
    source = _drawing_before(found, stale[0].layer)
    if not source or 2 * len(shifted) < len(stale):
        return None
    words = (
        f"The statistics fit what {shifted[0].layer} takes in during training (symmetric KL "
        f"{state_of(found, shifted[0]).training_kl:.2g} nats), not what it takes in at inference "
        f"({shifted[0].symmetric_kl:.2g}): {source}, before it, is on in training alone and "
        "shifts the variance (Li et al. 2019).",
        "Move it behind the last BatchNorm and train anew, or recompute the statistics with it "
        "off, which is what precise-bn does.",
    )
    return Why("Dropout before BatchNorm", PRECISE_BN, words)


def _drawing_before(found: Examination, layer: str) -> str:
    """Name the last layer before a BatchNorm that draws at random in training; "" if none does."""
    before = ""
    for unit in found.units:
        if unit.layer == layer:
            return before
        if any(part in unit.kind for part in DRAWING):
            before = unit.layer
    return ""


def _never_updated(found: Examination, stale: Sequence[LayerExamination]) -> Why | None:
    """Tell updates that were dropped from a phase pinned in training, if nothing was updated."""
    if not all(state_of(found, layer).initial for layer in stale):
        return None
    batch, as_is = accuracy(found, BATCH_STATISTICS), accuracy(found, INFERENCE)
    exact = "The stale statistics still are exactly 0 and 1, though the network is trained: "
    if max(batch, accuracy(found, PRECISE_BN), accuracy(found, TRAINING)) >= as_is + POINTS:
        words = (
            f"{exact}its weights were trained with the statistics of the batch, with which it is "
            f"right in {batch:.1%} against {as_is:.1%}, but they are not stored. Either the "
            "training loop drops BatchNorm's updates (those of tf.GraphKeys.UPDATE_OPS not run, "
            "the new non-trainable variables of a stateless call not kept, a copy trained), or "
            "only the trainable weights were saved or loaded.",
            "What decides: whether moving_mean changes in a step of the training. Recompute them "
            "now, and keep the updates in the loop, and the statistics in the file.",
        )
        return Why("updates dropped", PRECISE_BN, words)
    words = (
        f"{exact}the training ran with the phase pinned to inference, and updated nothing.",
        "Pass training=True on where it trains, and train on.",
    )
    return Why("phase pinned", PRECISE_BN, words)


def _unscaled_among(found: Examination) -> Why | None:
    """Blame a few images that were not scaled in training, if they explain the first statistics."""
    first, share = found.layers[0], found.norms[0].unscaled
    if not share or way_gone(found, found.layers[:1]) is not None:
        return None
    words = (
        f"The statistics of {first.layer}, the first BatchNorm, are those of batches in which "
        f"about one image in {1 / share:.0f} was not scaled, 255 times as large as the others: "
        "that explains means and variances alike. These images are not like that.",
        "Look for such images where the training loads them (pixels above 1), scale them, then "
        "recompute the statistics, and train on.",
    )
    return Why("unscaled images in training", PRECISE_BN, words)


def _slow_momentum(
    found: Examination, stale: Sequence[LayerExamination], worst: LayerExamination
) -> Why | None:
    """Blame a momentum too slow for the steps that were made."""
    gone, early = way_gone(found, stale), _begun(found, worst)
    high = worst.momentum >= HIGHEST_MOMENTUM
    if not (high or early or (worst.momentum >= SLOW_MOMENTUM and gone is not None)):
        return None
    made = f", and {worst.updates_seen} were made" if worst.updates_seen else ""
    words = [
        f"Momentum {worst.momentum:g} halves the distance in {worst.half_life_steps:.3g} "
        f"steps{made}: too slow."
    ]
    if gone is not None:
        words.append(f"The statistics have gone {gone:.0%} of their way from 0 and 1.")
    if worst.momentum > USUAL_MOMENTUM:
        return Why("wrong momentum", "bn-momentum-0.5", tuple(words))
    lower = "lower the momentum, to 0.9 say, or " if worst.momentum > LOWER else ""
    words.append(
        f"Recompute them now. In the next training {lower}make more steps: some "
        f"{ARRIVED * worst.half_life_steps:.0f} at this one."
    )
    return Why("wrong momentum", PRECISE_BN, tuple(words))


def _begun(found: Examination, worst: LayerExamination) -> bool:
    """True where steps were made, but so few that the statistics still are of what was before."""
    steps = found.iterations or 0
    return 0 < steps < ARRIVED * worst.half_life_steps


def way_gone(found: Examination, stale: Sequence[LayerExamination]) -> float | None:
    """Tell how much of their way most stale statistics have gone; None if most are not on it.

    Where variances are small beside 1, a little that is left of it is what makes them stale.
    """
    states = [(layer.momentum, state_of(found, layer)) for layer in stale]
    on_it = [
        state.travelled
        for momentum, state in states
        if state.explained > EXPLAINED
        and in_step(state.travelled, momentum=momentum, iterations=found.iterations)
    ]
    return float(np.median(on_it)) if 2 * len(on_it) > len(stale) else None


def in_step(gone: float, *, momentum: float, iterations: int | None) -> bool:
    """True where what is left of 0 and 1 is what the momentum leaves after the steps made.

    Each step updates statistics once or, where a loss has several passes, a few times.
    """
    if not 0 < gone < 1 or not 0 < momentum < 1:
        return False
    updates = float(np.log1p(-gone) / np.log(momentum))
    return not iterations or FEWEST * iterations < updates < MOST * iterations


def state_of(found: Examination, layer: LayerExamination) -> NormState:
    """Find what else is known of a BatchNorm layer."""
    return found.norms[found.layers.index(layer)]


def _open_question(found: Examination, worst: LayerExamination) -> Why:
    """Say what may have made the statistics, and the experiment that decides."""
    steps = "an unknown number of" if found.iterations is None else str(found.iterations)
    lags = (
        [f"the weights moved on faster than momentum {worst.momentum:g} follows ({steps} steps)"]
        if worst.momentum > LOWER
        else []
    )
    small = found.batch_size <= 2 * SMALL_BATCH
    size = f"of {found.batch_size}" if small else "much smaller than those taken here"
    noisy = [f"the batches of the training were {size}, which have noisy statistics"]
    causes = (
        "they are of other data than these images (another dataset, scale or augmentation; or "
        "batches of two kinds in turn, such as clean and perturbed: each needs its own, dual-bn)",
        "the weights were replaced after the training, by averaged ones (EMA, SWA) or another "
        "file's, and the statistics were not; or they were set or loaded as something else (a "
        "deviation as a variance, in another framework's order)",
        *lags,
        *noisy,
    )
    words = (
        "Nothing keeps the statistics from being updated. These causes remain: "
        f"{'; '.join(causes)}.",
        "What decides: recompute them on images of the training, as training feeds them, and "
        "evaluate on these. If that mends it, they were of other weights; if only these images "
        "do, they are of other data (feed these as those).",
    )
    return Why("", PRECISE_BN, words)
