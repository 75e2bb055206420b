"""Distances: how far two traces lie apart at each place, and how far honest releases may."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from suite.judge.parity.implied import Place, Trace, remembered

ROUNDING = 2.4e-7  # of a weight: two roundings of float32, each by at most half of 1.2e-7
LOOSE = 0.01  # relative; losses of step 0 behind statistics that are elsewhere; seen: 3.2e-3
LATER = 0.03  # the same of later steps; seen: 0.013
FINITE = float("inf")  # the tolerance where any number is allowed, but not NaN

LOSSES = ("clean_ce", "adversarial_ce", "loss")
"""Quantities that a second update of the statistics hardly changes."""

UNTOUCHED = ("data", "batch", "schedule", "initial weight")
"""Quantities that no earlier step changes."""

AFTER = ("change of statistics", "adversarial_ce", "loss", "gradient", "change of weights")
"""Quantities of a step from the moment on at which its clean pass has moved the statistics."""


class Tolerance(NamedTuple):
    """How far a quantity of two honest releases may lie apart.

    Attributes:
        first: At step 0, where only the rounding of the kernels differs.
        later: At later steps, where training has amplified that rounding: they are there to tell
            the momentum, which `suite.judge.parity.implied.descent` reads off them.
        drifted: At step 0, behind moving statistics that are known to differ slightly.
        attacked: At step 0, behind an attack: where a gradient is about 0, rounding decides which
            way a pixel goes.
        amplified: At later steps, behind an attack, where training amplifies what rounding turned
            round; 1 is as far apart as from nothing at all.
        turned: At step 0 without and with an attack, where the steps from all other states agree
            (`suite.judge.parity.compare.compare_states`); None where that excuses nothing.
    """

    first: float
    later: float
    drifted: float = float("nan")
    attacked: float | None = None
    amplified: float | None = None
    turned: tuple[float, float] | None = None


EXACT = Tolerance(0, 0)
VALUES = Tolerance(2e-5, 0.02)  # seen: 3.2e-6; 6e-3
SLOPES = Tolerance(5e-3, 0.5, 0.5, 0.1, 1.0, (0.1, 0.2))
"""Of gradients and changes of weights; seen: 4.4e-3; 0.29; 0.13; 0.058; 0.505; (0.034, 0.13)."""

TOLERANCES: Mapping[str, Tolerance] = {
    "data": EXACT,
    "initial weight": EXACT,
    "batch": EXACT,
    "schedule": EXACT,
    "batch mean": VALUES,
    "batch variance": VALUES,
    "mean distance": VALUES,
    "variance distance": VALUES,
    "inference logits": VALUES,
    "perturbation": Tolerance(5e-3, 0.02),  # seen: 1.3e-3; none
    "change of statistics": Tolerance(1e-3, 0.02, 1e-3),  # seen: 2.3e-4; 9.3e-4; 1.0e-4
    "clean_ce": VALUES,
    "adversarial_ce": Tolerance(1e-3, 0.01, 2e-3, None, LATER),  # seen: 2.8e-4; .; 4.2e-4; .; 0.015
    "loss": Tolerance(5e-4, 0.01, 1e-3, None, LATER),  # seen: 1.4e-4; .; 2.3e-4; .; 0.0075
    "gradient": SLOPES,
    "change of weights": SLOPES,
}
"""Relative to the root mean square of the reference; for the perturbation a share of the pixels.

The comments give the largest distances seen between tf-2.21 and tf-1.14, tf-2.15, keras3-jax,
keras3-torch or one thread. Gradients are not continuous: where rounding moves one unit of the last
stage across 0 for one of 32 images, the gradient of its layer changes by some hundredths. Behind an
attack pixels turn round as well: where 5 of 98,304 did, VGG19's gradients lay 0.058 apart at step
0, 0.35 at step 1 and 0.505 at step 2 (seed 13, without AVX: a false alarm where 0.5 was allowed).
Where none did at step 0, 43 did at step 1 and 3,813 at step 2, and with them went the
adversarial cross-entropy, by 0.015 of itself (seed 38, AVX: a false alarm where 0.01 was allowed).
"""

ADAPTIVE = 0.5  # of a change of weights by Adam; seen: 0.077, at step 0 0.042
FOLLOWING = 0.1  # of later steps by Adam behind units that rounding turned round; seen: 0.037
EQUAL = 2e-4  # relative; constants read off two honest traces differ by less than 2e-5
SILENT = 1e-3  # of the largest gradient in the layer: a smaller one is little but rounding


class Circumstances(NamedTuple):
    """What is known of two traces, and lets them lie further apart.

    Attributes:
        drifted: The passes read moving statistics that are known to differ slightly.
        twice: One of the two is known to update these statistics twice a step. What depends on
            them is then held loosely, and behind a drift too from the second step on.
        broken: The step at which these statistics are known to turn into NaN; None if they do not.
            What depends on them from there on is not compared.
        adaptive: The optimizer divides each gradient by its own size, so that rounding decides
            which way a weight goes whose gradient is about 0.
    """

    drifted: bool = False
    twice: bool = False
    broken: int | None = None
    adaptive: bool = False


class Reference(NamedTuple):
    """The trace that another one is compared with, and the scales that are read off it.

    Attributes:
        trace: The trace.
        largest: The largest root mean square of a layer's weights, by step, quantity and layer.
        initial: The same before the first step, by layer.
    """

    trace: Trace
    largest: Mapping[tuple[int, str, str], float]
    initial: Mapping[str, float]


@remembered
def reference_of(trace: Trace) -> Reference:
    """Read the scales off a trace, once for all of its places."""
    largest: dict[tuple[int, str, str], float] = {}
    initial: dict[str, float] = {}
    for place, entry in trace.items():
        if "rms" in entry and not place.weight.startswith("moving"):
            key, rms = place[:3], entry["rms"]
            largest[key] = max(largest.get(key, rms), rms)
            if place.quantity == "initial weight":
                initial[place.layer] = max(initial.get(place.layer, rms), rms)
    return Reference(trace, largest, initial)


class Distance(NamedTuple):
    """How far two releases lie apart at one place, and how far they may.

    Attributes:
        place: Where in the traces.
        value: The distance, in the units of `TOLERANCES`.
        tolerance: The largest distance that is allowed.
    """

    place: Place
    value: float
    tolerance: float

    @property
    def diverges(self) -> bool:
        """True where the distance is more than the tolerance, or NaN."""
        return not self.value <= self.tolerance

    @property
    def allowed(self) -> str:
        """The tolerance in words, or that any number is allowed."""
        return "any number" if self.tolerance == FINITE else f"{self.tolerance:.2g}"

    @property
    def against(self) -> str:
        """The distance, and how much is allowed."""
        return f"{self.value:.2g} where {self.allowed} is allowed"

    @property
    def share(self) -> float:
        """The distance over its tolerance, which must not be 0."""
        return self.value / self.tolerance


def distances(mine: Trace, theirs: Trace, known: Circumstances) -> Iterator[Distance]:
    """Measure how far two traces lie apart at each place, in the order of `theirs`.

    Yields:
        One distance for each place that is compared.
    """
    reference, attacked = reference_of(theirs), Place(0, "perturbation") in theirs
    compared = [
        place
        for place in theirs
        if tolerance_name(place) in TOLERANCES
        and not (known.broken is not None and _has_seen(known.broken, place))
    ]
    norms = _norms(mine, theirs, compared)
    for place in compared:
        tolerance = _allowed(place, known, attacked=attacked)
        if tolerance_name(place) == "change of weights" and silent(place, reference):
            tolerance = FINITE
        norm = norms.get(place)
        value = distance(place, mine[place], theirs[place], reference, norm=norm)
        yield Distance(place, value, tolerance)


def _norms(mine: Trace, theirs: Trace, places: Iterable[Place]) -> dict[Place, float]:
    """Compute all `norms_of_differences` at once, which takes a tenth of the time."""
    arrays = [place for place in places if "projections" in theirs[place]]
    pairs = [[trace[place] for place in arrays] for trace in (mine, theirs)]
    if len({len(entry["projections"]) for entries in pairs for entry in entries}) != 1:
        return {}
    return dict(zip(arrays, norms_of_differences(*pairs).tolist()))


def _allowed(place: Place, known: Circumstances, *, attacked: bool) -> float:
    """Look up how far two honest releases may lie apart at `place`."""
    name = tolerance_name(place)
    allowed = TOLERANCES[name]
    if known.adaptive and name == "change of weights":
        return ADAPTIVE
    if not (known.twice or known.drifted) or not _has_seen(0, place):
        first = (attacked and allowed.attacked) or allowed.first
        later = (attacked and allowed.amplified) or allowed.later
        return first if place.step == 0 else later
    if not known.twice and place.step == 0:
        return allowed.drifted
    return (LOOSE if place.step == 0 else LATER) if name in LOSSES else FINITE


def turned_tolerance(found: Distance, *, attacked: bool, adaptive: bool) -> float:
    """Look up how far a slope of step 0 may part by units that rounding turns round; else 0.

    An adaptive optimizer makes as large an update of a small gradient as of a large one, so that
    what follows parts too.
    """
    if found.place.step:
        return FOLLOWING if adaptive else 0.0
    turned = TOLERANCES[tolerance_name(found.place)].turned
    return turned[attacked] if turned else 0.0


def silent(place: Place, reference: Reference) -> bool:
    """True where a weight has no gradient but rounding, which some optimizers make a step of.

    So it is with a bias before BatchNorm, under Adam.
    """
    slope = place._replace(quantity="gradient")
    entry = reference.trace.get(slope)
    return bool(entry and entry["rms"] < SILENT * reference.largest[slope[:3]])


def _has_seen(parted: int, place: Place) -> bool:
    """True where the quantity at `place` depends on the moving statistics after step `parted`."""
    name = tolerance_name(place)
    later = place.step > parted or (place.step == parted and name in AFTER)
    return later and name not in UNTOUCHED


def tolerance_name(place: Place) -> str:
    """Name the key of `TOLERANCES` for a place."""
    if place.quantity == "change":
        return f"change of {'statistics' if place.weight.startswith('moving') else 'weights'}"
    return place.quantity


def distance(
    place: Place,
    mine: Mapping[str, Any],
    theirs: Mapping[str, Any],
    reference: Reference,
    *,
    norm: float | None = None,
) -> float:
    """Measure the distance of two entries at `place`; NaN in both is no difference.

    Args:
        place: Where both stand.
        mine: The entry of the trace that is compared.
        theirs: The entry of the reference.
        reference: The whole trace of the reference, with its scales.
        norm: The `norm_of_difference` of both, if it is known.
    """
    if "projections" in theirs:
        apart = norm_of_difference(mine, theirs) if norm is None else norm
        value = _relative(apart, _scale(place, reference))
        if tolerance_name(place) == "change of weights":
            return max(0.0, value - rounding(place, reference)) if value < np.inf else value
        return value
    if "value" in theirs:
        return _relative(
            float(absolute_difference(mine["value"], theirs["value"])), abs(theirs["value"])
        )
    if "signs" in theirs:
        return float(flips(mine["signs"], theirs["signs"]).mean())
    return float(mine["digest"] != theirs["digest"])


def norm_of_difference(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> float:
    """Estimate the root mean square of the difference of two arrays from their summaries."""
    return float(norms_of_differences([mine], [theirs])[0])


def norms_of_differences(
    mine: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]
) -> np.ndarray:
    """Estimate the same for many pairs of arrays with as many projections each, ``(pairs,)``."""
    here = np.array([[m.get("rms", t["rms"]), *m["projections"]] for m, t in zip(mine, theirs)])
    there = np.array([[entry["rms"], *entry["projections"]] for entry in theirs])
    apart = absolute_difference(here, there)
    spread: np.ndarray = np.sqrt(np.mean(apart[:, 1:] ** 2, axis=1))
    norms: np.ndarray = np.maximum(apart[:, 0], spread)  # of NaN and 0, NaN
    return norms


def absolute_difference(here: np.ndarray | float, there: np.ndarray | float) -> np.ndarray:
    """Subtract, without the sign; 0 where both are NaN, NaN where one is."""
    same = np.equal(here, there) | (np.isnan(here) & np.isnan(there))
    with np.errstate(invalid="ignore"):  # of two infinities
        return np.where(same, 0.0, np.abs(np.subtract(here, there)))


def _scale(place: Place, reference: Reference) -> float:
    """Look up the number in whose units the difference at `place` is measured.

    For a mean that is the standard deviation. For a gradient or a change of weights it is the
    largest root mean square in the layer, since the gradient of a bias before BatchNorm is nothing
    but rounding.
    """
    trace = reference.trace
    if place.quantity in ("batch mean", "mean distance"):
        return float(np.sqrt(trace[place._replace(quantity="batch variance")]["rms"]))
    if place.quantity == "variance distance":
        return float(trace[place._replace(quantity="batch variance")]["rms"])
    if tolerance_name(place) in ("gradient", "change of weights"):
        return float(reference.largest[place[:3]])
    return float(trace[place]["rms"])


def rounding(place: Place, reference: Reference) -> float:
    """Estimate which share of a layer's change is the rounding of its weights.

    Float32 knows a weight of 1 that moves by 4e-6 a step only to some hundredths of its change.
    """
    return _relative(ROUNDING * float(reference.initial[place.layer]), _scale(place, reference))


def _relative(difference: float, scale: float) -> float:
    """Divide `difference` by `scale`; no difference is 0, whatever the scale."""
    if difference == 0:
        return 0.0
    return difference / scale if scale else float("inf")


def same_forward(mine: Trace, theirs: Trace) -> bool:
    """True where the same weights give the same logits of the same images before the first step."""
    place = Place(0, "inference logits")
    apart = distance(place, mine[place], theirs[place], reference_of(theirs))
    return apart <= TOLERANCES[place.quantity].first and not other_weights(mine, theirs)


def other_weights(mine: Trace, theirs: Trace) -> list[str]:
    """Name the weights that do not start from the same values."""
    return [
        f"{place.layer}/{place.weight}"
        for place, entry in theirs.items()
        if place.quantity == "initial weight"
        and mine[place] != entry
        and norm_of_difference(mine[place], entry)
    ]


def flips(mine: str, theirs: str) -> np.ndarray:
    """Mark the pixels that rose in one trace and not in the other by 1, all others by 0.

    Args:
        mine: One bit a pixel, in base64; set where the pixel rose.
        theirs: The same of the other trace. All pixels differ if the numbers of them do.
    """
    first, second = rises(mine), rises(theirs)
    return np.ones(len(second), np.uint8) if len(first) != len(second) else first ^ second


def rises(signs: str) -> np.ndarray:
    """Mark by 1 the pixels that rose, of one bit a pixel in base64, ``(pixels,)``."""
    return np.unpackbits(np.frombuffer(base64.b64decode(signs), np.uint8))


def same(first: float, second: float, *, floor: float = 0.0) -> bool:
    """True where two constants are the same but for rounding, or differ by at most `floor`."""
    return abs(first - second) <= max(EQUAL * abs(second), floor)
