"""A bench that takes seconds: one network that has a layer of each kind, on coloured noise."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING
from unittest import mock

from suite.cases import Case
from suite.data import CLASSES
from suite.measure.questions import draws, dropout, parity
from tests.faults.bench import Bench
from tests.faults.probes import drawn, stepped
from tests.measure.conftest import SMALL, coloured

if TYPE_CHECKING:
    from suite.networks.types import Model
    from suite.stacks.protocol import Stack

CASES = [
    Case("lenet5", question=question, **{**SMALL, "epochs": 1}) for question in ("parity", "random")
]
PROBES = (stepped(str(CASES[0])), drawn(str(CASES[1])))


def network(stack: Stack, _: Case) -> Model:
    """Build the network."""
    layers = stack.keras.layers
    inputs = stack.keras.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, strides=2)(inputs)
    x = layers.BatchNormalization(epsilon=1.001e-5, name="bn")(x)
    x = layers.Activation("relu")(x)
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = layers.AveragePooling2D(2)(layers.MaxPooling2D(2)(x))
    x = layers.Dense(32, activation="sigmoid")(layers.Flatten()(x))
    x = layers.Dropout(0.5)(x)
    return stack.keras.Model(inputs, layers.Dense(CLASSES)(x))


@contextlib.contextmanager
def bench(stack: Stack) -> Iterator[Bench]:
    """Let the questions build the small network while the bench is in use."""
    data = coloured()
    with contextlib.ExitStack() as patches:
        for question in (parity, draws, dropout):
            patches.enter_context(mock.patch.object(question, "build", network))
        yield Bench(stack, {str(case): case for case in CASES}, lambda _: data)


def nothing() -> contextlib.AbstractContextManager[None]:
    """Plant no fault."""
    return contextlib.nullcontext()
