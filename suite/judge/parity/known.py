"""The known differences between releases, each checked by its size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from suite.judge.bands import stack_of
from suite.judge.parity.distances import LOOSE, tolerance_name
from suite.judge.parity.implied import (
    Place,
    Trace,
    layers_of,
    projected,
    ratio,
    share_moved,
    steps_of,
    trace_of,
    update_counts,
)
from suite.records import Record

CORRECTION = 0.01  # of a count that is 0 or 1
UPDATES = 0.02  # of a count that is 1 or 2; two updates of the same old value count as 2.01
IMAGES = 4  # dimensions


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
    """True where the release under measurement is TensorFlow 1, a graph."""
    return stack_of(record) == "graph"
