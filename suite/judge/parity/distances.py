"""How far two traces lie apart at each place, and how far honest releases may."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from suite.judge.parity.implied import Place, Trace

ROUNDING = 2.4e-7  # relative to a weight; two roundings of float32, each by half of 1.2e-7 at most
LOOSE = 0.01  # relative; a loss behind statistics updated twice differs by less than 4e-4
FINITE = float("inf")  # the tolerance of what need only be a number


class Tolerance(NamedTuple):
    """How far a quantity of two honest releases may lie apart.

    Attributes:
        first: At step 0, where only the rounding of the kernels differs.
        later: At later steps, where training has amplified that.
        drifted: At later steps that read moving statistics which legitimately differ a little.
    """

    first: float
    later: float
    drifted: float


EXACT = Tolerance(0, 0, 0)
VALUES = Tolerance(2e-5, 1e-3, 5e-3)  # seen: 3.2e-6; 2.1e-4; 2.1e-4
TOLERANCES: Mapping[str, Tolerance] = {
    "initial weight": EXACT,
    "batch": EXACT,
    "batch mean": VALUES,
    "batch variance": VALUES,
    "mean distance": VALUES,
    "variance distance": VALUES,
    "inference logits": VALUES,
    "perturbation": Tolerance(2e-3, 1e-2, 2e-2),  # seen: 0; 9.8e-4; 8.2e-4
    "change of statistics": Tolerance(2e-4, 1e-3, 5e-3),  # seen: 1.3e-5; 1.8e-5; 1.7e-4
    "clean_ce": VALUES,
    "adversarial_ce": Tolerance(1e-4, 1e-3, 5e-3),  # seen: 2.4e-6; 8.8e-7; 1.5e-5
    "loss": Tolerance(1e-4, 1e-3, 5e-3),  # seen: 1.2e-6; 4.4e-7; 8.7e-6
    "gradient": Tolerance(5e-3, 0.1, 0.2),  # seen: 4.9e-4; 0.019; 0.05
    "change of weights": Tolerance(5e-3, 0.1, 0.2),  # seen: 1.2e-3; 0.014; 0.04
}
"""Relative to the reference's root mean square; for the perturbation a fraction of the pixels.

Seen are the largest distances of tf-1.14, tf-2.15, keras3-torch and one thread from tf-2.21.
Gradients are not continuous: where rounding takes one unit of the last stage across 0 for one of
32 images, its layer's gradient changes by some hundredths.
"""


class Distance(NamedTuple):
    """How far two releases lie apart at one place, and how far they may."""

    place: Place
    value: float
    tolerance: float

    @property
    def diverges(self) -> bool:
        """Whether the distance is more than the tolerance; NaN is."""
        return not self.value <= self.tolerance


def distances(
    mine: Trace, theirs: Trace, *, drifted: bool, twice: bool, broken: int | None
) -> Iterator[Distance]:
    """Yield how far the two traces lie apart, in the order of `theirs`.

    Args:
        mine: The trace that is compared.
        theirs: The reference's.
        drifted: Whether the passes read moving statistics that are known to differ slightly.
        twice: Whether one of the two is known to update these twice a step.
        broken: The step at which they are known to turn into NaN, if they are; nothing that has
            seen them since is compared.
    """
    for place, entry in theirs.items():
        if tolerance_name(place) in TOLERANCES and not (
            broken is not None and _has_seen(broken, place)
        ):
            tolerance = _allowed(place, drifted=drifted, twice=twice)
            yield Distance(place, distance(place, mine[place], entry, theirs), tolerance)


def _allowed(place: Place, *, drifted: bool, twice: bool) -> float:
    """Return how far two honest releases may lie apart at `place`."""
    name = tolerance_name(place)
    if twice and _has_seen(0, place):
        return LOOSE if name in LOSSES else FINITE
    allowed = TOLERANCES[name]
    if place.step == 0:
        return allowed.first
    return allowed.drifted if drifted else allowed.later


def _has_seen(parted: int, place: Place) -> bool:
    """Return whether the quantity at `place` depends on the moving statistics after `parted`."""
    name = tolerance_name(place)
    later = place.step > parted or (place.step == parted and name in AFTER)
    return later and name not in UNTOUCHED


def tolerance_name(place: Place) -> str:
    """Return the key of `TOLERANCES` for a place."""
    if place.quantity == "change":
        return f"change of {'statistics' if place.weight.startswith('moving') else 'weights'}"
    return place.quantity


LOSSES = ("clean_ce", "adversarial_ce", "loss")
"""What a second update of the statistics hardly changes."""

UNTOUCHED = ("batch", "initial weight")
"""What no earlier step has a part in."""

AFTER = ("change of statistics", "adversarial_ce", "loss", "gradient", "change of weights")
"""What a step does after its clean pass has moved the statistics."""


def distance(
    place: Place, mine: Mapping[str, Any], theirs: Mapping[str, Any], reference: Trace
) -> float:
    """Return the distance of two entries; two that are not a number at once do not differ."""
    if "projections" in theirs:
        value = _relative(norm_of_difference(mine, theirs), _scale(place, reference))
        if tolerance_name(place) == "change of weights":
            return value - min(value, rounding(place, reference))
        return value
    if "value" in theirs:
        return _relative(
            float(absolute_difference(mine["value"], theirs["value"])), abs(theirs["value"])
        )
    if "signs" in theirs:
        return flipped(mine["signs"], theirs["signs"])
    return float(mine["digest"] != theirs["digest"])


def norm_of_difference(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> float:
    """Return the root mean square of the difference of two arrays, as their summaries tell it."""
    here, there = (
        np.array([entry.get("rms", theirs["rms"]), *entry["projections"]])
        for entry in (mine, theirs)
    )
    apart = absolute_difference(here, there)
    return float(np.maximum(apart[0], np.sqrt(np.mean(apart[1:] ** 2))))  # of NaN and 0, NaN


def absolute_difference(here: np.ndarray | float, there: np.ndarray | float) -> np.ndarray:
    """Return the absolute difference; 0 where both are not a number, NaN where one is."""
    same = np.equal(here, there) | (np.isnan(here) & np.isnan(there))
    with np.errstate(invalid="ignore"):  # of two infinities
        return np.where(same, 0.0, np.abs(np.subtract(here, there)))


def _scale(place: Place, reference: Trace) -> float:
    """Return what the difference at `place` is relative to.

    A mean's is the standard deviation; a gradient's or weight's the largest of its layer, since
    a bias in front of BatchNorm has none but rounding.
    """
    if place.quantity in ("batch mean", "mean distance"):
        return float(np.sqrt(reference[place._replace(quantity="batch variance")]["rms"]))
    if place.quantity == "variance distance":
        return float(reference[place._replace(quantity="batch variance")]["rms"])
    if tolerance_name(place) in ("gradient", "change of weights"):
        layer = (
            entry["rms"]
            for other, entry in reference.items()
            if other[:3] == place[:3] and not other.weight.startswith("moving")
        )
        return float(max(layer))
    return float(reference[place]["rms"])


def rounding(place: Place, reference: Trace) -> float:
    """Return how much of a layer's change is the rounding of the weights that it is added to.

    A scale of 1 that moves by 4e-6 a step is known to float32 to some hundredths of its change.
    """
    weights = max(
        entry["rms"]
        for other, entry in reference.items()
        if (other.layer, other.quantity) == (place.layer, "initial weight")
        and not other.weight.startswith("moving")
    )
    return _relative(ROUNDING * float(weights), _scale(place, reference))


def _relative(difference: float, scale: float) -> float:
    """Return `difference` in units of `scale`; 0 if there is none, whatever the scale."""
    if difference == 0:
        return 0.0
    return difference / scale if scale else float("inf")


def flipped(mine: str, theirs: str) -> float:
    """Return the fraction of the pixels that rose in one trace alone."""
    first, second = (np.frombuffer(base64.b64decode(text), np.uint8) for text in (mine, theirs))
    if len(first) != len(second):
        return 1.0
    return float(np.unpackbits(first ^ second).mean())
