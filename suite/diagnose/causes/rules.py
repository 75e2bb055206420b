"""The rules that name what is wrong with a network from what was measured of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from suite.diagnose.causes.constant import (
    biased_head,
    constant_output,
    dead_outputs,
    permuted_labels,
    shuffled_labels,
)
from suite.diagnose.causes.diverged import diverged, exploded, wrong_input_scale
from suite.diagnose.causes.stale import (
    HIGHEST_MOMENTUM,
    LOWEST_MOMENTUM,
    STALE_KL,
    early,
    locked_statistics,
    never_trained,
    stale_statistics,
)
from suite.diagnose.causes.worth import best_probe, features_tell, gain, learned, worth_of
from suite.diagnose.found import CONSTANT, HEALTHY, OTHER, Finding

if TYPE_CHECKING:
    from suite.diagnose.found import Examination


def judge(found: Examination) -> Finding:
    """Name what is wrong: what the first rule that applies says, and what is said of everyone."""
    rules = (
        diverged,
        exploded,
        wrong_input_scale,
        early,
        stale_statistics,
        permuted_labels,
        locked_statistics,
        shuffled_labels,
        dead_outputs,
        biased_head,
        constant_output,
        _healthy,
        _unlearned,
    )
    finding = next(finding for finding in (rule(found) for rule in rules) if finding)
    return finding._replace(words=(*finding.words, *_always(found)))


def _always(found: Examination) -> list[str]:
    """Say what is said of every network."""
    told = found.inference.evaluation
    words = [
        f"On {found.images} images it is right in {told.accuracy:.1%} (the most frequent class: "
        f"{found.majority:.1%}) and gives {told.information_gain:.2f} of "
        f"{found.label_entropy:.2f} nats in the inference phase; it predicts "
        f"{told.classes_predicted} of {found.classes} classes."
    ]
    if not found.layers and not found.nonfinite:
        words.insert(0, "The network has no BatchNorm: BatchNorm is not your problem.")
    return words


def _healthy(found: Examination) -> Finding | None:
    """Say that a network that tells the classes is healthy."""
    if not learned(found):
        return None
    words = ["Healthy: no intervention makes it clearly better."]
    precise = found.precise
    if precise is not None:
        worst = max(found.layers, key=lambda layer: layer.symmetric_kl)
        words.append(
            "Recomputing BatchNorm's statistics gains nothing that matters: "
            f"{worth_of(found):.2f} to {gain(precise, found.label_entropy):.2f} nats. The largest "
            f"distance is that of {worst.layer}, {worst.symmetric_kl:.2g} nats."
        )
        if worst.symmetric_kl > STALE_KL:
            words.append("That is far, but does no harm here.")
    words += _warnings(found)
    return Finding(HEALTHY, "", "", "", tuple(words))


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
    return words


def _unlearned(found: Examination) -> Finding:
    """Say what is left: the network tells nothing, and no statistics are to blame."""
    constant = found.inference.evaluation.classes_predicted == 1
    untouched = never_trained(found)
    words = [
        "The network tells nothing of the labels, in either phase, and recomputing statistics, "
        "other input scales or other names of the classes do not mend it.",
        f"A linear head fitted anew on its features is right in {best_probe(found):.1%}: "
        + (
            "the head is not trained (enough)."
            if features_tell(found)
            else "the features tell nothing either."
        ),
    ]
    cause = "not trained" if untouched or features_tell(found) else "nothing learned"
    verdict = CONSTANT if constant and not untouched else OTHER
    return Finding(verdict, cause, "", "", tuple(words))
