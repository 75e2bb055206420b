"""What is measured of anyone's network, with its own interventions, and the diagnosis of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from suite.diagnose.causes.worth import suspicious
from suite.diagnose.found import Examination, LayerExamination, NormState, Weights
from suite.diagnose.interventions import forced_pass, repair, rescale, scale_inputs
from suite.diagnose.network import Layer, Network, NormsHeard, hear, is_batch_norm, kernel_of
from suite.diagnose.predictions import Judge, predictions, probes, reader_of
from suite.diagnose.sample import Sample, told_classes
from suite.diagnose.statistics import (
    Statistics,
    channel_kl,
    half_life,
    never,
    pooled_statistics,
    root_mean_square,
    steps_needed,
    symmetric_kl,
    travelled,
)
from suite.networks.types import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
