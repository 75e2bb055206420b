"""Tests of the inputs and labels of a diagnosis: checked, drawn, matched with the outputs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from suite.diagnose.inputs import Head, Inputs
from suite.diagnose.intake import taken
from suite.diagnose.sample import Sample, class_labels, head_of, samples, told_classes

if TYPE_CHECKING:
    from numpy.typing import NDArray

RNG = np.random.default_rng(0)
IMAGES = RNG.random((40, 6, 6, 3))
LABELS = np.arange(40) % 4
GRID = RNG.integers(0, 4, (40, 6, 6))


class Net:
    """Declares inputs and gives outputs of some shapes."""

    def __init__(self, *inputs: Any, **outputs: tuple[int, ...]) -> None:
        declared = [
            SimpleNamespace(name=name, shape=shape, dtype=dtype) for name, shape, dtype in inputs
        ]
        self.model = SimpleNamespace(
            inputs=declared or None, output_names=list(outputs), layers=[], get_weights=list
        )
        single = len(outputs) == 1
        self.shapes = dict(zip([None] if single else list(range(9)), outputs.values()))

    def output_shapes(self, images: Any) -> dict[Any, tuple[int, ...]]:
        assert len(images) == 2
        return self.shapes


PICTURES = ("pixels", (None, 6, 6, 3), "float32")


def net(shape: Any = (None, 6, 6, 3), **outputs: tuple[int, ...]) -> Any:
    return Net(("pixels", shape, "float32"), **(outputs or {"out": (2, 4)}))


def drawn(network: Any, images: Any, labels: Any, **options: Any) -> Sample:
    (sample,) = samples(network, images, labels, **{"limit": 40, "seed": 0, **options})
    return sample


def test_images_are_drawn_at_random_with_their_labels_and_always_the_same() -> None:
    sample = drawn(net(), IMAGES, LABELS, limit=20)
    images: Any = sample.images
    assert (images.dtype, sample.labels.dtype) == (np.float32, np.int64)
    places = [
        int(np.flatnonzero((IMAGES.astype(np.float32) == image).all((1, 2, 3)))[0])
        for image in images
    ]
    assert len(set(places)) == 20
    assert sample.labels.tolist() == LABELS[places].tolist()
    assert drawn(net(), IMAGES, LABELS, limit=20).labels.tolist() == sample.labels.tolist()
    assert len(drawn(net(), IMAGES, LABELS, limit=999).labels) == 40


@pytest.mark.parametrize(
    "labels",
    [LABELS[:, None].astype(float), np.eye(4)[LABELS], LABELS.tolist(), {"out": LABELS}],
)  # fmt: skip
def test_labels_of_every_form_are_class_numbers(labels: Any) -> None:
    assert (
        drawn(net(), IMAGES, labels).labels.tolist() == drawn(net(), IMAGES, LABELS).labels.tolist()
    )


TWO = LABELS % 2


@pytest.mark.parametrize("labels", [TWO, TWO[:, None], TWO > 0, np.eye(2)[TWO]])
def test_a_single_output_tells_two_classes(labels: Any) -> None:
    sample = drawn(net(out=(2, 1)), IMAGES, labels)
    assert sample.labels.tolist() == drawn(net(), IMAGES, TWO).labels.tolist()


@pytest.mark.parametrize(
    ("shape", "labels"),
    [
        ((2, 6, 6, 4), GRID),
        ((2, 6, 6, 4), GRID[..., None]),
        ((2, 6, 6, 4), np.eye(4)[GRID]),
        ((2, 36, 4), GRID),
        ((2, 6, 6, 1), GRID % 2),
        ((2, 6, 6), GRID % 2),
    ],
)  # fmt: skip
def test_a_label_for_each_position_stays_with_it(
    shape: tuple[int, ...], labels: NDArray[Any]
) -> None:
    sample = drawn(net(out=shape), IMAGES, labels)
    classes = labels if labels.size == GRID.size else labels.argmax(-1)
    scores = np.eye(4)[classes.reshape(40, 6, 6)] if shape[-1] == 4 else classes.astype(float)
    told = sample.head.shaped(scores.reshape(40, *shape[1:]))
    predicted = told.argmax(-1) if shape[-1] == 4 else told[..., 0]
    order = drawn(net(), IMAGES, np.arange(40) % 4)  # of the same seed
    assert predicted.shape == (40, 36)
    assert order.head.places is None
    rows = np.random.default_rng(0).permutation(40)
    assert (predicted[rows] == sample.labels).all()


def test_of_many_positions_some_are_drawn() -> None:
    labels = RNG.integers(0, 2, (20, 40, 40))
    sample = drawn(net((None, 40, 40, 3), out=(2, 40, 40, 2)), RNG.random((20, 40, 40, 3)), labels)
    assert sample.labels.shape == (20, 256)
    places: Any = sample.head.places
    assert len(set(places.tolist())) == 256
    assert places.max() > 1500


def test_an_answer_at_the_only_position_is_that_of_the_image() -> None:
    sample = drawn(net(out=(2, 1, 1, 4)), IMAGES, LABELS)
    assert sample.labels.shape == (40,)
    assert sample.head.shaped(np.zeros((5, 1, 1, 4))).shape == (5, 4)


def test_several_inputs_are_drawn_together() -> None:
    network = Net(PICTURES, ("size", (None, 1), "float32"), out=(2, 4))
    given = {"size": np.arange(40)[:, None], "pixels": IMAGES, "unused": np.zeros(3)}
    sample = drawn(network, given, LABELS)
    images: Any = sample.images
    assert (list(images.parts), images.named) == (["pixels", "size"], True)
    rows = images.parts["size"][:, 0].astype(int)
    assert (images.parts["pixels"] == IMAGES[rows].astype(np.float32)).all()
    assert (sample.labels == LABELS[rows]).all()
    listed: Any = drawn(network, [IMAGES, np.arange(40)[:, None]], LABELS).images
    assert (list(listed.parts), listed.named) == ([0, 1], False)


def test_a_short_list_is_one_of_inputs_where_the_network_does_not_tell() -> None:
    network = Net(out=(2, 4))
    assert isinstance(taken(network.model, [IMAGES, IMAGES]), Inputs)
    assert isinstance(taken(network.model, {"only": IMAGES}), Inputs)
    assert not isinstance(taken(network.model, list(IMAGES)), Inputs)
    assert not isinstance(taken(network.model, [IMAGES]), Inputs)
    assert not isinstance(taken(Net(PICTURES, out=(2, 4)).model, {"pixels": IMAGES}), Inputs)


@pytest.mark.parametrize(
    ("declared", "given", "kind"),
    [
        ("float32", np.uint8, np.float32),
        ("float32", np.int64, np.float32),
        ("float16", np.float64, np.float32),
        ("int32", np.int64, np.int32),
        ("int64", np.float32, np.int32),
        (None, np.int64, np.int32),
        (None, np.uint8, np.float32),
        (None, np.float64, np.float32),
        (None, np.bool_, np.bool_),
        ("float32", np.bool_, np.float32),
    ],
)
def test_numbers_are_of_the_kind_that_the_input_takes(declared: Any, given: Any, kind: Any) -> None:
    inputs = [("x", (None, 5), declared)] if declared else []
    images: Any = taken(Net(*inputs, out=(2, 4)).model, np.ones((40, 5), given))
    assert images.dtype == kind


def test_a_last_axis_of_one_number_may_be_missing_or_too_many() -> None:
    grey: Any = taken(net((None, 6, 6, 1)).model, IMAGES[..., 0])
    assert grey.shape == (40, 6, 6, 1)
    facts: Any = taken(net((None, 6)).model, IMAGES[:, 0, :, :1])
    assert facts.shape == (40, 6)


def test_only_what_is_drawn_is_converted() -> None:
    class Large(np.ndarray):
        def astype(self, *args: Any, **options: Any) -> Any:
            assert len(self) <= 20
            return super().astype(*args, **options)

    images = np.zeros((40, 6, 6, 3), np.uint8).view(Large)
    network = Net(PICTURES, ("size", (None, 1), "float32"), out=(2, 4))
    given = Inputs({"pixels": images, "size": np.zeros((40, 1))}, named=True)
    assert len(drawn(network, given, LABELS, limit=20).labels) == 20


def test_tokens_stay_whole_numbers_though_the_network_declares_others() -> None:
    network = Net(("tokens", (None, 5), "float32"), out=(2, 4))
    embedding = type("Embedding", (), {"get_weights": list, "_layers": ()})()
    network.model._layers = [embedding]
    assert taken(network.model, np.ones((40, 5), np.int64)).dtype == np.int32  # type: ignore[union-attr]


def test_the_outputs_that_have_labels_are_examined() -> None:
    network = net(cls=(2, 4), odd=(2, 1))
    both = {"odd": LABELS % 2, "cls": LABELS}
    assert [each.head.name for each in samples(network, IMAGES, both, limit=9, seed=0)] == [1, 0]
    listed = [LABELS, LABELS % 2]
    assert [each.head.name for each in samples(network, IMAGES, listed, limit=9, seed=0)] == [0, 1]
    assert drawn(network, IMAGES, [LABELS, None]).head.name == 0
    assert drawn(network, IMAGES, both, output="odd").head.name == 1
    assert drawn(network, IMAGES, LABELS % 2, output=1).head.name == 1
    assert drawn(network, IMAGES, LABELS).head.name == 0  # the only one that they fit


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (TWO, {}, r"one of the 2 outputs: 'cls' \(2, 4\), 'odd' \(2, 1\)\. Give output=NAME"),
        (LABELS, {"output": "even"}, "must be one of the network's: cls, odd. Received: even"),
        ({"cls": LABELS}, {"output": "odd"}, "must be of the output 'odd'"),
        ({"even": LABELS}, {}, "Received: even"),
        (LABELS + 9, {}, "which fit 0 of them"),
        ({"cls": LABELS, "odd": LABELS / 3}, {}, "of output 'odd' labels must be .*--output NAME"),
    ],
)  # fmt: skip
def test_labels_of_no_output_or_of_several_are_refused(
    labels: Any, options: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        drawn(net(cls=(2, 4), odd=(2, 1)), IMAGES, labels, **options)


@pytest.mark.parametrize("shape", [(None, None, None, 3), (None, 6, 6, 3)])
def test_a_size_that_the_network_leaves_open_is_free(shape: Any) -> None:
    assert len(drawn(net(shape), IMAGES, LABELS).labels) == 40


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"images": IMAGES[:15], "labels": LABELS[:15]}, "images must be 16 at least"),
        ({"images": IMAGES[:, :4]}, r"input shape \('n', 6, 6, 3\): resize"),
        ({"images": IMAGES[..., 0]}, r"input shape \('n', 6, 6, 3\): resize"),
        ({"images": IMAGES.astype(str)}, "images must be numbers"),
        ({"images": IMAGES * np.inf}, "images must be finite"),
        ({"images": {"a": IMAGES, "b": IMAGES}}, r"1 input \(pixels \(None, 6, 6, 3\)\): a dict"),
        ({"labels": LABELS - 1}, "labels must be whole numbers from 0, .* Received: -1"),
        ({"labels": LABELS + 0.5}, "labels must be whole numbers from 0, .* Received: 0.5"),
        ({"labels": LABELS + 1}, r"labels must be in \[0, 3\], .* Received: 4"),
        ({"labels": LABELS[1:]}, "labels must be one an image, 40. Received: 39"),
        ({"labels": LABELS.astype(str)}, "labels must be class numbers"),
        ({"labels": np.ones((40, 4)) * 2}, r"shape \(n\) or one-hot over 4 classes.*several class"),
        ({"labels": GRID}, r"shape \(n\) or one-hot over 4 classes.*Received: shape \(40, 6, 6\)"),
    ],
)  # fmt: skip
def test_wrong_data_are_refused_with_what_was_expected(wrong: Any, message: str) -> None:
    given = {"images": IMAGES, "labels": LABELS, **wrong}
    with pytest.raises(ValueError, match=message):
        drawn(net(), given["images"], given["labels"])


def test_inputs_of_several_lengths_are_refused() -> None:
    network = Net(PICTURES, ("size", (None, 1), "float32"), out=(2, 4))
    with pytest.raises(ValueError, match=r"of one length\. Received: \{0: 40, 1: 39\}"):
        drawn(network, [IMAGES, np.zeros((39, 1))], LABELS)
    with pytest.raises(
        ValueError, match=r"input 0 \(pixels\) must be of the network's input shape"
    ):
        drawn(network, [np.zeros((40, 1)), IMAGES], LABELS)


def test_labels_of_another_grid_are_refused_with_that_of_the_output() -> None:
    with pytest.raises(ValueError, match=r"shape \(n, 4, 4\).*Received: shape \(40, 6, 6\)"):
        drawn(net(out=(2, 4, 4, 4)), IMAGES, GRID)


def test_several_answers_of_yes_or_no_are_one_position_each() -> None:
    several = RNG.integers(0, 2, (40, 4))
    head, outputs = head_of(None, (2, 4), several)
    assert (head, outputs) == (Head(None, (4,), bare=True), 1)
    assert (class_labels(several, 40, head, outputs) == several).all()


def test_classes_must_be_as_many_as_outputs() -> None:
    assert told_classes(np.zeros((40, 4)), None) == 4
    assert told_classes(np.zeros((40, 1)), 2) == 2  # one output tells two apart
    assert told_classes(np.zeros((40, 9, 4)), 4) == 4
    with pytest.raises(ValueError, match="classes must be 4"):
        told_classes(np.zeros((40, 4)), 10)
