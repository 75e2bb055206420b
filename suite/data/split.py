"""A data set as plain arrays, and the subsets that cases train and test on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from suite.networks.types import Images

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSES = 43
TRAIN_COUNTS = (
    210, 2220, 2250, 1410, 1980, 1860, 420, 1440, 1410, 1470, 2010, 1320, 2100, 2160, 780,
    630, 420, 1110, 1200, 210, 360, 330, 390, 510, 270, 1500, 600, 240, 540, 270,
    450, 780, 240, 689, 420, 1200, 390, 210, 2070, 300, 360, 240, 240,
)  # fmt: skip
"""Official training images per class."""

TEST_COUNTS = (
    60, 720, 750, 450, 660, 630, 150, 450, 450, 480, 660, 420, 690, 720, 270,
    210, 150, 360, 390, 60, 90, 90, 120, 150, 90, 480, 180, 60, 150, 90,
    150, 270, 60, 210, 120, 390, 120, 60, 690, 90, 90, 60, 90,
)  # fmt: skip
"""Official test images per class."""

LEAKED_TEST_IMAGES = (
    "00666", "02291", "03546", "03594", "04548", "09384", "09575", "11906",
)  # fmt: skip
"""Official test images whose pixels are those of training images (of class 14, track 23)."""


class Split(NamedTuple):
    """Images with their labels; row ``i`` of every array belongs to the same image.

    Attributes:
        images: ``(n, size_px, size_px, 3)`` uint8, RGB in [0, 255].
        labels: ``(n,)`` int64 in [0, 42].
        tracks: ``(n,)`` int64, number of the sign that was filmed, unique across classes; -1 where
            it is unknown.
        names: ``(n,)`` str, such as "00014/00023_00005" (training) or "00666" (test).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    tracks: NDArray[np.int64]
    names: NDArray[np.str_]


class Dataset(NamedTuple):
    """The official split of one data set.

    Attributes:
        name: "gtsrb" or "synthetic".
        train: The training images.
        test: The test images, their tracks unknown (-1).
        digest: "sha256:..." of the decoded images and labels of both splits.
    """

    name: str
    train: Split
    test: Split
    digest: str


def stratified_subset(split: Split, count: int, *, seed: int) -> Split:
    """Draw `count` images of `split` in random order, in the proportions of its classes.

    Classes get their share by largest remainder; if `count` allows it, every class has an image.

    Raises:
        ValueError: If `count` is not in [1, images in the split].
    """
    if not 1 <= count <= len(split.labels):
        raise ValueError(f"count must be in [1, {len(split.labels)}]. Received: {count}")
    rng = np.random.default_rng(seed)
    shares = class_shares(np.bincount(split.labels, minlength=CLASSES), count)
    members = (np.flatnonzero(split.labels == label) for label in range(len(shares)))
    chosen = [rng.permutation(rows)[:share] for rows, share in zip(members, shares)]
    return _take(split, rng.permutation(np.concatenate(chosen)))


def class_shares(weights: Sequence[int] | NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Share out `total` in proportion to `weights`, by largest remainder.

    Every class of non-zero weight gets at least 1 if `total` is large enough for that.

    Args:
        weights: ``(classes,)``, not negative, not all zero.
        total: The sum of the shares.
    """
    weight = np.asarray(weights, dtype=np.int64)
    ideal = weight * total / weight.sum()
    present = weight > 0
    shares: NDArray[np.int64] = np.maximum(
        weight * total // weight.sum(), present & (total >= present.sum())
    )
    while shares.sum() > total:
        shares[np.argmax(np.where(shares > 1, shares - ideal, -np.inf))] -= 1
    remainders = np.argsort(shares - ideal, kind="stable")
    shares[remainders[: total - shares.sum()]] += 1
    return shares


def validation_split(split: Split, *, fraction: float, seed: int) -> tuple[Split, Split]:
    """Divide `split` into (train, validation) by whole tracks; both have every class.

    Args:
        split: Images whose tracks are known.
        fraction: Share of each class's tracks that goes to validation, in (0, 1).
        seed: Decides which tracks.

    Raises:
        ValueError: If `fraction` is outside (0, 1), a track is unknown, or a class has only one.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be in (0, 1). Received: {fraction}")
    if (split.tracks < 0).any():
        raise ValueError("split must have known tracks. Received: tracks of -1")
    rng = np.random.default_rng(seed)
    held_out = [_held_out_tracks(split, label, fraction, rng) for label in np.unique(split.labels)]
    in_validation = np.isin(split.tracks, np.concatenate(held_out))
    return _take(split, np.flatnonzero(~in_validation)), _take(split, np.flatnonzero(in_validation))


def _held_out_tracks(
    split: Split, label: int, fraction: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    tracks = np.unique(split.tracks[split.labels == label])
    if len(tracks) == 1:
        raise ValueError(
            f"split must have at least two tracks of every class. Received: one of class {label}"
        )
    count = min(max(round(fraction * len(tracks)), 1), len(tracks) - 1)
    return rng.permutation(tracks)[:count]


def without_leaked(split: Split) -> Split:
    """Leave out the eight test images that the training set contains too."""
    return _take(split, np.flatnonzero(~np.isin(split.names, LEAKED_TEST_IMAGES)))


def _take(split: Split, rows: NDArray[np.intp]) -> Split:
    return Split(split.images[rows], split.labels[rows], split.tracks[rows], split.names[rows])


def pixels(images: NDArray[np.uint8]) -> Images:
    """Turn uint8 images ``(batch, height, width, 3)`` into float32 in [0, 1]."""
    return images.astype(np.float32) / np.float32(255)


def label_entropy(labels: NDArray[np.int64]) -> float:
    """Compute the entropy of `labels` in nats: the cross-entropy of the best constant predictor.

    Args:
        labels: ``(n,)``, not negative.

    Raises:
        ValueError: If `labels` is empty.
    """
    if not len(labels):
        raise ValueError("labels must hold at least one label. Received: none")
    counts = np.bincount(labels)
    shares = counts[counts > 0] / len(labels)
    return float(-(shares * np.log(shares)).sum())
