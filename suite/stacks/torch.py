"""The stack of Keras 3 on PyTorch with CleverHans 4's attacks for PyTorch."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
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
    attack_name,
    cleverhans_attack,
    optimizer_of,
    require_phases,
    scaled,
    step_size,
    union,
)

GRAPH = False
DISTRIBUTIONS = ("torch", "cleverhans", "keras", "numpy", "h5py", "ml-dtypes")


def __getattr__(name: str) -> Any:
    """Import CleverHans' attack `name` when it is first asked for."""
    return cleverhans_attack("torch", name)


def versions() -> dict[str, str]:
    """Look up the versions of Python, PyTorch, Keras, CleverHans and NumPy that are running."""
    return machine.versions(DISTRIBUTIONS)


def gpus() -> list[str]:
    """List the names of the GPUs that PyTorch sees."""
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def threads() -> dict[str, int]:
    """Ask how many threads compute: within an operation and across them."""
    return {"intra_op": torch.get_num_threads(), "inter_op": torch.get_num_interop_threads()}


def seed(seed: int) -> None:
    """Seed `random`, NumPy and PyTorch, and make PyTorch's kernels deterministic."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # without it, cuBLAS refuses the next line
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads such memory


def random_state(models: Sequence[Model]) -> list[np.ndarray]:
    """Read the states of PyTorch's generators, of the CPU and of each GPU, which draw dropout."""
    del models
    return [state.numpy() for state in (torch.get_rng_state(), *torch.cuda.get_rng_state_all())]


def set_random_state(models: Sequence[Model], state: list[np.ndarray]) -> None:
    """Set the states of PyTorch's generators."""
    del models
    first, *others = map(torch.from_numpy, state)
    torch.set_rng_state(first)
    torch.cuda.set_rng_state_all(others)


def peak_device_bytes() -> int | None:
    """Read the peak memory of the first GPU since the last call, in bytes; None without one."""
    if not gpus():
        return None
    peak = int(torch.cuda.max_memory_allocated(0))
    torch.cuda.reset_peak_memory_stats(0)
    return peak


class TorchNetwork(NamedTuple):
    """A Keras model with its forward pass and its attack, neither of them compiled."""

    model: Model

    def logits(self, images: Images, *, training: bool) -> Logits:
        """Compute the logits ``(batch, classes)`` of `images` in the phase `training`."""
        with torch.no_grad():
            return _array(self.model(_tensor(images), training=training))

    def craft(self, images: Images, *, epsilon: float, training: bool, steps: int = 1) -> Images:
        """Perturb `images` by CleverHans' attack, in the phase `training`."""
        return _array(
            _perturbed(self.model, _tensor(images), epsilon, training=training, steps=steps)
        )


def network(model: Model) -> TorchNetwork:
    """Make the passes and the attack of `model`."""
    return TorchNetwork(model)


def _tensor(values: np.ndarray) -> torch.Tensor:
    """Put `values` on the device where Keras keeps its weights."""
    tensor: torch.Tensor = keras.ops.convert_to_tensor(values)
    return tensor


def _array(tensor: torch.Tensor) -> np.ndarray:
    """Copy `tensor` into an array."""
    return np.asarray(tensor.detach().cpu().numpy())


def _perturbed(
    model: Model, images: torch.Tensor, epsilon: float, *, training: bool, steps: int = 1
) -> torch.Tensor:
    """Perturb `images` by CleverHans' attack; its labels are the model's own predictions.

    CleverHans calls ``backward``, which adds gradients to those at the weights too: they are
    dropped. The perturbed images are held constant, as published.
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
    """Make the update of `model` under the plain or the adversarial loss.

    Arguments and errors are those of `suite.stacks.protocol.Stack.train_step`.
    """
    losses, descent = _losses(model, phases, epsilon, branch), optimizer_of(keras, optimizer, model)
    variables = model.trainable_variables
    if branch is not None and phases is not None:
        variables = union(variables, branch.trainable_variables)
    descent.build(variables)

    def step(images: Images, labels: Labels, learning_rate: float) -> StepResult:
        descent.learning_rate = learning_rate
        loss, measured = losses(_tensor(images), _tensor(labels))
        gradients = _gradients(scaled(descent, loss), variables)
        with torch.no_grad():
            descent.apply(gradients, variables)
        return StepResult(*torch.stack([loss, *measured]).tolist())

    return TrainStep(step, descent)


def gradients(
    model: Model, *, phases: Phases | None, epsilon: float
) -> Callable[[Images, Labels], list[np.ndarray]]:
    """Make a function of a batch that computes the gradients of a step's loss.

    Arguments and errors are those of `suite.stacks.protocol.Stack.gradients`.
    """
    losses, variables = _losses(model, phases, epsilon), model.trainable_variables

    def of_batch(images: Images, labels: Labels) -> list[np.ndarray]:
        state = model.get_weights()
        loss, _ = losses(_tensor(images), _tensor(labels))
        found = _gradients(loss, variables)
        model.set_weights(state)
        return [_array(gradient) for gradient in found]

    return of_batch


def _gradients(loss: torch.Tensor, variables: Any) -> Any:
    """Compute the gradients of `loss` with respect to Keras' `variables`."""
    return torch.autograd.grad(loss, [variable.value for variable in variables])


def _losses(
    model: Model, phases: Phases | None, epsilon: float, branch: Model | None = None
) -> Any:
    """Make the loss of a step: a function of images and labels that also measures accuracies."""
    require_phases(phases, model, branch)
    if phases is None:
        return _plain(model)
    return _adversarial(model, phases, epsilon, model if branch is None else branch)


def _plain(model: Model) -> Any:
    """Make the plain loss: the mean cross-entropy of the clean images, in the training phase."""

    def losses(images: torch.Tensor, labels: torch.Tensor) -> tuple[Any, list[Any]]:
        ce, accuracy = _measure(labels, model(images, training=True))
        return ce, [ce, accuracy]

    return losses


def _adversarial(model: Model, phases: Phases, epsilon: float, branch: Model) -> Any:
    """Make the loss 0.5 CE(clean) + 0.5 CE(perturbed), each pass in its phase."""
    clean_pass, adversarial_pass = passes(model, phases, branch, tensor=_tensor, value=_value)

    def losses(images: torch.Tensor, labels: torch.Tensor) -> tuple[Any, list[Any]]:
        logits, planted = clean_pass(images)
        clean_ce, clean_accuracy = _measure(labels, logits)
        perturbed = _perturbed(branch, images, epsilon, training=phases.attack == TRAINING)
        ce, accuracy = _measure(labels, adversarial_pass(perturbed, planted))
        return 0.5 * clean_ce + 0.5 * ce, [clean_ce, clean_accuracy, ce, accuracy]

    return losses


def _value(variable: Any) -> torch.Tensor:
    """Copy the present value of Keras' `variable` as a constant."""
    value: torch.Tensor = variable.value.detach().clone()
    return value


def _measure(labels: torch.Tensor, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the mean cross-entropy in nats and the accuracy of `logits`."""
    ce = torch.nn.functional.cross_entropy(logits, labels)
    return ce, (logits.argmax(dim=1) == labels).float().mean()
