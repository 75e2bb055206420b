"""The stack of Keras 3 on PyTorch with CleverHans 4's attacks for PyTorch."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import torch

from suite import machine
from suite.networks.phases import TRAINING, Phases
from suite.networks.types import Images, Labels, Logits, Model
from suite.stacks.passes import passes
from suite.stacks.protocol import StepResult, TrainStep
from suite.stacks.shared import (
    OPTIMIZERS,
    attack_name,
    cleverhans_attack,
    require_phases,
    step_size,
    union,
)

GRAPH = False
DISTRIBUTIONS = ("torch", "cleverhans", "keras", "numpy", "h5py", "ml-dtypes")


def __getattr__(name: str) -> Any:
    """Return CleverHans' attack `name`."""
    return cleverhans_attack("torch", name)


def versions() -> dict[str, str]:
    """Return the versions of Python, PyTorch, Keras, CleverHans and NumPy that are running."""
    return machine.versions(DISTRIBUTIONS)


def gpus() -> list[str]:
    """Return the names of the GPUs PyTorch sees."""
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def seed(seed: int) -> None:
    """Seed `random`, NumPy and PyTorch, and make PyTorch's kernels deterministic."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # without it, cuBLAS refuses the next line
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads such memory


def peak_device_bytes() -> int | None:
    """Return the peak memory of the first GPU since the last call, in bytes; None without one."""
    if not gpus():
        return None
    peak = int(torch.cuda.max_memory_allocated(0))
    torch.cuda.reset_peak_memory_stats(0)
    return peak


class TorchNetwork(NamedTuple):
    """A Keras model, its forward pass and its attack; nothing is compiled."""

    model: Model

    def logits(self, images: Images, *, training: bool) -> Logits:
        """Return the logits ``(batch, classes)`` of `images` in the phase `training`."""
        with torch.no_grad():
            return _array(self.model(_tensor(images), training=training))

    def craft(self, images: Images, *, epsilon: float, training: bool, steps: int = 1) -> Images:
        """Return CleverHans' adversarial images, crafted in the phase `training`."""
        return _array(
            _perturbed(self.model, _tensor(images), epsilon, training=training, steps=steps)
        )


def network(model: Model) -> TorchNetwork:
    """Return `model` with its passes and attack."""
    return TorchNetwork(model)


def _tensor(values: np.ndarray) -> torch.Tensor:
    """Return `values` on the device that Keras keeps its weights on."""
    tensor: torch.Tensor = keras.ops.convert_to_tensor(values)
    return tensor


def _array(tensor: torch.Tensor) -> np.ndarray:
    """Return `tensor` as an array."""
    return np.asarray(tensor.detach().cpu().numpy())


def _perturbed(
    model: Model, images: torch.Tensor, epsilon: float, *, training: bool, steps: int = 1
) -> torch.Tensor:
    """Return CleverHans' attack on `images`, labels the model's own predictions.

    CleverHans goes back to the images by ``backward``, which leaves gradients at the weights too,
    a sum over all calls: they are dropped. The perturbed images are held constant, as published.
    """
    attack = getattr(sys.modules[__name__], attack_name(steps))
    several = (step_size(epsilon, steps), steps) if steps > 1 else ()
    options = {"rand_init": True, "sanity_checks": False} if steps > 1 else {}
    perturbed = attack(
        lambda x: model(x, training=training), images, epsilon, *several, np.inf,
        clip_min=0.0, clip_max=1.0, **options,
    )  # fmt: skip
    for variable in model.trainable_variables:
        variable.value.grad = None
    return perturbed.detach()


def train_step(
    model: Model,
    *,
    phases: Phases | None,
    epsilon: float,
    optimizer: str = "sgd",
    branch: Model | None = None,
) -> TrainStep:
    """Return one update of `model` under the plain or the adversarial loss.

    Args:
        model: Ends in logits.
        phases: The phase of each pass of the adversarial loss; None takes the plain loss, in the
            training phase.
        epsilon: FGSM step in the max norm; pixels are in [0, 1].
        optimizer: A key of `OPTIMIZERS`.
        branch: What the attack and the adversarial pass go through; None takes `model`. Its own
            trainable variables learn too.

    Raises:
        ValueError: If `phases` are none that a step can run in.
    """
    losses, descent = _losses(model, phases, epsilon, branch), OPTIMIZERS[optimizer](keras)
    variables = model.trainable_variables
    if branch is not None and phases is not None:
        variables = union(variables, branch.trainable_variables)
    descent.build(variables)

    def step(images: Images, labels: Labels, learning_rate: float) -> StepResult:
        descent.learning_rate = learning_rate
        loss, measured = losses(_tensor(images), _tensor(labels))
        with torch.no_grad():
            descent.apply(_gradients(loss, variables), variables)
        return StepResult(*torch.stack([loss, *measured]).tolist())

    return step


def gradients(
    model: Model, *, phases: Phases | None, epsilon: float
) -> Callable[[Images, Labels], list[np.ndarray]]:
    """Return the gradients of a step's loss to `model.trainable_weights`; no state is moved."""
    losses, variables = _losses(model, phases, epsilon), model.trainable_variables

    def of_batch(images: Images, labels: Labels) -> list[np.ndarray]:
        state = model.get_weights()
        loss, _ = losses(_tensor(images), _tensor(labels))
        found = _gradients(loss, variables)
        model.set_weights(state)
        return [_array(gradient) for gradient in found]

    return of_batch


def _gradients(loss: torch.Tensor, variables: Any) -> Any:
    """Return the gradients of `loss` to Keras' `variables`."""
    return torch.autograd.grad(loss, [variable.value for variable in variables])


def _losses(
    model: Model, phases: Phases | None, epsilon: float, branch: Model | None = None
) -> Any:
    """Return the loss that `phases` name, and what it measures."""
    require_phases(phases, model, branch)
    if phases is None:
        return _plain(model)
    return _adversarial(model, phases, epsilon, model if branch is None else branch)


def _plain(model: Model) -> Any:
    """Return the plain loss: the mean cross-entropy of the clean images, in the training phase."""

    def losses(images: torch.Tensor, labels: torch.Tensor) -> tuple[Any, list[Any]]:
        ce, accuracy = _measure(labels, model(images, training=True))
        return ce, [ce, accuracy]

    return losses


def _adversarial(model: Model, phases: Phases, epsilon: float, branch: Model) -> Any:
    """Return the loss 0.5 CE(clean) + 0.5 CE(perturbed), each pass in its phase."""
    clean_pass, adversarial_pass = passes(model, phases, branch, tensor=_tensor, value=_value)

    def losses(images: torch.Tensor, labels: torch.Tensor) -> tuple[Any, list[Any]]:
        logits, planted = clean_pass(images)
        clean_ce, clean_accuracy = _measure(labels, logits)
        perturbed = _perturbed(branch, images, epsilon, training=phases.attack == TRAINING)
        ce, accuracy = _measure(labels, adversarial_pass(perturbed, planted))
        return 0.5 * clean_ce + 0.5 * ce, [clean_ce, clean_accuracy, ce, accuracy]

    return losses


def _value(variable: Any) -> torch.Tensor:
    """Return a copy of the present value of Keras' `variable`, a constant."""
    value: torch.Tensor = variable.value.detach().clone()
    return value


def _measure(labels: torch.Tensor, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean cross-entropy in nats and the accuracy of `logits`."""
    ce = torch.nn.functional.cross_entropy(logits, labels)
    return ce, (logits.argmax(dim=1) == labels).float().mean()
