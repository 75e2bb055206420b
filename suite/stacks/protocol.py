"""What a stack offers to the rest of the suite: steps, networks and what they return."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from typing_extensions import Protocol

from suite.networks.phases import Phases
from suite.networks.types import Images, Keras, Labels, Logits, Model

if TYPE_CHECKING:
    from collections.abc import Callable


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

    def craft(self, images: Images, *, epsilon: float, training: bool, steps: int = 1) -> Images:
        """Return CleverHans' adversarial images, crafted in the phase `training`.

        Args:
            images: What is perturbed, by at most `epsilon` in the max norm.
            epsilon: Pixels are in [0, 1].
            training: The phase of the attack's passes; in training they may move statistics.
            steps: 1 is FGSM; more are projected gradient descent (Madry et al. 2018) from a
                random start, each of `step_size`. The labels are the model's own predictions.
        """


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
        self,
        model: Model,
        *,
        phases: Phases | None,
        epsilon: float,
        optimizer: str = "sgd",
        branch: Model | None = None,
    ) -> TrainStep:
        """Return one update of `model`, under the plain loss where `phases` is None.

        The attack and the adversarial pass go through `branch`, `model` itself where None; its
        own trainable variables learn too.
        """

    def gradients(
        self, model: Model, *, phases: Phases | None, epsilon: float
    ) -> Callable[[Images, Labels], list[np.ndarray]]:
        """Return a function that gives the gradients of a step's loss, and moves no state.

        They are those with respect to ``model.trainable_weights``, in that order.
        """

    def peak_device_bytes(self) -> int | None:
        """Return the peak memory of the first GPU since the last call; None without one."""
