"""What was tried on a network, and what it was worth then: plain records and kinds of trials."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from suite.networks.phases import INFERENCE, TRAINING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH_STATISTICS = "batch statistics"
"""Kind of trial: every BatchNorm layer normalises by the batch, the rest is in inference."""

ALIKE = "batches of like images"
"""Kind of trial: as `BATCH_STATISTICS`, the images sorted by brightness into batches."""

SINGLE = "single images"
"""Kind of trial: as `BATCH_STATISTICS`, each image a batch of its own."""

PRECISE_BN = "precise-bn"
"""Kind of trial: the moving statistics recomputed on the images."""

ONLY_MEANS, ONLY_VARIANCES, ONLY_LAYER = "only means", "only variances", "only one layer"
"""Kinds of trials: only these of the moving statistics recomputed."""

RESCALED = "rescaled"
"""Kind of trial: weights that stand out divided by how much they do."""

INPUT_SCALE = "input scale"
"""Kind of trial: the images in another scale."""

RENAMED, CENTRED = "renamed", "centred"
"""Kinds of trials: the classes renamed as fits the other half of the images best, and each class's
mean over the images subtracted from its output, which leaves no bias."""

STEADY, STEADY_PRECISE = "steady", "steady, recomputed"
"""Kinds of trials of a network whose inference phase is unsteady: the layers that make it so put in
the inference phase; and all moving statistics recomputed, too."""

FLOAT32 = "float32"
"""Kind of trial: the same weights, all layers computing in float32."""

SHOWN = (INFERENCE, TRAINING, BATCH_STATISTICS, PRECISE_BN)
"""The kinds of trials that a diagnosis shows."""

PIXELS, FEATURES, TRUNK = "pixels", "features", "trunk"
"""What a probe reads: the images, the input of the last layer with a kernel, and the mean over
the positions of the last activation that has any."""

INVERTED = "light and dark exchanged"
"""A change that `InputScale.turn` names, beside those of `suite.diagnose.probes.TURNS`."""

CAFFE = "BGR, mean subtracted (caffe)"
"""The input scale of ResNet's and VGG's ImageNet weights."""


class Evaluation(NamedTuple):
    """What the network's predictions are worth under one condition.

    Attributes:
        accuracy: Fraction of the images classified rightly.
        information_gain: Entropy of the labels minus `cross_entropy`, nats.
        cross_entropy: Mean over the images, nats.
        classes_predicted: Number of different classes among the predictions.
    """

    accuracy: float
    information_gain: float
    cross_entropy: float
    classes_predicted: int


class InputScale(NamedTuple):
    """How images were converted before they were fed.

    Attributes:
        source: The scale they are taken to be in.
        target: The scale they were converted to; `CAFFE` is one.
        swapped: Whether the channels were reversed besides.
        turn: How they were turned, mirrored or inverted besides; "" for not at all.
    """

    source: str
    target: str
    swapped: bool
    turn: str = ""

    def __str__(self) -> str:
        if self.turn and self.source == self.target:
            return self.turn
        turn = f", {self.turn}" if self.turn else ""
        reversed_ = ", channels reversed" if self.swapped else ""
        return f"{self.source} -> {self.target}{reversed_}{turn}"


class Trial(NamedTuple):
    """The network under one condition: as it is, or with one thing changed.

    Attributes:
        kind: `INFERENCE`, `TRAINING`, or what was changed: `BATCH_STATISTICS` to `CENTRED`.
        layer: The layer of `ONLY_LAYER`, or the first that was `RESCALED`; else "".
        scores: ``(n,)`` log-probability of each image's label, bounded below.
        hits: ``(n,)`` whether each image is classified rightly.
        evaluation: What the predictions are worth.
        scale: The conversion of `INPUT_SCALE`; else None.
    """

    kind: str
    layer: str
    scores: NDArray[np.float64]
    hits: NDArray[np.bool_]
    evaluation: Evaluation
    scale: InputScale | None = None


class Probe(NamedTuple):
    """How well a linear classifier, fitted and judged on different images, tells the labels.

    Attributes:
        source: `PIXELS`, `FEATURES` or `TRUNK`.
        precise: Whether the network had recomputed statistics, as in `PRECISE_BN`.
        accuracy: Fraction of the images classified rightly.
        chance: Share of the most frequent label.
        p_value: Probability of at least as many hits by chance.
        hits: ``(n,)`` whether each image is classified rightly.
        scale: What the images were converted to, as in `INPUT_SCALE`; None for as they are.
    """

    source: str
    precise: bool
    accuracy: float
    chance: float
    p_value: float
    hits: NDArray[np.bool_]
    scale: InputScale | None = None


class Predictions(NamedTuple):
    """How the predictions of the inference phase compare with the labels.

    Attributes:
        variation: Spread of the log-probabilities over the images, nats; 0 if constant.
        dead_outputs: Classes whose output hardly varies while others' do.
        confidence: Mean probability of the predicted class.
        confidence_auc: Chance that a right prediction is surer than a wrong one; nan where there
            are not five of each.
        marginal_distance: Total variation between the predicted classes and the labels.
        names: The label that fits each output best, each given once.
    """

    variation: float
    dead_outputs: tuple[int, ...]
    confidence: float
    confidence_auc: float
    marginal_distance: float
    names: tuple[int, ...] = ()


class Attempt(NamedTuple):
    """What was tried, in words, and what the network was worth then.

    Attributes:
        what: Was changed.
        accuracy: Fraction of the images classified rightly.
        information_gain: Nats; nan where only the accuracy was measured.
        classes_predicted: Number of different classes among the predictions; None likewise.
        scale: The conversion of the images, where that was tried; else None.
        kind: Of the `Trial`; "" of a head that was fitted anew.
    """

    what: str
    accuracy: float
    information_gain: float
    classes_predicted: int | None
    scale: InputScale | None = None
    kind: str = ""
