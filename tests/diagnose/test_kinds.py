"""Tests of a diagnosis of every kind of network: several inputs and outputs, pixels, tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from suite.diagnose.diagnosis import diagnose, worst
from suite.diagnose.found import HEALTHY, STALE, UNDECIDED, Diagnosis
from suite.networks.types import Keras, Model
from suite.stacks.protocol import Stack
from tests.diagnose.nets import QUIET, Data, Make, found

pytestmark = QUIET
COUNT = 96
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, COUNT)
GRID = (RNG.random((COUNT, 4, 4)) < 0.4).repeat(2, 1).repeat(2, 2).astype(np.int64)
PICTURES = (0.8 * GRID[..., None] + 0.1 * RNG.normal(size=(COUNT, 8, 8, 3))).astype(np.float32)
TOKENS = RNG.integers(0, 9, (COUNT, 6))
MANY = (TOKENS < 4).sum(axis=1) > 2
FED = {
    "image": np.float32(RNG.random((COUNT, 6, 6, 3)) + 4 * (LABELS % 2)[:, None, None, None]),
    "facts": np.float32(RNG.normal(0, 0.1, (COUNT, 5)) + 4 * (LABELS // 2)[:, None]),
}
BOTH = {"kind": LABELS, "odd": LABELS % 2}


def spoilt(model: Model) -> Model:
    """Set the moving statistics of the layer "bn" to what fits no sample."""
    layer = model.get_layer("bn")
    *others, mean, variance = layer.get_weights()
    layer.set_weights([*others, 0 * mean + 30, 0 * variance + 1])
    return model


def pixelwise(keras: Keras, outputs: int) -> Model:
    """Build a network with an answer for each pixel, and weights that tell it."""
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv")(inputs)
    x = layers.Activation("relu")(layers.BatchNormalization(momentum=0.5, name="bn")(x))
    activation = "sigmoid" if outputs == 1 else "softmax"
    told = layers.Conv2D(outputs, 1, activation=activation, name="told")(x)
    model = keras.Model(inputs, told)
    brightness = PICTURES.sum(axis=-1)
    kernel = np.zeros((3, 3, 3, 4), np.float32)
    kernel[1, 1] = 1
    model.get_layer("conv").set_weights([kernel])
    gamma, beta, mean, variance = model.get_layer("bn").get_weights()
    moments = [mean + brightness.mean(), 0 * variance + brightness.var()]
    model.get_layer("bn").set_weights([1.01 * gamma, beta + 0.01, *moments])
    towards, offset = np.zeros((1, 1, 4, outputs), np.float32), np.zeros(outputs, np.float32)
    towards[..., -1], offset[-1] = 2, -4
    model.get_layer("told").set_weights([towards, offset])
    return model


@pytest.mark.parametrize("outputs", [2, 1])
def test_pixels_are_classified_and_images_counted(keras: Keras, outputs: int) -> None:
    model = pixelwise(keras, outputs)
    good = found(model, (PICTURES, GRID))
    assert (good.verdict, good.images, good.classes) == (HEALTHY, COUNT, 2)
    assert good.evaluations["inference"].accuracy > 0.9
    ill = found(spoilt(model), (PICTURES, GRID[..., None]))
    assert (ill.verdict, ill.layer) == (STALE, "bn")


@pytest.fixture(scope="module")
def two_headed(stack: Stack, keras: Keras) -> Model:
    """Train a network of two inputs and two outputs."""
    stack.seed(0)
    layers = keras.layers
    image, facts = keras.Input((6, 6, 3), name="image"), keras.Input((5,), name="facts")
    x = layers.BatchNormalization(momentum=0.5, name="bn")(layers.Conv2D(4, 3)(image))
    x = layers.GlobalAveragePooling2D()(layers.Activation("relu")(x))
    x = layers.Concatenate()([x, facts])
    kind = layers.Dense(3, activation="softmax", name="kind")(x)
    odd = layers.Dense(1, activation="sigmoid", name="odd")(x)
    model = keras.Model([image, facts], [kind, odd])
    losses = ["sparse_categorical_crossentropy", "binary_crossentropy"]
    model.compile(keras.optimizers.Adam(0.03), losses)
    told = [LABELS.astype(np.float32), (LABELS % 2).astype(np.float32)]
    model.fit(list(FED.values()), told, epochs=15, verbose=0)
    return model


def test_each_output_that_has_labels_is_examined(two_headed: Model) -> None:
    good = found(two_headed, (FED, BOTH))
    assert good.verdict == HEALTHY
    assert "Of 2 outputs (kind: healthy, odd: healthy) this is said of kind." in good.words
    one = found(two_headed, (list(FED.values()), LABELS % 2), output="odd")
    assert (one.verdict, one.classes) == (HEALTHY, 2)
    assert [unit.kind for unit in one.units].count("Dense") == 1  # the other output's is not run
    before = two_headed.get_weights()
    ill = found(spoilt(two_headed), (FED, BOTH))
    two_headed.set_weights(before)
    assert (ill.verdict, ill.layer) == (STALE, "bn")


def test_tokens_are_fed_as_they_are(stack: Stack, keras: Keras) -> None:
    stack.seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((6,)), layers.Embedding(9, 4), layers.LSTM(4), layers.Dense(1)]
    )
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.05), loss)
    model.fit(TOKENS, MANY.astype(np.float32), epochs=15, verbose=0)
    diagnosis = found(model, (TOKENS, MANY))
    assert diagnosis.verdict == HEALTHY
    assert not any(attempt.scale for attempt in diagnosis.attempts)


def test_of_one_class_alone_it_cannot_tell(make: Make, data: Data) -> None:
    images, labels = data
    alone = labels == 2
    diagnosis = found(make(), (images[alone], labels[alone]))
    assert (diagnosis.verdict, diagnosis.cause) == (UNDECIDED, "one class alone")


def test_batches_are_diagnosed_as_arrays_are(make: Make, data: Data) -> None:
    images, labels = data

    def batches() -> Iterator[Any]:
        for start in range(0, len(images), 32):
            yield images[start : start + 32], np.eye(6)[labels[start : start + 32]]

    model = make()
    told, arrays = diagnose(model, batches(), check_steps=0), found(model, data)
    assert (told.verdict, told.images) == (HEALTHY, len(images))
    assert told.evaluations["inference"] == arrays.evaluations["inference"]


def test_of_several_outputs_the_first_of_the_worst_is_told() -> None:
    def of(verdict: str) -> Diagnosis:
        return Diagnosis(
            verdict, "", "", "", 0.0, 0, 0.0, 0.0, ("First.", "Then."), {}, (), 9, 2, 0.7
        )

    kinds = [HEALTHY, UNDECIDED, STALE, STALE]
    told = worst(list("abcd"), list(map(of, kinds)))
    assert told.verdict == STALE
    listed = "a: healthy, b: undecided, c: stale statistics, d: stale statistics"
    assert told.words == ("First.", f"Of 4 outputs ({listed}) this is said of c.", "Then.")
    assert worst(list("ab"), list(map(of, kinds[:2]))).verdict == UNDECIDED
    assert worst(["a"], [of(STALE)]) == of(STALE)
