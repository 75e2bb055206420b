"""What is measured of a network and what is found: plain records that this folder shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from suite.diagnose.trials import (
    PRECISE_BN,
    Attempt,
    Evaluation,
    Predictions,
    Probe,
    Trial,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HEALTHY = "healthy"
STALE = "stale statistics"
CONSTANT = "constant predictor"
DIVERGED = "diverged"
OTHER = "something else"
UNDECIDED = "undecided"
VERDICTS = (HEALTHY, STALE, CONSTANT, DIVERGED, OTHER, UNDECIDED)
"""What a network can be found to be; undecided where these images are too few to say."""

BY_HEART, MORE_IMAGES, TRAINING_IMAGES = "by heart", "more images", "images of the training"
"""The next experiment, where nothing decides: whether it can learn some images by heart, and what
a diagnosis of more images says, or of those of the training."""

WEIGHT, STATISTIC, ACTIVATION = "weight", "moving statistic", "activation"
"""What of a layer can be NaN or infinite."""


class Unit(NamedTuple):
    """The output of one layer in the inference phase.

    Attributes:
        layer: Its name.
        kind: Its class.
        variation: Standard deviation over the images relative to the root mean square; 0 if dead.
        magnitude: Root mean square.
    """

    layer: str
    kind: str
    variation: float
    magnitude: float


class Weights(NamedTuple):
    """How large a layer's weights are.

    Attributes:
        layer: Its name.
        kernel: True for a kernel, False for the scale (gamma) of a BatchNorm.
        ratio: Root mean square of the kernel over that of He's initialisation, sqrt(2 / fan-in);
            of a scale the root mean square itself.
    """

    layer: str
    kernel: bool
    ratio: float


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


class NormState(NamedTuple):
    """What else is known of a BatchNorm layer.

    Attributes:
        initial: Whether its statistics still are exactly 0 and 1.
        travelled: Share of the way from 0 and 1 to the batch's statistics that they have gone;
            nan where they lie on no such way.
        trained: Whether gamma or beta are no longer 1 and 0.
        typical_kl: Median over the channels of the symmetric divergence, nats: a few channels
            that hardly ever fire do not move it.
        explained: Share of the divergence that what is left of 0 and 1 explains; nan where
            `travelled` is.
        training_kl: Symmetric divergence from what the layer takes in during the training phase,
            Dropout and the like included; nan where it does not run.
        unscaled: Share of the images that, 255 times as large, would explain the divergence; 0 if
            none does.
        calls: How often the network calls it for a batch.
    """

    initial: bool
    travelled: float
    trained: bool
    typical_kl: float
    explained: float
    training_kl: float
    unscaled: float
    calls: int


class ScaleFit(NamedTuple):
    """How the moving statistics fit images in another scale.

    Attributes:
        layer: The first BatchNorm layer: behind it the scale of the images is lost.
        as_fed: Its symmetric divergence for the images as they are fed, nats.
        scaled: The same in the other scale.
        travelled: As of `NormState`, in the other scale.
        explained: Likewise.
        worst: The largest of any layer in the other scale.
        ratio: Median over the channels of ln(moving variance / variance as fed), without epsilon.
    """

    layer: str
    as_fed: float
    scaled: float
    travelled: float
    explained: float
    worst: float
    ratio: float


class Repeats(NamedTuple):
    """Whether the inference phase gives an image the same answer once more.

    Attributes:
        again: How much the same batch differs when it is run twice, as a share of the spread of the
            outputs over the images; nan where it was not tried.
        elsewhere: How much images differ when they are in other batches, likewise.
        layers: The layers that make it so, in order of execution: their output differs though their
            input does not. Empty where all are steady, or where it is the network's own call.
        kinds: Their classes.
        random: For each, whether the same batch twice differs; else another batch does.
        mended: Whether Keras' own class of each of them is steady in the inference phase.
        updated: BatchNorm layers whose moving statistics a pass of the inference phase changes.
        alone: Accuracy for some images that are run one by one; nan where it was not tried.
        together: For the same images in larger batches.
    """

    again: float = float("nan")
    elsewhere: float = float("nan")
    layers: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    random: tuple[bool, ...] = ()
    mended: bool = False
    updated: tuple[str, ...] = ()
    alone: float = float("nan")
    together: float = float("nan")


class NonFinite(NamedTuple):
    """The first numbers of a network, in order of execution, that are NaN or infinite.

    Attributes:
        layer: That has them; "" where it is the network's own call.
        kind: Its class.
        what: `WEIGHT`, `STATISTIC` or `ACTIVATION`.
        name: Of the variable, such as "kernel"; "" of an activation.
        share: Of the numbers of the variable, or of the images, that are not finite.
        dtype: Of the variable, or in which the layer computes, such as "float16".
        largest: Largest finite magnitude of what goes into the layer; nan of a variable.
        phase: `INFERENCE`, or `TRAINING` where only that is not finite.
    """

    layer: str
    kind: str
    what: str
    name: str
    share: float
    dtype: str
    largest: float
    phase: str


class HeadLoss(NamedTuple):
    """How a network ends, and what it was compiled to be trained with.

    Attributes:
        layer: The last layer that has weights or an activation.
        activation: Of the outputs, such as "softmax" or "linear"; "" where unknown.
        units: Numbers that the network puts out for a sample.
        loss: Such as "sparse_categorical_crossentropy"; "" where it was not compiled, or with a
            loss of the user's own.
        from_logits: What the loss expects: True for logits, False for probabilities.
        unwound: Whether the loss takes the numbers before a softmax or sigmoid where it expects
            logits: Keras does so on TensorFlow.
    """

    layer: str
    activation: str
    units: int
    loss: str
    from_logits: bool
    unwound: bool = False


class Examination(NamedTuple):
    """All that was measured of a network; `suite.diagnose.causes` judges it.

    Attributes:
        trials: The network as it is, `INFERENCE` first, then with one thing changed.
        layers: The BatchNorm layers.
        norms: What else is known of each.
        weights: Kernels and BatchNorm's scales, in order of execution.
        units: What the layers put out, in order of execution.
        predictions: Those of the inference phase beside the labels.
        probes: What can be told from the images and from the network's activations.
        scale_fit: How the statistics fit the images in the scale of `INPUT_SCALE`; None where
            none was tried, or without BatchNorm.
        iterations: Steps the optimizer made; None where unknown.
        batch_size: Images in a batch of the training phase, as it was said to be.
        labels: Of the images, ``(n,)``; ``(n, places)`` where each position has its own.
        images: Number of images.
        classes: Number of the network's classes.
        label_entropy: Nats.
        majority: Share of the most frequent label.
        untouched: Layers whose biases, scales and statistics all are exactly those that a layer
            starts with.
        touched: Layers of which one is not.
        outlying: Images whose root mean square is many times that of the others.
        repeats: Whether the inference phase gives an image the same answer once more.
        broken: The first numbers that are NaN or infinite; None where all are finite.
        head: How the network ends, and its loss; None where that is unknown.
    """

    trials: tuple[Trial, ...]
    layers: tuple[LayerExamination, ...]
    norms: tuple[NormState, ...]
    weights: tuple[Weights, ...]
    units: tuple[Unit, ...]
    predictions: Predictions
    probes: tuple[Probe, ...]
    scale_fit: ScaleFit | None
    iterations: int | None
    batch_size: int
    labels: NDArray[np.int64]
    images: int
    classes: int
    label_entropy: float
    majority: float
    untouched: tuple[str, ...]
    touched: tuple[str, ...]
    outlying: tuple[int, ...]
    repeats: Repeats = Repeats()
    broken: NonFinite | None = None
    head: HeadLoss | None = None

    @property
    def inference(self) -> Trial:
        """The network as it is, in the inference phase."""
        return self.trials[0]

    @property
    def precise(self) -> Trial | None:
        """The network with recomputed statistics; None without BatchNorm."""
        return self.tried(PRECISE_BN)

    def tried(self, kind: str, *, layer: str = "") -> Trial | None:
        """Find the trial of a kind, of `layer` if one is given; None where it was not made."""
        found = (trial for trial in self.trials if trial.kind == kind)
        return next((trial for trial in found if layer in ("", trial.layer)), None)


class Finding(NamedTuple):
    """What is wrong.

    Attributes:
        verdict: A row of `VERDICTS`.
        cause: Its short name; "" when healthy.
        layer: The layer that starts it; "" if none does.
        fix: The row of `suite.networks.fixes.FIXES` to try first; "" if none of them helps.
        words: Sentences.
        next: `BY_HEART` to `TRAINING_IMAGES` where nothing decides; else "".
    """

    verdict: str
    cause: str
    layer: str
    fix: str
    words: tuple[str, ...]
    next: str = ""


class Diagnosis(NamedTuple):
    """What is wrong with a network, and what to try first.

    Attributes:
        verdict: A row of `VERDICTS`.
        cause: Short name of the cause, such as "stale mean"; "" when healthy.
        layer: The layer that starts it; "" if none does.
        fix: The row of `suite.networks.fixes.FIXES` to try first; "" if none of them helps.
        steps_needed: Training-phase passes until the slowest layer's statistics fit; 0 if they do
            or there are none, inf if never.
        steps_run: Training-phase passes made to check `steps_needed`.
        predicted_kl: Symmetric Kullback-Leibler divergence of the slowest layer after `steps_run`
            passes, as its momentum predicts it; nan where none was run.
        measured_kl: The same, as measured.
        words: The diagnosis in sentences.
        evaluations: By kind of trial, those of `SHOWN` that were made; the last two only where
            there is BatchNorm.
        layers: The BatchNorm layers in the order in which they run.
        images: Number of images examined.
        classes: Number of classes of the network's output.
        label_entropy: Entropy of the examined labels, nats.
        attempts: All that was tried, the network as it is first.
        weights: Kernels and BatchNorm's scales, in order of execution.
        units: What the layers put out, in order of execution.
        next: The next experiment, as of `Finding`.
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
    attempts: tuple[Attempt, ...] = ()
    weights: tuple[Weights, ...] = ()
    units: tuple[Unit, ...] = ()
    next: str = ""
