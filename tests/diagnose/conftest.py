"""Fixtures that the tests of a diagnosis share: data, and networks that are trained once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from suite.networks.types import Keras, Model
from suite.stacks.protocol import Stack
from tests.data.conftest import forged, write_archives, write_tree
from tests.diagnose.nets import Data, Make, drawn, fitted, network

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["forged", "write_archives", "write_tree"]


@pytest.fixture(scope="session")
def data() -> Data:
    return drawn(160, seed=2)


@pytest.fixture(scope="session")
def keras(stack: Stack) -> Keras:
    if stack.GRAPH:
        pytest.skip("a diagnosis needs eager execution, and TensorFlow 1 runs graphs")
    return stack.keras


@pytest.fixture(scope="session")
def make(stack: Stack, keras: Keras) -> Make:
    """Give a function that makes a new healthy network; each kind is trained once."""
    known: dict[bool, list[NDArray[np.float32]]] = {}

    def made(*, norm: bool = True, **kind: Any) -> Model:
        if norm not in known:
            known[norm] = fitted(stack, norm=norm)
        model = network(keras, norm=norm, **kind)
        model.set_weights(known[norm])
        return model

    return made
