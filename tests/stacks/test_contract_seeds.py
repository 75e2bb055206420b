"""Tests of what every stack tells of itself alike, and of what its one seed governs."""

from __future__ import annotations

import importlib
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from suite.networks.phases import PHASES
from tests.stacks.conftest import Contract

if TYPE_CHECKING:
    from suite.networks.types import Images, Labels, Model
    from suite.stacks.protocol import Stack

EPSILON = 0.05
RATE = 0.1


def test_one_seed_governs_python_numpy_initial_weights_and_dropout(stack: Stack) -> None:
    def drawn(seed: int) -> list[float]:
        stack.seed(seed)
        layers = stack.keras.layers
        dense = layers.Dense(1)
        dense.build((None, 2))
        inputs = stack.keras.Input((64,))
        dropping = stack.network(stack.keras.Model(inputs, layers.Dropout(0.5)(inputs)))
        return [
            random.random(),  # noqa: S311
            np.random.random(),
            float(dense.get_weights()[0][0, 0]),
            *dropping.logits(np.ones((1, 64), np.float32), training=True).ravel().tolist(),
        ]

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert first == again
    assert all(a != b for a, b in zip(first[:3], other[:3]))
    assert first[3:] != other[3:]


def test_dropout_draws_anew_at_every_step(stack: Stack, images: Images, labels: Labels) -> None:
    keras = stack.keras
    stack.seed(0)
    inputs = keras.Input((8, 8, 3))
    dropped = keras.layers.Dropout(0.5)(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(5)(dropped))
    step = stack.train_step(model, phases=PHASES["intended"], epsilon=EPSILON)
    first, second = (step(images, labels, 0.0) for _ in range(2))
    assert first.clean_ce != second.clean_ce
    assert first.adversarial_ce == second.adversarial_ce


def test_two_runs_of_one_seed_have_the_same_losses(
    stack: Stack, images: Images, labels: Labels
) -> None:
    def losses() -> list[float]:
        stack.seed(5)
        layers = stack.keras.layers
        inputs = stack.keras.Input((8, 8, 3))
        x = layers.Dropout(0.2)(layers.BatchNormalization()(layers.Conv2D(4, 3)(inputs)))
        model = stack.keras.Model(inputs, layers.Dense(5)(layers.Flatten()(x)))
        step = stack.train_step(model, phases=None, epsilon=0.0)
        return [step(images, labels, RATE).loss for _ in range(3)]

    assert losses() == losses()


def test_the_same_state_gives_the_same_losses_to_the_bit(
    ordered: Stack, model: Model, images: Images, labels: Labels
) -> None:
    state, runs = model.get_weights(), []
    for _ in range(2):
        model.set_weights(state)
        step = ordered.train_step(model, phases=PHASES["intended"], epsilon=EPSILON)
        runs.append([step(images, labels, RATE) for _ in range(5)])
    assert runs[0] == runs[1]


def test_versions_name_what_is_running(stack: Stack, contract: Contract) -> None:
    versions = stack.versions()
    framework = importlib.import_module(contract.framework)
    assert versions[contract.framework] == framework.__version__
    home = importlib.import_module(stack.keras.Model.__module__.partition(".")[0])
    assert versions["keras"] == getattr(stack.keras, "__version__", home.__version__)
    assert versions["numpy"] == np.__version__
    assert versions["cleverhans"] == ("3.1.0" if stack.GRAPH else "4.0.0")
    assert versions["python"].startswith("3.")


def test_without_a_gpu_no_device_memory_is_reported(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "gpus", list)
    assert stack.peak_device_bytes() is None


def test_a_stack_has_no_other_attacks(stack: Stack) -> None:
    with pytest.raises(AttributeError, match="no attribute 'carlini_wagner'"):
        getattr(stack, "carlini_wagner")  # noqa: B009 - an attribute that is not there
