"""What a network is fed, one array or several, and which of its outputs is looked at."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray


class Inputs:
    """Several arrays that a network takes together; slices and indices take the same of each.

    Attributes:
        parts: The arrays, by name where they are fed as a dictionary, else by place.
        named: Whether they are fed as a dictionary; else as a list.
    """

    def __init__(self, parts: Mapping[Any, NDArray[Any]], *, named: bool) -> None:
        """Take arrays of one length."""
        self.parts = dict(parts)
        self.named = named

    def __len__(self) -> int:
        return len(next(iter(self.parts.values())))

    def __getitem__(self, rows: Any) -> Inputs:
        return self.map(lambda _, values: values[rows])

    def map(self, change: Callable[[Any, NDArray[Any]], NDArray[Any]]) -> Inputs:
        """Make inputs whose parts are `change`d, each of which is given with its name or place."""
        changed = {name: change(name, values) for name, values in self.parts.items()}
        return Inputs(changed, named=self.named)


Images: TypeAlias = "NDArray[Any] | Inputs"
"""What a network is fed, sample by sample along the first axis; mostly images, hence the name."""


def parts_of(images: Images) -> dict[Any, NDArray[Any]]:
    """Map the names or places of the arrays to them; that of a single one is 0."""
    return images.parts if isinstance(images, Inputs) else {0: images}


def fed(images: Images) -> Any:
    """Give what the network is called with: an array, or a dictionary or list of arrays."""
    if not isinstance(images, Inputs):
        return images
    return dict(images.parts) if images.named else list(images.parts.values())


def mapped(images: Images, change: Callable[[Any, NDArray[Any]], NDArray[Any]]) -> Images:
    """Change every array, each of which is given with its name or place."""
    return images.map(change) if isinstance(images, Inputs) else change(0, images)


def joined(pieces: Sequence[Images]) -> Images:
    """Put samples one after the other."""
    return mapped(
        pieces[0], lambda name, _: np.concatenate([parts_of(piece)[name] for piece in pieces])
    )


def split(images: Images, count: int) -> list[Images]:
    """Divide samples into `count` pieces of nearly one size, in order."""
    return [images[rows] for rows in np.array_split(np.arange(len(images)), count)]


def positions(images: Images) -> int:
    """Count the positions of a sample (pixels, steps, voxels) that a network computes with."""
    shapes = (values.shape[1:] for values in parts_of(images).values())
    return max(1, *(int(np.prod(shape[:-1] if len(shape) > 1 else shape)) for shape in shapes))


PROBED = 4
"""Positions of each image that probes read, where each has a label of its own."""


class Head(NamedTuple):
    """The output that is looked at.

    Attributes:
        name: Its key or place among several outputs; None for the only one, or the first.
        grid: The axes between the first and that of the classes, ``()`` for one answer a sample.
        places: Positions of the flattened `grid` that are looked at; None without a grid.
        bare: Whether the output has no axis of classes: one number a sample or position.
    """

    name: Any = None
    grid: tuple[int, ...] = ()
    places: NDArray[np.intp] | None = None
    bare: bool = False

    @property
    def probed(self) -> NDArray[np.intp]:
        """Choose a few of `places` to probe: their places among them."""
        count = 0 if self.places is None else len(self.places)
        return np.unique(np.linspace(0, max(0, count - 1), PROBED).astype(np.intp))

    def features(self, values: NDArray[Any], reach: int = 0) -> NDArray[np.float64]:
        """Give what an activation is where the output is looked at.

        Args:
            values: ``(n, ..., d)``.
            reach: Neighbours on each side that are taken along.

        Returns:
            ``(n, probed, d)`` where both have a grid of as many axes, the nearest positions; else
            ``(n, d)``, the mean over the positions.
        """
        inner = values.shape[1:-1]
        if self.places is None or len(inner) != len(self.grid):
            mean: NDArray[np.float64] = values.mean(
                axis=tuple(range(1, values.ndim - 1)), dtype=float
            )
            return mean
        places = np.unravel_index(self.places[self.probed], self.grid)
        at = [place * size // whole for place, size, whole in zip(places, inner, self.grid)]
        taken = []
        for offset in itertools.product(range(-reach, reach + 1), repeat=len(inner)):
            index = [np.clip(a + o, 0, size - 1) for a, o, size in zip(at, offset, inner)]
            taken.append(values[(slice(None), *index)])
        return np.concatenate(taken, axis=-1).astype(np.float64)

    def shaped(self, values: NDArray[Any]) -> NDArray[Any]:
        """Make the output ``(n, classes)``, or ``(n, places, classes)`` of a grid."""
        scores = values[..., None] if self.bare else values
        if self.places is None:
            return scores if np.prod(scores.shape[1:-1]) > 1 else scores.reshape(len(scores), -1)
        return scores.reshape(len(scores), -1, scores.shape[-1])[:, self.places]


def batches(images: Images, size: int) -> list[Images]:
    """Split `images` into batches of nearly one size."""
    return split(images, max(1, round(len(images) / size)))
