"""What a diagnosis finds: layers, evaluations, the examination and the finding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from suite.diagnose.network import Unit
from suite.diagnose.predictions import Evaluation
from suite.diagnose.probes import Predictions, Probe

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERDICTS = ("healthy", "stale statistics", "constant predictor", "diverged", "something else")
"""What a network can be found to be."""


class Finding(NamedTuple):
    """What is wrong.

    Attributes:
        verdict: A row of `VERDICTS`.
        cause: Its short name; "" when healthy.
        layer: The layer that starts it; "".
        fix: The row of `suite.fixes.FIXES` to try first; "".
        words: Sentences.
    """

    verdict: str
    cause: str
    layer: str
    fix: str
    words: tuple[str, ...]


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
