"""The generations of the training and attack API: nothing else looks at a framework's version."""

from __future__ import annotations

import importlib
import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from typing_extensions import Protocol

from suite.fixes import batch_norms
from suite.phases import ADVERSARIAL, CLEAN, INFERENCE, TRAINING, Phases
from suite.records import code_digest, file_digest
from suite.types import Keras, Model

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

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


NOISE_SIDE = 64  # pixels, of the noise for a model that takes images of any size


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


def step_size(epsilon: Any, steps: int) -> Any:
    """Return the size of each of several attack steps, 2.5 epsilon / steps (Madry et al. 2018).

    It is epsilon at most, as CleverHans demands.
    """
    return epsilon * min(1.0, 2.5 / steps)


def attack_name(steps: int) -> str:
    """Return CleverHans 4's name of the attack of so many steps.

    Raises:
        ValueError: If `steps` is not positive.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1. Received: {steps}")
    return "fast_gradient_method" if steps == 1 else "projected_gradient_descent"


def cleverhans_attack(framework: str, name: str) -> Any:
    """Return CleverHans 4's attack for `framework`, imported only now: a diagnosis needs none.

    Raises:
        AttributeError: If the suite uses no attack of that name.
    """
    if name not in {attack_name(1), attack_name(2)}:
        raise AttributeError(f"a stack has no attribute {name!r}")
    return getattr(importlib.import_module(f"cleverhans.{framework}.attacks.{name}"), name)


def require_phases(phases: Phases | None, model: Model, branch: Model | None) -> None:
    """Check that a step of `model` can run in `phases`.

    Raises:
        ValueError: If a pass has no such phase, or nothing says what the clean batch's statistics
            are: without a clean training pass, in a branch with layers of its own, or in a
            layer whose momentum lets nothing through.
    """
    if phases is None:
        return
    known = {phases.clean, phases.attack} <= {TRAINING, INFERENCE}
    if not known or phases.adversarial not in ADVERSARIAL:
        raise ValueError(f"phases must be of suite.phases. Received: {tuple(phases)}")
    if ADVERSARIAL[phases.adversarial].by != CLEAN:
        return
    if phases.clean != TRAINING:
        raise ValueError(f"phases must have a clean training pass. Received: {tuple(phases)}")
    if branch not in (None, model):
        raise ValueError("branch must be the model itself under the clean batch's statistics.")
    pinned = [layer.name for layer in batch_norms(model) if layer.trainable and layer.momentum == 1]
    if pinned:
        raise ValueError(f"momentum must be below 1 in each layer. Received: 1 in {pinned}")


def updated_layers(model: Model, forward: Callable[[Images], Any]) -> list[Model]:
    """Return the BatchNorm layers whose statistics a training pass moves, tried with noise.

    A frozen layer is not among them, nor one that the model calls in the inference phase. The
    weights are put back.
    """
    state, layers = model.get_weights(), list(batch_norms(model))
    before = [layer.get_weights()[-2:] for layer in layers]
    shape = (2, *(side or NOISE_SIDE for side in model.input_shape[1:]))
    forward(np.random.default_rng(0).random(shape, dtype=np.float32))
    after = [layer.get_weights()[-2:] for layer in layers]
    model.set_weights(state)
    return [layer for layer, old, new in zip(layers, before, after) if not np.array_equal(old, new)]


def union(first: list[Any], second: list[Any]) -> list[Any]:
    """Return the variables of `first`, and those of `second` that are not among them."""
    known = {id(variable) for variable in first}
    return [*first, *(variable for variable in second if id(variable) not in known)]


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
