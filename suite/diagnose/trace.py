"""A pass of the network followed layer by layer: what each took in and put out, in short."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.diagnose.hearing import Call, Layer, around
from suite.diagnose.loading import foreign
from suite.diagnose.network import Network
from suite.networks.batch_norm import walk
from suite.networks.types import Model, Tensor

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

Summary: TypeAlias = "Callable[[NDArray[Any]], Any]"
"""Keeps of a tensor's numbers what is needed: those of a whole pass do not fit into memory."""


class Step(NamedTuple):
    """One call of a layer.

    Attributes:
        layer: That was called.
        taken: A summary of each tensor that it took in.
        given: A summary of each that it put out.
    """

    layer: Layer
    taken: list[Any]
    given: list[Any]


@contextmanager
def followed(network: Network, summary: Summary) -> Iterator[list[Step]]:
    """Note the calls of all layers for a time, in the order in which they end: inner ones first."""
    steps: list[Step] = []

    def follow(layer: Layer, call: Call, *args: Any, **kwargs: Any) -> Any:
        taken = [summary(each) for each in _numbers(network, (args, kwargs))]
        result = call(*args, **kwargs)
        steps.append(Step(layer, taken, [summary(each) for each in _numbers(network, result)]))
        return result

    with around(_followable(network.model), follow):
        yield steps


def _followable(model: Model) -> list[Layer]:
    """List the layers inside `model`, those that hold others too, but no cell of a loop."""
    layers = list(walk(model))[1:]
    cells = {id(one) for layer in layers if hasattr(layer, "cell") for one in walk(layer.cell)}
    return [layer for layer in layers if id(layer) not in cells]


def _numbers(network: Network, value: Any) -> Iterator[NDArray[Any]]:
    """Yield the numbers of all tensors in nested lists, tuples and dictionaries."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _numbers(network, item)
    elif len(getattr(value, "shape", None) or ()) > 0:
        yield from _copied(network, value)


def _copied(network: Network, tensor: Tensor) -> Iterator[NDArray[Any]]:
    """Yield the numbers of a tensor; nothing of one that has none, in a loop that is compiled."""
    try:
        values = tensor if isinstance(tensor, np.ndarray) else network.numpy(tensor)
    except foreign():  # each backend has its own word for it
        return
    if values.dtype.kind in "fiu" or values.dtype.name == "bfloat16":
        yield values
