"""Healthy networks with the weights that were kept."""

from __future__ import annotations

from pathlib import Path

from suite.networks.types import Keras, Model
from tests.diagnose.healthy.rows import Row, built, compiled, freeze
from tests.diagnose.kept import restore

FOLDER = Path(__file__).parent / "weights"


def path_of(row: Row) -> Path:
    """Tell the file of a network's weights."""
    return FOLDER / f"{row.name}.npz"


def stored(row: Row, keras: Keras) -> Model:
    """Make a network with its weights, compiled, and frozen where it was."""
    model = restore(path_of(row), built(row, keras))
    if row.frozen:
        steps = int(model.optimizer.iterations)
        freeze(model)
        compiled(row, keras, model).optimizer.iterations.assign(steps)
    return model
