"""What is measured of anyone's network, with its own interventions, and the diagnosis of it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from suite.examination.causes import VERDICTS, Finding, judge, suspicious
from suite.examination.evidence import (
    Evaluation,
    Judge,
    Sample,
    predictions,
    probes,
    reader_of,
    sampled,
    told_classes,
)
from suite.examination.interventions import forced_pass, repair, rescale, scale_inputs
from suite.examination.listening import (
    Layer,
    Moments,
    Network,
    NormsHeard,
    Statistics,
    Unit,
    demand_eager,
    hear,
    is_batch_norm,
    keras_of,
    kernel_of,
)
from suite.examination.moving import (
    after,
    channel_kl,
    half_life,
    never,
    pooled_statistics,
    root_mean_square,
    steps_needed,
    symmetric_kl,
    target,
    travelled,
)
from suite.examination.relations import Predictions, Probe
from suite.types import Keras, Model

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["VERDICTS", "Diagnosis", "Evaluation", "LayerExamination", "diagnose", "examine"]


class LayerExamination(NamedTuple):
    """One BatchNorm layer; layers stand in the order in which they run.

    Attributes:
        layer: Its name.
        momentum: Share of the moving statistics that an update keeps.
        epsilon: Added to the variance.
        trainable: False if it is frozen.
        phase: "training" or "inference": in which it ran when the model was called with
            ``training=True``.
        updates_seen: Steps that the optimizer made, 0 where none can have updated the statistics,
            None where unknown.
        half_life_steps: Updates that halve the distance of the statistics.
        mean_shift: Root mean square over the channels of (moving mean - batch mean) / batch
            standard deviation.
        log_variance_ratio: Mean over the channels of ln(moving variance / batch variance).
        symmetric_kl: Mean over the channels of the symmetric Kullback-Leibler divergence of the
            two Gaussians, nats.
        steps_needed: Training-phase passes until its statistics fit; inf if never.
    """

    layer: str
    momentum: float
    epsilon: float
    trainable: bool
    phase: str
    updates_seen: int | None
    half_life_steps: float
    mean_shift: float
    log_variance_ratio: float
    symmetric_kl: float
    steps_needed: float


class Diagnosis(NamedTuple):
    """What is wrong with a network, and what to try first.

    Attributes:
        verdict: A row of `VERDICTS`.
        cause: Short name of the cause, such as "stale mean"; "" when healthy.
        layer: The layer that starts it; "" if none does.
        fix: The row of `suite.fixes.FIXES` to try first; "" if none of them helps.
        steps_needed: Training-phase passes until the slowest layer's statistics fit; 0 if they do
            or there are none, inf if never.
        steps_run: Training-phase passes made to check `steps_needed`.
        predicted_kl: Symmetric Kullback-Leibler divergence of the slowest layer after `steps_run`
            passes, as its momentum predicts it; nan where none was run.
        measured_kl: The same, as measured.
        words: The diagnosis in sentences.
        evaluations: By "inference", "training", "batch statistics", "precise-bn"; the last two
            only where there is BatchNorm.
        layers: The BatchNorm layers in the order in which they run.
        images: Number of images examined.
        classes: Number of classes of the network's output.
        label_entropy: Entropy of the examined labels, nats.
    """

    verdict: str
    cause: str
    layer: str
    fix: str
    steps_needed: float
    steps_run: int
    predicted_kl: float
    measured_kl: float
    words: tuple[str, ...]
    evaluations: Mapping[str, Evaluation]
    layers: tuple[LayerExamination, ...]
    images: int
    classes: int
    label_entropy: float


class Weights(NamedTuple):
    """How large a layer's weights are.

    Attributes:
        layer: Its name.
        kind: Class of the layer.
        ratio: Root mean square of its kernel over that of He's initialisation, sqrt(2 / fan-in);
            of BatchNorm the root mean square of gamma.
    """

    layer: str
    kind: str
    ratio: float


class NormState(NamedTuple):
    """What else is known of a BatchNorm layer's statistics.

    Attributes:
        initial: Whether they still are exactly 0 and 1.
        travelled: Share of the way from 0 and 1 to the batch's that they have gone; nan where
            they lie on no such way.
        trained: Whether gamma or beta are no longer 1 and 0.
        typical_kl: Median over the channels of the symmetric divergence, nats: a few channels
            that hardly ever fire do not move it.
    """

    initial: bool
    travelled: float
    trained: bool
    typical_kl: float


class Examination(NamedTuple):
    """All that was measured; `suite.examination.causes` judges it.

    Attributes:
        evaluations: By condition: "inference", "training", "batch statistics", "precise-bn", and
            interventions: "only means", "only variances", "only LAYER" repaired, "input: SCALE",
            "rescaled: LAYER".
        scores: ``(n,)`` by condition: log-probability of each image's label, bounded below.
        layers: The BatchNorm layers.
        norms: What else is known of each.
        nonfinite: The first layer with a weight that is NaN or infinite; "".
        overflow: Whether outputs are NaN or infinite though no weight is.
        weights: The layers with a kernel, in order of execution, and BatchNorm.
        units: What the layers put out, in order of execution.
        predictions: In the inference phase.
        probes: By what the labels are told from: "pixels", "features", "features (precise-bn)",
            "trunk", "trunk (precise-bn)".
        input_kl: Symmetric divergence of the worst layer under the best input scale; nan.
        iterations: Steps the optimizer made; None where unknown.
        images: Number of images.
        classes: Number of the network's classes.
        label_entropy: Nats.
        majority: Share of the most frequent label.
    """

    evaluations: Mapping[str, Evaluation]
    scores: Mapping[str, NDArray[np.float64]]
    layers: tuple[LayerExamination, ...]
    norms: tuple[NormState, ...]
    nonfinite: str
    overflow: bool
    weights: tuple[Weights, ...]
    units: tuple[Unit, ...]
    predictions: Predictions
    probes: Mapping[str, Probe]
    input_kl: float
    iterations: int | None
    images: int
    classes: int
    label_entropy: float
    majority: float


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


def examine(
    network: Network, sample: Sample, *, batch_size: int = 32, classes: int | None = None
) -> Examination:
    """Return all that can be measured of a network; its state is the caller's to keep."""
    nonfinite = _nonfinite(network)
    heard = hear(network, sample.images)
    told = told_classes(sample.labels, heard.outputs, classes)
    network.norms = [layer for layer in heard.order if is_batch_norm(layer)]
    judged = Judge(sample.labels, reader_of(network, heard.outputs))
    judged.add("inference", heard.outputs)
    moving = network.statistics()
    trained = network.hear_norms(sample.images, training=True, batch_size=batch_size)
    judged.add("training", trained.outputs)
    network.set_statistics(moving)
    found = Examination(
        evaluations=judged.evaluations,
        scores=judged.scores,
        layers=(),
        norms=(),
        nonfinite=nonfinite,
        overflow=not np.isfinite(heard.outputs).all(),
        weights=tuple(_weights(network, heard.order)),
        units=heard.units,
        predictions=predictions(judged, heard.outputs),
        probes=probes(sample, heard),
        input_kl=float("nan"),
        iterations=_iterations(network.model),
        images=len(sample.labels),
        classes=told,
        label_entropy=judged.entropy,
        majority=float(np.bincount(sample.labels).max() / len(sample.labels)),
    )
    if nonfinite:
        return found
    batch: list[Statistics] = []
    if network.norms:
        batch = _batch_statistics(network, sample, judged, moving, batch_size=batch_size)
        found = _with_norms(network, sample, judged, found, trained=trained, batch=batch)
    return _with_interventions(network, sample, judged, found, batch=batch, batch_size=batch_size)


def _with_norms(
    network: Network,
    sample: Sample,
    judged: Judge,
    found: Examination,
    *,
    trained: NormsHeard,
    batch: Sequence[Statistics],
) -> Examination:
    """Return what was found with what is known of BatchNorm, and of its statistics recomputed."""
    moving = network.statistics()
    layers = tuple(_layers(network, moving, batch, trained, found.iterations))
    norms = tuple(_norm_state(network, *pair) for pair in zip(network.norms, moving, batch))
    network.set_statistics(batch)
    precise = hear(network, sample.images)
    network.set_statistics(moving)
    judged.add("precise-bn", precise.outputs)
    probed = {f"{name} (precise-bn)": value for name, value in probes(sample, precise).items()}
    return found._replace(layers=layers, norms=norms, probes={**found.probes, **probed})


def _with_interventions(
    network: Network,
    sample: Sample,
    judged: Judge,
    found: Examination,
    *,
    batch: Sequence[Statistics],
    batch_size: int,
) -> Examination:
    """Return what was found with what comes of interventions, where one could mend anything."""
    worst_kl = max((layer.symmetric_kl for layer in found.layers), default=0.0)
    worth = judged.evaluations["inference"].information_gain
    if not suspicious(worth, found.label_entropy, worst_kl):
        return found
    moving = network.statistics()
    if network.norms:
        repair(network, sample, judged, moving=moving, batch=batch, layers=found.layers)
    rescale(network, sample, judged, found.weights)
    input_kl = scale_inputs(network, sample, judged, moving, batch_size=batch_size)
    return found._replace(input_kl=input_kl)


def _nonfinite(network: Network) -> str:
    """Return the first layer that has a NaN or infinite weight or statistic; "" if none has."""
    for layer in network.layers:
        for variable in layer.weights:
            values = network.numpy(variable)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                return str(layer.name)
    return ""


def _iterations(model: Model) -> int | None:
    """Return how many steps the model's optimizer has made; None where that is unknown."""
    iterations = getattr(getattr(model, "optimizer", None), "iterations", None)
    return None if iterations is None else int(iterations)


def _batch_statistics(
    network: Network,
    sample: Sample,
    judged: Judge,
    moving: Sequence[Statistics],
    *,
    batch_size: int,
) -> list[Statistics]:
    """Return the statistics that the images have at every BatchNorm layer, all normalising so.

    The rest of the network is in the inference phase: no dropout.
    """
    forced = forced_pass(network, sample.images, moving, batch_size=batch_size)
    judged.add("batch statistics", forced.outputs)
    return [pooled_statistics(parts) for parts in forced.moments]


def _layers(
    network: Network,
    moving: Sequence[Statistics],
    batch: Sequence[Statistics],
    trained: NormsHeard,
    iterations: int | None,
) -> list[LayerExamination]:
    """Return what is known of each BatchNorm layer, in order of execution."""
    found = []
    for index, layer in enumerate(network.norms):
        (mean, variance), (batch_mean, batch_variance) = moving[index], batch[index]
        epsilon, momentum = float(layer.epsilon), float(layer.momentum)
        training = trained.training[index]
        updated = training and bool(layer.trainable)
        found.append(
            LayerExamination(
                layer=layer.name,
                momentum=momentum,
                epsilon=epsilon,
                trainable=bool(layer.trainable),
                phase="training" if training else "inference",
                updates_seen=iterations if updated else 0,
                half_life_steps=half_life(momentum),
                mean_shift=root_mean_square(
                    (mean - batch_mean) / np.sqrt(batch_variance + epsilon)
                ),
                log_variance_ratio=float(
                    np.mean(np.log((variance + epsilon) / (batch_variance + epsilon)))
                ),
                symmetric_kl=symmetric_kl(moving[index], batch[index], epsilon),
                steps_needed=steps_needed(moving[index], trained.moments[index], momentum, epsilon)
                if updated
                else never(symmetric_kl(moving[index], batch[index], epsilon)),
            )
        )
    return found


def _norm_state(network: Network, layer: Layer, moving: Statistics, batch: Statistics) -> NormState:
    """Return what else is known of a BatchNorm layer's statistics."""
    initial = bool(np.all(moving[0] == 0) and np.all(moving[1] == 1))
    gamma, beta = (getattr(layer, name, None) for name in ("gamma", "beta"))
    trained = any(
        variable is not None and bool(np.any(network.numpy(variable) != start))
        for variable, start in ((gamma, 1), (beta, 0))
    )
    typical = float(np.median(channel_kl(moving, batch, float(layer.epsilon))))
    return NormState(initial, 0.0 if initial else travelled(moving, batch), trained, typical)


def _weights(network: Network, order: Sequence[Layer]) -> list[Weights]:
    """Return how large the weights of each layer are, in order of execution."""
    found = []
    for layer in order:
        kernel = kernel_of(network, layer)
        if kernel:
            found.append(Weights(layer.name, type(layer).__name__, kernel_ratio(layer, kernel[0])))
        elif is_batch_norm(layer) and getattr(layer, "gamma", None) is not None:
            gamma = network.numpy(layer.gamma).astype(np.float64)
            found.append(Weights(layer.name, type(layer).__name__, root_mean_square(gamma)))
    return found


def kernel_ratio(layer: Layer, kernel: NDArray[np.float64]) -> float:
    """Return a kernel's root mean square over that of He's initialisation."""
    depthwise = "Depthwise" in type(layer).__name__
    fan_in = int(np.prod(kernel.shape[:-2] if depthwise else kernel.shape[:-1]))
    return root_mean_square(kernel) / float(np.sqrt(2 / max(1, fan_in)))


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
