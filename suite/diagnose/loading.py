"""A user's network: loaded from a file or built by a function, and what it takes and gives."""

from __future__ import annotations

import importlib
import os
import struct
import sys
import traceback
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from suite.diagnose.inspection import BUILDER, inspect_file, loss_in, written_by
from suite.errors import SuiteError
from suite.networks.types import Keras, Model

FILE_SUFFIXES = (".keras", ".h5", ".hdf5")
CHANNELS = (1, 3)
IMAGE_RANK = 4  # with the batch
SHOWN = 400  # characters of somebody's error message: Keras' may hold a whole config
FOREIGN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What Keras raises for a file that it cannot load, and users' own functions for any reason."""

HOMES = ("keras", "tf_keras", "tensorflow")
"""Packages that have Keras' own classes."""

UNKNOWN_CLASS = ("custom_object", "custom class", "Unknown layer", "instance of class Layer")
"""What each Keras says of a class that a file names and it does not know."""


def foreign() -> tuple[type[BaseException], ...]:
    """List `FOREIGN` and TensorFlow's own errors, where it is loaded."""
    tensorflow = sys.modules.get("tensorflow")
    return FOREIGN if tensorflow is None else (*FOREIGN, tensorflow.errors.OpError)


class ImageShape(NamedTuple):
    """What one image is for a network, channels last."""

    height_px: int
    width_px: int
    channels: int


def framework() -> Keras:
    """Import the Keras of the environment, which KERAS_BACKEND and TF_USE_LEGACY_KERAS choose.

    Raises:
        SuiteError: If it is not installed.
    """
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    try:
        if backend == "tensorflow":
            keras = importlib.import_module("tensorflow").keras
        else:
            keras = importlib.import_module("keras")
        _ = keras.Model  # TensorFlow imports its Keras when it is first used
    except ImportError as error:
        raise SuiteError(
            f"Keras on {backend} cannot be imported ({shown(error)}). Install it in the "
            "environment of this Python, or name what is installed: KERAS_BACKEND is tensorflow, "
            f"jax or torch (tensorflow where unset). This Python is {sys.executable}."
        ) from error
    return keras


def keras_of(model: Model) -> Keras:
    """Find the Keras module that `model` was made with.

    Raises:
        SuiteError: If `model` is no Keras model.
    """
    for kind in type(model).__mro__:
        module = kind.__module__
        for start, name in (("keras.", "keras"), ("tf_keras.", "tf_keras")):
            if module.startswith(start) and name in sys.modules:
                return sys.modules[name]
        if module.startswith("tensorflow."):
            return sys.modules["tensorflow"].keras
    raise SuiteError(
        f"model must be a Keras model. Received: {type(model).__name__}. Expected a keras.Model, "
        "such as keras.models.load_model(path) returns."
    )


def demand_eager(model: Model) -> None:
    """Refuse a network that cannot be called batch by batch.

    Raises:
        SuiteError: If TensorFlow runs graphs, as TensorFlow 1 does, or the network has no weights.
    """
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and not tensorflow.executing_eagerly():
        raise SuiteError(
            "a diagnosis needs eager execution, and TensorFlow runs graphs here, as TensorFlow 1 "
            "does. Save the network (model.save) and diagnose it with TensorFlow 2."
        )
    if not model.built:
        raise SuiteError("model must be built: call it once, as in model(images[:1]), before.")


def load_both(name: str, keras: Keras, *, tell: Callable[[str], None] = print) -> tuple[Model, Any]:
    """Load the network from the file `name`, or call the function `name` that builds it.

    The function may return data beside the network, which is given, too; else None.

    Args:
        name: A .keras or .h5 file, of which nothing runs, or ``package.module:function``.
        keras: The Keras module.
        tell: Called with a line where a file was loaded without its optimizer, or by tf_keras.

    Raises:
        SuiteError: If there is no such file or function, or it gives no network of Keras.
    """
    path, data = Path(name), None
    if path.exists():
        model = _loaded(path, keras, tell)
    elif not names_function(name):
        raise SuiteError(
            f"{name}: no such file. Expected: a .keras or .h5 file, or a function that returns the "
            "network, as PACKAGE.MODULE:FUNCTION."
        )
    else:
        model = built(name, "a function that takes nothing and returns the network")
        if isinstance(model, (tuple, list)) and model:  # the data, too
            model, *rest = model
            data = rest[0] if len(rest) == 1 else tuple(rest) or None
    if not is_model(model, keras):
        found = f"{type(model).__module__}.{type(model).__qualname__}"
        raise SuiteError(
            f"{name}: no network. Found: a {found}. Expected: a model of {_version(keras)}, which "
            "KERAS_BACKEND and TF_USE_LEGACY_KERAS choose."
        )
    return model, data


def names_function(name: str) -> bool:
    """True where `name` is that of a function, ``package.module:function``, and of no file."""
    return ":" in name and Path(name).suffix not in FILE_SUFFIXES and not Path(name).exists()


def is_model(value: Any, keras: Keras) -> bool:
    """True for a model of `keras`, or of the other Keras that is loaded."""
    others = [sys.modules[name] for name in ("keras", "tf_keras") if name in sys.modules]
    return any(isinstance(value, getattr(other, "Model", ())) for other in (keras, *others))


def _loaded(path: Path, keras: Keras, tell: Callable[[str], None]) -> Any:
    """Load a file that was looked into first, with its optimizer if its classes are known."""
    _check_kind(path)
    try:
        reason = inspect_file(path)
    except foreign() as error:
        raise _unloadable(path, keras, error) from error
    try:
        return _read(path, keras, reason, tell)
    except foreign() as error:
        legacy = _other_generation(path, keras)
        if legacy is None:
            raise _unloadable(path, keras, error) from error
    tell("note: written by Keras 2, so read by tf_keras")
    try:
        return _read(path, legacy, reason, tell)
    except foreign() as error:
        raise _unloadable(path, legacy, error) from error


def _read(path: Path, keras: Keras, reason: str, tell: Callable[[str], None]) -> Any:
    """Let `keras` load a file, without its optimizer for a `reason` or where that cannot be."""
    place = str(path.absolute())
    if not reason:
        try:
            return keras.models.load_model(place)
        except foreign() as error:
            reason = shown(error)
    model = keras.models.load_model(place, compile=False)
    model.loss = loss_in(path)  # to be read, not made
    tell(f"note: loaded without its optimizer, so the steps it made are unknown ({reason})")
    return model


def _other_generation(path: Path, keras: Keras) -> Keras | None:
    """Import tf_keras for a file of Keras 2 that Keras 3 cannot read; None where it is not for it.

    Raises:
        SuiteError: If the file needs another generation of Keras, which is not there.
    """
    own, wrote = (3 if hasattr(keras, "ops") else 2), _writer(path)
    if wrote in (0, own):
        return None
    try:
        if wrote == 2:  # noqa: PLR2004
            return importlib.import_module("tf_keras")
    except ImportError:
        pass
    way_out = (
        "It is read by tf_keras: in an environment of your own (that of nox keeps to its lock) "
        "python -m pip install tensorflow tf_keras and run python -m suite diagnose, with "
        "TF_USE_LEGACY_KERAS=1 if all of yours is Keras 2"
        if wrote == 2  # noqa: PLR2004
        else "Run this in an environment of Keras 3 (python -m pip install keras), without "
        "TF_USE_LEGACY_KERAS"
    )
    raise SuiteError(
        f"{path}: {_version(keras)} cannot load it. Found: a file that Keras {wrote} has written. "
        f"{way_out}; or {BUILDER}."
    )


def _writer(path: Path) -> int:
    """Read which generation of Keras has written a file; 0 where nothing tells."""
    try:
        return written_by(path)
    except foreign():  # whoever reads the whole file says what is wrong with it
        return 0


def _check_kind(path: Path) -> None:
    """Refuse what is no file.

    Raises:
        SuiteError: If it is a folder, such as a SavedModel's, or a pipe or device.
    """
    if (path / "saved_model.pb").exists():
        raise SuiteError(
            f"{path} is not loaded. Found: a SavedModel, whose graph may do anything, such as "
            "write files or run Python. Expected: a .keras file, as the Keras that made it can "
            f"save it (Keras 3 reads no SavedModel, Keras 2 does, by TF_USE_LEGACY_KERAS=1). If "
            f"you trust it, {BUILDER} of load_model({path.name!r})."
        )
    if not path.is_file():
        kind = "a folder without saved_model.pb" if path.is_dir() else "a pipe or a device"
        raise SuiteError(
            f"{path}: no network. Found: {kind}. Expected: a .keras or .h5 file; or {BUILDER}."
        )


def _unloadable(path: Path, keras: Keras, error: BaseException) -> SuiteError:
    """Make the error about a file that cannot be read, by us or by Keras: why, and the way out."""
    way_out = (
        "Expected: a whole network as model.save writes it, not weights alone, by a Keras that "
        f"this one reads. Save it anew, or {BUILDER}."
    )
    if any(sign in str(error) for sign in UNKNOWN_CLASS):
        way_out = f"It holds a class of your own, which a file only names: {BUILDER}."
    found = shown(error)
    return SuiteError(f"{path}: {_version(keras)} cannot load it. Found: {found}. {way_out}")


def built(name: str, wanted: str) -> Any:
    """Call the function ``package.module:function``, which is `wanted`."""
    module_name, _, function_name = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    module = attempt(
        lambda: importlib.import_module(module_name),
        f"{name}: {module_name} cannot be imported",
        "a module below the current folder or an installed one",
    )
    function = getattr(module, function_name, None)
    if not callable(function):
        raise SuiteError(
            f"{name}: {module_name} has no function {function_name!r}. Expected: {wanted}."
        )
    return attempt(function, f"{name}: it failed", wanted)


def attempt(call: Callable[[], Any], failure: str, wanted: str) -> Any:
    """Call the user's own code; none of its ends, ``sys.exit(0)`` neither, is a verdict.

    Raises:
        SuiteError: If it raises anything at all.
    """
    try:
        return call()
    except SuiteError:
        raise
    except BaseException as error:  # the border to code that may raise whatever it likes
        found = f"{shown(error)}{_place(error)}"
        raise SuiteError(f"{failure}. Found: {found}. Expected: {wanted}.") from error


def shown(error: BaseException) -> str:
    """Put the kind and the message of an error into one line of at most `SHOWN` characters.

    Keras wraps the cause in the configs of everything it was found in.
    """
    message = str(error).rpartition("Exception encountered:")[2].partition("Full object config")[0]
    text = " ".join(f"{type(error).__name__}: {message}".split()).rstrip(".")
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _place(error: BaseException) -> str:
    """Say where an error was raised: " (file:line)"."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}:{frames[-1].lineno})"


def _version(keras: Keras) -> str:
    """Name the package that has Keras' models, and its version."""
    name = keras.Model.__module__.partition(".")[0]
    return f"{name} {importlib.import_module(name).__version__}"


def image_shape(model: Model, *, size_px: int | None = None) -> ImageShape:
    """Read the shape of one image for `model`; `size_px` is the side where it leaves that open.

    Raises:
        SuiteError: If it takes no images, or its size is open or fixed against `size_px`.
    """
    shape = _shape(model, "input_shape") or (None, None, None, None)
    if not isinstance(shape, tuple) or len(shape) != IMAGE_RANK:
        raise SuiteError(
            f"The network must take one batch of images (height, width, channels). Found: an input "
            f"of {shape}. Give what it takes as arrays: --data FILE.npz, or "
            "PACKAGE.MODULE:FUNCTION that returns them."
        )
    channels = shape[3] or max(CHANNELS)
    if channels not in CHANNELS:
        raise SuiteError(
            f"The network must take images of 1 or 3 channels, channels last. Found: an input of "
            f"{shape}. Give what it takes as arrays: --data FILE.npz, or PACKAGE.MODULE:FUNCTION "
            "that returns them."
        )
    return ImageShape(_side(shape[1], size_px), _side(shape[2], size_px), channels)


def _side(fixed: int | None, size_px: int | None) -> int:
    """Choose a side of the images in pixels: the network's own, or else the given one."""
    if fixed is None and size_px is None:
        raise SuiteError(
            "The network takes images of any size. Give the side it was trained with in pixels: "
            "--size PX."
        )
    if fixed is not None and size_px not in (None, fixed):
        raise SuiteError(
            f"The network takes images of {fixed} pixels a side, not {size_px}. Leave --size away."
        )
    return int(fixed or size_px or 0)


def _shape(model: Model, name: str) -> Any:
    """Read the input or output shape of `model`; None if only a call would tell."""
    try:
        shape = getattr(model, name)
    except (AttributeError, RuntimeError, ValueError):  # a subclass: each Keras has its own word
        return None
    if isinstance(shape, dict):
        shape = list(shape.values())
    if isinstance(shape, list) and len(shape) == 1:
        shape = shape[0]
    return shape if shape is None or isinstance(shape, list) else tuple(shape)
