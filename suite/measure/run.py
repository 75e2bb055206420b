"""What a case runs with, and the first steps that the questions share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.cases import Case
from suite.data import Dataset, Split, stratified_subset, without_leaked
from suite.data.split import pixels
from suite.measure.statistics import recompute_statistics
from suite.measure.weights import initial_model
from suite.networks.architectures import PRETRAINED_INPUTS
from suite.networks.fixes import Fixed, apply
from suite.networks.types import Images, Labels, Model
from suite.stacks.protocol import Stack

if TYPE_CHECKING:
    from typing import TypeAlias

Pedantic: TypeAlias = "Callable[..., Any]"
"""The signature of pytest-benchmark's `benchmark.pedantic`."""

PRECISE_IMAGES = 1024  # to recompute the statistics on: 32 batches of 32; fvcore takes 200 batches


class Run(NamedTuple):
    """What a case runs with.

    Attributes:
        case: The row.
        seed: Decides the subsets, the weights and the order of the batches.
        stack: The framework under measurement.
        train: The images to train on.
        test: The images to evaluate on.
        environment: Versions, digests and machine.
        pedantic: pytest-benchmark's timer; None unless the question is the time of a step.
    """

    case: Case
    seed: int
    stack: Stack
    train: Split
    test: Split
    environment: Mapping[str, Any]
    pedantic: Pedantic | None = None


class Measured(NamedTuple):
    """The answer to a case's question: the fields of `suite.records.Record` that are measured."""

    metrics: dict[str, float]
    curves: dict[str, list[float]]
    statistics: list[dict[str, Any]]
    timing: dict[str, Any]


def subsets(case: Case, dataset: Dataset, *, seed: int) -> tuple[Split, Split]:
    """Draw the training and test images of `case`; test images that leaked are left out."""
    test = without_leaked(dataset.test)
    return (
        stratified_subset(dataset.train, case.train_images or len(dataset.train.labels), seed=seed),
        stratified_subset(test, case.test_images or len(test.labels), seed=seed),
    )


def fixed_training(run: Run) -> Fixed:
    """Make the case's model with its initial weights and apply the fix to it."""
    model = initial_model(run.stack, run.case, seed=run.seed, environment=run.environment)
    return apply(
        run.case.fix,
        run.stack.keras,
        model,
        phases=run.case.phases,
        batch_size=run.case.batch_size,
        epochs=run.case.epochs,
        recompute=lambda fixed: recompute(run, fixed),
        inputs=PRETRAINED_INPUTS,
    )


def recompute(run: Run, model: Model) -> None:
    """Replace the moving statistics of `model` by those of the training images."""
    images, _ = probe(run.train, PRECISE_IMAGES)
    recompute_statistics(run.stack, model, images, batch_size=run.case.batch_size)


def probe(split: Split, count: int) -> tuple[Images, Labels]:
    """Take the first `count` images of `split`, which is in random order, and their labels."""
    return pixels(split.images[:count]), split.labels[:count].astype(np.int64)
