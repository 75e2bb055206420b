"""Tests of suite.measure.states: what is stored is the same for all, near what was trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suite.errors import WeightsError
from suite.measure import states
from suite.measure.named import State, set_weights_by_key, weights_by_key
from suite.measure.states import STEPS, load_states, save_states, states_along
from suite.measure.training import TimedStep
from suite.networks.types import Model
from suite.stacks.protocol import Stack, StepResult
from suite.tables import table

KERNEL, BIAS = ("conv", "kernel"), ("conv", "bias")


def drawn(seed: int = 0) -> dict[tuple[str, str], np.ndarray]:
    """Draw a kernel and a bias."""
    rng = np.random.default_rng(seed)
    kernel = rng.normal(0, 0.1, (3, 3, 4, 8)).astype(np.float32)
    return {KERNEL: kernel, BIAS: rng.normal(size=8).astype(np.float32)}


def test_kernels_are_rounded_to_8_bits_and_the_rest_is_kept(tmp_path: Path) -> None:
    state = drawn()
    save_states(tmp_path / "net.npz", {20: state, 0: drawn(1)})
    found = load_states(tmp_path / "net.npz")
    assert list(found) == [0, 20]
    np.testing.assert_array_equal(found[20][BIAS], state[BIAS])
    scale = np.abs(state[KERNEL]).max() / 127
    apart = np.abs(found[20][KERNEL] - state[KERNEL]).max()
    assert 0 < apart <= scale / 2 * 1.0001
    assert found[20][KERNEL].dtype == np.float32


def test_a_kernel_of_zeros_stays_one(tmp_path: Path) -> None:
    save_states(tmp_path / "net.npz", {0: {KERNEL: np.zeros((2, 2), np.float32)}})
    np.testing.assert_array_equal(load_states(tmp_path / "net.npz")[0][KERNEL], np.zeros((2, 2)))


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 and no more", None])
def test_what_holds_no_states_names_what_makes_them(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "net.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"net.npz holds no states .* `nox -s states`"):
        load_states(path)


def test_a_file_with_other_arrays_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "net.npz", kernel=np.zeros(3))
    with pytest.raises(WeightsError, match="holds no states"):
        load_states(tmp_path / "net.npz")


def test_states_are_read_after_the_steps_that_are_named_and_after_the_last() -> None:
    made: list[TimedStep] = []

    def training() -> Iterator[TimedStep]:
        for _ in range(130):
            made.append(TimedStep(StepResult(0.0, 0.0, 0.0), 0.0))
            yield made[-1]

    def read() -> State:
        return {BIAS: np.array([len(made)])}

    found = {step: int(state[BIAS][0]) for step, state in states_along(training(), read=read)}
    assert found == {step: step for step in (*STEPS, 130)}


def test_a_state_is_given_to_the_layers_that_it_names(stack: Stack, foreign_model: Model) -> None:
    del stack
    state = {place: array + 1 for place, array in weights_by_key(foreign_model).items()}
    set_weights_by_key(foreign_model, state)
    for place, array in weights_by_key(foreign_model).items():
        np.testing.assert_array_equal(array, state[place])


@pytest.mark.parametrize("change", ["missing", "left over", "another shape"])
def test_a_state_of_another_network_is_refused(foreign_model: Model, change: str) -> None:
    state = dict(weights_by_key(foreign_model))
    place = next(iter(state))
    if change == "missing":
        del state[place]
    elif change == "left over":
        state["none", "kernel"] = np.zeros(3)
    else:
        state[place] = np.zeros((1, 2, 3))
    with pytest.raises(WeightsError, match=r"in the stored states .* `nox -s states`"):
        set_weights_by_key(foreign_model, state)


@pytest.mark.parametrize("case", table("states", tier="small"), ids=str)
def test_the_stored_states_lie_along_a_training_of_every_network(case: Any) -> None:
    found = load_states(states.states_path(case))
    assert list(found)[:-1] == list(STEPS)
    assert list(found)[-1] == case.train_images // case.batch_size * case.epochs
    arrays = [array for state in found.values() for array in state.values()]
    assert all(np.isfinite(array).all() for array in arrays)
    first, last = next(iter(found.values())), list(found.values())[-1]
    assert any(not np.array_equal(first[place], last[place]) for place in first)
