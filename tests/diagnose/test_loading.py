"""Tests of how a user's network is loaded: files, builders, what it takes, and what goes wrong."""

from __future__ import annotations

import importlib
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from suite.diagnose.loading import ImageShape, framework, image_shape, load_both
from suite.errors import SuiteError

keras = framework()
KERAS_3 = hasattr(keras, "ops")
HOME = importlib.import_module(keras.Model.__module__.partition(".")[0])
VERSION = tuple(map(int, HOME.__version__.split(".")[:2]))
TENSORFLOWS = HOME.__name__ == "tensorflow"  # up to 2.5 Keras is part of it
MODERN = not TENSORFLOWS and VERSION >= (2, 12)  # knows .keras files
GRAPH = TENSORFLOWS and not HOME.executing_eagerly()


@pytest.fixture
def network() -> Any:
    """Return a small compiled network of 3 classes that made two steps."""
    model = keras.Sequential(
        [
            keras.Input((8, 6, 3)),
            keras.layers.Conv2D(2, 3),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    model.compile(keras.optimizers.SGD(0.01), keras.losses.MeanSquaredError())
    model.fit(np.zeros((4, 8, 6, 3)), np.zeros((4, 3)), batch_size=2, verbose=0)
    return model


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a module of builders in the current folder, ``builders_of_mine``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "builders_of_mine.py"
    path.write_text(
        "from suite.diagnose.loading import framework\n"
        "keras = framework()\n"
        "def network():\n"
        "    return keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(),\n"
        "                             keras.layers.Dense(5)])\n"
        "def number():\n"
        "    return 5\n"
        "def fails():\n"
        "    raise KeyError('weights')\n"
        "def needs(argument):\n"
        "    return network()\n"
        "def leaves():\n"
        "    raise SystemExit(0)\n"
        "def interrupts():\n"
        "    raise KeyboardInterrupt\n"
        "def generates():\n"
        "    raise GeneratorExit\n"
    )
    yield path
    sys.modules.pop("builders_of_mine", None)  # it lies in a folder of this test


SUFFIXES = [".keras", ".h5"] if MODERN else [".h5"]


@pytest.mark.skipif(GRAPH, reason="a diagnosis needs eager execution")
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.filterwarnings("ignore")  # Keras 2 warns of .h5
def test_a_file_gives_the_network_with_its_optimizer(
    network: Any, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"net{suffix}"
    network.save(str(path))
    loaded, _ = load_both(str(path), keras)
    for mine, theirs in zip(loaded.get_weights(), network.get_weights()):
        assert (mine == theirs).all()
    assert int(loaded.optimizer.iterations) == 2


@pytest.mark.skipif(not MODERN, reason="needs .keras files")
@pytest.mark.filterwarnings("ignore")  # Keras 3.15 warns of its own arrays on NumPy 2.4
def test_a_file_whose_loss_is_unknown_is_loaded_without_its_optimizer(
    network: Any, tmp_path: Path
) -> None:
    def loss_of_mine(truth: Any, predicted: Any) -> Any:
        return (predicted - truth) ** 2

    network.compile("sgd", loss_of_mine)
    network.save(str(tmp_path / "net.keras"))
    told: list[str] = []
    assert load_both(str(tmp_path / "net.keras"), keras, tell=told.append)[0].count_params() > 0
    assert told[0].startswith("note: loaded without its optimizer")
    assert "loss_of_mine" in told[0]


@pytest.mark.skipif(not MODERN, reason="needs .keras files")
def test_a_class_of_the_users_own_is_an_error_that_names_it_and_the_builder(
    tmp_path: Path,
) -> None:
    class LayerOfMine(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs

    model = keras.Sequential([keras.Input((4, 4, 3)), LayerOfMine(), keras.layers.Flatten()])
    model.save(str(tmp_path / "net.keras"))
    with pytest.raises(SuiteError, match="LayerOfMine") as caught:
        load_both(str(tmp_path / "net.keras"), keras)
    assert "a class of your own" in str(caught.value)
    assert "PACKAGE.MODULE:FUNCTION" in str(caught.value)


@pytest.mark.filterwarnings("ignore")  # Keras 2 warns of .h5
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_lambda_layer_does_not_run_and_the_error_tells_the_way_out(
    tmp_path: Path, suffix: str
) -> None:
    witness = tmp_path / "ran"
    written = str(witness)
    double = keras.layers.Lambda(
        lambda x: x if open(written, "w").close() else 2 * x,  # noqa: PTH123 - a stranger's
        name="mine",
    )
    inner = keras.Sequential([keras.Input((4, 4, 3)), double])
    path = str(tmp_path / f"net{suffix}")
    keras.Sequential([keras.Input((4, 4, 3)), inner, keras.layers.Flatten()]).save(path)
    witness.unlink()  # written while the network was made
    with pytest.raises(SuiteError, match="layer 'mine': a Lambda layer, which runs code") as caught:
        load_both(path, keras)
    assert "safe_mode=False" in str(caught.value)
    assert not witness.exists()


@pytest.mark.filterwarnings("ignore")
def test_a_saved_model_is_an_error_that_tells_the_ways_out(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(SuiteError, match="a SavedModel, whose graph may do anything") as caught:
        load_both(str(tmp_path), keras)
    assert "TF_USE_LEGACY_KERAS=1" in str(caught.value)


@pytest.mark.parametrize("kind", ["pipe", "/dev/zero"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "net.keras"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to(kind)
    with pytest.raises(SuiteError, match="a pipe or a device"):
        load_both(str(path), keras)


@pytest.mark.parametrize("name", ["net.keras", "net.h5", "net.txt"])
@pytest.mark.parametrize("content", [b"", b"no network", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_network_is_an_error_that_names_it(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SuiteError, match=f"{name}: .*cannot load it") as caught:
        load_both(str(path), keras)
    assert "Save it anew" in str(caught.value)


@pytest.mark.parametrize("wrote", [2, 3])
def test_a_file_of_another_keras_is_read_by_it_or_the_error_says_how(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrote: int
) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "net.h5"
    with h5py.File(str(path), "w") as file:
        file.attrs["keras_version"] = f"{wrote}.9.0"
        file.attrs["model_config"] = "{}"

    def refuse(*_: Any, **__: Any) -> Any:
        raise TypeError("Unrecognized keyword arguments: batch_input_shape")

    monkeypatch.setattr(keras.models, "load_model", refuse)
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    own = 3 if KERAS_3 else 2
    found = "batch_input_shape" if wrote == own else "a file that Keras"
    with pytest.raises(SuiteError, match=found) as caught:
        load_both(str(path), keras)
    assert ("TF_USE_LEGACY_KERAS" in str(caught.value)) == (wrote != own)
    if wrote < own:
        legacy = SimpleNamespace(Model=list, models=SimpleNamespace(load_model=lambda *_, **__: []))
        monkeypatch.setitem(sys.modules, "tf_keras", legacy)
        told: list[str] = []
        assert load_both(str(path), keras, tell=told.append)[0] == []
        assert told == ["note: written by Keras 2, so read by tf_keras"]


def test_a_zip_of_something_else_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "net.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "nothing")
    with pytest.raises(SuiteError, match=r"Found: the file 'notes\.txt'\. Expected: metadata"):
        load_both(str(path), keras)


@pytest.mark.skipif(not MODERN, reason="needs .keras files")
@pytest.mark.filterwarnings("ignore")
def test_what_only_the_framework_can_refuse_is_an_error(
    monkeypatch: pytest.MonkeyPatch, network: Any, tmp_path: Path
) -> None:
    tensorflow = pytest.importorskip("tensorflow", reason="its errors have no base in common")
    network.save(str(tmp_path / "net.keras"))

    def refuse(*_: Any, **__: Any) -> Any:
        raise tensorflow.errors.InvalidArgumentError(None, None, "seed must have shape [2]")

    monkeypatch.setattr(keras.models, "load_model", refuse)
    with pytest.raises(SuiteError, match=r"cannot load it\. Found: InvalidArgumentError: seed"):
        load_both(str(tmp_path / "net.keras"), keras)


@pytest.mark.filterwarnings("ignore")
def test_weights_alone_are_an_error(network: Any, tmp_path: Path) -> None:
    path = tmp_path / "net.weights.h5"
    network.save_weights(str(path))
    with pytest.raises(SuiteError, match="not weights alone"):
        load_both(str(path), keras)


@pytest.mark.parametrize("name", ["absent.keras", "folder/absent.h5", "absent", "a.b.c"])
def test_a_missing_file_is_an_error_that_tells_what_may_be_given(name: str) -> None:
    with pytest.raises(SuiteError, match=rf"{name}: no such file.*PACKAGE\.MODULE:FUNCTION"):
        load_both(name, keras)


def test_a_folder_of_something_else_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"a folder without saved_model\.pb"):
        load_both(str(tmp_path), keras)


@pytest.mark.usefixtures("module")
def test_a_builder_gives_the_network() -> None:
    assert load_both("builders_of_mine:network", keras)[0].output_shape == (None, 5)


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("absent_module:network", "absent_module cannot be imported"),
        (":network", " cannot be imported"),
        ("builders_of_mine:absent", "has no function 'absent'"),
        ("builders_of_mine:", "has no function ''"),
        ("builders_of_mine:number", r"no network\. Found: a builtins\.int"),
        ("builders_of_mine:fails", r"it failed\. Found: KeyError: 'weights' \(.*\.py:9\)"),
        ("builders_of_mine:needs", "it failed.*argument"),
        ("builders_of_mine:leaves", r"it failed\. Found: SystemExit: 0 "),
        ("builders_of_mine:interrupts", r"it failed\. Found: KeyboardInterrupt"),
        ("builders_of_mine:generates", r"it failed\. Found: GeneratorExit"),
    ],
)
def test_a_builder_that_gives_no_network_is_an_error_that_tells_why(name: str, found: str) -> None:
    with pytest.raises(SuiteError, match=found):
        load_both(name, keras)


def test_a_module_that_cannot_be_read_is_an_error_that_tells_where(module: Path) -> None:
    module.with_name("broken_of_mine.py").write_text("def network(:\n")
    with pytest.raises(SuiteError, match=r"broken_of_mine cannot be imported.*SyntaxError"):
        load_both("broken_of_mine:network", keras)


def test_a_long_message_of_keras_is_shortened(module: Path) -> None:
    module.with_name("long_of_mine.py").write_text("raise ValueError('x' * 10_000)\n")
    with pytest.raises(SuiteError) as caught:
        load_both("long_of_mine:network", keras)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("backend", ["torch", "jax", "abacus"])
def test_a_framework_that_is_not_there_is_an_error_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    def refuse(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setattr("importlib.import_module", refuse)
    with pytest.raises(SuiteError, match="KERAS_BACKEND is tensorflow, jax or torch"):
        framework()


def ends(shape: tuple[Any, ...], outputs: int = 3) -> Any:
    """Return a network from images of `shape` to scores."""
    inputs = keras.Input(shape)
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, keras.layers.Dense(outputs)(x))


def test_the_networks_own_shape_decides(network: Any) -> None:
    assert image_shape(network) == ImageShape(8, 6, 3)
    assert image_shape(ends((8, 8, 1)), size_px=8) == ImageShape(8, 8, 1)


def test_an_open_size_is_the_users_to_give() -> None:
    model = ends((None, None, 3))
    assert image_shape(model, size_px=20) == ImageShape(20, 20, 3)
    with pytest.raises(SuiteError, match="--size PX"):
        image_shape(model)
    with pytest.raises(SuiteError, match="8 pixels a side, not 20"):
        image_shape(ends((8, 8, 3)), size_px=20)


def test_a_network_of_anything_but_images_is_refused() -> None:
    vector = keras.Sequential([keras.Input((7,)), keras.layers.Dense(3)])
    with pytest.raises(SuiteError, match=r"an input of \(None, 7\)"):
        image_shape(vector)
    with pytest.raises(SuiteError, match="1 or 3 channels"):
        image_shape(ends((3, 32, 32)))
    first, second = keras.Input((4, 4, 3)), keras.Input((4, 4, 3))
    both = keras.Model([first, second], keras.layers.Add()([first, second]))
    with pytest.raises(SuiteError, match="one batch of images"):
        image_shape(both)
