"""Names for Keras and its objects, which are arguments everywhere and so have no static type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TypeAlias

Keras: TypeAlias = Any
"""The Keras module of the release under measurement."""

Model: TypeAlias = Any
"""A Keras model."""

Tensor: TypeAlias = Any
"""A symbolic tensor of Keras."""
