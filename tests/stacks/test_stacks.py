"""Tests of suite.stacks: the stack that is loaded is the one of the framework that is installed."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import pytest

from suite.stacks import loading


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


def test_no_framework_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ModuleNotFoundError, match="tensorflow"):
        loading.load()
