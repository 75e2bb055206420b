from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from suite.diagnose.diagnosis import diagnose
from suite.diagnose.found import Diagnosis
from suite.diagnose.network import Network, leaves
from suite.diagnose.probes import input_conventions, permuted_accuracy, probe
from suite.diagnose.statistics import Moments, half_life, moments, pooled, symmetric_kl, travelled
from suite.errors import SuiteError
from suite.networks.types import Keras, Model
from suite.stacks.protocol import Stack

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

Data: TypeAlias = "tuple[NDArray[np.float32], NDArray[np.int64]]"
Make: TypeAlias = "Callable[..., Model]"

CLASSES = 6

pytestmark = pytest.mark.filterwarnings(  # Keras' own get_weights on torch, with NumPy 2
    "ignore:__array__ implementation:DeprecationWarning"
)


def drawn(count: int, *, seed: int) -> Data:
    """Return images of six patterns, in [0, 1], with noise and in different light."""
    patterns = np.random.default_rng(7).uniform(0, 1, (CLASSES, 4, 4, 3)).repeat(3, 1).repeat(3, 2)
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    light = rng.uniform(0.5, 1, (count, 1, 1, 1))
    images = light * patterns[labels] + rng.normal(0, 0.15, (count, 12, 12, 3))
    return np.clip(images, 0, 1).astype(np.float32), labels


@pytest.fixture(scope="module")
def data() -> Data:
    return drawn(160, seed=2)


@pytest.fixture(scope="module")
def keras(stack: Stack) -> Keras:
    if stack.GRAPH:
        pytest.skip("a diagnosis needs eager execution, and TensorFlow 1 runs graphs")
    return stack.keras


def network(keras: Keras, *, norm: bool = True, softmax: bool = False) -> Model:
    layers = keras.layers
    x = inputs = keras.Input((12, 12, 3))
    for index, (width, stride) in enumerate(((8, 1), (16, 2), (16, 2))):
        x = layers.Conv2D(width, 3, strides=stride, use_bias=not norm, name=f"conv{index}")(x)
        x = layers.BatchNormalization(name=f"bn{index}", momentum=0.9)(x) if norm else x
        x = layers.Activation("relu")(x)
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling2D()(x))
    outputs = layers.Dense(CLASSES, activation="softmax" if softmax else None, name="head")(x)
    return keras.Model(inputs, outputs)


def fitted(stack: Stack, keras: Keras, **kind: bool) -> list[NDArray[Any]]:
    """Return the weights of a network that was trained for some seconds."""
    stack.seed(0)
    model = network(keras, **kind)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss=loss)
    model.fit(
        *drawn(1600, seed=1), batch_size=32, epochs=2 if kind.get("norm", True) else 5, verbose=0
    )
    return model.get_weights()


@pytest.fixture(scope="module")
def make(stack: Stack, keras: Keras) -> Make:
    """Return a function that makes a new healthy network."""
    known: dict[bool, list[NDArray[Any]]] = {}

    def made(*, norm: bool = True, softmax: bool = False) -> Model:
        if norm not in known:
            known[norm] = fitted(stack, keras, norm=norm)
        model = network(keras, norm=norm, softmax=softmax)
        model.set_weights(known[norm])
        return model

    return made


def norms(model: Model) -> list[Any]:
    return [layer for layer in leaves(model) if hasattr(layer, "moving_mean")]


def change(layer: Any, *, mean: float = 0, variance: float = 1) -> None:
    """Shift the mean by standard deviations of changing sign, and scale the variance."""
    *others, old_mean, old_variance = layer.get_weights()
    signs = np.where(np.arange(len(old_mean)) % 2, 1, -1)
    new_mean = old_mean + mean * signs * np.sqrt(old_variance)
    layer.set_weights([*others, new_mean, old_variance * variance])


def reset(model: Model) -> None:
    for layer in norms(model):
        *others, mean, variance = layer.get_weights()
        layer.set_weights([*others, 0 * mean + 5, 0 * variance + 60])


def scale_weights(layer: Any, factor: float) -> None:
    layer.set_weights([factor * layer.get_weights()[0], *layer.get_weights()[1:]])


def found(model: Model, data: Data, **options: Any) -> Diagnosis:
    return diagnose(model, *data, **{"check_steps": 0, **options})


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
    assert diagnosis.cause == "not trained"


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
    inputs = keras.Input((12, 12, 3))
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
    inputs = keras.Input((12, 12, 3))
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
        (lambda x, y: (x, 0 * y), "labels must be of two classes"),
        (lambda x, y: (x, y + 1), r"labels must be in \[0, 5\]"),
        (lambda x, y: (x, y - 1), "labels must be whole numbers from 0"),
        (lambda x, y: (x[:, :8], y), "images must be of the network's input shape"),
        (lambda x, y: (x, y[:-1]), "labels must be one an image"),
        (lambda x, y: (x, np.eye(CLASSES)[y]), "not one-hot"),
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


def test_a_layer_that_fails_leaves_no_trace(keras: Keras, make: Make, data: Data) -> None:
    model = make()
    listener = Network(model, keras)
    with pytest.raises(TypeError, match="planted"):
        fail_while_listening(listener, data[0][:16])
    assert not any("call" in layer.__dict__ for layer in leaves(model))


def fail_while_listening(listener: Network, images: NDArray[np.float32]) -> None:
    from suite.diagnose.network import around  # noqa: PLC0415

    def fail(*args: Any, **kwargs: Any) -> Any:
        del args, kwargs
        raise TypeError("planted")

    with around(listener.layers, fail):
        listener.outputs(images, training=False)


def test_moments_pool_to_those_of_the_whole() -> None:
    values = np.random.default_rng(0).normal(3, 2, (20, 5, 5, 4)).astype(np.float32)
    parts = [moments(part, 3) for part in np.split(values, [4, 11])]
    whole = pooled(parts)
    assert isinstance(whole, Moments)
    np.testing.assert_allclose(whole.mean, values.mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(whole.variance, values.var(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(moments(np.moveaxis(values, 3, 1), 1).mean, whole.mean)


def test_the_distance_of_gaussians_is_symmetric_and_in_closed_form() -> None:
    first, second = (np.zeros(1), np.ones(1)), (np.ones(1), np.full(1, 4.0))
    expected = (1 + 1) / 8 + (4 + 1) / 2 - 1
    assert symmetric_kl(first, second, 0.0) == pytest.approx(expected)
    assert symmetric_kl(second, first, 0.0) == pytest.approx(expected)


def test_a_momentum_halves_the_distance_in_its_half_life() -> None:
    assert 0.99 ** half_life(0.99) == pytest.approx(0.5)
    assert half_life(1.0) == float("inf")
    assert half_life(0.0) == 0.0


def test_the_way_from_zero_and_one_is_measured() -> None:
    rng = np.random.default_rng(0)
    batch = (rng.normal(0, 2, 16), rng.uniform(2, 9, 16))
    halfway = (batch[0] / 2, (batch[1] + 1) / 2)
    assert travelled(halfway, batch) == pytest.approx(0.5)
    assert np.isnan(travelled((-rng.normal(0, 2, 16), batch[1] * 0 + 1), batch))


def test_a_probe_tells_what_features_tell() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 128)
    features = np.eye(4)[labels] + rng.normal(0, 0.2, (128, 4))
    assert probe(features, labels).accuracy > 0.95
    assert probe(rng.normal(size=(128, 4)), labels).p_value > 0.01
    assert probe(np.ones((128, 4)), labels).accuracy <= probe(features, labels).chance + 0.05


def test_renamed_classes_are_found_out() -> None:
    labels = np.random.default_rng(0).integers(0, 5, 100)
    assert permuted_accuracy((labels + 2) % 5, labels) == 1.0


def test_the_input_scales_hold_the_one_the_images_came_from() -> None:
    pixels = np.random.default_rng(0).uniform(0, 1, (4, 6, 6, 3)).astype(np.float32)
    for wrong in (255 * pixels, 2 * pixels - 1, pixels / 255):
        nearest = min(
            float(np.abs(each - pixels).max()) for each in input_conventions(wrong).values()
        )
        assert nearest < 0.02
