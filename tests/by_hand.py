"""Attack, optimizers, a linear and a BatchNorm network by hand, in NumPy: what stacks must do."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.networks.phases import ADVERSARIAL, CLEAN, MOVING, OWN, PHASES, TRAINING, Phases

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from suite.networks.types import Images, Labels, Model
    from suite.stacks.protocol import Stack

Arrays: TypeAlias = "list[np.ndarray]"
"""The moving mean and variance; or the weights that learn, in the order of the model."""

Update: TypeAlias = "Callable[[np.ndarray, float], np.ndarray]"
"""Makes the change of the weights of a gradient and a learning rate."""

BN_EPSILON = 1e-3
CLASSES = 5
MOMENTUM = 0.9
SIDE = 6  # of the 3x3 convolution's output on 8x8 images


class Pass(NamedTuple):
    """What one pass and its backward pass give.

    Attributes:
        ce: Mean cross-entropy in nats.
        logits: ``(batch, 5)``.
        to_weights: Gradients of `ce` to the weights that learn.
        to_images: Gradient of `ce` to the images.
    """

    ce: float
    logits: np.ndarray
    to_weights: Arrays
    to_images: np.ndarray


class Ways(NamedTuple):
    """How a stack runs the passes of a step, where stacks differ.

    Attributes:
        ddof: The moving variance is over n - `ddof` values: 1 in Keras 2, 0 in Keras 3.
        alone: True where each image is its own batch for the gradient of an attack in the
            training phase.
        attack_updates: How often an attack in the training phase updates the statistics in a step.
        graph: True for a graph of TensorFlow 1: where Keras has a phase for each pass, all passes
            see the statistics as they were, and all updates start from them; the published code
            updates twice.
    """

    ddof: int = 0
    alone: bool = False
    attack_updates: int = 2
    graph: bool = False

    def at_once(self, phases: Phases | None) -> bool:
        """True where all passes see the statistics as they were before the step."""
        return self.graph and (phases is None or phases.adversarial in {"training", "inference"})

    def unordered(self, phases: Phases | None) -> bool:
        """True where nothing orders the updates before or after what reads the statistics."""
        return self.graph and phases == PHASES["intended"]

    def clean_updates(self, phases: Phases | None) -> int:
        """Count the updates by the clean pass, in the training phase."""
        return 2 if self.graph and phases in PHASES.values() else 1


class Step(NamedTuple):
    """What a step reports, by which gradients it moves, and where the statistics end."""

    losses: list[float]
    gradients: Arrays
    statistics: Arrays


def ddof(stack: Stack) -> int:
    """Tell 1 where the moving variance of images is over n - 1 values, as in Keras 2; else 0."""
    return int(stack.versions()["keras"].startswith("2"))


def parts(model: Model) -> tuple[Arrays, Arrays]:
    """Split the weights of `foreign_model` into those that learn and the moving statistics."""
    kernel, bias, gamma, beta, mean, variance, dense, shift = model.get_weights()
    return [kernel, bias, gamma, beta, dense, shift], [mean, variance]


def features(weights: Arrays, images: Images) -> np.ndarray:
    """Compute the input of the BatchNorm of `foreign_model`, ``(batch, 6, 6, 4)``."""
    kernel, bias, *_ = (weight.astype(np.float64) for weight in weights)
    return _windows(images) @ kernel.reshape(-1, kernel.shape[-1]) + bias


def moments(values: np.ndarray, ddof: int = 0) -> Arrays:
    """Compute the mean and the variance of each channel."""
    axes = tuple(range(values.ndim - 1))
    return [values.mean(axis=axes), values.var(axis=axes, ddof=ddof)]


def moved(old: Arrays, batch: Arrays, momentum: float) -> Arrays:
    """Move the statistics once towards those of a batch."""
    return [momentum * one + (1 - momentum) * other for one, other in zip(old, batch)]


def forward_and_back(
    weights: Arrays, images: Images, labels: Labels, given: Arrays | None = None
) -> Pass:
    """Make a pass of `foreign_model`; `given` statistics normalise it, or its own batch's."""
    _, _, gamma, beta, dense, shift = (weight.astype(np.float64) for weight in weights)
    x = features(weights, images)
    mean, variance = moments(x) if given is None else given
    deviation = np.sqrt(variance + BN_EPSILON)
    normal = (x - mean) / deviation
    y = gamma * normal + beta
    flat = np.maximum(y, 0).reshape(len(images), -1)
    logits = flat @ dense + shift
    ce, errors = _cross_entropy(logits, labels)
    to_y = (errors @ dense.T).reshape(y.shape) * (y > 0)
    to_normal = to_y * gamma
    to_x = to_normal
    if given is None:
        axes = (0, 1, 2)
        to_x = to_x - to_normal.mean(axis=axes) - normal * (to_normal * normal).mean(axis=axes)
    to_kernel, to_bias, to_images = _through_convolution(weights[0], images, to_x / deviation)
    to_gamma, to_beta = (to_y * normal).sum(axis=(0, 1, 2)), to_y.sum(axis=(0, 1, 2))
    to_weights = [to_kernel, to_bias, to_gamma, to_beta, flat.T @ errors, errors.sum(axis=0)]
    return Pass(ce, logits, to_weights, to_images)


def fgsm(
    weights: Arrays,
    images: Images,
    given: Arrays | None = None,
    *,
    epsilon: float,
    alone: bool = False,
) -> Images:
    """Attack `foreign_model` by FGSM; the labels are its own predictions.

    Args:
        weights: As `parts` returns them.
        images: ``(batch, 8, 8, 3)`` in [0, 1].
        given: The statistics that normalise each pass; None: its own batch's.
        epsilon: In the max norm.
        alone: True where each image is a batch of its own for the gradient, not for the labels.
    """
    none = np.zeros(len(images), np.int64)
    labels = forward_and_back(weights, images, none, given).logits.argmax(axis=1)
    size = 1 if alone else len(images)
    batches = [slice(start, start + size) for start in range(0, len(images), size)]
    gradient = np.concatenate(
        [forward_and_back(weights, images[i], labels[i], given).to_images for i in batches]
    )
    return np.clip(images + epsilon * np.sign(gradient), 0, 1)


def step(
    model: Model,
    images: Images,
    labels: Labels,
    phases: Phases | None,
    *,
    epsilon: float,
    ways: Ways,
    read: tuple[Arrays, Arrays] | None = None,
) -> Step:
    """Compute what a step of `foreign_model` does, pass by pass.

    Args:
        model: Gives the weights and the statistics that the step starts from.
        images: ``(batch, 8, 8, 3)`` in [0, 1].
        labels: ``(batch,)``.
        phases: Of each pass; None is the plain loss.
        epsilon: In the max norm.
        ways: Those of the stack.
        read: The moving statistics that attack and adversarial pass read, where not as usual.
    """
    weights, old = parts(model)
    momentum, updates = float(model.get_layer("bn").momentum), []

    def seen() -> Arrays:
        return old if ways.at_once(phases) else _updated(old, updates, momentum, at_once=False)

    batch = moments(features(weights, images), ways.ddof)
    training = phases is None or phases.clean == TRAINING
    passes = [forward_and_back(weights, images, labels, None if training else seen())]
    updates += [batch] * (ways.clean_updates(phases) if training else 0)
    if phases is not None:
        training = phases.attack == TRAINING
        given = None if training else (read[0] if read else seen())
        alone = ways.alone and training
        perturbed = fgsm(weights, images, given, epsilon=epsilon, alone=alone)
        updates += [batch] * (ways.attack_updates if training else 0)
        by, updating = ADVERSARIAL[phases.adversarial]
        normalising = {OWN: None, CLEAN: batch, MOVING: read[1] if read else seen()}[by]
        passes.append(forward_and_back(weights, perturbed, labels, normalising))
        updates += [moments(features(weights, perturbed), ways.ddof)] * updating
    ces = [each.ce for each in passes]
    gradients = [sum(each) / len(passes) for each in zip(*(made.to_weights for made in passes))]
    statistics = _updated(old, updates, momentum, at_once=ways.at_once(phases))
    return Step([float(np.mean(ces)), *ces], gradients, statistics)


def possible_steps(
    model: Model, images: Images, labels: Labels, phases: Phases | None, **how: Any
) -> list[Step]:
    """List what a step may do: in a graph of TensorFlow 1 reads come before or after updates.

    Under the intended phases both updates of mean and variance, each on its own, may come before
    what the attack and the adversarial pass read of them.
    """
    if not how["ways"].unordered(phases):
        return [step(model, images, labels, phases, **how)]
    weights, old = parts(model)
    momentum = float(model.get_layer("bn").momentum)
    batch = moments(features(weights, images), how["ways"].ddof)
    states = [old, moved(old, batch, momentum), moved(moved(old, batch, momentum), batch, momentum)]
    reads = [[mean, variance] for mean, _ in states for _, variance in states]
    return [
        step(model, images, labels, phases, read=read, **how)
        for read in itertools.product(reads, repeat=2)
    ]


def late_statistics(
    before: tuple[Arrays, Arrays], after: Arrays, images: Images, *, ways: Ways, momentum: float
) -> list[Arrays]:
    """List where the statistics may end if the second update is by weights that have learned.

    The published code calls the model once more for nothing but its updates: nothing orders that
    pass before the optimizer's, whose kernel and bias it may read.
    """
    (old_kernel, old_bias, *rest), old = before
    first = moments(features(before[0], images), ways.ddof)
    seconds = [
        moments(features([kernel, bias, *rest], images), ways.ddof)
        for kernel, bias in itertools.product((old_kernel, after[0]), (old_bias, after[1]))
    ]
    return [_updated(old, [first, second], momentum, at_once=True) for second in seconds]


def _updated(old: Arrays, updates: list[Arrays], momentum: float, *, at_once: bool) -> Arrays:
    """Make all updates of the statistics, one after another or all from the same state."""
    if at_once:
        sums = [
            sum((new - value for new in each), 0 * value) for value, *each in zip(old, *updates)
        ]
        return [value + (1 - momentum) * change for value, change in zip(old, sums)]
    for batch in updates:
        old = moved(old, batch, momentum)
    return old


def sgd() -> Update:
    """Make SGD with Nesterov's momentum (Sutskever et al. 2013), as Keras has it."""
    velocity: Any = 0.0

    def update(gradient: np.ndarray, rate: float) -> np.ndarray:
        nonlocal velocity
        velocity = MOMENTUM * velocity - rate * gradient
        return np.asarray(MOMENTUM * velocity - rate * gradient)

    return update


def adam() -> Update:
    """Make Adam (Kingma and Ba 2015), with Keras' place of epsilon."""
    first: Any = 0.0
    second: Any = 0.0
    count = 0

    def update(gradient: np.ndarray, rate: float) -> np.ndarray:
        nonlocal first, second, count
        count += 1
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        corrected = rate * np.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        return np.asarray(-corrected * first / (np.sqrt(second) + 1e-7))

    return update


OPTIMIZERS: Mapping[str, Callable[[], Update]] = {"sgd": sgd, "adam": adam}
"""As those of `suite.stacks.shared.OPTIMIZERS`."""


def linear(kernel: np.ndarray, flat: np.ndarray, labels: Labels) -> Pass:
    """Make a pass of the linear model ``flat @ kernel``."""
    logits = flat @ kernel
    ce, errors = _cross_entropy(logits, labels)
    return Pass(ce, logits, [flat.T @ errors], errors @ kernel.T)


def linear_fgsm(kernel: np.ndarray, flat: np.ndarray, epsilon: float) -> np.ndarray:
    """Attack the linear model by FGSM; the images are flat."""
    predicted = (flat @ kernel).argmax(axis=1)
    return np.clip(flat + epsilon * np.sign(linear(kernel, flat, predicted).to_images), 0, 1)


def _cross_entropy(logits: np.ndarray, labels: Labels) -> tuple[float, np.ndarray]:
    """Compute the mean cross-entropy in nats and its gradient to the logits."""
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances = odds / odds.sum(axis=1, keepdims=True)
    ce = -np.log(chances[np.arange(len(labels)), labels]).mean()
    return float(ce), (chances - np.eye(logits.shape[1])[labels]) / len(labels)


def _windows(images: Images) -> np.ndarray:
    """Lay out the 3x3 neighbourhoods of images, ``(batch, 6, 6, 27)``."""
    shifted = [images[:, i : i + SIDE, j : j + SIDE] for i in range(3) for j in range(3)]
    return np.concatenate(shifted, axis=-1).astype(np.float64)


def _through_convolution(
    kernel: np.ndarray, images: Images, to_x: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Go back through a 3x3 convolution: the gradients to kernel, bias and images."""
    to_kernel = np.einsum("nhwi,nhwo->io", _windows(images), to_x).reshape(kernel.shape)
    to_images = np.zeros(images.shape)
    for i in range(3):
        for j in range(3):
            to_images[:, i : i + SIDE, j : j + SIDE] += to_x @ kernel[i, j].T
    return to_kernel, to_x.sum(axis=(0, 1, 2)), to_images
