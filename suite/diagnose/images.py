"""A user's labelled images, in folders by class or GTSRB: listed, loaded and scaled."""

from __future__ import annotations

import csv
import io
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from suite.data.download import (
    TEST_ARCHIVE,
    TRAINING_ARCHIVE,
    TRUTH_ARCHIVE,
    gtsrb_root,
)
from suite.data.sources import (
    TEST_FOLDER,
    TRAINING_FOLDER,
    TRUTH_NAME,
    content,
    locate,
    opened,
    unexpected,
)
from suite.data.split import CLASSES, class_shares
from suite.errors import DataError
from suite.files import read_within
from suite.networks.preprocessing import IMAGENET_DEVIATION, IMAGENET_MEAN, IMAGENET_MEAN_BGR

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

GTSRB = "gtsrb"
"""Stands for GTSRB at GTSRB_ROOT, or else in the cache of downloads."""

TRAIN, TEST = "train", "test"
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm")
FORMATS = ("BMP", "JPEG", "PNG", "PPM")
COLOURS = MappingProxyType({1: "L", 3: "RGB"})
"""Pillow's name of the colours, by the number of channels that a network takes."""

IMAGE_BYTES = 1 << 28  # the most that Pillow decodes, 179 million pixels, hardly compressed
DEEP_MODES = ("F", "I")  # of more than 8 bits a channel: Pillow would clip, not scale them
LABEL_DIGITS = 5  # of a class in GTSRB's names: 00000 to 00042
LAYOUT = "Expected: one folder a class, with images in it (bmp, jpg, png, ppm)."
Pixels: TypeAlias = "NDArray[np.uint8]"
"""Images ``(n, height_px, width_px, channels)``, RGB or grey in [0, 255]."""


class Listing(NamedTuple):
    """Labelled images, none of them decoded yet.

    Attributes:
        place: The folder or archive they lie in.
        classes: Name of each class, in the order of the labels.
        names: Name of each file, unique.
        labels: ``(n,)`` int64, indices into `classes`.
        read: Reads the contents of some of `names`, in the order in which they are asked for.
    """

    place: Path
    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: NDArray[np.int64]
    read: Callable[[Iterable[str]], Iterator[bytes]]


def list_images(data: str, *, split: str | None = None) -> Listing:
    """List the labelled images at `data`.

    Each folder is a class, in the order of their names as text, empty ones too, as in Keras'
    `image_dataset_from_directory`; images may lie at any depth below. Names that begin with a dot
    are passed over.

    Args:
        data: `GTSRB`, a folder that holds GTSRB's archives or their extracted tree, or a folder
            that holds one folder a class.
        split: Of GTSRB, `TEST` unless given; folders by class have none.

    Raises:
        DataError: If there are not two images, or `data` has no splits.
        ValueError: If `split` is neither `TRAIN` nor `TEST` nor None.
    """
    if split not in (None, TRAIN, TEST):
        raise ValueError(f"split must be {TRAIN} or {TEST}. Received: {split}")
    root = gtsrb_root() if data == GTSRB else Path(data)
    if _holds_gtsrb(root) or data == GTSRB:
        listing = _gtsrb_training(root) if split == TRAIN else _gtsrb_test(root)
    elif split is not None:
        raise DataError(
            f"{data}: only GTSRB has a split to choose. Found: another folder. Give that of the "
            f"{split} images itself, and no --split."
        )
    else:
        listing = _class_folders(root)
    _check_enough(listing)
    return listing


def load_images(
    listing: Listing, *, height_px: int, width_px: int, channels: int, count: int, seed: int
) -> tuple[Pixels, NDArray[np.int64]]:
    """Load up to `count` images with their labels, in random order.

    Every class keeps its share, and has at least one image where `count` allows: batches then
    have the statistics of a training's. Images are resized whole with Pillow's bilinear filter,
    which averages over the source pixels when it shrinks.

    Raises:
        DataError: If an image cannot be read; the message names it.
        ValueError: If `count` is below 2 or `channels` neither 1 nor 3.
    """
    if count < 2:  # noqa: PLR2004 - a variance needs two
        raise ValueError(f"count must be at least 2. Received: {count}")
    if channels not in COLOURS:
        raise ValueError(f"channels must be 1 or 3. Received: {channels}")
    rows = _subset(listing.labels, count, np.random.default_rng(seed))
    names = [listing.names[row] for row in rows]
    images = np.empty((len(rows), height_px, width_px, channels), np.uint8)
    for index, (name, encoded) in enumerate(zip(names, listing.read(names))):
        image = _decoded(encoded, COLOURS[channels], path=listing.place / name)
        resized = image.resize((width_px, height_px), Image.Resampling.BILINEAR)
        images[index] = np.atleast_3d(np.asarray(resized))
    return images, listing.labels[rows]


def _subset(labels: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw the rows of up to `count` labels in random order, each class with its share."""
    shares = class_shares(np.bincount(labels), min(count, len(labels)))
    members = (np.flatnonzero(labels == label) for label in range(len(shares)))
    chosen = [rng.permutation(rows)[:share] for rows, share in zip(members, shares)]
    return rng.permutation(np.concatenate(chosen))


def _decoded(encoded: bytes, mode: str, *, path: Path) -> Image.Image:
    """Decode an image in the colours `mode`, or raise DataError that names `path`."""
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            image.load()
            fault = "more than 8 bits a channel" if image.mode.startswith(DEEP_MODES) else ""
            opaque = image.convert("RGBA") if "transparency" in image.info else image
            found = opaque.convert(mode)
    except (
        OSError,
        ValueError,
        SyntaxError,  # Pillow's word for a broken PNG
        EOFError,
        struct.error,
        Image.DecompressionBombError,
    ) as error:
        raise _no_image(path, str(error)) from error
    if fault:
        raise _no_image(path, fault)
    return found


def _no_image(path: Path, found: str) -> DataError:
    return DataError(
        f"{path}: cannot be read as an image. Found: {found}. Expected: a whole bmp, jpg, png or "
        "ppm of 8 bits a channel. Mend it, or take it away."
    )


def _check_enough(listing: Listing) -> None:
    """Refuse images that are too few to say anything."""
    images = len(listing.names)
    if not images:
        raise DataError(f"{listing.place}: no images. Found: empty class folders. {LAYOUT}")
    if images == 1:
        raise DataError(
            f"{listing.place}: one image alone ({listing.names[0]}). Expected: many, best "
            "of every class: the statistics of one image tell nothing of a training's."
        )


def _class_folders(root: Path) -> Listing:
    """List the images below `root`, whose folders are the classes."""
    classes = _class_names(root)
    files = [(label, name) for label, part in enumerate(classes) for name in _below(root, part)]
    labels = np.array([label for label, _ in files], np.int64)

    def read(names: Iterable[str]) -> Iterator[bytes]:
        for name in names:
            try:
                yield read_within(root / name, IMAGE_BYTES)
            except OSError as error:
                raise _unreadable(root / name, error) from error

    return Listing(root, classes, tuple(name for _, name in files), labels, read)


def _class_names(root: Path) -> tuple[str, ...]:
    """Name the folders in `root`, sorted, or raise DataError if there is none."""
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise DataError(
            f"{root}: no images there. Found: {found}. {LAYOUT} `{GTSRB}` alone stands for GTSRB."
        )
    try:
        shown = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise _unreadable(root, error) from error
    classes = tuple(sorted(path.name for path in shown if path.is_dir()))
    if not classes:
        images = sum(_is_image(path.name) for path in shown)
        found = f"{images} images beside one another, so without a label" if images else "no folder"
        raise DataError(f"{root}: no class folders. Found: {found}. {LAYOUT}")
    return classes


def _below(root: Path, folder: str) -> Iterator[str]:
    """Yield the images anywhere below ``root / folder``, relative to `root`, in a fixed order."""

    def refuse(error: OSError) -> None:
        raise _unreadable(Path(error.filename), error) from error

    for place, folders, files in os.walk(root / folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(filter(_is_image, files)):
            yield Path(place, name).relative_to(root).as_posix()


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be read ({error.strerror}). Make it readable.")


def _holds_gtsrb(root: Path) -> bool:
    """True where a folder holds one of GTSRB's archives, or what was extracted from one."""
    trees = (TRAINING_FOLDER, TEST_FOLDER)
    below = [tree[len("GTSRB/") :] for tree in trees]
    names = (TRAINING_ARCHIVE, TEST_ARCHIVE, TRUTH_ARCHIVE, *trees, *below)
    return any((root / name).exists() for name in names)


def _gtsrb_training(root: Path) -> Listing:
    """List the training images of GTSRB, whose folders are the classes."""
    training, _, _ = locate(root)
    with opened(training, TRAINING_FOLDER) as source:
        names = [name for name in source.names if name.endswith(".ppm")]
        labels = [_label(name.partition("/")[0]) for name in names]
        if None in labels:
            raise unexpected(training, source.names, "one folder a class, 00000 to 00042")
    return _gtsrb(training, TRAINING_FOLDER, names, np.array(labels, np.int64))


def _gtsrb_test(root: Path) -> Listing:
    """List the test images of GTSRB with the labels of its table."""
    _, test, truth = locate(root)
    with opened(truth, "") as source:
        if TRUTH_NAME not in source.names:
            raise unexpected(truth, source.names, TRUTH_NAME)
        text = content(source, TRUTH_NAME).decode("ascii", errors="replace")
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=";")
    try:
        labels = {str(row.get("Filename")): _label(str(row.get("ClassId"))) for row in rows}
    except csv.Error as error:
        raise unexpected(truth, [], f"{TRUTH_NAME} as a table ({error})") from error
    with opened(test, TEST_FOLDER) as source:
        names = [name for name in source.names if name.endswith(".ppm")]
        missing = [name for name in names if labels.get(name) is None]
        if missing:
            raise unexpected(test, source.names, f"a label for {missing[0]} in {truth}")
    return _gtsrb(test, TEST_FOLDER, names, np.array([labels[name] for name in names], np.int64))


def _label(text: str) -> int | None:
    """Read the class of GTSRB that `text` names; None if it names none."""
    short = text.isdecimal() and len(text) <= LABEL_DIGITS
    return int(text) if short and int(text) < CLASSES else None


def _gtsrb(path: Path, folder: str, names: list[str], labels: NDArray[np.int64]) -> Listing:
    def read(names: Iterable[str]) -> Iterator[bytes]:
        with opened(path, folder) as source:
            for name in names:
                yield content(source, name)

    classes = tuple(f"{label:05d}" for label in range(CLASSES))
    return Listing(path, classes, tuple(names), labels, read)


def _unit(images: Pixels) -> NDArray[np.float32]:
    """Scale pixels to [0, 1]."""
    return images.astype(np.float32) / np.float32(255)


def _bytes(images: Pixels) -> NDArray[np.float32]:
    """Leave pixels in [0, 255]."""
    return images.astype(np.float32)


def _symmetric(images: Pixels) -> NDArray[np.float32]:
    """Scale pixels to [-1, 1], as MobileNet's and Inception's weights take them."""
    return images.astype(np.float32) / np.float32(127.5) - np.float32(1)


def _caffe(images: Pixels) -> NDArray[np.float32]:
    """Make pixels BGR and subtract ImageNet's mean, as ResNet's and VGG's weights take them."""
    bgr: NDArray[np.float32] = images[..., ::-1].astype(np.float32)
    return bgr - np.array(IMAGENET_MEAN_BGR, np.float32)


def _torch(images: Pixels) -> NDArray[np.float32]:
    """Standardise RGB by ImageNet's moments, as DenseNet's weights take them."""
    mean, deviation = (np.array(rgb, np.float32) for rgb in (IMAGENET_MEAN, IMAGENET_DEVIATION))
    return (_unit(images) - mean) / deviation


INPUTS: Mapping[str, Callable[[Pixels], NDArray[np.float32]]] = MappingProxyType(
    {"0..1": _unit, "0..255": _bytes, "tf": _symmetric, "caffe": _caffe, "torch": _torch}
)
"""How pixels are scaled for a network; the last three are the modes of `keras.applications`."""

COLOUR_INPUTS = ("caffe", "torch")


def as_fed(images: Pixels, inputs: str) -> NDArray[np.float32]:
    """Scale `images` as a network takes them: a row of `INPUTS`.

    Raises:
        DataError: If the row is defined for colours alone and the images are grey.
        ValueError: If `inputs` names no row.
    """
    if inputs not in INPUTS:
        raise ValueError(f"inputs must be one of {', '.join(INPUTS)}. Received: {inputs}")
    if inputs in COLOUR_INPUTS and images.shape[-1] != len(IMAGENET_MEAN):
        raise DataError(
            f"--inputs {inputs} is defined for RGB alone. Found: a network of one channel. Take "
            "0..1, 0..255 or tf (-1 to 1), whichever it was trained with."
        )
    return INPUTS[inputs](images)
