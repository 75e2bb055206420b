"""What a trial is worth: gains in nats and their significance, and what probes and weights tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binom
from scipy.stats import t as student

from suite.diagnose.trials import PIXELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from suite.diagnose.found import Examination, LayerExamination, Weights
    from suite.diagnose.trials import Probe, Trial

LOST = 0.2
"""Nats an image that a trial must gain to mend a cause."""

LOST_SHARE = 0.25
"""The same, as a share of what the network gives then: other test images cost less."""

LOST_FAR = 0.05
"""Nats an image that statistics must cost which are more than `FAR_KL` off."""

SIGNIFICANT = 1e-3
"""p-value of a test on the same images with and without a change; several changes are tried."""

POINTS = 0.05
"""Accuracy that a trial must gain to matter."""

GOOD = 0.95
"""Accuracy from which no trial can gain `POINTS`."""

LEARNED = 0.1
"""Nats of information from which a network tells anything."""

SURE = 0.75
"""Share of the labels' entropy from which a network cannot lose `LOST_SHARE`."""

FAR_KL = 3.0
"""Symmetric divergence, nats a channel, that no healthy network comes near, whatever its images."""

FAR_LOG, HARMLESS = 3.0, 0.05
"""Log variance ratio, the channels' mean, that speaks for itself (a factor of 20), and the nats
that a trial may cost then."""

RECOVERED = 0.8
"""Share of what all recomputed statistics gain at which a part of them explains it."""


def gain(trial: Trial, entropy: float) -> float:
    """Compute the information gain of a trial's bounded scores, nats."""
    return float(trial.scores.mean()) + entropy


def worth_of(found: Examination) -> float:
    """Compute the bounded information gain in the inference phase, nats."""
    return gain(found.inference, found.label_entropy)


def accuracy(found: Examination, kind: str) -> float:
    """Tell the accuracy of a kind of trial; that of the inference phase where it was not made."""
    return (found.tried(kind) or found.inference).evaluation.accuracy


def learned(found: Examination, trial: Trial | None = None) -> bool:
    """True where the network, as it is or in a trial, tells the classes better than chance."""
    told = trial or found.inference
    hits = round(told.evaluation.accuracy * found.images)
    by_chance = float(binom.sf(hits - 1, found.images, found.majority))
    return by_chance < SIGNIFICANT or gain(told, found.label_entropy) > LEARNED


def suspicious(trials: Sequence[Trial], entropy: float, layers: Sequence[LayerExamination]) -> bool:
    """True where more trials could find what mends the network, so that they are worth their time.

    That is so of all but networks that are right almost everywhere, as sure of it as can be, and
    with statistics that fit.
    """
    before, worst_kl = trials[0], max((layer.symmetric_kl for layer in layers), default=0.0)
    told = before.evaluation
    well = told.information_gain >= SURE * entropy and told.accuracy >= GOOD
    return not well or worst_kl > FAR_KL


def points(before: Trial, after: Trial) -> float:
    """Compute how much more accurate a trial is, of 0.93 and 0.98 exactly 0.05."""
    return round(after.evaluation.accuracy - before.evaluation.accuracy, 9)


def more_right(before: Trial | Probe, after: Trial | Probe, *, times: int = 1) -> float:
    """Compute the one-sided p-value of McNemar's exact test: images put right beside those lost.

    Where an image has several labels, it counts once, by the more of them that are right. With
    `times` it is the p-value if so many times as many images did the same.
    """
    images = len(before.hits)
    change = after.hits.reshape(images, -1).mean(axis=1) - before.hits.reshape(images, -1).mean(
        axis=1
    )
    gained, lost = times * int(np.sum(change > 0)), times * int(np.sum(change < 0))
    return float(binom.sf(gained - 1, gained + lost, 0.5))


def improves(before: Trial, after: Trial) -> bool:
    """True where a trial makes the network right in clearly and significantly more images."""
    return points(before, after) >= POINTS and more_right(before, after) < SIGNIFICANT


def mends(before: Trial, after: Trial, entropy: float, *, far: bool = False) -> bool:
    """True where a trial gains clearly and significantly: images put right, or nats.

    Fewer nats will do where statistics are so `far` off as those of no healthy network are.
    """
    if improves(before, after):
        return True
    gained = float(after.scores.mean() - before.scores.mean())
    worth = gain(after, entropy)
    enough = LOST_FAR if far else max(LOST, LOST_SHARE * worth)
    if worth < LEARNED or gained < enough or points(before, after) <= -POINTS:
        return False
    return _p_value(after.scores - before.scores) < SIGNIFICANT


def _p_value(differences: NDArray[np.float64]) -> float:
    """Compute the one-sided p-value of Student's test; scores are bounded, so means behave."""
    error = float(differences.std(ddof=1)) / np.sqrt(len(differences))
    if error == 0:
        return float(differences.mean() <= 0)
    return float(student.sf(differences.mean() / error, len(differences) - 1))


def mends_broken(found: Examination, trial: Trial) -> bool:
    """True where a trial mends the network, or does no harm to one that is clearly broken.

    Statistics that are so far off as those of no healthy network are clearly broken, unless the
    weights were trained with them as they are: then recomputing them would do harm.
    """
    entropy = found.label_entropy
    far = max((state.typical_kl for state in found.norms), default=0.0) > FAR_KL
    if mends(found.inference, trial, entropy, far=far):
        return True
    return far_off(found) and gain(trial, entropy) > worth_of(found) - HARMLESS


def far_off(found: Examination) -> bool:
    """True where all channels of a layer are off, and the network does not rely on it."""
    precise = found.precise
    if precise is None or max(abs(layer.log_variance_ratio) for layer in found.layers) < FAR_LOG:
        return False
    return gain(precise, found.label_entropy) > max(LEARNED, worth_of(found) - HARMLESS)


def as_good(found: Examination, trial: Trial) -> bool:
    """True where a trial gains about what recomputed statistics do, or more."""
    entropy, precise = found.label_entropy, found.precise
    return precise is None or gain(trial, entropy) > RECOVERED * gain(precise, entropy)


def share_of_gain(found: Examination, kind: str, *, layer: str = "") -> float:
    """Compute the share of what all recomputed statistics gain that a part of them gains."""
    part, precise = found.tried(kind, layer=layer), found.precise
    if part is None or precise is None:
        return 0.0
    before = found.inference.scores.mean()
    whole = precise.scores.mean() - before
    return float((part.scores.mean() - before) / max(whole, 1e-9))


def feature_probes(found: Examination, *, scaled: bool = False) -> list[Probe]:
    """List the linear heads on the network's features, the images as fed or else `scaled`."""
    return [
        probe
        for probe in found.probes
        if probe.source != PIXELS and (probe.scale is not None) == scaled
    ]


def best_head(found: Examination, *, scaled: bool = False) -> Probe | None:
    """Pick the best linear head on the network's features, statistics recomputed or not."""
    read = feature_probes(found, scaled=scaled)
    return max(read, key=lambda probe: probe.accuracy, default=None)


def feature_probe(found: Examination, *, precise: bool = False, scaled: bool = False) -> float:
    """Pick the best accuracy of a linear head on the network's features."""
    read = feature_probes(found, scaled=scaled)
    return max((probe.accuracy for probe in read if probe.precise == precise), default=0.0)


def best_probe(found: Examination) -> float:
    """Pick the best accuracy of a linear head on any features."""
    best = best_head(found)
    return best.accuracy if best else 0.0


def best_linear(found: Examination) -> Probe | None:
    """Pick the best linear model, on pixels or any features."""
    return max(found.probes, key=lambda probe: probe.accuracy, default=None)


def best_model(found: Examination) -> float:
    """Pick the best accuracy of a linear model, on pixels or any features."""
    best = best_linear(found)
    return best.accuracy if best else 0.0


def reaches(found: Examination, trial: Trial) -> bool:
    """True where a trial is right in about what a linear head tells from features or pixels.

    Of a network that has hardly learned, whatever changes the outputs changes the accuracy a
    little: only what brings it to what it could know tells what is wrong.
    """
    return trial.evaluation.accuracy >= RECOVERED * best_model(found)


def features_tell(found: Examination) -> bool:
    """True where a linear head tells the labels from what the network makes of the images."""
    return any(probe.p_value < SIGNIFICANT for probe in feature_probes(found))


def kernels(found: Examination) -> list[Weights]:
    """List the kernels in order of execution: all weights but BatchNorm's scales."""
    return [entry for entry in found.weights if entry.kernel]


def last_kernel(found: Examination) -> str:
    """Name the last layer with a kernel; "" if there is none."""
    return next((entry.layer for entry in reversed(kernels(found))), "")
