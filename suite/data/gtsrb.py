"""The official GTSRB images, verified and decoded from the archives or their extracted tree."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from suite.data.cache import array_digest, cached_dataset
from suite.data.digests import source_digest, source_status
from suite.data.download import MEND, downloaded
from suite.data.resize import resized
from suite.data.sources import (
    TEST_FOLDER,
    TRAINING_FOLDER,
    TRUTH_NAME,
    Source,
    content,
    locate,
    opened,
    unexpected,
    wrong,
)
from suite.data.split import TEST_COUNTS, TRAIN_COUNTS, Dataset, Split
from suite.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLUMNS = ["Filename", "Width", "Height", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId"]
TRAINING_IMAGE = re.compile(r"(\d{5})/(\d{5})_\d{5}\.ppm")
CHANNELS = 3
TEST_IMAGE = re.compile(r"\d{5}\.ppm")


class Expected(NamedTuple):
    """What a complete data set contains.

    Attributes:
        train_counts: Training images of each class.
        test_counts: Test images of each class.
        tracks: Number of physical signs in the training set.
        test_labels_sha256: Digest of the test labels in file order, one byte each; "" accepts
            any.
        train_pixels_sha256: Digest of the training images at `PROVEN_PX`; "" accepts any.
        test_pixels_sha256: The same of the test images.
    """

    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    tracks: int
    test_labels_sha256: str
    train_pixels_sha256: str = ""
    test_pixels_sha256: str = ""


OFFICIAL = Expected(
    TRAIN_COUNTS,
    TEST_COUNTS,
    tracks=1_307,
    test_labels_sha256="90dbce9392b7eec7db1b1f1f13ea73598b72822efaaf9f608c935064fad29db2",
    train_pixels_sha256="acb8aa02ebaa4376ac78b2d53502916a28473150f9b7432fd0aca6e97b04f625",
    test_pixels_sha256="ba4f091434c4736def6297eb91ea9fd4814377244e69888145cad4f67cf4caf1",
)
PROVEN_PX = 32
"""Side at which the pixels of the official set are known: nobody publishes a checksum of its
training archive, so the archive is known by its counts, its names and its pixels."""


class Row(NamedTuple):
    """What the csv file says about one image."""

    width_px: int
    height_px: int
    label: int


def load_gtsrb(root: Path | None, *, size_px: int, verify: bool = False) -> Dataset:
    """Load GTSRB, verified, at ``size_px`` x ``size_px`` pixels.

    Images of another size are resized as a whole, not cropped, as OpenCV's INTER_LINEAR does it:
    bilinear, without antialiasing, to the same bit everywhere (see `suite.data.resize`).

    Args:
        root: Folder of the three official archives or of their extracted tree; None for the
            downloaded copy, which is fetched first if it is missing.
        size_px: Side of the decoded images.
        verify: Read the archives whole, even if that was done today and no file has changed.

    Raises:
        DataError: If the data is missing, damaged or not the official set.
        ValueError: If `size_px` is not positive.
    """
    source = downloaded() if root is None else root
    return load_verified(source, size_px=size_px, expected=OFFICIAL, verify=verify)


def load_verified(root: Path, *, size_px: int, expected: Expected, verify: bool = False) -> Dataset:
    """Load the data set at `root` and compare it with what is `expected`.

    Raises:
        DataError: If the data is missing, damaged or not as expected.
        ValueError: If `size_px` is not positive.
    """
    if size_px < 1:
        raise ValueError(f"size_px must be at least 1. Received: {size_px}")
    if size_px != PROVEN_PX and expected.train_pixels_sha256:
        load_verified(root, size_px=PROVEN_PX, expected=expected, verify=verify)
    training, test, truth = sources = locate(root)
    before = [source_status(path) for path in sources]
    key = {
        "expected": expected,
        "size_px": size_px,
        "sources": [source_digest(path, anew=verify) for path in sources],
    }

    def make() -> tuple[Split, Split]:
        train = _training_split(training, size_px=size_px, expected=expected)
        tested = _test_split(test, truth, size_px=size_px, expected=expected)
        if size_px == PROVEN_PX:
            _check_pixels(training, train, expected.train_pixels_sha256)
            _check_pixels(test, tested, expected.test_pixels_sha256)
        if [source_status(path) for path in sources] != before:
            raise DataError(f"{root}: the files changed while they were read. Run again.")
        return train, tested

    return cached_dataset("gtsrb", key, make)


def _check_pixels(path: Path, split: Split, expected: str) -> None:
    """Refuse images that are not the official ones, if these are known."""
    found = array_digest(split.images)
    if expected not in ("", found):
        raise DataError(
            f"{path}: not the official images. Found: pixels of sha256 {found[:16]}... at "
            f"{PROVEN_PX}x{PROVEN_PX}. Expected: {expected[:16]}.... {MEND}"
        )


def _training_split(path: Path, *, size_px: int, expected: Expected) -> Split:
    """Read the training images, sorted by class, track and frame.

    Raises:
        DataError: If they are not as expected.
    """
    with opened(path, TRAINING_FOLDER) as source:
        names = _images(source, TRAINING_IMAGE, sum(expected.train_counts))
        classes = np.array([int(name[:5]) for name in names])
        _check_counts(source, classes, expected.train_counts)
        rows: dict[str, Row] = {}
        for label in range(len(expected.train_counts)):
            csv_rows = _csv_rows(source, f"{label:05d}/GT-{label:05d}.csv", label=label)
            rows.update({f"{label:05d}/{name}": row for name, row in csv_rows.items()})
        _check_pairs(source, names, rows)
        signs, tracks = np.unique([name[:11] for name in names], return_inverse=True)
        if len(signs) != expected.tracks:
            raise wrong(source, "", f"{len(signs):,} tracks", f"{expected.tracks:,} tracks")
        images = _decoded(source, names, rows, size_px=size_px)
    return _split(images, classes, tracks, names)


def _test_split(path: Path, truth: Path, *, size_px: int, expected: Expected) -> Split:
    """Read the test images in the order of their numbers.

    Raises:
        DataError: If they are not as expected.
    """
    with opened(truth, "") as source:
        rows = _csv_rows(source, TRUTH_NAME)
        labels = np.array([row.label for _, row in sorted(rows.items())])
        _check_counts(source, labels, expected.test_counts)
        digest = hashlib.sha256(labels.astype(np.uint8).tobytes()).hexdigest()
        if expected.test_labels_sha256 not in ("", digest):
            raise wrong(source, TRUTH_NAME, "labels in another order", "the official labels")
    with opened(path, TEST_FOLDER) as source:
        names = _images(source, TEST_IMAGE, sum(expected.test_counts))
        _check_pairs(source, names, rows)
        images = _decoded(source, names, rows, size_px=size_px)
    return _split(images, labels, np.full(len(names), -1), names)


def _split(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    tracks: NDArray[np.int64],
    files: list[str],
) -> Split:
    names = np.array([name[: -len(".ppm")] for name in files])
    return Split(images, labels.astype(np.int64), tracks.astype(np.int64), names)


def _images(source: Source, pattern: re.Pattern[str], count: int) -> list[str]:
    """List the names of the images, which must be `count` official ones.

    Raises:
        DataError: If they are not.
    """
    names = [name for name in source.names if name.endswith(".ppm")]
    if len(names) != count:
        everything = [source.folder + name for name in source.names]
        raise unexpected(source.path, everything, f"{count:,} images")
    for name in names:
        if not pattern.fullmatch(name):
            raise wrong(source, name, "this name", f"a name like {pattern.pattern}")
    return names


def _check_counts(source: Source, labels: NDArray[np.int64], expected: tuple[int, ...]) -> None:
    found = np.bincount(labels, minlength=len(expected)).tolist()
    for label, (has, should) in enumerate(zip(found, expected)):
        if has != should:
            raise wrong(source, "", f"{has} images of class {label}", f"{should} of this class")
    if len(found) > len(expected):
        raise wrong(source, "", f"class {len(found) - 1}", f"classes 0 to {len(expected) - 1}")


def _check_pairs(source: Source, names: list[str], rows: Mapping[str, Row]) -> None:
    """Refuse an image without its csv row, and a csv row without its image."""
    for name in sorted(set(names) ^ rows.keys()):
        found = "a csv row without the image" if name in rows else "an image without a csv row"
        raise wrong(source, name, found, "one image and one row")


def _csv_rows(source: Source, name: str, *, label: int | None = None) -> dict[str, Row]:
    """Read the row of each image in a ground-truth file; all must be of class `label`, if given.

    Raises:
        DataError: If the file is missing or not the official one.
    """
    if name not in source.names:
        raise wrong(source, name, "no such file", "the official file")
    text = content(source, name).decode("ascii", errors="replace")
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=";"))
    except csv.Error as error:
        raise wrong(source, name, str(error), ";".join(COLUMNS)) from error
    if not lines or lines[0] != COLUMNS:
        raise wrong(source, name, f"header {lines[:1]!r:.80}", ";".join(COLUMNS))
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines[1:], start=2):
        row = _csv_row(line)
        if row is None or line[0] in rows or label not in (None, row.label):
            wanted = "a new file name and seven whole numbers"
            wanted += "" if label is None else f", the last one {label}"
            raise wrong(source, name, f"line {number}: {';'.join(line)!r:.80}", wanted)
        rows[line[0]] = row
    return rows


def _csv_row(line: list[str]) -> Row | None:
    """Parse one row; None if it does not have eight fields of the right kind."""
    if len(line) != len(COLUMNS) or not all(re.fullmatch("[0-9]{1,5}", cell) for cell in line[1:]):
        return None
    return Row(int(line[1]), int(line[2]), int(line[-1]))


def _decoded(
    source: Source, names: list[str], rows: Mapping[str, Row], *, size_px: int
) -> NDArray[np.uint8]:
    """Decode the images called `names` into one array ``(n, size_px, size_px, 3)``."""
    images = np.empty((len(names), size_px, size_px, 3), np.uint8)
    progress = tqdm(names, desc=f"decode {source.path.name}", unit="image", disable=None)
    for index, name in enumerate(progress):
        images[index] = _decode(source, name, rows[name], size_px)
    return images


def _decode(source: Source, name: str, row: Row, size_px: int) -> NDArray[np.uint8]:
    """Decode one image, ``(size_px, size_px, 3)``, and compare its size with its csv row.

    Raises:
        DataError: If it is damaged, or of another size or kind than its row says.
    """
    encoded, declared = content(source, name), (row.width_px, row.height_px, "RGB")
    try:
        image = Image.open(io.BytesIO(encoded), formats=("PPM",))
        found = (*image.size, image.mode)
        if found != declared:
            raise wrong(source, name, str(found), f"{declared} as its csv row says")
        if row.width_px * row.height_px * CHANNELS > len(encoded):  # before memory is taken for it
            raise wrong(source, name, f"{len(encoded):,} bytes", f"all of its {declared} pixels")
        pixels = np.asarray(image)
    except (
        OSError,
        ValueError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,  # an error where warnings are
    ) as error:
        raise wrong(source, name, str(error), "a whole PPM image") from error
    return resized(pixels, size_px)
