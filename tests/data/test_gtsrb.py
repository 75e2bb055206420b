"""GTSRB is decoded right, from archives and tree alike, and no other data set is taken for it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from suite.data import (
    CLASSES,
    LEAKED_TEST_IMAGES,
    TEST_COUNTS,
    TRAIN_COUNTS,
    Dataset,
    download,
    gtsrb,
    label_entropy,
    load_gtsrb,
)
from suite.data.cache import cache_root
from suite.data.download import TEST_ARCHIVE, TRAINING_ARCHIVE, TRUTH_ARCHIVE
from suite.data.gtsrb import Expected, load_verified
from suite.data.sources import TEST_FOLDER, TRAINING_FOLDER
from suite.errors import DataError
from tests.data.conftest import edit

Forged = dict[str, dict[str, bytes]]
Write = Callable[[Forged], Path]
Load = Callable[[Forged], Dataset]

CLASS_0 = f"{TRAINING_FOLDER}/00000"


def test_images_labels_tracks_and_names_belong_together(forged: Forged, load: Load) -> None:
    train, test = load(forged)[1:3]
    assert train.labels.tolist() == [0, 0, 0, 0, 1, 2]
    assert train.tracks.tolist() == [0, 0, 1, 1, 2, 3]
    assert train.names[[0, 3, 5]].tolist() == [
        "00000/00000_00000",
        "00000/00001_00001",
        "00002/00000_00000",
    ]
    assert test.labels.tolist() == [1, 0, 1]
    assert test.tracks.tolist() == [-1, -1, -1]
    assert test.names.tolist() == ["00000", "00001", "00002"]
    assert (str(train.images.dtype), str(train.labels.dtype)) == ("uint8", "int64")


def test_colours_come_out_as_red_green_blue(forged: Forged, load: Load) -> None:
    train, test = load(forged)[1:3]
    assert train.images.shape == (6, 4, 4, 3)
    assert (train.images[3] == (200, 1, 1)).all()
    assert (test.images[2] == (100, 2, 7)).all()


def test_an_image_is_resized_whole_and_upright(
    forged: Forged, expected: Expected, write_archives: Write
) -> None:
    rows = np.zeros((4, 6, 3), np.uint8)
    rows[:2, 3:] = 255  # upper right quarter
    content = b"P6\n6 4\n255\n" + rows.tobytes()
    forged[TRAINING_ARCHIVE][f"{CLASS_0}/00000_00000.ppm"] = content
    root = write_archives(forged)
    image = load_verified(root, size_px=2, expected=expected).train.images[0, ..., 0]
    assert image[0, 1] > 180
    assert max(image[0, 0], image[1, 0], image[1, 1]) < 75


def test_an_image_of_the_wanted_size_keeps_every_pixel(forged: Forged, load: Load) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    content = b"P6\n4 4\n255\n" + pixels.tobytes()
    forged[TRAINING_ARCHIVE][f"{CLASS_0}/00000_00000.ppm"] = content
    edit(forged[TRAINING_ARCHIVE], f"{CLASS_0}/GT-00000.csv", b"0.ppm;6;4", b"0.ppm;4;4")
    assert (load(forged).train.images[0] == pixels).all()


def test_the_extracted_tree_gives_what_the_archives_give(
    forged: Forged, load: Load, expected: Expected, write_tree: Write
) -> None:
    digest, root = load(forged).digest, write_tree(forged)
    assert load_verified(root, size_px=4, expected=expected).digest == digest
    truth = root / "GT-final_test.csv"
    for folder in (root / "GTSRB", root / TEST_FOLDER):
        truth = truth.rename(folder / truth.name)
        assert load_verified(root, size_px=4, expected=expected).digest == digest
    assert load_verified(root / "GTSRB", size_px=4, expected=expected).digest == digest


def test_every_size_is_decoded_on_its_own(
    forged: Forged, load: Load, expected: Expected, tmp_path: Path
) -> None:
    assert load(forged).train.images.shape == (6, 4, 4, 3)
    larger = load_verified(tmp_path / "archives", size_px=9, expected=expected)
    assert larger.train.images.shape == (6, 9, 9, 3)


def test_archives_and_extracted_folders_may_be_mixed(
    forged: Forged, load: Load, expected: Expected, write_tree: Write, tmp_path: Path
) -> None:
    digest, root = load(forged).digest, write_tree(forged)
    (tmp_path / "archives" / TRAINING_ARCHIVE).rename(root / TRAINING_ARCHIVE)
    assert load_verified(root, size_px=4, expected=expected).digest == digest


def test_a_changed_file_in_the_tree_is_decoded_again(
    forged: Forged, expected: Expected, write_tree: Write
) -> None:
    root = write_tree(forged)
    before = load_verified(root, size_px=4, expected=expected)
    image = root / TEST_FOLDER / "00000.ppm"
    image.write_bytes(image.read_bytes()[:-1] + b"\xff")
    os.utime(image, ns=(0, image.stat().st_mtime_ns + 1))
    assert load_verified(root, size_px=4, expected=expected).digest != before.digest


def test_the_size_has_to_be_positive(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"size_px must be at least 1. Received: 0"):
        load_gtsrb(tmp_path, size_px=0)


def test_without_a_root_the_missing_archives_are_downloaded(
    monkeypatch: pytest.MonkeyPatch, forged: Forged, write_archives: Write, expected: Expected
) -> None:
    calls = []

    def fetch() -> Path:
        calls.append(1)
        return write_archives(forged).rename(cache_root() / "gtsrb")

    cache_root().mkdir(parents=True)
    monkeypatch.setattr(download, "download_gtsrb", fetch)
    monkeypatch.setattr(gtsrb, "OFFICIAL", expected)
    first, second = load_gtsrb(None, size_px=4), load_gtsrb(None, size_px=4)
    assert first.digest == second.digest
    assert calls == [1]


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no GTSRB there. Found: nothing.*nox -s data"):
        load_gtsrb(tmp_path / "nowhere", size_px=4)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file: no GTSRB there. Found: a file.*GTSRB_ROOT"):
        load_gtsrb(tmp_path / "file", size_px=4)


@pytest.mark.parametrize("name", [TRAINING_ARCHIVE, TEST_ARCHIVE, TRUTH_ARCHIVE])
def test_a_missing_archive_is_named(name: str, forged: Forged, load: Load) -> None:
    del forged[name]
    with pytest.raises(DataError, match=rf"{name} is missing. Found: GTSRB_Final.*nox -s data"):
        load(forged)


def test_the_competition_archive_in_place_of_the_training_archive_is_recognised(
    tmp_path: Path,
) -> None:
    (tmp_path / "GTSRB-Training_fixed.zip").touch()
    with pytest.raises(DataError, match=r"2011 competition.*26,640.*CLIP/issues/156"):
        load_gtsrb(tmp_path, size_px=4)


def test_the_competition_archive_under_the_official_name_is_recognised(
    forged: Forged, load: Load
) -> None:
    forged[TRAINING_ARCHIVE] = {"GTSRB/Training/00000/00000_00000.ppm": b""}
    with pytest.raises(DataError, match=rf"{TRAINING_ARCHIVE}: not the official set.*2011 compet"):
        load(forged)


def test_the_competition_images_in_the_official_folders_are_recognised(
    forged: Forged, load: Load
) -> None:
    names = (f"{CLASS_0}/{n // 30:05d}_{n % 30:05d}.ppm" for n in range(26_640))
    forged[TRAINING_ARCHIVE] = dict.fromkeys(names, b"")
    with pytest.raises(DataError, match=r"26,640 images: the training set of the 2011 compet"):
        load(forged)


def test_forged_data_is_not_official(forged: Forged, write_archives: Write) -> None:
    with pytest.raises(DataError, match=r"Found: 6 images. Expected: 39,209 images"):
        load_gtsrb(write_archives(forged), size_px=4)


def test_a_cached_small_set_does_not_pass_for_the_official_one(
    forged: Forged, load: Load, tmp_path: Path
) -> None:
    load(forged)
    with pytest.raises(DataError, match=r"39,209"):
        load_gtsrb(tmp_path / "archives", size_px=4)


def test_data_at_another_size_are_known_by_their_pixels_too(
    forged: Forged, load: Load, expected: Expected, tmp_path: Path
) -> None:
    load(forged)
    other = expected._replace(train_pixels_sha256="0" * 64)
    for size_px in (gtsrb.PROVEN_PX, 4):
        with pytest.raises(DataError, match=r"not the official images. Found: pixels of sha256"):
            load_verified(tmp_path / "archives", size_px=size_px, expected=other)


needs_gtsrb = pytest.mark.skipif(
    "GTSRB_ROOT" not in os.environ, reason="GTSRB_ROOT does not name the real data"
)


@needs_gtsrb
def test_the_real_data_is_the_official_set_with_its_eight_leaked_images() -> None:
    data = load_gtsrb(Path(os.environ["GTSRB_ROOT"]), size_px=32)
    assert data.train.images.shape == (39_209, 32, 32, 3)
    assert tuple(np.bincount(data.train.labels)) == TRAIN_COUNTS
    assert tuple(np.bincount(data.test.labels, minlength=CLASSES)) == TEST_COUNTS
    assert len(np.unique(data.train.tracks)) == 1_307
    assert math.isclose(label_entropy(data.train.labels), 3.4854, abs_tol=5e-5)
    track = np.char.startswith(data.train.names, "00014/00023_")
    sign = {image.tobytes() for image in data.train.images[track]}
    leaked = data.test.images[np.isin(data.test.names, LEAKED_TEST_IMAGES)]
    assert len(leaked) == 8
    assert all(image.tobytes() in sign for image in leaked)
