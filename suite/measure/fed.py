"""Fed: what a case's steps and its evaluation are given: images, order, schedule, test images."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from suite.data import Split, stratified_subset
from suite.measure.evaluation import evaluate
from suite.measure.run import Run
from suite.measure.summaries import rounded
from suite.measure.training import Batch, batches, timed
from suite.networks.batch_norm import batch_norms
from suite.networks.types import Images, Labels
from suite.records import json_digest
from suite.stacks.protocol import Network, StepResult, TrainStep

if TYPE_CHECKING:
    from suite.measure.summaries import Entry

EPOCHS = 20  # whose order of batches is told: each epoch must have its own
EVALUATED = 50  # test images that each state is evaluated on; the second batch is not full


def data(run: Run) -> Entry:
    """Describe what a case trains on, in which order, and what it is evaluated on."""
    order = {"batch_size": run.case.batch_size, "seed": run.seed}
    fed: dict[int, list[tuple[str, str]]] = {}
    for batch in batches(run.train, epochs=EPOCHS, **order):
        fed.setdefault(batch.epoch, []).append((digest(batch.images), digest(batch.labels)))
    told = {
        "training_images": _told(run.train),
        "epochs": [json_digest([images for images, _ in made]) for made in fed.values()],
        "labels": [json_digest([labels for _, labels in made]) for made in fed.values()],
        "test_images": _told(run.test),
        "leaked": _shared(run.train, run.test),
        "batches": [len(batch.labels) for batch in batches(_uneven(run), epochs=1, **order)],
        "seeds": [_drawn_by(run, seed) for seed in (run.seed + 1, run.seed + 2)],
    }
    return {"step": 0, "quantity": "data", "layer": "", "digest": json_digest(told), **told}


def _told(split: Split) -> list[int | str]:
    """Count the images of a split, and digest them and their labels."""
    return [len(split.labels), digest(split.images), digest(split.labels)]


def _shared(train: Split, test: Split) -> int:
    """Count the test images that the training images contain, byte for byte."""
    known = {image.tobytes() for image in train.images}
    return sum(image.tobytes() in known for image in test.images)


def _uneven(run: Run) -> Split:
    """Take training images that make two batches and a half."""
    images, labels, tracks, names = run.train
    few = slice(5 * run.case.batch_size // 2)
    return Split(images[few], labels[few], tracks[few], names[few])


def _drawn_by(run: Run, seed: int) -> str:
    """Digest which training images another seed draws, and in which order it feeds them."""
    few = stratified_subset(run.train, 2 * run.case.batch_size, seed=seed)
    fed = batches(run.train, batch_size=run.case.batch_size, epochs=1, seed=seed)
    return json_digest([digest(few.images), *(digest(batch.images) for batch in fed)])


def evaluation(run: Run, network: Network) -> Entry:
    """Evaluate the present weights as every training does, on the first images of the test."""
    images, labels, tracks, names = run.test
    first = slice(EVALUATED)
    few = Split(images[first], labels[first], tracks[first], names[first])
    found = evaluate(network, few, epsilon=run.case.epsilon, training=False)
    if any(batch_norms(network.model)):
        found.update(_by_its_batches(network, few, epsilon=run.case.epsilon))
    numbers = {name: rounded(value) for name, value in found.items()}
    shown = {"images": len(few.labels), "shown": digest(few.images, few.labels)}
    return {"step": 0, "quantity": "evaluation", "layer": "", **shown, **numbers}


def _by_its_batches(network: Network, few: Split, *, epsilon: float) -> dict[str, float]:
    """Evaluate in the training phase, and tell how far that leaves any weight from where it was."""
    before = network.model.get_weights()
    found = evaluate(network, few, epsilon=epsilon, training=True)
    apart = [np.max(np.abs(old - new)) for old, new in zip(before, network.model.get_weights())]
    network.model.set_weights(before)
    return {
        "training_phase_information_gain": found["information_gain"],
        "weights_moved": float(max(apart)),
    }


def schedule() -> Entry:
    """Describe the schedule that a training follows, which only a long one would show."""
    asked = TrainStep(_asked_rate, None)
    images, labels = np.zeros(0, np.float32), np.zeros(0, np.int64)
    made = [
        timed(asked, Batch(step, epoch, images, labels), base_rate=1.0)
        for epoch, step in enumerate(range(0, 7500, 300))
    ]
    rates = [step.result.loss for step in made]
    return {
        "quantity": "schedule",
        "layer": "",
        "digest": json_digest([rounded(rate) for rate in rates]),
        "rates": [rounded(rates[epoch]) for epoch in (0, 9, 10, 20)],
    }


def _asked_rate(_: Images, __: Labels, rate: float) -> StepResult:
    """Stand for a step whose loss is the rate that the training asks of it."""
    return StepResult(rate, rate, rate)


def batch_entry(images: Images, labels: Labels, rate: float) -> Entry:
    """Describe a batch by its digest, with the learning rate that its step is given."""
    told = {"pixels": digest(images), "labels": digest(labels)}
    return {
        "quantity": "batch",
        "layer": "",
        "digest": json_digest(told),
        **told,
        "images": len(labels),
        "learning_rate": rate,
    }


def digest(*arrays: np.ndarray) -> str:
    """Compute the sha256 of images, of labels or of both; labels may be integers of any size."""
    whole = hashlib.sha256()
    for array in arrays:
        whole.update(array.astype("<i8").tobytes() if array.ndim == 1 else array.tobytes())
    return whole.hexdigest()
