"""The diagnosis of a network: everything is measured, then judged, then put into words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from suite.diagnose.attempts import attempts
from suite.diagnose.causes.rules import judge
from suite.diagnose.causes.worth import GOOD, points
from suite.diagnose.examine import examine
from suite.diagnose.feeds import gathered
from suite.diagnose.found import (
    DIVERGED,
    HEALTHY,
    STALE,
    UNDECIDED,
    Diagnosis,
    Examination,
    Finding,
    LayerExamination,
)
from suite.diagnose.hearing import Steps
from suite.diagnose.inputs import positions
from suite.diagnose.loading import demand_eager, keras_of
from suite.diagnose.network import Network
from suite.diagnose.parts import STEPS, Begin, untold
from suite.diagnose.sample import Sample, called, samples
from suite.diagnose.statistics import after, symmetric_kl, target
from suite.diagnose.trials import SHOWN
from suite.networks.types import Keras, Model

MILD = (HEALTHY, UNDECIDED)
"""Verdicts that others are worse than, from the best on."""

PLAINLY = 0.2
"""Accuracy that recomputed statistics gain where no more samples need be examined."""

AS_MADE = ("weights not loaded", "not trained, or weights not loaded")
"""Causes that the weights show, whatever the samples."""

FIRST, LARGE = 96, 128 * 128
"""Samples that are examined first, three batches, where each has more positions than `LARGE` and
the network many layers; all are where these leave a doubt."""


def diagnose(
    model: Model,
    images: Any,
    labels: Any = None,
    *,
    output: Any = None,
    batch_size: int = 32,
    keras: Keras | None = None,
    classes: int | None = None,
    max_images: int = 256,
    check_steps: int = 300,
    check_s: float = 3.0,
    seed: int = 0,
    begin: Begin = untold,
) -> Diagnosis:
    """Find out what is wrong with `model`, which is left as it was.

    Args:
        model: A built Keras model whose outputs are logits or probabilities of classes.
        images: What the model is fed, scaled as it is fed: ``(n, height, width, channels)``, or
            series, tokens, volumes, tables; a dictionary or list of arrays for several inputs.
            Without `labels`, batches of both: a tf.data dataset, a keras Sequence or PyDataset, a
            generator.
        labels: ``(n,)`` class numbers or one-hot; ``(n, height, width)`` where each pixel has one;
            a dictionary of them by the names of the outputs where several have labels.
        output: Name or place of the output that is looked at; by default each that has labels.
        batch_size: Images in a batch of the training phase.
        keras: The Keras module of the model; by default its class's.
        classes: Number of classes of the labels; by default the model's outputs.
        max_images: Images examined at most, drawn at random by `seed`; where a pass of all takes
            long (pixels times layers), the first `FIRST` of them, and all if these leave a doubt.
        check_steps: Training-phase passes made at most to check the steps that stale statistics
            need.
        check_s: Seconds those passes may take.
        seed: Of the draw of the images.
        begin: Called with each of `suite.diagnose.parts.PARTS` that begins.

    Raises:
        ValueError: If the images or labels cannot be those of the model.
        SuiteError: If the model cannot be examined.
    """
    network = Network(model, keras or keras_of(model), begin)
    demand_eager(model)
    if labels is None:
        images, labels = gathered(model, images, count=max_images, seed=seed)
    plan = Steps(check_steps, batch_size, check_s)
    drawn = samples(network, images, labels, output=output, limit=max_images, seed=seed)
    names = getattr(model, "output_names", None) or []
    told = [called(sample.head.name, names) for sample in drawn]
    return worst(told, [_diagnosed(network, sample, plan, classes) for sample in drawn])


def _diagnosed(network: Network, sample: Sample, plan: Steps, classes: int | None) -> Diagnosis:
    """Diagnose the network by the samples of one output."""
    network.look_at(sample.head)
    for part in _parts(network, sample):
        with network.kept():
            examination = examine(network, part, batch_size=plan.batch_size, classes=classes)
        finding = judge(examination)
        if _settled(examination, finding):
            break
    told = plan if finding.verdict == STALE else plan._replace(most=0)
    with network.kept():
        check = _check_steps(network, part, examination.layers, told)
    return _diagnosis(examination, _with_count(finding, part, sample), check)


def _parts(network: Network, sample: Sample) -> list[Sample]:
    """Give the first samples, where a pass of all takes long, then all."""
    first = sample._replace(images=sample.images[:FIRST], labels=sample.labels[:FIRST])
    large = positions(sample.images) > LARGE and network.works_long(sample.images)
    several = len(np.unique(first.labels)) > 1
    return [first, sample] if large and several and len(sample.labels) > FIRST else [sample]


def _settled(found: Examination, finding: Finding) -> bool:
    """True where the first samples leave no doubt.

    So it is with a network that no trial can make much better, with numbers that are not finite,
    with weights as Keras makes them, and where recomputed statistics gain `PLAINLY`.
    """
    fine = finding.verdict == HEALTHY and found.inference.evaluation.accuracy >= GOOD
    plain = finding.verdict == DIVERGED or finding.cause in AS_MADE
    if finding.verdict == STALE and found.precise is not None:
        return points(found.inference, found.precise) >= PLAINLY
    return fine or plain


def _with_count(finding: Finding, part: Sample, sample: Sample) -> Finding:
    """Say that the first samples were enough, if they were."""
    count, given = len(part.labels), len(sample.labels)
    if count == given:
        return finding
    words = (
        f"The first {count} of {given} images, in random order, were enough to tell: a pass of all "
        "takes long, so the others were not run."
    )
    return finding._replace(words=(*finding.words, words))


def worst(names: Sequence[Any], found: Sequence[Diagnosis]) -> Diagnosis:
    """Pick the first diagnosis of the worst kind, and say what the others are.

    Args:
        names: Of the outputs.
        found: The diagnosis of each.
    """
    if len(found) == 1:
        return found[0]
    kinds = [MILD.index(each.verdict) if each.verdict in MILD else len(MILD) for each in found]
    place = kinds.index(max(kinds))
    told = ", ".join(f"{name}: {each.cause or each.verdict}" for name, each in zip(names, found))
    words = f"Of {len(found)} outputs ({told}) this is said of {names[place]}."
    chosen = found[place]
    return chosen._replace(words=(*chosen.words[:1], words, *chosen.words[1:]))


class Check(NamedTuple):
    """The steps that the momentum needs, and whether they do it.

    Attributes:
        needed: By the slowest layer.
        layer: Its name; "" where all statistics fit.
        run: Steps that were made to check.
        predicted_kl: Of that layer after `run` steps, as its momentum has it; nan without any.
        measured_kl: The same, measured.
    """

    needed: float
    layer: str
    run: int = 0
    predicted_kl: float = float("nan")
    measured_kl: float = float("nan")


def _check_steps(
    network: Network, sample: Sample, layers: Sequence[LayerExamination], plan: Steps
) -> Check:
    """Run the training phase on the sample with fixed weights, and see the statistics follow."""
    if not layers:
        return Check(0.0, "")
    slowest = int(np.argmax([layer.steps_needed for layer in layers]))
    layer = layers[slowest]
    if not np.isfinite(layer.symmetric_kl):
        return Check(layer.steps_needed, "")  # not finite, which the finding says
    planned = int(min(layer.steps_needed, plan.most))
    if not np.isfinite(layer.steps_needed) or planned == 0:
        return Check(layer.steps_needed, layer.layer if layer.steps_needed else "")
    network.begin(STEPS)
    followed = network.hear_steps(sample.images, slowest, plan._replace(most=planned))
    goal = target(followed.heard)
    predicted = after(followed.before, goal, layer.momentum ** len(followed.heard))
    return Check(
        layer.steps_needed,
        layer.layer,
        followed.made,
        symmetric_kl(predicted, goal, layer.epsilon),
        symmetric_kl(followed.after, goal, layer.epsilon),
    )


def _diagnosis(examination: Examination, finding: Finding, check: Check) -> Diagnosis:
    """Put the finding, what was measured, and the steps in words together."""
    shown = [trial for trial in examination.trials if trial.kind in SHOWN]
    return Diagnosis(
        verdict=finding.verdict,
        cause=finding.cause,
        layer=finding.layer,
        fix=finding.fix,
        steps_needed=check.needed,
        steps_run=check.run,
        predicted_kl=check.predicted_kl,
        measured_kl=check.measured_kl,
        words=(*finding.words, *(steps_in_words(check) if finding.verdict == STALE else ())),
        evaluations={trial.kind: trial.evaluation for trial in shown},
        layers=examination.layers,
        images=examination.images,
        classes=examination.classes,
        label_entropy=examination.label_entropy,
        attempts=attempts(examination),
        weights=examination.weights,
        units=examination.units,
        next=finding.next,
    )


def steps_in_words(check: Check) -> list[str]:
    """Say how many steps the statistics need, and what came of running them."""
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
