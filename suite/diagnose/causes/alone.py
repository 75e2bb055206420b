"""Rules for samples of one class alone, of which hardly anything can be said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from suite.diagnose.causes.worth import FAR_KL
from suite.diagnose.found import UNDECIDED, Finding
from suite.diagnose.trials import PRECISE_BN
from suite.networks.phases import TRAINING

if TYPE_CHECKING:
    from suite.diagnose.found import Examination

CONDITIONS = {TRAINING: "in the training phase", PRECISE_BN: "with recomputed statistics"}
"""What is told besides the inference phase, where it was tried."""


def one_class_near(found: Examination) -> Finding | None:
    """Say that one class alone tells nothing of statistics, unless they are off for any class."""
    far = max((state.typical_kl for state in found.norms), default=0.0) > FAR_KL
    return None if far else one_class(found)


def one_class(found: Examination) -> Finding | None:
    """Say that one class alone tells nothing of how classes are told apart."""
    if found.majority < 1:
        return None
    others = [
        f"{trial.evaluation.accuracy:.1%} {words}"
        for trial, words in ((found.tried(kind), words) for kind, words in CONDITIONS.items())
        if trial is not None
    ]
    words = [
        f"All {found.images} labels are {found.labels.flat[0]}: of one class alone it cannot be "
        "told whether the network tells classes apart, nor what mends it. It is right in "
        f"{found.inference.evaluation.accuracy:.1%} of them"
        + (f" ({', '.join(others)})." if others else "."),
        "Nothing that one class shows was found: all numbers are finite, and no weights stand out. "
        "Give images of several classes; if these came first of data sorted by class, shuffle "
        "them before.",
    ]
    if found.layers:
        words.append(
            "A batch of one class has other statistics than one of all: that moving statistics do "
            "not fit these images is no finding."
        )
    return Finding(UNDECIDED, "one class alone", "", "", tuple(words))
