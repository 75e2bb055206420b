"""Tests of which stack is loaded: that of the framework that is installed."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from suite.errors import SuiteError
from suite.stacks import loading
from suite.stacks.protocol import Stack


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the modules that are imported from now on; TensorFlow is 1.15.5."""
    names: list[str] = []

    def record(name: str) -> SimpleNamespace:
        names.append(name)
        return SimpleNamespace(__version__="1.15.5")

    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(importlib, "import_module", record)
    return names


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_keras_backend_decides(
    loaded: list[str], monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", backend)
    loading.load()
    assert loaded == [f"suite.stacks.{backend}"]


def test_tensorflow_1_is_the_graph_stack(loaded: list[str]) -> None:
    loading.load()
    assert loaded == ["tensorflow", "suite.stacks.graph"]


def test_tensorflow_backend_and_a_newer_tensorflow_is_the_eager_stack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names: list[str] = []

    def record(name: str) -> SimpleNamespace:
        names.append(name)
        return SimpleNamespace(__version__="2.10.1")

    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.setattr(importlib, "import_module", record)
    loading.load()
    assert names == ["tensorflow", "suite.stacks.eager"]


@pytest.mark.parametrize("backend", ["numpy", "Torch", "theano"])
def test_an_unknown_backend_is_refused_before_anything_is_imported(
    loaded: list[str], monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises(SuiteError, match=f"one of tensorflow, jax, torch. Received: {backend}"):
        loading.load()
    assert loaded == []


@pytest.fixture
def keras_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of Keras' settings, in a folder that is Keras' own for now."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path / "keras.json"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "Expecting value"),
        ("{'floatx': 1}", "Expecting property name"),
        ("[]", "it is no JSON object"),
        ('{"floatx": "float8"}', "floatx is 'float8', expected float16 or float32 or float64"),
        ('{"floatx": ["float32"]}', "floatx is ['float32'], expected float16"),
        ('{"epsilon": 1}', "epsilon is 1, expected a float"),
        ('{"image_data_format": "channels"}', "image_data_format is 'channels', expected channels"),
    ],
)
def test_settings_that_keras_would_fail_on_or_pass_over_are_refused_in_one_line(
    loaded: list[str], keras_json: Path, content: str, told: str
) -> None:
    keras_json.write_text(content)
    with pytest.raises(SuiteError, match=re.escape(f"{keras_json} is no file of Keras'")) as caught:
        loading.load()
    assert told in str(caught.value)
    assert f"`rm {keras_json}`" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert loaded == []


@pytest.mark.parametrize("content", [None, "{}", '{"floatx": "float64", "epsilon": 1e-7}'])
def test_settings_that_keras_takes_are_left_to_it(
    loaded: list[str], keras_json: Path, content: str | None
) -> None:
    if content is not None:
        keras_json.write_text(content)
    loading.load()
    assert loaded == ["tensorflow", "suite.stacks.graph"]


def test_a_backend_that_only_the_settings_name_is_refused(
    loaded: list[str], keras_json: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras_json.write_text('{"backend": "jax"}')
    with pytest.raises(SuiteError, match="backend is 'jax', expected tensorflow"):
        loading.load()
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    loading.load()
    assert loaded == ["suite.stacks.torch"]


def test_the_settings_of_the_running_keras_are_told(stack: Stack) -> None:
    found = loading.settings(stack)
    assert found == {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}
    stack.keras.backend.set_epsilon(1e-3)
    try:
        assert loading.settings(stack)["epsilon"] == 1e-3
    finally:
        stack.keras.backend.set_epsilon(1e-7)


def test_the_threads_are_told_in_whole_numbers(stack: Stack) -> None:
    found = stack.threads()
    assert found["intra_op"] >= 0
    assert set(map(type, found.values())) == {int}


def test_no_framework_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ModuleNotFoundError, match="tensorflow"):
        loading.load()
