"""A seeded sample of GTSRB in one file: packed from the archives, loaded where only it lies."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from suite.data import Dataset, Split, load_gtsrb, stratified_subset, without_leaked
from suite.data.archives import FAULTS, read_member
from suite.data.cache import cached_dataset
from suite.data.download import downloaded
from suite.data.gtsrb import PROVEN_PX
from suite.data.resize import resized
from suite.data.sources import TEST_FOLDER, TRAINING_FOLDER, content, locate, opened
from suite.errors import DataError
from suite.files import file_digest, parse_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "gtsrb-sample"
INDEX = "labels.json"  # in the file: the label of each image, by part and name
SAMPLE_SEED = 0
TRACK = 11  # characters of a training image's name that name its track


def pack_sample(root: Path | None, path: Path, *, train_images: int, test_images: int) -> None:
    """Write images of GTSRB to a file, in the proportions of its classes and at their own size.

    Args:
        root: Folder of GTSRB's archives; None for the downloaded copy.
        path: The file.
        train_images: How many training images it gets.
        test_images: How many test images it gets; none of them leaked.

    Raises:
        DataError: If the archives are not the official ones, there are not so many images, or one
            would change on its way.
    """
    whole = load_gtsrb(root, size_px=PROVEN_PX)  # which checks the archives
    if train_images > len(whole.train.labels):
        raise DataError(
            f"the sample cannot have {train_images:,} training images: GTSRB has "
            f"{len(whole.train.labels):,}. Give fewer: --images N"
        )
    training, test, _ = locate(root or downloaded())
    chosen = (
        ("train", whole.train, train_images, training, TRAINING_FOLDER),
        ("test", without_leaked(whole.test), test_images, test, TEST_FOLDER),
    )
    labels = {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for part, split, count, source, folder in chosen:
            few = stratified_subset(split, count, seed=SAMPLE_SEED)
            labels[part] = dict(sorted(zip(few.names.tolist(), few.labels.tolist(), strict=True)))
            for name, image in _encoded(source, folder, labels[part]):
                archive.writestr(f"{part}/{name}.webp", image)
        archive.writestr(INDEX, json.dumps(labels))


def _encoded(path: Path, folder: str, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Encode the named images of an archive without loss.

    Raises:
        DataError: If an image is another once it is decoded.
    """
    with opened(path, folder) as source:
        for name in names:
            file = io.BytesIO()
            image = Image.open(io.BytesIO(content(source, f"{name}.ppm")), formats=("PPM",))
            image.save(file, format="WEBP", lossless=True, quality=100, method=4)
            if not np.array_equal(_decoded(file.getvalue()), np.asarray(image)):
                raise DataError(f"{path}: {name} changes when Pillow writes it. Take another one.")
            yield name, file.getvalue()


def _decoded(encoded: bytes) -> NDArray[np.uint8]:
    """Decode an image, ``(height, width, 3)``."""
    return np.asarray(Image.open(io.BytesIO(encoded), formats=("WEBP",)))


def load_sample(path: Path, *, size_px: int) -> Dataset:
    """Load the images of a file that `pack_sample` wrote, as `load_gtsrb` gives those of archives.

    Raises:
        DataError: If the file is damaged, or the cache cannot be written.
    """

    def make() -> tuple[Split, Split]:
        try:
            with zipfile.ZipFile(path) as archive:
                train, test = (_split(archive, part, size_px) for part in ("train", "test"))
        except FAULTS as error:
            raise DataError(f"{path}: no sample of GTSRB ({error}). Pack it anew.") from error
        return train, test._replace(tracks=np.full(len(test.labels), -1))

    return cached_dataset(NAME, {"file": file_digest(path), "size_px": size_px}, make)


def _split(archive: zipfile.ZipFile, part: str, size_px: int) -> Split:
    """Read one part of a sample.

    Raises:
        BadZipFile: If an image is damaged; other `FAULTS` likewise.
    """
    labels = parse_json(read_member(archive, archive.getinfo(INDEX)))[part]
    members = (archive.getinfo(f"{part}/{name}.webp") for name in labels)
    images = [resized(_decoded(read_member(archive, member)), size_px) for member in members]
    _, tracks = np.unique([name[:TRACK] for name in labels], return_inverse=True)
    return Split(
        np.stack(images),
        np.array(list(labels.values()), np.int64),
        tracks.astype(np.int64),
        np.array(list(labels)),
    )
