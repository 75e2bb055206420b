"""What a BatchNorm layer is, and its moving statistics: found, read, set and kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from suite.networks.types import Model

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy as np

Moments: TypeAlias = "tuple[np.ndarray, np.ndarray]"
"""Mean and variance of each channel, ``(channels,)`` both."""

NAMED = 2  # up to so many layers are all named in words; of more, only the first and the last

KEPT = ("moving_mean", "moving_variance", "momentum", "epsilon")
"""Attributes that no other layer of Keras has all of."""


def is_batch_norm(layer: Model) -> bool:
    """True where the class of `layer`, or one it derives from, is Keras' BatchNorm.

    In every release, and for ``SyncBatchNormalization`` too, that class has a name that begins
    with ``BatchNormalization``. A user's own class that keeps all that a BatchNorm does is one too.
    """
    known = any(base.__name__.startswith("BatchNormalization") for base in type(layer).__mro__)
    return known or all(hasattr(layer, name) for name in KEPT)


def batch_norms(model: Model) -> Iterator[Model]:
    """Yield every BatchNorm layer of `model` once, in order.

    Layers of nested models, of wrappers and of custom layers are included.
    """
    return filter(is_batch_norm, walk(model))


def walk(model: Model) -> Iterator[Model]:
    """Yield `model` and all layers inside it, each once, the outer first."""
    return _walk(model, set())


def _walk(layer: Model, seen: set[int]) -> Iterator[Model]:
    """Yield `layer` and the layers inside it, except those whose ids were `seen` before."""
    if id(layer) not in seen:
        seen.add(id(layer))
        if hasattr(layer, "get_weights"):  # else a list of layers, as TensorFlow 1 tracks them
            yield layer
        for child in _children(layer):
            yield from _walk(child, seen)


def _children(layer: Model) -> list[Model]:
    """List the layers directly inside `layer`, in order."""
    if hasattr(type(layer), "layers"):  # any model
        return list(layer.layers)
    if hasattr(layer, "_flatten_layers"):
        return list(layer._flatten_layers(include_self=False, recursive=False))
    return list(getattr(layer, "_layers", ()))  # before TensorFlow 2.4


def layers_in_words(layers: list[Model]) -> str:
    """Count BatchNorm layers in words and name them, or the first and the last of many."""
    names = [layer.name for layer in layers]
    listed = ", ".join(names) if len(names) <= NAMED else f"{names[0]} to {names[-1]}"
    return f"{len(names)} BatchNorm layer{'' if len(names) == 1 else 's'} ({listed})"


def keyed(model: Model) -> dict[str, Model]:
    """Map names to the BatchNorm layers of `model`, in order.

    Nested models may contain layers of the same name, as two copies of one base do: the second
    is ``name:2``, the third ``name:3``.
    """
    found: dict[str, Model] = {}
    counts: dict[str, int] = {}
    for layer in batch_norms(model):
        count = counts[layer.name] = counts.get(layer.name, 0) + 1
        found[layer.name if count == 1 else f"{layer.name}:{count}"] = layer
    return found


def moving_moments(model: Model) -> dict[str, Moments]:
    """Read the moving mean and variance of every BatchNorm layer, by the names of `keyed`."""
    return {name: tuple(layer.get_weights()[-2:]) for name, layer in keyed(model).items()}


def plant_moments(model: Model, moments: Mapping[str, Moments]) -> None:
    """Set the moving mean and variance of every BatchNorm layer, by the names of `keyed`."""
    for name, layer in keyed(model).items():
        layer.set_weights([*layer.get_weights()[:-2], *moments[name]])


def set_statistics(layer: Model, *, mean: float, variance: float) -> None:
    """Set the moving mean and variance of every channel of `layer`, whatever they were (NaN)."""
    weights = layer.get_weights()
    for variable, weight in zip(layer.weights, weights):
        if variable is layer.moving_mean:
            weight[...] = mean
        elif variable is layer.moving_variance:
            weight[...] = variance
    layer.set_weights(weights)


@contextmanager
def state_kept(model: Model) -> Iterator[None]:
    """Put every weight and statistic of `model` back on leaving."""
    state = model.get_weights()
    try:
        yield
    finally:
        model.set_weights(state)


@contextmanager
def momentum_zero(model: Model) -> Iterator[None]:
    """Let the moving statistics become each batch's; put them and the momenta back on leaving."""
    layers = list(batch_norms(model))
    momenta = [layer.momentum for layer in layers]
    try:
        with state_kept(model):
            for layer in layers:
                layer.momentum = 0.0
            yield
    finally:
        for layer, momentum in zip(layers, momenta):
            layer.momentum = momentum
