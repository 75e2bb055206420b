"""The passes of a step where a graph or PyTorch assigns variables in the order written."""

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

Moments: TypeAlias = "list[list[Tensor]]"
"""Mean and variance ``(channels,)`` of each layer."""


class Statistics(NamedTuple):
    """The moving statistics of BatchNorm layers.

    Attributes:
        layers: Whose they are.
        value: Gives a copy of the present value of a variable of Keras.
    """

    layers: list[Model]
    value: Callable[[Any], Tensor]

    def read(self) -> Moments:
        """Return the present mean and variance of each layer."""
        return [
            [self.value(layer.moving_mean), self.value(layer.moving_variance)]
            for layer in self.layers
        ]

    def assign(self, moments: Moments) -> None:
        """Write `moments`."""
        for layer, (mean, variance) in zip(self.layers, moments):
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(variance)

    def measured(self, forward: Callable[[], Tensor]) -> tuple[Tensor, Moments]:
        """Return what a pass in the training phase gives, and its batch's mean and variance.

        From zero the moving statistics go to 1 - momentum of the batch's, whatever they were:
        nothing is lost by cancellation. They end where they would have gone.
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
) -> tuple[Callable[..., tuple[Tensor, Moments | None]], Callable[..., Tensor]]:
    """Return the clean pass of `model` and the adversarial pass of `branch`.

    The clean pass gives its logits and the statistics to plant for the adversarial one: None, but
    where that is normalised by the clean batch's. Their variance is the one the release stores.

    Args:
        model: What the clean images go through.
        phases: Of `suite.phases`.
        branch: What the perturbed images go through.
        tensor: Makes a tensor of an array.
        value: Gives a copy of the present value of a variable of Keras.
    """
    if ADVERSARIAL[phases.adversarial].by == CLEAN:
        layers = updated_layers(model, lambda images: model(tensor(images), training=True))
        statistics = Statistics(layers, value)

        def clean(images: Tensor) -> tuple[Tensor, Moments | None]:
            return statistics.measured(lambda: model(images, training=True))

    else:
        statistics = Statistics(list(batch_norms(branch)), value)

        def clean(images: Tensor) -> tuple[Tensor, Moments | None]:
            return model(images, training=phases.clean == TRAINING), None

    def adversarial(images: Tensor, planted: Moments | None) -> Tensor:
        return _adversarial(branch, images, phases.adversarial, statistics, planted)

    return clean, adversarial


def _adversarial(
    model: Model, images: Tensor, kind: str, statistics: Statistics, planted: Moments | None
) -> Tensor:
    """Return the logits of the adversarial pass, of a `kind` of `suite.phases.ADVERSARIAL`.

    Where Keras has no such phase, `statistics` are put back after the pass that gives the
    logits: one in the training phase, or one in the inference phase under the moving or the
    planted statistics. What the perturbed images do to them is the matter of another
    pass, in the training phase.
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
