"""The training loop, the seeds of its batches, its schedule, its evaluation, and the only clock."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import log_softmax
from tqdm import tqdm

from suite.data import CLASSES, Split, label_entropy
from suite.stacks import Images, Labels, Logits, Network, StepResult, TrainStep

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

DECAY = 1e-6  # of the learning rate, a step, as published
DROP_EPOCHS = 10  # epochs after which the learning rate falls tenfold, as published
PGD_STEPS = 10
PGD_IMAGES = 320  # each costs ten attacks; accuracy is known to 0.03
EVALUATION_BATCH = 32  # as in training, since a batch is its own statistics in the training phase

Floats: TypeAlias = "NDArray[np.float64]"


class Batch(NamedTuple):
    """One training batch and its place: ``step`` over the whole run, ``epoch`` from 0."""

    step: int
    epoch: int
    images: Images
    labels: Labels


class TimedStep(NamedTuple):
    """What a step measured and how long it took, in seconds."""

    batch: Batch
    result: StepResult
    step_s: float


def clock_s() -> float:
    """Return the time of the only clock, in seconds from an arbitrary origin."""
    return time.perf_counter()


def pixels(images: NDArray[np.uint8]) -> Images:
    """Return uint8 images ``(batch, height, width, 3)`` as float32 in [0, 1]."""
    return images.astype(np.float32) / np.float32(255)


def learning_rate(base: float, *, step: int, epoch: int) -> float:
    """Return the published schedule: tenfold drops every 10 epochs and a decay of 1e-6 a step."""
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
    """Return the result and the duration of one step; the step itself waits for the device."""
    rate = learning_rate(base_rate, step=batch.step, epoch=batch.epoch)
    start_s = clock_s()
    result = step(batch.images, batch.labels, rate)
    return TimedStep(batch, result, clock_s() - start_s)


def train(
    step: TrainStep, source: Iterable[Batch], *, steps: int, base_rate: float, title: str
) -> Iterator[TimedStep]:
    """Yield each step of the training after it was made, and show the progress on the terminal."""
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
    """Return the seconds between two signs of progress: few on a terminal, many in a log file."""
    return 0.5 if sys.__stderr__ and sys.__stderr__.isatty() else 20.0


def log_likelihood(logits: Logits, labels: Labels) -> Floats:
    """Return the log probability of each image's label, ``(batch,)`` in nats."""
    with np.errstate(invalid="ignore"):  # an infinite logit is recorded, not raised
        scores: Floats = log_softmax(logits.astype(np.float64), axis=1)
    return scores[np.arange(len(labels)), labels]


def cross_entropy(logits: Logits, labels: Labels) -> float:
    """Return the mean cross-entropy of `logits`, in nats; NaN where a logit is NaN."""
    return -float(log_likelihood(logits, labels).mean())


def evaluate(network: Network, split: Split, *, epsilon: float, training: bool) -> dict[str, float]:
    """Return clean and FGSM accuracy, information gain and classes predicted in one phase.

    In the training phase every batch is normalised by itself and would move the moving
    statistics; they are put back, so that evaluating leaves the model as it was.
    """
    labels = split.labels.astype(np.int64)
    state = network.model.get_weights() if training else None
    clean = _logits(split, lambda x: network.logits(x, training=training))
    perturbed = _attacked(network, split, epsilon=epsilon, training=training)
    if state is not None:
        network.model.set_weights(state)
    predicted = clean.argmax(axis=1)
    return {
        "clean_accuracy": float((predicted == labels).mean()),
        "adversarial_accuracy": float((perturbed.argmax(axis=1) == labels).mean()),
        "information_gain": label_entropy(labels) - cross_entropy(clean, labels),
        "adversarial_information_gain": label_entropy(labels) - cross_entropy(perturbed, labels),
        "classes_predicted": float(np.count_nonzero(np.bincount(predicted, minlength=CLASSES))),
    }


def pgd_accuracy(network: Network, split: Split, *, epsilon: float, training: bool) -> float:
    """Return the accuracy on the first images of `split` under PGD (Madry et al. 2018).

    Ten steps of 2.5 epsilon / 10 from a random start, labels the model's own predictions, as
    for FGSM. The model is left as it was.
    """
    few = _first(split, PGD_IMAGES)
    state = network.model.get_weights()
    logits = _attacked(network, few, epsilon=epsilon, training=training, steps=PGD_STEPS)
    network.model.set_weights(state)
    return float((logits.argmax(axis=1) == few.labels).mean())


def _first(split: Split, count: int) -> Split:
    """Return the first `count` images."""
    images, labels, tracks, names = split
    return Split(images[:count], labels[:count], tracks[:count], names[:count])


def _attacked(
    network: Network, split: Split, *, epsilon: float, training: bool, steps: int = 1
) -> Logits:
    """Return the logits of all images, attacked and classified in the phase `training`."""

    def attacked(images: Images) -> Logits:
        perturbed = network.craft(images, epsilon=epsilon, training=training, steps=steps)
        return network.logits(perturbed, training=training)

    return _logits(split, attacked)


def _logits(split: Split, forward: Callable[[Images], Logits]) -> Logits:
    """Return `forward` of all images; the last batch is filled up from the first images."""
    count = len(split.labels)
    starts = range(0, count, EVALUATION_BATCH)
    chosen = [np.arange(start, start + EVALUATION_BATCH) % count for start in starts]
    return np.concatenate([forward(pixels(split.images[indices])) for indices in chosen])[:count]
