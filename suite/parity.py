"""Parity: where the first steps of two releases part, by how much, and what that looks like."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from suite.errors import RecordError
from suite.implied import (
    Descent,
    Place,
    Trace,
    descent,
    fgsm_epsilon,
    first_rates,
    layers_of,
    loss_weights,
    projected,
    ratio,
    replay,
    share_moved,
    steps_of,
    trace_of,
    update_counts,
    updates_per_step,
)
from suite.records import Record

EQUAL = 2e-4  # relative; constants read off two honest traces differ by less than 2e-5
REPLAYED = 5e-5  # nats; a step and the suite's own passes differ by less than 1e-5
FITTED = 0.02  # relative; SGD with momentum leaves less than 2e-3 of the updates unexplained
FLIPPED = 0.01  # of the pixels; where the gradient is about 0 rounding decides its sign
CORRECTION = 0.01  # of a count that is 0 or 1
UPDATES = 0.02  # of a count that is 1 or 2; two updates of the same old value count as 2.01
WEIGHTS = 0.01  # of the two halves of the loss
GRADIENT = 2e-3  # relative to the largest of the layer, as everywhere; of one weight, at step 0
FIRST_RATE = 0.01  # of the rate of one layer's first update
OPTIMIZER: Mapping[str, float] = {
    "rate": 2e-3,
    "momentum": 2e-3,
    "decay": 1e-4,
    "unexplained": 0.01,
}
"""Of the fit of the last update; honest releases differ by 8.5e-5, 6.8e-4, 1.5e-5 and 3.5e-4."""
ROUNDING = 2.4e-7  # relative to a weight; two roundings of float32, each by half of 1.2e-7 at most
IMAGES = 4  # dimensions
SHOWN = 4  # names in one line


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


class Comparison(NamedTuple):
    """What the comparison of one case and seed of two releases found.

    Attributes:
        case: Name of the case.
        seed: Seed of both.
        release: What is compared.
        reference: What it is compared with.
        distances: One a place, cause before effect.
        known: Legitimate differences, each with its cause and how it was verified.
        causes: What the other differences look like, with the value on both sides.
    """

    case: str
    seed: int
    release: str
    reference: str
    distances: Sequence[Distance]
    known: Sequence[str]
    causes: Sequence[str]

    @property
    def first(self) -> Distance | None:
        """The first place where the two diverge."""
        return next((found for found in self.distances if found.diverges), None)

    @property
    def agrees(self) -> bool:
        """Whether nothing but known differences was found."""
        return self.first is None and not self.causes


def compare_traces(measured: Record, reference: Record) -> Comparison:
    """Return where the traces of one case of two releases part.

    Raises:
        RecordError: If they were not made of the same case, seed and data, or have other layers.
    """
    refuse_unlike(measured, reference)
    mine, theirs = trace_of(measured), trace_of(reference)
    factors = excess_factors(measured, reference)
    corrected = correction(mine, theirs, factors)
    twice, poison = twice_updated(measured, reference), poisoned(measured, reference)
    steps = [step for step in map(poison_step, (mine, theirs)) if poison and step is not None]
    broken = min(steps, default=None)
    reads_moved = measured.settings["phases"] is not None and updates_per_step(theirs) > 0
    return Comparison(
        case=measured.case,
        seed=measured.seed,
        release=measured.release,
        reference=reference.release,
        distances=list(
            distances(
                without_correction(mine, factors), theirs,
                drifted=reads_moved and bool(corrected), twice=bool(twice), broken=broken,
            )
        ),
        known=[*corrected, *twice, *poison],
        causes=[
            *correction_differs(measured, reference),
            *causes(mine, theirs, twice=bool(twice), broken_at_once=broken == 0),
        ],
    )  # fmt: skip


def refuse_unlike(measured: Record, reference: Record) -> None:
    """Raise RecordError unless both trace the same case, seed, data, layers and quantities."""
    for name in ("case", "seed", "tier", "settings", "data_digest"):
        mine, theirs = (
            record.environment[name] if name.endswith("digest") else getattr(record, name)
            for record in (measured, reference)
        )
        if mine != theirs:
            raise RecordError(
                f"{measured.name} of {measured.release} and {reference.name} of "
                f"{reference.release} cannot be compared: {name} differs. Found: {mine}. Expected: "
                f"{theirs}. {_again(measured, reference)}"
            )
    odd = sorted(map(str, set(trace_of(measured)) ^ set(trace_of(reference))))
    if odd:
        raise RecordError(
            f"{measured.name} of {measured.release} and {reference.release} hold other layers or "
            f"quantities, such as: {'; '.join(odd[:3])}. {_again(measured, reference)}"
        )


def _again(measured: Record, reference: Record) -> str:
    """Return how both traces are made anew."""
    return (
        f'Make both anew: `nox -s "benchmarks({measured.release})"` and '
        f'`nox -s "benchmarks({reference.release})"`.'
    )


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
        value = _relative(_norm_of_difference(mine, theirs), _scale(place, reference))
        if tolerance_name(place) == "change of weights":
            return value - min(value, _rounding(place, reference))
        return value
    if "value" in theirs:
        return _relative(float(_apart(mine["value"], theirs["value"])), abs(theirs["value"]))
    if "signs" in theirs:
        return flipped(mine["signs"], theirs["signs"])
    return float(mine["digest"] != theirs["digest"])


def _norm_of_difference(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> float:
    """Return the root mean square of the difference of two arrays, as their summaries tell it."""
    here, there = (
        np.array([entry.get("rms", theirs["rms"]), *entry["projections"]])
        for entry in (mine, theirs)
    )
    apart = _apart(here, there)
    return float(np.maximum(apart[0], np.sqrt(np.mean(apart[1:] ** 2))))  # of NaN and 0, NaN


def _apart(here: np.ndarray | float, there: np.ndarray | float) -> np.ndarray:
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


def _rounding(place: Place, reference: Trace) -> float:
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


def excess_factors(measured: Record, reference: Record) -> dict[str, float]:
    """Return by which factor each layer's batch variance legitimately exceeds the reference's.

    Keras 2 divides the sum of squares of images by n - 1 for the moving variance, Keras 3 by n.
    That a release does what its Keras should is read off its own trace.
    """
    mine, theirs = trace_of(measured), trace_of(reference)
    images = theirs[Place(0, "batch")]["images"]
    there = layers_of(theirs)
    return {
        layer: _bessel(images, entry, measured) / _bessel(images, there[layer], reference)
        for layer, entry in layers_of(mine).items()
    }


def _bessel(images: int, layer: Mapping[str, Any], record: Record) -> float:
    """Return n / (n - 1) where the release's Keras corrects so, and does; else 1."""
    count = images * layer["positions"]
    corrects = keras_2(record) and abs(layer["observed_correction"] - 1) < CORRECTION
    return count / (count - 1) if corrects and layer["dimensions"] == IMAGES else 1.0


def keras_2(record: Record) -> bool:
    """Return whether the release under measurement builds its networks with Keras 2."""
    versions = record.environment["versions"]
    return str(versions.get("tf-keras") or versions.get("keras", "")).startswith("2.")


def correction(mine: Trace, theirs: Trace, factors: Mapping[str, float]) -> list[str]:
    """Return the known difference of the moving variance's divisor, and how well it fits."""
    applied = {layer: factor for layer, factor in factors.items() if factor != 1}
    if not applied:
        return []
    errors = [
        abs(ratio(projected(mine, place), projected(theirs, place)) / factor - 1)
        for layer, factor in applied.items()
        for place in [Place(0, "batch variance", layer)]
    ]
    largest = max((abs(factor - 1), factor) for factor in applied.values())[1]
    here, there = ("n - 1", "n") if largest > 1 else ("n", "n - 1")
    return [
        f"BatchNorm's moving variance: the sum of squares is divided by {here} here, by {there} "
        f"there (Keras 2 and Keras 3). Verified at step 0: the batch variances of {len(applied)} "
        f"layers are the reference's times {largest:.5f} (n = {_count(largest)}) at the most, as "
        f"n foretells to within {max(errors):.1g}. Taken out before the comparison."
    ]


def _count(factor: float) -> int:
    """Return the n whose n / (n - 1), or its inverse, is `factor`."""
    factor = max(factor, 1 / factor)
    return round(factor / (factor - 1))


def without_correction(mine: Trace, factors: Mapping[str, float]) -> Trace:
    """Return the trace with the variances that it would hold without the `factors`.

    The excess of a moving variance grows at each update by the share that the layer moves.
    """
    adjusted = dict(mine)
    for layer, factor in factors.items():
        excess = np.zeros(())
        for step in steps_of(mine) if factor != 1 else []:
            batch = projected(mine, Place(step, "batch variance", layer))
            surplus = batch - batch / factor
            share = share_moved(mine, layer, step=step, kind="variance")
            for place, part in (
                (Place(step, "batch variance", layer), surplus),
                (Place(step, "variance distance", layer), surplus - excess),
                (Place(step, "change", layer, "moving_variance"), share * (surplus - excess)),
            ):
                adjusted[place] = {"projections": list(projected(mine, place) - part)}
            excess = excess + share * (surplus - excess)
    return adjusted


def twice_updated(measured: Record, reference: Record) -> list[str]:
    """Return the known difference of TensorFlow 1's graph, which updates twice a step."""
    allowed = [2 if _is_graph(record) else 1 for record in (measured, reference)]
    counts = [np.array([*update_counts(trace_of(r)).values()]) for r in (measured, reference)]
    if (
        allowed == [1, 1]
        or measured.settings["phases"] is None
        or not all(
            len(found) and np.allclose(found, n, atol=UPDATES, rtol=0)
            for found, n in zip(counts, allowed)
        )
    ):
        return []
    here, there = (float(np.median(found)) for found in counts)
    return [
        f"BatchNorm's updates: {here:.4f} a step here, {there:.4f} there, by how far the "
        "moving means and variances of step 0 went, in every layer. TensorFlow 1's graph runs the "
        "updates of both calls of the model, as published, in no certain order (2.0101 where both "
        "start from the same value). From there on the statistics are elsewhere: what follows in "
        "this case, step 0's adversarial pass included, is judged by what the updates imply, by "
        f"losses within {LOOSE:.0%} and by being finite."
    ]


def poisoned(measured: Record, reference: Record) -> list[str]:
    """Return the known difference of TensorFlow 1's statistics that turn into NaN at no update."""
    for place, record, other in (("here", measured, reference), ("there", reference, measured)):
        mine, theirs = trace_of(record), trace_of(other)
        step = poison_step(mine)
        moved = [p for p in mine if p.step == step and tolerance_name(p) == "change of statistics"]
        broken = [p for p in moved if np.isnan(mine[p]["rms"])]
        pair = (mine, record), (theirs, other)
        if broken and _is_graph(record) and all(_rests(*both, moved) for both in pair):
            return [
                f"BatchNorm's moving statistics at step {step}: {len(broken)} of {len(moved)} "
                f"become NaN {place}, where no update is due. TensorFlow 1's kernel for the "
                "inference phase returns memory it never wrote as the batch's statistics, which "
                "Keras multiplies by 0. Verified: no number before is not finite, and no other "
                "statistic moves. What follows in this case is not compared."
            ]
    return []


def _rests(trace: Trace, record: Record, moving: Sequence[Place]) -> bool:
    """Return whether no statistic at `moving` moves; TensorFlow 1's may be NaN."""
    values = [trace[place]["rms"] for place in moving]
    return all(value == 0 or (_is_graph(record) and np.isnan(value)) for value in values)


def poison_step(trace: Trace) -> int | None:
    """Return the step of the first moving statistic that is not finite, if it is the first at all.

    Everything else up to that step's update must be finite.
    """
    for place, entry in trace.items():
        numbers = [entry[name] for name in ("rms", "value", "largest") if name in entry]
        if not np.isfinite(numbers).all():
            return place.step if tolerance_name(place) == "change of statistics" else None
    return None


def _is_graph(record: Record) -> bool:
    """Return whether the release under measurement is TensorFlow 1, a graph."""
    environment = record.environment
    if "stack" in environment:
        return bool(environment["stack"] == "graph")
    return str(environment["versions"].get("tensorflow", "")).startswith("1.")


def initial_weights(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Yield the layers that do not start from the same weights."""
    names = [
        f"{place.layer}/{place.weight}"
        for place, entry in theirs.items()
        if place.quantity == "initial weight" and _norm_of_difference(mine[place], entry)
    ]
    if names:
        yield f"Initial weights are not the same: {_listed(names)}"


def batches_differ(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Yield what is fed to the steps, where it is not the same."""
    fed = [
        [trace[Place(step, "batch")]["digest"] for step in steps_of(theirs)]
        for trace in (mine, theirs)
    ]
    if fed[0] != fed[1]:
        first = next(step for step, pair in enumerate(zip(*fed)) if pair[0] != pair[1])
        same = sorted(fed[0]) == sorted(fed[1])
        what = "The same batches in another order" if same else "Other batches"
        yield f"{what}, from step {first} on"


def batch_norm_differs(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Yield the constants of BatchNorm, as set and as observed, that are not the same."""
    here, there = layers_of(mine), layers_of(theirs)
    for name in ("momentum", "epsilon"):
        for prefix, how in (("", "set"), ("observed_", "observed")):
            odd: dict[str, list[str]] = {}
            for layer, entry in here.items():
                pair = entry[prefix + name], there[layer][prefix + name]
                if not _same(*pair):
                    odd.setdefault(f"{pair[0]:.5g} here, {pair[1]:.5g} there", []).append(layer)
            for pair_text, layers in odd.items():
                which = f"all {len(here)} layers" if len(layers) == len(here) else _listed(layers)
                yield f"BatchNorm {name}, as {how}: {pair_text} ({which})"


def correction_differs(measured: Record, reference: Record) -> Iterator[str]:
    """Yield the variance's correction of a release that is not that of its own Keras."""
    for where, record in (("here", measured), ("there", reference)):
        own, name = (1, "Keras 2") if keras_2(record) else (0, "Keras 3")
        odd: dict[str, list[str]] = {}
        for layer, entry in layers_of(trace_of(record)).items():
            found = entry["observed_correction"]
            if not abs(found - own) <= CORRECTION:
                odd.setdefault(f"{_divisor(found)} {where}", []).append(layer)
        for text, layers in odd.items():
            yield (
                f"BatchNorm's moving variance: the sum of squares is divided by {text}; {name} "
                f"divides by {_divisor(own)} ({_listed(layers)})"
            )


def _divisor(correction: float) -> str:
    """Return what a sum of n squares is divided by, in words."""
    if abs(correction) <= CORRECTION:
        return "n"
    return f"n - {1 if abs(correction - 1) <= CORRECTION else correction:.4g}"


def statistics_differ(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Yield how far the moving statistics go, where that is not the same nor known."""
    here, there = update_counts(mine), update_counts(theirs)
    odd: dict[str, list[str]] = {}
    for (layer, kind), count in there.items():
        pair = [share_moved(trace, layer, kind=kind) for trace in (mine, theirs)]
        if not _same(*pair, floor=1e-4):
            text = (
                f"{pair[0]:.4g} of the way to the batch's here, {pair[1]:.4g} there: momentum "
                f"{1 - pair[0]:.4g} and {1 - pair[1]:.4g} at one update a step; updates a step "
                f"{here[layer, kind]:.4g} and {count:.4g}"
            )
            odd.setdefault(text, []).append(f"{layer}/moving_{kind}")
    for text, names in odd.items():
        yield f"Moving statistics of step 0 go {text} ({_listed(names)})"


def attack_differs(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Yield the attack's epsilon, or where else it goes."""
    here, there = fgsm_epsilon(mine), fgsm_epsilon(theirs)
    if here is None or there is None:
        return
    place = Place(0, "perturbation")
    if not _same(here, there):
        yield f"FGSM epsilon, the largest change of a pixel: {here:.5g} here, {there:.5g} there"
    share = flipped(mine[place]["signs"], theirs[place]["signs"])
    if share > FLIPPED and not any(initial_weights(mine, theirs)):
        yield (
            f"The attack goes elsewhere: {share:.1%} of step 0's pixels move to the other side. It "
            "follows another gradient: other labels, another loss, another norm or another phase"
        )


def step_differs(mine: Trace, theirs: Trace, *, share: float = 0.0) -> Iterator[str]:
    """Yield where a step does not do what the suite's passes do from the same state.

    The adversarial pass may differ by `share` of its cross-entropy, where that is more than
    rounding.
    """
    here, there = replay(mine), replay(theirs)
    if here is None or there is None:
        return
    if not _apart(here.clean, there.clean) <= REPLAYED:
        yield (
            "The step's clean pass is not the one it was told: its cross-entropy is the replayed "
            f"one {here.clean:+.2g} nats here, {there.clean:+.2g} there. Another phase or loss"
        )
    allowed = max(REPLAYED, share * theirs[Place(0, "adversarial_ce")]["value"])
    if not _apart(here.adversarial, there.adversarial) <= allowed:
        yield (
            "The step's adversarial pass is not the one it was told: its cross-entropy is the "
            f"replayed one {here.adversarial:+.2g} nats here, {there.adversarial:+.2g} there. "
            f"Another phase or loss, other labels, or another epsilon inside the step: it rises "
            f"{here.reach:.4g} times as far as the attack of the suite's passes makes it rise, "
            f"{there.reach:.4g} times there"
        )


def loss_differs(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Yield the weights of the two cross-entropies in the loss."""
    here, there = loss_weights(mine), loss_weights(theirs)
    if here and there and not all(_same(*pair, floor=WEIGHTS) for pair in zip(here, there)):
        yield (
            f"Loss: {here[0]:.4g} CE(clean) + {here[1]:.4g} CE(adversarial) here, {there[0]:.4g} "
            f"and {there[1]:.4g} there"
        )


def gradients_differ(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Yield the weights whose gradient at step 0 is a multiple of the reference's."""
    for place, entry in theirs.items():
        own = place.step == 0 and place.quantity == "gradient"
        if own and not distance(place, mine[place], entry, theirs) <= GRADIENT:
            here, there = projected(mine, place), projected(theirs, place)
            factor = ratio(here, there)
            left = np.linalg.norm(here - factor * there) / (np.linalg.norm(there) or 1.0)
            if left < abs(factor - 1) / 10:
                yield f"The gradient of {place.layer}/{place.weight} is {factor:.5g} times there's"


def optimizer_differs(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Yield the settings of the optimizer that the updates imply, and layers of their own rate."""
    here, there = descent(mine), descent(theirs)
    same = here is None or there is None or _same_descent(here, there)
    if here and there and not same:
        yield f"Optimizer: {_described(here)} here, {_described(there)} there"
    rates = first_rates(theirs)
    odd = [
        layer
        for layer, rate in first_rates(mine).items()
        if not _same(rate, rates[layer], floor=FIRST_RATE + 2 * _rounding(_update(layer), theirs))
    ]
    if odd and (same or len(odd) < len(rates)):
        yield f"The updates of step 0 are another multiple of the gradient in {_listed(odd)}"


def _update(layer: str) -> Place:
    """Return the place of the first change of a layer's weights."""
    return Place(0, "change", layer)


def _same_descent(here: Descent, there: Descent) -> bool:
    """Return whether two descents are the same but for the precision of their fit."""
    near = (
        abs(getattr(here, name) - getattr(there, name)) <= tolerance
        for name, tolerance in OPTIMIZER.items()
    )
    return here.nesterov == there.nesterov and all(near)


def _described(found: Descent) -> str:
    """Return the settings, or that no SGD explains the updates."""
    if found.unexplained > FITTED:
        return f"no SGD ({found.unexplained:.1%} of the update is unexplained)"
    return str(found)


def _same(first: float, second: float, *, floor: float = 0.0) -> bool:
    """Return whether two constants are the same, but for rounding or less than `floor`."""
    return abs(first - second) <= max(EQUAL * abs(second), floor)


def _listed(names: Sequence[str]) -> str:
    """Return the first names and how many more there are."""
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"


CAUSES: Sequence[Callable[[Trace, Trace], Iterator[str]]] = (
    initial_weights,
    batches_differ,
    batch_norm_differs,
    statistics_differ,
    attack_differs,
    step_differs,
    loss_differs,
    gradients_differ,
    optimizer_differs,
)
"""What a difference may look like, cause before effect."""

AT_ONCE = (statistics_differ, step_differs, gradients_differ, optimizer_differs)
"""Causes that read what step 0 does after its clean pass has moved the statistics."""


def causes(mine: Trace, theirs: Trace, *, twice: bool, broken_at_once: bool) -> Iterator[str]:
    """Yield what the differences look like, but for those that are known.

    Args:
        mine: The trace that is compared.
        theirs: The reference's.
        twice: Whether one of the two is known to update the moving statistics twice a step.
        broken_at_once: Whether these are known to turn into NaN at step 0.
    """
    for find in CAUSES:
        if twice and find is step_differs:
            yield from step_differs(mine, theirs, share=LOOSE)
        elif not (twice and find is statistics_differ) and not (broken_at_once and find in AT_ONCE):
            yield from find(mine, theirs)


def compare_releases(measured: Sequence[Record], reference: Sequence[Record]) -> list[Comparison]:
    """Return the comparison of every trace of a release with that of the reference.

    Raises:
        RecordError: If the reference has no trace of a case and seed, or the release none of a
            case of the reference's.
    """
    mine, theirs = ({(r.case, r.seed): r for r in traces(rs)} for rs in (measured, reference))
    name = reference[0].release if reference else "the reference"
    missing = sorted(str(mine[key]) for key in set(mine) - set(theirs))
    if missing:
        raise RecordError(
            f"{name} has no trace of {_listed(missing)}, which others are compared with. Make it "
            f'with `nox -s "benchmarks({name})"`.'
        )
    absent = sorted({case for case, _ in theirs} - {case for case, _ in mine})
    if absent:
        release = measured[0].release
        raise RecordError(
            f"{release} has no trace of {_listed(absent)}, which {name} has. Make it with "
            f'`nox -s "benchmarks({release})"`.'
        )
    return [compare_traces(mine[key], theirs[key]) for key in sorted(mine)]


def traces(records: Sequence[Record]) -> list[Record]:
    """Return the records that hold traces."""
    return [record for record in records if record.question == "parity"]
