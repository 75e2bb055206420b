"""The calls whose meaning depends on the release: each is run, and what it does is observed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from suite.networks.batch_norm import batch_norms
from suite.networks.types import Keras, Model

OUTCOMES = (
    "raises",
    "absent",
    "ignored",
    "honoured",
    "present",
    "inference",
    "training",
    "0.001",
    "1.001e-05",
    "n",
    "n - 1",
    "acc",
    "accuracy",
    "other",
    "1",
    "0.0001",
    "Adadelta, Adagrad, Adamax, Nadam",
    "binary",
    "categorical",
    "sparse",
    "same",
    "different",
    "kept",
    "lost",
    "HDF5",
    "zip",
)
"""What a call can be seen to do. The place here is the number in a record: only append."""

INPUTS = np.array([[0.0], [2.0]], np.float32)  # mean 1, variance 1
TARGETS = np.zeros_like(INPUTS)
MOVING_MEAN = 4.0  # planted beside a moving variance of 1
MEAN_SQUARES = {"training": 1.0, "inference": 10.0}
"""Mean square of `INPUTS` normalised by their own statistics, and by the moving ones."""

LOSS = 7  # added to the inputs: no real loss of `INPUTS`


class Seen(NamedTuple):
    """What a release was seen to do.

    Attributes:
        outcome: One of `OUTCOMES`.
        detail: The number or the error that shows it.
    """

    outcome: str
    detail: str


def raised(error: Exception) -> Seen:
    """Describe a refused call by the line of the error's message that tells why.

    TensorFlow's message contains the user's traceback, and below it the error once more.
    """
    name = f"{type(error).__name__}: "
    lines = [line.strip() for line in str(error).splitlines()]
    return Seen("raises", next((line for line in lines if line.startswith(name)), name + lines[0]))


def lr_argument(keras: Keras) -> Seen:
    """Observe what ``SGD(lr=0.5)`` does with its argument."""
    try:
        optimizer = keras.optimizers.SGD(lr=0.5)
    except (TypeError, ValueError) as error:
        return raised(error)
    moved = _moved(keras, optimizer, steps=1)
    return Seen("honoured" if moved == [0.5] else "ignored", f"moved by {moved[0]:.3g}")


def decay_argument(keras: Keras) -> Seen:
    """Observe what ``SGD(decay=1)`` does: its second step should be half the first."""
    try:
        optimizer = keras.optimizers.SGD(learning_rate=0.5, decay=1.0)
    except (TypeError, ValueError) as error:
        return raised(error)
    return _decayed(keras, optimizer)


def _decayed(keras: Keras, optimizer: Any) -> Seen:
    """Observe whether an optimizer's second step is half its first, which is 0.5."""
    first, second = _moved(keras, optimizer, steps=2)
    outcome = "honoured" if (first, second) == (0.5, 0.25) else "ignored"
    return Seen(outcome, f"moved by {first:.3g} and {second:.3g}")


def _moved(keras: Keras, optimizer: Any, *, steps: int) -> list[float]:
    """Measure how far each step moves a weight whose gradient is 1."""
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False)(inputs))
    model.compile(optimizer, loss="mean_absolute_error")
    model.set_weights([np.zeros((1, 1), np.float32)])
    positions = [0.0]
    for _ in range(steps):
        model.train_on_batch(np.ones((2, 1), np.float32), np.full((2, 1), -100, np.float32))
        positions.append(float(model.get_weights()[0][0, 0]))
    return [round(float(step), 6) for step in -np.diff(positions)]


def frozen_layer(keras: Keras) -> Seen:
    """Observe which statistics a BatchNorm layer uses in training if it is not trainable."""
    model = _planted(keras, trainable=False)
    return _phase(_train(keras, model))


def frozen_application(keras: Keras) -> Seen:
    """Observe the same for the first BatchNorm layer of keras.applications' ResNet-50."""
    network = _resnet50(keras)
    layer = next(batch_norms(network))
    layer.trainable = False
    model = keras.Model(network.input, keras.layers.GlobalAveragePooling2D()(layer.output))
    gamma, beta, mean, variance = layer.get_weights()
    layer.set_weights([gamma, beta, mean + MOVING_MEAN, variance])
    model.compile(keras.optimizers.SGD(learning_rate=0.0), loss="mean_squared_error")
    images = np.random.RandomState(0).uniform(size=(2, 32, 32, 3)).astype(np.float32)
    targets = np.zeros((2, gamma.size), np.float32)
    inference = float(np.mean(model.predict(images, verbose=0) ** 2))
    training = float(model.train_on_batch(images, targets))
    outcome = "inference" if np.isclose(training, inference, rtol=1e-3) else "training"
    return Seen(outcome, f"mean square {training:.3g} in fit, {inference:.3g} in predict")


def application_epsilon(keras: Keras) -> Seen:
    """Read BatchNorm's epsilon in keras.applications' ResNet-50."""
    epsilon = f"{next(batch_norms(_resnet50(keras))).epsilon:g}"
    return Seen(epsilon, epsilon)


def _resnet50(keras: Keras) -> Model:
    """Build keras.applications' ResNet-50 for 32x32 images, with random weights."""
    return keras.applications.ResNet50(weights=None, include_top=False, input_shape=(32, 32, 3))


def variance_correction(keras: Keras) -> Seen:
    """Observe what the moving variance of 4-D inputs divides the sum of squares by."""
    inputs = keras.Input((2, 1, 1))
    model = keras.Model(inputs, keras.layers.BatchNormalization(momentum=0.0)(inputs))
    images = np.array([0, 2, 0, 2], np.float32).reshape(2, 2, 1, 1)  # variance 1 over n of 4
    model.compile(keras.optimizers.SGD(learning_rate=0.0), loss="mean_squared_error")
    model.train_on_batch(images, np.zeros_like(images))
    factor = float(next(batch_norms(model)).get_weights()[3][0])
    names = {1.0: "n", 1.333: "n - 1"}
    return Seen(names.get(round(factor, 3), "other"), f"{factor:.4g} times the batch's variance")


def call_default(keras: Keras) -> Seen:
    """Observe the phase of a model that is called without ``training=``."""
    inner, inputs = _planted(keras), keras.Input((1,))
    outputs = keras.Model(inputs, inner(inputs)).predict(INPUTS, verbose=0)
    return _phase(float(np.mean(outputs**2)))


def fit_default(keras: Keras) -> Seen:
    """Observe the phase of a model called without ``training=`` inside one that is fitted."""
    inner, inputs = _planted(keras), keras.Input((1,))
    return _phase(_train(keras, keras.Model(inputs, inner(inputs))))


def set_learning_phase(keras: Keras) -> Seen:
    """Observe whether fit follows ``set_learning_phase(0)`` called before the model is built."""
    try:
        keras.backend.set_learning_phase(0)
    except AttributeError as error:
        return Seen("absent", str(error))
    phase, detail = _phase(_train(keras, _planted(keras)))
    return Seen("honoured" if phase == "inference" else "ignored", detail)


def pinned_phase(keras: Keras) -> Seen:
    """Observe the phase of fit after ``set_learning_phase(1)``, called once the model is built."""
    model = _planted(keras)
    try:
        keras.backend.set_learning_phase(1)
    except AttributeError as error:
        return Seen("absent", str(error))
    return _phase(_train(keras, model))


def pinned_in_fit(keras: Keras) -> Seen:
    """Observe the phase of fit for a BatchNorm called with ``training=False`` in the graph."""
    return _phase(_train(keras, _planted(keras, training=False)))


def pinned_in_predict(keras: Keras) -> Seen:
    """Observe the phase of predict for a BatchNorm called with ``training=True`` in the graph."""
    outputs = _planted(keras, training=True).predict(INPUTS, verbose=0)
    return _phase(float(np.mean(outputs**2)))


def learning_phase_scope(keras: Keras) -> Seen:
    """Observe whether Keras offers ``learning_phase_scope``."""
    return _present(hasattr(keras.backend, "learning_phase_scope"))


def get_session(keras: Keras) -> Seen:
    """Observe whether Keras offers the session that the published code passes to the attack."""
    return _present(hasattr(keras.backend, "get_session"))


def legacy_optimizers(keras: Keras) -> Seen:
    """Observe whether ``optimizers.legacy`` is there, and whether its SGD decays."""
    try:
        optimizer = keras.optimizers.legacy.SGD(learning_rate=0.5, decay=1.0)
    except (AttributeError, ImportError) as error:
        return Seen("absent", str(error).splitlines()[0])
    return _decayed(keras, optimizer)


def attack_module(keras: Keras) -> Seen:
    """Observe whether the installed CleverHans has the module that the published code imports."""
    del keras
    return _present(importlib.util.find_spec("cleverhans.attacks") is not None)


def symbolic_loss(keras: Keras) -> Seen:
    """Observe whether fit accepts a loss that calls the model on ``model.input``, as published."""
    model = _planted(keras)

    def loss(targets: Any, outputs: Any) -> Any:
        return outputs - targets + model(model.input)

    try:
        _fit(keras, model, loss=loss)
    except Exception as error:  # up to TensorFlow 2.3 its class is private, derived from this one
        if "symbolic" not in str(error):
            raise
        return raised(error)
    return Seen("honoured", "trains")


def accuracy_key(keras: Keras) -> Seen:
    """Observe the key of ``metrics=["accuracy"]`` in the history."""
    history = _fit(keras, _planted(keras), loss="mean_squared_error", metrics=["accuracy"])
    [key] = set(history) - {"loss"}
    return Seen(key, ", ".join(sorted(history)))


def train_step_override(keras: Keras) -> Seen:
    """Observe whether fit calls a model's own ``train_step``."""
    history = _own_step(keras, lambda _, inputs: {"own": inputs[0, 0]})
    if "own" in history:
        return Seen("honoured", "history holds what it returned")
    return Seen("ignored", f"history holds {', '.join(history)} alone")


def loss_key(keras: Keras) -> Seen:
    """Observe whether the history shows the ``loss`` that a model's own ``train_step`` returns."""
    [shown] = _own_step(keras, lambda _, inputs: {"loss": inputs[0, 0] + LOSS})["loss"]
    return Seen("honoured" if shown == LOSS else "ignored", f"history shows {shown:.3g} for {LOSS}")


def step_default(keras: Keras) -> Seen:
    """Observe the phase of a model called without ``training=`` in its own ``train_step``."""
    history = _own_step(keras, lambda model, inputs: {"own": _mean_square(model(inputs))})
    if "own" not in history:
        return Seen("ignored", "train_step is not called")
    return _phase(float(history["own"][0]))


def _mean_square(outputs: Any) -> Any:
    """Compute the mean square of two outputs by operators that all tensors have."""
    return (outputs[0, 0] ** 2 + outputs[1, 0] ** 2) / 2


def _own_step(
    keras: Keras, result: Callable[[Callable[[Any], Any], Any], dict[str, Any]]
) -> dict[str, Any]:
    """Fit a model whose ``train_step`` only returns `result`; return the history."""

    class Own(keras.Model):  # type: ignore[misc]  # Keras is an argument
        def train_step(self, *arguments: Any) -> Any:
            *state, (inputs, _) = arguments
            if not state:
                return result(self, inputs)
            variables = state[0]  # on JAX they are passed in and returned; the model holds none
            logs = result(lambda x: self.stateless_call(*variables[:2], x)[0], inputs)
            return logs, variables

    model = _planted(keras, cls=Own)
    return _fit(keras, model, loss="mean_squared_error")


def _planted(keras: Keras, *, trainable: bool = True, cls: Any = None, **pinned: bool) -> Model:
    """Build BatchNorm with other moving statistics than those of `INPUTS`, and a unit weight.

    Args:
        keras: The Keras of the model.
        trainable: Whether the BatchNorm is.
        cls: The class of the model; `keras.Model` unless given.
        pinned: The phase in which the BatchNorm is called, ``training``; none unless given.
    """
    inputs = keras.Input((1,))
    layer = keras.layers.BatchNormalization(trainable=trainable)
    unit = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = (cls or keras.Model)(inputs=inputs, outputs=unit(layer(inputs, **pinned)))
    gamma, beta, mean, variance = layer.get_weights()
    layer.set_weights([gamma, beta, mean + MOVING_MEAN, variance])
    return model


def _train(keras: Keras, model: Model) -> float:
    """Measure the mean square of a model's outputs in fit's first step."""
    return float(_fit(keras, model, loss="mean_squared_error")["loss"][0])


def _fit(keras: Keras, model: Model, **compiled: Any) -> dict[str, Any]:
    """Fit one step on `INPUTS` that moves no weight; return the history."""
    model.compile(keras.optimizers.SGD(learning_rate=0.0), **compiled)
    made = model.fit(INPUTS, TARGETS, batch_size=len(INPUTS), epochs=1, verbose=0)
    return dict(made.history)


def _phase(mean_square: float) -> Seen:
    """Tell the phase in which `INPUTS` were normalised; "other" if it is neither."""
    near = (p for p, square in MEAN_SQUARES.items() if np.isclose(mean_square, square, rtol=0.01))
    return Seen(next(near, "other"), f"mean square {mean_square:.3g}")


def _present(found: bool) -> Seen:
    """Describe a name that is there or not."""
    return Seen("present" if found else "absent", "")
