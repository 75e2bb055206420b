"""Tests of suite.data.resize: OpenCV's own bytes, and the 32-pixel set from original images."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from suite.data.download import TEST_ARCHIVE, TRAINING_ARCHIVE
from suite.data.gtsrb import TEST_IMAGE, TRAINING_IMAGE, Row, _decode
from suite.data.resize import resized
from suite.data.sources import TEST_FOLDER, TRAINING_FOLDER, Source, content, opened

OPENCV = [  # sha256 of cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR), 4.10.0
    (15, 16, 32, "700f269f6fea26ef5a4bdb9fc3adcc32"),
    (250, 243, 32, "2bbf346a03ad39751418b5d2d1ae5714"),
    (64, 64, 32, "9102779b68117ea4ed7d212ebcc361da"),
    (48, 64, 32, "4f66bc6775aaed004e5f60c8566cb081"),
    (33, 31, 64, "2069532ce3410901c021edeac63a1125"),
    (1, 7, 32, "ec64d30db3fb6b1eb8d46c6dee9870c3"),
    (128, 128, 64, "89852386af5eefde061a152e3dca3585"),
    (100, 40, 48, "0984152cdcc6f209a3bfde381a8131bf"),
]


@pytest.mark.parametrize(("height", "width", "size", "digest"), OPENCV)
def test_an_image_is_resized_to_the_very_bytes_of_opencv(
    height: int, width: int, size: int, digest: str
) -> None:
    rng = np.random.default_rng([height, width, size])
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    found = np.ascontiguousarray(resized(image, size))
    assert found.shape == (size, size, 3)
    assert hashlib.sha256(found.tobytes()).hexdigest()[:32] == digest


def test_an_image_of_the_size_is_left_as_it_is() -> None:
    image = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)
    assert resized(image, 32) is image


def test_one_colour_stays_that_colour() -> None:
    for value in (0, 1, 127, 254, 255):
        image = np.full((57, 41, 3), value, np.uint8)
        assert (resized(image, 32) == value).all()


def images(source: Source, size_px: int) -> dict[str, np.ndarray]:
    """Decode every image of a source."""
    found = {}
    for name in source.names:
        if TRAINING_IMAGE.fullmatch(name) or TEST_IMAGE.fullmatch(name):
            width, height = map(int, content(source, name).split(maxsplit=3)[1:3])
            found[name] = _decode(source, name, Row(width, height, 0), size_px)
    return found


@pytest.mark.skipif(
    not {"GTSRB_ROOT", "GTSRB_ORIGINALS"} <= set(os.environ),
    reason="GTSRB_ROOT and GTSRB_ORIGINALS do not name the set at 32 pixels and original images",
)
@pytest.mark.parametrize(
    ("archive", "folder", "least"),
    [(TEST_ARCHIVE, TEST_FOLDER, 1_000), (TRAINING_ARCHIVE, TRAINING_FOLDER, 4_000)],
)
def test_original_images_become_the_images_that_the_baselines_were_made_with(
    archive: str, folder: str, least: int
) -> None:
    with opened(Path(os.environ["GTSRB_ORIGINALS"], archive), folder) as source:
        originals = images(source, 32)
    with opened(Path(os.environ["GTSRB_ROOT"], archive), folder) as source:
        known = images(source, 32)
    assert len(originals) >= least
    for name, image in originals.items():
        np.testing.assert_array_equal(image, known[name], err_msg=name)
