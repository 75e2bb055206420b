"""What the layers of a network take in and put out during a pass: heard, not changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.diagnose.found import Unit
from suite.diagnose.inputs import Head
from suite.diagnose.loading import foreign
from suite.diagnose.probes import over_positions, unit
from suite.diagnose.statistics import Moments, Statistics, moments
from suite.networks.types import Tensor

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

Layer: TypeAlias = Any
"""A Keras layer."""

Call: TypeAlias = "Callable[..., Any]"
"""A layer's own ``call``; or what is called in its place, with the layer and it before the rest."""

ToNumpy: TypeAlias = "Callable[[Tensor], NDArray[Any]]"
"""Copies a tensor of the framework into an array."""

POSITIONS_RANK = 3
"""Axes from which an activation has positions: ``(n, ..., channels)``."""


class Heard(NamedTuple):
    """What was heard of a pass in the inference phase.

    Attributes:
        outputs: ``(n, classes)``, as the network gives them; ``(n, places, classes)`` of a grid.
        units: The layers' outputs for the first batch, in order of execution.
        head: ``(n, d)`` input of the last layer with a kernel; of a grid ``(n, probed, d)``.
        trunk: ``(n, c)`` mean over the positions of the last activation that has any; nothing of
            a grid.
    """

    outputs: NDArray[np.float64]
    units: tuple[Unit, ...]
    head: NDArray[np.float64]
    trunk: NDArray[np.float64]


class NormsHeard(NamedTuple):
    """What the BatchNorm layers heard of a pass.

    Attributes:
        outputs: ``(n, classes)``, as the network gives them.
        moments: For each BatchNorm layer the moments of its input, call by call.
        training: For each, whether it ran in the training phase; False where it was not called.
    """

    outputs: NDArray[np.float64]
    moments: list[list[Moments]]
    training: list[bool]


@contextmanager
def around(layers: Sequence[Layer], replacement: Call) -> Iterator[None]:
    """Have `replacement` called in place of each layer's own ``call``, for a time.

    Keras has no hooks. The attribute is set on these layer objects alone; the library's classes
    are not touched.
    """
    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(_around(layer, replacement))
        yield


@contextmanager
def _around(layer: Layer, replacement: Call) -> Iterator[None]:
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


class Numbers:
    """Takes in what layers compute as arrays, where a pass runs layer by layer."""

    def __init__(self, numpy: ToNumpy) -> None:
        """Use `numpy` to copy a tensor into an array."""
        self._numpy = numpy

    def open(self, tensor: Tensor) -> NDArray[Any] | None:
        """Copy a tensor; None of one that has no numbers, in a loop that is compiled."""
        try:
            return self._numpy(tensor)
        except foreign():  # each backend has its own word for it
            return None

    def unit(self, values: NDArray[Any]) -> tuple[Any, ...]:
        """Measure how much an output varies over the images, and its magnitude."""
        found = unit("", "", values)
        return found.variation, found.magnitude

    def over_positions(self, values: NDArray[Any]) -> NDArray[Any]:
        """Average ``(n, ..., d)`` values over the positions."""
        return over_positions(values)

    def moments(self, values: NDArray[Any], axis: Any) -> Moments:
        """Compute the moments of each channel; the channels lie along `axis`."""
        return moments(values, axis)


class Symbols:
    """The same of tensors of a pass that TensorFlow compiles; what it gives are tensors, too."""

    def __init__(self, tensorflow: Any) -> None:
        """Use the operations of the module `tensorflow`."""
        self._tf = tensorflow

    def open(self, tensor: Tensor) -> Tensor:
        """Take a tensor as it is."""
        return tensor

    def unit(self, values: Tensor) -> tuple[Any, ...]:
        """Measure nothing: outputs are measured where a pass runs layer by layer."""
        del values
        return ()

    def over_positions(self, values: Tensor) -> Tensor:
        """Average ``(n, ..., d)`` values over the positions."""
        axes = list(range(1, len(values.shape) - 1))
        return self._tf.reduce_mean(self._tf.cast(values, "float32"), axis=axes)

    def moments(self, values: Tensor, axis: Any) -> Moments:
        """Compute the moments of each channel; the channels lie along `axis`."""
        rank = len(values.shape)
        channel = int(axis if isinstance(axis, int) else axis[0]) % rank
        axes = [place for place in range(rank) if place != channel]
        mean, variance = self._tf.nn.moments(self._tf.cast(values, "float32"), axes)
        return Moments(self._tf.size(values) // values.shape[channel], mean, variance)


Sense: TypeAlias = "Numbers | Symbols"
"""How an ear takes in what it hears."""


class Ear:
    """Hears what every layer takes in and puts out in one pass.

    Attributes:
        layers: That are listened to.
        heard: Those that ran, in order of execution.
    """

    def __init__(self, layers: Sequence[Layer], sense: Sense, head: Head) -> None:
        """Listen to `layers`; `head` is the output that is looked at."""
        self.layers = layers
        self.heard: list[Layer] = []
        self._sense, self._looked_at = sense, head
        self._units: list[tuple[Any, ...]] = []
        self._taken: Any = None
        self._given: Any = None

    def __call__(self, layer: Layer, call: Call, *args: Any, **kwargs: Any) -> Any:
        """Call the layer, then hear what it put out."""
        result = call(*args, **kwargs)
        if len(getattr(result, "shape", None) or ()) > 1 and "float" in str(result.dtype):
            values = self._sense.open(result)
            if values is not None:
                self._hear(layer, args, values)
        return result

    def _hear(self, layer: Layer, args: tuple[Any, ...], values: Any) -> None:
        if not any(layer is known for known in self.heard):
            self.heard.append(layer)
            self._units.append(self._sense.unit(values))
        positions = len(values.shape) >= POSITIONS_RANK and max(values.shape[1:-1]) > 1
        if positions and not self._looked_at.grid:
            self._given = values
        if args and len(getattr(args[0], "shape", None) or ()) > 1 and kernel_of(layer) is not None:
            self._taken = args[0]

    def noted(self) -> dict[str, Any]:
        """Give what was heard.

        Returns:
            "units", the variation and magnitude of each layer's output; "taken", the input of the
            last layer with a kernel; "trunk", the mean over the positions of the last activation
            that has any. The last two may be missing.
        """
        found: dict[str, Any] = {"units": self._units}
        taken = None if self._taken is None else self._sense.open(self._taken)
        if taken is not None:
            found["taken"] = taken
        if self._given is not None:
            found["trunk"] = self._sense.over_positions(self._given)
        return found


class NormEar:
    """Hears what every BatchNorm layer takes in, and in which phase it runs.

    Attributes:
        layers: The BatchNorm layers.
        phases: For each, call by call, whether it ran in the training phase.
    """

    def __init__(self, norms: Sequence[Layer], sense: Sense, *, forced: bool) -> None:
        """Listen; `forced` puts each layer in the training phase, however it is called."""
        self.layers = norms
        self.phases: list[list[bool]] = [[] for _ in norms]
        self._moments: list[list[Moments]] = [[] for _ in norms]
        self._places = {id(layer): place for place, layer in enumerate(norms)}
        self._sense, self._forced = sense, forced

    def __call__(self, layer: Layer, call: Call, inputs: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Hear the inputs, then call the layer."""
        place = self._places[id(layer)]
        axis = getattr(layer, "axis", -1)  # a class of the user's own may know the last one alone
        values = self._sense.open(inputs)
        if values is not None:
            self._moments[place].append(self._sense.moments(values, axis))
        asked = bool(args[0] if args else kwargs.get("training"))
        self.phases[place].append(asked and runs_in_training(layer))
        if self._forced:
            kwargs["training"], args = True, ()
        return call(inputs, *args, **kwargs)

    def noted(self) -> list[list[Moments]]:
        """Give for each layer the moments of its input, call by call."""
        return self._moments


def runs_in_training(layer: Layer) -> bool:
    """True where a BatchNorm layer that is told to train does so: a frozen one does not.

    In TensorFlow 2.0 and 2.1 those of `keras.applications` train all the same (tensorflow#36700).
    """
    return bool(layer.trainable) or not getattr(layer, "_USE_V2_BEHAVIOR", True)


def kernel_of(layer: Layer) -> Tensor | None:
    """Find a layer's first weight of two axes or more; None if it has none."""
    kernels = (
        variable
        for variable in layer.weights
        if len(variable.shape) > 1 and int(np.prod(variable.shape)) > 1
    )
    return next(kernels, None)


class Norm(NamedTuple):
    """What a BatchNorm layer is told, and whether it was trained.

    Attributes:
        layer: Its name.
        momentum: Share of the moving statistics that an update keeps.
        epsilon: Added to the variance.
        trainable: False if it is frozen.
        trained: Whether gamma or beta are no longer 1 and 0.
    """

    layer: str
    momentum: float
    epsilon: float
    trainable: bool
    trained: bool


class Recomputed(NamedTuple):
    """The network with BatchNorm's statistics made anew from the images.

    Attributes:
        norms: The BatchNorm layers, in order of execution as all that follows.
        moving: The moving statistics as they are.
        batch: Those that the images have at every layer, all layers normalising by the batch.
        forced: The pass that they come from.
        precise: The inference phase with `batch` as moving statistics.
    """

    norms: list[Norm]
    moving: list[Statistics]
    batch: list[Statistics]
    forced: NormsHeard
    precise: Heard


class Steps(NamedTuple):
    """Training-phase steps to make.

    Attributes:
        most: How many, at most.
        batch_size: Images in each.
        limit_s: Seconds after which no other is begun.
    """

    most: int
    batch_size: int
    limit_s: float


class Followed(NamedTuple):
    """How a BatchNorm layer's moving statistics followed its batches.

    Attributes:
        before: They, before the first step.
        heard: The moments of each batch that it took in.
        made: Steps that were made.
        after: The statistics after the last step.
    """

    before: Statistics
    heard: list[Moments]
    made: int
    after: Statistics
