"""Subsets keep what they promise: class proportions, whole tracks, no leaked image."""

from __future__ import annotations

import math

import numpy as np
import pytest

from suite.data import (
    CLASSES,
    LEAKED_TEST_IMAGES,
    TEST_COUNTS,
    TRAIN_COUNTS,
    Split,
    label_entropy,
    stratified_subset,
    validation_split,
    without_leaked,
)
from suite.data.split import class_shares, pixels


@pytest.fixture(scope="module")
def official() -> Split:
    """Return a split with GTSRB's labels and tracks, its images one pixel that tells the row."""
    labels = np.repeat(np.arange(CLASSES), TRAIN_COUNTS)
    frames = np.concatenate([np.arange(count) for count in TRAIN_COUNTS])
    tracks = np.cumsum(frames % 30 == 0) - 1
    rows = np.arange(len(labels))
    images = np.stack([rows >> 16, rows >> 8 & 255, rows & 255], axis=-1).astype(np.uint8)
    return Split(images.reshape(-1, 1, 1, 3), labels, tracks, rows.astype(np.str_))


def test_the_official_counts_add_up() -> None:
    assert (sum(TRAIN_COUNTS), sum(TEST_COUNTS)) == (39_209, 12_630)
    assert len(TRAIN_COUNTS) == len(TEST_COUNTS) == CLASSES
    assert len(set(LEAKED_TEST_IMAGES)) == 8


def test_the_entropy_of_the_official_training_labels_is_3_4854_nats(official: Split) -> None:
    assert label_entropy(official.labels) == pytest.approx(3.4854, abs=5e-5)


def test_entropy_ignores_absent_classes_and_is_zero_for_one_class() -> None:
    assert label_entropy(np.array([3, 3])) == 0
    assert label_entropy(np.array([0, 5])) == pytest.approx(math.log(2))
    with pytest.raises(ValueError, match=r"labels must .* Received: none"):
        label_entropy(np.array([], dtype=np.int64))


@pytest.mark.parametrize("count", [43, 100, 1000, 9600, 39_209])
def test_a_subset_has_every_class_in_proportion(official: Split, count: int) -> None:
    subset = stratified_subset(official, count, seed=1)
    found = np.bincount(subset.labels, minlength=CLASSES)
    assert found.sum() == count
    assert found.min() >= 1
    assert np.abs(found - np.array(TRAIN_COUNTS) * count / 39_209).max() <= 1.5
    assert len(np.unique(subset.names)) == count


def test_a_subset_below_43_images_takes_the_largest_classes() -> None:
    assert class_shares((5, 1, 94), 2).tolist() == [0, 0, 2]
    assert class_shares((5, 0, 95), 3).tolist() == [1, 0, 2]
    assert class_shares((50, 25, 25), 6).tolist() == [3, 2, 1]


def test_the_rows_of_a_subset_stay_together(official: Split) -> None:
    subset = stratified_subset(official, 500, seed=3)
    rows = subset.names.astype(int)
    assert (subset.images == official.images[rows]).all()
    assert (subset.labels == official.labels[rows]).all()
    assert (subset.tracks == official.tracks[rows]).all()


def test_the_seed_decides_a_subset_and_its_shuffled_order(official: Split) -> None:
    first, again, other = (stratified_subset(official, 300, seed=seed) for seed in (1, 1, 2))
    assert (first.names == again.names).all()
    assert set(first.names) != set(other.names)
    assert (np.diff(first.labels) < 0).sum() > 100


@pytest.mark.parametrize("count", [0, -1, 39_210])
def test_a_count_out_of_range_is_refused(official: Split, count: int) -> None:
    with pytest.raises(ValueError, match=rf"count must be in \[1, 39209\]. Received: {count}"):
        stratified_subset(official, count, seed=0)


def test_validation_takes_whole_tracks_of_every_class(official: Split) -> None:
    train, validation = validation_split(official, fraction=0.1, seed=5)
    assert not set(train.tracks) & set(validation.tracks)
    assert len(train.labels) + len(validation.labels) == len(official.labels)
    assert len(np.unique(train.labels)) == len(np.unique(validation.labels)) == CLASSES
    assert 0.08 < len(validation.labels) / len(official.labels) < 0.13
    other = validation_split(official, fraction=0.1, seed=6)[1]
    assert set(other.tracks) != set(validation.tracks)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, math.nan])
def test_a_fraction_out_of_range_is_refused(official: Split, fraction: float) -> None:
    with pytest.raises(ValueError, match=r"fraction must be in \(0, 1\)"):
        validation_split(official, fraction=fraction, seed=0)


def test_validation_needs_two_known_tracks_of_every_class(official: Split) -> None:
    one = official._replace(tracks=official.labels)
    with pytest.raises(ValueError, match=r"two tracks of every class. Received: one of class 0"):
        validation_split(one, fraction=0.1, seed=0)
    unknown = official._replace(tracks=np.full_like(official.labels, -1))
    with pytest.raises(ValueError, match=r"known tracks"):
        validation_split(unknown, fraction=0.1, seed=0)


def test_the_leaked_images_and_only_they_are_left_out(official: Split) -> None:
    names = np.array([f"{number:05d}" for number in range(12_630)])
    test = Split(
        official.images[:12_630], official.labels[:12_630], official.tracks[:12_630], names
    )
    kept = without_leaked(test)
    assert set(names) - set(kept.names) == set(LEAKED_TEST_IMAGES)
    assert (kept.labels == test.labels[kept.names.astype(int)]).all()


def test_pixels_lie_in_0_to_1_as_float32() -> None:
    scaled = pixels(np.array([[[[0, 51, 255]]]], dtype=np.uint8))
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.ravel(), [0, 0.2, 1], rtol=1e-6)
    assert scaled.max() == 1
