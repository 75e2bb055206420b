"""A network measured: its passes, its weights, its statistics, and what interventions do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from suite.diagnose.causes.worth import suspicious
from suite.diagnose.finite import InFloat32, first_nonfinite, float32_trials, mendable
from suite.diagnose.found import (
    WEIGHT,
    Examination,
    LayerExamination,
    NonFinite,
    NormState,
    Weights,
)
from suite.diagnose.head import head_and_loss
from suite.diagnose.hearing import Heard, Layer, Norm, NormsHeard, Recomputed, kernel_of
from suite.diagnose.inputs import batches, parts_of
from suite.diagnose.interventions import UNTRIED, Given, Tried, intervene
from suite.diagnose.loading import foreign, shown
from suite.diagnose.network import Network
from suite.diagnose.parts import AGAIN, CHANGES, PHASES, STATISTICS
from suite.diagnose.predictions import Judge, compared, reader_of
from suite.diagnose.probes import probes
from suite.diagnose.repeats import Unsteady, repeated, steady_trials
from suite.diagnose.sample import Sample, told_classes
from suite.diagnose.starts import outlying, untouched
from suite.diagnose.statistics import (
    Moments,
    Statistics,
    channel_kl,
    explained,
    half_life,
    never,
    pooled_statistics,
    root_mean_square,
    steps_needed,
    symmetric_kl,
    travelled,
    unscaled_share,
)
from suite.diagnose.trials import BATCH_STATISTICS, PRECISE_BN, Probe, Trial
from suite.errors import SuiteError
from suite.networks.batch_norm import is_batch_norm
from suite.networks.phases import INFERENCE, TRAINING

if TYPE_CHECKING:
    from numpy.typing import NDArray


def examine(
    network: Network, sample: Sample, *, batch_size: int = 32, classes: int | None = None
) -> Examination:
    """Measure all that the rules read; to keep the network's state is the caller's part.

    Raises:
        ValueError: If the network does not have `classes` outputs, or the labels are of others.
    """
    made = _passes(network, sample, batch_size=batch_size)
    heard, recomputed = made.heard, made.recomputed
    told = told_classes(heard.outputs, classes)
    judge = Judge(sample.labels, reader_of(heard.outputs, network.activations()))
    layers = _layers(made.trained, recomputed, network.iterations()) if recomputed else ()
    given = Given(_weights(network), layers, recomputed, batch_size)
    again = _again(network, sample, judge, made, batch_size=batch_size)
    trials, tried = _tried(network, sample, judge, made=made, given=given, again=again)
    initial, changed = untouched(network)
    return Examination(
        trials=trials,
        layers=layers,
        norms=_states(made, passes=len(batches(sample.images, batch_size))),
        weights=given.weights,
        units=heard.units,
        predictions=compared(judge, heard.outputs),
        probes=(*_probes(sample, heard, recomputed), *tried.probes),
        scale_fit=tried.scale_fit,
        iterations=network.iterations(),
        batch_size=batch_size,
        labels=sample.labels,
        images=len(sample.labels),
        classes=told,
        label_entropy=judge.entropy,
        majority=float(np.bincount(sample.labels.ravel()).max() / sample.labels.size),
        untouched=initial,
        touched=changed,
        outlying=outlying(sample.images),
        repeats=again.unsteady.record,
        broken=made.broken or again.full.first,
        head=head_and_loss(network, heard.outputs),
    )


class Passes(NamedTuple):
    """The passes that every network makes.

    Attributes:
        heard: In the inference phase.
        trained: In the training phase.
        recomputed: With BatchNorm's statistics made anew; None without any, or without numbers.
        broken: The first numbers that are not finite; None where all are.
    """

    heard: Heard
    trained: NormsHeard
    recomputed: Recomputed | None
    broken: NonFinite | None


def _heard(network: Network, sample: Sample) -> Heard:
    """Run all images in the inference phase.

    Raises:
        SuiteError: If the network cannot be called with one of them.
    """
    try:
        with network.kept():  # an unsteady network's own state changes
            return network.hear(sample.images)
    except foreign() as error:
        ranges = [
            f"{part.min():.6g} to {part.max():.6g}" for part in parts_of(sample.images).values()
        ]
        raise SuiteError(
            f"The network cannot be called with these inputs, {' and '.join(ranges)}. Found: "
            f"{shown(error)}. Expected: what model.predict takes; of tokens those below the "
            "Embedding's input_dim."
        ) from error


def _passes(network: Network, sample: Sample, *, batch_size: int) -> Passes:
    """Run the images in both phases, and with recomputed statistics."""
    network.begin(PHASES)
    heard = _heard(network, sample)
    trained = network.hear_training(sample.images, batch_size=batch_size)
    broken = first_nonfinite(network, sample, heard, trained, batch_size=batch_size)
    made = Passes(heard, trained, None, broken)
    if not network.norms or (broken is not None and broken.what == WEIGHT):
        return made
    network.begin(STATISTICS)
    recomputed = network.recompute(sample.images, batch_size=batch_size, trained=trained)
    return made._replace(recomputed=recomputed)


class Again(NamedTuple):
    """What another pass of the same gave: in other batches, and in float32."""

    unsteady: Unsteady
    full: InFloat32


def _again(
    network: Network, sample: Sample, judge: Judge, made: Passes, *, batch_size: int
) -> Again:
    """Run the images once more, in other batches and where it matters in float32."""
    network.begin(AGAIN)
    unsteady = repeated(network, sample.images, made.heard.outputs, judge)
    full = float32_trials(network, sample, judge, made.broken, batch_size=batch_size)
    return Again(unsteady, full)


def _tried(
    network: Network, sample: Sample, judge: Judge, *, made: Passes, given: Given, again: Again
) -> tuple[tuple[Trial, ...], Tried]:
    """Evaluate all passes, and change one thing at a time where that could mend anything."""
    trials = (
        *_trials(judge, made),
        *judge.read_otherwise(made.heard.outputs),
        *steady_trials(network, sample, judge, again.unsteady, made.recomputed),
        *again.full.trials,
    )
    if not mendable(made.broken) or not suspicious(trials, judge.entropy, given.layers):
        return trials, UNTRIED
    network.begin(CHANGES)
    tried = intervene(network, sample, judge, given)
    return (*trials, *tried.trials), tried


def _trials(judge: Judge, made: Passes) -> list[Trial]:
    """Evaluate the passes with nothing changed but the phase and BatchNorm's statistics."""
    trials = [
        judge.trial(INFERENCE, made.heard.outputs),
        judge.trial(TRAINING, made.trained.outputs),
    ]
    if made.recomputed:
        trials.append(judge.trial(BATCH_STATISTICS, made.recomputed.forced.outputs))
        trials.append(judge.trial(PRECISE_BN, made.recomputed.precise.outputs))
    return trials


def _probes(sample: Sample, heard: Heard, recomputed: Recomputed | None) -> tuple[Probe, ...]:
    """Probe the activations, and those with BatchNorm's statistics recomputed."""
    found = probes(sample, heard.head, heard.trunk)
    if not recomputed:
        return found
    precise = recomputed.precise
    return (*found, *probes(sample, precise.head, precise.trunk, precise=True))


def _layers(
    trained: NormsHeard, recomputed: Recomputed, steps: int | None
) -> tuple[LayerExamination, ...]:
    """Compare each BatchNorm layer's moving statistics with those of the images."""
    rows = zip(recomputed.norms, recomputed.moving, recomputed.batch)
    ran = (Ran(*row, steps) for row in zip(trained.moments, trained.training))
    with np.errstate(all="ignore"):  # a statistic may be NaN
        return tuple(_layer(*row, each) for row, each in zip(rows, ran))


class Ran(NamedTuple):
    """What a BatchNorm layer did when the model was called with ``training=True``.

    Attributes:
        parts: The moments of each batch that it took in.
        training: Whether it ran in the training phase.
        steps: That the optimizer has made; None where unknown.
    """

    parts: Sequence[Moments]
    training: bool
    steps: int | None


def _layer(norm: Norm, moving: Statistics, batch: Statistics, ran: Ran) -> LayerExamination:
    """Compare one layer's moving statistics with those of the images."""
    epsilon, momentum = norm.epsilon, norm.momentum
    updated = ran.training and norm.trainable
    distance = symmetric_kl(moving, batch, epsilon)
    needed = steps_needed(moving, ran.parts, momentum, epsilon) if updated else never(distance)
    (mean, variance), (batch_mean, batch_variance) = moving, batch
    return LayerExamination(
        layer=norm.layer,
        momentum=momentum,
        epsilon=epsilon,
        trainable=norm.trainable,
        phase=TRAINING if ran.training else INFERENCE,
        updates_seen=ran.steps if updated else 0,
        half_life_steps=half_life(momentum),
        mean_shift=root_mean_square((mean - batch_mean) / np.sqrt(batch_variance + epsilon)),
        log_variance_ratio=float(
            np.mean(np.log((variance + epsilon) / (batch_variance + epsilon)))
        ),
        symmetric_kl=distance,
        steps_needed=needed,
    )


def _states(made: Passes, *, passes: int) -> tuple[NormState, ...]:
    """Tell how far each layer's statistics have come; the training phase ran so many `passes`."""
    recomputed = made.recomputed
    if recomputed is None:
        return ()
    rows = zip(recomputed.norms, recomputed.moving, recomputed.batch, made.trained.moments)
    with np.errstate(all="ignore"):  # a statistic may be NaN
        return tuple(_state(*row, calls=len(row[-1]) // passes) for row in rows)


def _state(
    norm: Norm, moving: Statistics, batch: Statistics, parts: Sequence[Moments], *, calls: int
) -> NormState:
    """Tell how far a layer's statistics have come from 0 and 1."""
    initial = bool(np.all(moving[0] == 0) and np.all(moving[1] == 1))
    gone = 0.0 if initial else travelled(moving, batch)
    trained_on = symmetric_kl(moving, pooled_statistics(parts), norm.epsilon) if parts else np.nan
    return NormState(
        initial=initial,
        travelled=gone,
        trained=norm.trained,
        typical_kl=float(np.median(channel_kl(moving, batch, norm.epsilon))),
        explained=explained(moving, batch, gone, norm.epsilon),
        training_kl=float(trained_on),
        unscaled=unscaled_share(moving, batch, norm.epsilon),
        calls=calls,
    )


def _weights(network: Network) -> tuple[Weights, ...]:
    """Measure how large the weights of each layer are, in order of execution."""
    found = []
    for layer in network.order:
        kernel, gamma = kernel_of(layer), getattr(layer, "gamma", None)
        if kernel is not None:
            ratio = _kernel_ratio(layer, network.numpy(kernel).astype(np.float64))
            found.append(Weights(layer.name, kernel=True, ratio=ratio))
        elif is_batch_norm(layer) and gamma is not None:
            ratio = root_mean_square(network.numpy(gamma).astype(np.float64))
            found.append(Weights(layer.name, kernel=False, ratio=ratio))
    return tuple(found)


def _kernel_ratio(layer: Layer, kernel: NDArray[np.float64]) -> float:
    """Divide a kernel's root mean square by that of He's initialisation."""
    depthwise = "Depthwise" in type(layer).__name__
    fan_in = int(np.prod(kernel.shape[:-2] if depthwise else kernel.shape[:-1]))
    return root_mean_square(kernel) / float(np.sqrt(2 / max(1, fan_in)))
