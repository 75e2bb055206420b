"""Anyone's Keras network: run pass by pass, its state read, set and kept."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.diagnose.anatomy import by_name, is_told_phase, leaves, trunk_of, unit_of
from suite.diagnose.hearing import (
    Ear,
    Followed,
    Heard,
    Layer,
    Norm,
    NormEar,
    NormsHeard,
    Recomputed,
    Sense,
    Steps,
)
from suite.diagnose.inputs import Head, Images, batches, fed, parts_of, positions
from suite.diagnose.loading import foreign, shown
from suite.diagnose.parts import Begin, untold
from suite.diagnose.passes import Passed, Passes
from suite.diagnose.statistics import Moments, Statistics, pooled_statistics
from suite.errors import SuiteError
from suite.networks.batch_norm import is_batch_norm, walk
from suite.networks.types import Keras, Model, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

PIXELS, COMPILED_PIXELS = 128 * 32 * 32, 16 * 224 * 224
"""Pixels in a batch of the inference phase, at most: Keras keeps all activations of a call, and
a compiled pass only those that it still needs."""

LONG = 1 << 20
"""Positions of a sample times layers from which no pass of all samples is made that a few have
shown to be vain: those of DenseNet121 at 64 pixels, or of VGG16 at 224."""

FEW = 32  # images of which the layers' outputs are measured
ALIKE = 1e-3  # of the outputs' deviation, below which two passes differ by rounding only


class Network:
    """A network that can be run and listened to.

    Attributes:
        model: The user's model.
        keras: Its Keras module.
        layers: Its layers that hold no others.
        order: Once heard, those that run, in order of execution; before, `layers`.
        norms: The BatchNorm layers of `order`. One that was never called has no statistics and
            is none of them.
        head: The output that is looked at.
        begin: Hears which part of a diagnosis begins.
    """

    def __init__(self, model: Model, keras: Keras, begin: Begin = untold) -> None:
        """Take `model`, whose library is `keras`."""
        self.begin = begin
        self.model = model
        self.keras = keras
        self.look_at(Head())

    def look_at(self, head: Head) -> None:
        """Look at one output; where Keras knows what leads to each, nothing else runs then."""
        self.head = head
        self._only_norms = False  # have a phase, as far as is known
        part = self._leading_to(head.name)
        self.layers = leaves(part)
        self._passes = Passes(part, self.keras, self.numpy)
        self._put_in_order(self.layers)

    def _leading_to(self, name: Any) -> Model:
        """Make the model of one output, of the same layers; the whole one where that cannot be."""
        if name is None:
            return self.model
        try:
            return self.keras.Model(self.model.input, self.model.output[name])
        except foreign():  # a subclass: only a call leads to its outputs
            return self.model

    def _put_in_order(self, layers: Sequence[Layer]) -> None:
        self.order = list(layers)
        self.norms = [layer for layer in layers if is_batch_norm(layer) and layer.built]

    def numpy(self, tensor: Tensor) -> NDArray[Any]:
        """Copy a tensor or variable into an array."""
        if not hasattr(self.keras, "ops"):
            return np.asarray(tensor.numpy())
        value = tensor.value if isinstance(tensor, self.keras.Variable) else tensor
        if self.keras.backend.backend() == "tensorflow":
            return np.asarray(value.numpy())
        return np.asarray(self.keras.ops.convert_to_numpy(value))

    def activations(self) -> list[str]:
        """Name the activation of each layer; "" where it has none."""
        found = (getattr(layer, "activation", None) for layer in self.layers)
        return [str(getattr(activation, "__name__", "")) for activation in found]

    def iterations(self) -> int | None:
        """Read how many steps the model's optimizer has made; None where that is unknown."""
        steps = getattr(getattr(self.model, "optimizer", None), "iterations", None)
        return None if steps is None else int(steps)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Put every variable, and whether each BatchNorm layer is trainable, back on leaving.

        After an error, too: what changes them in between need not.
        """
        variables = list(getattr(self.model, "variables", self.model.weights))
        values = [np.array(self.numpy(variable)) for variable in variables]
        flags = [(layer, layer.trainable) for layer in self.norms]  # a pass may reorder `norms`
        try:
            yield
        finally:
            for layer, flag in flags:
                layer.trainable = flag
            for variable, value in zip(variables, values):
                variable.assign(value)

    def statistics(self) -> list[Statistics]:
        """Read the moving mean and variance of every BatchNorm layer, in the order of `norms`."""
        return [
            (self._double(layer.moving_mean), self._double(layer.moving_variance))
            for layer in self.norms
        ]

    def set_statistics(self, statistics: Sequence[Statistics]) -> None:
        """Set every BatchNorm layer's mean and variance, in the order of `norms`."""
        with np.errstate(over="ignore"):  # float16 ends at 65504
            for layer, (mean, variance) in zip(self.norms, statistics):
                layer.moving_mean.assign(mean.astype(np.float32))
                layer.moving_variance.assign(variance.astype(np.float32))

    def _double(self, variable: Tensor) -> NDArray[np.float64]:
        return self.numpy(variable).astype(np.float64)

    def outputs(self, images: Images, *, training: bool) -> NDArray[np.float64]:
        """Run one batch and return the output that is looked at: ``(n, classes)``.

        ``(n, places, classes)`` where it has a grid.
        """
        passed = self._passes(fed(images), self._kind, self._ear, training=training, silent=True)
        return self._looked_at(passed)

    def _looked_at(self, passed: Passed) -> NDArray[np.float64]:
        results = by_name(passed.result)
        first = next(iter(results.values()))
        chosen = self.numpy(results.get(self.head.name, first))
        return self.head.shaped(chosen.astype(np.float64))

    @property
    def _kind(self) -> str:
        """Name the pass that all layers are listened to in."""
        return f"layers, {'a grid' if self.head.grid else 'an answer a sample'}"

    def _ear(self, sense: Sense) -> Ear:
        return Ear(self.layers, sense, self.head)

    def output_shapes(self, images: Images) -> dict[Any, tuple[int, ...]]:
        """Measure the shapes of the outputs, by key or place; that of the only one by None.

        Raises:
            SuiteError: If the network cannot be called with `images`.
        """
        try:
            with self.kept():
                results = by_name(self.model(fed(images), training=False))
        except foreign() as error:
            told = {name: values.shape for name, values in parts_of(images).items()}
            raise SuiteError(
                f"The network cannot be called with inputs of shape {told}. Found: "
                f"{shown(error)}. Expected: what model.predict takes."
            ) from error
        return {name: tuple(map(int, result.shape)) for name, result in results.items()}

    def works_long(self, images: Images) -> bool:
        """True where a pass of all images takes long: many positions in many layers."""
        return positions(images) * len(self.layers) > LONG

    def batches(self, images: Images, batch_size: int | None = None) -> list[Images]:
        """Split `images` into batches of nearly one size.

        Without a `batch_size` they are as large as memory allows: the inference phase gives the
        same outputs whatever the batch.
        """
        compiled = max(1, COMPILED_PIXELS // positions(images))
        most = compiled if self._passes.at_once else _layer_by_layer(images)
        return batches(images, batch_size or most)

    def run(
        self, images: Images, *, training: bool, batch_size: int | None = None
    ) -> NDArray[np.float64]:
        """Run all `images` in batches and return the outputs."""
        return np.concatenate(
            [self.outputs(batch, training=training) for batch in self.batches(images, batch_size)]
        )

    def run_with(self, statistics: Sequence[Statistics], images: Images) -> NDArray[np.float64]:
        """Run the inference phase with other moving statistics, and put the old ones back."""
        moving = self.statistics()
        self.set_statistics(statistics)
        outputs = self.run(images, training=False)
        self.set_statistics(moving)
        return outputs

    def run_divided(
        self, images: Images, factors: Mapping[str, float], *, bias: bool
    ) -> NDArray[np.float64]:
        """Run the inference phase with weights divided, and put them back.

        Args:
            images: All are run.
            factors: What to divide a layer's weights by, by its name.
            bias: Divide the biases, too; never BatchNorm's statistics.
        """
        named = {layer.name: layer for layer in self.layers}
        kept = []
        for name, factor in factors.items():
            for variable in self._trained(named[name]):
                if bias or len(variable.shape) > 1:
                    kept.append((variable, np.array(self.numpy(variable))))
                    variable.assign(kept[-1][1] / factor)
        outputs = self.run(images, training=False)
        for variable, values in kept:
            variable.assign(values)
        return outputs

    def _trained(self, layer: Layer) -> list[Tensor]:
        """List a layer's weights but for BatchNorm's statistics, whichever it keeps."""
        if layer not in self.norms:
            return list(layer.weights)
        scale = (getattr(layer, "gamma", None), getattr(layer, "beta", None))
        return [variable for variable in layer.weights if any(variable is one for one in scale)]

    def hear(self, images: Images) -> Heard:
        """Run `images` in the inference phase with all layers listened to; note their order."""
        few = min(len(images), FEW, _layer_by_layer(images))
        first = self._passes(fed(images[:few]), self._kind, self._ear, training=False, plain=True)
        self._put_in_order(first.ear.heard)
        units = tuple(map(unit_of, first.ear.heard, first.noted["units"]))
        return self._heard(images[few:], [first])._replace(units=units)

    def hear_again(self, images: Images) -> Heard:
        """Do the same with a network whose order is known; no layer's output is measured."""
        return self._heard(images, [])

    def _heard(self, images: Images, passes: list[Passed]) -> Heard:
        """Run `images` and put what is heard behind that of `passes`."""
        for batch in self.batches(images) if len(images) else ():
            passes.append(self._passes(fed(batch), self._kind, self._ear, training=False))
        return Heard(
            np.concatenate([self._looked_at(passed) for passed in passes]),
            (),
            np.concatenate([self._features(passed) for passed in passes]),
            np.concatenate([trunk_of(passed.noted) for passed in passes]),
        )

    def _features(self, passed: Passed) -> NDArray[np.float64]:
        """Give the input of the last layer with a kernel where the output is looked at."""
        taken = passed.noted.get("taken")
        return np.zeros((0, 0)) if taken is None else self.head.features(taken)

    def hear_training(self, images: Images, *, batch_size: int, plain: bool = False) -> NormsHeard:
        """Run `images` in the training phase, in batches, and put back what that changes.

        Those are BatchNorm's statistics, and kernels that a spectral normalisation divides. A
        `plain` pass is not compiled.
        """
        with self.kept():
            return self._hear_norms(images, batch_size, training=True, plain=plain)

    def hear_forced(self, images: Images, *, batch_size: int, plain: bool = False) -> NormsHeard:
        """Run `images` with every BatchNorm layer, and nothing else, in the training phase.

        Those that are frozen or pinned to the inference phase, too. Statistics and flags are put
        back. A `plain` pass is not compiled.
        """
        moving, flags = self.statistics(), [layer.trainable for layer in self.norms]
        for layer in self.norms:
            layer.trainable = True
        heard = self._hear_norms(images, batch_size, training=self._only_norms, plain=plain)
        for layer, flag in zip(self.norms, flags):
            layer.trainable = flag
        self.set_statistics(moving)
        return heard

    def _hear_norms(
        self, images: Images, batch_size: int, *, training: bool, plain: bool = False
    ) -> NormsHeard:
        """Run the whole network in the training phase, or else BatchNorm alone."""
        kind = f"{'norms' if training else 'forced norms'}, {[id(layer) for layer in self.norms]}"

        def ear(sense: Sense) -> NormEar:
            return NormEar(self.norms, sense, forced=not training)

        passes = [
            self._passes(fed(batch), kind, ear, training=training, plain=plain)
            for batch in self.batches(images, batch_size)
        ]
        places = range(len(self.norms))
        return NormsHeard(
            np.concatenate([self._looked_at(passed) for passed in passes]),
            [[part for passed in passes for part in passed.noted[place]] for place in places],
            [
                any(phase for passed in passes for phase in passed.ear.phases[place])
                for place in places
            ],
        )

    def recompute(
        self, images: Images, *, batch_size: int, trained: NormsHeard | None = None
    ) -> Recomputed:
        """Run with BatchNorm's statistics recomputed on `images`, and put the old ones back.

        Args:
            images: All are run.
            batch_size: Images in a batch of the training phase.
            trained: Such a pass of the same images, which serves where nothing but BatchNorm
                differs by the phase.
        """
        moving = self.statistics()
        if trained is not None and self._forced_alike(images, batch_size, trained):
            forced = trained
        else:
            forced = self.hear_forced(images, batch_size=batch_size)
        batch = [pooled_statistics(parts) for parts in forced.moments]
        self.set_statistics(batch)
        precise = self.hear_again(images)
        self.set_statistics(moving)
        norms = [self._norm(layer) for layer in self.norms]
        return Recomputed(norms, moving, batch, forced, precise)

    def _forced_alike(self, images: Images, batch_size: int, trained: NormsHeard) -> bool:
        """True where a batch shows that nothing but BatchNorm differs by the phase.

        Where no other layer is told the phase, a few images that run layer by layer show it.
        """
        if not all(trained.training) or not np.isfinite(trained.outputs).all():
            return False
        self._only_norms = False
        batch, whole = self.batches(images, batch_size)[0], trained.outputs
        alone = not any(map(is_told_phase, walk(self.model)))
        few = max(2, _layer_by_layer(images))
        if alone and few < len(batch):
            batch = batch[:few]
            whole = self.hear_training(batch, batch_size=few, plain=True).outputs
        forced = self.hear_forced(batch, batch_size=len(batch), plain=alone).outputs
        near = ALIKE * float(np.std(trained.outputs))
        alike = bool(np.allclose(forced, whole[: len(forced)], rtol=0, atol=near))
        self._only_norms = alone and alike
        return alike

    def _norm(self, layer: Layer) -> Norm:
        """Read what a BatchNorm layer is told, and whether it was trained."""
        starts = ((getattr(layer, "gamma", None), 1), (getattr(layer, "beta", None), 0))
        trained = any(
            variable is not None and bool(np.any(self.numpy(variable) != start))
            for variable, start in starts
        )
        momentum, epsilon = float(layer.momentum), float(layer.epsilon)
        return Norm(layer.name, momentum, epsilon, bool(layer.trainable), trained)

    def hear_steps(self, images: Images, place: int, plan: Steps) -> Followed:
        """Run training-phase steps with fixed weights and follow one layer's statistics.

        Args:
            images: Taken batch by batch, over and over.
            place: The layer's in `norms`.
            plan: How many steps.
        """
        before = self.statistics()[place]
        heard: list[Moments] = []
        started, made = time.perf_counter(), 0
        parts = itertools.cycle(self.batches(images, plan.batch_size))
        for batch in itertools.islice(parts, plan.most):
            made += 1
            heard += self._hear_norms(batch, len(batch), training=True).moments[place]
            if time.perf_counter() - started > plan.limit_s:
                break
        return Followed(before, heard, made, self.statistics()[place])


def _layer_by_layer(images: Images) -> int:
    """Count the images that a pass which runs layer by layer has memory for."""
    return max(1, PIXELS // positions(images))
