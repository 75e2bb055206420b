"""The diagnosis: a network examined, its cause named, the steps to mend it counted."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from suite.diagnose.causes.rules import judge
from suite.diagnose.examine import examine
from suite.diagnose.found import Diagnosis, Examination, Finding
from suite.diagnose.network import Network, demand_eager, keras_of
from suite.diagnose.sample import Sample, sampled
from suite.diagnose.statistics import Moments, after, symmetric_kl, target
from suite.networks.types import Keras, Model

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def diagnose(
    model: Model,
    images: ArrayLike,
    labels: ArrayLike,
    *,
    batch_size: int = 32,
    keras: Keras | None = None,
    classes: int | None = None,
    max_images: int = 256,
    check_steps: int = 300,
    check_s: float = 20.0,
    seed: int = 0,
) -> Diagnosis:
    """Return what is wrong with `model`, which is left as it was.

    Args:
        model: A built Keras model with one output of logits or probabilities.
        images: ``(n, height, width, channels)``, scaled as the model is fed.
        labels: ``(n,)`` integers in [0, outputs).
        batch_size: Images in a batch of the training phase.
        keras: The Keras module of the model; by default its class's.
        classes: Number of classes of the labels; by default the model's outputs.
        max_images: Images examined at most, drawn at random by `seed`.
        check_steps: Training-phase passes made at most to check the steps needed.
        check_s: Seconds those passes may take.
        seed: Of the draw of the images.

    Raises:
        ValueError: If the images or labels cannot be those of the model.
        SuiteError: If the model cannot be examined.
    """
    network = Network(model, keras or keras_of(model))
    demand_eager(model)
    sample = sampled(model, np.asarray(images), np.asarray(labels), limit=max_images, seed=seed)
    with network.kept():
        examination = examine(network, sample, batch_size=batch_size, classes=classes)
    finding = judge(examination)
    with network.kept():
        check = _check_steps(
            network, sample, examination, steps=check_steps, batch_size=batch_size, limit_s=check_s
        )
    return _diagnosis(examination, finding, check)


class Check(NamedTuple):
    """The steps that the momentum needs, and whether they do it.

    Attributes:
        needed: By the slowest layer.
        run: Made.
        predicted_kl: Of that layer, after `run`, as its momentum has it; nan where none was made.
        measured_kl: The same, measured.
        layer: Its name; "" where all statistics fit.
    """

    needed: float
    run: int
    predicted_kl: float
    measured_kl: float
    layer: str


def _check_steps(
    network: Network,
    sample: Sample,
    examination: Examination,
    *,
    steps: int,
    batch_size: int,
    limit_s: float,
) -> Check:
    """Run the training phase on the sample with fixed weights, and see the statistics follow."""
    nan = float("nan")
    layers = examination.layers
    if not layers:
        return Check(0.0, 0, nan, nan, "")
    slowest = int(np.argmax([layer.steps_needed for layer in layers]))
    needed, name = layers[slowest].steps_needed, layers[slowest].layer
    planned = int(min(needed, steps))
    if needed == 0 or not np.isfinite(needed) or planned == 0:
        return Check(needed, 0, nan, nan, name if needed else "")
    before = network.statistics()[slowest]
    heard, made = _train(
        network, sample, slowest, steps=planned, batch_size=batch_size, limit_s=limit_s
    )
    goal, epsilon = target(heard), layers[slowest].epsilon
    predicted = after(before, goal, layers[slowest].momentum ** len(heard))
    return Check(
        needed,
        made,
        symmetric_kl(predicted, goal, epsilon),
        symmetric_kl(network.statistics()[slowest], goal, epsilon),
        name,
    )


def _train(
    network: Network, sample: Sample, layer: int, *, steps: int, batch_size: int, limit_s: float
) -> tuple[list[Moments], int]:
    """Run the training phase with fixed weights; return what the layer saw, and the steps made."""
    batches = network.batches(sample.images, batch_size=batch_size)
    heard: list[Moments] = []
    started, made = time.perf_counter(), 0
    for batch in itertools.islice(itertools.cycle(batches), steps):
        made += 1
        seen = network.hear_norms(batch, training=True, batch_size=len(batch))
        heard.extend(seen.moments[layer])
        if time.perf_counter() - started > limit_s:
            break
    return heard, made


def _diagnosis(examination: Examination, finding: Finding, check: Check) -> Diagnosis:
    """Return the finding with what was measured, and the steps in words."""
    shown = ("inference", "training", "batch statistics", "precise-bn")
    return Diagnosis(
        verdict=finding.verdict,
        cause=finding.cause,
        layer=finding.layer,
        fix=finding.fix,
        steps_needed=check.needed,
        steps_run=check.run,
        predicted_kl=check.predicted_kl,
        measured_kl=check.measured_kl,
        words=(*finding.words, *steps_in_words(check)),
        evaluations={
            name: examination.evaluations[name] for name in shown if name in examination.evaluations
        },
        layers=examination.layers,
        images=examination.images,
        classes=examination.classes,
        label_entropy=examination.label_entropy,
    )


def steps_in_words(check: Check) -> list[str]:
    """Return what the statistics need of steps, and what came of running them."""
    if not check.layer:
        return []
    if not np.isfinite(check.needed):
        return [
            f"The moving statistics of {check.layer} do not fit these images, and no number of "
            "training steps will mend that: nothing updates them."
        ]
    told = (
        f"The moving statistics of {check.layer} need {check.needed:.0f} more training-phase steps "
        "to fit these images, by its momentum"
    )
    if not check.run:
        return [f"{told}; not checked by running them."]
    return [
        f"{told}; {check.run} were run with fixed weights: its symmetric KL is predicted to be "
        f"{check.predicted_kl:.3g} and was {check.measured_kl:.3g} nats."
    ]
