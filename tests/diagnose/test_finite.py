"""Tests of what is NaN or infinite, where it begins, and of the same network in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suite.diagnose import in_float32
from suite.diagnose.finite import first_nonfinite
from suite.diagnose.found import (
    ACTIVATION,
    DIVERGED,
    HEALTHY,
    OTHER,
    STALE,
    STATISTIC,
    WEIGHT,
    Diagnosis,
    NonFinite,
)
from suite.diagnose.network import Network
from suite.diagnose.remedies import remedy
from suite.networks.phases import INFERENCE, TRAINING
from suite.networks.types import Keras, Model
from tests.diagnose.nets import (
    CLASSES,
    QUIET,
    SIDE_PX,
    Data,
    Make,
    found,
    norms,
    sample_of,
)

pytestmark = [QUIET, pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")]


def broken(keras: Keras, model: Model, data: Data) -> NonFinite | None:
    listener = Network(model, keras)
    with listener.kept():
        heard = listener.hear(data[0])
        trained = listener.hear_training(data[0], batch_size=32)
        return first_nonfinite(listener, sample_of(data), heard, trained, batch_size=32)


def spoil(layer: Any, place: int, value: float, *, channel: int = 1) -> None:
    """Set one number of each row of a layer's weight."""
    weights = layer.get_weights()
    weights[place][..., channel] = value
    layer.set_weights(weights)


def in_half(keras: Keras, make: Make, policy: str = "float16", *, factor: float = 1.0) -> Model:
    """Make the healthy network in half precision, its first activations `factor` times as large."""
    whole = make()
    first = whole.get_layer("conv0")
    first.set_weights([factor * weight for weight in first.get_weights()])
    statistics = whole.get_layer("bn0")
    gamma, beta, mean, variance = statistics.get_weights()
    statistics.set_weights([gamma, beta, factor * mean, factor**2 * variance])
    policies = keras.config if hasattr(keras, "config") else keras.mixed_precision
    write = getattr(policies, "set_dtype_policy", None) or policies.set_global_policy
    write(policy)
    try:
        half = keras.models.clone_model(
            whole, clone_function=lambda old: _as_global(keras, old, policy)
        )
    finally:
        write("float32")
    half.set_weights(whole.get_weights())
    return half


def _as_global(keras: Keras, layer: Any, policy: str) -> Any:
    """Copy a layer; but for an input it computes by `policy`."""
    if isinstance(layer, keras.layers.InputLayer):
        return layer
    return type(layer).from_config({**layer.get_config(), "dtype": policy})


def pasted(diagnosis: Diagnosis, model: Model, data: Data) -> dict[str, Any]:
    code = remedy(diagnosis).code
    assert code
    names: dict[str, Any] = {"model": model, "images": data[0], "labels": data[1]}
    exec(compile(code, "pasted", "exec"), names)  # noqa: S102
    return names


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_healthy_network_is_finite(keras: Keras, make: Make, data: Data) -> None:
    assert broken(keras, make(), data) is None
    assert broken(keras, make(norm=False), data) is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_comes_before_the_statistics_that_it_spoils(
    keras: Keras, make: Make, data: Data, value: float
) -> None:
    model = make()
    spoil(model.get_layer("bn0"), 3, np.nan)
    spoil(model.get_layer("conv2"), 0, value)
    told = broken(keras, model, data)
    assert told is not None
    assert told[:4] == ("conv2", "Conv2D", WEIGHT, "kernel")
    assert told.share == pytest.approx(1 / 16)
    diagnosis = found(model, data)
    assert (diagnosis.verdict, diagnosis.cause, diagnosis.layer) == (
        DIVERGED,
        "NaN weights",
        "conv2",
    )


def test_of_several_layers_that_are_not_numbers_the_first_is_named(
    keras: Keras, make: Make, data: Data
) -> None:
    inner = make()
    for name in ("conv1", "conv2"):
        spoil(inner.get_layer(name), 0, np.nan)
    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    told = broken(keras, keras.Model(inputs, inner(inputs)), data)
    assert told is not None
    assert told.layer == "conv1"


@pytest.mark.parametrize(("name", "value"), [("moving mean", np.nan), ("moving variance", np.inf)])
def test_a_statistic_that_is_not_finite_is_recomputed(
    keras: Keras, make: Make, data: Data, name: str, value: float
) -> None:
    model = make()
    spoil(model.get_layer("bn1"), 2 if name == "moving mean" else 3, value)
    told = broken(keras, model, data)
    assert told is not None
    assert told[:4] == ("bn1", "BatchNormalization", STATISTIC, name)
    diagnosis = found(model, data)
    assert (diagnosis.verdict, diagnosis.layer, diagnosis.fix) == (STALE, "bn1", "precise-bn")
    assert diagnosis.cause == f"{name} not finite"
    assert diagnosis.steps_needed == np.inf
    assert not any("nothing updates them" in text for text in diagnosis.words)
    pasted(diagnosis, model, data)
    assert found(model, data).verdict == HEALTHY


def test_a_variance_below_zero_is_recomputed(keras: Keras, make: Make, data: Data) -> None:
    model = make()
    spoil(model.get_layer("bn1"), 3, -1.0)
    told = broken(keras, model, data)
    assert told is not None
    assert (told.layer, told.what, told.phase) == ("bn1", ACTIVATION, INFERENCE)
    diagnosis = found(model, data)
    assert (diagnosis.verdict, diagnosis.layer, diagnosis.fix) == (STALE, "bn1", "precise-bn")
    pasted(diagnosis, model, data)
    assert found(model, data).verdict == HEALTHY


@pytest.mark.parametrize("policy", ["float16", "mixed_float16"])
def test_half_precision_that_is_wide_enough_is_healthy(
    keras: Keras, make: Make, data: Data, policy: str
) -> None:
    model = in_half(keras, make, policy)
    assert broken(keras, model, data) is None
    assert found(model, data).verdict == HEALTHY


@pytest.mark.parametrize("policy", ["float16", "mixed_float16"])
def test_an_activation_too_large_for_half_precision_has_not_diverged(
    keras: Keras, make: Make, data: Data, policy: str
) -> None:
    kernel = make().get_layer("conv0").get_weights()[0]
    model = in_half(keras, make, policy, factor=6e4 / float(np.abs(kernel).max()))
    diagnosis = found(model, data)
    assert diagnosis.verdict == OTHER
    assert diagnosis.cause == "overflow in half precision"
    assert diagnosis.layer in ("conv0", "bn0")
    words = " ".join(diagnosis.words)
    assert "65504" in words
    assert "The same weights in float32" in words
    mended = pasted(diagnosis, model, data)["mended"]
    assert found(mended, data).verdict == HEALTHY


def test_a_copy_in_float32_has_the_same_weights_and_leaves_the_model_alone(
    keras: Keras, make: Make, data: Data
) -> None:
    model = in_half(keras, make)
    copy = in_float32(model)
    kinds = {str(layer.compute_dtype) for layer in copy.layers}
    assert kinds == {"float32"}
    assert {str(layer.compute_dtype) for layer in model.layers[1:]} == {"float16"}
    assert all(
        np.allclose(one, other, atol=1e-2)
        for one, other in zip(model.get_weights(), copy.get_weights())
    )
    both = (Network(each, keras) for each in (copy, model))
    whole, half = (each.outputs(data[0], training=False) for each in both)
    np.testing.assert_allclose(half, whole, atol=0.1)


def test_a_layer_that_takes_the_logarithm_of_zero_is_named(keras: Keras, data: Data) -> None:
    class Log(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, inputs: Any) -> Any:
            return keras.activations.relu(inputs) / keras.activations.relu(inputs)

    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    x = Log(name="ratio")(keras.layers.Conv2D(4, 3, name="conv")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(keras.layers.Flatten()(x)))
    told = broken(keras, model, data)
    assert told is not None
    assert (told.layer, told.kind, told.what, told.phase) == ("ratio", "Log", ACTIVATION, INFERENCE)
    assert 0 < told.largest < 100
    diagnosis = found(model, data)
    assert (diagnosis.verdict, diagnosis.cause, diagnosis.layer) == (
        OTHER,
        "NaN activations",
        "ratio",
    )
    pasted(diagnosis, model, data)


def test_nan_in_the_training_phase_alone_is_told(keras: Keras, make: Make, data: Data) -> None:
    model = make()
    for layer in norms(model):
        layer.epsilon = 0.0
    spoil(model.get_layer("conv1"), 0, 0.0)  # a channel without variance
    told = broken(keras, model, data)
    assert told is not None
    assert (told.layer, told.what, told.phase) == ("bn1", ACTIVATION, TRAINING)
    diagnosis = found(model, data)
    assert (diagnosis.cause, diagnosis.layer) == ("NaN in the training phase", "bn1")
    assert "the inference phase is finite" in diagnosis.words[0]
