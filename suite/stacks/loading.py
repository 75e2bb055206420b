"""Which stack is loaded here, and the digest of the libraries that it measures."""

from __future__ import annotations

import importlib
import inspect
import os
from pathlib import Path
from typing import cast

from suite.files import code_digest, file_digest
from suite.stacks.protocol import Stack

STACKS = {"jax": "jax", "torch": "torch"}
"""The stacks' modules by Keras' backend; for TensorFlow the module depends on the version."""


def load() -> Stack:
    """Load the stack of the framework that is installed.

    The environment names the backend of Keras 3; without it the framework is TensorFlow, 1 or 2.

    Raises:
        ModuleNotFoundError: If no framework of any stack is installed.
    """
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    return cast(
        "Stack", importlib.import_module(f"suite.stacks.{STACKS.get(backend) or _tensorflow()}")
    )


def _tensorflow() -> str:
    """Name the module for the TensorFlow that is installed."""
    tensorflow = importlib.import_module("tensorflow")
    return "graph" if tensorflow.__version__.startswith("1.") else "eager"


def library_digest(stack: Stack) -> str:
    """Compute the digest of the sources under measurement: CleverHans, and Keras' BatchNorm.

    A version number alone would not reveal a patched or half-installed library.
    """
    cleverhans = importlib.import_module("cleverhans")
    batch_norm = inspect.getsourcefile(stack.keras.layers.BatchNormalization)
    attack = code_digest(Path(str(cleverhans.__file__)).parent)
    return f"{attack} {file_digest(Path(str(batch_norm)))}"
