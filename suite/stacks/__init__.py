"""The generations of the training and attack API: nothing else looks at a framework's version."""

from __future__ import annotations

import importlib
import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from typing_extensions import Protocol

from suite.cases import Phases
from suite.records import code_digest, file_digest
from suite.types import Keras, Model

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    import numpy as np
    from numpy.typing import NDArray

Images: TypeAlias = "NDArray[np.float32]"
"""RGB images ``(batch, height, width, 3)`` in [0, 1]."""

Labels: TypeAlias = "NDArray[np.int64]"
"""Class indices ``(batch,)``."""

Logits: TypeAlias = "NDArray[np.float32]"
"""Unnormalised scores ``(batch, classes)``."""


STACKS = {"jax": "jax", "torch": "torch"}
"""Modules of the stacks, by Keras' backend; that of TensorFlow depends on its version."""


OPTIMIZERS = {  # SGD with Nesterov's momentum as published; Adam for the suite's own pretraining
    "sgd": lambda keras: keras.optimizers.SGD(learning_rate=0.0, momentum=0.9, nesterov=True),
    "adam": lambda keras: keras.optimizers.Adam(learning_rate=0.0),
}
"""The optimizers by name, of whichever Keras; the learning rate is given at each step."""


class StepResult(NamedTuple):
    """What one training step measured, before its update.

    Attributes:
        loss: What was minimised, in nats.
        clean_ce: Cross-entropy of the clean images, in nats.
        clean_accuracy: Fraction of the clean images classified rightly.
        adversarial_ce: Cross-entropy of the perturbed images, in nats; None under the plain loss.
        adversarial_accuracy: Fraction of the perturbed ones; None under the plain loss.
    """

    loss: float
    clean_ce: float
    clean_accuracy: float
    adversarial_ce: float | None = None
    adversarial_accuracy: float | None = None


class TrainStep(Protocol):
    """One update of the model; returns when the device has finished."""

    def __call__(self, images: Images, labels: Labels, learning_rate: float) -> StepResult:
        """Return what the step measured."""


class Network(Protocol):
    """A model and its compiled forward passes."""

    @property
    def model(self) -> Model:
        """The Keras model."""

    def logits(self, images: Images, *, training: bool) -> Logits:
        """Return the logits ``(batch, classes)`` of `images` in the phase `training`."""

    def craft(self, images: Images, *, epsilon: float, training: bool) -> Images:
        """Return CleverHans' FGSM images, crafted in the phase `training`."""


class Stack(Protocol):
    """What a generation of the API offers to the rest of the suite."""

    __name__: str
    keras: Keras

    GRAPH: bool
    """Whether a step is a graph of TensorFlow 1, where nothing orders the reads and the updates of
    BatchNorm's statistics, and the published code updates them twice."""

    def versions(self) -> dict[str, str]:
        """Return the versions of all that decides a result."""

    def gpus(self) -> list[str]:
        """Return the names of the GPUs the framework sees."""

    def seed(self, seed: int) -> None:
        """Seed `random`, NumPy and the framework, and ask for deterministic kernels."""

    def network(self, model: Model) -> Network:
        """Return `model` with its compiled passes."""

    def train_step(
        self, model: Model, *, phases: Phases | None, epsilon: float, optimizer: str = "sgd"
    ) -> TrainStep:
        """Return one update of `model`, under the plain loss where `phases` is None."""

    def gradients(
        self, model: Model, *, phases: Phases | None, epsilon: float
    ) -> Callable[[Images, Labels], list[np.ndarray]]:
        """Return a function that gives the gradients of a step's loss, and moves no state.

        They are those with respect to ``model.trainable_weights``, in that order.
        """

    def peak_device_bytes(self) -> int | None:
        """Return the peak memory of the first GPU since the last call; None without one."""


def load() -> Stack:
    """Return the stack of the framework that is installed.

    Keras 3 names its own backend in the environment; all else is TensorFlow, 1 or 2.

    Raises:
        ModuleNotFoundError: If no framework of any stack is installed.
    """
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    return cast(
        "Stack", importlib.import_module(f"suite.stacks.{STACKS.get(backend) or _tensorflow()}")
    )


def _tensorflow() -> str:
    """Return the module for the TensorFlow that is installed."""
    tensorflow = importlib.import_module("tensorflow")
    return "graph" if tensorflow.__version__.startswith("1.") else "eager"


def library_digest(stack: Stack) -> str:
    """Return the digest of the sources under measurement: CleverHans, and Keras' BatchNorm.

    A version number alone would not tell a patched or half-installed library.
    """
    cleverhans = importlib.import_module("cleverhans")
    batch_norm = inspect.getsourcefile(stack.keras.layers.BatchNormalization)
    attack = code_digest(Path(str(cleverhans.__file__)).parent)
    return f"{attack} {file_digest(Path(str(batch_norm)))}"
