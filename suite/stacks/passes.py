"""The passes of a step on TensorFlow 2 and PyTorch, which assign variables in the order written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.networks.batch_norm import batch_norms
from suite.networks.phases import ADVERSARIAL, CLEAN, INFERENCE, OWN_KEPT, TRAINING, Phases
from suite.networks.types import Model
from suite.stacks.shared import updated_layers

if TYPE_CHECKING:
    from typing import TypeAlias

Tensor: TypeAlias = Any
"""A tensor of the framework."""

LayerMoments: TypeAlias = "list[list[Tensor]]"
"""Mean and variance ``(channels,)`` of each layer."""


class Statistics(NamedTuple):
    """The moving statistics of BatchNorm layers.

    Attributes:
        layers: The layers.
        value: Copies the present value of a variable of Keras.
    """

    layers: list[Model]
    value: Callable[[Any], Tensor]

    def read(self) -> LayerMoments:
        """Read the present mean and variance of each layer."""
        return [
            [self.value(layer.moving_mean), self.value(layer.moving_variance)]
            for layer in self.layers
        ]

    def assign(self, moments: LayerMoments) -> None:
        """Write the mean and variance of each layer."""
        for layer, (mean, variance) in zip(self.layers, moments):
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(variance)

    def measured(self, forward: Callable[[], Tensor]) -> tuple[Tensor, LayerMoments]:
        """Run a pass in the training phase; return its result and its batch's mean and variance.

        Starting from zero, the moving statistics go to 1 - momentum of the batch's, so that
        nothing is lost by cancellation. Then they are set to what they would have become.
        """
        old = self.read()
        self.assign([[np.zeros(tuple(x.shape), np.float32) for x in pair] for pair in old])
        result = forward()
        moved = self.read()
        momenta = [float(layer.momentum) for layer in self.layers]
        self.assign(
            [
                [momentum * before + after for before, after in zip(*pairs)]
                for momentum, *pairs in zip(momenta, old, moved)
            ]
        )
        return result, [
            [after / (1 - momentum) for after in pair] for momentum, pair in zip(momenta, moved)
        ]


def passes(
    model: Model,
    phases: Phases,
    branch: Model,
    *,
    tensor: Callable[[np.ndarray], Tensor],
    value: Callable[[Any], Tensor],
) -> tuple[Callable[..., tuple[Tensor, LayerMoments | None]], Callable[..., Tensor]]:
    """Make the clean pass of `model` and the adversarial pass of `branch`.

    The clean pass gives its logits and the statistics to plant for the adversarial pass: those of
    the clean batch where they normalise it, else None. Their variance is the one that the release
    stores.

    Args:
        model: The clean images go through it.
        phases: The phase of each pass.
        branch: The perturbed images go through it.
        tensor: Makes a tensor of an array.
        value: Copies the present value of a variable of Keras.
    """
    if ADVERSARIAL[phases.adversarial].by == CLEAN:
        layers = updated_layers(model, lambda images: model(tensor(images), training=True))
        statistics = Statistics(layers, value)

        def clean(images: Tensor) -> tuple[Tensor, LayerMoments | None]:
            return statistics.measured(lambda: model(images, training=True))

    else:
        statistics = Statistics(list(batch_norms(branch)), value)

        def clean(images: Tensor) -> tuple[Tensor, LayerMoments | None]:
            return model(images, training=phases.clean == TRAINING), None

    def adversarial(images: Tensor, planted: LayerMoments | None) -> Tensor:
        return _adversarial(branch, images, phases.adversarial, statistics, planted)

    return clean, adversarial


def _adversarial(
    model: Model, images: Tensor, kind: str, statistics: Statistics, planted: LayerMoments | None
) -> Tensor:
    """Run the adversarial pass of a `kind`, a key of `suite.networks.phases.ADVERSARIAL`.

    Where Keras has no such phase, one pass gives the logits: in the training phase, or in the
    inference phase under the moving or the planted statistics. The `statistics` are then put
    back. If the perturbed images are to update them, another pass in the training phase does so.
    """
    if kind in {TRAINING, INFERENCE}:
        return model(images, training=kind == TRAINING)
    kept = statistics.read()
    if planted is not None:
        statistics.assign(planted)
    logits = model(images, training=kind == OWN_KEPT)
    statistics.assign(kept)
    if ADVERSARIAL[kind].updates:
        model(images, training=True)
    return logits
