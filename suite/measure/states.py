"""States along a training: weights from which every release makes the same steps, stored once."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from suite.cases import Case
from suite.errors import WeightsError
from suite.files import SUITE, read_within, write_atomically
from suite.measure.named import State
from suite.measure.training import TimedStep

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = SUITE.parent / "baselines" / "states"
STEPS = (20, 100)  # of the training, beside its last; before the first, weights are drawn
LEVELS = 127  # of each sign: kernels are stored in 8 bits, and are a good start all the same
STATES_BYTES = 16_000_000  # what a file may hold at most, four times the largest
SCALE = "/scale"


def states_path(case: Case) -> Path:
    """Locate the file of the states of a case's network."""
    return FOLDER / f"{case.net}.npz"


def states_along(
    training: Iterable[TimedStep], *, read: Callable[[], State]
) -> Iterator[tuple[int, State]]:
    """Follow a training, and yield the states after `STEPS` steps and after the last.

    Args:
        training: Makes one step after another.
        read: Reads the present weights and statistics.
    """
    made = 0
    for made, _ in enumerate(training, start=1):
        if made in STEPS:
            yield made, read()
    if made not in STEPS:
        yield made, read()


def save_states(path: Path, states: Mapping[int, State]) -> None:
    """Write states to an ``.npz`` file: kernels in 8 bits with their scale, the rest in full.

    Raises:
        SuiteError: If it cannot be written.
    """
    arrays: dict[str, Any] = {}
    for step, state in states.items():
        for (layer, weight), array in state.items():
            arrays.update(_packed(f"{step}/{layer}/{weight}", array))
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    write_atomically(path, file.getvalue())


def _packed(name: str, array: np.ndarray) -> dict[str, Any]:
    """Round an array of several dimensions to whole multiples of a scale."""
    if array.ndim < 2:  # noqa: PLR2004 - a bias, or BatchNorm's: few, and each counts
        return {name: array.astype(np.float32)}
    scale = np.float32(np.abs(array).max() / LEVELS) or np.float32(1)
    return {name: np.rint(array / scale).astype(np.int8), name + SCALE: np.float32(scale)}


def load_states(path: Path) -> dict[int, State]:
    """Read states, by the number of steps that led to them.

    Raises:
        WeightsError: If there are none, or the file cannot be read.
    """
    try:
        with np.load(io.BytesIO(read_within(path, STATES_BYTES))) as file:
            arrays = {name: file[name] for name in file.files}
        states: dict[int, dict[tuple[str, str], np.ndarray]] = {}
        for name in arrays:
            if not name.endswith(SCALE):
                step, layer, weight = name.split("/")
                states.setdefault(int(step), {})[layer, weight] = _unpacked(arrays, name)
    except (OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error) as error:
        raise WeightsError(
            f"{path} holds no states of a training: {error}. They are part of the repository: "
            f"`git checkout -- {path}`, or make them anew with `nox -s states`."
        ) from error
    return dict(sorted(states.items()))


def _unpacked(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Undo `_packed`, to the same float32 numbers everywhere."""
    scale = arrays.get(name + SCALE)
    array = arrays[name]
    return array if scale is None else array.astype(np.float32) * np.float32(scale)
