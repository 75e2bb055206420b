"""Weights and statistics by names that are the same in every release."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.errors import WeightsError
from suite.networks.types import Model

if TYPE_CHECKING:
    from typing import TypeAlias

State: TypeAlias = "Mapping[tuple[str, str], np.ndarray]"
"""Weights and statistics, by the layer's name in every release and their own."""

DRAWS: Mapping[str, Callable[..., np.ndarray]] = MappingProxyType(
    {
        "kernel": lambda rng, shape: rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape),
        "bias": lambda rng, shape: rng.normal(0, 0.1, shape),
        "gamma": lambda rng, shape: rng.uniform(0.5, 1.5, shape),
        "beta": lambda rng, shape: rng.normal(0, 0.1, shape),
        "moving_mean": lambda rng, shape: rng.normal(0, 0.5, shape),
        "moving_variance": lambda rng, shape: rng.uniform(0.5, 4, shape),
    }
)
"""How initial weights are drawn, by name: kernels as in He et al. 2015; statistics of no data."""


def plant(model: Model, *, seed: int) -> None:
    """Set every weight and statistic of `model` to values drawn by NumPy from `seed` and its name.

    They depend on no framework's initialiser and on no order of the layers.
    """
    for key, layer in layers_by_key(model).items():
        drawn = [
            DRAWS[weight_name(weight)](generator(f"{key}/{weight_name(weight)}", seed), array.shape)
            for weight, array in zip(layer.weights, layer.get_weights())
        ]
        layer.set_weights(drawn)


def generator(name: str, seed: int) -> np.random.Generator:
    """Make NumPy's generator for one name and seed."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def layers_by_key(model: Model) -> dict[str, Model]:
    """Map names that are the same in every release to the layers that have weights.

    Keras numbers layers without a name, each release in its own way: here they are named by
    their class and their place among its layers.
    """
    found: dict[str, Model] = {}
    counts: dict[str, int] = {}
    for layer in model.layers:
        if layer.weights:
            name, kind = layer.name, type(layer).__name__
            if re.sub(r"_\d+$", "", name).replace("_", "") == kind.lower():
                counts[kind] = counts.get(kind, 0) + 1
                name = f"{kind} {counts[kind]}"
            found[name] = layer
    return found


def weight_name(weight: Any) -> str:
    """Name a Keras variable without its layer: ``kernel``, ``gamma``."""
    return str(weight.name).rsplit("/", maxsplit=1)[-1].split(":")[0]


def weights_by_key(model: Model) -> dict[tuple[str, str], np.ndarray]:
    """Read every weight and statistic, by its layer's key and its own name."""
    return {
        (key, weight_name(weight)): np.asarray(array)
        for key, layer in layers_by_key(model).items()
        for weight, array in zip(layer.weights, layer.get_weights())
    }


def set_weights_by_key(model: Model, state: State) -> None:
    """Give a model the weights and statistics of a state.

    Raises:
        WeightsError: If a weight is missing, left over or of another shape.
    """
    wanted = {place: array.shape for place, array in weights_by_key(model).items()}
    found = {place: array.shape for place, array in state.items()}
    odd = sorted(place for place in {*wanted, *found} if wanted.get(place) != found.get(place))
    if odd:
        place = odd[0]
        raise WeightsError(
            f"{'/'.join(place)} has the shape {found.get(place)} in the stored states and "
            f"{wanted.get(place)} in the network; {len(odd)} differ. Make the states anew with "
            "`nox -s states`."
        )
    for key, layer in layers_by_key(model).items():
        layer.set_weights([state[key, weight_name(weight)] for weight in layer.weights])
