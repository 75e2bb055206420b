"""What a case runs with, and the first steps that the questions share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.cases import Case
from suite.data import Dataset, Split, stratified_subset, without_leaked
from suite.data.split import pixels
from suite.errors import FixError
from suite.measure.checkpoint import Checkpoint
from suite.measure.kept import Kept
from suite.measure.statistics import recompute_statistics
from suite.measure.weights import initial_model
from suite.networks.architectures import PRETRAINED_INPUTS
from suite.networks.batch_norm import batch_norms, state_kept
from suite.networks.fixes import Fixed, apply
from suite.networks.phases import TRAINING
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
        kept: What other seeds of the case compiled; None where each compiles its own.
        file: Weights that the case starts from, where the user gave a file of them.
        checkpoint: Where the training is kept after each epoch; None where it is too short.
    """

    case: Case
    seed: int
    stack: Stack
    train: Split
    test: Split
    environment: Mapping[str, Any]
    pedantic: Pedantic | None = None
    kept: Kept | None = None
    file: Path | None = None
    checkpoint: Checkpoint | None = None


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
    """Make the case's model with its initial weights and apply the fix to it.

    Raises:
        FixError: If this release cannot take the fix, or its attack would change no pixel.
    """
    model = initial_model(
        run.stack, run.case, seed=run.seed, environment=run.environment, kept=run.kept,
        file=run.file,
    )  # fmt: skip
    fixed = apply(
        run.case.fix,
        run.stack.keras,
        model,
        phases=run.case.phases,
        batch_size=run.case.batch_size,
        epochs=run.case.epochs,
        recompute=lambda fixed: recompute(run, fixed),
        inputs=PRETRAINED_INPUTS,
    )
    if fixed.phases and fixed.phases.attack == TRAINING and any(batch_norms(fixed.branch)):
        require_perturbing(run, fixed)
    return fixed


def require_perturbing(run: Run, fixed: Fixed) -> None:
    """Refuse an attack in the training phase that changes no pixel of a batch.

    CleverHans for JAX takes the gradient image by image. A BatchNorm that sees one value of each
    image then puts out its beta, whatever the value, and no gradient comes back: the loss would
    be the plain one under another name.

    Raises:
        FixError: If the images stay as they are.
    """
    images, _ = probe(run.train, fixed.batch_size)
    with state_kept(fixed.branch):
        network = run.stack.network(fixed.branch)
        perturbed = network.craft(images, epsilon=run.case.epsilon, training=True)
    if np.array_equal(perturbed, images):
        raise FixError(
            f"The fix {run.case.fix} attacks in the training phase, and that attack changes no "
            f"pixel here: the case {run.case} would train on clean images alone. CleverHans for "
            "JAX takes the gradient image by image, and a BatchNorm that sees one value of each "
            "image lets none through. Take another release for this case, or larger images."
        )


def recompute(run: Run, model: Model) -> None:
    """Replace the moving statistics of `model` by those of the training images."""
    images, _ = probe(run.train, PRECISE_IMAGES)
    recompute_statistics(run.stack, model, images, batch_size=run.case.batch_size)


def probe(split: Split, count: int) -> tuple[Images, Labels]:
    """Take the first `count` images of `split`, which is in random order, and their labels."""
    return pixels(split.images[:count]), split.labels[:count].astype(np.int64)
