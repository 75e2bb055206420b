"""Tests of what a Keras file would run: it is refused before anything is made of it."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suite.diagnose import inspection
from suite.diagnose.inspection import MEMBERS, RUNNERS, faults, inspect_file
from suite.errors import SuiteError
from tests.bounds import within

h5py = pytest.importorskip("h5py", reason="comes with every Keras")


def entry(kind: Any, config: Any = None, **more: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": "mine"} if config is None else config, **more}


HONEST = {
    "Keras 3": entry("Conv2D", module="keras.layers", registered_name=None),
    "a model": entry("Functional", module="keras.src.models.functional"),
    "a model of Keras 2": entry("Functional", module="keras.engine.functional"),
    "tf_keras": entry("Sequential", module="tf_keras.src.engine.sequential"),
    "legacy": entry("BatchNormalization"),
    "an operation": entry("GetItem", module="keras.src.ops.numpy", registered_name="GetItem"),
    "a policy": entry("DTypePolicy", module="keras", registered_name=None),
    "of TensorFlow": entry("Constant", module="tensorflow.python.ops.init_ops_v2"),
    "ConvNeXt's": entry("LayerScale", module="keras.src.applications.convnext"),
    "Inception's": entry("CustomScaleLayer", module="keras.src.applications.inception_resnet_v2"),
    "an activation": entry("function", "relu", module="builtins", registered_name="function"),
    "a loss": entry("function", "mae", module="keras.losses", registered_name=None),
    "a slice": entry("__slice__", {"start": None, "stop": 3, "step": None}),
    "torch's optimizer": entry("SGD", module="keras.src.backend.torch.optimizers.torch_sgd"),
    "a registered optimizer": entry("Custom>Adam"),
    "an operator": entry("TFOpLambda", {"name": "tf.math.add", "function": "math.add"}),
    "a cut": entry("SlicingOpLambda", {"name": "cut", "function": "__operators__.getitem"}),
    "a scaling": entry("TFOpLambda", {"name": "f", "function": "keras.backend.mean"}),
    "a resize": entry("TFOpLambda", {"name": "f", "function": "compat.v1.image.resize"}),
}

HOSTILE = {
    "Lambda": entry("Lambda", module="keras.layers"),
    "legacy Lambda": entry("Lambda", {"function": ["4wEAAAA=", None, None]}),
    "a registered Lambda": entry("Harmless", module="keras.layers", registered_name="Lambda"),
    "a package's Lambda": entry("Custom>Lambda"),
    "a lambda": entry("__lambda__", {"value": "4wEA"}),
    "a lambda without a class": {"function": ["4wEA"], "function_type": "lambda"},
    "a type": entry("__typespec__", [], module="os", spec_name="system", registered_name=None),
    "another module": entry("Popen", {"args": ["touch", "x"]}, module="subprocess"),
    "a module of the folder": entry("Net", module="nets_of_mine"),
    "a neighbour's name": entry("Dense", module="keras_of_mine.layers"),
    "keras.evil": entry("Dense", module="keras.evil.layers"),
    "a module that is none": entry("Dense", module=["os"]),
    "a function as a class": entry("system", {"command": "x"}, module="os"),
    "a loader": entry("load_model", {"filepath": "x"}, module="keras.models"),
    "within a module": entry("utils.get_file", {"origin": "http://x"}, module="keras"),
    "a download": entry("function", "get_file", module="keras.utils"),
    "a command": entry("function", "system", module="os", registered_name="function"),
    "a registered command": entry("function", "relu", module="os", registered_name="system"),
    "unsafe mode": entry("function", "enable_unsafe_deserialization", module="keras.config"),
    "a file's words": entry("StringLookup", {"vocabulary": "/etc/passwd"}, module="keras.layers"),
    "beside torch": entry("SGD", module="keras.src.backend.torch.random"),
    "pickled torch": entry("TorchModuleWrapper", module="keras.layers"),
    "a SavedModel": entry("TFSMLayer", {"filepath": "x"}, module="keras.layers"),
    "a writing call": entry("TFOpLambda", {"name": "f", "function": "io.write_file"}),
    "a library": entry("TFOpLambda", {"name": "f", "function": "load_op_library"}),
    "Python": entry("TFOpLambda", {"name": "f", "function": "py_function"}),
    "a raw operation": entry("TFOpLambda", {"name": "f", "function": "raw_ops.WriteFile"}),
    "a setting": entry("TFOpLambda", {"name": "f", "function": "keras.backend.set_floatx"}),
    "no function": entry("TFOpLambda", {"name": "f"}),
    "a graph's node": entry("TensorFlowOpLayer", {"node_def": "op: 'WriteFile'"}),
    "a method": entry("ClassMethod", {"cls_symbol": "x", "method_name": "y"}),
    "no name": entry(["Lambda"]),
    "a function without a name": entry("function", {"a": 1}, module="builtins"),
}


@pytest.mark.parametrize("config", HONEST.values(), ids=HONEST.keys())
def test_what_keras_computes_with_has_no_fault(config: Any) -> None:
    assert not list(faults({"class_name": "Sequential", "config": {"layers": [config]}}))


@pytest.mark.parametrize("config", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_runs_code_is_found_wherever_it_lies(config: Any) -> None:
    wrapped = entry("TimeDistributed", {"name": "around", "layer": {"deep": [[config]]}})
    network = {"class_name": "Sequential", "config": {"layers": [HONEST["legacy"], wrapped]}}
    found = list(faults(network))
    assert len(found) == 1
    assert found[0].startswith(("layer 'mine': ", "layer 'f': ", "layer 'around': "))


def test_every_layer_of_this_keras_is_known_or_refused() -> None:
    from suite.diagnose.loading import framework  # noqa: PLC0415 - takes seconds

    layers = framework().layers
    names = {name for name in dir(layers) if isinstance(getattr(layers, name), type)}
    refused = {name for name in names if list(faults(entry(name, module="keras.layers")))}
    assert refused == names & RUNNERS
    assert "Lambda" in refused


def test_depth_and_size_are_no_matter() -> None:
    deep: Any = HOSTILE["Lambda"]
    for _ in range(100_000):
        deep = [deep]
    assert len(list(faults(deep))) == 1


def keras_file(path: Path, config: Any, *, weights: bytes = b"", **members: bytes) -> Path:
    """Write a .keras file."""
    with zipfile.ZipFile(str(path), "w", zipfile.ZIP_DEFLATED) as archive:
        text = config if isinstance(config, (str, bytes)) else json.dumps(config)
        content = dict(zip(MEMBERS, ("{}", text, weights or hdf5())))
        for name, value in {**content, **members}.items():
            archive.writestr(name, value)
    return path


def hdf5(**arrays: Any) -> bytes:
    """Make the content of a file of weights."""
    content = io.BytesIO()
    with h5py.File(content, "w") as opened:
        for name, array in (arrays or {"kernel": np.ones(3)}).items():
            opened.create_dataset(f"layers/{name}", data=array)
    return content.getvalue()


def legacy_file(path: Path, config: Any, training: Any = None) -> Path:
    """Write a .h5 file."""
    with h5py.File(str(path), "w") as opened:
        opened.attrs["model_config"] = json.dumps(config).encode()
        if training is not None:
            opened.attrs["training_config"] = json.dumps(training).encode()
        opened.create_dataset("kernel", data=np.ones(3))
    return path


def test_both_kinds_of_files_are_looked_into(tmp_path: Path) -> None:
    for config, hostile in ((HONEST["legacy"], False), (HOSTILE["Lambda"], True)):
        for path in (
            keras_file(tmp_path / "a.keras", config),
            legacy_file(tmp_path / "a.h5", config),
            legacy_file(tmp_path / "b.keras", config),  # Keras 2 tells by the content
        ):
            if hostile:
                with pytest.raises(SuiteError, match=r"is not loaded\. Found: layer 'mine': a La"):
                    inspect_file(path)
            else:
                assert inspect_file(path) == ""


def test_a_training_of_ones_own_is_told_and_does_not_refuse_the_network(tmp_path: Path) -> None:
    loss = entry("LossOfMine", module="losses_of_mine")
    config = {**HONEST["legacy"], "compile_config": {"loss": loss}}
    found = inspect_file(keras_file(tmp_path / "a.keras", config))
    assert "'LossOfMine' of losses_of_mine" in found
    assert "LossOfMine" in inspect_file(legacy_file(tmp_path / "a.h5", HONEST["legacy"], [loss]))
    inner = {"class_name": "Sequential", "config": {"layers": [config]}}
    with pytest.raises(SuiteError, match="LossOfMine"):  # an inner network's is made all the same
        inspect_file(keras_file(tmp_path / "b.keras", inner))


@pytest.mark.parametrize("name", ["../evil", "/evil", "assets/x", "model.weights.npz", "a\nb"])
def test_a_file_that_does_not_belong_is_refused(tmp_path: Path, name: str) -> None:
    path = keras_file(tmp_path / "a.keras", HONEST["legacy"], **{name: b"x"})
    with pytest.raises(SuiteError, match=r"Expected: metadata\.json, config\.json, model"):
        inspect_file(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_comes_twice_is_refused(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "a.keras", HOSTILE["Lambda"])
    with zipfile.ZipFile(str(path), "a") as archive:
        archive.writestr("config.json", json.dumps(HONEST["legacy"]))
    with pytest.raises(SuiteError, match=r"Found: the file 'config\.json'\. Expected"):
        inspect_file(path)


def test_a_file_that_swells_is_refused_before_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "SLACK_BYTES", 1 << 20)
    zeros = bytes(4 << 20)
    for member in ("config.json", "model.weights.h5", "metadata.json"):
        path = keras_file(tmp_path / "a.keras", HONEST["legacy"], **{member: zeros})
        with pytest.raises(SuiteError, match="bytes when unpacked"):
            inspect_file(path)
    path = legacy_file(tmp_path / "a.h5", HONEST["legacy"])
    with h5py.File(str(path), "a") as opened:
        opened.create_dataset("zeros", shape=(1 << 40,), dtype="f4", chunks=(1 << 20,))
    with pytest.raises(SuiteError, match="bytes of weights"):
        inspect_file(path)


@pytest.mark.parametrize("way", ["link", "storage", "virtual"])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_weights_that_lie_elsewhere_are_refused(tmp_path: Path, way: str, suffix: str) -> None:
    path = legacy_file(tmp_path / "a.h5", HONEST["legacy"])
    other = tmp_path / "secret"
    other.write_bytes(hdf5() + bytes(100))
    with h5py.File(str(path), "a") as opened:
        group = opened.create_group("deep")
        group["round"] = opened  # a circle
        if way == "link":
            group["away"] = h5py.ExternalLink(str(other), "/layers/kernel")
        elif way == "storage":
            group.create_dataset("away", (4,), "u1", external=[(str(other), 0, 4)])
        else:
            layout = h5py.VirtualLayout((3,), "f8")
            layout[:] = h5py.VirtualSource(str(other), "layers/kernel", (3,))
            group.create_virtual_dataset("away", layout)
    if suffix == ".keras":
        content = path.read_bytes()
        path = keras_file(tmp_path / "a.keras", HONEST["legacy"], weights=content)
    with pytest.raises(SuiteError, match="weights 'away' in another file"):
        inspect_file(path)


def test_a_circle_of_groups_ends(tmp_path: Path) -> None:
    path = legacy_file(tmp_path / "a.h5", HONEST["legacy"])
    with h5py.File(str(path), "a") as opened:
        outer = opened.create_group("outer")
        outer.create_group("inner")["again"] = outer
        opened["soft"] = h5py.SoftLink("/nowhere")
    with within(60):
        assert inspect_file(path) == ""


def test_a_file_of_endless_links_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "LINKS", 50)
    path = legacy_file(tmp_path / "a.h5", HONEST["legacy"])
    assert inspect_file(path) == ""
    with h5py.File(str(path), "a") as opened:
        for number in range(50):
            opened[f"soft{number}"] = h5py.SoftLink("/nowhere")
    with pytest.raises(SuiteError, match="in 51 places or more"):
        inspect_file(path)
