"""Tests of the images and labels of a diagnosis: checked, drawn, told apart."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from suite.diagnose.sample import sampled, told_classes

IMAGES = np.random.default_rng(0).random((40, 6, 6, 3))
LABELS = np.arange(40) % 4


def model(shape: Any = (None, 6, 6, 3)) -> Any:
    return SimpleNamespace(input_shape=shape)


def test_images_are_drawn_at_random_with_their_labels_and_always_the_same() -> None:
    drawn = sampled(model(), IMAGES, LABELS, limit=20, seed=0)
    assert (drawn.images.dtype, drawn.labels.dtype) == (np.float32, np.int64)
    places = [
        int(np.flatnonzero((IMAGES.astype(np.float32) == image).all((1, 2, 3)))[0])
        for image in drawn.images
    ]
    assert len(set(places)) == 20
    assert drawn.labels.tolist() == LABELS[places].tolist()
    again = sampled(model(), IMAGES, LABELS, limit=20, seed=0)
    assert again.labels.tolist() == drawn.labels.tolist()
    assert len(sampled(model(), IMAGES, LABELS, limit=999, seed=0).labels) == 40


def test_labels_in_a_column_or_as_floats_are_labels() -> None:
    column = sampled(model(), IMAGES, LABELS[:, None].astype(float), limit=40, seed=0)
    assert (
        column.labels.tolist() == sampled(model(), IMAGES, LABELS, limit=40, seed=0).labels.tolist()
    )


@pytest.mark.parametrize("shape", [None, (None, None, None, 3), (None, 6, 6, 3)])
def test_a_size_that_the_network_leaves_open_is_free(shape: Any) -> None:
    assert len(sampled(model(shape), IMAGES, LABELS, limit=40, seed=0).labels) == 40


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"images": IMAGES[:15], "labels": LABELS[:15]}, "images must be 16 at least"),
        ({"images": IMAGES[:, :4]}, r"input shape \('n', 6, 6, 3\): resize them"),
        ({"images": IMAGES.astype(str)}, "images must be numbers"),
        ({"images": IMAGES * np.inf}, "images must be finite"),
        ({"labels": 0 * LABELS}, "labels must be of two classes"),
        ({"labels": LABELS - 1}, "labels must be whole numbers from 0"),
        ({"labels": LABELS + 0.5}, "labels must be whole numbers from 0"),
        ({"labels": LABELS[1:]}, "labels must be one an image, 40. Received: 39"),
        ({"labels": np.eye(4)[LABELS]}, "not one-hot"),
        ({"shape": [(None, 6, 6, 3), (None, 2)]}, "model must have one input. Received: 2"),
    ],
)  # fmt: skip
def test_wrong_data_are_refused_with_what_was_expected(wrong: Any, message: str) -> None:
    given = {"images": IMAGES, "labels": LABELS, "shape": (None, 6, 6, 3), **wrong}
    with pytest.raises(ValueError, match=message):
        sampled(model(given["shape"]), given["images"], given["labels"], limit=40, seed=0)


def test_labels_must_be_of_the_networks_classes() -> None:
    assert told_classes(LABELS, np.zeros((40, 4)), None) == 4
    assert told_classes(LABELS % 2, np.zeros((40, 1)), 2) == 2  # one output tells two apart
    with pytest.raises(ValueError, match=r"labels must be in \[0, 2\]"):
        told_classes(LABELS, np.zeros((40, 3)), None)
    with pytest.raises(ValueError, match="classes must be 4"):
        told_classes(LABELS, np.zeros((40, 4)), 10)
    with pytest.raises(ValueError, match=r"outputs of shape \(n, 6, 6, 4\)"):
        told_classes(LABELS, np.zeros((40, 6, 6, 4)), None)
