"""Fixtures that the tests of a diagnosis share."""

from __future__ import annotations

from tests.data.conftest import forged, write_archives, write_tree

__all__ = ["forged", "write_archives", "write_tree"]
