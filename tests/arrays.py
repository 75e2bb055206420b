"""Comparisons of arrays that several tests share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def assert_same(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> None:
    """Fail unless two lists hold the same arrays, to the last bit."""
    assert len(first) == len(second)
    for one, other in zip(first, second):
        np.testing.assert_array_equal(one, other)
