"""Fixtures that several of the suite's own tests share."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from suite.data import CLASSES, Dataset, Split
from suite.networks.types import Model
from suite.records import SCHEMA_VERSION, Record, record_key
from suite.stacks.loading import load
from suite.stacks.protocol import Stack

if TYPE_CHECKING:
    from typing import TypeAlias

MakeRecord: TypeAlias = "Callable[..., Record]"


@pytest.fixture
def make_record() -> MakeRecord:
    """Give a function that makes a valid record; its arguments replace fields."""
    return record_of


AROUND = {
    "library_digest": "sha256:4",
    "variables": {},
    "threads": {"cores": 2},
    "instructions": [],
    "keras": {},
}
"""What every run states of its making beside its versions and digests."""


def record_of(case: str = "net-plain", seed: int = 0, **changes: Any) -> Record:
    """Make a valid record; `changes` replace fields."""
    settings = changes.pop("settings", {"architecture": "lenet5", "steps": 3, "test_images": 1000})
    environment = _environment(**changes.pop("environment", {}))
    content = {
        "schema": SCHEMA_VERSION,
        "release": "tf-2.21",
        "tier": "small",
        "question": "training",
        "key": record_key(settings, environment),
        "metrics": {"clean_accuracy": 0.8},
        "curves": {"loss": [3.4, 2.1, 1.0]},
        "statistics": [{"layer": "bn1", "distance": 0.5}],
        "timing": {"step_s": [0.1, 0.2]},
        "started_at": "2024-05-01T12:00:00+00:00",
        "wall_s": 1.5 + seed / 64,  # no two runs take the same time
    }
    return Record(
        **{**content, **changes}, case=case, seed=seed, settings=settings, environment=environment
    )


def _environment(**changes: Any) -> dict[str, Any]:
    machine = {"fingerprint": changes.pop("fingerprint", "machine-a"), "cores": 2}
    content = {
        **({} if "versions" in changes else {"stack": "eager"}),  # as versions of a framework tell
        "versions": {"python": "3.11.7", "numpy": "2.0.0"},
        **AROUND,
        "lock_digest": "sha256:1",
        "data_digest": "sha256:2",
        "code_digest": "sha256:3",
        "machine": machine,
    }
    if isinstance(changes.get("versions"), dict):
        changes["versions"] = {"python": "3.11.7", **changes["versions"]}
    return {**content, **changes}


@pytest.fixture(scope="session")
def stack() -> Stack:
    """Load the stack of the framework that is installed, once for all tests."""
    return load()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's cache out of the tests, and those of one process out of another's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUITE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def light_garbage(request: pytest.FixtureRequest) -> None:
    """Collect what the test before left, and never again look at what outlives it.

    Keras collects garbage whenever it is seeded, and TensorFlow and CleverHans keep every graph
    that an attack was traced in: each collection would take longer than the one before.
    """
    if "stack" in request.fixturenames:
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session")
def noise() -> Dataset:
    """Draw three images a class of coloured noise, 32 pixels a side, for both splits."""
    rng = np.random.default_rng(0)
    labels = np.arange(3 * CLASSES, dtype=np.int64) % CLASSES
    colours = rng.integers(0, 200, (CLASSES, 1, 1, 3))
    images = (colours[labels] + rng.integers(0, 56, (len(labels), 32, 32, 3))).astype(np.uint8)
    names = np.array([f"{index:05}" for index in range(len(labels))])
    split = Split(images, labels, np.full(len(labels), -1), names)
    return Dataset("synthetic", split, split, "sha256:0")


@pytest.fixture
def foreign_model(stack: Stack) -> Model:
    """Build a small BatchNorm network whose moving statistics belong to other data."""
    stack.seed(3)
    layers = stack.keras.layers
    inputs = stack.keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.Activation("relu")(x)
    outputs = layers.Dense(5, name="logits")(layers.Flatten()(x))
    model = stack.keras.Model(inputs, outputs)
    gamma, beta, mean, variance = model.get_layer("bn").get_weights()
    rng = np.random.default_rng(1)
    mean = rng.normal(0, 0.5, mean.shape)
    variance = rng.uniform(0.5, 3, variance.shape)
    model.get_layer("bn").set_weights([gamma + 0.3, beta - 0.2, mean, variance])
    return model


@pytest.fixture
def deep(stack: Stack) -> Model:
    """Build a network with a nested BatchNorm on images and another one on vectors."""
    stack.seed(0)
    layers, keras = stack.keras.layers, stack.keras
    inner_inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu")(inner_inputs)
    inner = keras.Model(inner_inputs, layers.BatchNormalization(name="inside")(x))
    inputs = keras.Input((8, 8, 3))
    x = layers.Dense(6)(layers.Flatten()(inner(inputs)))
    x = layers.BatchNormalization(name="outside", momentum=0.7)(x)
    return keras.Model(inputs, layers.Dense(5)(x))
