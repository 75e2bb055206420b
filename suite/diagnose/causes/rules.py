"""The rules that name what is wrong with a network from what was measured of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from suite.diagnose.causes.alone import one_class, one_class_near
from suite.diagnose.causes.constant import (
    biased_head,
    constant_output,
    dead_outputs,
    faint_scales,
    missed_classes,
    missing_classes,
    named_classes,
    permuted_labels,
    shuffled_labels,
    unbalanced,
)
from suite.diagnose.causes.diverged import diverged, exploded
from suite.diagnose.causes.head import cannot_work, head_and_loss
from suite.diagnose.causes.left import as_made, healthy, improved, not_loaded, unlearned
from suite.diagnose.causes.scale import unscaled_images, wrong_input_scale
from suite.diagnose.causes.stale import (
    locked_statistics,
    no_single_statistics,
    phases_disagree,
    stale_statistics,
)
from suite.diagnose.causes.unsteady import hardly_unsteady, unsteady
from suite.diagnose.found import WEIGHT, Finding

if TYPE_CHECKING:
    from suite.diagnose.found import Examination


def judge(found: Examination) -> Finding:
    """Name what is wrong: what the first rule that applies says, and what is said of everyone."""
    rules = (
        diverged,
        unsteady,
        cannot_work,
        head_and_loss,
        exploded,
        unscaled_images,
        permuted_labels,
        wrong_input_scale,
        not_loaded,
        one_class_near,
        faint_scales,
        no_single_statistics,
        stale_statistics,
        locked_statistics,
        phases_disagree,
        one_class,
        unbalanced,
        as_made,
        shuffled_labels,
        dead_outputs,
        biased_head,
        constant_output,
        hardly_unsteady,
        missing_classes,
        improved,
        healthy,
        unlearned,
    )
    finding = next(finding for finding in (rule(found) for rule in rules) if finding)
    return finding._replace(words=(*finding.words, *_always(found)))


def _always(found: Examination) -> list[str]:
    """Say what is said of every network."""
    told, places = found.inference.evaluation, found.labels[0].size
    each = f", {places} positions of each," if places > 1 else ""
    words = [
        f"On {found.images} images{each} it is right in {told.accuracy:.1%} (the most frequent "
        f"class: {found.majority:.1%}) and gives {told.information_gain:.2f} of "
        f"{found.label_entropy:.2f} nats in the inference phase; it predicts "
        f"{told.classes_predicted} of {found.classes} classes."
    ]
    missed = missed_classes(found)
    if missed and found.inference.evaluation.classes_predicted > 1:
        words.append(f"{named_classes(missed)} never predicted rightly.")
    if not found.layers and not (found.broken and found.broken.what == WEIGHT):
        words.insert(0, "The network has no BatchNorm: BatchNorm is not your problem.")
    return words
