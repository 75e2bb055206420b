"""Tests of data of any kind: whatever gives inputs and labels ends as the same arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from suite.diagnose import feeds
from suite.diagnose.feeds import gathered
from suite.errors import DataError

X = np.arange(40 * 5, dtype=np.float32).reshape(40, 5)
Y = np.arange(40) % 4


def net(*names: str, rank: int = 2) -> Any:
    inputs = [
        SimpleNamespace(name=name, shape=(None,) * rank, dtype="float32")
        for name in names or ("x",)
    ]
    return SimpleNamespace(inputs=inputs)


class Sequence:
    """Batches in any order, as Keras' Sequence and PyDataset have them."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, place: int) -> Any:
        return X[8 * place : 8 * place + 8], Y[8 * place : 8 * place + 8], np.ones(8)


class Tensor:
    """What PyTorch gives: it must be taken off the tape and the GPU."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Any:
        return self.values


def batches() -> Iterator[Any]:
    for start in range(0, 40, 8):
        yield X[start : start + 8], Y[start : start + 8]


GIVEN: dict[str, Callable[[], Any]] = {
    "arrays": lambda: (X, Y),
    "arrays and weights": lambda: [X, Y, np.ones(40)],
    "a generator": batches,
    "a function of it": lambda: batches,
    "names": lambda: {"x": X, "y": Y},
    "other names": lambda: {"images": X, "labels": Y},
    "batches by names": lambda: ({"image": x, "label": y} for x, y in batches()),
    "samples": lambda: zip(X, Y),
    "samples with labels of an axis": lambda: zip(X, Y[:, None]),
    "tensors": lambda: ((Tensor(x), Tensor(y)) for x, y in batches()),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_all_samples_come_as_arrays_with_their_labels(kind: str) -> None:
    images, labels = gathered(net(), GIVEN[kind]())
    assert np.array_equal(images, X)
    assert np.array_equal(np.asarray(labels).ravel(), Y)


@pytest.mark.parametrize("given", [Sequence(), list(batches())])
def test_a_sequence_is_read_in_random_order_always_the_same(given: Any) -> None:
    images, labels = gathered(net(), given)
    assert sorted(images[:, 0].tolist()) == X[:, 0].tolist()
    assert images[:, 0].tolist() != X[:, 0].tolist()
    assert np.array_equal(labels, Y[(images[:, 0] / 5).astype(int)])
    assert np.array_equal(gathered(net(), given)[0], images)


def test_a_tf_data_dataset_is_read_batched_or_not() -> None:
    tensorflow = pytest.importorskip("tensorflow", reason="is about its datasets")
    if not tensorflow.executing_eagerly():
        pytest.skip("a diagnosis needs eager execution")
    whole = tensorflow.data.Dataset.from_tensor_slices((X, Y))
    for dataset in (whole, whole.batch(8), whole.batch(16).repeat()):
        images, labels = gathered(net(), dataset, count=2)
        assert np.array_equal(images[:32], X[:32])
        assert np.array_equal(labels[:32], Y[:32])


def test_of_batches_without_end_enough_are_read_to_draw_from() -> None:
    def endless() -> Iterator[Any]:
        while True:
            yield X, Y

    images, labels = gathered(net(), endless(), count=10)
    assert len(images) == len(labels) == 160


def test_slow_batches_are_read_until_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "READ_S", 0.0)
    assert len(gathered(net(), batches(), count=10)[0]) == 16


def test_several_inputs_and_outputs_keep_their_names() -> None:
    def both() -> Iterator[Any]:
        for x, y in batches():
            yield {"a": x, "b": x + 1}, {"first": y, "second": y % 2}

    images, labels = gathered(net("a", "b"), both())
    assert np.array_equal(images["b"], X + 1)
    assert np.array_equal(labels["second"], Y % 2)
    listed = (([x, x + 1], y) for x, y in batches())
    assert np.array_equal(gathered(net("a", "b"), listed)[0][1], X + 1)
    stored = {"b": X + 1, "a": X, "labels_first": Y, "labels_second": Y % 2}
    images, labels = gathered(net("a", "b"), stored)
    assert list(images) == ["a", "b"]
    assert list(labels) == ["first", "second"]
    images, labels = gathered(SimpleNamespace(inputs=None), {"a": X, "b": X, "labels": Y})
    assert list(images) == ["a", "b"]


@pytest.mark.parametrize("model", [net(), SimpleNamespace(inputs=None)])
def test_samples_with_one_hot_labels_are_no_batches(model: Any) -> None:
    images, labels = gathered(model, zip(X, np.eye(4)[Y]))
    assert np.array_equal(images, X)
    assert np.array_equal(labels, np.eye(4)[Y])
    if model.inputs:  # as many numbers as classes
        few = [(x[:4], one) for x, one in zip(X, np.eye(4)[Y])]
        assert gathered(model, iter(few))[0].shape == (40, 4)


def test_grey_images_without_their_last_axis_are_batches() -> None:
    grey = SimpleNamespace(name="x", shape=(None, 5, 5, 1), dtype="float32")
    model = SimpleNamespace(inputs=[grey])
    batch = np.ones((8, 5, 5)), np.arange(8)
    assert gathered(model, iter([batch]))[0].shape == (8, 5, 5)


def test_tokens_of_several_lengths_are_filled_up() -> None:
    tokens = iter([(np.ones((2, 3), np.int64), Y[:2]), (np.ones((2, 5), np.int64), Y[:2])])
    images, _ = gathered(net(), tokens)
    assert images.tolist() == [[1, 1, 1, 0, 0]] * 2 + [[1] * 5] * 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (X, "Found: a ndarray. Expected: arrays"),
        (5, "Found: a int. Expected: arrays"),
        (iter([]), "no batch at all"),
        (iter([X]), "batches of a ndarray"),
        ({"x": X}, "No labels. Found: the arrays x"),
        ({"a": X, "b": X, "labels": Y}, "The inputs cannot be told. Found: the arrays a, b"),
    ],
)
def test_what_gives_no_labels_is_refused(given: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        gathered(net(), given)
