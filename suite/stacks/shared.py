"""What all stacks share: optimizers, names and sizes of attacks, checks of phases."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.networks.batch_norm import batch_norms, walk
from suite.networks.phases import ADVERSARIAL, CLEAN, INFERENCE, TRAINING, Phases
from suite.networks.types import Images, Keras, Model

if TYPE_CHECKING:
    from collections.abc import Callable

OPTIMIZERS = {  # SGD with Nesterov's momentum as published; Adam for the suite's own pretraining
    "sgd": lambda keras: keras.optimizers.SGD(learning_rate=0.0, momentum=0.9, nesterov=True),
    "adam": lambda keras: keras.optimizers.Adam(learning_rate=0.0),
}
"""The optimizers by name, for any Keras; every step is given its learning rate."""

HALF = "float16"
"""The precision in which small gradients vanish unless their loss is scaled."""

NOISE_SIDE = 64  # side in pixels of the noise for a model that takes images of any size


def optimizer_of(keras: Keras, name: str, model: Model) -> Any:
    """Make the optimizer `name` for `model`; Keras' own scales the loss if it computes in float16.

    Args:
        keras: The Keras that made `model`.
        name: A key of `OPTIMIZERS`.
        model: Its layers tell in which precision they compute.
    """
    made = OPTIMIZERS[name](keras)
    halved = any(getattr(layer, "compute_dtype", "") == HALF for layer in walk(model))
    return keras.mixed_precision.LossScaleOptimizer(made) if halved else made


def scaled(optimizer: Any, loss: Any) -> Any:
    """Multiply a loss by its present scale, if the optimizer has one."""
    if hasattr(optimizer, "get_scaled_loss"):  # Keras 2
        return optimizer.get_scaled_loss(loss)
    return optimizer.scale_loss(loss) if hasattr(optimizer, "initial_scale") else loss


def unscaled(optimizer: Any, gradients: Any) -> Any:
    """Divide gradients by the scale of their loss, unless the optimizer does so itself."""
    if hasattr(optimizer, "get_unscaled_gradients"):  # Keras 2
        return optimizer.get_unscaled_gradients(gradients)
    return gradients


def step_size(epsilon: Any, steps: int) -> Any:
    """Compute the size of each of several attack steps, 2.5 epsilon / steps (Madry et al. 2018).

    It is at most epsilon, as CleverHans demands.
    """
    return epsilon * min(1.0, 2.5 / steps)


def attack_name(steps: int) -> str:
    """Name CleverHans 4's attack of so many steps.

    Raises:
        ValueError: If `steps` is not positive.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1. Received: {steps}")
    return "fast_gradient_method" if steps == 1 else "projected_gradient_descent"


def cleverhans_attack(framework: str, name: str) -> Any:
    """Import CleverHans 4's attack for `framework`, only now: a diagnosis needs none.

    Raises:
        AttributeError: If the suite uses no attack of that name.
    """
    if name not in {attack_name(1), attack_name(2)}:
        raise AttributeError(f"a stack has no attribute {name!r}")
    return getattr(importlib.import_module(f"cleverhans.{framework}.attacks.{name}"), name)


def require_phases(phases: Phases | None, model: Model, branch: Model | None) -> None:
    """Refuse `phases` that a step of `model` cannot run in.

    Raises:
        ValueError: If a pass has no such phase, or if nothing tells the clean batch's statistics:
            there is no clean training pass, the branch has layers of its own, or a layer's
            momentum lets nothing through.
    """
    if phases is None:
        return
    known = {phases.clean, phases.attack} <= {TRAINING, INFERENCE}
    if not known or phases.adversarial not in ADVERSARIAL:
        raise ValueError(f"phases must be of suite.networks.phases. Received: {tuple(phases)}")
    if ADVERSARIAL[phases.adversarial].by != CLEAN:
        return
    if phases.clean != TRAINING:
        raise ValueError(f"phases must have a clean training pass. Received: {tuple(phases)}")
    if branch not in (None, model):
        raise ValueError(
            "branch must be the model itself under the clean batch's statistics. "
            f"Received: {getattr(branch, 'name', branch)}"
        )
    pinned = [layer.name for layer in batch_norms(model) if layer.trainable and layer.momentum == 1]
    if pinned:
        raise ValueError(f"momentum must be below 1 in each layer. Received: 1 in {pinned}")


def updated_layers(model: Model, forward: Callable[[Images], Any]) -> list[Model]:
    """Find the BatchNorm layers whose statistics a training pass moves, by one pass of noise.

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
    """List the variables of `first`, then those of `second` that are not among them."""
    known = {id(variable) for variable in first}
    return [*first, *(variable for variable in second if id(variable) not in known)]
