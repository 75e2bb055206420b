"""The layers of anyone's model: which hold no others, which are told the phase, what comes out."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.diagnose.found import Unit
from suite.diagnose.hearing import Layer
from suite.diagnose.loading import HOMES
from suite.networks.batch_norm import is_batch_norm, walk
from suite.networks.types import Model, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

PLAIN = ("Functional", "Sequential", "Model", "InputLayer", "Dense", "EinsumDense", "Embedding")
"""Keras' own models and layers that do nothing by the phase that they are told."""


def leaves(model: Model) -> list[Layer]:
    """List the layers of `model` that hold no others, in order, those of nested models too.

    A recurrent layer counts as one: its cell runs in a loop that Keras may have compiled.
    """
    within = {id(cell) for layer in walk(model) if _recurrent(layer) for cell in walk(layer)}
    return [
        layer
        for layer in walk(model)
        if layer is not model
        and (_recurrent(layer) or (id(layer) not in within and sum(1 for _ in walk(layer)) == 1))
    ]


def is_told_phase(layer: Layer) -> bool:
    """True where a layer other than BatchNorm, or a user's model, is told the phase."""
    own = type(layer).__module__.split(".")[0] in HOMES
    if is_batch_norm(layer) or (own and type(layer).__name__ in PLAIN):
        return False
    told = inspect.signature(type(layer).call).parameters
    return "training" in told or any(each.kind is each.VAR_KEYWORD for each in told.values())


def _recurrent(layer: Layer) -> bool:
    """True where a layer runs a cell step by step."""
    return hasattr(layer, "cell")


def by_name(result: Any) -> dict[Any, Tensor]:
    """Map the outputs by key or place; the only one by None."""
    if isinstance(result, dict):
        return dict(result)
    if isinstance(result, (list, tuple)):
        return dict(enumerate(result)) if len(result) > 1 else {None: result[0]}
    return {None: result}


def unit_of(layer: Layer, measured: Sequence[Any]) -> Unit:
    """Say how much a layer's output varies over the images of a batch."""
    variation, magnitude = map(float, measured)
    kind = type(layer).__name__
    return Unit(layer.name, kind, variation if magnitude > 0 else 0.0, magnitude)


def trunk_of(noted: Mapping[Any, Any]) -> NDArray[np.float64]:
    """Give the mean over the positions of the last activation that has any."""
    given = noted.get("trunk")
    return np.zeros((0, 0)) if given is None else np.asarray(given, np.float64)
