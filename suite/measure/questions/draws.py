"""What do the random parts of a release draw: initial weights, and the masks of dropout?

The order of the batches is not among them: NumPy draws it (`suite.measure.training.batches`), no
framework shuffles, and the step map holds a digest of each batch that a step is given.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from suite.measure.named import weights_by_key
from suite.measure.questions.dropout import dropout, repeat
from suite.measure.run import Measured, Run
from suite.measure.summaries import rounded
from suite.measure.weights import build

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    from suite.measure.summaries import Entry

BUILDS = 16  # times that a network is built, each with a seed of its own
SEEDS = 2**32  # NumPy and some frameworks take no larger seed
REACH = 2.0  # the bins reach so many times as far as Glorot's uniform distribution does
BINS = 32  # of equal width; the outermost hold what is beyond them too
PREFIX = 20_000  # elements of two layers that are compared
DIGEST_DIGITS = 16  # of sha256, in hexadecimal
UNIFORM_KURTOSIS = 1.8  # fourth moment over the squared second, of a uniform distribution
AXES = ("rows", "columns", "inputs", "filters")  # of a convolution's kernel; a matrix has the last

CONSTANTS: Mapping[str, float] = MappingProxyType(
    {"bias": 0.0, "beta": 0.0, "gamma": 1.0, "moving_mean": 0.0, "moving_variance": 1.0}
)
"""The initial value of what Keras does not draw, in every release; it draws the rest."""

Place: TypeAlias = "tuple[str, str]"
"""A layer's key and the name of a weight in it."""

Stacked: TypeAlias = "Mapping[Place, NDArray[np.float64]]"
"""The draws of each weight, ``(builds, *shape)``."""


def draws(run: Run) -> Measured:
    """Build the case's network for several seeds; describe its initial weights and its dropout."""
    seeds = seeds_of(run.seed)
    built = [initial_weights(run, seed) for seed in seeds]
    digests = [digest(weights) for weights in built]
    again = digest(initial_weights(run, seeds[0]))
    drawn = {place: np.stack([weights[place] for weights in built]) for place in built[0]}
    entries = [{"quantity": "builds", "seeds": seeds, "digests": digests, "again": again}]
    entries += [described(place, values) for place, values in drawn.items()]
    entries += list(between_layers(drawn))
    found = dropout(run, seeds[:2])
    metrics = {
        "parameters": float(sum(array[0].size for array in drawn.values())),
        "seed_repeats": float(again == digests[0]),
        "seeds_differ": float(len(set(digests)) == len(digests)),
        **errors(drawn),
        **found.metrics,
        "correlation_error": correlation_error([*entries, *found.entries]),
    }
    return Measured(metrics, {}, [*entries, *found.entries], {})


def seeds_of(seed: int) -> list[int]:
    """List the seeds that a run of `seed` builds with; no two runs share one."""
    return [(BUILDS * seed + index) % SEEDS for index in range(BUILDS)]


def initial_weights(run: Run, seed: int) -> dict[Place, np.ndarray]:
    """Seed as every case does, build the case's network and read its weights."""
    run.stack.seed(seed)
    return weights_by_key(build(run.stack, run.case))


def digest(weights: Mapping[Place, np.ndarray]) -> str:
    """Compute the beginning of the sha256 of all weights, in their order."""
    whole = hashlib.sha256()
    for array in weights.values():
        whole.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    return whole.hexdigest()[:DIGEST_DIGITS]


def described(place: Place, drawn: NDArray[np.float64]) -> Entry:
    """Describe the draws of one weight: their constant value, or their distribution."""
    shape = drawn.shape[1:]
    named = {"layer": place[0], "weight": place[1], "shape": list(shape), "draws": drawn.size}
    if not np.isfinite(drawn).all():
        return {"quantity": "not finite", **named}
    if drawn.min() == drawn.max():
        return {"quantity": "constant", **named, "value": float(drawn.flat[0])}
    values = drawn.astype(np.float64)
    square = float(np.mean(values**2))
    return {
        "quantity": "drawn",
        **named,
        "fans": list(fans(shape)),
        "mean": rounded(values.mean()),
        "rms": rounded(np.sqrt(square)),
        "kurtosis": rounded(float(np.mean(values**4)) / square**2),
        "largest": rounded(np.max(np.abs(values))),
        "counts": binned(values / limit(shape)),
        "correlations": dict(within(values)),
        "repeat": repeat(values.reshape(len(values), -1)),
    }


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """Count the inputs and the outputs of a unit, as Keras' initialisers do."""
    if len(shape) == 1:
        return shape[0], shape[0]
    field = int(np.prod(shape[:-2]))
    return field * shape[-2], field * shape[-1]


def limit(shape: Sequence[int]) -> float:
    """Compute how far Glorot & Bengio's uniform distribution reaches, Keras' default (2010)."""
    return float(np.sqrt(6 / sum(fans(shape))))


def binned(scaled: NDArray[np.float64]) -> list[int]:
    """Count values in `BINS` bins between -`REACH` and `REACH`.

    The edges of a uniform distribution are edges of bins: what float32 rounds beyond them is
    counted within.
    """
    places = np.floor((scaled * (1 - 1e-6) / REACH + 1) * BINS / 2).astype(np.int64)
    return [int(n) for n in np.bincount(np.clip(places, 0, BINS - 1).ravel(), minlength=BINS)]


def within(values: NDArray[np.float64]) -> Iterator[tuple[str, list[float]]]:
    """Correlate each build with the next one, and each slice of a weight with its neighbour."""
    yield "seeds", correlation(values[:-1], values[1:])
    names = AXES[-(values.ndim - 1) :]
    for axis, name in enumerate(names, start=1):
        if values.shape[axis] > 1:
            moved = np.moveaxis(values, axis, 0)
            yield name, correlation(moved[:-1], moved[1:])


def correlation(first: np.ndarray, second: np.ndarray) -> list[float]:
    """Correlate two arrays of one shape, about zero; give the coefficient and the pairs."""
    norm = np.sqrt(np.sum(first * first) * np.sum(second * second))
    value = float(np.sum(first * second) / norm) if norm else 0.0
    return [rounded(value), first.size]


def between_layers(drawn: Stacked) -> Iterator[Entry]:
    """Yield the strongest correlation of two drawn weights, element by element and at any lag.

    Weights of different shapes are compared as far as the smaller one reaches: some generators
    draw the same numbers first whatever the shape. Each is compared with the other of the same
    seed, of the seed before and of the one after it: a generator may add up the seed and the
    number of the layer. A generator may also go on with the numbers that another layer or the next
    seed has drawn, a little later: the weights of two builds, one after another, must not repeat.
    """
    flat = {
        place: values.reshape(len(values), -1)[:, :PREFIX].astype(np.float64)
        for place, values in drawn.items()
        if values.min() < values.max()
    }
    pairs = list(itertools.combinations(flat, 2))
    if not pairs:
        return
    found = [
        (pair, correlation(*overlap(*shifted)))
        for pair in pairs
        for shifted in neighbours(*(flat[place] for place in pair))
    ]
    (one, other), strongest = max(found, key=lambda row: deviations(row[1]))
    yield {
        "quantity": "layers",
        "layers": ["/".join(one), "/".join(other)],
        "pairs": len(found),
        "correlations": {"layers": strongest},
        "repeat": repeat(in_turn(flat.values())),
    }


def in_turn(weights: Iterable[np.ndarray]) -> np.ndarray:
    """Lay the weights ``(builds, elements)`` of two builds in a row, each with a mean square of 1.

    Returns:
        ``(1, elements)``.
    """
    scaled = [flat[:2] / np.sqrt(np.mean(flat**2)) for flat in weights]
    return np.concatenate(scaled, axis=1).reshape(1, -1)


def neighbours(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pair two arrays ``(builds, elements)`` build by build, then each with the other's next."""
    yield first, second
    yield first[1:], second[:-1]
    yield first[:-1], second[1:]


def overlap(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut two arrays ``(builds, elements)`` to the elements that both have."""
    shared = min(first.shape[1], second.shape[1])
    return first[:, :shared], second[:, :shared]


def deviations(correlated: Sequence[float]) -> float:
    """Measure a correlation in the standard deviations that independent draws would give it."""
    value, pairs = correlated
    return float(abs(value) * np.sqrt(pairs))


def correlation_error(entries: Iterable[Entry]) -> float:
    """Find the largest correlation of draws that should be independent, in deviations."""
    found = [c for entry in entries for c in entry.get("correlations", {}).values()]
    return max(map(deviations, found), default=0.0)


def errors(drawn: Stacked) -> dict[str, float]:
    """Measure how far all weights are from what Keras documents of its defaults.

    Kernels are drawn uniformly within Glorot's limit: ``scale_error`` is the largest deviation of
    a root mean square from this, in standard deviations; ``reach`` is the largest element, in
    limits. ``constant_error`` is the largest difference of what is not drawn from its constant.
    """
    kernels = [values for (_, name), values in drawn.items() if name not in CONSTANTS]
    others = [
        np.max(np.abs(values - CONSTANTS[name]))
        for (_, name), values in drawn.items()
        if name in CONSTANTS
    ]
    return {
        "all_finite": float(all(np.isfinite(values).all() for values in drawn.values())),
        "scale_error": max(map(scale_error, kernels)),
        "reach": max(float(np.max(np.abs(v))) / limit(v.shape[1:]) for v in kernels),
        "constant_error": float(max(others)),
    }


def scale_error(values: np.ndarray) -> float:
    """Measure the distance of a kernel's root mean square from Glorot's, in deviations."""
    expected = limit(values.shape[1:]) / np.sqrt(3)
    found = np.sqrt(np.mean(values.astype(np.float64) ** 2))
    deviation = np.sqrt((UNIFORM_KURTOSIS - 1) / 4 / values.size)
    return float(abs(found / expected - 1) / deviation)
