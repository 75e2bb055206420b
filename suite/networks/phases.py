"""The phases a step's passes run in: the two published policies, and the grid behind the fixes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

INFERENCE = "inference"
TRAINING = "training"
OWN_KEPT = "own-kept"
CLEAN_KEPT = "clean-kept"
CLEAN_UPDATING = "clean-updating"
MOVING_UPDATING = "moving-updating"


class Phases(NamedTuple):
    """The phase each pass of the adversarial loss runs in: ``"training"`` or ``"inference"``.

    The adversarial pass may also be a point of `ADVERSARIAL` that no phase of Keras is.
    """

    clean: str
    attack: str
    adversarial: str


class Normalisation(NamedTuple):
    """What BatchNorm does with the perturbed images.

    Attributes:
        by: Whose statistics normalise them: their own batch's, those that the clean batch had at
            each layer (held constant), or the moving ones.
        updates: Whether the moving statistics take a step towards those of the perturbed batch.
    """

    by: str
    updates: bool


OWN, CLEAN, MOVING = "own batch", "clean batch", "moving statistics"
ADVERSARIAL: Mapping[str, Normalisation] = MappingProxyType(
    {
        TRAINING: Normalisation(OWN, updates=True),
        OWN_KEPT: Normalisation(OWN, updates=False),
        CLEAN_UPDATING: Normalisation(CLEAN, updates=True),
        CLEAN_KEPT: Normalisation(CLEAN, updates=False),
        MOVING_UPDATING: Normalisation(MOVING, updates=True),
        INFERENCE: Normalisation(MOVING, updates=False),
    }
)
"""What the adversarial pass can be; Keras' own two phases are the first and the last."""

PHASES: Mapping[str, Phases] = MappingProxyType(
    {
        "literal": Phases(INFERENCE, INFERENCE, INFERENCE),
        "intended": Phases(TRAINING, INFERENCE, INFERENCE),
    }
)
"""The policies: what the published code did on TensorFlow 1.14, and what its text describes."""

GRID: Mapping[str, Phases] = MappingProxyType(
    {
        "own-updating": Phases(TRAINING, INFERENCE, TRAINING),
        OWN_KEPT: Phases(TRAINING, INFERENCE, OWN_KEPT),
        CLEAN_UPDATING: Phases(TRAINING, INFERENCE, CLEAN_UPDATING),
        CLEAN_KEPT: Phases(TRAINING, INFERENCE, CLEAN_KEPT),
        MOVING_UPDATING: Phases(TRAINING, INFERENCE, MOVING_UPDATING),
        "moving-kept": PHASES["intended"],
    }
)
"""The grid: the adversarial branch normalised by each of three, with and without updates."""
