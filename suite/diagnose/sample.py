"""The images and labels of a diagnosis: checked, drawn, and matched with the network's classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.networks.types import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_IMAGES = 16
"""With fewer, no difference of predictions is significant."""


class Sample(NamedTuple):
    """The images examined.

    Attributes:
        images: ``(n, height, width, channels)`` float32, in random order.
        labels: ``(n,)`` int64.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


def sampled(
    model: Model, images: NDArray[Any], labels: NDArray[Any], *, limit: int, seed: int
) -> Sample:
    """Check the images and labels, and draw at most `limit` of them at random.

    Raises:
        ValueError: If they are not what `model` takes, or too few, or of one class.
    """
    _check_images(model, images)
    labels = _check_labels(labels, len(images))
    chosen = np.random.default_rng(seed).permutation(len(images))[:limit]
    sample = Sample(images[chosen].astype(np.float32), labels[chosen].astype(np.int64))
    if not np.isfinite(sample.images).all():
        raise ValueError("images must be finite. Received: NaN or infinite pixels")
    if len(np.unique(sample.labels)) < 2:  # noqa: PLR2004
        raise ValueError(
            "labels must be of two classes at least: of one class nothing can be told apart. "
            f"Received: {len(labels)} labels, all {sample.labels[0]}"
        )
    return sample


def _check_images(model: Model, images: NDArray[Any]) -> None:
    """Refuse images that are too few, or not of the shape that `model` takes."""
    shape = getattr(model, "input_shape", None)
    if shape is not None and not isinstance(shape, tuple):
        told = f"model must have one input. Received: {len(shape)}"
        raise ValueError(told)
    if images.dtype.kind not in "fiu":
        raise ValueError(f"images must be numbers. Received: dtype {images.dtype}")
    fits = images.ndim > 1 and (
        shape is None
        or (
            len(shape) == images.ndim
            and all(want in (None, have) for want, have in zip(shape[1:], images.shape[1:]))
        )
    )
    if not fits:
        expected = ("n", *shape[1:]) if shape else "(n, height, width, channels)"
        raise ValueError(
            f"images must be of the network's input shape {expected}: resize them. "
            f"Received: shape {images.shape}"
        )
    if len(images) < LEAST_IMAGES:
        raise ValueError(
            f"images must be {LEAST_IMAGES} at least, better 256: of fewer nothing can be said "
            f"with confidence. Received: {len(images)}"
        )


def _check_labels(labels: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Make `labels` ``(n,)`` integers; refuse what are no labels of `count` images."""
    if labels.ndim == 2 and labels.shape[1] == 1:  # noqa: PLR2004
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "fiu":
        raise ValueError(
            "labels must be integers of shape (n,), not one-hot: labels.argmax(axis=1) makes them. "
            f"Received: shape {labels.shape}, dtype {labels.dtype}"
        )
    if len(labels) != count:
        raise ValueError(f"labels must be one an image, {count}. Received: {len(labels)}")
    if not (np.isfinite(labels) & (labels == np.round(labels)) & (labels >= 0)).all():
        raise ValueError("labels must be whole numbers from 0. Received: others")
    return labels.astype(np.int64)


def told_classes(labels: NDArray[np.int64], outputs: NDArray[Any], classes: int | None) -> int:
    """Count the classes that the network tells apart: its outputs, or two by a single one.

    Raises:
        ValueError: If the labels, or `classes`, are of others.
    """
    if outputs.ndim != 2:  # noqa: PLR2004
        raise ValueError(
            "model must put out (n, classes) logits or probabilities. Received: outputs of shape "
            f"(n, {', '.join(map(str, outputs.shape[1:]))})"
        )
    told = max(2, int(outputs.shape[1]))
    if classes is not None and classes != told:
        raise ValueError(
            f"classes must be {told}, as many as the network has outputs: is it the network of "
            f"these data? Received: {classes}"
        )
    if labels.max() >= told:
        raise ValueError(
            f"labels must be in [0, {told - 1}], since the network has {told} outputs: is it the "
            f"network of these data? Received: {labels.max()}"
        )
    return told
