"""Which stack is loaded here, and what its Keras is set to."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from suite.errors import SuiteError
from suite.files import parse_json, read_within
from suite.stacks.protocol import Stack

STACKS = {"jax": "jax", "torch": "torch"}
"""The stacks' modules by Keras' backend; for TensorFlow the module depends on the version."""

TENSORFLOW = "tensorflow"
SETTINGS = "keras.json"
SETTINGS_BYTES = 1_000_000
FLOATS = ("float16", "float32", "float64")
IMAGE_FORMATS = ("channels_last", "channels_first")


def load() -> Stack:
    """Load the stack of the framework that is installed.

    The environment names the backend of Keras 3; without it the framework is TensorFlow, 1 or 2.

    Raises:
        ModuleNotFoundError: If no framework of any stack is installed.
        SuiteError: If there is no such backend, or Keras' file of settings is none.
    """
    backend = os.environ.get("KERAS_BACKEND") or TENSORFLOW
    if backend not in (*STACKS, TENSORFLOW):
        names = ", ".join([TENSORFLOW, *STACKS])
        raise SuiteError(f"KERAS_BACKEND must be one of {names}. Received: {backend}")
    check_settings(keras_home() / SETTINGS, backend)
    return cast(
        "Stack", importlib.import_module(f"suite.stacks.{STACKS.get(backend) or _tensorflow()}")
    )


def _tensorflow() -> str:
    """Name the module for the TensorFlow that is installed."""
    tensorflow = importlib.import_module(TENSORFLOW)
    return "graph" if tensorflow.__version__.startswith("1.") else "eager"


def keras_home() -> Path:
    """Locate the folder in which Keras looks for its settings."""
    return Path(os.environ.get("KERAS_HOME") or Path("~", ".keras")).expanduser()


def check_settings(path: Path, backend: str) -> None:
    """Refuse a file of settings that Keras would fail on or pass over, or of another backend.

    Args:
        path: The file; it may be missing.
        backend: The one that Keras is to run on.

    Raises:
        SuiteError: If it is no JSON object, or a setting has a value that Keras does not know.
    """
    if not os.path.lexists(path):
        return
    try:
        found = parse_json(read_within(path, SETTINGS_BYTES))
    except (OSError, ValueError) as error:
        raise SuiteError(f"{path} is no file of Keras' settings: {error}. {_mend(path)}") from error
    wrong = _wrong(found, backend) if isinstance(found, dict) else "it is no JSON object"
    if wrong:
        raise SuiteError(f"{path} is no file of Keras' settings: {wrong}. {_mend(path)}")


def _wrong(found: Mapping[str, Any], backend: str) -> str:
    """Say which setting has a value that it cannot have; empty if none has."""
    named = os.environ.get("KERAS_BACKEND")  # it goes before the file
    choices = {"floatx": FLOATS, "image_data_format": IMAGE_FORMATS}
    choices.update({} if named else {"backend": (backend,)})
    for name, values in choices.items():
        if found.get(name, values[0]) not in values:
            return f"{name} is {found[name]!r:.40}, expected {' or '.join(values)}"
    epsilon = found.get("epsilon", 0.0)
    return "" if isinstance(epsilon, float) else f"epsilon is {epsilon!r:.40}, expected a float"


def _mend(path: Path) -> str:
    return f"Mend it, or remove it (`rm {path}`): Keras makes it anew."


def settings(stack: Stack) -> dict[str, Any]:
    """Ask the running Keras for the settings that decide numbers, whatever file they come from."""
    backend = stack.keras.backend
    return {
        "floatx": backend.floatx(),
        "epsilon": backend.epsilon(),
        "image_data_format": backend.image_data_format(),
    }
