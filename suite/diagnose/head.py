"""How a network ends and what it was compiled to be trained with, read off the model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.diagnose.found import HeadLoss
from suite.diagnose.hearing import Layer, kernel_of
from suite.diagnose.loading import HOMES
from suite.diagnose.network import Network
from suite.networks.types import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

PASSING = frozenset(
    {"ActivityRegularization", "AlphaDropout", "Cast", "Dropout", "Flatten", "GaussianDropout",
     "GaussianNoise", "Identity", "Permute", "Reshape", "SpatialDropout1D", "SpatialDropout2D"}
)  # fmt: skip
"""Layers that leave the range of what they are given as it is."""

BY_CLASS = {
    "ELU": "elu",
    "LeakyReLU": "leaky_relu",
    "PReLU": "prelu",
    "ReLU": "relu",
    "Softmax": "softmax",
    "ThresholdedReLU": "relu",
}
"""Layers that are an activation of their own."""

RANGES: Mapping[str, tuple[float, float]] = {
    "hard_sigmoid": (0, 1),
    "relu": (0, np.inf),
    "relu6": (0, 6),
    "sigmoid": (0, 1),
    "softplus": (0, np.inf),
    "softsign": (-1, 1),
    "tanh": (-1, 1),
}
"""What activations put out: a model's own call may do more behind its last layer."""

SLACK = 1e-2  # of half precision

ALIASES = {
    "bce": "binary_crossentropy",
    "kld": "kl_divergence",
    "kldivergence": "kl_divergence",
    "kullback_leibler_divergence": "kl_divergence",
}


class Loss(NamedTuple):
    """A loss of Keras.

    Attributes:
        name: As a function, such as "binary_crossentropy"; "" where it is unknown.
        from_logits: What it expects.
    """

    name: str
    from_logits: bool


UNKNOWN = Loss("", from_logits=False)


def head_and_loss(network: Network, outputs: NDArray[np.float64]) -> HeadLoss:
    """Read how the network ends, and its loss; the network was heard before.

    Args:
        network: The network.
        outputs: ``(..., units)`` of its inference phase.
    """
    layer, activation = _ending(_up_to_output(network))
    name = _fitting(activation, outputs)
    loss = loss_of(network.model, network.head.name)
    backend = getattr(getattr(network.keras, "backend", None), "backend", None)
    unwound = backend is None or backend() == "tensorflow"
    units = int(outputs.shape[-1])
    return HeadLoss(layer, name, units, loss.name, loss.from_logits, unwound)


def _up_to_output(network: Network) -> list[Layer]:
    """List the layers that run up to the output that is looked at; none where that is unknown."""
    name, order = network.head.name, network.order
    if name is None:
        return list(order)
    names = getattr(network.model, "output_names", None) or ()
    if isinstance(name, int) and name < len(names):
        name = names[name]
    places = [place for place, layer in enumerate(order) if layer.name == name]
    return list(order[: places[-1] + 1]) if places else []


def _ending(layers: Sequence[Layer]) -> tuple[str, str]:
    """Name the layer that ends the network, and its activation; "" where that is unknown."""
    found = ""
    for layer in reversed(layers):
        kind = type(layer).__name__
        function = getattr(getattr(layer, "activation", None), "__name__", "")
        activation = BY_CLASS.get(kind) or str(function)
        found = found if found not in ("", "linear") else activation
        if kernel_of(layer) is not None:
            return str(layer.name), found
        if not activation and kind not in PASSING:
            break
    return "", ""


def _fitting(activation: str, outputs: NDArray[np.float64]) -> str:
    """Give the activation if the outputs can be its; that of a softmax behind it; else ""."""
    if not np.isfinite(outputs).all():
        return activation
    low, high = float(outputs.min()), float(outputs.max())
    inside = low >= -SLACK and high <= 1 + SLACK
    sums = bool(np.allclose(outputs.sum(axis=-1), 1, atol=SLACK))
    if inside and sums and outputs.shape[-1] > 1:
        return "softmax"
    if activation in ("softmax", "linear"):
        known = sums if activation == "softmax" else not inside
        return activation if known else ""
    least, most = RANGES.get(activation, (-np.inf, np.inf))
    return activation if low >= least - SLACK and high <= most + SLACK else ""


def loss_of(model: Model, output: Any = None) -> Loss:
    """Read the loss that a model was compiled with, for one of its outputs if it has several.

    Args:
        model: Compiled or not; `loss` may also be what a file says of it.
        output: Its name or place; None of the only one.
    """
    loss = getattr(model, "loss", None)
    if isinstance(loss, Mapping) and "class_name" not in loss:
        names = getattr(model, "output_names", None) or ()
        named = isinstance(output, int) and output < len(names)
        loss = loss.get(names[output] if named else output, _only(list(loss.values())))
    elif isinstance(loss, (list, tuple)):
        place = output if isinstance(output, int) and output < len(loss) else None
        loss = _only(loss) if place is None else loss[place]
    return described(loss)


def _only(losses: Sequence[Any]) -> Any:
    """Give the only loss; None of several."""
    return losses[0] if len(losses) == 1 else None


def described(loss: Any) -> Loss:
    """Describe a loss: a name, a function or object of Keras, or its configuration in a file."""
    if isinstance(loss, str):
        return Loss(snake(loss), from_logits=False)
    if isinstance(loss, Mapping):
        return _of_config(loss)
    function = getattr(loss, "func", loss)  # of functools.partial
    kind = function if hasattr(function, "__name__") else type(loss)
    if str(getattr(kind, "__module__", "")).split(".")[0] not in HOMES:
        return UNKNOWN
    if kind is function:
        told = getattr(loss, "keywords", None) or {}
        return Loss(snake(kind.__name__), bool(told.get("from_logits", False)))
    config = loss.get_config()
    name = kind.__name__ if kind.__name__ != "LossFunctionWrapper" else str(config.get("name"))
    return Loss(snake(name), bool(config.get("from_logits", False)))


def _of_config(config: Mapping[str, Any]) -> Loss:
    """Describe the configuration of a loss, as files hold it."""
    if str(config.get("module") or "keras").split(".")[0] not in (*HOMES, "builtins"):
        return UNKNOWN
    inner = config.get("config")
    if isinstance(inner, str):  # a function
        return Loss(snake(inner), from_logits=False)
    told = inner if isinstance(inner, Mapping) else {}
    return Loss(snake(str(config.get("class_name", ""))), bool(told.get("from_logits", False)))


def snake(name: str) -> str:
    """Write the name of a class as that of a function: "KLDivergence" is "kl_divergence"."""
    written = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.rpartition(">")[2]).lower()
    return ALIASES.get(written, written)
