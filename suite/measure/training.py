"""The training loop, the order of its batches, its schedule, and the only clock."""

from __future__ import annotations

import math
import os
import statistics
import sys
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from shutil import get_terminal_size
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from suite.data import Split, label_entropy
from suite.data.split import pixels
from suite.networks.types import Images, Labels
from suite.stacks.protocol import StepResult, TrainStep

DECAY = 1e-6  # of the learning rate per step, as published
DROP_EPOCHS = 10  # epochs after which the learning rate falls tenfold, as published
WARMUP_STEPS = 2  # dropped from every timing: they compile and allocate
LIVE_S = 0.5  # between two looks of the live line
LIFE_S = 30.0  # between two signs of life where there is no terminal: many pile up in a log
RECENT = 20  # steps that the numbers shown are averaged over: those of one batch jump about
LINE = "\x1b[K{bar:0}{n_fmt}/{total_fmt}, {remaining} left{postfix}, {desc}"
"""The live line: it clears what stands there first, and a narrow terminal cuts its end. For that
some versions of tqdm want a bar, which has no width here."""


class Batch(NamedTuple):
    """One training batch and its place in the training.

    Attributes:
        step: Counts from 0 over the whole training.
        epoch: Counts from 0.
        images: ``(batch, height, width, 3)`` in [0, 1].
        labels: ``(batch,)``.
        entropy: Of the labels of the whole split, in nats; NaN where it is not known.
    """

    step: int
    epoch: int
    images: Images
    labels: Labels
    entropy: float = math.nan


class TimedStep(NamedTuple):
    """What a step measured and how long it took, in seconds; its images are not kept."""

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
    entropy = label_entropy(split.labels)
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(split.labels))
        for index in range(per_epoch):
            chosen = np.sort(order[index * batch_size : (index + 1) * batch_size])
            yield Batch(
                epoch * per_epoch + index,
                epoch,
                pixels(split.images[chosen]),
                split.labels[chosen].astype(np.int64),
                entropy,
            )


def timed(step: TrainStep, batch: Batch, *, base_rate: float) -> TimedStep:
    """Make one step and time it; the step itself waits for the device."""
    rate = learning_rate(base_rate, step=batch.step, epoch=batch.epoch)
    start_s = clock_s()
    result = step(batch.images, batch.labels, rate)
    return TimedStep(result, clock_s() - start_s)


def train(
    step: TrainStep,
    source: Iterable[Batch],
    *,
    steps: int,
    base_rate: float,
    title: str,
    made: int = 0,
) -> Iterator[TimedStep]:
    """Train, yielding each step once it is made, and show how it goes.

    A terminal has one line, which is gone at the end; elsewhere a line comes every `LIFE_S`.
    Of all `steps`, `made` were made before, by another process.
    """
    recent: deque[StepResult] = deque(maxlen=RECENT)
    begun_s = told_s = clock_s()
    with _live_line(title, steps, made) as bar:
        for count, batch in enumerate(source, start=made + 1):
            done = timed(step, batch, base_rate=base_rate)
            recent.append(done.result)
            if not bar.disable:
                bar.set_postfix_str(in_words(recent, batch.entropy), refresh=False)
                bar.update()
            elif clock_s() - told_s > LIFE_S:
                told_s = clock_s()
                left = tqdm.format_interval((told_s - begun_s) / (count - made) * (steps - count))
                words = f"{count}/{steps}, {left} left, {in_words(recent, batch.entropy)}, {title}"
                tqdm.write(words, file=sys.__stderr__)
            yield done


def _live_line(title: str, steps: int, made: int) -> tqdm[Any]:
    """Begin the live line, past pytest's capture; it stays away where there is no terminal."""
    columns, rows = get_terminal_size()  # zeros where a terminal does not tell them
    return tqdm(
        total=steps, initial=made, desc=title, file=sys.__stderr__, disable=not is_live(),
        leave=False, mininterval=LIVE_S, miniters=1, ncols=columns or 80, nrows=rows or 24,
        bar_format=LINE,
    )  # fmt: skip


def is_live() -> bool:
    """True where a line can be written over: on a terminal that is no dumb one."""
    terminal = sys.__stderr__ is not None and sys.__stderr__.isatty()
    return terminal and os.environ.get("TERM") != "dumb"


def in_words(recent: Collection[StepResult], entropy: float) -> str:
    """Put the last steps into words: loss, accuracy on clean images, information gain.

    The gain is that of the adversarial branch, if there is one: where it stays near 0, the
    training stalls.

    Args:
        recent: What these steps measured.
        entropy: Of the labels of the split, in nats.
    """
    last = (r.clean_ce if r.adversarial_ce is None else r.adversarial_ce for r in recent)
    gain = entropy - sum(last) / len(recent)
    loss = sum(result.loss for result in recent) / len(recent)
    accuracy = sum(result.clean_accuracy for result in recent) / len(recent)
    return f"loss {loss:.3f}, accuracy {100 * accuracy:.0f} %, gain {gain:+.2f} nats"


def step_timing(done: Sequence[TimedStep], batch_size: int) -> dict[str, Any]:
    """Compute the median duration of a step after the warm-up, and its images per second."""
    median_s = statistics.median(made.step_s for made in done[WARMUP_STEPS:] or done)
    return {"step_s": median_s, "images_per_s": batch_size / median_s}
