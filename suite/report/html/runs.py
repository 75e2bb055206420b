"""Runs: what the page shows of a record, thinned out as it is read, so that thousands fit."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.cases import PLAIN
from suite.judge.study import SMOOTHED_STEPS, running_gains, window
from suite.records import Record

if TYPE_CHECKING:
    from typing import TypeAlias

Curves: TypeAlias = "dict[str, list[float]]"
"""Columns of one length by name, the first over which the others are drawn."""

POINTS = 20  # of a curve over the steps that are kept, evenly spread
EPOCHS = 6  # likewise over the epochs
MOMENTS = 6  # at which the distance of BatchNorm's statistics is kept
SIZE_PX = 512  # of an example's image at most: more is no example, and would fill the page
STEP, EPOCH = "step", "epoch"
GAINS = ("gain, clean branch", "gain, adversarial branch")
ACCURACIES = {
    "accuracy, clean batches": "step_clean_accuracy",
    "accuracy, adversarial batches": "step_adversarial_accuracy",
}
EVALUATIONS = {
    "inference, clean": "clean_accuracy",
    "inference, adversarial": "adversarial_accuracy",
    "training phase, clean": "training_phase_clean_accuracy",
    "training phase, adversarial": "training_phase_adversarial_accuracy",
    "gain, inference": "information_gain",
    "gain, training phase": "training_phase_information_gain",
}
"""Curves over the epochs by what they are called here; accuracies on test images, then gains."""


class Norm(NamedTuple):
    """How far a BatchNorm layer's moving statistics are from those of its batches.

    Attributes:
        layer: Its name.
        step: After how many steps; None for the end of the training.
        mean_shift: Of the means, in standard deviations of the batches.
        log_variance_ratio: Natural logarithm of the ratio of the variances.
    """

    layer: str
    step: int | None
    mean_shift: float
    log_variance_ratio: float


class Example(NamedTuple):
    """An image that a network was shown, clean and perturbed, with what it said.

    Attributes:
        clean: ``(size, size, 3)``, uint8.
        perturbed: Likewise.
        label: What it shows.
        said: The most probable labels on the clean image, then on the perturbed one, by text.
    """

    clean: np.ndarray
    perturbed: np.ndarray
    label: str
    said: tuple[Mapping[str, float], Mapping[str, float]]


class Run(NamedTuple):
    """What the page shows of one record.

    Attributes:
        record: The record without curves, statistics and times.
        stored: True where it is part of a baseline.
        steps: Columns over the steps, the first called `STEP`; empty without curves.
        epochs: Columns over the epochs, the first called `EPOCH`; likewise.
        norms: The distances of BatchNorm's statistics.
        confusion: Number of test images by label and prediction.
        example: An image with what the network says of it; None where there is none.
        faults: What of the record could not be understood.
    """

    record: Record
    stored: bool
    steps: Curves
    epochs: Curves
    norms: Sequence[Norm] = ()
    confusion: Mapping[tuple[str, str], int] = {}
    example: Example | None = None
    faults: Sequence[str] = ()

    @property
    def side(self) -> str:
        """What its row is called, with a word where it is a stored baseline."""
        return f"{self.record.release} (stored)" if self.stored else self.record.release


def run_of(record: Record, *, stored: bool) -> Run:
    """Keep of a record what the page shows; what cannot be understood is told in `Run.faults`."""
    faults: list[str] = []
    found = _statistics(record, faults)
    return Run(
        record=Record.of_json({**vars(record), "curves": {}, "statistics": [], "timing": {}}),
        stored=stored,
        steps=_steps(record, faults),
        epochs=_epochs(record),
        faults=faults,
        **found,
    )


def spread(count: int, most: int) -> list[int]:
    """Choose at most so many of `count` places, evenly spread, the first and the last included."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most))})


def _steps(record: Record, faults: list[str]) -> Curves:
    """Keep the curves over the steps: gains of both branches, accuracies of their batches."""
    columns: dict[str, np.ndarray] = {}
    try:
        with np.errstate(all="ignore"):  # of curves that are not finite
            columns.update(_gains(record))
    except (LookupError, TypeError, ValueError) as error:
        faults.append(f"its gains cannot be drawn ({type(error).__name__}: {error})")
    for name, key in ACCURACIES.items():
        if record.curves.get(key):
            columns[name] = _running(record.curves[key])
    if not columns:
        return {}
    count = min(map(len, columns.values()))
    places = spread(count, POINTS)
    first = SMOOTHED_STEPS if count > SMOOTHED_STEPS else 1
    return {
        STEP: [float(place + first) for place in places],
        **{name: [float(values[place]) for place in places] for name, values in columns.items()},
    }


def _gains(record: Record) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the running information gain of each branch that was recorded."""
    losses = {GAINS[0]: PLAIN, GAINS[1]: record.settings.get("loss")}
    for name, key in zip(GAINS, ("step_clean_ce", "step_adversarial_ce")):
        if record.curves.get(key):
            own = Record.of_json(
                {**vars(record), "settings": {**record.settings, "loss": losses[name]}}
            )
            if window(own):
                yield name, running_gains(own)


def _running(curve: Sequence[float]) -> np.ndarray:
    """Average a curve over the last steps, as the gains are."""
    steps = min(SMOOTHED_STEPS, len(curve))
    values = np.asarray(curve, dtype=np.float64)
    with np.errstate(all="ignore"):
        return np.convolve(values, np.full(steps, 1 / steps), mode="valid")


def _epochs(record: Record) -> Curves:
    """Keep the evaluations after the epochs; a single one is no curve, but is a point."""
    told = {name: record.curves.get(key) for name, key in EVALUATIONS.items()}
    there = {name: values for name, values in told.items() if values}
    if not there:
        return {}
    places = spread(min(map(len, there.values())), EPOCHS)
    return {
        EPOCH: [float(place + 1) for place in places],
        **{name: [float(values[place]) for place in places] for name, values in there.items()},
    }


def _statistics(record: Record, faults: list[str]) -> dict[str, Any]:
    """Keep what the rows of statistics of a training tell."""
    if record.question not in ("training", "fixes"):
        return {}
    norms: list[Norm] = []
    confusion: dict[tuple[str, str], int] = {}
    example = None
    for row in record.statistics:
        try:
            if "image" in row:
                example = _example(row)
            elif "predicted" in row:
                counts = dict(row["predicted"])
                confusion.update({(str(row["label"]), str(n)): int(c) for n, c in counts.items()})
            else:
                norms.append(_norm(row))
        except (ArithmeticError, LookupError, TypeError, ValueError, zlib.error) as error:
            faults.append(f"a row of its statistics is none ({type(error).__name__}: {error})")
    return {"norms": _thinned(norms), "confusion": confusion, "example": example}


def _norm(row: Mapping[str, Any]) -> Norm:
    """Read a row about a BatchNorm layer."""
    step = row.get("step")
    return Norm(
        str(row["layer"]),
        None if step is None else int(step),
        float(row["mean_shift"]),
        float(row["log_variance_ratio"]),
    )


def _thinned(norms: Sequence[Norm]) -> list[Norm]:
    """Keep the distances at some of the steps alone, the first and the last included.

    Where the same layers are told over time, a row without a step is the end, and told already.
    """
    steps = sorted({norm.step for norm in norms if norm.step is not None})
    if not steps:
        return [*norms]
    kept = {steps[place] for place in spread(len(steps), MOMENTS)}
    return [norm for norm in norms if norm.step in kept]


def _example(row: Mapping[str, Any]) -> Example:
    """Read a row about an example.

    Raises:
        ValueError: If the images are not of the size that it states.
    """
    size = int(row["size_px"])
    said = [_probabilities(row[f"{name}_probabilities"]) for name in ("clean", "perturbed")]
    clean, perturbed = (_image(str(row[name]), size) for name in ("image", "perturbed"))
    return Example(clean, perturbed, str(row["label"]), (said[0], said[1]))


def _image(text: str, size: int) -> np.ndarray:
    """Unpack an image; no more of it than it should hold, whatever it would unpack to.

    Raises:
        ValueError: If it holds less or more.
    """
    if not 0 < size <= SIZE_PX:
        raise ValueError(f"size_px must be from 1 to {SIZE_PX}. Received: {size}")
    wanted = size * size * 3
    content = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), wanted + 1)
    if len(content) != wanted:
        raise ValueError(f"an image must have {wanted} bytes. Received: {len(content)} or more")
    return np.frombuffer(content, dtype=np.uint8).reshape(size, size, 3)


def _probabilities(found: Mapping[str, Any]) -> dict[str, float]:
    """Read the most probable labels, the most probable first."""
    pairs = [(str(label), float(value)) for label, value in dict(found).items()]
    return dict(sorted(pairs, key=lambda pair: -pair[1] if math.isfinite(pair[1]) else math.inf))


def mean(values: Sequence[float]) -> float | None:
    """Average numbers; None without one.

    Of numbers that are not finite, or together too large for one, the mean is not finite either.
    """
    if not values:
        return None
    with np.errstate(all="ignore"):
        return float(np.mean(np.asarray(values, dtype=np.float64)))


def mean_curves(found: Iterable[Curves]) -> tuple[Curves, int]:
    """Average columns over runs, place by place.

    Returns:
        The means over those runs that have the same columns over the same steps, as most of the
        runs have them, and the number of these runs; the others are left out. Nothing and 0 where
        no run has a column beside its axis.
    """
    alike: dict[tuple[Any, ...], list[Curves]] = {}
    for curves in found:
        if len(curves) > 1:
            key = (*curves, *curves[next(iter(curves))])
            alike.setdefault(key, []).append(curves)
    if not alike:
        return {}, 0
    most = max(alike.values(), key=len)
    with np.errstate(all="ignore"):  # the mean of infinities is NaN
        means = {name: np.mean([c[name] for c in most], axis=0).tolist() for name in most[0]}
    return means, len(most)
