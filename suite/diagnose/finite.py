"""What of a network is NaN or infinite, where it begins, and the same network in float32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.diagnose.found import ACTIVATION, STATISTIC, WEIGHT, NonFinite
from suite.diagnose.hearing import Heard, Layer, NormsHeard
from suite.diagnose.inputs import Images
from suite.diagnose.loading import keras_of
from suite.diagnose.network import Network
from suite.diagnose.predictions import Judge
from suite.diagnose.probes import thinned
from suite.diagnose.sample import Sample
from suite.diagnose.trace import Step, followed
from suite.diagnose.trials import FLOAT32, Trial
from suite.errors import FixError
from suite.networks.batch_norm import is_batch_norm
from suite.networks.copying import copied
from suite.networks.phases import INFERENCE, TRAINING
from suite.networks.types import Keras, Model, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALF = "float16"
"""The kind of number that ends at 65504; bfloat16 reaches as far as float32."""

POLICIES = (HALF, f"mixed_{HALF}", "bfloat16", "mixed_bfloat16")
"""Names of the dtype policies that compute in half precision."""

LARGEST = 65504.0  # of float16
TRACED = 8  # images that a network is followed with
OFF = 0.5  # relative difference from float32 that no rounding of float16 makes


class Size(NamedTuple):
    """Of a tensor what tells whether it is finite.

    Attributes:
        bad: For each image whether a number is NaN or infinite.
        largest: Finite magnitude; 0 without any.
        dtype: Of the numbers.
    """

    bad: NDArray[np.bool_]
    largest: float
    dtype: str


def first_nonfinite(
    network: Network, sample: Sample, heard: Heard, trained: NormsHeard, *, batch_size: int
) -> NonFinite | None:
    """Find the first numbers that are not finite: variables, then activations of either phase."""
    variable = nonfinite_variable(network)
    if variable is not None:
        return variable
    phases = ((INFERENCE, heard.outputs), (TRAINING, trained.outputs))
    found = (
        nonfinite_activation(network, sample.images, outputs, phase=phase, batch_size=batch_size)
        for phase, outputs in phases
    )
    return next(filter(None, found), None)


def mendable(broken: NonFinite | None) -> bool:
    """True where scales of inputs or weights could mend a network: nothing in it overflows."""
    return broken is None or (broken.what == ACTIVATION and broken.dtype != HALF)


def nonfinite_variable(network: Network) -> NonFinite | None:
    """Find the first variable with a NaN or infinite number: weights before moving statistics."""
    found = [each for layer in network.order for each in _bad_variables(network, layer)]
    weights = [each for each in found if each.what == WEIGHT]
    return next(iter((*weights, *found)), None)


def _bad_variables(network: Network, layer: Layer) -> Iterator[NonFinite]:
    """Yield the variables of a layer that are not finite."""
    for variable in layer.weights:
        values = network.numpy(variable)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            share = float(np.mean(~np.isfinite(values)))
            what = STATISTIC if _is_statistic(layer, variable) else WEIGHT
            name, dtype = variable_name(variable), str(values.dtype)
            kind = type(layer).__name__
            yield NonFinite(layer.name, kind, what, name, share, dtype, float("nan"), INFERENCE)


def _is_statistic(layer: Layer, variable: Tensor) -> bool:
    """True where a variable is the moving mean or variance of a BatchNorm."""
    statistics = (getattr(layer, "moving_mean", None), getattr(layer, "moving_variance", None))
    return is_batch_norm(layer) and any(variable is one for one in statistics)


def variable_name(variable: Tensor) -> str:
    """Give the short name of a variable, such as "kernel" or "moving variance"."""
    name: str = str(variable.name).rpartition("/")[2].partition(":")[0]
    return name.replace("_", " ")


def nonfinite_activation(
    network: Network, images: Images, outputs: NDArray[np.float64], *, phase: str, batch_size: int
) -> NonFinite | None:
    """Find the first layer that puts out NaN or infinite numbers though it takes in none.

    Args:
        network: Of finite weights.
        images: All of them.
        outputs: Of that phase, as far as they are known to be finite or not.
        phase: In which it is run.
        batch_size: Of the training phase, whose batches are followed one by one.
    """
    bad = ~np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1)
    if not bad.any():
        return None
    if phase == INFERENCE:
        parts = [images[np.flatnonzero(bad)[:TRACED]]]
    else:
        parts = network.batches(images, batch_size)
    for part in parts:
        first = next(filter(_begins, _sizes(network, part, training=phase == TRAINING)), None)
        if first is not None:
            return _activation(first.layer, first, float(bad.mean()), phase)
    return _activation(None, None, float(bad.mean()), phase)


def _sizes(network: Network, images: Images, *, training: bool) -> list[Step]:
    """Follow a batch layer by layer; undo what that does to the statistics."""
    moving = network.statistics()
    with followed(network, _size) as steps:
        network.outputs(images, training=training)
    network.set_statistics(moving)
    return steps


def _size(values: NDArray[Any]) -> Size:
    """Measure one tensor."""
    numbers = values.astype(np.float64)
    finite = np.isfinite(numbers)
    largest = float(np.abs(numbers[finite]).max()) if finite.any() else 0.0
    bad: NDArray[np.bool_] = np.any(~finite.reshape(len(numbers), -1), axis=1)
    return Size(bad, largest, str(values.dtype))


def _begins(step: Step) -> bool:
    """True where a layer makes numbers that are not finite of those that are."""
    return any(size.bad.any() for size in step.given) and not any(
        size.bad.any() for size in step.taken
    )


def _activation(layer: Layer | None, step: Step | None, share: float, phase: str) -> NonFinite:
    """Describe where activations are no longer finite; without a layer in the model's own call."""
    largest = max((size.largest for size in step.taken), default=0.0) if step else float("nan")
    dtype = step.given[0].dtype if step else ""
    name, kind = (str(layer.name), type(layer).__name__) if layer is not None else ("", "")
    return NonFinite(name, kind, ACTIVATION, "", share, dtype, largest, phase)


def _computes_in_half(network: Network) -> bool:
    """True where a layer computes in float16."""
    return any(getattr(layer, "compute_dtype", "") == HALF for layer in network.layers)


class InFloat32(NamedTuple):
    """What came of running the same network in float32.

    Attributes:
        trials: One, `FLOAT32`; none where the network cannot be copied.
        first: The first layer that puts out something else than in float32; None if none does.
    """

    trials: tuple[Trial, ...] = ()
    first: NonFinite | None = None


def float32_trials(
    network: Network, sample: Sample, judge: Judge, broken: NonFinite | None, *, batch_size: int
) -> InFloat32:
    """Evaluate the same weights in float32, statistics that are not finite recomputed.

    Only where a layer computes in float16, all weights are finite and the network can be copied.
    """
    if not _computes_in_half(network) or (broken is not None and broken.what == WEIGHT):
        return InFloat32()
    try:
        twin = Network(in_float32(network.model, network.keras), network.keras)
    except FixError:
        return InFloat32()
    twin.head = network.head
    twin.hear(sample.images[:1])  # which layers run
    if broken is not None and broken.what == STATISTIC:
        outputs = twin.recompute(sample.images, batch_size=batch_size).precise.outputs
    else:
        training = broken is not None and broken.phase == TRAINING
        size = batch_size if training else None
        outputs = twin.run(sample.images, training=training, batch_size=size)
    return InFloat32((judge.trial(FLOAT32, outputs),), _first_off(network, twin, sample.images))


def _first_off(network: Network, twin: Network, images: Images) -> NonFinite | None:
    """Find the first layer of which float16 makes something else than float32 does."""
    few = images[:TRACED]
    pairs = zip(_numbers(network, few), _numbers(twin, few))
    for half, full in pairs:
        if half.given and full.given and _relative(half.given[0], full.given[0]) > OFF:
            largest = max((float(np.abs(each).max()) for each in full.taken), default=0.0)
            layer = half.layer
            kind = type(layer).__name__
            return NonFinite(layer.name, kind, ACTIVATION, "", 0.0, HALF, largest, INFERENCE)
    return None


def _numbers(network: Network, images: Images) -> list[Step]:
    """Follow a batch layer by layer, and keep some of the numbers."""
    with followed(network, thinned) as steps:
        network.outputs(images, training=False)
    return steps


def _relative(half: NDArray[np.float64], full: NDArray[np.float64]) -> float:
    """Compute how much numbers differ, relative to how large they are in float32."""
    told = np.nan_to_num(half, nan=0.0, posinf=LARGEST, neginf=-LARGEST)
    size = float(np.sqrt(np.mean(full**2)))
    apart = float(np.sqrt(np.mean((told - full) ** 2)))
    return apart / size if size > 0 else 0.0


def in_float32(model: Model, keras: Keras | None = None) -> Model:
    """Copy a model with its weights; every layer computes in float32.

    Args:
        model: Left as it was.
        keras: The Keras module of the model; by default its class's.

    Raises:
        FixError: If the model cannot be copied.
    """
    keras = keras or keras_of(model)

    def replace(layer: Layer) -> Layer | None:
        if str(getattr(layer, "compute_dtype", "")) not in POLICIES or hasattr(layer, "layers"):
            return None
        return type(layer).from_config(_full(layer.get_config()))

    with _float32_policy(keras):
        return copied(keras, model, replace=replace)


@contextmanager
def _float32_policy(keras: Keras) -> Iterator[None]:
    """Have new layers compute in float32, for a time."""
    policies = keras.config if hasattr(keras, "config") else keras.mixed_precision
    if hasattr(policies, "set_dtype_policy"):
        read, write = policies.dtype_policy, policies.set_dtype_policy
    else:
        read, write = policies.global_policy, policies.set_global_policy
    before = read()
    write("float32")
    try:
        yield
    finally:
        write(before)


def _full(config: Any) -> Any:
    """Put float32 in the place of every dtype policy of half precision in a configuration."""
    if isinstance(config, Mapping):
        return {name: _full(value) for name, value in config.items()}
    if isinstance(config, (list, tuple)):
        parts = [_full(value) for value in config]
        return tuple(parts) if isinstance(config, tuple) else parts
    return "float32" if isinstance(config, str) and config in POLICIES else config
