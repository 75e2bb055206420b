"""Tests of suite.commands.gpu_sample: the images that come out are those of the archives."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from suite.commands import gpu_sample
from suite.commands.gpu_sample import load_sample, pack_sample
from suite.data import Dataset
from suite.data.gtsrb import load_verified
from suite.errors import DataError
from tests.data.conftest import EXPECTED, forge, pack


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forge archives, in which images of one colour differ, and let them pass for the official."""
    forged = forge()
    noisy = np.random.default_rng(0)
    for members in forged.values():
        for name in members:
            if name.endswith(".ppm"):
                pixels = noisy.integers(0, 256, (4, 6, 3)).astype(np.uint8)
                members[name] = b"P6\n6 4\n255\n" + pixels.tobytes()
    folder = pack(forged, tmp_path / "archives")
    monkeypatch.setattr(gpu_sample, "load_gtsrb", lambda root, *, size_px: whole(root, size_px))
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    return folder


def whole(root: Path, size_px: int) -> Dataset:
    return load_verified(root, size_px=size_px, expected=EXPECTED)


@pytest.mark.parametrize("size_px", [4, 8, 64])
def test_images_of_a_sample_are_those_of_the_archives_at_every_size(
    root: Path, tmp_path: Path, size_px: int
) -> None:
    path = tmp_path / "sample.zip"
    pack_sample(root, path, train_images=5, test_images=2)
    found, full = load_sample(path, size_px=size_px), whole(root, size_px)
    assert (len(found.train.labels), len(found.test.labels)) == (5, 2)
    for mine, theirs in ((found.train, full.train), (found.test, full.test)):
        rows = [list(theirs.names).index(name) for name in mine.names]
        np.testing.assert_array_equal(mine.images, theirs.images[rows])
        np.testing.assert_array_equal(mine.labels, theirs.labels[rows])
    same = [name[:11] for name in found.train.names]
    assert [same.index(name) for name in same] == [
        list(found.train.tracks).index(track) for track in found.train.tracks
    ]
    assert set(found.test.tracks) == {-1}
    assert (found.name, found.digest) != (full.name, full.digest)
    larger = load_sample(path, size_px=2 * size_px)
    assert larger.train.images.shape[1:] == (2 * size_px, 2 * size_px, 3)


def test_the_same_archives_give_the_same_sample(root: Path, tmp_path: Path) -> None:
    digests = set()
    for name in ("a.zip", "b.zip"):
        pack_sample(root, tmp_path / name, train_images=4, test_images=1)
        digests.add(load_sample(tmp_path / name, size_px=4).digest)
    assert len(digests) == 1


def test_more_images_than_there_are_and_a_damaged_sample_are_refused(
    root: Path, tmp_path: Path
) -> None:
    path = tmp_path / "sample.zip"
    with pytest.raises(DataError, match=r"cannot have 7 training images: GTSRB has 6\. Give fewer"):
        pack_sample(root, path, train_images=7, test_images=1)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("labels.json", '{"train": {"00000/00000_00000": 0}, "test": {}}')
    with pytest.raises(DataError, match=r"no sample of GTSRB .*Pack it anew"):
        load_sample(path, size_px=4)


def test_an_image_that_would_change_on_its_way_is_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = gpu_sample._decoded
    monkeypatch.setattr(gpu_sample, "_decoded", lambda encoded: decoded(encoded) ^ 1)
    with pytest.raises(DataError, match="changes when Pillow writes it"):
        pack_sample(root, tmp_path / "sample.zip", train_images=4, test_images=1)
