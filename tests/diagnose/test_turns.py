"""Tests of images that are turned, mirrored or inverted beside those of the training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from suite.diagnose.causes.scale import INVERTED_IMAGES, TURNED_IMAGES
from suite.diagnose.found import HEALTHY
from suite.diagnose.probes import TURNS, input_conventions
from suite.diagnose.remedies import remedy
from suite.diagnose.trials import INVERTED
from suite.networks.types import Keras, Model
from tests.diagnose.nets import QUIET, Data, found

pytestmark = QUIET
RNG = np.random.default_rng(0)
CLASSES, SIDE_PX = 6, 9
SHAPES = RNG.random((CLASSES, SIDE_PX, SIDE_PX, 1)) < 0.4  # light ink on a dark ground
LABELS = RNG.integers(0, CLASSES, 160)
NOISE = RNG.normal(0, 0.15, (160, SIDE_PX, SIDE_PX, 1))
IMAGES = np.clip(0.9 * SHAPES[LABELS] + NOISE, 0, 1).astype(np.float32)


def reader(keras: Keras, *, norm: bool) -> Model:
    """Make a network that knows the shapes as they stand in `IMAGES`."""
    inputs = keras.Input((SIDE_PX, SIDE_PX, 1))
    x = keras.layers.BatchNormalization(name="bn")(inputs) if norm else inputs
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(keras.layers.Flatten()(x)))
    kernel = np.reshape(SHAPES - SHAPES.mean(axis=0), (CLASSES, -1)).T.astype(np.float32)
    bias = -kernel.T @ IMAGES.mean(axis=0).ravel()
    if norm:
        moments = IMAGES.mean(keepdims=True).ravel(), IMAGES.var(keepdims=True).ravel()
        model.get_layer("bn").set_weights([np.ones(1), np.zeros(1), *moments])
        bias = bias * 0
    model.layers[-1].set_weights([0.5 * kernel, 0.5 * bias])
    return model


def right(model: Model, images: Any) -> float:
    return float(np.mean(model.predict(images, verbose=0).argmax(-1) == LABELS))


def undone(turn: str) -> np.ndarray:
    """Give images that `turn` makes those of the training."""
    return next(
        np.ascontiguousarray(images)
        for images in (other.change(IMAGES) for other in TURNS.values())
        if np.array_equal(TURNS[turn].change(images), IMAGES)
    )


def follows(model: Model, data: Data, cause: str, turn: str) -> None:
    """Check the cause, and that the code to paste mends what it is for."""
    diagnosis = found(model, data)
    assert diagnosis.cause == cause, diagnosis.words
    assert any(f"fed as {turn}" in text or f", {turn}," in text for text in diagnosis.words)
    names: dict[str, Any] = {"model": model, "images": data[0], "labels": LABELS}
    exec(compile(remedy(diagnosis).code, "pasted", "exec"), names)  # noqa: S102 - it is for that
    assert right(model, names["scaled"]) > 0.9


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("turn", list(TURNS))
def test_turned_images_are_named_and_the_code_turns_them_back(
    keras: Keras, turn: str, norm: bool
) -> None:
    model = reader(keras, norm=norm)
    assert right(model, IMAGES) > 0.95
    follows(model, (undone(turn), LABELS), TURNED_IMAGES, turn)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("white", [1, 255])
def test_inverted_images_are_named_and_the_code_inverts_them(
    keras: Keras, white: int, norm: bool
) -> None:
    model = reader(keras, norm=norm)
    follows(model, (white * (1 - IMAGES), LABELS), INVERTED_IMAGES, INVERTED)


def test_images_as_they_were_trained_on_are_healthy(keras: Keras) -> None:
    assert found(reader(keras, norm=True), (IMAGES, LABELS)).verdict == HEALTHY


def test_a_network_that_tells_nothing_blames_no_turn(keras: Keras) -> None:
    model = reader(keras, norm=True)
    model.layers[-1].set_weights([0 * weight for weight in model.layers[-1].get_weights()])
    assert found(model, (IMAGES, LABELS)).cause not in (TURNED_IMAGES, INVERTED_IMAGES)


def test_only_square_images_are_turned_by_a_right_angle_and_series_not_at_all() -> None:
    for shape, turns in (((4, 6, 6, 1), 6), ((4, 6, 6), 6), ((4, 6, 8, 3), 3), ((4, 6, 8), 0)):
        images = np.random.default_rng(0).random(shape, np.float32)
        made = input_conventions(images)
        assert sum(scale.turn in TURNS for scale in made) == turns
        assert sum(scale.turn == INVERTED for scale in made) == 3
