"""The one resize of the data: OpenCV's INTER_LINEAR on 8-bit images, in whole numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BITS = 11  # of the weights, which are rounded to 1/2048; the bits that OpenCV's 8-bit resize has
ONE = 1 << BITS
KEPT = 4  # bits dropped between the two directions
ROUND = 2  # half of the last two bits, which are dropped at the end


class Taps(NamedTuple):
    """What each new pixel takes along one side.

    Attributes:
        low: ``(size,)`` index of the first source pixel.
        high: ``(size,)`` index of the second.
        weights: ``(2, size)`` their weights, in 1/2048.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    weights: NDArray[np.int64]


def resized(image: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Resize a whole image to a square, without cropping and without antialiasing.

    The arithmetic is that of OpenCV's ``resize`` with ``INTER_LINEAR`` for 8-bit images: bilinear
    between pixel centres, weights rounded to 1/2048, sums in whole numbers. So the result is the
    same to the last bit on every machine and under every version of every library. An image of
    twice the size is averaged over 2x2 pixels, as OpenCV does there.

    Args:
        image: ``(height, width, channels)`` in [0, 255].
        size_px: Side of the new image.

    Returns:
        ``(size_px, size_px, channels)`` in [0, 255].
    """
    height, width, _ = image.shape
    if (height, width) == (size_px, size_px):
        return image
    values = image.astype(np.int64)
    if (height, width) == (2 * size_px, 2 * size_px):
        return _halved(values)
    columns, rows = _taps(width, size_px, clamped=True), _taps(height, size_px, clamped=False)
    left, right = columns.weights[:, :, None]
    across = (left * values[:, columns.low] + right * values[:, columns.high]) >> KEPT
    above, below = rows.weights[:, :, None, None]
    total = ((above * across[rows.low]) >> 16) + ((below * across[rows.high]) >> 16) + ROUND
    pixels: NDArray[np.uint8] = np.clip(total >> 2, 0, 255).astype(np.uint8)
    return pixels


def _halved(values: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Average an image over 2x2 pixels, halves rounded up."""
    rows = values[0::2] + values[1::2]
    total = rows[:, 0::2] + rows[:, 1::2] + ROUND
    pixels: NDArray[np.uint8] = (total >> 2).astype(np.uint8)
    return pixels


def _taps(source: int, size: int, *, clamped: bool) -> Taps:
    """Compute where each of `size` new pixels lies among `source` old ones.

    OpenCV clamps the weights at the edge along a row, and only the indices along a column.
    """
    place = ((np.arange(size) + 0.5) * (source / size) - 0.5).astype(np.float32)
    low = np.floor(place).astype(np.int64)
    share = place - low.astype(np.float32)
    if clamped:
        share[(low < 0) | (low >= source - 1)] = 0
        low = np.clip(low, 0, source - 1)
    weights = np.rint(np.stack([np.float32(1) - share, share]) * np.float32(ONE)).astype(np.int64)
    last = source - 1
    return Taps(np.clip(low, 0, last), np.clip(low + 1, 0, last), weights)
