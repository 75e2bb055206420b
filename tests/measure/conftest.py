"""Fixtures that the tests of measurements share: noise, and cases small enough to run."""

from __future__ import annotations

from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from suite.cases import Case
from suite.data import CLASSES, Dataset, Split
from suite.measure import pipeline, run
from suite.measure.questions import fixes
from suite.networks.types import Images, Labels
from tests.conftest import AROUND

if TYPE_CHECKING:
    from collections.abc import Iterator

    from suite.records import Record
    from suite.stacks.protocol import Stack

ENVIRONMENT: dict[str, Any] = {
    "versions": {"python": "3.11.7", "numpy": np.__version__},
    **AROUND,
    "lock_digest": "sha256:1",
    "data_digest": "sha256:2",
    "code_digest": "sha256:3",
    "machine": {"fingerprint": "here"},
}
SMALL = MappingProxyType(
    {
        "width": 0.125, "size_px": 32, "batch_size": 8, "epochs": 2, "train_images": 27,
        "test_images": 40, "learning_rate": 0.05,
    }
)  # fmt: skip
NORMALISED = Case("resnet50", **{**SMALL, "epochs": 1})


@pytest.fixture
def images() -> Images:
    return np.random.default_rng(0).random((8, 8, 8, 3), dtype=np.float32)


@pytest.fixture
def labels() -> Labels:
    return np.arange(8) % 5


def coloured() -> Dataset:
    """Draw noise in a colour for each class, 86 training and 86 test images."""
    rng = np.random.default_rng(0)
    labels = np.arange(2 * CLASSES) % CLASSES
    colours = rng.integers(0, 200, (CLASSES, 1, 1, 3))[labels]
    names = np.array([f"{index:05}" for index in range(len(labels))])
    train, test = (
        Split(
            (colours + rng.integers(0, 56, (len(labels), 32, 32, 3))).astype(np.uint8),
            labels,
            np.full(len(labels), -1),
            names,
        )
        for _ in range(2)
    )
    return Dataset("synthetic", train, test, "sha256:0")


def run_small(stack: Stack, case: Case, *, seed: int = 0, **more: Any) -> Record:
    """Run a case on `coloured` and return its record."""
    return pipeline.run_case(
        case,
        seed=seed,
        release="tf-2.21",
        tier="small",
        stack=stack,
        dataset=coloured(),
        environment=ENVIRONMENT,
        **more,
    )


@contextmanager
def shallow_network() -> Iterator[None]:
    """Put a network with two BatchNorm layers in the place of ResNet-50, which takes long."""

    def seeded(stack: Stack, case: Case, *, seed: int, **_: Any) -> Any:
        stack.seed(seed)
        return build(stack, case)

    def build(stack: Stack, case: Case) -> Any:
        layers = stack.keras.layers
        inputs = stack.keras.Input((case.size_px, case.size_px, 3))
        x = layers.Conv2D(4, 3, strides=2)(inputs)
        x = layers.BatchNormalization(name="first")(x)
        x = layers.Activation("relu")(x)
        x = layers.Dense(8)(layers.Flatten()(x))
        x = layers.BatchNormalization(name="second")(x)
        return stack.keras.Model(inputs, layers.Dense(CLASSES)(x))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "initial_model", seeded)
        patch.setattr(fixes, "build", build)
        yield


@pytest.fixture(scope="module")
def shallow() -> Iterator[None]:
    """Train `shallow_network` in the tests that ask for it."""
    with shallow_network():
        yield
