"""The inputs of a network: what it declares, and what is given made what it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.diagnose.inputs import Images, Inputs, mapped, parts_of
from suite.networks.batch_norm import walk
from suite.networks.types import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEW_SAMPLES = 16
"""A list that is shorter is one of inputs, where the network does not tell."""


class Declared(NamedTuple):
    """An input as a network declares it.

    Attributes:
        name: Of its layer.
        shape: With the batch; None where anything goes.
        dtype: Such as "float32".
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str


def taken(model: Model, given: Any) -> Images:
    """Make what is fed to `model` arrays of the kinds that it takes, all of one length.

    Args:
        model: The network.
        given: An array; or a dictionary or list of arrays, for a network of several inputs.

    Raises:
        ValueError: If these are none that `model` takes.
    """
    return converted(model, *matched_inputs(model, given))


def matched_inputs(model: Model, given: Any) -> tuple[Images, dict[Any, Declared]]:
    """Bring what is given and the inputs of `model` together, all of the shapes it takes.

    Raises:
        ValueError: If these are none that `model` takes.
    """
    declared = inputs_of(model)
    images = _matched(_gathered(given, len(declared)), declared)
    known = _known(images, declared)
    images = mapped(images, lambda name, values: _of_rank(values, known.get(name)))
    _check_shapes(images, known)
    return images, known


def _of_rank(values: NDArray[Any], declared: Declared | None) -> NDArray[Any]:
    """Add or take away a last axis of one number, as Keras does: grey images often lack theirs."""
    rank = len(declared.shape) if declared else values.ndim
    if declared and values.ndim == rank - 1 and declared.shape[-1] == 1:
        return values[..., None]
    return values[..., 0] if values.ndim == rank + 1 and values.shape[-1] == 1 else values


def converted(model: Model, images: Images, known: Mapping[Any, Declared]) -> Images:
    """Make numbers of the kinds that `model` takes.

    Raises:
        ValueError: If these are no numbers, or not finite.
    """
    embeds = any(type(layer).__name__ == "Embedding" for layer in walk(model))
    images = mapped(images, lambda name, values: _numbers(values, known.get(name), embeds=embeds))
    for name, values in parts_of(images).items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            called = _called_input(images, name, known)
            raise ValueError(f"{called} must be finite. Received: NaN or infinite numbers")
    return images


def _called_input(images: Images, name: Any, known: Mapping[Any, Declared]) -> str:
    """Say which input is meant."""
    if not isinstance(images, Inputs):
        return "images"
    listed = f" ({known[name].name})" if name in known and known[name].name != name else ""
    return f"input {name!r}{listed}"


def inputs_of(model: Model) -> list[Declared]:
    """List the inputs that `model` declares; none if only a call tells."""
    try:
        tensors = model.inputs or []
    except (AttributeError, RuntimeError, ValueError):  # a subclass: each Keras has its own word
        return []
    return [
        Declared(
            str(tensor.name).partition(":")[0],
            tuple(tensor.shape),
            str(getattr(tensor.dtype, "name", tensor.dtype)),
        )
        for tensor in tensors
    ]


def _gathered(given: Any, declared: int) -> Images:
    """Make arrays of what is given, as many as there are inputs.

    A short list is one of inputs where the network does not tell: so few samples are too few.
    """
    if isinstance(given, Inputs):
        return given
    if isinstance(given, Mapping):
        parts = {name: np.asarray(values) for name, values in given.items()}
        return Inputs(parts, named=True)
    listed = isinstance(given, (list, tuple))
    if listed and (declared > 1 or len(given) == 1 or (not declared and len(given) < FEW_SAMPLES)):
        parts = dict(enumerate(map(np.asarray, given)))
        return Inputs(parts, named=False) if len(parts) > 1 else parts[0]
    return np.asarray(given)


def _matched(images: Images, declared: Sequence[Declared]) -> Images:
    """Bring several inputs and those that the network declares together.

    Raises:
        ValueError: If they are not as many, or of other names.
    """
    if not declared:
        return images
    parts = parts_of(images)
    names = [entry.name for entry in declared]
    if isinstance(images, Inputs) and images.named and set(names) <= set(parts):
        parts = {name: parts[name] for name in names}  # as Keras does, which leaves others aside
    if len(parts) != len(declared):
        told = ", ".join(f"{entry.name} {entry.shape}" for entry in declared)
        raise ValueError(
            f"images must be what the network takes, {len(declared)} input"
            f"{'' if len(declared) == 1 else 's'} ({told}): a dictionary of arrays by these names, "
            f"or a list of arrays in this order. Received: {len(parts)} "
            f"({', '.join(map(str, parts))})"
        )
    if not isinstance(images, Inputs):
        return images
    if len(parts) == 1:
        return next(iter(parts.values()))
    return Inputs(parts, named=images.named)


def _known(images: Images, declared: Sequence[Declared]) -> dict[Any, Declared]:
    """Map the names or places of inputs to what is declared of them, as far as that is known."""
    if isinstance(images, Inputs) and images.named:
        return {entry.name: entry for entry in declared if entry.name in images.parts}
    return dict(enumerate(declared))


def _numbers(values: NDArray[Any], declared: Declared | None, *, embeds: bool) -> NDArray[Any]:
    """Make numbers of the kind that an input takes: 32 bits, whole ones where they are indices.

    Raises:
        ValueError: If they are no numbers.
    """
    if values.dtype.kind not in "bfiu" and values.dtype.name != "bfloat16":
        raise ValueError(
            "images must be numbers, all of one shape. Received: "
            f"dtype {values.dtype}, shape {values.shape}. Make numbers of text before "
            "(TextVectorization, StringLookup), and diagnose the part that takes them."
        )
    if values.dtype.kind in "bf" or values.dtype.kind not in "iu":
        wanted = declared.dtype if declared else ""
        kind: Any = np.bool_ if values.dtype.kind == "b" and wanted in ("", "bool") else np.float32
        if wanted.startswith(("int", "uint")):
            kind = np.int32
        return values.astype(kind)
    indices = declared.dtype.startswith(("int", "uint")) if declared else values.itemsize > 1
    indices = indices or (embeds and values.ndim <= 2)  # noqa: PLR2004 - (n, tokens)
    return values.astype(np.int32 if indices else np.float32)


def _check_shapes(images: Images, known: Mapping[Any, Declared]) -> None:
    """Refuse inputs that are not of one length, each of the shape that is declared."""
    for name, values in parts_of(images).items():
        shape = known[name].shape if name in known else None
        _check_shape(_called_input(images, name, known), values, shape)
    lengths = {name: len(values) for name, values in parts_of(images).items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"inputs must be of one length. Received: {lengths}")


def _check_shape(called: str, values: NDArray[Any], shape: tuple[int | None, ...] | None) -> None:
    """Refuse an input that is not of the shape that is declared."""
    fits = values.ndim > 0 and (
        shape is None
        or (
            len(shape) == values.ndim
            and all(want in (None, have) for want, have in zip(shape[1:], values.shape[1:]))
        )
    )
    if not fits:
        expected = str(("n", *shape[1:])) if shape else "(n, ...)"
        raise ValueError(
            f"{called} must be of the network's input shape {expected}: resize or reshape them. "
            f"Received: shape {values.shape}"
        )
