"""Numbers and arrays as a record holds them: rounded, and arrays by a few projections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from typing import TypeAlias

PROJECTIONS = 4  # of each array; two different arrays have no chance to agree in all of them
DIGITS = 9  # significant digits that are kept, one more than float32 has

Entry: TypeAlias = "dict[str, Any]"
"""One quantity of one step and layer, in JSON values."""


def summarised(quantity: str, layer: str, array: np.ndarray, *, weight: str = "") -> Entry:
    """Summarise `array` by its root mean square and its seeded random projections.

    A projection is the sum of the elements, each with a random sign, divided by the square root
    of their number. The mean square of the projection of a difference of two arrays is expected
    to be the mean square of that difference.
    """
    flat = np.asarray(array, dtype=np.float64).ravel()
    size = len(flat)
    sums = [np.dot(signs(size, index), flat) for index in range(PROJECTIONS)]
    return {
        "quantity": quantity,
        "layer": layer,
        "weight": weight,
        "rms": rounded(np.sqrt(np.mean(flat**2))),
        "projections": [rounded(value / np.sqrt(size)) for value in sums],
    }


def signs(size: int, index: int) -> np.ndarray:
    """Draw `size` random signs; NumPy promises that the raw bits of PCG64 never change."""
    raw = np.random.PCG64([size, index]).random_raw((size + 63) // 64)
    bits = np.unpackbits(np.asarray(raw, dtype="<u8").view(np.uint8))[:size]
    return 2.0 * bits - 1.0


def rounded(value: float) -> float:
    """Round `value` to `DIGITS` significant digits."""
    return float(f"{value:.{DIGITS}g}")
