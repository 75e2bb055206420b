"""Data of any kind made arrays: those of a tf.data dataset, a Sequence, a generator, by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.diagnose.intake import inputs_of
from suite.errors import DataError
from suite.networks.types import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

LABELS = ("labels", "label", "y", "targets", "target")
INPUTS = ("images", "image", "inputs", "x", "data", "features")
"""Names of labels and of the only input, the first that is there; those of several inputs are
their own."""

PART = "labels_"
"""Begins the name of the labels of one output among several."""

READ, READ_BYTES, READ_S = 16, 1 << 30, 60.0
"""Times the samples wanted that are read of batches, to draw from; and the bytes and seconds after
which reading ends, once there are enough."""

WANTED = (
    "arrays (inputs, labels); or batches of them: a tf.data dataset, a keras Sequence or "
    "PyDataset, a generator"
)


def gathered(model: Model, given: Any, *, count: int = 256, seed: int = 0) -> tuple[Any, Any]:
    """Make arrays of inputs and labels of whatever gives them: all of arrays, enough of batches.

    Args:
        model: The network that they are for.
        given: `WANTED`, a dictionary of arrays by name, or a function that returns one of them.
        count: Samples wanted, of which there are more where batches are many.
        seed: Of the draw of batches, where they can be read in any order.

    Raises:
        DataError: If it is nothing of the kind.
    """
    if isinstance(given, Mapping):
        return _by_names(given, [entry.name for entry in inputs_of(model)])
    pair = isinstance(given, (tuple, list)) and len(given) in (2, 3)
    if pair and not isinstance(given[0], tuple):
        return given[0], given[1]
    if hasattr(given, "shape") or not (hasattr(given, "__iter__") or hasattr(given, "__getitem__")):
        if callable(given):
            return gathered(model, given(), count=count, seed=seed)
        raise DataError(f"No data. Found: a {type(given).__name__}. Expected: {WANTED}.")
    return _read(_batches(given, seed), model, count)


def _batches(given: Any, seed: int) -> Iterator[Any]:
    """Yield batches: of a Sequence in random order, else as they come."""
    if hasattr(given, "__len__") and hasattr(given, "__getitem__"):
        for place in np.random.default_rng(seed).permutation(len(given)):
            yield given[int(place)]
    else:
        yield from given


def _read(batches: Iterable[Any], model: Model, count: int) -> tuple[Any, Any]:
    """Put the first batches together, as many as are needed to draw from."""
    names = [entry.name for entry in inputs_of(model)]
    rank = min((len(entry.shape) for entry in inputs_of(model)), default=0)
    grey = any(entry.shape[-1:] == (1,) for entry in inputs_of(model))  # may lack that axis
    rank = 0 if grey else rank
    taken: list[tuple[Any, Any]] = []
    samples = size = 0
    started = time.perf_counter()
    for batch in batches:
        pair = _pair(batch, names, rank)
        taken.append(pair)
        first, *_ = parts = [part for half in pair for part in _leaves(half)]
        samples, size = samples + len(first), size + sum(part.nbytes for part in parts)
        slow = time.perf_counter() - started > READ_S or size > READ_BYTES
        if samples >= (count if slow else READ * count):
            break
    if not taken:
        raise DataError("The data hold no batch at all. Is the generator used up already?")
    return _joined([one for one, _ in taken]), _joined([other for _, other in taken])


def _pair(batch: Any, names: Sequence[str], rank: int) -> tuple[Any, Any]:
    """Take the inputs and labels of one batch, as arrays.

    Args:
        batch: (inputs, labels), with weights or not; or a dictionary by name; or one sample.
        names: Of the network's inputs.
        rank: Fewest axes of the network's inputs, with the batch; 0 where unknown.

    Raises:
        DataError: If it is nothing of the kind.
    """
    if isinstance(batch, Mapping):
        batch = _by_names(batch, names)
    if not (isinstance(batch, (tuple, list)) and len(batch) in (2, 3)):
        raise DataError(
            f"No labels. Found: batches of a {type(batch).__name__}. Expected: batches of "
            "(inputs, labels), or of (inputs, labels, weights)."
        )
    inputs, labels = _arrays(batch[0]), _arrays(batch[1])
    fed, told = _leaves(inputs), _leaves(labels)[0]
    alone = told.ndim == 0 or fed[0].shape[:1] != told.shape[:1]
    if alone or min(part.ndim for part in fed) < rank:
        return _mapped(inputs, lambda part: part[None]), _mapped(labels, lambda part: part[None])
    return inputs, labels


def _arrays(value: Any) -> Any:
    """Make arrays of tensors of any framework, in dictionaries and lists or alone."""
    if isinstance(value, Mapping):
        return {name: _arrays(part) for name, part in value.items()}
    if isinstance(value, (tuple, list)) and any(hasattr(part, "shape") for part in value):
        return [_arrays(part) for part in value]
    if hasattr(value, "to_tensor"):  # ragged
        value = value.to_tensor()
    if hasattr(value, "detach"):  # of PyTorch
        value = value.detach().cpu()
    return np.asarray(value)


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Change every array in dictionaries and lists, or the only one."""
    if isinstance(value, dict):
        return {name: change(part) for name, part in value.items()}
    return [change(part) for part in value] if isinstance(value, list) else change(value)


def _leaves(value: Any) -> list[Any]:
    """List the arrays in dictionaries and lists, or the only one."""
    parts: list[Any] = []
    _mapped(value, parts.append)
    return parts


def _joined(values: list[Any]) -> Any:
    """Put arrays of batches one after the other, in dictionaries and lists or alone."""
    if isinstance(values[0], dict):
        return {name: _joined([value[name] for value in values]) for name in values[0]}
    if isinstance(values[0], list):
        return [_joined(list(parts)) for parts in zip(*values)]
    return np.concatenate(_padded(values))


def _padded(parts: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Fill tokens up with 0 to the longest batch, as `padded_batch` does within each."""
    lengths = {part.shape[1] for part in parts if part.ndim == 2}  # noqa: PLR2004 - (n, tokens)
    if len(lengths) < 2 or any(part.dtype.kind not in "iu" for part in parts):  # noqa: PLR2004
        return parts
    return [np.pad(part, ((0, 0), (0, max(lengths) - part.shape[1]))) for part in parts]


def _by_names(arrays: Mapping[str, Any], inputs: Sequence[str]) -> tuple[Any, Any]:
    """Tell inputs from labels by the names of arrays.

    Args:
        arrays: By name: `LABELS`, or `PART` and the name of an output; `INPUTS`, or the names of
            the network's inputs.
        inputs: Names of the network's inputs, as far as it declares them.

    Raises:
        DataError: If the names do not tell.
    """
    whole = next((name for name in LABELS if name in arrays and name not in inputs), None)
    parts = {name[len(PART) :]: part for name, part in arrays.items() if name.startswith(PART)}
    if whole is None and not parts:
        raise DataError(
            f"No labels. Found: the arrays {', '.join(map(str, arrays))}. Expected: one that is "
            f"called {LABELS[0]}, or {PART}NAME for each output of several."
        )
    labels = parts if whole is None else arrays[whole]
    rest = {
        name: part
        for name, part in arrays.items()
        if name != whole and not name.startswith(PART)
    }  # fmt: skip
    if set(inputs) <= set(rest) and len(inputs) > 1:
        return {name: rest[name] for name in inputs}, labels
    only = next((name for name in (*inputs, *INPUTS) if name in rest), None)
    if only is not None and len(inputs) <= 1:
        return rest[only], labels
    if len(rest) == 1 and len(inputs) <= 1:
        return next(iter(rest.values())), labels
    if rest and not inputs:
        return rest, labels
    raise DataError(
        f"The inputs cannot be told. Found: the arrays {', '.join(map(str, rest)) or 'of labels'}. "
        f"Expected: {', '.join(inputs) or INPUTS[0]}, as the network's inputs are called."
    )
