"""Tests of suite.measure.questions.traps: what is seen of a call, and how it is recorded."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from suite.cases import Case
from suite.judge.traps import TRAPS, Trap, news
from suite.measure.questions import trap_calls
from suite.measure.questions.trap_calls import OUTCOMES, Seen
from suite.measure.questions.traps import CALLS, observe, traps
from suite.measure.run import Run
from suite.records import Record
from suite.stacks.protocol import Stack
from tests.measure.conftest import SMALL, coloured

MakeRecord = Callable[..., Record]


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.name)
def test_this_release_behaves_as_stated(stack: Stack, make_record: MakeRecord, trap: Trap) -> None:
    seen = observe(stack, CALLS[trap.name])
    record = make_record(
        question="traps",
        statistics=[{"trap": trap.name, **seen._asdict()}],
        environment={"versions": stack.versions()},
    )
    assert seen.outcome in OUTCOMES
    assert not news(trap, record)


def test_a_record_holds_what_was_seen_and_no_judgement(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {"first": lambda _: Seen("raises", "at once"), "second": lambda _: Seen("n - 1", "4/3")}
    monkeypatch.setitem(traps.__globals__, "CALLS", calls)
    data = coloured()
    case = Case("lenet5", question="traps", **SMALL)
    measured = traps(Run(case, 0, stack, data.train, data.test, {}))
    assert measured.metrics == {"first": 0.0, "second": float(OUTCOMES.index("n - 1"))}
    assert measured.statistics == [
        {"trap": "first", "outcome": "raises", "detail": "at once"},
        {"trap": "second", "outcome": "n - 1", "detail": "4/3"},
    ]


def test_outcomes_are_each_listed_once() -> None:
    assert len(set(OUTCOMES)) == len(OUTCOMES)


def sgd_that(stack: Stack, **renamed: float) -> Any:
    """Put an SGD into Keras that maps its arguments' names, or drops them, as `renamed` does."""
    keras = stack.keras

    def sgd(**arguments: float) -> Any:
        known = {renamed[name]: value for name, value in arguments.items() if renamed.get(name)}
        given = {name: value for name, value in arguments.items() if name not in renamed}
        return keras.optimizers.SGD(**known, **given)

    parts = {name: getattr(keras, name) for name in ("Input", "Model", "layers")}
    return SimpleNamespace(**parts, optimizers=SimpleNamespace(SGD=sgd))


def test_an_argument_that_acts_is_told_from_one_that_is_dropped(stack: Stack) -> None:
    acting, dropping = sgd_that(stack, lr="learning_rate"), sgd_that(stack, lr=None)
    assert trap_calls.lr_argument(acting) == Seen("honoured", "moved by 0.5")
    assert trap_calls.lr_argument(dropping) == Seen("ignored", "moved by 0.01")


def test_a_batch_norm_that_never_freezes_is_told(stack: Stack) -> None:
    keras = stack.keras

    class Unfreezable(keras.layers.BatchNormalization):
        def __init__(self, **options: Any) -> None:
            super().__init__(**{**options, "trainable": True})

    layers = SimpleNamespace(BatchNormalization=Unfreezable, Dense=keras.layers.Dense)
    parts = {name: getattr(keras, name) for name in ("Input", "Model", "optimizers")}
    assert trap_calls.frozen_layer(SimpleNamespace(**parts, layers=layers)).outcome == "training"


def test_a_mean_square_of_neither_phase_is_another_outcome() -> None:
    assert trap_calls._phase(3.0) == ("other", "mean square 3")


def test_an_outcome_nobody_foresaw_is_kept_in_words(stack: Stack) -> None:
    assert observe(stack, lambda _: Seen("explodes", "at once")) == ("other", "explodes: at once")


def test_an_error_that_repeats_itself_below_a_traceback_is_told_by_its_line() -> None:
    error = TypeError("in user code:\n\n    File x\n\n    TypeError: a symbolic input\n")
    assert trap_calls.raised(error) == Seen("raises", "TypeError: a symbolic input")


def test_other_errors_of_a_loss_are_no_outcome(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*_: Any, **__: Any) -> None:
        raise MemoryError("no space")

    monkeypatch.setattr(trap_calls, "_fit", fit)
    with pytest.raises(MemoryError):
        trap_calls.symbolic_loss(stack.keras)


def test_inputs_tell_the_phases_apart() -> None:
    own = (trap_calls.INPUTS - trap_calls.INPUTS.mean()) / trap_calls.INPUTS.std()
    moving = trap_calls.INPUTS - trap_calls.MOVING_MEAN
    assert np.mean(own**2) == trap_calls.MEAN_SQUARES["training"]
    assert np.mean(moving**2) == trap_calls.MEAN_SQUARES["inference"]
