"""Trained weights, kept in files of a few kB: 12 significant bits a number, byte by byte."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.networks.types import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEPT_BYTES = 3  # of a float32: sign, exponent, and 15 bits of the fraction


def keep(path: Path, model: Model) -> None:
    """Write a network's weights, and how many steps its optimizer made, to a file."""
    weights = np.concatenate([np.ravel(array) for array in model.get_weights()])
    optimizer = getattr(model, "optimizer", None)
    steps = 0 if optimizer is None else int(optimizer.iterations)
    np.savez_compressed(path, steps=steps, weights=_in_bytes(_rounded(weights)))


def restore(path: Path, model: Model) -> Model:
    """Give a network just built the weights and steps of a file.

    Raises:
        ValueError: If they are those of another network.
    """
    with np.load(path) as kept:
        steps, values = int(kept["steps"]), _of_bytes(kept["weights"])
    shapes = [np.shape(array) for array in model.get_weights()]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    if ends[-1] != len(values):
        raise ValueError(f"{path} must hold {ends[-1]} weights. Received: {len(values)}")
    parts = np.split(values, ends[:-1])
    model.set_weights([part.reshape(shape) for part, shape in zip(parts, shapes)])
    if getattr(model, "optimizer", None) is not None:
        model.optimizer.iterations.assign(steps)
    return model


def _rounded(values: NDArray[Any]) -> NDArray[np.float32]:
    """Round to 12 bits after the point."""
    with np.errstate(invalid="ignore"):
        fraction, exponent = np.frexp(values.astype(np.float32))
        return np.ldexp(np.round(fraction * 4096) / 4096, exponent).astype(np.float32)


def _in_bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Take numbers apart, ``(3, n)``: the first bytes of all, which pack well, then the others."""
    return np.ascontiguousarray(values.astype(">f4").view(np.uint8).reshape(-1, 4).T[:KEPT_BYTES])


def _of_bytes(kept: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Put numbers together again."""
    whole = np.zeros((kept.shape[1], 4), np.uint8)
    whole[:, :KEPT_BYTES] = kept.T
    return whole.reshape(-1).view(">f4").astype(np.float32)
