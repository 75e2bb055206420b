"""Names for Keras and its objects: they are arguments everywhere, so they have no static type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy as np
    from numpy.typing import NDArray

Keras: TypeAlias = Any
"""The Keras module of the release under measurement."""

Model: TypeAlias = Any
"""A Keras model."""

Tensor: TypeAlias = Any
"""A symbolic tensor of Keras."""

Images: TypeAlias = "NDArray[np.float32]"
"""RGB images ``(batch, height, width, 3)`` in [0, 1]."""

Labels: TypeAlias = "NDArray[np.int64]"
"""Class indices ``(batch,)``."""

Logits: TypeAlias = "NDArray[np.float32]"
"""Unnormalised scores ``(batch, classes)``."""
