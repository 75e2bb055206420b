"""Rules for a last layer and a loss that do not belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from suite.diagnose.causes.worth import best_linear, best_model, learned
from suite.diagnose.found import OTHER, Finding
from suite.diagnose.trials import CENTRED, RENAMED

if TYPE_CHECKING:
    from suite.diagnose.found import Examination, HeadLoss

OVER_CLASSES = frozenset(
    {
        "categorical_crossentropy",
        "categorical_focal_crossentropy",
        "kl_divergence",
        "sparse_categorical_crossentropy",
    }
)
"""Losses that compare the probabilities of all classes: they must add up to 1."""

OVER_EACH = frozenset({"binary_crossentropy", "binary_focal_crossentropy"})
"""Losses that compare each output for itself."""

ONE_HOT = ("categorical_crossentropy", "categorical_focal_crossentropy", "kl_divergence")
"""Losses that want a row of probabilities for a label."""

PROBABILITIES = ("hard_sigmoid", "sigmoid", "softmax")
CUT = ("hard_tanh", "relu", "relu6", "softplus", "softsign", "tanh")
"""Activations that put out probabilities, and that cut logits off."""

BEHIND, DEVIATIONS = 0.1, 3.0
"""Accuracy by which a network stays behind a linear model that does not do well, and standard
deviations of the difference by which it must."""

ONE_UNIT = "softmax over one unit"
ONE_OVER_CLASSES = "one unit with a loss over classes"
NOT_PROBABILITIES = "loss of probabilities on outputs that are none"
NEITHER = "outputs that are neither probabilities nor logits"
TWICE = "activation before a loss that applies its own"
CUT_OFF = "logits cut off before the loss"
NOT_ONE_SUM = "sigmoid with a loss over classes"
EACH_CLASS = "softmax with a loss for each output"


class Mismatch(NamedTuple):
    """Why a head and a loss do not belong together.

    Attributes:
        cause: Its short name.
        words: What happens, and what to do.
        fatal: Whether such a network cannot work at all.
        mostly: Whether it mostly works.
    """

    cause: str
    words: str
    fatal: bool = False
    mostly: bool = False


def head_and_loss(found: Examination) -> Finding | None:
    """Name a head and a loss that do not belong together, where the network does not do well."""
    wrong = mismatch(found.head) if found.head else None
    if wrong is None or wrong.mostly or not _does_badly(found):
        return None
    layer = found.head.layer if found.head else ""
    return Finding(OTHER, wrong.cause, layer, "", (wrong.words, _evidence(found)))


def cannot_work(found: Examination) -> Finding | None:
    """Name a head that cannot work whatever is trained: its output never changes."""
    wrong = mismatch(found.head) if found.head else None
    if wrong is None or not wrong.fatal or learned(found):
        return None
    layer = found.head.layer if found.head else ""
    return Finding(OTHER, wrong.cause, layer, "", (wrong.words, _evidence(found)))


def head_notes(found: Examination) -> list[str]:
    """Say of a network that works what of its head and loss is odd all the same."""
    wrong = mismatch(found.head) if found.head else None
    return (
        []
        if wrong is None
        else [f"Note on head and loss, which does little harm here: {wrong.words}"]
    )


def _best(found: Examination) -> float:
    """Pick the best accuracy of the network, whatever was changed but the reading."""
    tried = (trial for trial in found.trials if trial.kind not in (RENAMED, CENTRED))
    return max(trial.evaluation.accuracy for trial in tried)


def _does_badly(found: Examination) -> bool:
    """True where the network tells nothing, or clearly less than a linear model."""
    best = _best(found)
    behind = best_model(found) - best > max(BEHIND, DEVIATIONS / float(np.sqrt(2 * found.images)))
    return behind or best < found.majority + BEHIND


def _evidence(found: Examination) -> str:
    """Say how badly the network does, and what can be told all the same."""
    told = found.inference.evaluation
    linear = best_linear(found)
    says = f"It is right in {told.accuracy:.1%} and predicts {told.classes_predicted} class"
    says += "" if told.classes_predicted == 1 else "es"
    if linear is None or linear.accuracy <= told.accuracy:
        return f"{says}."
    return f"{says}; a linear model on its {linear.source} is right in {linear.accuracy:.1%}."


def tells_nats(found: Examination) -> bool:
    """True where nats say how good the outputs are: not where another loss set their scale."""
    head = found.head
    if head is None or not head.loss:
        return True
    return head.loss in OVER_CLASSES | OVER_EACH and mismatch(head) is None


def mismatch(head: HeadLoss) -> Mismatch | None:
    """Tell whether a last layer and a loss belong together; nothing is said of unknown ones."""
    tests = (_one_unit, _not_probabilities, _twice, _cut_off, _not_one_sum, _each_class)
    return next((wrong for wrong in (test(head) for test in tests) if wrong), None)


def _of(head: HeadLoss) -> str:
    """Name the layer and its activation."""
    name = head.layer or "The output"
    return f"{name} ({head.units} unit{'' if head.units == 1 else 's'}, {head.activation})"


def _one_unit(head: HeadLoss) -> Mismatch | None:
    """Tell of one unit that is to give the probabilities of all classes."""
    if head.units != 1:
        return None
    if head.activation == "softmax":
        words = (
            f"{_of(head)}: a softmax over one unit is 1 whatever the image, and its gradient is 0. "
            'For two classes take Dense(1, activation="sigmoid") with binary_crossentropy; else '
            'one unit a class, Dense(classes, activation="softmax"), with '
            "sparse_categorical_crossentropy."
        )
        return Mismatch(ONE_UNIT, words, fatal=True)
    if head.loss in OVER_CLASSES:
        words = (
            f"{_of(head)} with {head.loss}: that loss compares the classes' probabilities with one "
            "another, and of one unit there is nothing to compare. Take binary_crossentropy, or "
            "one unit a class."
        )
        return Mismatch(ONE_OVER_CLASSES, words, fatal=True)
    return None


def _not_probabilities(head: HeadLoss) -> Mismatch | None:
    """Tell of outputs that are no probabilities though the loss expects them."""
    known = head.activation and head.loss in OVER_CLASSES | OVER_EACH
    if not known or head.from_logits or head.activation in PROBABILITIES:
        return None
    linear = head.activation == "linear"
    words = (
        f"{_of(head)} with {head.loss} from probabilities (from_logits=False): outputs below 0 and "
        "above 1 are cut off there, and have no gradient. "
        + ("Compile with from_logits=True." if linear else "Make it a softmax.")
    )
    return Mismatch(NOT_PROBABILITIES if linear else NEITHER, words)


def _twice(head: HeadLoss) -> Mismatch | None:
    """Tell of probabilities that the loss takes for logits."""
    if not (head.from_logits and head.activation in PROBABILITIES):
        return None
    words = (
        f"{_of(head)} with {head.loss} from logits (from_logits=True): the loss applies its own "
        f"{'softmax' if head.loss in OVER_CLASSES else 'sigmoid'} to probabilities, which makes "
        "all of them alike and the gradient small. Compile with from_logits=False, or make the "
        "last layer linear."
    )
    if head.unwound:
        words += (
            " On TensorFlow Keras finds the numbers before the activation and warns; JAX and "
            "PyTorch do not."
        )
    return Mismatch(TWICE, words, mostly=head.unwound)


def _cut_off(head: HeadLoss) -> Mismatch | None:
    """Tell of logits that an activation cuts off."""
    if not (head.from_logits and head.activation in CUT):
        return None
    words = (
        f"{_of(head)} with {head.loss} from logits: {head.activation} cuts the logits off, so that "
        "no class can become improbable, and outputs that it holds have no gradient. Make the last "
        "layer linear."
    )
    return Mismatch(CUT_OFF, words)


def _not_one_sum(head: HeadLoss) -> Mismatch | None:
    """Tell of probabilities that do not add up to 1 though the loss compares classes."""
    if head.activation not in ("sigmoid", "hard_sigmoid") or head.loss not in OVER_CLASSES:
        return None
    words = (
        f"{_of(head)} with {head.loss}: that loss expects probabilities that add up to 1, and "
        "drives sigmoids into saturation. Take softmax with it, or binary_crossentropy with "
        "one-hot labels."
    )
    return Mismatch(NOT_ONE_SUM, words)


def _each_class(head: HeadLoss) -> Mismatch | None:
    """Tell of a softmax whose outputs are judged one by one: it mostly works."""
    if head.activation != "softmax" or head.loss not in OVER_EACH:
        return None
    words = (
        f"{_of(head)} with {head.loss} judges each class for itself: it mostly works, with one-hot "
        "labels only, and the accuracy that it reports may be that of single outputs. "
        "categorical_crossentropy is what a softmax belongs to."
    )
    return Mismatch(EACH_CLASS, words, mostly=True)


def label_question(found: Examination) -> list[str]:
    """Ask what labels were given to a loss that takes one-hot ones: others it may take silently."""
    head = found.head
    if head is None or head.loss not in ONE_HOT:
        return []
    return [
        f"{head.loss} takes one-hot labels: were class numbers given to fit, the loss must be "
        "sparse_categorical_crossentropy (Keras 2 spreads them over the classes without a word)."
    ]
