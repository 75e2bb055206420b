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
from suite.diagnose.statistics import Moments, moments
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
def hearing(layers: Sequence[Layer], numpy: ToNumpy, head: Head) -> Iterator[Ear]:
    """Listen to `layers` for a time."""
    ear = Ear(numpy, head)
    with around(layers, ear):
        yield ear


@contextmanager
def hearing_norms(norms: Sequence[Layer], numpy: ToNumpy, *, forced: bool) -> Iterator[NormEar]:
    """Listen to BatchNorm layers for a time, all `forced` into the training phase if wanted."""
    ear = NormEar(norms, numpy, forced=forced)
    with around(norms, ear):
        yield ear


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


class Ear:
    """Hears what every layer takes in and puts out, one batch at a time.

    Attributes:
        units: The layers with their outputs for the first batch, in order of execution.
        head: A batch each, the input of the last layer with a kernel.
        trunk: A batch each, the mean over the positions of the last activation that has any.
    """

    def __init__(self, numpy: ToNumpy, head: Head) -> None:
        """Start with nothing heard; `head` is the output that is looked at."""
        self.units: list[tuple[Layer, Unit]] = []
        self.head: list[NDArray[np.float64]] = []
        self.trunk: list[NDArray[np.float64]] = []
        self._numpy, self._looked_at = numpy, head

    def begin(self) -> None:
        """Expect a new batch."""
        self.head.append(np.zeros((0, 0)))
        self.trunk.append(np.zeros((0, 0)))

    def __call__(self, layer: Layer, call: Call, *args: Any, **kwargs: Any) -> Any:
        """Call the layer, then hear what it put out."""
        result = call(*args, **kwargs)
        if hasattr(result, "shape") and len(result.shape) > 1:
            values = self._heard(result)
            if values.dtype.kind == "f" or values.dtype.itemsize == 2:  # noqa: PLR2004  bfloat16
                self._hear(layer, args, values)
        return result

    def _heard(self, tensor: Tensor) -> NDArray[Any]:
        """Copy a tensor; nothing of one that has no numbers, in a loop that is compiled."""
        try:
            return self._numpy(tensor)
        except foreign():  # each backend has its own word for it
            return np.zeros(0, np.bool_)

    def _hear(self, layer: Layer, args: tuple[Any, ...], values: NDArray[Any]) -> None:
        first = len(self.head) == 1
        if first and not any(layer is known for known, _ in self.units):
            kind = type(layer).__name__
            self.units.append((layer, unit(layer.name, kind, values)))
        positions = values.ndim >= POSITIONS_RANK and max(values.shape[1:-1]) > 1
        if positions and not self._looked_at.grid:
            self.trunk[-1] = over_positions(values)
        if kernel_of(layer) is not None and args and hasattr(args[0], "shape"):
            taken = self._heard(args[0])
            if taken.ndim > 1:
                self.head[-1] = self._looked_at.features(taken)


class NormEar:
    """Hears what every BatchNorm layer takes in, and in which phase it runs.

    Attributes:
        moments: For each layer the moments of its input, call by call.
        phases: For each, call by call, whether it ran in the training phase.
    """

    def __init__(self, norms: Sequence[Layer], numpy: ToNumpy, *, forced: bool) -> None:
        """Listen; `forced` puts each layer in the training phase, however it is called."""
        self.moments: list[list[Moments]] = [[] for _ in norms]
        self.phases: list[list[bool]] = [[] for _ in norms]
        self._places = {id(layer): place for place, layer in enumerate(norms)}
        self._numpy, self._forced = numpy, forced

    def __call__(self, layer: Layer, call: Call, inputs: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Hear the inputs, then call the layer."""
        place = self._places[id(layer)]
        axis = getattr(layer, "axis", -1)  # a class of the user's own may know the last one alone
        self.moments[place].append(moments(self._numpy(inputs), axis))
        asked = bool(args[0] if args else kwargs.get("training"))
        self.phases[place].append(asked and runs_in_training(layer))
        if self._forced:
            kwargs["training"], args = True, ()
        return call(inputs, *args, **kwargs)


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
