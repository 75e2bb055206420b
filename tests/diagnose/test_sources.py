"""Tests of what MODEL and --data may name: each opens as a network with its data."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from suite.diagnose.loading import framework
from suite.diagnose.sources import opened
from suite.errors import DataError, SuiteError

keras = framework()
TENSORFLOW = sys.modules.get("tensorflow")
GRAPH = TENSORFLOW is not None and not TENSORFLOW.executing_eagerly()
pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # Keras 2 warns of .h5, Keras 3 of NumPy 2.4
    pytest.mark.skipif(GRAPH, reason="a diagnosis needs eager execution"),
]
RNG = np.random.default_rng(0)
X, Y = RNG.random((40, 4, 4, 3)).astype(np.float32), np.arange(40) % 3
FILE = "net.keras" if hasattr(keras, "ops") else "net.h5"

BUILDERS = """\
import numpy as np
from suite.diagnose.loading import framework
keras = framework()
X, Y = np.load("x.npy"), np.load("y.npy")
def net(outputs=3):
    inputs = keras.Input((4, 4, 3))
    flat = keras.layers.Flatten()(inputs)
    return keras.Model(inputs, keras.layers.Dense(outputs, name="told")(flat))
def both():
    return net(), (X, Y)
def three():
    return net(), X, Y
def data():
    return X, Y
def batches():
    for start in range(0, 40, 8):
        yield X[start:start + 8], Y[start:start + 8]
def leaves():
    yield X[:8], Y[:8]
    raise SystemExit(0)
def model_of_leaves():
    return net(), leaves()
def several():
    inputs = keras.Input((4, 4, 3))
    flat = keras.layers.Flatten()(inputs)
    outputs = [keras.layers.Dense(n, name=name)(flat) for n, name in ((3, "a"), (5, "b"))]
    return keras.Model(inputs, outputs)
def pixelwise():
    inputs = keras.Input((4, 4, 3))
    return keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs))
class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.head = keras.layers.Dense(3)
    def call(self, images, training=False):
        return self.head(keras.layers.Flatten()(images))
def own():
    return Own()
"""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a folder with a module of builders, arrays, and images of three classes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    np.save("x.npy", X)
    np.save("y.npy", Y)
    Path("sources_of_mine.py").write_text(BUILDERS)
    for label in "abc":
        for index in range(4):
            path = Path("images", label, f"{index}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((4, 4, 3), 255, np.uint8)).save(path)
    yield
    sys.modules.pop("sources_of_mine", None)


NET = "sources_of_mine:net"


def saved(name: str, **arrays: Any) -> str:
    np.savez(name, **arrays)
    return name


@pytest.mark.parametrize(
    ("model", "data"),
    [
        ("sources_of_mine:both", None),
        ("sources_of_mine:three", None),
        (NET, "sources_of_mine:data"),
        (NET, "sources_of_mine:both"),
        (NET, "sources_of_mine:batches"),
    ],
)
def test_functions_return_the_network_the_data_or_both(model: str, data: str | None) -> None:
    source = opened(model, data)
    assert source.model.output_shape == (None, 3)
    assert np.array_equal(source.images, X)
    assert np.array_equal(source.labels, Y)


def test_arrays_of_a_file_are_told_apart_by_their_names() -> None:
    for arrays in ({"images": X, "labels": Y}, {"x": X, "y": Y}, {"x_test": X, "y_test": Y}):
        source = opened(NET, saved("data.npz", **arrays))
        assert np.array_equal(source.images, X)
        assert np.array_equal(source.labels, Y)
    whole = saved("whole.npz", x_train=X + 1, y_train=Y, x_test=X, y_test=Y)
    assert np.array_equal(opened(NET, whole).images, X)
    assert np.array_equal(opened(NET, whole, split="train").images, X + 1)


def test_a_saved_dataset_is_read_compressed_or_not() -> None:
    tensorflow = pytest.importorskip("tensorflow", reason="is about its datasets")
    dataset = tensorflow.data.Dataset.from_tensor_slices((X, Y)).batch(8)
    if not hasattr(dataset, "save"):
        pytest.skip("this TensorFlow cannot save one so")
    for compression in (None, "GZIP"):
        dataset.save(f"saved-{compression}", compression=compression)
        source = opened(NET, f"saved-{compression}")
        assert np.array_equal(source.images, X)
        assert np.array_equal(source.labels, Y)


@pytest.mark.skipif(TENSORFLOW is not None, reason="is about an environment without TensorFlow")
def test_without_tensorflow_a_saved_dataset_is_refused_with_what_reads_it() -> None:
    Path("saved", "1").mkdir(parents=True)
    Path("saved", "dataset_spec.pb").write_bytes(b"")
    with pytest.raises(DataError, match=r"no TensorFlow in this environment.*--data FILE\.npz"):
        opened(NET, "saved")


def test_a_file_is_opened_with_its_data() -> None:
    opened("sources_of_mine:both").model.save(FILE)
    assert opened(FILE, saved("data.npz", images=X, labels=Y)).model.count_params() == 147


def test_images_of_folders_are_scaled_and_arrays_are_not() -> None:
    source = opened(NET, "images")
    assert (source.images.shape, source.images.max()) == ((12, 4, 4, 3), 1)
    assert source.classes == ("a", "b", "c")
    assert opened(NET, "images", inputs="0..255").images.max() == 255
    pixels = saved("pixels.npz", images=np.uint8(255 * X), labels=Y)
    assert opened(NET, pixels).images.max() > 200
    assert opened(NET, pixels, inputs="tf").images.min() < 0
    assert opened("sources_of_mine:own", "images", size_px=4).model.built


def test_folders_are_the_classes_of_the_output_that_is_named() -> None:
    assert len(opened("sources_of_mine:several", "images", output="a").labels) == 12
    with pytest.raises(SuiteError, match=r"has 2 outputs .*--output NAME"):
        opened("sources_of_mine:several", "images")
    with pytest.raises(SuiteError, match=r"has 5 outputs, but images has 3 classes \(a, b, c\)"):
        opened("sources_of_mine:several", "images", output="b")
    with pytest.raises(SuiteError, match=r"puts out \(4, 4, 3\) for each image"):
        opened("sources_of_mine:pixelwise", "images")


@pytest.mark.parametrize(
    ("model", "data", "options", "message"),
    [
        ("net.keras", None, {}, "net.keras is a network alone: give its data, too, with --data"),
        (NET, None, {}, "returns a network alone"),
        (NET, "absent.npz", {}, "absent.npz: no such file"),
        (NET, "absent", {}, "absent: no images there"),
        (NET, "x.npy", {}, "x.npy: no data. Found: a file .npy"),
        (NET, "sources_of_mine:absent", {}, "no function 'absent'.*returns the data"),
        (NET, "sources_of_mine:leaves", {}, "its data cannot be read. Found: SystemExit: 0"),
        ("sources_of_mine:model_of_leaves", None, {}, "Found: SystemExit: 0"),
        (NET, "sources_of_mine:own", {}, "its data cannot be read|No data"),
        ("sources_of_mine:both", None, {"inputs": "tf"}, "scales pixels of 0 to 255"),
    ],
)
def test_what_cannot_be_opened_is_an_error_that_tells_what_may_be_given(
    model: str, data: str | None, options: Any, message: str
) -> None:
    with pytest.raises(SuiteError, match=message):
        opened(model, data, **options)


@pytest.mark.parametrize("content", [b"", b"no arrays", b"PK\x03\x04 cut off"])
def test_a_file_that_holds_no_arrays_is_refused(content: bytes) -> None:
    Path("data.npz").write_bytes(content)
    with pytest.raises(SuiteError, match=r"data\.npz: cannot be read.*np\.savez"):
        opened(NET, "data.npz")


def test_objects_in_a_file_of_arrays_are_not_made() -> None:
    np.savez("data.npz", images=np.array([{}], dtype=object), labels=Y)
    with pytest.raises(SuiteError, match="allow_pickle"):
        opened(NET, "data.npz")
