"""The inputs and labels of a diagnosis: checked, drawn, and matched with the network's outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.diagnose.inputs import Head, Images, Inputs, mapped, parts_of
from suite.networks.batch_norm import walk
from suite.networks.types import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from suite.diagnose.network import Network

LEAST_IMAGES = 16
"""With fewer, no difference of predictions is significant."""

PLACES = 256
"""Positions of each image that are looked at, where each has a label of its own."""

SURE_SUM = 1e-3
"""How far labels given as probabilities may be from adding up to 1."""


class Sample(NamedTuple):
    """The samples examined.

    Attributes:
        images: What the network is fed, in random order: ``(n, height, width, channels)`` float32
            for a network of images; otherwise as it takes them, `Inputs` where it takes several.
        labels: ``(n,)`` int64; ``(n, places)`` where each position has its own.
        head: The output that they are labels of.
    """

    images: Images
    labels: NDArray[np.int64]
    head: Head = Head()


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


def samples(
    network: Network, images: Any, labels: Any, *, output: Any = None, limit: int, seed: int
) -> list[Sample]:
    """Draw the samples of a diagnosis: a `Sample` for each output that has labels.

    Args:
        network: The network; it is called once, with two samples.
        images: What it is fed: an array, or a dictionary or list of arrays.
        labels: Those of the only output, or of the one that they fit; a dictionary or list of
            them where several have labels.
        output: Name or place of the output that is looked at; None for all that have labels.
        limit: Samples at most.
        seed: Of the draw.

    Raises:
        ValueError: If inputs, labels or outputs do not fit one another.
    """
    inputs = taken(network.model, images)
    if len(inputs) < LEAST_IMAGES:
        raise ValueError(
            f"images must be {LEAST_IMAGES} at least, better 256: of fewer nothing can be said "
            f"with confidence. Received: {len(inputs)}"
        )
    shapes = network.output_shapes(inputs[:2])
    names = getattr(network.model, "output_names", None) or []
    told = _labelled(shapes, names, labels, output, len(inputs))
    return [
        sampled(inputs, values, name, shapes[name], limit=limit, seed=seed)
        for name, values in told.items()
    ]


def sampled(
    images: Images, labels: NDArray[Any], name: Any, shape: Sequence[int], *, limit: int, seed: int
) -> Sample:
    """Draw at most `limit` samples at random, with the labels of one output.

    Args:
        images: All that can be drawn from.
        labels: Class numbers or one-hot, as they were given.
        name: Key or place of the output; None of the only one.
        shape: Of the output, with the batch.
        limit: Samples at most.
        seed: Of the draw.

    Raises:
        ValueError: If these are no labels of this output.
    """
    head, outputs = head_of(name, shape, labels)
    labels = class_labels(labels, len(images), head, outputs)
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(images))[:limit]
    if head.grid:
        places = np.sort(rng.permutation(int(np.prod(head.grid)))[:PLACES])
        head, labels = head._replace(places=places), labels[:, places]
    return Sample(images[chosen], labels[chosen], head)


def _labelled(
    shapes: Mapping[Any, Sequence[int]], names: Sequence[str], labels: Any, output: Any, count: int
) -> dict[Any, NDArray[Any]]:
    """Bring labels and outputs together: those of each output that is looked at, by its key.

    Raises:
        ValueError: If there is no such output, or it has no labels, or they may be of several.
    """
    given: dict[Any, NDArray[Any]] = {}
    listed = isinstance(labels, (list, tuple)) and len(labels) == len(shapes) != count
    if isinstance(labels, Mapping):
        given = {key_of(shapes, names, name): np.asarray(part) for name, part in labels.items()}
    elif listed:
        given = {key: np.asarray(part) for key, part in zip(shapes, labels) if part is not None}
    if output is not None:
        key = key_of(shapes, names, output)
        if given and key not in given:
            raise ValueError(f"labels must be of the output {output!r}. Received: {list(given)}")
        return {key: given[key] if given else np.asarray(labels)}
    if given:
        return given
    whole = np.asarray(labels)
    fitting = [key for key, shape in shapes.items() if len(shapes) == 1 or _fits(shape, whole)]
    if len(fitting) != 1:
        told = ", ".join(f"{_called(key, names)!r} {shapes[key]}" for key in shapes)
        raise ValueError(
            f"labels must be told to belong to one of the {len(shapes)} outputs: {told}. Give "
            "output=NAME (--output NAME), or a dictionary of labels by these names. Received: "
            f"labels of shape {whole.shape}, which fit {len(fitting)} of them"
        )
    return {fitting[0]: whole}


def key_of(shapes: Mapping[Any, Any], names: Sequence[str], name: Any) -> Any:
    """Find the key of the output that a user calls `name`.

    Raises:
        ValueError: If there is none.
    """
    keys = list(shapes)
    if name in keys:
        return name
    if name in names and len(names) == len(keys):
        return keys[names.index(name)]
    if str(name).isdecimal() and int(name) < len(keys):
        return keys[int(name)]
    told = ", ".join(str(_called(key, names)) for key in keys)
    raise ValueError(f"output must be one of the network's: {told}. Received: {name}")


def _called(key: Any, names: Sequence[str]) -> Any:
    """Give the name of an output that has a key or place."""
    if key is None:
        return names[0] if len(names) == 1 else 0
    return names[key] if isinstance(key, int) and key < len(names) else key


def _fits(shape: Sequence[int], labels: NDArray[Any]) -> bool:
    """True where labels can be those of an output of this shape."""
    try:
        class_labels(labels, len(labels), *head_of(None, shape, labels))
    except ValueError:
        return False
    return True


def taken(model: Model, given: Any) -> Images:
    """Make what is fed to `model` arrays of the kinds that it takes, all of one length.

    Args:
        model: The network.
        given: An array; or a dictionary or list of arrays, for a network of several inputs.

    Raises:
        ValueError: If these are none that `model` takes.
    """
    declared = inputs_of(model)
    images = _matched(_gathered(given, len(declared)), declared)
    known = _known(images, declared)
    embeds = any(type(layer).__name__ == "Embedding" for layer in walk(model))
    images = mapped(images, lambda name, values: _numbers(values, known.get(name), embeds=embeds))
    _check_inputs(images, known)
    return images


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
    if listed and (declared > 1 or len(given) == 1 or (not declared and len(given) < LEAST_IMAGES)):
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


def _check_inputs(images: Images, known: Mapping[Any, Declared]) -> None:
    """Refuse inputs that are not of one length and of the declared shape, or not finite."""
    for name, values in parts_of(images).items():
        shape = known[name].shape if name in known else None
        called = f"input {name!r}" if isinstance(images, Inputs) else "images"
        _check_shape(called, values, shape)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ValueError(f"{called} must be finite. Received: NaN or infinite numbers")
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


def head_of(name: Any, shape: Sequence[int], labels: NDArray[Any]) -> tuple[Head, int]:
    """Tell how an output is to be read for these labels, and how many numbers it gives of each.

    Args:
        name: Its key or place; None of the only one.
        shape: Of the output, with the batch.
        labels: As they were given.

    Raises:
        ValueError: If it has no axes at all.
    """
    inner, given = tuple(map(int, shape[1:])), labels.shape[1:]
    each = given in (inner, (*inner, 1)) and not one_hot(labels)  # number has a label of its own
    bare = not inner or (each and bool(np.isin(labels, (0, 1)).all()))
    grid = inner if bare else inner[:-1]
    if int(np.prod(grid)) == 1 and int(np.prod(given[:-1] or (1,))) == 1:
        grid = ()  # (n, 1, 1, classes) of a convolution that ends in one position
    return Head(name, grid, bare=bare), 1 if bare else inner[-1]


def class_labels(labels: NDArray[Any], count: int, head: Head, outputs: int) -> NDArray[np.int64]:
    """Make labels ``(n,)`` indices of classes; ``(n, positions)`` where the output has a grid.

    Raises:
        ValueError: If they are no labels of `count` samples of this output.
    """
    if labels.dtype.kind not in "bfiu":
        raise ValueError(f"labels must be class numbers. Received: dtype {labels.dtype}")
    if len(labels) != count:
        raise ValueError(f"labels must be one an image, {count}. Received: {len(labels)}")
    told, size = max(2, outputs), int(np.prod(head.grid))
    inner = int(np.prod(labels.shape[1:]))
    if inner == size:
        labels = labels.reshape(count, size)
    elif inner == size * labels.shape[-1] == size * told and one_hot(labels):
        labels = labels.argmax(axis=-1).reshape(count, size)
    else:
        expected = ", ".join(map(str, ("n", *head.grid)))
        raise ValueError(
            f"labels must be integers of shape ({expected}) or one-hot over {told} classes, as the "
            f"output has it. Received: shape {labels.shape}{_not_one(labels, told)}"
        )
    whole = np.isfinite(labels) & (labels == np.round(labels)) & (labels >= 0)
    if not whole.all():
        raise ValueError(
            "labels must be whole numbers from 0, one a class: what is measured is how well "
            f"classes are told apart. Received: {labels[~whole][0]}"
        )
    if labels.max() >= told:
        raise ValueError(
            f"labels must be in [0, {told - 1}], since the network has {outputs} outputs: is it "
            f"the network of these data? Received: {labels.max():.0f}"
        )
    labels = labels.astype(np.int64)
    return labels if head.grid else labels[:, 0]


def _not_one(labels: NDArray[Any], told: int) -> str:
    """Say that labels name several classes of a sample; "" if they do not."""
    if labels.ndim > 1 and labels.shape[-1] == told:
        return " with several classes a row: of several answers, each is to be diagnosed alone"
    return ""


def one_hot(labels: NDArray[Any]) -> bool:
    """True where the last axis holds the probabilities of the classes, mostly 0 and 1."""
    if labels.ndim < 2 or labels.shape[-1] < 2:  # noqa: PLR2004
        return False
    near = np.abs(labels.sum(axis=-1, dtype=np.float64) - 1) < SURE_SUM
    return bool(near.all() and labels.min() >= 0)


def told_classes(outputs: NDArray[Any], classes: int | None) -> int:
    """Count the classes that the network tells apart: its outputs, or two by a single one.

    Raises:
        ValueError: If `classes` are others.
    """
    told = max(2, int(outputs.shape[-1]))
    if classes is not None and classes != told:
        raise ValueError(
            f"classes must be {told}, as many as the network has outputs: is it the network of "
            f"these data? Received: {classes}"
        )
    return told
