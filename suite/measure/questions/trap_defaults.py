"""The calls that leave a choice to the release: default arguments, metrics, draws and masks."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np

from suite.measure.questions.trap_calls import Seen
from suite.networks.types import Keras

KERAS_2_3 = {
    "Adadelta": {"learning_rate": 1.0, "rho": 0.95, "epsilon": 1e-7},
    "Adagrad": {"learning_rate": 0.01, "epsilon": 1e-7},
    "Adam": {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7},
    "Adamax": {"learning_rate": 0.002, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7},
    "Nadam": {"learning_rate": 0.002, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7},
    "RMSprop": {"learning_rate": 0.001, "rho": 0.9, "epsilon": 1e-7},
    "SGD": {"learning_rate": 0.01, "momentum": 0.0, "nesterov": False},
}
"""The default arguments of all optimizers of Keras 2.3.1, the last that was not TensorFlow's."""

SCORES = np.array([[0.9, 0.8, 0.1], [0.2, 0.6, 0.1], [0.6, 0.7, 0.9], [0.1, 0.2, 0.3]], np.float32)
SEVERAL = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]], np.float32)
CLASSES = np.array([[0], [1], [1], [2]])
"""Outputs, and labels of which each meaning of "accuracy" makes another number."""

HALF = 0.5  # where Keras parts a 0 from a 1
STEPS = 8  # of a sequence
UNITS = 2
OPEN, SHUT = 30.0, -30.0  # biases that open and shut an LSTM's gate, by a sigmoid of any kind
ALIKE = 1e-6  # mean square between outputs that differ by rounding alone; others differ by some .3


def adadelta_default(keras: Keras) -> Seen:
    """Observe the learning rate of ``Adadelta()`` of what ``import keras`` gives, by its step."""
    del keras
    if importlib.util.find_spec("keras") is None:
        return Seen("absent", "there is no package keras beside TensorFlow's own")
    package = importlib.import_module("keras")
    adadelta = getattr(package.optimizers, "Adadelta", None)
    if adadelta is None:
        return Seen("absent", "the package keras has no optimizers.Adadelta")
    rate = _first_step(package, adadelta()) / _first_step(package, adadelta(learning_rate=1.0))
    return Seen(f"{rate:.3g}", f"moves {rate:.3g} times as far as at 1")


def lion_default(keras: Keras) -> Seen:
    """Observe the learning rate of ``Lion()``, by its step: at 1 it moves each weight by 1."""
    if not hasattr(keras.optimizers, "Lion"):
        return Seen("absent", "there is no Lion")
    rate = _first_step(keras, keras.optimizers.Lion())
    return Seen(f"{rate:.3g}", f"moved by {rate:.3g}")


def _first_step(keras: Keras, optimizer: Any) -> float:
    """Measure how far an optimizer moves a weight of 0 whose gradient is 1."""
    inputs = keras.layers.Input((1,))
    unit = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.models.Model(inputs, unit(inputs))
    model.compile(optimizer, loss="mean_absolute_error")
    model.train_on_batch(np.ones((2, 1), np.float32), np.full((2, 1), -100, np.float32))
    return -float(model.get_weights()[0][0, 0])


def optimizer_defaults(keras: Keras) -> Seen:
    """Read which of the optimizers of Keras 2.3 have other default arguments now."""
    changed = {name: _changed(keras, name) for name in KERAS_2_3}
    names = [name for name, arguments in changed.items() if arguments]
    words = (f"{name} {argument}" for name in names for argument in changed[name])
    return Seen(", ".join(names), "; ".join(words))


def _changed(keras: Keras, name: str) -> list[str]:
    """List the default arguments of an optimizer that differ from those of Keras 2.3."""
    now = getattr(keras.optimizers, name)().get_config()
    return [
        f"{argument} {was:g} -> {float(now[argument]):g}"
        for argument, was in KERAS_2_3[name].items()
        if not np.isclose(float(now[argument]), was, rtol=1e-5)
    ]


def accuracy_of_several(keras: Keras) -> Seen:
    """Observe which metric "accuracy" is of several sigmoids under binary cross-entropy."""
    return _accuracy(keras, SEVERAL, "binary_crossentropy")


def accuracy_of_own_loss(keras: Keras) -> Seen:
    """Observe which metric "accuracy" is of integer labels under a loss of one's own."""
    return _accuracy(keras, CLASSES, lambda _, outputs: (outputs - HALF) ** 2)


def _accuracy(keras: Keras, labels: np.ndarray, loss: Any) -> Seen:
    """Tell by its number which metric fit makes of "accuracy"; "other" if it is none of them."""
    inputs = keras.Input(SCORES.shape[1:])
    model = keras.Model(inputs, keras.layers.Activation("linear")(inputs))
    optimizer = keras.optimizers.SGD(learning_rate=0.0)
    model.compile(optimizer, loss=loss, metrics=["accuracy"])
    history = model.fit(SCORES, labels, batch_size=len(SCORES), epochs=1, verbose=0).history
    [value] = (float(values[0]) for key, values in history.items() if key != "loss")
    near = (name for name, own in meanings(labels).items() if np.isclose(value, own, atol=1e-4))
    return Seen(next(near, "other"), f"accuracy {value:.3g}")


def meanings(labels: np.ndarray) -> dict[str, float]:
    """Compute the accuracy of `SCORES` by each of the meanings of the word.

    Args:
        labels: ``(4, 3)``, a 0 or 1 for each output, or ``(4, 1)``, a class.
    """
    predicted = SCORES.argmax(axis=1)
    return {
        "binary": float(np.mean((SCORES > HALF) == labels)),
        "categorical": float(np.mean(predicted == labels.argmax(axis=1))),
        "sparse": float(np.mean(predicted == labels[:, 0])),
    }


def initializer_twice(keras: Keras) -> Seen:
    """Observe whether two layers that share one initializer begin with the same weights."""
    drawing = keras.initializers.RandomNormal()
    first, second = (keras.layers.Dense(3, kernel_initializer=drawing) for _ in range(2))
    inputs = keras.Input((3,))
    keras.Model(inputs, second(first(inputs)))
    apart = float(np.abs(first.get_weights()[0] - second.get_weights()[0]).max())
    return Seen("different" if apart else "same", f"weights differ by up to {apart:.3g}")


def lstm_dropout(keras: Keras) -> Seen:
    """Observe whether an LSTM drops the same inputs at all steps of a sequence.

    Each unit is given one input, and its output depends on the same step's input alone.

    Raises:
        RuntimeError: If no input is dropped in training, so that nothing can be told.
    """
    across_steps = _lstm(keras, lambda _, outputs: (outputs[:, 1:] - outputs[:, :-1]) ** 2)
    across_units = _lstm(keras, lambda _, outputs: (outputs[:, :, 0] - outputs[:, :, 1]) ** 2)
    if across_units < ALIKE:
        raise RuntimeError("LSTM(dropout=0.5) must drop some inputs in training. Dropped none.")
    detail = f"mean square between steps {across_steps:.3g}, between inputs {across_units:.3g}"
    return Seen("same" if across_steps < ALIKE else "different", detail)


def _lstm(keras: Keras, loss: Any) -> float:
    """Measure a loss of the outputs ``(batch, step, unit)`` of an LSTM that drops half its inputs.

    Its inputs are all 1; the gates are input and output open, forget shut, in Keras' order.
    """
    inputs = keras.Input((STEPS, UNITS))
    layer = keras.layers.LSTM(UNITS, dropout=0.5, return_sequences=True)
    model = keras.Model(inputs, layer(inputs))
    kernel = np.zeros((UNITS, 4 * UNITS), np.float32)
    kernel[:, 2 * UNITS : 3 * UNITS] = np.eye(UNITS)  # the candidates: unit k is given input k
    bias = np.repeat(np.array([OPEN, SHUT, 0.0, OPEN], np.float32), UNITS)
    layer.set_weights([kernel, np.zeros_like(kernel), bias])
    model.compile(keras.optimizers.SGD(learning_rate=0.0), loss=loss)
    sequences = np.ones((64, STEPS, UNITS), np.float32)
    return float(model.train_on_batch(sequences, sequences))
