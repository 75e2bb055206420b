"""Tests of suite.traps: what is seen, what is stated of a version, and a change told in words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from suite.judge.traps import expected, generation, news
from suite.measure.questions import trap_calls, traps
from suite.measure.questions.trap_calls import OUTCOMES, Seen
from suite.measure.questions.traps import TRAPS, Trap, observe
from suite.stacks.protocol import Stack

LATEST = {"keras": "3.15.1", "tensorflow": "2.21.0"}
BY_NAME = {trap.name: trap for trap in TRAPS}


@pytest.mark.parametrize(
    ("versions", "version"),
    [
        ({"tensorflow": "1.14.0", "keras": "2.2.4-tf"}, "1.14.0"),
        ({"tensorflow": "2.3.4"}, "2.3.4"),
        ({"tensorflow": "2.15.1", "keras": "2.15.0"}, "2.15.1"),
        ({"tensorflow": "2.16.2", "keras": "3.3.3"}, "3.3.3"),
        ({"tensorflow": "2.16.2", "keras": "3.3.3", "tf-keras": "2.16.0"}, "2.16.2"),
        ({"tensorflow": "2.22.0-dev20260101", "keras-nightly": "3.16.0.dev2026"}, "3.16.0.dev2026"),
        ({"jax": "0.9.2", "keras": "3.15.1"}, "3.15.1"),
    ],
)
def test_behaviour_goes_with_keras_from_3_on_and_with_tensorflow_before(
    versions: dict[str, str], version: str
) -> None:
    assert generation(versions) == version


@pytest.mark.parametrize(
    ("version", "outcome"),
    [
        ("1.14.0", "honoured"),
        ("2.9.3", "honoured"),
        ("2.10.1", "honoured"),
        ("2.11.1", "ignored"),
        ("2.16.2", "ignored"),
        ("3.3.3", "raises"),
        ("4.0.0", "raises"),
    ],
)
def test_the_last_outcome_that_began_is_expected(version: str, outcome: str) -> None:
    assert expected(BY_NAME["lr_argument"], version) == outcome


def test_nothing_is_expected_of_a_version_before_the_first() -> None:
    with pytest.raises(ValueError, match=r"version must be at least 1.14. Received: 1.13.1"):
        expected(BY_NAME["lr_argument"], "1.13.1")


def test_rows_are_well_formed() -> None:
    assert len(BY_NAME) == len(TRAPS)
    assert len(set(OUTCOMES)) == len(OUTCOMES)
    for trap in TRAPS:
        assert {outcome for _, outcome in trap.expected} <= set(OUTCOMES)
        versions = [tuple(map(int, since.split("."))) for since, _ in trap.expected]
        assert versions == sorted(set(versions))
        assert versions[0] == (1, 14)
        assert trap.source.startswith("https://")


def test_what_is_as_stated_is_no_news() -> None:
    assert not news(BY_NAME["lr_argument"], "raises", "ValueError", LATEST)


def test_news_name_the_trap_what_was_seen_what_was_expected_and_what_it_means() -> None:
    trap = BY_NAME["lr_argument"]
    told = news(trap, "ignored", "moved by 0.01", LATEST)
    for part in (trap.name, "Seen: ignored (moved by 0.01)", "3.15.1: raises", trap.meaning):
        assert part in told


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.name)
def test_this_release_behaves_as_stated(stack: Stack, trap: Trap) -> None:
    seen = observe(stack, trap)
    assert seen.outcome in OUTCOMES
    assert not news(trap, seen.outcome, seen.detail, stack.versions())


def sgd_that(stack: Stack, **renamed: float) -> Any:
    """Return Keras with an SGD that maps its arguments' names, or drops them, as `renamed` does."""
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
    trap = traps.TRAPS[0]._replace(observe=lambda _: trap_calls.Seen("explodes", "at once"))
    assert traps.observe(stack, trap) == ("other", "explodes: at once")


def test_an_error_that_repeats_itself_below_a_traceback_is_told_by_its_line() -> None:
    error = TypeError("in user code:\n\n    File x\n\n    TypeError: a symbolic input\n")
    assert trap_calls._raised(error) == Seen("raises", "TypeError: a symbolic input")


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
