"""Known differences: where releases differ for a reason, checked by the size of the difference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from suite.judge.bands import stack_of
from suite.judge.parity.distances import LATER, LOOSE, tolerance_name
from suite.judge.parity.implied import (
    Place,
    Trace,
    layers_of,
    projected,
    ratio,
    remembered,
    share_moved,
    steps_of,
    trace_of,
    update_counts,
)
from suite.records import Record

CORRECTION = 0.01  # tolerance of a count that is 0 or 1
UPDATES = 0.02  # tolerance of a count that is 1 or 2; two updates of one old value count as 2.01
IMAGES = 4  # dimensions of a batch of images


def excess_factors(measured: Record, reference: Record) -> dict[str, float]:
    """Compute the known factor between each layer's batch variance and the reference's.

    For the moving variance Keras 2 divides the sum of squares of images by n - 1, Keras 3 by n.
    Whether a release does what its Keras should do is read off its own trace.
    """
    mine, theirs = trace_of(measured), trace_of(reference)
    images = theirs[Place(0, "batch")]["images"]
    there = layers_of(theirs)
    return {
        layer: _bessel(images, entry, measured) / _bessel(images, there[layer], reference)
        for layer, entry in layers_of(mine).items()
    }


def _bessel(images: int, layer: Mapping[str, Any], record: Record) -> float:
    """Compute n / (n - 1) where the release is of Keras 2 and its trace shows it; 1 elsewhere."""
    count = images * layer["positions"]
    corrects = keras_2(record) and abs(layer["observed_correction"] - 1) < CORRECTION
    return count / (count - 1) if corrects and layer["dimensions"] == IMAGES else 1.0


def keras_2(record: Record) -> bool:
    """True where the measured release builds its networks with Keras 2."""
    versions = record.environment["versions"]
    return str(versions.get("tf-keras") or versions.get("keras", "")).startswith("2.")


def correction(mine: Trace, theirs: Trace, factors: Mapping[str, float]) -> list[str]:
    """Describe the known difference of the moving variance's divisor, and how well it fits.

    Args:
        mine: The trace that is compared.
        theirs: The trace of the reference.
        factors: As `excess_factors` computes them.

    Returns:
        One sentence; none where no factor differs from 1.
    """
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
    """Solve n / (n - 1) = `factor`, or = 1 / `factor`, for n."""
    factor = max(factor, 1 / factor)
    return round(factor / (factor - 1))


def without_correction(mine: Trace, factors: Mapping[str, float]) -> Trace:
    """Compute the trace as it would be without the known factors of the batch variances."""
    adjusted = dict(mine)
    for layer, factor in factors.items():
        if factor != 1:
            adjusted.update(_uncorrected(mine, layer, factor))
    return adjusted


def _uncorrected(mine: Trace, layer: str, factor: float) -> Iterator[tuple[Place, Any]]:
    """Compute what a layer's variances would be without `factor`, step by step.

    The excess of the moving variance grows at each update by the share that the layer moves.

    Yields:
        The places that change, each with its new entry.
    """
    excess = np.zeros(())
    for step in steps_of(mine):
        batch = projected(mine, Place(step, "batch variance", layer))
        surplus = batch - batch / factor
        share = share_moved(mine, layer, step=step, kind="variance")
        for place, part in (
            (Place(step, "batch variance", layer), surplus),
            (Place(step, "variance distance", layer), surplus - excess),
            (Place(step, "change", layer, "moving_variance"), share * (surplus - excess)),
        ):
            yield place, {"projections": list(projected(mine, place) - part)}
        excess = excess + share * (surplus - excess)


def twice_updated(measured: Record, reference: Record) -> list[str]:
    """Describe the known difference of TensorFlow 1's graph, which updates twice a step.

    Returns:
        One sentence; none where the traces do not show exactly that.
    """
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
        f"losses within {LOOSE:.0%} (later {LATER:.0%}) and by being finite."
    ]


def poisoned(measured: Record, reference: Record) -> list[str]:
    """Describe the known difference of TensorFlow 1's statistics that turn into NaN by themselves.

    Returns:
        One sentence; none where the traces do not show exactly that.
    """
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
    """True where no statistic at `moving` moves; TensorFlow 1's may be NaN."""
    values = [trace[place]["rms"] for place in moving]
    return all(value == 0 or (_is_graph(record) and np.isnan(value)) for value in values)


def first_poison(mine: Trace, theirs: Trace) -> int | None:
    """Find the first step at which the moving statistics of one of the traces turn into NaN."""
    steps = [step for step in map(poison_step, (mine, theirs)) if step is not None]
    return min(steps, default=None)


@remembered
def poison_step(trace: Trace) -> int | None:
    """Find the step at which a moving statistic is the first number that is not finite.

    None where all numbers are finite, or where another one is not finite before.
    """
    for place, entry in trace.items():
        numbers = [entry[name] for name in ("rms", "value", "largest") if name in entry]
        if not all(map(math.isfinite, numbers)):
            return place.step if tolerance_name(place) == "change of statistics" else None
    return None


def _is_graph(record: Record) -> bool:
    """True where the measured release is TensorFlow 1, whose steps are a graph."""
    return stack_of(record) == "graph"
