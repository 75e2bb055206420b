"""The synthetic signs are 43 different ones, reproducible, and no two splits share an image."""

from __future__ import annotations

import numpy as np
import pytest

from suite.data import CLASSES, TRAIN_COUNTS, load_synthetic, synthetic, validation_split
from suite.data.signs import draw_sign
from suite.data.split import class_shares


def test_the_43_faces_differ_even_when_small() -> None:
    faces = [np.asarray(draw_sign(label, size_px=24), dtype=float) for label in range(CLASSES)]
    distances = [
        np.abs(a[..., :3] - b[..., :3]).mean() for i, a in enumerate(faces) for b in faces[:i]
    ]
    assert min(distances) > 1.5


def test_a_face_is_clear_around_its_plate_and_opaque_in_the_middle() -> None:
    for label in range(CLASSES):
        alpha = np.asarray(draw_sign(label, size_px=48))[..., 3]
        assert alpha[0, 0] == alpha[0, -1] == alpha[-1, 0] == 0
        assert alpha[24, 24] == 255


def test_left_and_right_signs_are_each_others_mirror_image() -> None:
    for left, right in [(19, 20), (34, 33), (37, 36), (39, 38)]:
        mirrored = np.asarray(draw_sign(left, size_px=64))[:, ::-1].astype(float)
        assert np.abs(mirrored - np.asarray(draw_sign(right, size_px=64))).mean() < 4


@pytest.mark.parametrize("label", [-1, 43])
def test_a_label_out_of_range_has_no_face(label: int) -> None:
    with pytest.raises(ValueError, match=rf"label must be in \[0, 42\]. Received: {label}"):
        draw_sign(label, size_px=32)
    with pytest.raises(ValueError, match=r"size_px must be at least 1"):
        draw_sign(0, size_px=0)


def test_a_data_set_has_the_shape_and_the_proportions_of_gtsrb() -> None:
    data = load_synthetic(size_px=16, train_count=430, test_count=86)
    assert data.name == "synthetic"
    assert data.train.images.shape == (430, 16, 16, 3)
    assert data.test.images.shape == (86, 16, 16, 3)
    assert data.train.images.dtype == np.uint8
    shares = np.bincount(data.train.labels, minlength=CLASSES)
    assert shares.tolist() == class_shares(TRAIN_COUNTS, 430).tolist()
    assert np.bincount(data.test.labels, minlength=CLASSES).min() >= 1
    assert (data.test.tracks == -1).all()
    assert len(set(data.train.names) | set(data.test.names)) == 516


def test_a_track_is_one_sign_of_at_most_30_frames() -> None:
    train = load_synthetic(size_px=8, train_count=2600, test_count=43).train
    tracks, counts = np.unique(train.tracks, return_counts=True)
    assert counts.max() == 30
    assert tracks.tolist() == list(range(len(tracks)))
    signs = {name.rsplit("_")[0] for name in train.names}
    assert len(signs) == len(set(zip(train.tracks, train.labels, strict=True))) == len(tracks)


def test_the_rarest_classes_of_the_default_size_have_tracks_for_validation() -> None:
    counts = class_shares(TRAIN_COUNTS, 8600)
    rarest = synthetic._render_split(np.where(counts == counts.min(), counts, 0), (0, 0), 8)
    train, validation = validation_split(rarest, fraction=0.1, seed=0)
    assert set(train.labels) == set(validation.labels) == {0, 19, 37}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    digests = []
    for seed in (3, 3, 4):
        monkeypatch.setenv("SUITE_CACHE", str(tmp_path_factory.mktemp("cache")))
        data = load_synthetic(size_px=16, seed=seed, train_count=60, test_count=43)
        digests.append(data.digest)
    assert digests[0] == digests[1] != digests[2]


def test_the_same_arguments_are_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_synthetic(size_px=8, train_count=43, test_count=43)
    monkeypatch.setattr(synthetic, "_render_split", None)
    assert load_synthetic(size_px=8, train_count=43, test_count=43).digest == first.digest


def test_no_image_is_in_both_splits_or_twice_in_one() -> None:
    data = load_synthetic(size_px=16, train_count=100, test_count=100)
    images = [image.tobytes() for split in (data.train, data.test) for image in split.images]
    assert len(set(images)) == 200


def test_the_test_images_come_in_random_order() -> None:
    labels = load_synthetic(size_px=8, train_count=43, test_count=200).test.labels
    assert (np.diff(labels) < 0).sum() > 50


def test_the_sign_is_seen_where_it_was_posed() -> None:
    train = load_synthetic(size_px=32, train_count=400, test_count=43).train
    stop, blue = (train.images[train.labels == label].mean((0, 1, 2)) for label in (14, 38))
    assert stop[0] > stop[2]
    assert blue[2] > blue[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size_px": 7}, "size_px must be at least 8. Received: 7"),
        ({"size_px": 32, "seed": -1}, "seed must not be negative. Received: -1"),
        ({"size_px": 32, "train_count": 42}, "train_count must be at least 43. Received: 42"),
        ({"size_px": 32, "test_count": 0}, "test_count must be at least 43. Received: 0"),
    ],
)
def test_an_argument_out_of_range_is_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_synthetic(**arguments)
