"""The training loop, the order of its batches, its schedule, and the only clock."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from suite.data import Split
from suite.data.split import pixels
from suite.networks.types import Images, Labels
from suite.stacks.protocol import StepResult, TrainStep

DECAY = 1e-6  # of the learning rate per step, as published
DROP_EPOCHS = 10  # epochs after which the learning rate falls tenfold, as published
WARMUP_STEPS = 2  # dropped from every timing: they compile and allocate


class Batch(NamedTuple):
    """One training batch and its place in the training.

    Attributes:
        step: Counts from 0 over the whole training.
        epoch: Counts from 0.
        images: ``(batch, height, width, 3)`` in [0, 1].
        labels: ``(batch,)``.
    """

    step: int
    epoch: int
    images: Images
    labels: Labels


class TimedStep(NamedTuple):
    """A step with its batch, what it measured and how long it took, in seconds."""

    batch: Batch
    result: StepResult
    step_s: float


def clock_s() -> float:
    """Read the only clock, in seconds from an arbitrary origin."""
    return time.perf_counter()


def learning_rate(base: float, *, step: int, epoch: int) -> float:
    """Follow the published schedule: a tenfold drop every 10 epochs, a decay of 1e-6 per step."""
    return base * 0.1 ** (epoch // DROP_EPOCHS) / (1 + DECAY * step)


def batches(split: Split, *, batch_size: int, epochs: int, seed: int) -> Iterator[Batch]:
    """Yield full batches of `split`, reshuffled every epoch by `seed`.

    Raises:
        ValueError: If a batch is larger than the split.
    """
    per_epoch = len(split.labels) // batch_size
    if not per_epoch:
        raise ValueError(
            f"batch_size must be at most {len(split.labels)}, the images. Received: {batch_size}"
        )
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(split.labels))
        for index in range(per_epoch):
            chosen = np.sort(order[index * batch_size : (index + 1) * batch_size])
            yield Batch(
                epoch * per_epoch + index,
                epoch,
                pixels(split.images[chosen]),
                split.labels[chosen].astype(np.int64),
            )


def timed(step: TrainStep, batch: Batch, *, base_rate: float) -> TimedStep:
    """Make one step and time it; the step itself waits for the device."""
    rate = learning_rate(base_rate, step=batch.step, epoch=batch.epoch)
    start_s = clock_s()
    result = step(batch.images, batch.labels, rate)
    return TimedStep(batch, result, clock_s() - start_s)


def train(
    step: TrainStep, source: Iterable[Batch], *, steps: int, base_rate: float, title: str
) -> Iterator[TimedStep]:
    """Train, yielding each step once it is made, and show the progress on the terminal."""
    pace_s = _pace_s()
    with tqdm(
        total=steps, desc=title, unit="step", file=sys.__stderr__,
        mininterval=pace_s, maxinterval=pace_s,
    ) as bar:  # fmt: skip
        for batch in source:
            done = timed(step, batch, base_rate=base_rate)
            bar.set_postfix(loss=f"{done.result.loss:.3f}", refresh=False)
            bar.update()
            yield done


def _pace_s() -> float:
    """Choose the seconds between two signs of progress: few on a terminal, many in a log file."""
    return 0.5 if sys.__stderr__ and sys.__stderr__.isatty() else 20.0


def step_timing(done: Sequence[TimedStep], batch_size: int) -> dict[str, Any]:
    """Compute the median duration of a step after the warm-up, and its images per second."""
    median_s = statistics.median(made.step_s for made in done[WARMUP_STEPS:] or done)
    return {"step_s": median_s, "images_per_s": batch_size / median_s}
