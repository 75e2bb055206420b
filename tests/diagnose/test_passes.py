"""Tests of passes: compiled ones hear what is heard layer by layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from suite.diagnose import passes
from suite.diagnose.hearing import around
from suite.diagnose.network import Network
from suite.networks.types import Keras
from tests.arrays import assert_same
from tests.diagnose.nets import QUIET, SIDE_PX, Data, Make, change, norms

pytestmark = QUIET


@pytest.fixture
def compiled(keras: Keras, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every pass compiled, where the backend compiles any."""
    backend = getattr(keras.backend, "backend", None)
    if backend is None or backend() != "tensorflow":
        pytest.skip("only passes of TensorFlow are compiled")
    monkeypatch.setattr(passes, "WORTHWHILE", 0)


def counted(network: Network) -> int:
    """Count the passes that were compiled."""
    return len(network._passes._compiled)


@pytest.mark.usefixtures("compiled")
def test_compiled_passes_give_and_hear_what_others_do(
    keras: Keras, make: Make, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = data[0]
    fast = Network(make(), keras)
    heard, trained = fast.hear(images), fast.hear_training(images, batch_size=32)
    forced = fast.hear_forced(images, batch_size=40)
    assert counted(fast) == 3
    monkeypatch.setattr(passes, "WORTHWHILE", 10**9)
    slow = Network(make(), keras)
    plain = slow.hear(images), slow.hear_training(images, batch_size=32)
    assert counted(slow) == 0
    for one, other in ((heard, plain[0]), (forced, slow.hear_forced(images, batch_size=40))):
        np.testing.assert_allclose(one.outputs, other.outputs, rtol=1e-3, atol=1e-3)
    for name in ("head", "trunk"):
        np.testing.assert_allclose(
            getattr(heard, name), getattr(plain[0], name), rtol=1e-3, atol=1e-4
        )
    assert [unit.kind for unit in heard.units] == [unit.kind for unit in plain[0].units]
    assert trained.training == plain[1].training == [True] * 3
    for one, other in zip(trained.moments, plain[1].moments):
        assert [int(part.size) for part in one] == [part.size for part in other]
        for part, same in zip(one, other):
            np.testing.assert_allclose(part.mean, same.mean, rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(part.variance, same.variance, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("compiled")
def test_compiled_passes_see_what_is_changed_afterwards(
    keras: Keras, make: Make, data: Data
) -> None:
    model = make()
    network, images = Network(model, keras), data[0][:40]
    before = network.run(images, training=False)
    change(norms(model)[0], mean=3)
    after = network.run(images, training=False)
    assert np.abs(after - before).max() > 0.1
    network.hear_training(images, batch_size=20)
    norms(model)[1].trainable = False
    heard = network.hear_training(images, batch_size=20)
    assert heard.training == [True, False, True]


@pytest.mark.usefixtures("compiled")
def test_a_network_that_cannot_be_compiled_runs_layer_by_layer(keras: Keras, data: Data) -> None:
    class Odd(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.flat, self.head = keras.layers.Flatten(), keras.layers.Dense(3)

        def call(self, images: Any, training: bool = False) -> Any:
            del training
            return self.head(self.flat(images)) * float(np.array(images).shape[0])

    model = Odd()
    model(np.zeros((1, SIDE_PX, SIDE_PX, 3), np.float32))
    network, images = Network(model, keras), data[0][:40]
    first = network.run(images, training=False)
    assert_same([first], [network.run(images, training=False)])
    assert counted(network) == 1  # was begun
    assert network._passes._compiler is None


@pytest.mark.usefixtures("compiled")
def test_where_others_listen_a_pass_runs_layer_by_layer(
    keras: Keras, make: Make, data: Data
) -> None:
    network = Network(make(), keras)
    called = []

    def note(layer: Any, call: Any, *args: Any, **kwargs: Any) -> Any:
        called.append(layer)
        return call(*args, **kwargs)

    for _ in range(2):
        with around(network.layers, note):
            network.outputs(data[0][:16], training=False)
    assert len(called) == 2 * len(set(map(id, called)))
    assert counted(network) == 0
