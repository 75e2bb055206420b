"""The generations of the training and attack API: nothing else looks at a framework's version."""

from __future__ import annotations

import importlib
from typing import NamedTuple, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from suite.cases import Phases
from suite.types import Keras, Model

Images: TypeAlias = NDArray[np.float32]
"""RGB images ``(batch, height, width, 3)`` in [0, 1]."""

Labels: TypeAlias = NDArray[np.int64]
"""Class indices ``(batch,)``."""

Logits: TypeAlias = NDArray[np.float32]
"""Unnormalised scores ``(batch, classes)``."""


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

    keras: Keras

    def versions(self) -> dict[str, str]:
        """Return the versions of all that decides a result."""

    def library_digest(self) -> str:
        """Return the digest of the libraries' sources that are under measurement."""

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

    def peak_device_bytes(self) -> int | None:
        """Return the peak memory of the first GPU since the last call; None without one."""


def load() -> Stack:
    """Return the stack of the framework that is installed.

    Raises:
        ModuleNotFoundError: If no framework of any stack is installed.
    """
    return cast(Stack, importlib.import_module("suite.stacks.eager"))
