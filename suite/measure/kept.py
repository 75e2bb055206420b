"""What is compiled once for a case and serves all of its seeds in a process."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from suite.cases import Case
from suite.networks.types import Model
from suite.stacks.protocol import Stack, TrainStep

if TYPE_CHECKING:
    from typing_extensions import Protocol

    class Compiled(Protocol):
        """What a role keeps: some models, and the step that trains them."""

        @property
        def models(self) -> Sequence[Model]:
            """The models whose variables a seed gives their values."""

        @property
        def step(self) -> TrainStep:
            """The update, whose optimizer starts anew with a seed."""


Made = TypeVar("Made", bound="Compiled")


class Entry(NamedTuple):
    """One thing that is kept, and the case that it was compiled for."""

    case: Case
    made: Any


class Kept:
    """What was compiled for the case at hand: one thing for each role, so that memory is bounded.

    To build a network and to draw its weights takes a fraction of a second, to compile its passes
    takes several. So each seed builds its models anew, as a process of its own would; then their
    values are given to the models that were compiled for the first seed of the case.
    """

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._entries: dict[str, Entry] = {}

    def seed(self, seed: int, case: Case, stack: Stack) -> None:
        """Seed what draws weights and dropout; leave what is compiled for `case` as it is.

        A new seed of TensorFlow's own empties its cache of kernels, after which all graphs are
        compiled anew. Keras 3 does without: it takes the seeds of its layers from `random`.
        """
        if any(self._has(role, case) for role in self._entries):
            random.seed(seed)
            np.random.seed(seed)
        else:
            stack.seed(seed)

    def renewed(
        self,
        role: str,
        case: Case,
        stack: Stack,
        models: Sequence[Model],
        compiled: Callable[[], Made],
    ) -> Made:
        """Give what is kept for `role` and `case` the state of new `models`; or compile these.

        Args:
            role: What the models are for, such as "training".
            case: Decides all that is compiled; its seed decides only values.
            stack: The framework under measurement.
            models: New models, as a process of its own would make them.
            compiled: Makes what is kept from `models`.
        """
        if self._has(role, case):
            made: Made = self._entries[role].made
            for old, new in zip(made.models, models):
                give_state(old, new)
            made.step.forget()
            return made
        self._entries.pop(role, None)  # first, so that two are never in memory
        made = compiled()
        if renewable(stack):
            self._entries[role] = Entry(case, made)
        return made

    def _has(self, role: str, case: Case) -> bool:
        """True where what is kept for `role` was compiled for `case`."""
        return role in self._entries and self._entries[role].case == case


def renewable(stack: Stack) -> bool:
    """True where a compiled model in the state of a new one does what the new one would.

    So it is from Keras 3 on: all that layers draw at random follows from their variables. Keras 2
    compiles a dropout's seed into its pass, and a graph of TensorFlow 1 every seed. On PyTorch
    nothing is compiled, so nothing would be gained.
    """
    keras = stack.keras
    return hasattr(keras, "random") and keras.backend.backend() != "torch"


def give_state(model: Model, new: Model) -> None:
    """Give every variable of `model` the value that `new`, of the same build, has there.

    Raises:
        ValueError: If their variables have other shapes.
    """
    ours, theirs = ([tuple(v.shape) for v in built.variables] for built in (model, new))
    if ours != theirs:
        raise ValueError(
            f"new must have the variables of {model.name}, {len(ours)} of them. Received: "
            f"{new.name} with {len(theirs)}, or with others"
        )
    for variable, value in zip(model.variables, new.variables):
        variable.assign(value)
