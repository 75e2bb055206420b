"""What can be told from images and activations, and the scales images can be in; pure numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.stats import binom

from suite.diagnose.found import Unit
from suite.diagnose.inputs import Images, mapped, parts_of
from suite.diagnose.sample import Sample
from suite.diagnose.trials import CAFFE, FEATURES, INVERTED, PIXELS, TRUNK, InputScale, Probe
from suite.networks.preprocessing import IMAGENET_DEVIATION, IMAGENET_MEAN, IMAGENET_MEAN_BGR

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

Conversion: TypeAlias = "Callable[[Images], Images]"
"""Converts what a network is fed to another scale."""

Change: TypeAlias = "Callable[[NDArray[np.float32]], NDArray[np.float32]]"
"""Converts one array of it."""

Ways: TypeAlias = "Mapping[str, tuple[Change, Mapping[str, Change]]]"
"""From each scale that images may be in: to [0, 1], and from there to each convention."""

FOLDS = 4
RIDGE = 0.3
"""Of a kernel whose diagonal is 1 on average."""

REACH = 2
"""Pixels on each side of a position that has a label of its own, which a probe reads."""

NUMBERS = 4096
"""Numbers of an image or an activation that are looked at, at most."""

CAFFE_MEAN = np.array(IMAGENET_MEAN_BGR, np.float32)
TORCH_MEAN = np.array(IMAGENET_MEAN, np.float32)
TORCH_DEVIATION = np.array(IMAGENET_DEVIATION, np.float32)
TORCH = "mean and deviation (torch)"
UNIT, BYTES, SYMMETRIC, TWICE = "[0, 1]", "[0, 255]", "[-1, 1]", "[0, 1/255]"
STANDARDISED, EACH_STANDARDISED = "standardised", "each image standardised by itself"
SLACK = 0.1  # of a scale, that images which are in it need not fill at either end
RGB = 3
COMPARED = 16  # images that show whether two scales are the same
PICTURE_RANK = 4  # (n, height, width, channels), or more


class Turn(NamedTuple):
    """A way to turn or mirror images ``(n, height, width, ...)``.

    Attributes:
        change: Does it.
        code: Does it to `pixels`, as code to paste.
        square: Whether only square images keep their shape.
    """

    change: Change
    code: str
    square: bool = False


TURNS: Mapping[str, Turn] = {
    "mirrored left to right": Turn(lambda some: some[:, :, ::-1], "pixels[:, :, ::-1]"),
    "mirrored top to bottom": Turn(lambda some: some[:, ::-1], "pixels[:, ::-1]"),
    "turned by 180 degrees": Turn(lambda some: some[:, ::-1, ::-1], "pixels[:, ::-1, ::-1]"),
    "turned by 90 degrees to the left": Turn(
        lambda some: np.rot90(some, 1, (1, 2)), "np.rot90(pixels, 1, (1, 2))", square=True
    ),
    "turned by 90 degrees to the right": Turn(
        lambda some: np.rot90(some, 3, (1, 2)), "np.rot90(pixels, 3, (1, 2))", square=True
    ),
    "transposed (rows are columns)": Turn(
        lambda some: np.swapaxes(some, 1, 2), "np.swapaxes(pixels, 1, 2)", square=True
    ),
}
"""What mends turned images: EMNIST's letters are transposed, pictures of telephones lie."""


def probes(
    sample: Sample,
    head: NDArray[np.float64],
    trunk: NDArray[np.float64],
    *,
    precise: bool = False,
    scale: InputScale | None = None,
) -> tuple[Probe, ...]:
    """Probe the pixels and what the network makes of them, as far as there is anything.

    Args:
        sample: The images and labels.
        head: ``(n, d)`` input of the last layer with a kernel; may be empty. ``(n, probed, d)`` of
            an output with a grid.
        trunk: ``(n, c)`` mean over the positions of the last activation that has any; may be empty.
        precise: Whether the network had recomputed statistics.
        scale: What the images were converted to, for the network.
    """
    read = ((PIXELS, _pixels(sample)), (FEATURES, head), (TRUNK, trunk))
    labels = sample.labels if sample.labels.ndim == 1 else sample.labels[:, sample.head.probed]
    return tuple(
        probe(values[..., :NUMBERS], labels, source=source, precise=precise)._replace(scale=scale)
        for source, values in read
        if values.size
    )


def _pixels(sample: Sample) -> NDArray[np.float64]:
    """Take the numbers that are fed, or those around the positions of an output with a grid."""
    parts = list(parts_of(sample.images).values())
    if sample.head.grid and parts[0].ndim > 2:  # noqa: PLR2004
        return sample.head.features(parts[0], REACH)
    return np.concatenate([counted(p) if p.dtype.kind in "iu" else thinned(p) for p in parts], 1)


def counted(indices: NDArray[Any]) -> NDArray[np.float64]:
    """Count how often each token is in a sample: ``(n, d)``; rare tokens share a place."""
    flat = indices.reshape(len(indices), -1) % NUMBERS
    counts = np.zeros((len(flat), int(flat.max(initial=0)) + 1))
    np.add.at(counts, (np.arange(len(flat))[:, None], flat), 1)
    return counts


def thinned(values: NDArray[Any]) -> NDArray[np.float64]:
    """Take about `NUMBERS` evenly spaced numbers of each image or activation: ``(n, d)``."""
    flat = values.reshape(len(values), -1)
    return flat[:, :: max(1, flat.shape[1] // NUMBERS)].astype(np.float64)


def over_positions(values: NDArray[Any]) -> NDArray[np.float64]:
    """Average ``(n, ..., d)`` values over the positions, which are the inner axes."""
    axes = tuple(range(1, values.ndim - 1))
    return values.astype(np.float64).mean(axis=axes) if axes else values.astype(np.float64)


def unit(layer: str, kind: str, values: NDArray[Any]) -> Unit:
    """Measure how much a layer's output varies over the images of a batch."""
    numbers = thinned(values)
    with np.errstate(all="ignore"):
        magnitude = float(np.sqrt(np.mean(numbers**2)))
        spread = float(np.sqrt(np.mean(numbers.var(axis=0))))
    return Unit(layer, kind, spread / magnitude if magnitude > 0 else 0.0, magnitude)


def probe(
    features: NDArray[np.float64],
    labels: NDArray[np.int64],
    *,
    source: str = FEATURES,
    precise: bool = False,
) -> Probe:
    """Measure how well ridge regression on ``(n, d)`` `features` tells `labels`.

    With several ``(n, probed)`` labels an image, features are ``(n, probed, d)`` or those of the
    whole image; an image is on one side of a fit, and counts once in the p-value.
    """
    images, each = len(labels), int(np.prod(labels.shape[1:]))
    folds = np.repeat(np.arange(images) % FOLDS, each)
    whole, labels = features.shape[:-1] != labels.shape, labels.ravel()
    features = np.repeat(features, each, axis=0) if whole else features
    known, targets = np.unique(labels, return_inverse=True)
    kernel = _kernel(features.reshape(len(labels), -1))
    predicted = np.empty(len(labels), dtype=np.int64)
    for fold in range(FOLDS):
        test, train = folds == fold, folds != fold
        one_hot = np.eye(len(known))[targets[train]]
        prior = one_hot.mean(axis=0)
        gram = kernel[np.ix_(train, train)] + RIDGE * np.eye(int(train.sum()))
        weights = np.linalg.solve(gram, one_hot - prior)
        predicted[test] = np.argmax(kernel[np.ix_(test, train)] @ weights + prior, axis=1)
    hits = predicted == targets
    chance = float(np.bincount(targets).max() / len(labels))
    p_value = float(binom.sf(round(hits.sum() / each) - 1, images, chance))
    return Probe(source, precise, float(hits.mean()), chance, p_value, hits)


def _kernel(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Multiply the standardised features of each two images; ``(n, n)``."""
    values = np.where(np.isfinite(features), features, 0.0)
    scale = np.abs(values).max(axis=0)
    spread = values.std(axis=0)
    used = values[:, spread > 1e-5 * scale] if scale.any() else values[:, :0]
    z = (used - used.mean(axis=0)) / used.std(axis=0) if used.size else np.zeros((len(values), 1))
    kernel: NDArray[np.float64] = z @ z.T / z.shape[1]
    return kernel


def input_conventions(images: Images) -> dict[InputScale, Conversion]:
    """Give what converts samples to the scales that networks are trained with.

    Of several inputs the one of images is converted, else the only one of measured numbers.
    Indices, such as tokens, have no scale. What is measured for a scale, such as the range, is that
    of all `images`, whichever of them are converted then.
    """
    measured = {name: part for name, part in parts_of(images).items() if part.dtype.kind == "f"}
    pictures = {name: part for name, part in measured.items() if part.ndim >= PICTURE_RANK}
    chosen = pictures or measured
    if len(chosen) != 1:
        return {}
    place, part = next(iter(chosen.items()))

    def fed(convert: Change) -> Conversion:
        return lambda some: mapped(
            some, lambda name, values: convert(values) if name == place else values
        )

    return {scale: fed(convert) for scale, convert in _conventions(part).items()}


def _conventions(images: NDArray[np.float32]) -> dict[InputScale, Change]:
    """Give what converts images to the scales that networks are trained with.

    The scale they are in is guessed from their range: as the nearest convention and, where they do
    not fill that, as their own smallest and largest value. A scale that changes nothing, or the
    same as an earlier one, is left out.
    """
    found: dict[InputScale, Change] = {}
    known = [images[:COMPARED]]
    ways = {
        source: (decode, _encoding(decode(images))) for source, decode in _decoding(images).items()
    }
    for scale, convert in (*_scales(images, ways), *_turned(images, ways)):
        few = convert(images[:COMPARED])
        if not any(_same(few, other) for other in known):
            known.append(few)
            found[scale] = convert
    return found


def _scales(images: NDArray[np.float32], ways: Ways) -> Iterator[tuple[InputScale, Change]]:
    """Give what converts images to each scale, from each that they may be in."""
    for source, (decode, encoding) in ways.items():
        for target, encode in encoding.items():
            for swapped in (False, True) if _coloured(images) else (False,):
                yield (
                    InputScale(source, target, swapped),
                    _chained(decode, encode, swapped=swapped),
                )


def _turned(images: NDArray[np.float32], ways: Ways) -> Iterator[tuple[InputScale, Change]]:
    """Give what turns and mirrors images as they are, and what inverts them, for each scale."""
    source, (decode, encoding) = next(iter(ways.items()))
    for target, encode in encoding.items():
        if target in (source, UNIT, BYTES, SYMMETRIC):
            inverted = _chained(lambda some: 1 - decode(some), encode, swapped=False)
            yield InputScale(source, target, False, INVERTED), inverted
    square = images.shape[1:2] == images.shape[2:3]
    if images.ndim == PICTURE_RANK or (images.ndim == PICTURE_RANK - 1 and square):
        for name, turn in TURNS.items():
            if square or not turn.square:
                yield InputScale(source, source, False, name), turn.change


def _chained(decode: Change, encode: Change, *, swapped: bool) -> Change:
    """Convert from one scale to another and, if they are to be `swapped`, reverse the channels."""

    def convert(images: NDArray[np.float32]) -> NDArray[np.float32]:
        converted = encode(decode(images))
        return converted[..., ::-1] if swapped else converted

    return convert


def _same(images: NDArray[np.float32], others: NDArray[np.float32]) -> bool:
    """True where images are the same but for rounding."""
    return bool(np.allclose(images, others, rtol=1e-3, atol=1e-4))


def _decoding(images: NDArray[np.float32]) -> dict[str, Change]:
    """Give what converts to [0, 1] from each scale that `images` may be in."""
    low, high = float(images.min()), float(images.max())
    span = max(high - low, 1e-12)
    known: dict[str, Change] = {}
    if low >= 0 and high <= 1.01 / 255:
        known[TWICE] = lambda some: some * np.float32(255)
    elif low >= 0 and high <= 1:
        known[UNIT] = lambda some: some
    elif low >= 0 and high <= 255:  # noqa: PLR2004
        known[BYTES] = lambda some: some / np.float32(255)
    elif low >= -1 and high <= 1:
        known[SYMMETRIC] = lambda some: (some + 1) / np.float32(2)
    elif _coloured(images) and low > -3 and high < 3:  # noqa: PLR2004
        known[TORCH] = lambda some: some * TORCH_DEVIATION + TORCH_MEAN
    elif _coloured(images):
        known[CAFFE] = lambda some: (some + CAFFE_MEAN)[..., ::-1] / np.float32(255)
    if not any(_filled(decode(images)) for decode in known.values()):
        known[f"[{low:.3g}, {high:.3g}]"] = lambda some: (some - np.float32(low)) / np.float32(span)
    return known


def _filled(pixels: NDArray[np.float32]) -> bool:
    """True where pixels go from about 0 to about 1."""
    return bool(pixels.min() < SLACK and pixels.max() > 1 - SLACK)


def _encoding(pixels: NDArray[np.float32]) -> dict[str, Change]:
    """Give what converts images of [0, 1], such as `pixels`, to each convention."""
    axes = tuple(range(pixels.ndim - 1))
    mean, deviation = pixels.mean(axis=axes), pixels.std(axis=axes) + np.float32(1e-7)
    known: dict[str, Change] = {
        UNIT: lambda some: some,
        BYTES: lambda some: some * np.float32(255),
        SYMMETRIC: lambda some: some * np.float32(2) - np.float32(1),
        STANDARDISED: lambda some: (some - mean) / deviation,
        TWICE: lambda some: some / np.float32(255),
    }
    if pixels.ndim >= PICTURE_RANK:
        known[EACH_STANDARDISED] = _each_standardised
    if _coloured(pixels):
        known[TORCH] = lambda some: (some - TORCH_MEAN) / TORCH_DEVIATION
        known[CAFFE] = lambda some: some[..., ::-1] * np.float32(255) - CAFFE_MEAN
    return known


def _each_standardised(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give each image a mean of 0 and a deviation of 1, as `tf.image.per_image_standardization`."""
    axes = tuple(range(1, pixels.ndim))
    deviation = pixels.std(axis=axes, keepdims=True) + np.float32(1e-7)
    standardised: NDArray[np.float32] = (pixels - pixels.mean(axis=axes, keepdims=True)) / deviation
    return standardised


def _coloured(images: NDArray[Any]) -> bool:
    """True where the last axis can be that of red, green and blue."""
    return images.ndim >= PICTURE_RANK and images.shape[-1] == RGB
