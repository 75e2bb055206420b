"""Tests of what a network is fed and of what of its outputs is looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from suite.diagnose.inputs import Head, Images, Inputs, fed, joined, mapped, positions, split

ONE = np.arange(24, dtype=np.float32).reshape(6, 4)
TWO = Inputs({"a": ONE, "b": ONE[:, :1] + 100}, named=True)


def first(images: Images) -> Any:
    return images.parts["a"] if isinstance(images, Inputs) else images


@pytest.mark.parametrize("images", [ONE, TWO])
def test_samples_are_sliced_split_and_joined_alike(images: Images) -> None:
    assert len(images) == 6
    assert first(images[2:4]).tolist() == ONE[2:4].tolist()
    assert first(images[np.array([5, 0])]).tolist() == ONE[[5, 0]].tolist()
    pieces = split(images, 4)
    assert [len(piece) for piece in pieces] == [2, 2, 1, 1]
    whole = joined(pieces)
    assert first(whole).tolist() == ONE.tolist()
    assert first(mapped(images, lambda _, values: values + 1)).tolist() == (ONE + 1).tolist()


def test_several_inputs_are_fed_as_they_were_given() -> None:
    assert fed(ONE) is ONE
    assert list(fed(TWO)) == ["a", "b"]
    assert joined(split(TWO, 2)).parts["b"][:, 0].tolist() == (ONE[:, 0] + 100).tolist()  # type: ignore[union-attr]
    listed = fed(Inputs({0: ONE, 1: ONE + 1}, named=False))
    assert isinstance(listed, list)
    assert listed[1][0, 0] == 1
    changed = TWO.map(lambda name, values: values if name == "a" else 0 * values)
    assert changed.parts["a"].any()
    assert not changed.parts["b"].any()


@pytest.mark.parametrize(
    ("shape", "count"), [((3, 8, 6, 3), 48), ((3, 7, 2), 7), ((3, 7), 7), ((3, 2, 3, 4, 1), 24)]
)
def test_positions_are_what_a_network_computes_with(shape: tuple[int, ...], count: int) -> None:
    assert positions(np.zeros(shape)) == count
    assert positions(Inputs({0: np.zeros((3, 1)), 1: np.zeros(shape)}, named=False)) == count


def test_features_are_those_of_the_position_and_of_its_neighbours() -> None:
    head = Head(None, (4, 4), np.array([0, 5, 10, 15]))
    values = np.arange(2 * 16.0).reshape(2, 4, 4, 1)
    assert head.features(values)[0, :, 0].tolist() == [0, 5, 10, 15]
    around = head.features(values, 1)
    assert around.shape == (2, 4, 9)
    assert around[0, 1].tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert around[0, 0].tolist() == [0, 0, 1, 0, 0, 1, 4, 4, 5]  # the edge goes on
    coarse = np.arange(2 * 4.0).reshape(2, 2, 2, 1)
    assert head.features(coarse)[0, :, 0].tolist() == [0, 0, 3, 3]  # the nearest
    assert head.features(np.ones((2, 7, 3))).shape == (2, 3)  # of another grid: the mean
    assert Head().features(values)[:, 0].tolist() == [7.5, 23.5]


def test_of_a_network_whose_labels_are_unknown_outputs_stay_as_they_are() -> None:
    assert Head().shaped(np.zeros((2, 5, 5, 3))).shape == (2, 5, 5, 3)
    assert Head(bare=True).shaped(np.zeros(2)).shape == (2, 1)
