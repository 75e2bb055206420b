"""Fixtures that the tests of all stacks share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from suite.networks.types import Images, Labels


@pytest.fixture
def images() -> Images:
    return np.random.default_rng(0).random((6, 8, 8, 3), dtype=np.float32)


@pytest.fixture
def labels() -> Labels:
    return np.array([0, 1, 2, 3, 4, 0])
