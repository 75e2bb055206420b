"""Tests of which stack is loaded: that of the framework that is installed."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest

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


def test_the_library_digest_covers_cleverhans_and_keras_batch_norm(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keras = stack.keras
    cleverhans, batch_norm = tmp_path / "cleverhans" / "__init__.py", tmp_path / "norm.py"
    cleverhans.parent.mkdir()
    for path in (cleverhans, batch_norm):
        path.write_text("VALUE = 1\n")
    monkeypatch.setattr(importlib.import_module("cleverhans"), "__file__", str(cleverhans))
    monkeypatch.setattr(
        loading.inspect,
        "getsourcefile",
        {keras.layers.BatchNormalization: str(batch_norm)}.__getitem__,
    )
    digests = [loading.library_digest(stack)]
    for path in (cleverhans, batch_norm):
        path.write_text("VALUE = 2\n")
        digests.append(loading.library_digest(stack))
    assert len(set(digests)) == 3


def test_no_framework_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ModuleNotFoundError, match="tensorflow"):
        loading.load()
