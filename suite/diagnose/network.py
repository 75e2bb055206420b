"""Anyone's Keras network, run pass by pass while its layers are listened to; nothing is kept."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.diagnose.statistics import Moments, Statistics, moments
from suite.errors import SuiteError
from suite.networks.types import Keras, Model, Tensor

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

Layer: TypeAlias = Any
"""A Keras layer."""

Around: TypeAlias = "Callable[..., Any]"
"""Called in a layer's place: ``around(layer, call, *args, **kwargs)``."""

PIXELS = 128 * 32 * 32
"""Pixels in a batch of the inference phase, at most: Keras keeps all activations of a call."""

FEATURES = 4096
"""Numbers of an activation that are looked at, at most."""


class NormsHeard(NamedTuple):
    """What came of a pass, and what the BatchNorm layers saw of it.

    Attributes:
        outputs: ``(n, classes)``, as the network says them.
        moments: For each BatchNorm layer the moments of its input, call by call.
        training: For each, whether it ran in the training phase; False where it was not called.
    """

    outputs: NDArray[np.float64]
    moments: list[list[Moments]]
    training: list[bool]


def keras_of(model: Model) -> Keras:
    """Return the Keras module that `model` was made with.

    Raises:
        SuiteError: If `model` is no Keras model.
    """
    for kind in type(model).__mro__:
        module = kind.__module__
        for start, name in (("keras.", "keras"), ("tf_keras.", "tf_keras")):
            if module.startswith(start) and name in sys.modules:
                return sys.modules[name]
        if module.startswith("tensorflow."):
            return sys.modules["tensorflow"].keras
    raise SuiteError(
        f"model must be a Keras model. Received: {type(model).__name__}. Expected a keras.Model, "
        "such as keras.models.load_model(path) returns."
    )


def demand_eager(model: Model) -> None:
    """Check that the network can be called.

    Raises:
        SuiteError: If TensorFlow runs graphs, as TensorFlow 1 does, or the network has no weights.
    """
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and not tensorflow.executing_eagerly():
        raise SuiteError(
            "a diagnosis needs eager execution, and TensorFlow runs graphs here, as TensorFlow 1 "
            "does. Save the network (model.save) and diagnose it with TensorFlow 2."
        )
    if not model.built:
        raise SuiteError("model must be built: call it once, as in model(images[:1]), before.")


def leaves(model: Model) -> list[Layer]:
    """Return the layers of `model` that hold no others, nested models' and composites' included."""
    if hasattr(model, "_flatten_layers"):
        inside = list(model._flatten_layers(recursive=True, include_self=False))
    else:  # TensorFlow 2.0 to 2.2
        inside = [part for part in model.submodules if hasattr(part, "call")]
    seen = {id(layer): layer for layer in inside if not _sublayers(layer)}
    return list(seen.values())


def _sublayers(layer: Layer) -> list[Layer]:
    """Return the layers inside `layer`."""
    if hasattr(layer, "_flatten_layers"):
        return list(layer._flatten_layers(recursive=False, include_self=False))
    return [part for part in layer.submodules if hasattr(part, "call")]


def is_batch_norm(layer: Layer) -> bool:
    """Return whether `layer` keeps moving statistics, as BatchNorm and its subclasses do."""
    return all(hasattr(layer, name) for name in ("moving_mean", "moving_variance", "momentum"))


@contextmanager
def around(layers: Sequence[Layer], replacement: Around) -> Iterator[None]:
    """Have `replacement` called in place of each layer's own ``call``, for a time.

    Keras has no hooks. The attribute is set on the given layer objects alone; the classes of the
    library are as they were.
    """
    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(_around(layer, replacement))
        yield


@contextmanager
def _around(layer: Layer, replacement: Around) -> Iterator[None]:
    """Replace one layer's ``call`` for a time."""
    call, own = layer.call, layer.__dict__.get("call")

    def replaced(*args: Any, **kwargs: Any) -> Any:
        return replacement(layer, call, *args, **kwargs)

    object.__setattr__(layer, "call", replaced)
    try:
        yield
    finally:
        if own is None:
            object.__delattr__(layer, "call")
        else:
            object.__setattr__(layer, "call", own)


class Network:
    """A network that can be run and listened to.

    Attributes:
        model: The user's model.
        layers: Its layers that hold no others.
        norms: Its BatchNorm layers; after a pass in order of execution.
    """

    def __init__(self, model: Model, keras: Keras) -> None:
        """Take `model`, whose library is `keras`."""
        self.model = model
        self.keras = keras
        self.layers = leaves(model)
        self.norms = [layer for layer in self.layers if is_batch_norm(layer)]

    def numpy(self, tensor: Tensor) -> NDArray[Any]:
        """Return the values of a tensor or variable."""
        if not hasattr(self.keras, "ops"):
            return np.asarray(tensor.numpy())
        value = tensor.value if isinstance(tensor, self.keras.Variable) else tensor
        if self.keras.backend.backend() == "tensorflow":
            return np.asarray(value.numpy())
        return np.asarray(self.keras.ops.convert_to_numpy(value))

    def outputs(self, images: NDArray[np.float32], *, training: bool) -> NDArray[np.float64]:
        """Return what the network says of a batch, as it says it."""
        with self._no_gradient():
            result = self.model(images, training=training)
        if isinstance(result, (list, tuple, dict)):
            raise SuiteError(
                f"model must have one output. Received: {len(result)}. Make a model of the "
                "classifying one: keras.Model(model.input, model.outputs[0])."
            )
        return self.numpy(result).astype(np.float64)

    def batches(
        self, images: NDArray[np.float32], *, batch_size: int | None
    ) -> list[NDArray[np.float32]]:
        """Return `images` in batches of nearly one size.

        Without a `batch_size` they are as large as memory likes: the inference phase does not see
        them.
        """
        size = batch_size or max(1, PIXELS // max(1, int(np.prod(images.shape[1:-1]))))
        return np.array_split(images, max(1, round(len(images) / size)))

    def run(
        self, images: NDArray[np.float32], *, training: bool, batch_size: int | None = None
    ) -> NDArray[np.float64]:
        """Return what the network says of all `images`."""
        batches = self.batches(images, batch_size=batch_size)
        return np.concatenate([self.outputs(batch, training=training) for batch in batches])

    @contextmanager
    def _no_gradient(self) -> Iterator[None]:
        """Keep torch from recording what is never differentiated."""
        backend = getattr(getattr(self.keras, "backend", None), "backend", None)
        if backend is not None and backend() == "torch":
            with sys.modules["torch"].no_grad():
                yield
        else:
            yield

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Put every variable, and whether each BatchNorm layer is trainable, back on leaving."""
        variables = list(getattr(self.model, "variables", self.model.weights))
        values = [np.array(self.numpy(variable)) for variable in variables]
        trainable = [layer.trainable for layer in self.norms]
        try:
            yield
        finally:
            for layer, flag in zip(self.norms, trainable):
                layer.trainable = flag
            for variable, value in zip(variables, values):
                variable.assign(value)

    def statistics(self) -> list[Statistics]:
        """Return the moving mean and variance of every BatchNorm layer, in the order of `norms`."""
        return [
            (self._double(layer.moving_mean), self._double(layer.moving_variance))
            for layer in self.norms
        ]

    def set_statistics(self, statistics: Sequence[Statistics]) -> None:
        """Give every BatchNorm layer its mean and variance, in the order of `norms`."""
        for layer, (mean, variance) in zip(self.norms, statistics):
            layer.moving_mean.assign(mean.astype(np.float32))
            layer.moving_variance.assign(variance.astype(np.float32))

    def _double(self, variable: Tensor) -> NDArray[np.float64]:
        return self.numpy(variable).astype(np.float64)

    def hear_norms(
        self,
        images: NDArray[np.float32],
        *,
        training: bool,
        batch_size: int,
        forced: bool = False,
    ) -> NormsHeard:
        """Return what comes of a pass in batches, and what each BatchNorm layer saw.

        A `forced` pass has every BatchNorm layer, and nothing else, in the training phase: those
        that are frozen or pinned to the inference phase too.
        """
        position = {id(layer): index for index, layer in enumerate(self.norms)}
        seen: list[list[Moments]] = [[] for _ in self.norms]
        phases: list[list[bool]] = [[] for _ in self.norms]

        def hear(layer: Layer, call: Around, inputs: Tensor, *args: Any, **kwargs: Any) -> Any:
            index = position[id(layer)]
            seen[index].append(moments(self.numpy(inputs), layer.axis))
            asked = bool(args[0] if args else kwargs.get("training"))
            phases[index].append(asked and runs_in_training(layer))
            if forced:
                kwargs["training"], args = True, ()
            return call(inputs, *args, **kwargs)

        if forced:
            for layer in self.norms:
                layer.trainable = True
        with around(self.norms, hear):
            outputs = self.run(images, training=training, batch_size=batch_size)
        return NormsHeard(outputs, seen, [any(heard) for heard in phases])


def runs_in_training(layer: Layer) -> bool:
    """Return whether a BatchNorm layer that is told to train does: a frozen one does not.

    But for `keras.applications` in TensorFlow 2.0 and 2.1 (tensorflow#36700).
    """
    return bool(layer.trainable) or not getattr(layer, "_USE_V2_BEHAVIOR", True)


class Unit(NamedTuple):
    """The output of one layer, in the inference phase.

    Attributes:
        layer: Its name.
        kind: Its class.
        variation: Standard deviation over the images relative to the root mean square; 0 if dead.
        magnitude: Root mean square.
    """

    layer: str
    kind: str
    variation: float
    magnitude: float


class Heard(NamedTuple):
    """What was heard of a pass in the inference phase.

    Attributes:
        outputs: ``(n, classes)``.
        units: Of the first batch, in order of execution.
        order: The layers themselves in that order, each once.
        head: ``(n, d)`` input of the last layer with a kernel.
        trunk: ``(n, c)`` mean over the positions of the last activation that has any.
    """

    outputs: NDArray[np.float64]
    units: tuple[Unit, ...]
    order: tuple[Layer, ...]
    head: NDArray[np.float64]
    trunk: NDArray[np.float64]


class _Ear:
    """Hears what every layer takes in and puts out, one batch at a time."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.units: dict[int, tuple[Layer, Unit]] = {}
        self.head: list[NDArray[np.float64]] = []
        self.trunk: list[NDArray[np.float64]] = []
        self.first = True

    def begin(self, *, batch: int) -> None:
        """Expect a new batch."""
        self.first = batch == 0
        self.head.append(np.zeros((0, 0)))
        self.trunk.append(np.zeros((0, 0)))

    def __call__(self, layer: Layer, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a layer, and hear."""
        result = call(*args, **kwargs)
        if hasattr(result, "shape") and len(result.shape) > 1:
            values = self.network.numpy(result)
            if values.dtype.kind == "f" or values.dtype.itemsize == 2:  # noqa: PLR2004  bfloat16
                self._hear(layer, args, values)
        return result

    def _hear(self, layer: Layer, args: tuple[Any, ...], values: NDArray[Any]) -> None:
        if self.first and id(layer) not in self.units:
            self.units[id(layer)] = (layer, unit(layer, values))
        if len(values.shape) > 2 and max(values.shape[1:-1]) > 1:  # noqa: PLR2004
            self.trunk[-1] = _over_positions(values)
        if kernel_of(self.network, layer) and args and hasattr(args[0], "shape"):
            self.head[-1] = _over_positions(self.network.numpy(args[0]))


def _over_positions(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return ``(n, d)``: the mean over the positions, of which the inner axes are."""
    axes = tuple(range(1, values.ndim - 1))
    return values.astype(np.float64).mean(axis=axes) if axes else values.astype(np.float64)


def unit(layer: Layer, values: NDArray[Any]) -> Unit:
    """Return how much a layer's output varies over the images of a batch."""
    flat = values.reshape(len(values), -1)
    flat = flat[:, :: max(1, flat.shape[1] // FEATURES)].astype(np.float64)
    with np.errstate(all="ignore"):
        magnitude = float(np.sqrt(np.mean(flat**2)))
        spread = float(np.sqrt(np.mean(flat.var(axis=0))))
    variation = spread / magnitude if magnitude > 0 else 0.0
    return Unit(layer.name, type(layer).__name__, variation, magnitude)


def hear(network: Network, images: NDArray[np.float32]) -> Heard:
    """Run `images` in the inference phase and return what was heard."""
    ear = _Ear(network)
    outputs = []
    with around(network.layers, ear):
        for index, batch in enumerate(network.batches(images, batch_size=None)):
            ear.begin(batch=index)
            outputs.append(network.outputs(batch, training=False))
    heard = list(ear.units.values())
    return Heard(
        np.concatenate(outputs),
        tuple(found for _, found in heard),
        tuple(layer for layer, _ in heard),
        np.concatenate(ear.head),
        np.concatenate(ear.trunk),
    )


def kernel_of(network: Network, layer: Layer) -> list[NDArray[np.float64]]:
    """Return a layer's first weight of two axes or more, in a list; empty if it has none."""
    for variable in layer.weights:
        if len(variable.shape) > 1 and int(np.prod(variable.shape)) > 1:
            return [network.numpy(variable).astype(np.float64)]
    return []
