"""Tests of suite.measure.checkpoint: whose training goes on, and what becomes of its file."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from suite.cases import Case
from suite.measure import training
from suite.measure.checkpoint import Checkpoint, Progress, State, generators, set_generators
from suite.measure.questions import stall
from suite.measure.weights import build
from suite.stacks import loading
from tests.measure.conftest import NORMALISED, SMALL, run_small

if TYPE_CHECKING:
    from suite.records import Record
    from suite.stacks.protocol import Stack

ROOT = Path(__file__).parents[2]
STUDIED = replace(NORMALISED, epochs=3, fix="dual-bn", question="fixes")  # two models, attacks
LENET = Case("lenet5", **SMALL)


class KilledError(Exception):
    """Ends a training as a signal would."""


def kill_after(steps: int, monkeypatch: pytest.MonkeyPatch, end: Any) -> None:
    """Call `end` in the place of the step that follows so many of a training."""
    made, told = training.timed, []

    def timed(*arguments: Any, **options: Any) -> Any:
        told.append(None)
        return made(*arguments, **options) if len(told) <= steps else end()

    monkeypatch.setattr(training, "timed", timed)


def kill() -> None:
    raise KilledError


def all_but_times(record: Record) -> list[Any]:
    metrics = {name: value for name, value in record.metrics.items() if name != "cost_ratio"}
    curves = {name: curve for name, curve in record.curves.items() if name != "step_s"}
    return [metrics, curves, record.statistics]


@pytest.fixture(scope="module")
def left(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Begin a training and kill it in its second epoch; return what it left."""
    checkpoint = Checkpoint(tmp_path_factory.mktemp("left") / "training", "key", 0)
    with pytest.MonkeyPatch.context() as patch:
        kill_after(4, patch, kill)
        with pytest.raises(KilledError):
            run_small(stack, LENET, checkpoint=checkpoint)
    return checkpoint.path.read_bytes()


@pytest.fixture
def begun(left: bytes, tmp_path: Path) -> Checkpoint:
    """Put a checkpoint of a training that was killed where a test may change it."""
    checkpoint = Checkpoint(tmp_path / "training", "key", 0)
    checkpoint.path.write_bytes(left)
    return checkpoint


def test_a_process_that_was_killed_leaves_what_another_ends_to_the_last_bit(
    stack: Stack, tmp_path: Path
) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
        f"from tests.measure.test_checkpoint import be_killed; be_killed({str(tmp_path)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)  # noqa: S603
    assert done.returncode == -signal.SIGKILL, done.stderr
    (left,) = tmp_path.iterdir()
    assert left.name == "training"
    resumed = run_small(stack, LENET, checkpoint=Checkpoint(left, "key", 0))
    assert resumed.timing["earlier_s"] > 0
    assert all_but_times(resumed) == all_but_times(run_small(stack, LENET))


def be_killed(folder: str) -> None:
    """Train, and be killed in the second epoch."""
    kill_after(4, pytest.MonkeyPatch(), lambda: signal.raise_signal(signal.SIGKILL))
    run_small(loading.load(), LENET, checkpoint=Checkpoint(Path(folder, "training"), "key", 0))


@pytest.mark.usefixtures("shallow")
def test_a_study_of_a_fix_goes_on_with_both_of_its_models_and_the_draws_of_its_attacks(
    stack: Stack, tmp_path: Path
) -> None:
    checkpoint = Checkpoint(tmp_path / "training", "key", 0)
    with pytest.MonkeyPatch.context() as patch:
        kill_after(7, patch, kill)
        with pytest.raises(KilledError):
            run_small(stack, STUDIED, checkpoint=checkpoint)
    resumed = run_small(stack, STUDIED, checkpoint=checkpoint)
    assert resumed.timing["earlier_s"] > 0
    assert all_but_times(resumed) == all_but_times(run_small(stack, STUDIED))


def test_the_seconds_of_every_process_that_was_killed_are_added_up(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = Checkpoint(tmp_path / "training", "key", 0)
    monkeypatch.setattr(stall, "clock_s", itertools.count().__next__)  # a second between two looks
    for _ in range(2):
        with pytest.MonkeyPatch.context() as patch:
            kill_after(4, patch, kill)
            with pytest.raises(KilledError):
                run_small(stack, replace(LENET, epochs=3), checkpoint=checkpoint)
    resumed = run_small(stack, replace(LENET, epochs=3), checkpoint=checkpoint)
    assert resumed.timing["earlier_s"] == 2


def test_the_state_of_another_model_is_refused(stack: Stack) -> None:
    states = []
    for case in (LENET, replace(LENET, size_px=64)):
        model = build(stack, case)
        step = stack.train_step(model, phases=None, epsilon=0.0)
        states.append(State(stack, [model], step))
    with pytest.raises(ValueError, match=r"^arrays must have the shapes .* Received: "):
        states[0].set(states[1].arrays())


@pytest.fixture(scope="module")
def state(stack: Stack) -> State:
    """Give the state of a training of the same model, with its step."""
    model = build(stack, LENET)
    return State(stack, [model], stack.train_step(model, phases=None, epsilon=0.0))


@pytest.mark.parametrize("change", [{"key": "other"}, {"seed": 1}])
def test_the_checkpoint_of_another_case_environment_or_seed_is_not_used(
    state: State, begun: Checkpoint, change: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    assert begun._replace(**change).resume(state) is None
    assert (
        "is not used, and the training begins anew: it is of another case" in capfd.readouterr().err
    )


def test_a_training_whose_checkpoint_is_not_used_begins_anew(
    stack: Stack, begun: Checkpoint, capfd: pytest.CaptureFixture[str]
) -> None:
    small = replace(LENET, train_images=8, test_images=8)
    record = run_small(stack, small, checkpoint=begun._replace(seed=1))
    assert "the training begins anew" in capfd.readouterr().err
    assert "earlier_s" not in record.timing


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: content[:500] + b"\x00" + content[501:],
        lambda content: b"0" * 64 + content[64:],
        lambda content: content[:0],
        lambda content: b"\xff" + content[1:9],
    ],
)
def test_a_damaged_checkpoint_is_not_used_and_that_is_said(
    state: State, begun: Checkpoint, damage: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = begun.path.read_bytes()
    damaged = damage(whole)
    assert damaged != whole
    begun.path.write_bytes(damaged)
    assert begun.resume(state) is None
    assert f"{begun.path} is not used, and the training begins anew: it is damaged" in (
        capfd.readouterr().err
    )


def test_a_checkpoint_takes_the_place_of_the_one_before_and_is_not_written_over_it(
    stack: Stack, begun: Checkpoint
) -> None:
    before = begun.path.with_name("before")
    os.link(begun.path, before)
    whole = before.read_bytes()
    run_small(stack, LENET, checkpoint=begun)
    assert begun.path.read_bytes() != whole
    assert before.read_bytes() == whole


def test_a_training_of_one_epoch_keeps_nothing_and_looks_for_nothing(
    stack: Stack, begun: Checkpoint, capfd: pytest.CaptureFixture[str]
) -> None:
    begun.path.write_bytes(b"of somebody else")
    one = replace(LENET, epochs=1, train_images=8, test_images=8)
    assert "earlier_s" not in run_small(stack, one, checkpoint=begun).timing
    assert "is not used" not in capfd.readouterr().err
    assert begun.path.read_bytes() == b"of somebody else"
    assert [*begun.path.parent.iterdir()] == [begun.path]


def test_a_training_that_goes_on_draws_what_it_would_have_drawn(
    stack: Stack, state: State, tmp_path: Path
) -> None:
    checkpoint = Checkpoint(tmp_path / "training", "key", 0)
    checkpoint.save(Progress([], [], []), state)
    stood = generators()
    stack.seed(7)
    assert generators() != stood
    checkpoint.resume(state)
    assert generators() == stood


def test_the_generators_of_python_and_numpy_go_on_where_they_were() -> None:
    def drawn() -> list[float]:
        return [random.gauss(0, 1), random.random(), *np.random.normal(size=3)]  # noqa: S311

    drawn()  # leaves a half of what is drawn in pairs
    states = generators()
    first = drawn()
    drawn()
    set_generators(states)
    assert drawn() == first
