"""What BatchNorm, the optimizers and attacks compute with, each seen where it stands alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from suite.measure.named import layers_by_key
from suite.measure.summaries import rounded
from suite.measure.weights import base_weights, set_base_weights
from suite.networks.architectures import PRETRAINED_INPUTS
from suite.networks.batch_norm import is_batch_norm, state_kept
from suite.networks.preprocessing import imagenet_inputs
from suite.networks.types import Model
from suite.stacks.protocol import Network, Stack

if TYPE_CHECKING:
    from suite.measure.summaries import Entry

NARROW = 0.001  # of the values that tell a BatchNorm's epsilon in the training phase
LOUD, CALM = 1000.0, 1.0  # the inputs of the optimizer's probe
CALM_STEPS = 60  # after which Adam has forgotten 6 % of the loud gradient's square
BEGUN = 0.125  # what its weights are then; a binary fraction
LATE = 127_999  # steps made before a late one: it is a multiple of 1,000 and of 1,024
RATES = {"sgd": 1e-3, "adam": 0.01}
REACH = 0.01  # epsilon of the attack of several steps
SEVERAL = 10  # its steps
SIDE = 16  # of the images that it perturbs, in pixels: as many random numbers as 32 of them have
SET = 0.25  # the rate that Keras' own setter is given; a binary fraction, so nothing rounds it


def batch_norms(stack: Stack, model: Model) -> Iterator[Entry]:
    """Yield the constants of every BatchNorm layer, as set and as observed."""
    observed: dict[tuple[float, float], dict[str, float]] = {}
    for key, layer in layers_by_key(model).items():
        if is_batch_norm(layer):
            constants = float(layer.momentum), float(layer.epsilon)
            if constants not in observed:
                observed[constants] = batch_norm(stack, layer)
            shape = list(layer.input.shape)
            yield {
                "quantity": "batch norm",
                "layer": key,
                "momentum": rounded(constants[0]),
                "epsilon": rounded(constants[1]),
                "dimensions": len(shape),
                "positions": int(np.prod([int(side) for side in shape[1:-1]])),
                **observed[constants],
            }


def batch_norm(stack: Stack, layer: Model) -> dict[str, float]:
    """Observe the constants that a BatchNorm layer with the settings of `layer` computes with.

    They are its momentum, its epsilon in each phase, and what it subtracts from the number of
    values to divide the sum of squares for the moving variance: 0 or 1. They are seen in a copy
    with one channel, on eight values: 0 and 4, four times each, so that their mean is 2 and their
    variance 4.
    """
    inputs = stack.keras.Input((2, 2, 1))
    settings = {**layer.get_config(), "name": "probe", "trainable": True}
    probe = type(layer).from_config(settings)
    network = stack.network(stack.keras.Model(inputs, probe(inputs)))
    values = np.repeat(np.array([0.0, 4.0], dtype=np.float32), 4).reshape(2, 2, 2, 1)
    probe.set_weights([np.ones(1), np.zeros(1), np.zeros(1), np.zeros(1)])
    outputs = network.logits(values, training=False)  # 4 / sqrt(epsilon)
    narrow = network.logits(values * np.float32(NARROW), training=True)  # epsilon is seen there
    probe.set_weights([np.ones(1), np.zeros(1), np.zeros(1), np.ones(1)])
    network.logits(values, training=True)
    mean, variance = (float(array[0]) for array in probe.get_weights()[-2:])
    share = mean / 2  # of the batch in the moving statistics
    corrected = (variance - (1 - share)) / share / 4 if share else float("nan")  # 8 / 8 or 8 / 7
    return {
        "observed_momentum": rounded(1 - share),
        "observed_epsilon": rounded((4 / float(outputs.max())) ** 2),
        "observed_training_epsilon": rounded(
            (2 * NARROW) ** 2 * (1 / float(narrow.max()) ** 2 - 1)
        ),
        "observed_correction": rounded(8 - 8 / corrected),
    }


def optimizer(stack: Stack, name: str) -> Entry:
    """Observe what an optimizer makes of a loud gradient and of calm ones after it, and its rate.

    No gradient of a case is as large, so that none shows a clip above it, and no case's few steps
    from a state show what is kept of a gradient long after. Here a layer of two classes, without a
    bias and from weights that are alike, takes one step whose gradient has a norm of 707, then calm
    ones whose gradients have one of 0.7 or less. Its weights are not zero: momenta that do not
    begin at zero, which every state is stepped from without, move it otherwise.

    Args:
        stack: The framework under measurement.
        name: A key of `suite.stacks.shared.OPTIMIZERS`.

    Returns:
        ``moved``: how far a weight is moved by the loud step, by the next, by all others but the
        last, and by the last. ``late``: where it stands after a calm step from zero, if the
        optimizer has counted `LATE` steps: a rate that decays by them shows, and what is done once
        in a hundred; None on TensorFlow 1, whose steps count their own. ``sure``: the loss of an
        image that is wrong for sure, in units of the difference of its logits: 1, unless a
        probability is clipped. ``rate``: what the optimizer holds after Keras' own setter was given
        `SET`, which training loops and callbacks use; None on TensorFlow 1, where every step does.
    """
    layer, model = _linear(stack, (1, 1, 1))
    layer.set_weights([np.full((1, 2), BEGUN, np.float32)])
    step = stack.train_step(model, phases=None, epsilon=0.0, optimizer=name)

    def stepped(value: float) -> float:
        """Make a step of one pixel; read a weight."""
        step(_pixel(value), np.zeros(1, np.int64), RATES[name])
        return float(layer.get_weights()[0][0, 0])

    weights = [BEGUN, *(stepped(value) for value in (LOUD, *[CALM] * CALM_STEPS))]
    moved = np.diff([weights[at] for at in (0, 1, 2, -2, -1)])
    late, counted = None, getattr(step.optimizer, "iterations", None)
    if not (counted is None or stack.GRAPH):
        counted.assign(LATE)
        layer.set_weights([np.zeros((1, 2), np.float32)])
        late = rounded(stepped(CALM))
    layer.set_weights([np.array([[1, -1]], np.float32)])
    loss = step(_pixel(LOUD), np.ones(1, np.int64), 0.0).loss
    return {
        "quantity": "optimizer",
        "layer": "",
        "moved": [rounded(change) for change in moved],
        "late": late,
        "sure": rounded(loss / (2 * LOUD)),
        "rate": None if stack.GRAPH else _set_rate(step.optimizer),
    }


def _linear(stack: Stack, shape: tuple[int, int, int]) -> tuple[Model, Model]:
    """Make a layer of two classes without a bias, its weights zero, and a model of it alone."""
    inputs = stack.keras.Input(shape)
    layer = stack.keras.layers.Dense(2, use_bias=False, kernel_initializer="zeros")
    return layer, stack.keras.Model(inputs, layer(stack.keras.layers.Flatten()(inputs)))


def _pixel(value: float) -> np.ndarray:
    """Make an image of one pixel, ``(1, 1, 1, 1)``."""
    return np.full((1, 1, 1, 1), value, np.float32)


def several_steps(stack: Stack) -> Entry:
    """Observe an attack of several steps (PGD), which no step of a case makes.

    On a model without a gradient it stays at its random start; on a linear one every pixel ends at
    the bound, wherever it started, and does after two steps already, which are the longest; where
    the loss falls on both sides of the image, it ends within a step of it.

    Returns:
        In units of epsilon ``start``, the root mean square of the start's change: 0.577 of a
        uniform one; ``least`` and ``largest``, the smallest and the largest change of a pixel of
        the linear model, and ``two``, the smallest after two steps; ``stride``, the largest change
        where the loss falls on both sides; ``outside``, how far black and white pixels leave
        [0, 1]. Further ``again``, whether a second start is the same, and ``alike``, the
        correlation of the starts of two images.
    """
    layer, linear = _linear(stack, (SIDE, SIDE, 3))
    network, kinked = stack.network(linear), stack.network(_kinked(stack))
    grey = np.full((32, SIDE, SIDE, 3), 0.5, np.float32)
    edges = np.indices(grey.shape).sum(axis=0).astype(np.float32) // 2 % 2  # 0 0 1 1 0 0 1 1

    def moved(network: Network, images: np.ndarray = grey, steps: int = SEVERAL) -> np.ndarray:
        """Attack a model and give the changes of the pixels."""
        made = network.craft(images, epsilon=REACH, training=False, steps=steps)
        changes: np.ndarray = (made.astype(np.float64) - images) / REACH
        return changes

    first, second = moved(network), moved(network)
    signs = np.where(np.indices((3 * SIDE * SIDE, 2)).sum(axis=0) % 2, -1.0, 1.0)
    layer.set_weights([signs.astype(np.float32)])
    ends, two, close = (
        np.abs(change) for change in (moved(network), moved(network, steps=2), moved(kinked))
    )
    clipped = edges + REACH * moved(network, edges)
    return {
        "quantity": "several steps",
        "layer": "",
        "start": rounded(np.sqrt(np.mean(first**2))),
        "again": bool(np.array_equal(first, second)),
        "alike": rounded(np.mean(first[:-1] * first[1:]) / (np.mean(first**2) or 1.0)),
        "least": rounded(np.min(ends)),
        "largest": rounded(np.max(ends)),
        "two": rounded(np.min(two)),
        "stride": rounded(np.max(close)),
        "outside": rounded((np.max(np.abs(clipped - 0.5)) - 0.5) / REACH),
    }


def _kinked(stack: Stack) -> Model:
    """Make a model that is surer of its first class the farther the pixels are from 0.5."""
    inputs = stack.keras.Input((SIDE, SIDE, 3))
    sides = stack.keras.layers.Conv2D(6, 1, activation="relu")
    added = stack.keras.layers.Dense(2)
    model = stack.keras.Model(inputs, added(stack.keras.layers.Flatten()(sides(inputs))))
    eye = np.eye(3, dtype=np.float32)
    sides.set_weights([np.hstack([eye, -eye]).reshape(1, 1, 3, 6), np.repeat([-0.5, 0.5], 3)])
    added.set_weights([np.tile([1.0, -1.0], (6 * SIDE * SIDE, 1)), np.array([1.0, 0.0])])
    return model


def start(stack: Stack, model: Model) -> Entry:
    """Observe what puts pretrained weights to use, which no case from stored states does.

    Returns:
        ``colours``: what a network is given for black, red, green and blue pixels on the scale of
        its pretraining. ``lost``: how many weights below the head of `model` are others after all
        of them, each raised by its place, were set and read again.
    """
    inputs = stack.keras.Input((4, 1, 3))
    layer = stack.keras.layers.Conv2D(3, 1, use_bias=False)
    inner = stack.keras.Model(inputs, stack.keras.layers.Flatten()(layer(inputs)))
    whole = imagenet_inputs(stack.keras, inner, PRETRAINED_INPUTS)
    layer.set_weights([np.eye(3, dtype=np.float32).reshape(1, 1, 3, 3)])
    colours = np.vstack([np.zeros(3), np.eye(3)]).reshape(1, 4, 1, 3).astype(np.float32)
    given = stack.network(whole).logits(colours, training=False)
    return {
        "step": 0,
        "quantity": "start",
        "layer": "",
        "colours": [rounded(float(value)) for value in given.ravel()],
        "lost": _lost(model),
    }


def _lost(model: Model) -> int:
    """Set other weights below the head of a model and count those that are not read again."""
    with state_kept(model):
        wanted = [
            array + np.float32(place) for place, array in enumerate(base_weights(model), start=1)
        ]
        set_base_weights(model, wanted)
        return sum(not np.array_equal(*pair) for pair in zip(wanted, base_weights(model)))


def _set_rate(optimizer: object) -> float:
    """Give an optimizer a learning rate by Keras' own setter; read what it holds then."""
    optimizer.learning_rate = SET  # type: ignore[attr-defined]
    return float(optimizer.learning_rate.numpy())  # type: ignore[attr-defined]
