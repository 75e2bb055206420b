"""What the healthy networks are trained on and used on: drawn at once, never stored."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from suite.data import CLASSES as GTSRB_CLASSES
from suite.data import load_synthetic
from tests.diagnose.reports.report import CLASSES, SIDE_PX, Data, sample

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

TRAIN, TEST = 1, 2
"""Seeds of the two splits."""


class Task(NamedTuple):
    """Samples of several classes.

    Attributes:
        draw: Gives so many samples and labels of a split.
        shape: Of one sample.
        classes: How many.
    """

    draw: Callable[[int, int], tuple[NDArray[Any], NDArray[np.int64]]]
    shape: tuple[int, ...]
    classes: int


def patterns(
    classes: int = 6, side: int = 12, *, channels: int = 3, noise: float = 0.15,
    shares: tuple[float, ...] | None = None, flipped: float = 0.0,
) -> Task:  # fmt: skip
    """Make images in [0, 1] of one pattern a class, in different light.

    Args:
        classes: How many.
        side: Pixels, a multiple of 4.
        channels: Of an image.
        noise: Its standard deviation.
        shares: Of the classes; by default alike.
        flipped: Share of labels that are drawn anew: label noise.
    """
    drawn = np.random.default_rng(7).uniform(0, 1, (classes, 4, 4, channels))
    faces = drawn.repeat(side // 4, 1).repeat(side // 4, 2)

    def draw(count: int, seed: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        rng = np.random.default_rng(seed)
        labels = rng.choice(classes, count, p=shares)
        light = rng.uniform(0.5, 1, (count, 1, 1, 1))
        images = light * faces[labels] + rng.normal(0, noise, (count, side, side, channels))
        told = np.where(rng.random(count) < flipped, rng.integers(0, classes, count), labels)
        return np.clip(images, 0, 1).astype(np.float32), told

    return Task(draw, (side, side, channels), classes)


def signs() -> Task:
    """Take photographed signs of ten classes; those of the training need GTSRB."""

    def draw(count: int, seed: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        data = photographed()[0] if seed == TRAIN else sample()
        return data.images[:count], data.labels[:count]

    return Task(draw, (SIDE_PX, SIDE_PX, 3), CLASSES)


@lru_cache(maxsize=1)
def photographed() -> tuple[Data, Data]:
    """Load the photographed signs once."""
    from tests.diagnose.reports.training import signs as loaded  # noqa: PLC0415 - needs GTSRB

    return loaded()


def drawn_signs(side: int) -> Task:
    """Make drawn traffic signs of 43 classes; those of a class are frames of very few scenes."""

    def draw(count: int, seed: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        data = load_synthetic(size_px=side, train_count=5000, test_count=800)
        split = data.train if seed == TRAIN else data.test
        rows = np.random.default_rng(seed).permutation(len(split.labels))[:count]
        return split.images[rows].astype(np.float32) / 255, split.labels[rows].astype(np.int64)

    return Task(draw, (side, side, 3), GTSRB_CLASSES)


def waves(classes: int = 4, length: int = 24, *, noise: float = 0.5) -> Task:
    """Make sequences of two noisy waves, a frequency a class, with any phase."""

    def draw(count: int, seed: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, classes, count)
        phase = rng.uniform(0, 2 * np.pi, (count, 1)) + np.arange(length) * 0.25 * (
            1 + labels[:, None]
        )
        clean = np.stack([np.sin(phase), np.cos(phase)], axis=2)
        return (clean + rng.normal(0, noise, clean.shape)).astype(np.float32), labels

    return Task(draw, (length, 2), classes)


def tokens(classes: int = 3, length: int = 16, *, words: int = 40) -> Task:
    """Make sequences of token ids; a class has words that it uses more often."""
    usage = np.random.default_rng(5).dirichlet(np.full(words, 0.6), classes)

    def draw(count: int, seed: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, classes, count)
        rows = [rng.choice(words, length, p=usage[label]) for label in labels]
        return np.array(rows, dtype=np.int32), labels

    return Task(draw, (length,), classes)


def table(columns: int = 12, classes: int = 2, *, apart: float = 0.7) -> Task:
    """Make standardised measurements, `apart` standard deviations between classes in each."""
    middles = np.random.default_rng(3).normal(0, apart, (classes, columns))

    def draw(count: int, seed: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, classes, count)
        return rng.normal(middles[labels], 1).astype(np.float32), labels

    return Task(draw, (columns,), classes)


def volumes(classes: int = 3, side: int = 6) -> Task:
    """Make cubes of one grey pattern a class."""
    faces = np.random.default_rng(11).uniform(0, 1, (classes, side, side, side, 1))

    def draw(count: int, seed: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, classes, count)
        noisy = faces[labels] + rng.normal(0, 0.4, (count, side, side, side, 1))
        return noisy.astype(np.float32), labels

    return Task(draw, (side, side, side, 1), classes)
