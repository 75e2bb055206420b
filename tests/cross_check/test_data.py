"""The data are torchvision's; the resize is OpenCV's, to the bit."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from suite.data import load_gtsrb
from suite.data.resize import resized

if TYPE_CHECKING:
    from suite.data import Dataset

SIZE_PX = 32


@pytest.mark.parametrize("size_px", [32, 48, 64])
def test_the_resize_is_opencvs_to_the_bit(size_px: int) -> None:
    rng = np.random.default_rng(size_px)
    shapes = [
        *rng.integers(1, 260, (300, 2)).tolist(),
        (size_px, size_px),
        (2 * size_px, 2 * size_px),
    ]
    for height, width in shapes:
        image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        expected = cv2.resize(image, (size_px, size_px), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(resized(image, size_px), expected, f"{height}x{width}")


@pytest.fixture(scope="module")
def root() -> Path:
    given = os.environ.get("GTSRB_ROOT")
    if not given:
        pytest.skip("GTSRB_ROOT is not set: torchvision's reader needs the archives")
    return Path(given)


@pytest.fixture(scope="module")
def ours(root: Path) -> Dataset:
    return load_gtsrb(root, size_px=SIZE_PX)


@pytest.fixture(scope="module")
def reader() -> Any:
    """Import torchvision's GTSRB reader, which is Python alone.

    The wheel's compiled operators want PyTorch with CUDA. What registers their shapes, and nothing
    of the reader, is put out of the way for the import.
    """
    name = "torchvision._meta_registrations"
    sys.modules.setdefault(name, ModuleType(name))
    from torchvision.datasets import GTSRB  # noqa: PLC0415 - after that

    return GTSRB


@pytest.fixture(scope="module")
def theirs(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out the archives as torchvision extracts its own."""
    base = tmp_path_factory.mktemp("torchvision")
    folder = base / "gtsrb"
    for archive in sorted(root.glob("GTSRB_Final_*.zip")):
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(folder)
    (folder / "GTSRB" / "Final_Training" / "Images").rename(folder / "GTSRB" / "Training")
    return base


@pytest.mark.parametrize("split", ["train", "test"])
def test_names_labels_order_and_pixels_are_torchvisions(
    ours: Dataset, theirs: Path, reader: Any, split: str
) -> None:
    data, found = reader(theirs, split=split), getattr(ours, split)
    assert len(data) == len(found.labels) == {"train": 39_209, "test": 12_630}[split]
    paths = [Path(path) for path, _ in data._samples]
    names = [path.stem for path in paths]
    assert [str(name).rpartition("/")[2] for name in found.names] == names
    for index, (image, label) in enumerate(data):
        assert label == found.labels[index]
        expected = resized(np.asarray(image), SIZE_PX)
        np.testing.assert_array_equal(found.images[index], expected, names[index])
