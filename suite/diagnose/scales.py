"""A network evaluated with its images in other scales: the one that suits it, and how it fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from suite.diagnose.found import ScaleFit
from suite.diagnose.hearing import Recomputed
from suite.diagnose.inputs import Images, joined, parts_of, positions
from suite.diagnose.network import Network
from suite.diagnose.parts import SCALES
from suite.diagnose.predictions import Judge, predicted_classes
from suite.diagnose.probes import input_conventions, probes
from suite.diagnose.sample import Sample
from suite.diagnose.statistics import (
    Statistics,
    explained,
    pooled_statistics,
    symmetric_kl,
    travelled,
)
from suite.diagnose.trials import INPUT_SCALE, InputScale, Probe, Trial

SCREENED, LEAST, SCREENED_PIXELS = 48, 12, 64 * 64
"""Images on which interventions are tried before the best one is made on all, at least so many;
of larger ones than of so many pixels fewer, since a pass takes the longer."""

CANDIDATES, LIKE, TIED = 4, 0.3, 0.1
"""Input scales among which the statistics choose, and the nats within which they are alike; those
within which the more usual one is taken."""

TINY = 1e-30  # of a variance

CLOSER, AS_NEAR = 20.0, 3.0
"""Times nearer that the first layer's statistics must be to the images in a scale to be of it, and
times the nearest scale's distance that another may have to be chosen for its predictions."""

FAR, NEAR, MATCHES = 3.0, 3.0, 2
"""Log variance ratio of the first BatchNorm layer from which a scale is looked for that explains
it, the distance from it that a scale's may have, and how many such scales are tried."""


class Scaled(NamedTuple):
    """What another input scale led to.

    Attributes:
        trials: That of the scale, or none where nothing that is fed has one.
        fit: How BatchNorm's statistics fit it; None without any.
        probes: What can be told from the activations in that scale.
    """

    trials: tuple[Trial, ...] = ()
    fit: ScaleFit | None = None
    probes: tuple[Probe, ...] = ()


def scale_inputs(
    network: Network,
    sample: Sample,
    judge: Judge,
    *,
    recomputed: Recomputed | None,
    batch_size: int,
) -> Scaled:
    """Evaluate the network with the images in the input scale that suits it best.

    With BatchNorm the statistics choose among the scales that give about the best predictions and
    those that would explain the variance of the first layer's statistics. Turned and inverted
    images are among them where they alone give clearly better predictions.
    """
    tries = input_conventions(sample.images)
    if not tries:
        return Scaled()
    network.begin(SCALES)
    count, long = screened(sample.images), network.works_long(sample.images)
    few, more = sample.images[:count], sample.images[: count if long else 2 * count]
    given = network.run(few, training=False)
    as_fed = float(judge.scores(given).mean())
    made = {scale: convert(few) for scale, convert in tries.items()}
    turns = not long or len(np.unique(predicted_classes(given, judge.reader))) > 1
    worth = _worths(network, judge, made, as_fed=as_fed, turns=turns)
    best, fit = _usual(worth), None
    if recomputed:
        first = _First.of(recomputed)
        tried = {scale: tries[scale](more) for scale in worth}
        chosen = {*_alike(worth), *_explaining(tried, more, first.ratio)}
        fits = {
            scale: _fit(network, tried[scale], first, batch_size=batch_size)
            for scale in sorted(chosen, key=list(worth).index)
        }
        best = _best(fits, worth)
        fit = fits[best]
    if long and worth[best] < as_fed + TIED and not (fit and _explained(fit)):
        return Scaled()
    heard = network.hear(tries[best](sample.images))
    told = probes(sample, heard.head, heard.trunk, scale=best)
    return Scaled((judge.trial(INPUT_SCALE, heard.outputs, scale=best),), fit, told)


class _First(NamedTuple):
    """The first BatchNorm layer: its name, epsilon and statistics, and what the images have."""

    layer: str
    epsilon: float
    moving: Statistics
    batch: Statistics

    @staticmethod
    def of(recomputed: Recomputed) -> _First:
        """Take it from what was recomputed."""
        norm = recomputed.norms[0]
        return _First(norm.layer, norm.epsilon, recomputed.moving[0], recomputed.batch[0])

    @property
    def ratio(self) -> float:
        """Median over the channels of the log of the variances' ratio; nan where one is below 0."""
        with np.errstate(invalid="ignore"):
            return float(np.median(np.log((self.moving[1] + TINY) / (self.batch[1] + TINY))))


def _worths(
    network: Network,
    judge: Judge,
    tries: Mapping[InputScale, Images],
    *,
    as_fed: float,
    turns: bool,
) -> dict[InputScale, float]:
    """Score images in every scale and, if asked for, those `turns` that beat all of them clearly.

    Of a network that stalls all are alike.
    """
    worth = _worth(network, judge, {scale: tries[scale] for scale in tries if not scale.turn})
    turned = {scale: tries[scale] for scale in tries if scale.turn and turns}
    least = max(as_fed, *worth.values()) + LIKE
    found = _worth(network, judge, turned) if turned else {}
    return {**worth, **{scale: value for scale, value in found.items() if value > least}}


def _usual(worth: Mapping[InputScale, float]) -> InputScale:
    """Pick the most usual scale of those that are as good as the best: surer is not righter."""
    most = max(worth.values())
    return next(scale for scale, value in worth.items() if value > most - TIED)


def _best(fits: Mapping[InputScale, ScaleFit], worth: Mapping[InputScale, float]) -> InputScale:
    """Choose by the predictions among scales that the statistics fit; by the fit if there is none.

    The fit is that of the first layer, which alone knows the scale, and of the worst.
    """
    nearest = AS_NEAR * min(fit.scaled for fit in fits.values())
    good = [scale for scale, fit in fits.items() if _explained(fit) and fit.scaled <= nearest]
    if good:
        return _usual({scale: worth[scale] for scale in good})
    return min(fits, key=lambda scale: fits[scale].scaled * fits[scale].worst)


def _explained(fit: ScaleFit) -> bool:
    """True where the first layer's statistics are those of images in the scale."""
    return fit.scaled * CLOSER < fit.as_fed


def screened(images: Images) -> int:
    """Count the images on which an intervention is tried first."""
    return int(np.clip(SCREENED * SCREENED_PIXELS // positions(images), LEAST, SCREENED))


def _worth(
    network: Network, judge: Judge, tries: Mapping[InputScale, Images]
) -> dict[InputScale, float]:
    """Score images in every scale, in one pass."""
    parts = np.split(network.run(joined(list(tries.values())), training=False), len(tries))
    return {scale: float(judge.scores(part).mean()) for scale, part in zip(tries, parts)}


def _alike(worth: Mapping[InputScale, float]) -> list[InputScale]:
    """Pick the `CANDIDATES` best input scales that are about as good as the best one."""
    good = sorted(worth, key=worth.__getitem__)[-CANDIDATES:]
    return [scale for scale in good if worth[scale] > max(worth.values()) - LIKE]


def _explaining(
    tries: Mapping[InputScale, Images], images: Images, ratio: float
) -> list[InputScale]:
    """Pick the scales whose variance is to that of the images about as `ratio`, a logarithm."""
    if not abs(ratio) >= FAR:  # nan
        return []
    off = {
        scale: abs(float(np.log(_variance(scaled) / _variance(images))) - ratio)
        for scale, scaled in tries.items()
    }
    return [scale for scale in sorted(off, key=off.__getitem__)[:MATCHES] if off[scale] < NEAR]


def _variance(images: Images) -> float:
    """Compute the variance of all measured numbers that are fed."""
    parts = [part for part in parts_of(images).values() if part.dtype.kind == "f"]
    return float(sum(part.var(dtype=np.float64) for part in parts)) + TINY


def _fit(network: Network, images: Images, first: _First, *, batch_size: int) -> ScaleFit:
    """Measure how far the moving statistics are from those of `images`."""
    moving = network.statistics()
    forced = network.hear_forced(images, batch_size=batch_size)
    batch = [pooled_statistics(parts) for parts in forced.moments]
    distances = [
        symmetric_kl(old, new, float(layer.epsilon))
        for layer, old, new in zip(network.norms, moving, batch)
    ]
    gone = travelled(first.moving, batch[0])
    return ScaleFit(
        layer=first.layer,
        as_fed=symmetric_kl(first.moving, first.batch, first.epsilon),
        scaled=distances[0],
        travelled=gone,
        explained=explained(first.moving, batch[0], gone, first.epsilon),
        worst=max(distances),
        ratio=first.ratio,
    )
