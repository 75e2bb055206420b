"""Train every report's network on signs of ten classes, and keep its weights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from suite.data.gtsrb import load_gtsrb
from suite.data.split import Split
from suite.stacks.protocol import Stack
from tests.diagnose.reports.report import FOLDER, SIDE_PX, Data, Report, store

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHOSEN = (1, 4, 11, 12, 13, 14, 17, 25, 35, 38)
"""Classes of GTSRB that differ at 16 pixels; each has 270 training images at least."""

EACH, STORED = 300, 256  # training images of a class; images that are stored


def signs() -> tuple[Data, Data]:
    """Load the training images, and those that are stored."""
    root = os.environ.get("GTSRB_ROOT")
    loaded = load_gtsrb(Path(root) if root else None, size_px=2 * SIDE_PX)
    return _data(*_taken(loaded.train, EACH, seed=0)), _data(*_taken(loaded.test, 60, seed=1))


def _taken(split: Split, each: int, *, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw `each` images of every class in random order, halved to 16 x 16 pixels."""
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(np.flatnonzero(split.labels == label), each) for label in CHOSEN]
    rows = rng.permutation(np.concatenate(drawn))
    images = np.stack([split.images[row] for row in rows]).astype(np.float64)
    halved = images.reshape(len(rows), SIDE_PX, 2, SIDE_PX, 2, 3).mean(axis=(2, 4))
    return halved.round().astype(np.uint8), np.searchsorted(CHOSEN, split.labels[rows])


def _data(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Data:
    """Scale images to [0, 1]."""
    return Data(images.astype(np.float32) / 255, labels)


def keep(images: Data) -> None:
    """Store the images that the networks are used on."""
    few = (255 * images.images[:STORED]).round().astype(np.uint8)
    labels = images.labels[:STORED].astype(np.uint8)
    np.savez_compressed(FOLDER / "signs.npz", images=few, labels=labels)


def train(stack: Stack, reports: Sequence[Report], data: Data) -> None:
    """Train the networks of `reports` that share no other's weights."""
    for report in reports:
        if not report.weights:
            stack.seed(0)
            store(report, report.train(stack.keras, data))
