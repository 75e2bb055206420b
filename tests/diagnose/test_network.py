"""Tests of anyone's network: what it consists of, run pass by pass, put back afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from suite.diagnose.anatomy import leaves
from suite.diagnose.hearing import Steps
from suite.diagnose.inputs import Head, Inputs, batches
from suite.diagnose.network import Network
from suite.errors import SuiteError
from suite.networks.types import Keras
from tests.arrays import assert_same
from tests.diagnose.nets import QUIET, SIDE_PX, Data, Make, network, norms, reset

pytestmark = QUIET


def test_the_layers_of_nested_models_stand_in_order(keras: Keras) -> None:
    layers = keras.layers
    inner = keras.Sequential([keras.Input((4, 4, 3)), layers.Conv2D(2, 1), layers.ReLU()])
    inputs = keras.Input((4, 4, 3))
    x = layers.TimeDistributed(layers.Dense(2, name="each"))(inner(inputs))
    model = keras.Model(inputs, layers.Dense(3, name="last")(layers.Flatten()(x)))
    names = [type(layer).__name__ for layer in leaves(model)]
    assert [name for name in names if name != "InputLayer"] == [
        *("Conv2D", "ReLU", "Dense", "Flatten", "Dense"),
    ]


@pytest.mark.filterwarnings("ignore:.*unbuilt state:UserWarning")  # that is the matter
def test_a_batch_norm_that_was_never_called_is_passed_over(keras: Keras, data: Data) -> None:
    class Spare(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.used = keras.layers.BatchNormalization(name="used")
            self.spare = keras.layers.BatchNormalization(name="spare")

        def call(self, images: Any, training: bool = False) -> Any:
            return self.used(images, training=training)

    model = Spare()
    model(data[0][:2], training=False)
    listener = Network(model, keras)
    assert [layer.name for layer in listener.norms] == ["used"]
    assert len(listener.statistics()) == 1


def test_everything_is_put_back_after_an_error(keras: Keras, make: Make, data: Data) -> None:
    model = make()
    before = [np.array(weight) for weight in model.get_weights()]
    listener = Network(model, keras)

    def fail() -> None:
        with listener.kept():
            listener.hear_steps(data[0], 0, Steps(2, 32, 60.0))
            reset(model)
            norms(model)[0].trainable = False
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert_same(before, model.get_weights())
    assert all(layer.trainable for layer in norms(model))


def test_recomputed_statistics_are_those_of_the_images_and_are_put_back(
    keras: Keras, make: Make, data: Data
) -> None:
    model = make()
    reset(model)
    frozen = norms(model)[1]
    frozen.trainable = False
    listener = Network(model, keras)
    moving = listener.statistics()
    recomputed = listener.recompute(data[0], batch_size=32)
    assert not frozen.trainable
    for one, other, now in zip(moving, recomputed.moving, listener.statistics()):
        assert_same(one, other)
        assert_same(one, now)
    assert [norm.layer for norm in recomputed.norms] == ["bn0", "bn1", "bn2"]
    assert [norm.trainable for norm in recomputed.norms] == [True, False, True]
    inputs = model.get_layer("conv0")(data[0])
    values = np.array(inputs).reshape(-1, 8).astype(float)
    np.testing.assert_allclose(recomputed.batch[0][0], values.mean(axis=0), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(recomputed.batch[0][1], values.var(axis=0), rtol=1e-3, atol=1e-5)
    hits = recomputed.precise.outputs.argmax(axis=1) == data[1]
    assert hits.mean() > 0.9


def test_batch_statistics_are_of_the_training_pass_where_nothing_else_has_a_phase(
    keras: Keras, make: Make, data: Data
) -> None:
    def shared(model: Any) -> bool:
        listener = Network(model, keras)
        listener.hear(data[0])
        trained = listener.hear_training(data[0], batch_size=32)
        forced = listener.recompute(data[0], batch_size=32, trained=trained).forced
        expected = Network(model, keras).hear_forced(data[0], batch_size=32)
        for each in (forced, listener.hear_forced(data[0], batch_size=32)):
            np.testing.assert_allclose(each.outputs, expected.outputs, atol=1e-3)
        return forced is trained

    model = make()
    *_, pooled, _, head = model.layers  # Dropout is between them
    assert shared(keras.Model(model.input, head(pooled.output)))
    assert not shared(model)


@pytest.mark.parametrize("bias", [False, True])
def test_weights_are_divided_for_one_run_but_never_statistics(
    keras: Keras, make: Make, data: Data, bias: bool
) -> None:
    model, halved = make(), make()
    gamma, beta, *statistics = norms(halved)[1].get_weights()
    factor = 0.5 if bias else 1.0
    norms(halved)[1].set_weights([factor * gamma, factor * beta, *statistics])
    kernel, offset = halved.get_layer("head").get_weights()
    halved.get_layer("head").set_weights([kernel / 4, offset / 4 if bias else offset])
    before = [np.array(weight) for weight in model.get_weights()]
    factors = {"bn1": 2.0, "head": 4.0}
    outputs = Network(model, keras).run_divided(data[0], factors, bias=bias)
    expected = Network(halved, keras).run(data[0], training=False)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)
    assert_same(before, model.get_weights())


def test_the_phase_of_each_layer_is_the_one_it_ran_in(keras: Keras, make: Make, data: Data) -> None:
    model = make()
    norms(model)[1].trainable = False
    listener = Network(model, keras)
    trained = listener.hear_training(data[0], batch_size=32)
    assert trained.training == [True, False, True]
    assert [len(parts) for parts in trained.moments] == [5, 5, 5]
    assert listener.hear_forced(data[0], batch_size=32).training == [False] * 3  # none was asked


def test_steps_move_the_statistics_and_end_in_time(keras: Keras, make: Make, data: Data) -> None:
    model = make()
    reset(model)
    listener = Network(model, keras)
    with listener.kept():
        followed = listener.hear_steps(data[0], 0, Steps(7, 32, 60.0))
        assert (followed.made, len(followed.heard)) == (7, 7)
        assert np.abs(followed.after[0]).mean() < np.abs(followed.before[0]).mean()
        assert listener.hear_steps(data[0], 0, Steps(7, 32, 0.0)).made == 1


def test_the_output_that_is_looked_at_is_given(keras: Keras, data: Data) -> None:
    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    flat = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, [keras.layers.Dense(2)(flat), keras.layers.Conv2D(3, 1)(inputs)])
    listener = Network(model, keras)
    assert listener.output_shapes(data[0][:2]) == {0: (2, 2), 1: (2, SIDE_PX, SIDE_PX, 3)}
    assert listener.run(data[0][:4], training=False).shape == (4, 2)
    listener.look_at(Head(1, (SIDE_PX, SIDE_PX), np.array([3, 40])))
    given = np.array(model(data[0][:4], training=False)[1])
    told = listener.run(data[0][:4], training=False)
    np.testing.assert_allclose(told, given.reshape(4, -1, 3)[:, [3, 40]], rtol=1e-4, atol=1e-5)
    heard = listener.hear(data[0][:4])
    assert heard.head.shape == (4, 2, 3)  # the two places of what goes into the last kernel
    assert heard.trunk.size == 0
    assert [unit.kind for unit in heard.units if unit.kind != "InputLayer"] == ["Conv2D"]
    listener.look_at(Head(0))
    assert listener.hear(data[0][:4]).head.shape == (4, SIDE_PX * SIDE_PX * 3)


def test_several_inputs_are_fed_as_they_are_called(keras: Keras) -> None:
    first, second = keras.Input((4,), name="first"), keras.Input((3,), name="second")
    parts = {"first": np.ones((9, 4), np.float32), "second": np.ones((9, 3), np.float32)}
    joined = keras.layers.Concatenate()([first, second])
    model = keras.Model([first, second], keras.layers.Dense(2)(joined))
    for images in (Inputs(parts, named=True), Inputs(dict(enumerate(parts.values())), named=False)):
        assert Network(model, keras).run(images, training=False, batch_size=4).shape == (9, 2)


def test_a_network_that_cannot_be_called_is_an_error_that_tells_what_it_was_given(
    keras: Keras, make: Make
) -> None:
    with pytest.raises(SuiteError, match=r"cannot be called with inputs of shape \{0: \(2, 5\)\}"):
        Network(make(), keras).output_shapes(np.zeros((2, 5), np.float32))


def test_a_recurrent_layer_is_one_layer(keras: Keras) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((5, 3)), layers.Bidirectional(layers.LSTM(4)), layers.Dense(2, name="head")]
    )
    names = [type(layer).__name__ for layer in leaves(model)]
    assert names == ["LSTM", "LSTM", "Dense"]
    heard = Network(model, keras).hear(np.ones((6, 5, 3), np.float32))
    assert heard.head.shape == (6, 8)


def test_batches_are_of_nearly_one_size(keras: Keras, make: Make) -> None:
    images = np.zeros((100, 32, 32, 3), np.float32)
    assert [len(batch) for batch in batches(images, 32)] == [34, 33, 33]
    listener = Network(make(), keras)
    assert [len(batch) for batch in listener.batches(images)] == [100]
    assert len(listener.batches(np.zeros((4, 512, 512, 3), np.float32))) == 4


def test_a_network_says_which_activations_it_has(keras: Keras) -> None:
    names = Network(network(keras, softmax=True), keras).activations()
    assert names[-1] == "softmax"
    assert "relu" in names
