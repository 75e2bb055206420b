"""Fixtures of the stacks' contract: networks, images, and what differs from stack to stack."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from suite.networks.phases import ADVERSARIAL, INFERENCE, PHASES, TRAINING, Phases
from tests import by_hand

if TYPE_CHECKING:
    from typing import TypeAlias

    from suite.networks.types import Images, Labels, Model
    from suite.stacks.protocol import Stack

Policies: TypeAlias = "tuple[Phases | None, ...]"

EVERY_PHASE = tuple(itertools.starmap(Phases, itertools.product((TRAINING, INFERENCE), repeat=3)))
ALL_TRAINING = Phases(TRAINING, TRAINING, TRAINING)
GRID = tuple(
    Phases(TRAINING, INFERENCE, kind) for kind in ADVERSARIAL if kind not in {TRAINING, INFERENCE}
)


class Tolerance(NamedTuple):
    """How far a step may be from the one by hand.

    Attributes:
        losses: Relative.
        statistics: Relative to the way they go.
    """

    losses: float = 1e-4
    statistics: float = 1e-3


class Contract(NamedTuple):
    """What the tests of all stacks ask of one of them.

    Attributes:
        framework: Name of its package.
        ways: In which it runs the passes of a step.
        policies: Phases that its steps run in; None is the plain loss.
        momentum: Of the BatchNorm: so small that a gradient through the moved statistics shows.
        crafting_updates: How often crafting in the training phase updates the statistics.
        tolerances: Of the policies that are not known exactly.
    """

    framework: str
    ways: by_hand.Ways
    policies: Policies = (*EVERY_PHASE, *GRID, None)
    momentum: float = 0.5
    crafting_updates: int = 2
    tolerances: Mapping[Phases | None, Tolerance] = MappingProxyType({})

    def tolerance(self, phases: Phases | None) -> Tolerance:
        """Look up how far a step in `phases` may be from the one by hand."""
        return self.tolerances.get(phases, Tolerance())


CONTRACTS: Mapping[str, Contract] = MappingProxyType(
    {
        "eager": Contract("tensorflow", by_hand.Ways()),
        "graph": Contract(
            "tensorflow",
            by_hand.Ways(graph=True),
            policies=(*PHASES.values(), ALL_TRAINING, *GRID, None),
            momentum=0.99,  # a layer takes another into its graph only where it is called anew
            crafting_updates=0,
            tolerances=MappingProxyType(
                {  # nothing orders the updates among themselves
                    PHASES["intended"]: Tolerance(losses=1e-3, statistics=2e-2),
                    ALL_TRAINING: Tolerance(statistics=2e-2),
                }
            ),
        ),
        "jax": Contract("jax", by_hand.Ways(alone=True, attack_updates=1), crafting_updates=1),
        "torch": Contract("torch", by_hand.Ways()),
    }
)
"""What is asked of each stack."""


@pytest.fixture(scope="session")
def contract(stack: Stack) -> Contract:
    """Look up what is asked of the stack that is installed."""
    asked = CONTRACTS[stack.__name__.rpartition(".")[2]]
    return asked._replace(ways=asked.ways._replace(ddof=by_hand.ddof(stack)))


@pytest.fixture
def ordered(stack: Stack) -> Stack:
    """Skip a stack whose reads and updates are in no order: a graph of TensorFlow 1."""
    if stack.GRAPH:
        pytest.skip("a graph of TensorFlow 1 orders no reads and updates: see test_graph.py")
    return stack


@pytest.fixture
def images() -> Images:
    return np.random.default_rng(0).random((6, 8, 8, 3), dtype=np.float32)


@pytest.fixture
def labels() -> Labels:
    return np.array([0, 1, 2, 3, 4, 0])


@pytest.fixture
def model(foreign_model: Model, contract: Contract) -> Model:
    """Build a small BatchNorm network whose moving statistics belong to other data."""
    foreign_model.get_layer("bn").momentum = contract.momentum
    return foreign_model


@pytest.fixture
def linear(stack: Stack) -> Model:
    """Build a linear model of five classes."""
    stack.seed(0)
    return linear_model(stack)


def linear_model(stack: Stack, *, classes: int = by_hand.CLASSES) -> Model:
    layers = stack.keras.layers
    inputs = stack.keras.Input((8, 8, 3))
    outputs = layers.Dense(classes, use_bias=False)(layers.Flatten()(inputs))
    return stack.keras.Model(inputs, outputs)


@pytest.fixture
def plant_attack(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Give a function that puts an attack on a pass in the place of CleverHans' FGSM."""

    def plant(attack: Callable[[Any, Any], Any]) -> None:
        if not stack.GRAPH:
            monkeypatch.setattr(
                stack, "fast_gradient_method", lambda fn, x, *_, **__: attack(fn, x)
            )
            return
        from suite.stacks import published  # noqa: PLC0415 - TensorFlow 1 alone has CleverHans 3

        class Attack(published.FastGradientMethod):  # type: ignore[misc]
            def generate(self, x: Any, **_: Any) -> Any:
                return attack(self.model.get_logits, x)

        for module in (published, stack):
            monkeypatch.setattr(module, "FastGradientMethod", Attack)

    return plant
