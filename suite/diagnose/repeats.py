"""Whether the inference phase gives an image the same answer once more, and which layer does not.

Outputs of the whole network are compared first; only where they differ is it followed layer by
layer.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.diagnose.found import Repeats
from suite.diagnose.hearing import Call, Layer, Recomputed, around
from suite.diagnose.inputs import Images, positions
from suite.diagnose.intake import taken
from suite.diagnose.loading import HOMES, demand_eager, keras_of
from suite.diagnose.network import PIXELS, Network
from suite.diagnose.predictions import Judge, Reader, reader_of
from suite.diagnose.probes import thinned
from suite.diagnose.sample import Sample
from suite.diagnose.trace import Step, followed
from suite.diagnose.trials import STEADY, STEADY_PRECISE, Trial
from suite.networks.batch_norm import walk
from suite.networks.phases import INFERENCE
from suite.networks.types import Keras, Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIFFERENT, RANDOM = 0.05, 0.01
"""Share of the answers' spread over the images from which they differ: rounding in float32 stays
below 1e-4 of it, that of half precision and of TF32 below a few hundredths; and from which those of
the same batch do, for which the same is computed twice."""

ROUNDING = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
TF32 = 2.0**-11
"""Relative rounding errors of a number; GPUs multiply float32 in TF32."""

DEEP = 8.0
"""Times the rounding error of a number that a whole network's may be."""

LEAST, LEAST_HALF = 1e-7, 1e-4
"""Probabilities below which answers are all alike: in half precision rounding makes them so."""

EXACT, JUMP = 1e-6, 10.0
"""Relative difference of numbers that are the same; and times the difference of what a layer takes
in from which that of what it puts out is its own."""

AGAIN, PAIR, ALONE_IMAGES = 16, 2, 48
"""Images that are run once more, how many of them then are a batch, and those that are run one by
one."""

ROUNDS = 4  # kinds of layers that are looked for, one after the other
NUMBERS = 512  # of an image in an activation that are compared


class Unsteady(NamedTuple):
    """What was found.

    Attributes:
        record: For the rules.
        layers: The layers that make an answer differ.
    """

    record: Repeats
    layers: list[Layer]


class Scale(NamedTuple):
    """How answers are compared.

    Attributes:
        reader: How outputs are read.
        least: Probability below which all are alike.
        rounding: Difference that rounding may make.
        spread: Of the answers over the images.
    """

    reader: Reader
    least: float
    rounding: float
    spread: float = 1.0

    def answers(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give logits less their mean, or the logarithms of probabilities."""
        if self.reader.kind == "logits" and outputs.shape[-1] > 1:
            centred: NDArray[np.float64] = outputs - outputs.mean(axis=-1, keepdims=True)
            return centred
        return self.reader.log_probabilities(outputs, least=self.least)

    def difference(self, first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
        """Compute how much outputs for the same images differ, as a share of the spread."""
        apart = _rms(self.answers(first) - self.answers(second))
        if not apart > self.rounding:
            return 0.0
        return apart / self.spread if self.spread > 0 else float("inf")


def repeated(
    network: Network, images: Images, outputs: NDArray[np.float64], judge: Judge
) -> Unsteady:
    """Run some images again, and where an answer differs find the layers that make it so.

    Args:
        network: The network, in the state in which it gave `outputs`.
        images: All of them.
        outputs: Those of the inference phase for `images`, in the batches of that pass.
        judge: Knows the labels, and how outputs are read.
    """
    if not np.isfinite(outputs).all():
        return Unsteady(Repeats(), [])
    rows = _rows(images)
    few, scale = images[rows], _scale(network, outputs, judge.reader)
    before = network.statistics()
    first = network.outputs(few, training=False)
    updated = _moved(network, before)
    network.set_statistics(before)
    _forget(network)
    again = scale.difference(first, _outputs(network, few))
    others = _elsewhere(network, few[: 2 * PAIR], first, scale)
    elsewhere = max(scale.difference(first, outputs[rows]), others)
    record = Repeats(again, elsewhere, updated=updated)
    if again <= RANDOM and elsewhere <= DIFFERENT:
        return Unsteady(record, [])
    found = _searched(network, few, scale, record)
    if all(found.record.random):
        return found
    return Unsteady(_with_alone(found.record, network, images, outputs, judge), found.layers)


def _rows(images: Images) -> NDArray[np.intp]:
    """Choose images that are run once more, as many as fit into memory as one batch."""
    count = int(np.clip(4 * PIXELS // positions(images), 4, AGAIN))
    return np.unique(np.linspace(0, len(images) - 1, count).astype(np.intp))


def _with_alone(
    record: Repeats, network: Network, images: Images, outputs: NDArray[np.float64], judge: Judge
) -> Repeats:
    """Add the accuracy for some images that are run one by one, and for the same in batches."""
    with _unmoved(network):
        alone = network.run(images[:ALONE_IMAGES], training=False, batch_size=1)
    few = Judge(judge.labels[:ALONE_IMAGES], judge.reader)
    both = [
        few.trial(INFERENCE, each).evaluation.accuracy for each in (alone, outputs[:ALONE_IMAGES])
    ]
    return record._replace(alone=both[0], together=both[1])


def _scale(network: Network, outputs: NDArray[np.float64], reader: Reader) -> Scale:
    """Measure the spread of the answers, and what rounding may make of them."""
    kinds = [str(getattr(layer, "compute_dtype", "")) for layer in network.layers]
    least = LEAST_HALF if any(kind in ROUNDING for kind in kinds) else LEAST
    size = _rms(outputs) if reader.kind == "logits" else 1.0
    scale = Scale(reader, least, _rounding(network) * size)
    answers = scale.answers(outputs)
    return scale._replace(spread=_rms(answers - answers.mean(axis=0)))


def _rounding(network: Network) -> float:
    """Tell the relative error that rounding can make of what a network computes."""
    kinds = [str(getattr(layer, "compute_dtype", "")) for layer in network.layers]
    return DEEP * max((ROUNDING.get(kind, TF32) for kind in kinds), default=TF32)


def _rms(values: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) if values.size else 0.0


def _moved(network: Network, before: Sequence[Any]) -> tuple[str, ...]:
    """Name the BatchNorm layers whose moving statistics are no longer those of `before`."""
    pairs = zip(network.norms, before, network.statistics())
    return tuple(
        str(layer.name)
        for layer, old, new in pairs
        if not all(np.array_equal(one, other) for one, other in zip(old, new))
    )


def _outputs(network: Network, images: Images) -> NDArray[np.float64]:
    """Run one batch in the inference phase, and undo what that changes."""
    with _unmoved(network):
        return network.outputs(images, training=False)


@contextmanager
def _unmoved(network: Network) -> Iterator[None]:
    """Put back what a pass changes in the network that takes no part in training."""
    moving = network.statistics()
    yield
    network.set_statistics(moving)
    _forget(network)


def _forget(network: Network) -> None:
    """Reset what recurrent layers keep from one call to the next."""
    for layer in network.layers:
        if getattr(layer, "stateful", False) and hasattr(layer, "reset_states"):
            layer.reset_states()


def _searched(network: Network, few: Images, scale: Scale, record: Repeats) -> Unsteady:
    """Find the layers that make answers differ, one kind after the other."""
    found: list[tuple[Layer, bool]] = []
    mended = False
    with ExitStack() as steadied:
        for _ in range(ROUNDS):
            first = _outputs(network, few)
            random = scale.difference(first, _outputs(network, few)) > RANDOM
            if not random and _elsewhere(network, few, first, scale) <= DIFFERENT:
                mended = bool(found)
                break
            culprits = _culprits(network, few, random=random)
            if not culprits or any(layer is culprits[0] for layer, _ in found):
                break
            found += [(layer, random) for layer in culprits]
            if not _has_phase(culprits[0]):
                break
            steadied.enter_context(around(culprits, _inferring))
    layers = [layer for layer, _ in found]
    return Unsteady(
        record._replace(
            layers=tuple(str(layer.name) for layer in layers),
            kinds=tuple(type(layer).__name__ for layer in layers),
            random=tuple(random for _, random in found),
            mended=mended,
        ),
        layers,
    )


def _elsewhere(network: Network, few: Images, first: NDArray[np.float64], scale: Scale) -> float:
    """Compute how much the answers for some images differ where pairs of them are a batch."""
    pairs = [few[start : start + PAIR] for start in range(0, len(few), PAIR)]
    outputs = np.concatenate([_outputs(network, pair) for pair in pairs])
    return scale.difference(first[: len(outputs)], outputs)


def _culprits(network: Network, few: Images, *, random: bool) -> list[Layer]:
    """List the first layer that differs though its input does not, and those that do as it does."""
    kept = len(few) if random else PAIR
    one, two = _traced(network, few, kept), _traced(network, few[:kept], kept)
    first = _first(one, two, EXACT if random else _rounding(network))
    if first is None or not _has_phase(first):
        return [] if first is None else [first]
    alike = _training(network, few, type(first))
    return alike if any(layer is first for layer in alike) else [first]


def _traced(network: Network, batch: Images, kept: int) -> list[Step]:
    """Follow one batch layer by layer; keep some numbers of its first images."""

    def summary(values: NDArray[Any]) -> NDArray[Any] | None:
        if len(values) != len(batch):
            return None  # no image of its own
        numbers = thinned(values[:kept])
        return numbers[:, :: max(1, numbers.shape[1] // NUMBERS)]

    with followed(network, summary) as steps:
        _outputs(network, batch)
    return steps


def _first(one: Sequence[Step], two: Sequence[Step], rounding: float) -> Layer | None:
    """Find the first layer whose output differs though its input does not."""
    for before, after in zip(one, two):
        taken = _apart(before.taken, after.taken)
        if _apart(before.given, after.given) > max(rounding, JUMP * taken):
            return before.layer
    return None


def _apart(one: Sequence[NDArray[Any] | None], two: Sequence[NDArray[Any] | None]) -> float:
    """Compute the largest difference of tensors, relative to how large their numbers are."""
    pairs = [(a, b) for a, b in zip(one, two) if a is not None and b is not None]
    return max((_relative(a, b) for a, b in pairs if a.shape == b.shape), default=0.0)


def _relative(one: NDArray[Any], two: NDArray[Any]) -> float:
    """Compute the difference of finite numbers, relative to how large they are."""
    finite = np.isfinite(one) & np.isfinite(two)
    size = max(_rms(one[finite]), _rms(two[finite]))
    return _rms(one[finite] - two[finite]) / size if size > 0 else 0.0


def _training(network: Network, batch: Images, kind: type) -> list[Layer]:
    """List the layers of a class that put out something else than in the inference phase."""
    found: list[Layer] = []
    allowed = _rounding(network)

    def compared(layer: Layer, call: Call, *args: Any, **kwargs: Any) -> Any:
        result = call(*args, **kwargs)
        steady = _inferring(layer, call, *args, **kwargs)
        pair = [network.numpy(each).astype(np.float64) for each in (result, steady)]
        if _relative(*pair) > allowed and not any(layer is known for known in found):
            found.append(layer)
        return result

    with around([layer for layer in walk(network.model) if type(layer) is kind], compared):
        _outputs(network, batch)
    return found


def _keras_class(layer: Layer) -> Any:
    """Find the first class of a layer that is Keras' own, not the user's."""
    return next(kind for kind in type(layer).__mro__ if kind.__module__.split(".")[0] in HOMES)


def _has_phase(layer: Layer) -> bool:
    """True where Keras' own class of a layer can be told to run in the inference phase."""
    return "training" in inspect.signature(_keras_class(layer).call).parameters


def _inferring(layer: Layer, call: Call, *args: Any, **kwargs: Any) -> Any:
    """Call Keras' own class of the layer in the inference phase, whatever the layer was told."""
    del call
    own = _keras_class(layer)
    if type(layer) is own:
        bound = inspect.signature(own.call).bind(layer, *args, **kwargs)
        bound.arguments["training"] = False
        return own.call(*bound.args, **bound.kwargs)
    inputs = args[0] if args else next(iter(kwargs.values()))
    return own.call(layer, inputs, training=False)


def steady_trials(
    network: Network, sample: Sample, judge: Judge, found: Unsteady, recomputed: Recomputed | None
) -> list[Trial]:
    """Evaluate the network with the layers found in the inference phase, if that steadies it."""
    trials = []
    if found.record.mended:
        with around(found.layers, _inferring), _unmoved(network):
            outputs = network.run(sample.images, training=False)
            trials.append(judge.trial(STEADY, outputs, layer=found.record.layers[0]))
            if recomputed:
                outputs = network.run_with(recomputed.batch, sample.images)
                trials.append(judge.trial(STEADY_PRECISE, outputs))
    return trials


def pass_phase_on(model: Model, images: Any, *, keras: Keras | None = None) -> list[str]:
    """Make layers that train during inference obey the phase, as Keras' own classes do.

    Found as in a diagnosis, by trying. Their weights stay; those that have no Keras class with a
    phase behind them stay as they are, too.

    Args:
        model: A built Keras model, which is changed.
        images: What the model is fed, 16 or more.
        keras: The Keras module of the model; by default its class's.

    Returns:
        The names of the layers that were changed.

    Raises:
        ValueError: If the images are none that the model takes.
        SuiteError: If the model cannot be called batch by batch.
    """
    network, fed = Network(model, keras or keras_of(model)), taken(model, images)
    demand_eager(model)
    with network.kept():
        outputs = network.hear(fed).outputs
        scale = _scale(network, outputs, reader_of(outputs, network.activations()))
        found = _searched(network, fed[_rows(fed)], scale, Repeats())
    changed = [layer for layer in found.layers if _has_phase(layer)]
    for layer in changed:
        _make_own(layer)
        for holder in walk(model):
            if any(inner is layer for inner in walk(holder)):
                _call_without_phase(holder)
    for name in ("predict_function", "test_function", "train_function"):
        setattr(model, name, None)  # they hold the calls as they were
    return [str(layer.name) for layer in changed]


def _make_own(layer: Layer) -> None:
    """Make a layer one of Keras' own class."""
    own = _keras_class(layer)
    object.__setattr__(layer, "__class__", own)
    for name, value in vars(own.from_config(layer.get_config())).items():
        if name.startswith("_call"):  # what Keras has read off the signature of `call`
            object.__setattr__(layer, name, value)


def _call_without_phase(layer: Layer) -> None:
    """Take training=True from the calls of a layer in the graph of a functional model."""
    for node in getattr(layer, "_inbound_nodes", ()):
        told = node.arguments.kwargs if hasattr(node, "arguments") else node.call_kwargs
        if told.get("training") is True:
            told["training"] = None
            if hasattr(node, "_flat_arguments"):  # Keras 2 has them in a row, too
                nest = sys.modules["tensorflow"].nest
                node._flat_arguments = nest.flatten((node.call_args, node.call_kwargs))
