"""The inputs and labels of a diagnosis: checked, drawn, and matched with the network's outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.diagnose.inputs import Head, Images
from suite.diagnose.intake import converted, matched_inputs

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
    given, known = matched_inputs(network.model, images)
    if len(given) < LEAST_IMAGES:
        raise ValueError(
            f"images must be {LEAST_IMAGES} at least, better 256: of fewer nothing can be said "
            f"with confidence. Received: {len(given)}"
        )
    rows = np.random.default_rng(seed).permutation(len(given))[:limit]
    inputs = converted(network.model, given[rows], known)  # all of them might fill the memory
    shapes = network.output_shapes(inputs[:2])
    names = getattr(network.model, "output_names", None) or []
    told = _labelled(shapes, names, labels, output, len(given))
    found = []
    for name, values in told.items():
        try:
            classes, head = _looked_at(values, len(given), name, shapes[name], seed)
        except ValueError as error:
            if len(shapes) == 1:
                raise
            way_out = "Name the output that tells classes: output=NAME (--output NAME)"
            raise ValueError(f"of output {called(name, names)!r} {error}. {way_out}") from error
        found.append(Sample(inputs, classes[rows], head))
    return found


def _looked_at(
    labels: NDArray[Any], count: int, name: Any, shape: Sequence[int], seed: int
) -> tuple[NDArray[np.int64], Head]:
    """Make the labels of one output class numbers, and say where it is looked at.

    Args:
        labels: Class numbers or one-hot, as they were given.
        count: Of all samples.
        name: Key or place of the output; None of the only one.
        shape: Of the output, with the batch.
        seed: Of the draw of positions, where each has a label.

    Raises:
        ValueError: If these are no labels of this output.
    """
    head, outputs = head_of(name, shape, labels)
    classes = class_labels(labels, count, head, outputs)
    if not head.grid:
        return classes, head
    whole = np.random.default_rng(seed).permutation(int(np.prod(head.grid)))
    places = np.sort(whole[:PLACES])
    return classes[:, places], head._replace(places=places)


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
        told = ", ".join(f"{called(key, names)!r} {shapes[key]}" for key in shapes)
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
    told = ", ".join(str(called(key, names)) for key in keys)
    raise ValueError(f"output must be one of the network's: {told}. Received: {name}")


def called(key: Any, names: Sequence[str]) -> Any:
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
            "the network of these data? Received: "
            f"{labels.max():.0f}. If it is, its last layer has too few units: one a class, "
            f"{labels.max() + 1:.0f}"
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
