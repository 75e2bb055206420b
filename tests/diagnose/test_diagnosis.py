"""Tests of a diagnosis from end to end: healthy networks, broken on purpose in every way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from suite.diagnose.anatomy import leaves
from suite.diagnose.diagnosis import FIRST, Check, diagnose, steps_in_words
from suite.errors import SuiteError
from suite.networks.types import Keras, Model
from tests.diagnose.nets import (
    CLASSES,
    QUIET,
    SIDE_PX,
    Data,
    Make,
    change,
    found,
    network,
    norms,
    reset,
    scale_weights,
)

pytestmark = QUIET


@pytest.mark.parametrize("softmax", [False, True])
def test_a_healthy_network_is_healthy_and_left_as_it_was(
    make: Make, data: Data, softmax: bool
) -> None:
    model = make(softmax=softmax)
    before = [np.array(weight) for weight in model.get_weights()]
    flags = [layer.trainable for layer in norms(model)]
    diagnosis = found(model, data)
    assert (diagnosis.verdict, diagnosis.cause, diagnosis.fix) == ("healthy", "", "")
    assert set(diagnosis.evaluations) == {"inference", "training", "batch statistics", "precise-bn"}
    assert [layer.layer for layer in diagnosis.layers] == ["bn0", "bn1", "bn2"]
    assert all(map(np.array_equal, before, model.get_weights()))
    assert flags == [layer.trainable for layer in norms(model)]
    assert not any("call" in layer.__dict__ for layer in leaves(model))


def test_where_a_pass_takes_long_the_first_images_may_be_enough(
    make: Make, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("suite.diagnose.diagnosis.LARGE", 0)
    monkeypatch.setattr("suite.diagnose.network.LONG", 0)
    stale, (images, labels) = make(), data
    change(norms(stale)[1], mean=6)
    for model, verdict in ((make(), "healthy"), (stale, "stale statistics")):
        few = found(model, data)
        assert (few.verdict, few.images) == (verdict, FIRST)
        assert any(f"The first {FIRST} of {len(labels)} images" in words for words in few.words)
    shuffled = np.random.default_rng(0).permutation(labels)
    half = np.where(np.arange(len(labels)) % 2, labels, shuffled)  # a doubt: all are examined
    assert found(make(), (images, half)).images == len(labels)
    last = np.random.default_rng(0).permutation(len(labels))[-1]
    rare = (np.arange(len(labels)) == last).astype(np.int64)  # the first are of one class alone
    assert found(make(), (images, rare)).images == len(labels)


def test_harmless_changes_are_no_cause(make: Make, data: Data) -> None:
    images, labels = data
    model = make()
    for layer in norms(model):
        layer.momentum = 0.9999
        layer.trainable = False
    assert found(model, data).verdict == "healthy"
    assert found(make(), (0.8 * images, labels)).verdict == "healthy"
    assert found(make(), (images[:32], labels[:32])).verdict == "healthy"


def test_an_untrained_network_is_no_case_of_batch_norm(keras: Keras, data: Data) -> None:
    diagnosis = found(network(keras), data)
    assert diagnosis.verdict in ("constant predictor", "something else")
    assert diagnosis.cause == "not trained, or weights not loaded"


@pytest.mark.parametrize(
    ("values", "cause"), [({"mean": 3}, "stale mean"), ({"variance": 100}, "stale variance")]
)
def test_stale_means_are_told_from_stale_variances(
    make: Make, data: Data, values: Any, cause: str
) -> None:
    model = make()
    for layer in norms(model):
        change(layer, **values)
    diagnosis = found(model, data)
    assert (diagnosis.verdict, diagnosis.cause) == ("stale statistics", cause)
    assert diagnosis.fix == "precise-bn"


def test_one_bad_layer_is_named(make: Make, data: Data) -> None:
    model = make()
    change(norms(model)[1], mean=6)
    diagnosis = found(model, data)
    assert (diagnosis.cause, diagnosis.layer) == ("one bad layer: stale mean", "bn1")


def test_the_steps_needed_are_what_running_them_shows(make: Make, data: Data) -> None:
    model = make()
    for layer in norms(model):
        change(layer, mean=3)
    diagnosis = found(model, data, check_steps=100)
    assert 10 < diagnosis.steps_needed == diagnosis.steps_run < 100
    assert diagnosis.measured_kl == pytest.approx(diagnosis.predicted_kl, abs=0.05)
    assert diagnosis.measured_kl < 0.15 < diagnosis.layers[0].symmetric_kl


def test_a_momentum_that_never_gets_there_is_named(make: Make, data: Data) -> None:
    model = make()
    for layer in norms(model):
        layer.momentum = 1.0
        change(layer, mean=3)
    diagnosis = found(model, data)
    assert diagnosis.cause.startswith("wrong momentum")
    assert diagnosis.steps_needed == float("inf")


def test_layers_frozen_by_mistake_are_named(make: Make, data: Data) -> None:
    model = make()
    reset(model)
    for layer in norms(model):
        layer.trainable = False
    diagnosis = found(model, data)
    assert diagnosis.cause.startswith("frozen by mistake")
    assert {layer.phase for layer in diagnosis.layers} == {"inference"}
    assert diagnosis.steps_needed == float("inf")


def test_a_pinned_phase_is_named(keras: Keras, make: Make, data: Data) -> None:
    class Pinned(keras.layers.Layer):
        def __init__(self, inner: Model) -> None:
            super().__init__()
            self.inner = inner

        def call(self, inputs: Any, training: Any = None) -> Any:
            del training
            return self.inner(inputs, training=False)

    inner = make()
    reset(inner)
    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    diagnosis = found(keras.Model(inputs, Pinned(inner)(inputs)), data)
    assert diagnosis.cause.startswith("phase pinned")
    assert diagnosis.steps_needed == float("inf")


def test_a_dead_head_is_named(make: Make, data: Data) -> None:
    model = make()
    scale_weights(model.get_layer("head"), 0.0)
    diagnosis = found(model, data)
    assert (diagnosis.verdict, diagnosis.cause) == ("constant predictor", "dead head")
    assert diagnosis.layer == "head"


def test_shuffled_labels_are_named(make: Make, data: Data) -> None:
    images, labels = data
    shuffled = np.random.default_rng(0).permutation(labels)
    assert found(make(), (images, shuffled)).cause == "label shuffle"
    permuted = found(make(), (images, (labels + 1) % CLASSES))
    assert permuted.cause == "label shuffle (classes permuted)"


@pytest.mark.parametrize("layer", ["conv0", "conv1", "conv2"])
def test_exploded_weights_are_named_not_the_statistics_behind_them(
    make: Make, data: Data, layer: str
) -> None:
    model = make()
    scale_weights(model.get_layer(layer), 100.0)
    diagnosis = found(model, data)
    assert (diagnosis.verdict, diagnosis.cause) == ("diverged", "exploded weights")
    assert diagnosis.layer == layer


def test_a_head_that_makes_a_network_only_too_sure_is_no_cause(make: Make, data: Data) -> None:
    images, labels = data
    model = make()
    scale_weights(model.get_layer("head"), 60.0)
    noisy = np.where(np.arange(len(labels)) % 5 == 0, (labels + 1) % CLASSES, labels)
    diagnosis = found(model, (images, noisy))
    assert (diagnosis.verdict, diagnosis.cause) == ("healthy", "")
    assert any("surer than it is right" in sentence for sentence in diagnosis.words)


def test_means_and_variances_exchanged_are_said_to_be_set_wrong(make: Make, data: Data) -> None:
    model = make()
    for layer in norms(model):
        *others, mean, variance = layer.get_weights()
        layer.set_weights([*others, variance, mean - 1])
    diagnosis = found(model, data)
    assert diagnosis.cause == "moving variance not finite"
    assert any("No training makes a variance below 0" in text for text in diagnosis.words)


@pytest.mark.parametrize(("factor", "norm"), [(255, True), (1 / 255, True), (1 / 255, False)])
def test_a_wrong_input_scale_is_named(make: Make, data: Data, factor: float, norm: bool) -> None:
    images, labels = data
    diagnosis = found(make(norm=norm), (factor * images, labels))
    assert diagnosis.cause == "wrong input scale"


def test_a_network_without_batch_norm_is_told_so(make: Make, data: Data) -> None:
    diagnosis = found(make(norm=False), data)
    assert diagnosis.verdict == "healthy"
    assert any("not your problem" in sentence for sentence in diagnosis.words)
    assert set(diagnosis.evaluations) == {"inference", "training"}
    assert diagnosis.layers == ()


def test_nan_weights_are_named(make: Make, data: Data) -> None:
    model = make()
    scale_weights(model.get_layer("conv1"), float("nan"))
    diagnosis = found(model, data)
    assert (diagnosis.verdict, diagnosis.cause, diagnosis.layer) == (
        "diverged",
        "NaN weights",
        "conv1",
    )


def test_nested_and_shared_layers_are_found(keras: Keras, make: Make, data: Data) -> None:
    inner = make()
    change(norms(inner)[1], mean=6)
    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    half = keras.layers.Rescaling(0.5) if hasattr(keras.layers, "Rescaling") else None
    outputs = keras.layers.Average()([inner(inputs), inner(half(inputs) if half else inputs)])
    diagnosis = found(keras.Model(inputs, outputs), data)
    assert [layer.layer for layer in diagnosis.layers] == ["bn0", "bn1", "bn2"]
    assert diagnosis.verdict == "stale statistics"
    assert diagnosis.layer == "bn1"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x, y: (x[:1], y[:1]), "images must be 16 at least"),
        (lambda x, y: (x, y + 1), r"labels must be in \[0, 5\]"),
        (lambda x, y: (x, y - 1), "labels must be whole numbers from 0"),
        (lambda x, y: (x[:, :8], y), "images must be of the network's input shape"),
        (lambda x, y: (x, y[:-1]), "labels must be one an image"),
        (lambda x, y: (x, 2 * np.eye(CLASSES)[y]), "or one-hot over 6 classes"),
        (lambda x, y: (x * np.nan, y), "images must be finite"),
    ],
)
def test_wrong_data_are_refused_with_what_was_expected(
    make: Make, data: Data, wrong: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        found(make(), wrong(*data))


def test_a_wrong_number_of_classes_is_refused(make: Make, data: Data) -> None:
    with pytest.raises(ValueError, match="classes must be 6"):
        found(make(), data, classes=10)


def test_what_is_no_keras_model_is_refused(data: Data) -> None:
    with pytest.raises(SuiteError, match="must be a Keras model"):
        diagnose(object(), *data)


def test_the_steps_are_told_in_words() -> None:
    assert steps_in_words(Check(0.0, "")) == []
    assert (
        "no number of training steps will mend that" in steps_in_words(Check(float("inf"), "bn"))[0]
    )
    assert steps_in_words(Check(40.0, "bn"))[0].endswith("; not checked by running them.")
    told = steps_in_words(Check(40.0, "bn", 40, 0.09, 0.1))[0]
    assert "need 40 more training-phase steps" in told
    assert "predicted to be 0.09 and was 0.1 nats" in told


@pytest.mark.parametrize("synchronised", ["by its class", "by an argument"])
def test_a_synchronised_batch_norm_is_no_kernel(
    keras: Keras, make: Make, data: Data, synchronised: str
) -> None:
    class SyncBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc, name-defined]
        pass

    def argument(**options: Any) -> Any:
        return keras.layers.BatchNormalization(synchronized=True, **options)

    if synchronised == "by an argument" and not hasattr(keras, "ops"):
        pytest.skip("Keras 2 has a class for it")
    kind = SyncBatchNormalization if synchronised == "by its class" else argument
    model = make(kind=kind)
    outputs = np.array(model(data[0], training=False))
    last = kind(name="last")
    model = keras.Model(model.input, last(model.output))
    one = np.eye(CLASSES)[1]
    last.set_weights([one * 0 + 1, 60 * one, outputs.mean(axis=0), outputs.var(axis=0)])
    diagnosis = found(model, data)
    assert (diagnosis.cause, diagnosis.layer) == ("dead head", "head")
    assert [layer.layer for layer in diagnosis.layers] == ["bn0", "bn1", "bn2", "last"]


def test_a_normalisation_of_ones_own_is_examined_as_a_batch_norm(
    keras: Keras, make: Make, data: Data
) -> None:
    class Own(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def __init__(self, momentum: float = 0.99, name: str | None = None) -> None:
            super().__init__(name=name)
            self.momentum, self.epsilon = momentum, 1e-3

        def build(self, shape: Any) -> None:
            for each, start in (("gamma", "ones"), ("beta", "zeros")):
                weight = self.add_weight(name=each, shape=(shape[-1],), initializer=start)
                setattr(self, each, weight)
            for each, start in (("moving_mean", "zeros"), ("moving_variance", "ones")):
                weight = self.add_weight(
                    name=each, shape=(shape[-1],), initializer=start, trainable=False
                )
                setattr(self, each, weight)
            self.built = True

        def call(self, inputs: Any, training: bool = False) -> Any:
            del training  # never updates: frozen for good
            scale = self.gamma / (self.moving_variance + self.epsilon) ** 0.5
            return (inputs - self.moving_mean) * scale + self.beta

    model = make(kind=Own)
    assert found(model, data).verdict == "healthy"
    change(norms(model)[1], mean=6)
    diagnosis = found(model, data)
    assert (diagnosis.verdict, diagnosis.layer) == ("stale statistics", "bn1")


def test_layers_that_run_in_another_order_keep_their_own_flags(keras: Keras, data: Data) -> None:
    class Backwards(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.second = keras.layers.BatchNormalization(name="second")
            self.first = keras.layers.BatchNormalization(name="first")
            self.flatten, self.head = keras.layers.Flatten(), keras.layers.Dense(CLASSES)

        def call(self, images: Any, training: bool = False) -> Any:
            x = self.second(self.first(images, training=training), training=training)
            return self.head(self.flatten(x))

    model = Backwards()
    model(data[0][:2], training=False)
    model.second.trainable = False
    diagnosis = found(model, data)
    assert [(each.layer, each.trainable) for each in diagnosis.layers] == [
        ("first", True),
        ("second", False),
    ]
    assert (model.first.trainable, model.second.trainable) == (True, False)
