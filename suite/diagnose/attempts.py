"""All that was tried on a network, in the order of the trials, in words that a reader knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from suite.diagnose.found import Examination
from suite.diagnose.trials import (
    ALIKE,
    BATCH_STATISTICS,
    CENTRED,
    FEATURES,
    FLOAT32,
    INPUT_SCALE,
    ONLY_LAYER,
    ONLY_MEANS,
    ONLY_VARIANCES,
    PIXELS,
    PRECISE_BN,
    RENAMED,
    RESCALED,
    SINGLE,
    STEADY,
    STEADY_PRECISE,
    TRUNK,
    Attempt,
    Probe,
    Trial,
)
from suite.networks.phases import INFERENCE, TRAINING

CHANGES: Mapping[str, str] = {
    INFERENCE: "nothing: the network as it is, in the inference phase",
    TRAINING: "the phase: training",
    BATCH_STATISTICS: "BatchNorm alone normalises by the batch",
    ALIKE: "BatchNorm alone normalises by the batch, of images sorted by brightness",
    SINGLE: "BatchNorm alone normalises by the batch, each image a batch of its own",
    PRECISE_BN: "all moving statistics recomputed on these images",
    ONLY_MEANS: "only the moving means recomputed",
    ONLY_VARIANCES: "only the moving variances recomputed",
    ONLY_LAYER: "only the moving statistics of {layer} recomputed",
    RESCALED: "weights that stand out, those of {layer} first, divided by how much they do",
    STEADY: "layers that train during inference, {layer} first, put in the inference phase",
    STEADY_PRECISE: "the same, and all moving statistics recomputed on these images",
    FLOAT32: "all layers computing in float32",
    INPUT_SCALE: "images fed otherwise: {scale}",
    RENAMED: "the classes renamed as fits the other half of the images best",
    CENTRED: "the mean output of each class subtracted: no bias",
}
"""What a kind of trial changes."""

READ: Mapping[str, str] = {
    PIXELS: "the pixels",
    FEATURES: "what goes into the last layer",
    TRUNK: "the mean of the last activations",
}
"""What a linear head was fitted to."""


def attempts(found: Examination) -> tuple[Attempt, ...]:
    """List what was tried: trials of the network, then heads fitted anew."""
    return (*map(_trial, found.trials), *map(_probe, found.probes))


def listed(items: Sequence[object], most: int) -> str:
    """List at most so many of some items, and say where there are more."""
    return ", ".join(map(str, items[:most])) + (" ..." if len(items) > most else "")


def in_words(trial: Trial) -> str:
    """Say what a trial changed."""
    return CHANGES[trial.kind].format(layer=trial.layer, scale=trial.scale)


def _trial(trial: Trial) -> Attempt:
    """Say what a trial changed, and what it gave."""
    evaluation = trial.evaluation
    return Attempt(
        in_words(trial),
        evaluation.accuracy,
        evaluation.information_gain,
        evaluation.classes_predicted,
        trial.scale,
        trial.kind,
    )


def _probe(probe: Probe) -> Attempt:
    """Say what a linear head was fitted to, and what it tells of images that it was not."""
    after = ", all moving statistics recomputed" if probe.precise else ""
    after += f", images fed otherwise: {probe.scale}" if probe.scale else ""
    what = f"a linear head fitted to {READ[probe.source]}{after} (by chance {probe.chance:.1%})"
    return Attempt(what, probe.accuracy, float("nan"), None)
