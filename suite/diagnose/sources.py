"""The network and the data that somebody names: loaded, or made by their functions."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.diagnose.feeds import WANTED, gathered
from suite.diagnose.images import TRAIN, Listing, as_fed, list_images, load_images
from suite.diagnose.loading import (
    attempt,
    built,
    foreign,
    framework,
    image_shape,
    is_model,
    keras_of,
    load_both,
    names_function,
    shown,
)
from suite.diagnose.network import Network
from suite.diagnose.sample import key_of
from suite.errors import DataError
from suite.networks.types import Keras, Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAVED = "dataset_spec.pb"
"""Lies in a folder that `tf.data.Dataset.save` has written."""

NAMED = 4  # classes that an error names


class Source(NamedTuple):
    """A network and its data.

    Attributes:
        model: The network.
        images: What it is fed: an array, or a dictionary or list of arrays.
        labels: As they were given.
        classes: Name of each class, of folders by class; else ().
    """

    model: Model
    images: Any
    labels: Any
    classes: tuple[str, ...] = ()


def opened(
    model: str,
    data: str | None = None,
    *,
    split: str | None = None,
    inputs: str | None = None,
    size_px: int | None = None,
    output: str | None = None,
    count: int = 256,
    seed: int = 0,
    tell: Callable[[str], None] = print,
) -> Source:
    """Load a network and the data it is diagnosed with.

    Args:
        model: A .keras or .h5 file, or ``package.module:function`` that returns the network, or
            it and the data.
        data: A folder of images by class or of GTSRB, "gtsrb", a .npz file, a folder that
            `tf.data.Dataset.save` has written, or ``package.module:function`` that returns the
            data; None where the function of `model` does.
        split: "train" or "test", of GTSRB and of .npz files that hold both.
        inputs: How pixels in [0, 255] are scaled: a row of `suite.diagnose.images.INPUTS`. By
            default those of image files to [0, 1], and arrays are fed as they are.
        size_px: Side of the images, where the network takes any.
        output: Name or place of the output that the labels are of, among several.
        count: Samples wanted.
        seed: Of their draw.
        tell: Called with a line where a file was loaded without its optimizer.

    Raises:
        SuiteError: If there is no such network, or no such data.
        ValueError: If `output` is none of the network's.
    """
    if data is None and not names_function(model):
        raise DataError(f"{model} is a network alone: give its data, too, with --data.")
    listing = None
    if data is not None and not names_function(data):
        listing = _listed(data, split)
    keras = framework()
    network, given = load_both(model, keras, tell=tell)
    if listing:
        shape = image_shape(network, size_px=size_px)
        _check_classes(listing, _outputs(network, np.zeros((2, *shape), np.float32), output))
        pixels, labels = load_images(listing, **shape._asdict(), count=count, seed=seed)
        return Source(network, as_fed(pixels, inputs or "0..1"), labels, listing.classes)
    if data is not None:
        given = _from_function(data, keras) if names_function(data) else _stored(data, split)
    if given is None:
        raise DataError(f"{model} returns a network alone: give its data, too, with --data.")
    images, labels = attempt(
        lambda: gathered(network, given, count=count, seed=seed),
        f"{data or model}: its data cannot be read",
        WANTED,
    )
    return Source(network, _scaled(images, inputs), labels)


def _listed(data: str, split: str | None) -> Listing | None:
    """List the images at `data`; None where it is no folder of images.

    Raises:
        DataError: If nothing is there, or nothing that can be read.
    """
    path = Path(data)
    if path.suffix == ".npz" and not path.exists():
        raise DataError(f"{data}: no such file. Expected: a .npz of arrays, with labels.")
    if path.suffix == ".npz" and path.is_file():
        return None
    if (path / SAVED).exists():
        return None
    if path.is_file():
        raise DataError(
            f"{data}: no data. Found: a file {path.suffix or 'without a suffix'}. Expected: a .npz "
            "of arrays, a folder of images by class, a folder that tf.data.Dataset.save has "
            "written, or PACKAGE.MODULE:FUNCTION that returns the data."
        )
    return list_images(data, split=split)


def _outputs(model: Model, zeros: NDArray[Any], output: str | None) -> int:
    """Count the classes that `model` tells apart of images: its outputs, or two by one.

    Raises:
        DataError: If it has several outputs and none is named, or one that is no score a class.
    """
    shapes = Network(model, keras_of(model)).output_shapes(zeros)
    names = getattr(model, "output_names", None) or []
    if output is None and len(shapes) > 1:
        raise DataError(
            f"The network has {len(shapes)} outputs ({', '.join(names) or list(shapes)}): say of "
            "which one the folders are the classes, with --output NAME."
        )
    shape = shapes[key_of(shapes, names, output) if output is not None else next(iter(shapes))]
    if len(shape) > 2 and np.prod(shape[1:-1]) > 1:  # noqa: PLR2004
        raise DataError(
            f"The network puts out {shape[1:]} for each image, and folders give one label an "
            "image. Give labels of that shape as arrays: --data FILE.npz with images and labels."
        )
    return max(2, int(shape[-1]) if len(shape) > 1 else 1)


def _check_classes(listing: Listing, outputs: int) -> None:
    """Refuse a network that does not have one output a class."""
    classes = listing.classes
    if len(classes) != outputs:
        rest = ", ..." if len(classes) > NAMED else ""
        raise DataError(
            f"The network has {outputs} outputs, but {listing.place} has {len(classes)} classes "
            f"({', '.join(classes[:NAMED])}{rest}), so the labels would not be those it was "
            "trained with. Give a folder with one folder an output, in the order of their names; "
            "one without images counts."
        )


def _from_function(name: str, keras: Keras) -> Any:
    """Call a function that returns data, or a network and data; give the data."""
    found = built(name, "a function that takes nothing and returns the data")
    if isinstance(found, tuple) and found and is_model(found[0], keras):
        return found[1] if len(found) == 2 else found[1:]  # noqa: PLR2004
    return found


def _stored(data: str, split: str | None) -> Any:
    """Read a .npz file, or open a saved tf.data dataset.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        if Path(data).is_dir():
            return _saved_dataset(data)
        with np.load(data, allow_pickle=False) as file:
            return _of_split({name: file[name] for name in file.files}, split)
    except foreign() as error:
        raise DataError(
            f"{data}: cannot be read. Found: {shown(error)}. Expected: a .npz of plain arrays, as "
            "np.savez(FILE, images=images, labels=labels) writes it, or a folder that "
            "tf.data.Dataset.save has written."
        ) from error


def _saved_dataset(data: str) -> Any:
    """Open a tf.data dataset, compressed or not.

    Raises:
        DataError: If TensorFlow is not installed.
    """
    try:
        tensorflow = importlib.import_module("tensorflow")
    except ImportError as error:
        raise DataError(
            f"{data}: cannot be read. Found: a dataset of tf.data, and no TensorFlow in this "
            f"environment ({sys.executable}). Expected: TensorFlow, which alone reads its files. "
            "Install it beside your Keras (python -m pip install tensorflow), or give arrays: "
            "--data FILE.npz, or PACKAGE.MODULE:FUNCTION that returns batches."
        ) from error
    plain = tensorflow.data.Dataset.load(data)
    try:
        next(iter(plain), None)
    except tensorflow.errors.DataLossError:
        return tensorflow.data.Dataset.load(data, compression="GZIP")
    return plain


def _of_split(arrays: dict[str, Any], split: str | None) -> dict[str, Any]:
    """Take one part of arrays whose names end in _train and _test; all if none do."""
    ends = {end for name in arrays for end in ("_train", "_test") if name.endswith(end)}
    if not ends:
        return arrays
    end = "_train" if split == TRAIN or ends == {"_train"} else "_test"
    return {name[: -len(end)]: part for name, part in arrays.items() if name.endswith(end)}


def _scaled(images: Any, inputs: str | None) -> Any:
    """Scale pixels as a row of `suite.diagnose.images.INPUTS` says; arrays are fed as they are.

    Raises:
        DataError: If they are none of pixels in [0, 255].
    """
    if inputs is None:
        return images
    pixels = np.asarray(images)
    if pixels.ndim != 4 or pixels.min() < 0 or not 1 < pixels.max() <= 255:  # noqa: PLR2004
        raise DataError(
            f"--inputs {inputs} scales pixels of 0 to 255. Found: arrays of shape {pixels.shape}, "
            "or of another range. Leave it away: arrays are fed as they are."
        )
    return as_fed(pixels, inputs)
