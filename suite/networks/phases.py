"""The phases that a step's passes run in: two published policies, and the grid behind the fixes."""

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
    """The phase of each pass of the adversarial loss: ``"training"`` or ``"inference"``.

    The adversarial pass may also be a row of `ADVERSARIAL` for which Keras has no phase.
    """

    clean: str
    attack: str
    adversarial: str


class Normalisation(NamedTuple):
    """What BatchNorm does with the perturbed images.

    Attributes:
        by: The statistics that normalise them: those of their own batch, those of the clean
            batch at each layer (held constant), or the moving ones.
        updates: True where the moving statistics take a step towards the perturbed batch's.
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
"""What the adversarial pass can be; the first and the last are Keras' own two phases."""

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
"""The grid: the adversarial pass normalised in each of the three ways, with and without updates."""
