"""What every stack offers to the rest of the suite: steps, networks, gradients, versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from typing_extensions import Protocol

from suite.networks.phases import Phases
from suite.networks.types import Images, Keras, Labels, Logits, Model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class StepResult(NamedTuple):
    """What one training step measured, before its update.

    Attributes:
        loss: The loss that was minimised, in nats.
        clean_ce: Cross-entropy of the clean images, in nats.
        clean_accuracy: Fraction of the clean images classified correctly.
        adversarial_ce: Cross-entropy of the perturbed images, in nats; None under the plain loss.
        adversarial_accuracy: The same fraction of the perturbed images; None under the plain loss.
    """

    loss: float
    clean_ce: float
    clean_accuracy: float
    adversarial_ce: float | None = None
    adversarial_accuracy: float | None = None


class TrainStep(NamedTuple):
    """One update of a model, and the optimizer that makes it.

    Attributes:
        update: Updates the model by one batch at a learning rate, waits for the device, and
            returns what was measured.
        optimizer: Keras' optimizer.
    """

    update: Callable[[Images, Labels, float], StepResult]
    optimizer: Any

    def __call__(self, images: Images, labels: Labels, learning_rate: float) -> StepResult:
        """Update the model by one batch, wait for the device, and return what was measured."""
        return self.update(images, labels, learning_rate)

    @property
    def variables(self) -> list[Any]:
        """The optimizer's variables; Keras 2 leaves out those of the loss's scale under float16."""
        scale = self._scale_of_keras_2
        own = [scale.current_loss_scale, scale.counter] if scale else []
        return [*self.optimizer.variables, *own]

    @property
    def _scale_of_keras_2(self) -> Any:
        return getattr(self.optimizer, "_loss_scale", None)

    def state(self) -> list[np.ndarray]:
        """Read the optimizer's momenta, its count of steps, and its scale of the loss."""
        if hasattr(self.optimizer, "get_weights"):  # Keras before 2.11
            return list(self.optimizer.get_weights())
        return [np.array(np.asarray(variable)) for variable in self.variables]

    def restore(self, state: Sequence[np.ndarray]) -> None:
        """Set what `state` reads; the learning rate is part of it, and is given to every step."""
        if hasattr(self.optimizer, "get_weights"):
            self.optimizer.set_weights(state)
        else:
            for variable, value in zip(self.variables, state):
                variable.assign(value)

    def forget(self) -> None:
        """Set the optimizer's momenta and its count of steps to zero, as before its first step."""
        self.restore([np.zeros_like(value) for value in self.state()])
        if hasattr(self.optimizer, "initial_scale"):  # of the loss, under float16
            scale = self._scale_of_keras_2
            variable = scale.current_loss_scale if scale else self.optimizer.dynamic_scale
            variable.assign(self.optimizer.initial_scale)


class Network(Protocol):
    """A model with its forward passes and attacks."""

    @property
    def model(self) -> Model:
        """The Keras model."""

    def logits(self, images: Images, *, training: bool) -> Logits:
        """Compute the logits ``(batch, classes)`` of `images` in the phase `training`."""

    def craft(self, images: Images, *, epsilon: float, training: bool, steps: int = 1) -> Images:
        """Perturb `images` by CleverHans' attack; its labels are the model's own predictions.

        Args:
            images: ``(batch, height, width, 3)`` in [0, 1].
            epsilon: The largest change of a pixel (max norm).
            training: The phase of the attack's passes; in training they may move statistics.
            steps: 1 is FGSM (Goodfellow et al. 2015); more are projected gradient descent (Madry
                et al. 2018) from a random start, by steps of `suite.stacks.shared.step_size`.
        """


class Stack(Protocol):
    """What the module of one generation of the API offers to the rest of the suite."""

    __name__: str
    keras: Keras

    GRAPH: bool
    """True where a step is a graph of TensorFlow 1: nothing orders the reads and the updates of
    BatchNorm's statistics there, and the published code updates them twice."""

    def versions(self) -> dict[str, str]:
        """Look up the versions of everything that decides a result."""

    def gpus(self) -> list[str]:
        """List the names of the GPUs that the framework sees."""

    def threads(self) -> dict[str, int]:
        """Ask how many threads compute: within an operation and across them; 0 for all."""

    def seed(self, seed: int) -> None:
        """Seed `random`, NumPy and the framework, and ask for deterministic kernels."""

    def random_state(self, models: Sequence[Model]) -> list[np.ndarray] | None:
        """Read what decides the next draws of dropout, beside the models' variables.

        None where the framework keeps it in its kernels: nobody can go on from there.
        """

    def set_random_state(self, models: Sequence[Model], state: list[np.ndarray]) -> None:
        """Set what decides the next draws to what was read."""

    def network(self, model: Model) -> Network:
        """Make the forward passes and attacks of `model`."""

    def train_step(
        self,
        model: Model,
        *,
        phases: Phases | None,
        epsilon: float,
        optimizer: str = "sgd",
        branch: Model | None = None,
    ) -> TrainStep:
        """Make the update of `model` under the plain or the adversarial loss.

        The adversarial loss is 0.5 CE(clean) + 0.5 CE(perturbed); the perturbed images are held
        constant, as published.

        Args:
            model: Ends in logits.
            phases: The phase of each pass of the adversarial loss; None takes the plain loss, in
                the training phase.
            epsilon: FGSM step in the max norm; pixels are in [0, 1].
            optimizer: A key of `suite.stacks.shared.OPTIMIZERS`.
            branch: The model that the attack and the adversarial pass go through; None takes
                `model`. Its own trainable variables are trained too.

        Raises:
            ValueError: If a step cannot run in `phases` (`suite.stacks.shared.require_phases`).
        """

    def gradients(
        self, model: Model, *, phases: Phases | None, epsilon: float
    ) -> Callable[[Images, Labels], list[np.ndarray]]:
        """Make a function of a batch that computes the gradients of a step's loss.

        They are those with respect to ``model.trainable_weights``, in that order. The function
        changes no weight and no statistic.

        Raises:
            ValueError: If a step cannot run in `phases`.
        """

    def peak_device_bytes(self) -> int | None:
        """Read the peak memory of the first GPU since the last call, in bytes; None without one."""
