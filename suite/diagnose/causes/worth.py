"""What an intervention is worth: gains in nats and their significance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binom
from scipy.stats import t as student

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from suite.diagnose.found import Examination

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

FAR_KL = 3.0
"""The same that no healthy network comes near, whatever its images."""

FAR_LOG, HARMLESS = 3.0, 0.05
"""Log variance ratio, the channels' mean, that speaks for itself (a factor of 20), and the nats
that an intervention may then cost."""

RECOVERED = 0.8
"""Share of what all recomputed statistics gain at which a part of them explains it."""


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


def mends_broken(found: Examination, scores: NDArray[np.float64]) -> bool:
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
    return worth > max(LEARNED, worth_of(found) - HARMLESS)


def as_good(scores: NDArray[np.float64], other: NDArray[np.float64] | None, entropy: float) -> bool:
    """Return whether an intervention gains about what recomputed statistics do, or more."""
    return other is None or gain(scores, entropy) > RECOVERED * gain(other, entropy)


def share_of_gain(found: Examination, name: str) -> float:
    """Return the share of what all recomputed statistics gain that a part of them gains."""
    scores = found.scores
    if name not in scores:
        return 0.0
    whole = scores["precise-bn"].mean() - scores["inference"].mean()
    return float((scores[name].mean() - scores["inference"].mean()) / max(whole, 1e-9))


def learned(found: Examination) -> bool:
    """Return whether the network tells the classes better than chance."""
    told = found.evaluations["inference"].accuracy
    hits = round(told * found.images)
    by_chance = float(binom.sf(hits - 1, found.images, found.majority))
    return by_chance < SIGNIFICANT or worth_of(found) > LEARNED


def worth_of(found: Examination) -> float:
    """Return the bounded information gain in the inference phase, nats."""
    return gain(found.scores["inference"], found.label_entropy)


def feature_probe(found: Examination, which: str) -> float:
    """Return the best accuracy of a linear head on the network's features."""
    names = (f"features{which}", f"trunk{which}")
    return max((found.probes[name].accuracy for name in names if name in found.probes), default=0.0)


def best_probe(found: Examination) -> float:
    """Return the best accuracy of a linear head on any features."""
    return max(feature_probe(found, ""), feature_probe(found, " (precise-bn)"))


def features_tell(found: Examination) -> bool:
    """Return whether the features tell the labels."""
    return any(
        entry.p_value < SIGNIFICANT for name, entry in found.probes.items() if name != "pixels"
    )


def last_kernel(found: Examination) -> str:
    """Return the last layer with a kernel."""
    kernels = [entry for entry in found.weights if entry.kind != "BatchNormalization"]
    return kernels[-1].layer if kernels else ""
