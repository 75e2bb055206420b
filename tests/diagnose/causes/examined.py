"""Examinations made up for the tests of the rules: plain numbers, no network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from suite.diagnose.causes.rules import judge
from suite.diagnose.found import (
    VERDICTS,
    Examination,
    Finding,
    LayerExamination,
    NormState,
    Unit,
    Weights,
)
from suite.diagnose.trials import (
    FEATURES,
    PIXELS,
    PRECISE_BN,
    Evaluation,
    InputScale,
    Predictions,
    Probe,
    Trial,
)
from suite.networks.phases import INFERENCE, TRAINING

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENTROPY = float(np.log(4))
IMAGES = 200

STALE_LAYER = {"symmetric_kl": 20.0, "mean_shift": 3.0, "steps_needed": 300.0}
VARIED = Predictions(3.0, (), 0.9, 0.9, 0.05)
NORM = NormState(False, float("nan"), True, 0.01, float("nan"), 0.01, 0.0, 1)
VAGUE = VARIED._replace(variation=0.2, marginal_distance=0.7)


def scores(worth: float) -> NDArray[np.float64]:
    """Make up scores of that information gain, nats, in the mean."""
    noise = np.random.default_rng(0).uniform(-0.05, 0.05, IMAGES)
    return worth - ENTROPY + noise - noise.mean()


def trial(kind: str, worth: float, *, layer: str = "", scale: InputScale | None = None) -> Trial:
    """Make up a trial of that information gain, nats."""
    accuracy = 0.25 + 0.75 * max(0.0, worth) / ENTROPY
    evaluation = Evaluation(accuracy, worth, ENTROPY - worth, 4 if worth > 0 else 1)
    hits = np.arange(IMAGES) < round(accuracy * IMAGES)
    return Trial(kind, layer, scores(worth), hits, evaluation, scale)


def trials(inference: float, precise: float, *others: Trial) -> tuple[Trial, ...]:
    """Make up the trials of a network with BatchNorm, by what two of them gain."""
    gains = {INFERENCE: inference, TRAINING: inference, PRECISE_BN: precise}
    return (*(trial(kind, worth) for kind, worth in gains.items()), *others)


def layer(name: str, **changes: Any) -> LayerExamination:
    """Make up a BatchNorm layer, healthy but for `changes`."""
    healthy = LayerExamination(name, 0.99, 1e-3, True, "training", None, 69, 0.05, 0.01, 0.01, 0.0)
    return healthy._replace(**changes)


def stale_layers(**changes: Any) -> tuple[LayerExamination, ...]:
    """Make up three layers that are all far off."""
    return tuple(layer(f"bn{index}", **{**STALE_LAYER, **changes}) for index in (1, 2, 3))


def tells(source: str, *, precise: bool = False) -> Probe:
    """Make up a probe that tells the labels."""
    return Probe(source, precise, 0.9, 0.25, 0.0, np.arange(IMAGES) < 0.9 * IMAGES)


def blind(source: str, *, precise: bool = False) -> Probe:
    """Make up a probe that tells nothing."""
    return Probe(source, precise, 0.25, 0.25, 0.5, np.arange(IMAGES) < 0.25 * IMAGES)


def examined(made: tuple[Trial, ...], **changes: Any) -> Examination:
    """Make up an examination of a network of three BatchNorm layers."""
    layers = changes.pop("layers", tuple(map(layer, ("bn1", "bn2", "bn3"))))
    content = {
        "norms": (NORM,) * len(layers),
        "weights": (Weights("conv", True, 1.0), Weights("head", True, 1.2)),
        "units": (Unit("conv", "Conv2D", 0.8, 1.0), Unit("head", "Dense", 0.8, 1.0)),
        "predictions": VARIED,
        "probes": (tells(PIXELS), tells(FEATURES), tells(FEATURES, precise=True)),
        "scale_fit": None,
        "iterations": None,
        "batch_size": 32,
        "labels": np.arange(IMAGES) % 4,
        "images": IMAGES,
        "classes": 4,
        "label_entropy": ENTROPY,
        "majority": 0.25,
        "untouched": (),
        "touched": ("conv", "head"),
        "outlying": (),
    }
    return Examination(trials=made, layers=layers, **{**content, **changes})


def found(made: tuple[Trial, ...], **changes: Any) -> Finding:
    """Judge a made-up examination."""
    finding = judge(examined(made, **changes))
    assert finding.verdict in VERDICTS
    return finding
