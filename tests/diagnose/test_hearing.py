"""Tests of listening to layers: what is heard, and that no trace is left."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from suite.diagnose.anatomy import leaves
from suite.diagnose.hearing import around, kernel_of
from suite.diagnose.network import Network
from suite.networks.types import Keras
from tests.diagnose.nets import QUIET, Data, Make, network

pytestmark = QUIET


def test_a_layer_that_fails_leaves_no_trace(keras: Keras, make: Make, data: Data) -> None:
    listener = Network(make(), keras)

    def fail(*args: Any, **kwargs: Any) -> Any:
        del args, kwargs
        raise TypeError("planted")

    def run() -> None:
        with around(listener.layers, fail):
            listener.outputs(data[0][:16], training=False)

    with pytest.raises(TypeError, match="planted"):
        run()
    assert not any("call" in layer.__dict__ for layer in leaves(listener.model))


def test_a_call_that_was_replaced_before_is_put_back(keras: Keras, make: Make) -> None:
    layer = make().get_layer("head")
    own = layer.call
    object.__setattr__(layer, "call", own)
    with around([layer], lambda _, call, *args, **kwargs: call(*args, **kwargs)):
        assert layer.__dict__["call"] is not own
    assert layer.__dict__["call"] is own
    assert hasattr(keras, "layers")


def test_what_is_heard_is_what_the_network_computes(keras: Keras, make: Make, data: Data) -> None:
    model = make()
    listener = Network(model, keras)
    heard = listener.hear(data[0])
    np.testing.assert_allclose(
        heard.outputs, np.array(model(data[0], training=False)), rtol=1e-4, atol=1e-4
    )
    kernel, bias = model.get_layer("head").get_weights()
    np.testing.assert_allclose(heard.head @ kernel + bias, heard.outputs, rtol=1e-4, atol=1e-4)
    last = keras.Model(model.input, model.layers[6].output)  # what comes after has one position
    activation = np.array(last(data[0], training=False)).mean(axis=(1, 2))
    np.testing.assert_allclose(heard.trunk, activation, rtol=1e-4, atol=1e-4)
    assert [unit.layer for unit in heard.units][-1] == "head"
    assert [layer.name for layer in listener.order][-1] == "head"
    assert all(unit.variation > 0 for unit in heard.units)


def test_a_layer_that_is_called_twice_is_one_unit(keras: Keras) -> None:
    inputs = keras.Input((4, 4, 3))
    shared = keras.layers.Conv2D(3, 1, name="shared")
    outputs = keras.layers.Dense(2)(keras.layers.Flatten()(shared(shared(inputs))))
    listener = Network(keras.Model(inputs, outputs), keras)
    heard = listener.hear(np.random.default_rng(0).random((3, 4, 4, 3), dtype=np.float32))
    assert [unit.layer for unit in heard.units].count("shared") == 1


def test_a_kernel_is_the_first_weight_of_two_axes(keras: Keras) -> None:
    model = network(keras)
    found = {layer.name: kernel_of(layer) for layer in leaves(model)}
    assert found["conv0"] is model.get_layer("conv0").weights[0]
    assert found["bn0"] is None
