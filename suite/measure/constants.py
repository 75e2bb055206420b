"""The constants that BatchNorm and the optimizers compute with, each seen where it stands alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from suite.measure.named import layers_by_key
from suite.measure.summaries import rounded
from suite.networks.batch_norm import is_batch_norm
from suite.networks.types import Model
from suite.stacks.protocol import Stack

if TYPE_CHECKING:
    from suite.measure.summaries import Entry

NARROW = 0.001  # of the values that tell a BatchNorm's epsilon in the training phase
LOUD, CALM = 1000.0, 1.0  # the inputs of the optimizer's probe
CALM_STEPS = 60  # after which Adam has forgotten 6 % of the loud gradient's square
LATE = 99_999  # steps made before a late one: it is the hundredth of a hundred, and of a thousand
RATES = {"sgd": 1e-3, "adam": 0.01}
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
    bias and from weights of zero, takes one step whose gradient has a norm of 707, then calm ones
    whose gradients have one of 0.7 or less.

    Args:
        stack: The framework under measurement.
        name: A key of `suite.stacks.shared.OPTIMIZERS`.

    Returns:
        ``moved``: how far a weight is moved by the loud step, by the next, by all others but the
        last, and by the last. ``late``: where it stands after a calm step from zero, if the
        optimizer has counted `LATE` steps: a rate that decays by them shows, and what is done once
        in a hundred; None on TensorFlow 1, whose steps count their own. ``rate``: what the
        optimizer holds after Keras' own setter was given `SET`, which training loops and callbacks
        use; None on TensorFlow 1, where every step does.
    """
    inputs = stack.keras.Input((1, 1, 1))
    layer = stack.keras.layers.Dense(2, use_bias=False, kernel_initializer="zeros")
    model = stack.keras.Model(inputs, layer(stack.keras.layers.Flatten()(inputs)))
    step = stack.train_step(model, phases=None, epsilon=0.0, optimizer=name)

    def stepped(value: float) -> float:
        """Make a step of one pixel; read a weight."""
        step(np.full((1, 1, 1, 1), value, np.float32), np.zeros(1, np.int64), RATES[name])
        return float(layer.get_weights()[0][0, 0])

    weights = [0.0, *(stepped(value) for value in (LOUD, *[CALM] * CALM_STEPS))]
    moved = np.diff([weights[at] for at in (0, 1, 2, -2, -1)])
    late = None
    if not stack.GRAPH:
        step.optimizer.iterations.assign(LATE)
        layer.set_weights([np.zeros((1, 2), np.float32)])
        late = rounded(stepped(CALM))
    return {
        "quantity": "optimizer",
        "layer": "",
        "moved": [rounded(change) for change in moved],
        "late": late,
        "rate": None if stack.GRAPH else _set_rate(step.optimizer),
    }


def _set_rate(optimizer: object) -> float:
    """Give an optimizer a learning rate by Keras' own setter; read what it holds then."""
    optimizer.learning_rate = SET  # type: ignore[attr-defined]
    return float(optimizer.learning_rate.numpy())  # type: ignore[attr-defined]
