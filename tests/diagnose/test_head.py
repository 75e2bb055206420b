"""Tests of how a network's end and its loss are read, by what it was compiled with or its file."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suite.diagnose.causes.head import (
    NOT_ONE_SUM,
    NOT_PROBABILITIES,
    ONE_UNIT,
    TWICE,
)
from suite.diagnose.found import HEALTHY, OTHER, HeadLoss
from suite.diagnose.head import described, head_and_loss, loss_of
from suite.diagnose.loading import load_both
from suite.diagnose.network import Network
from suite.diagnose.remedies import remedy
from suite.networks.types import Keras, Model
from tests.diagnose.nets import CLASSES, QUIET, SIDE_PX, Data, Make, drawn, found

pytestmark = [
    QUIET,
    pytest.mark.filterwarnings("ignore:You are using a softmax over axis:UserWarning"),
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*received `from_logits=True`:UserWarning"),
]

SPARSE = "sparse_categorical_crossentropy"


def small(keras: Keras, units: int, activation: Any, loss: Any = None) -> Model:
    """Make a small network with a head and a loss."""
    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(inputs)
    x = keras.layers.Dense(units, name="head")(keras.layers.Flatten()(x))
    outputs = keras.layers.Activation(activation, name="act")(x) if activation else x
    model = keras.Model(inputs, outputs)
    if loss is not None:
        model.compile(keras.optimizers.Adam(0.01), loss)
    return model


def read(keras: Keras, model: Model, data: Data) -> HeadLoss:
    listener = Network(model, keras)
    return head_and_loss(listener, listener.hear(data[0]).outputs)


@pytest.mark.parametrize("activation", ["linear", "softmax", "sigmoid", "relu", "tanh"])
def test_the_last_activation_is_read_in_whichever_layer_it_is(
    keras: Keras, data: Data, activation: str
) -> None:
    apart = read(keras, small(keras, 4, activation), data)
    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    flat = keras.layers.Flatten()(inputs)
    inside = keras.layers.Dense(4, activation=activation, name="head")(flat)
    model = keras.Model(inputs, keras.layers.Dropout(0.5)(inside))
    assert apart[:4] == read(keras, model, data)[:4] == ("head", activation, 4, "")


def test_a_softmax_of_the_models_own_call_is_told_by_the_outputs(keras: Keras, data: Data) -> None:
    class Own(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.flat, self.dense = keras.layers.Flatten(), keras.layers.Dense(CLASSES)

        def call(self, inputs: Any) -> Any:
            return keras.activations.softmax(self.dense(self.flat(inputs)))

    model = Own()
    model(data[0][:2])
    assert read(keras, model, data).activation == "softmax"


def test_the_loss_of_a_model_is_read_however_it_was_given(keras: Keras) -> None:
    losses = keras.losses
    logits = losses.SparseCategoricalCrossentropy(from_logits=True)
    given = {
        SPARSE: (SPARSE, False),
        losses.SparseCategoricalCrossentropy(): (SPARSE, False),
        logits: (SPARSE, True),
        losses.BinaryCrossentropy(from_logits=True): ("binary_crossentropy", True),
        losses.categorical_crossentropy: ("categorical_crossentropy", False),
        functools.partial(losses.binary_crossentropy, from_logits=True): (
            "binary_crossentropy",
            True,
        ),
        "bce": ("binary_crossentropy", False),
        "kld": ("kl_divergence", False),
        losses.KLDivergence(): ("kl_divergence", False),
    }
    assert [tuple(described(loss)) for loss in given] == list(given.values())
    model = small(keras, 4, None, logits)
    assert loss_of(model) == (SPARSE, True)
    assert loss_of(small(keras, 4, None)) == ("", False)


def test_a_loss_of_the_users_own_is_unknown(keras: Keras) -> None:
    def own(labels: Any, outputs: Any) -> Any:
        return keras.losses.sparse_categorical_crossentropy(labels, outputs, from_logits=True)

    class Own(keras.losses.Loss):  # type: ignore[misc, name-defined]
        def call(self, y_true: Any, y_pred: Any) -> Any:
            return own(y_true, y_pred)

    for loss in (own, Own(), functools.partial(own), None):
        assert described(loss) == ("", False)
    ours = {"module": "mine.losses", "class_name": "BinaryCrossentropy", "config": {}}
    assert described(ours) == ("", False)


def test_of_several_outputs_that_of_the_one_looked_at_is_read(keras: Keras) -> None:
    inputs = keras.Input((4,))
    outputs = {name: keras.layers.Dense(3, name=name)(inputs) for name in ("first", "second")}
    model = keras.Model(inputs, outputs)
    model.compile("sgd", {"first": SPARSE, "second": "mse"})
    assert loss_of(model, "first").name == SPARSE
    assert loss_of(model, "second").name in ("mse", "mean_squared_error")
    assert loss_of(model, "third").name == ""


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_file_whose_training_must_not_be_made_still_tells_its_loss(
    keras: Keras, tmp_path: Path, suffix: str
) -> None:
    if suffix == ".keras" and not hasattr(keras, "ops"):
        pytest.skip("Keras 2 writes .keras files from 2.12 on")

    class Own(keras.optimizers.SGD):  # type: ignore[misc, name-defined]
        pass

    model = small(keras, CLASSES, None, keras.losses.SparseCategoricalCrossentropy())
    model.compile(Own(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(*drawn(16, seed=0), verbose=0)
    path = tmp_path / f"net{suffix}"
    model.save(str(path))
    told: list[str] = []
    loaded, _ = load_both(str(path), keras, tell=told.append)
    assert len(told) == 1
    assert loss_of(loaded) == (SPARSE, True)
    assert described(loaded.loss) == (SPARSE, True)


def two_classes(data: Data) -> Data:
    return data[0], data[1] % 2


def pasted(model: Model, data: Data) -> Model:
    diagnosis = found(model, data)
    chosen = remedy(diagnosis)
    assert diagnosis.verdict == OTHER
    assert chosen.code
    images, labels = drawn(800, seed=1)
    labels = labels if data[1].max() > 1 else labels % 2
    names: dict[str, Any] = {"model": model, "images": images, "labels": labels}
    code = chosen.code.replace("labels, batch", "labels, verbose=0, batch")
    exec(compile(code, "pasted", "exec"), names)  # noqa: S102
    return names.get("mended", model)


@pytest.mark.parametrize(
    "case",
    [
        (1, "softmax", "binary_crossentropy", ONE_UNIT),
        (CLASSES, None, "categorical_crossentropy", NOT_PROBABILITIES),
        (CLASSES, "sigmoid", SPARSE, NOT_ONE_SUM),
    ],
)
def test_a_head_that_does_not_fit_its_loss_is_named_and_its_code_mends_it(
    keras: Keras, data: Data, case: tuple[int, str | None, str, str]
) -> None:
    units, activation, loss, cause = case
    model = small(keras, units, activation, loss)
    told = two_classes(data) if units == 1 else data
    if activation == "sigmoid":  # saturated, as such a loss may drive it
        kernel, bias = model.get_layer("head").get_weights()
        model.get_layer("head").set_weights([kernel, bias + 100])
    diagnosis = found(model, told)
    assert (diagnosis.cause, diagnosis.layer) == (cause, "head")
    mended = found(pasted(model, told), told)
    assert mended.evaluations["inference"].accuracy > 0.8
    assert mended.cause == ""


def test_a_loss_that_takes_probabilities_for_logits_is_named_where_keras_does_so(
    keras: Keras, data: Data
) -> None:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model = small(keras, CLASSES, "softmax", loss)
    told = read(keras, model, data)
    backend = getattr(getattr(keras, "backend", None), "backend", lambda: "tensorflow")()
    assert told.unwound == (backend == "tensorflow")
    assert (told.activation, told.from_logits) == ("softmax", True)
    cause = found(model, data).cause
    assert (cause == TWICE) == (backend != "tensorflow")


def test_a_network_that_works_well_is_healthy_whatever_its_loss(
    keras: Keras, make: Make, data: Data
) -> None:
    model = make()
    model.compile("sgd", SPARSE)
    diagnosis = found(model, data)
    assert diagnosis.verdict == HEALTHY
    assert any("Note on head and loss" in text for text in diagnosis.words)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert not any("Note on head" in text for text in found(model, data).words)


def test_outputs_of_a_regression_are_not_scaled_into_another_cause(make: Make, data: Data) -> None:
    model = make(norm=False)
    head = model.get_layer("head")
    head.set_weights([0.05 * weight for weight in head.get_weights()])
    model.compile("sgd", "mse")
    assert found(model, data).verdict == HEALTHY
    assert np.all(found(model, data).evaluations["inference"].accuracy > 0.9)
