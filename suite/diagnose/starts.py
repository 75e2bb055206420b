"""What a network still has of its beginning, and images that stand out: plain facts, no passes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.diagnose.hearing import Layer
from suite.diagnose.inputs import Images, parts_of

if TYPE_CHECKING:
    from suite.diagnose.network import Network

STARTS = {
    "gamma": (1,),
    "beta": (0,),
    "moving_mean": (0,),
    "moving_variance": (1,),
    "bias": (0, 1),  # a recurrent layer's forget gate starts at 1
}
"""What Keras sets the numbers of a variable to when it makes a layer."""

OUTLYING, FEW = 30.0, 0.25
"""Times the median image's root mean square from which an image is not scaled like the others, and
the share of the images that may be."""

SAMPLE_RANK = 3
"""Axes from which an array holds samples of many numbers of one kind."""


def untouched(network: Network) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Name the layers that still are exactly as they were made, and those that are not.

    Layers without a bias or scale are neither: nobody knows what their kernels started with.
    """
    names: dict[bool, list[str]] = {True: [], False: []}
    for layer in network.order:
        known = list(_as_made(network, layer))
        if known:
            names[all(known)].append(str(layer.name))
    return tuple(names[True]), tuple(names[False])


def _as_made(network: Network, layer: Layer) -> Iterator[bool]:
    """Yield of each variable that starts with known numbers whether it still has them."""
    for name, start in STARTS.items():
        variable: Any = getattr(layer, name, None)
        if any(variable is weight for weight in layer.weights):
            yield bool(np.isin(network.numpy(variable), start).all())


def outlying(images: Images) -> tuple[int, ...]:
    """Find images that are many times as large as the others, as bytes are among [0, 1]."""
    found: set[int] = set()
    for values in parts_of(images).values():
        if values.dtype.kind == "f" and values.ndim >= SAMPLE_RANK:
            axes = tuple(range(1, values.ndim))
            size = np.sqrt(np.mean(np.square(values, dtype=np.float64), axis=axes))
            found |= set(np.flatnonzero(size > OUTLYING * np.median(size)).tolist())
    return tuple(sorted(found)) if len(found) <= FEW * len(images) else ()
