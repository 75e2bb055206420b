"""Trained weights, kept in files of a few kB."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.networks.types import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray


def keep(path: Path, model: Model) -> None:
    """Write a network's weights, and how many steps its optimizer made, to a file."""
    arrays = {f"w{index}": _rounded(array) for index, array in enumerate(model.get_weights())}
    optimizer = getattr(model, "optimizer", None)
    steps = 0 if optimizer is None else int(optimizer.iterations)
    np.savez_compressed(path, steps=steps, **arrays)


def restore(path: Path, model: Model) -> Model:
    """Give a network just built the weights and the steps of a file."""
    with np.load(path) as kept:
        steps = int(kept["steps"])
        model.set_weights([kept[f"w{index}"] for index in range(len(kept.files) - 1)])
    if getattr(model, "optimizer", None) is not None:
        model.optimizer.iterations.assign(steps)
    return model


def _rounded(array: NDArray[Any]) -> NDArray[np.float32]:
    """Round to 12 bits after the point, so that a file takes half the place."""
    with np.errstate(invalid="ignore"):
        fraction, exponent = np.frexp(array.astype(np.float32))
        return np.ldexp(np.round(fraction * 4096) / 4096, exponent).astype(np.float32)
