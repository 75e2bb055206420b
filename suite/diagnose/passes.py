"""One pass of a network that is listened to: layer by layer, or compiled where that is faster.

Layer by layer a pass of a deep network takes several times as long as in Keras' own predict and
fit, which compile theirs on TensorFlow.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from suite.diagnose.hearing import Ear, NormEar, Numbers, Sense, Symbols, around
from suite.diagnose.loading import foreign
from suite.networks.batch_norm import walk
from suite.networks.types import Keras, Model, Tensor

if TYPE_CHECKING:
    from typing import TypeAlias

Listener: TypeAlias = "Callable[[Sense], Ear | NormEar]"
"""Makes the ear of one pass."""

WORTHWHILE = 250
"""Layers times calls from which a pass is compiled, which takes as long as some ten calls."""


class Passed(NamedTuple):
    """What came of a pass.

    Attributes:
        result: What the model gave.
        ear: That listened.
        noted: What it heard, in numbers.
    """

    result: Any
    ear: Any
    noted: Any


class Passes:
    """Runs passes of a model; those that are run often are compiled."""

    def __init__(self, model: Model, keras: Keras, numpy: Callable[[Tensor], Any]) -> None:
        """Run `model`, whose library is `keras`; `numpy` copies a tensor into an array."""
        self._model, self._keras, self._numpy = model, keras, numpy
        self._layers = list(walk(model))
        self._calls: dict[Any, int] = {}
        self._compiled: dict[Any, tuple[Callable[[Any], Any], list[Ear | NormEar]]] = {}
        self._compiler = _compiler(model, keras)

    @property
    def at_once(self) -> bool:
        """True where the first pass is compiled already: it needs memory for a few layers only."""
        return self._compiler is not None and len(self._layers) >= WORTHWHILE

    def __call__(
        self,
        images: Any,
        kind: str,
        listener: Listener,
        *,
        training: bool,
        silent: bool = False,
        plain: bool = False,
    ) -> Passed:
        """Run one batch.

        Args:
            images: As the model takes them.
            kind: Names what `listener` makes: of one kind it is always the same.
            listener: Makes the ear that listens.
            training: The phase.
            silent: Whether nothing need be heard.
            plain: Whether it is to run layer by layer.
        """
        signature = _signature(images)
        flags = tuple(bool(layer.trainable) for layer in self._layers)
        key = (kind, training, repr(signature), flags)
        if plain or self._compiler is None or not self._worthwhile(key):
            return self._layer_by_layer(images, listener, training=training, silent=silent)
        try:
            if key in self._compiled:
                return self._as_compiled(images, *self._compiled[key])
            self._compiled[key] = self._compiling(signature, listener, training=training)
            with _unoptimised(self._compiler):
                return self._as_compiled(images, *self._compiled[key])
        except foreign():  # what cannot be compiled; what fails so, too, says so itself
            self._compiler = None
            return self._layer_by_layer(images, listener, training=training, silent=silent)

    def _worthwhile(self, key: Any) -> bool:
        """True where a pass was run often enough, and nobody else listens to its layers."""
        self._calls[key] = self._calls.get(key, 0) + 1
        often = self._calls[key] * len(self._layers) >= WORTHWHILE
        return often and not any("call" in vars(layer) for layer in self._layers)

    def _layer_by_layer(
        self, images: Any, listener: Listener, *, training: bool, silent: bool
    ) -> Passed:
        ear = listener(Numbers(self._numpy))
        with _no_gradient(self._keras), around(() if silent else ear.layers, ear):
            result = self._model(images, training=training)
        return Passed(result, ear, ear.noted())

    def _as_compiled(self, images: Any, run: Callable[[Any], Any], ears: list[Any]) -> Passed:
        result, noted = run(images)
        return Passed(result, ears[-1], _numbers(noted, self._numpy))

    def _compiling(self, signature: Any, listener: Listener, *, training: bool) -> Any:
        """Compile a pass, and keep the ear that listens while it is compiled."""
        ears: list[Any] = []
        tensorflow = self._compiler

        def run(images: Any) -> Any:
            ears.append(listener(Symbols(tensorflow)))
            with around(ears[-1].layers, ears[-1]):
                return self._model(images, training=training), ears[-1].noted()

        return tensorflow.function(run, input_signature=[signature], autograph=False), ears


def _compiler(model: Model, keras: Keras) -> Any:
    """Find the TensorFlow that compiles passes; None where Keras would not compile them either."""
    tensorflow = sys.modules.get("tensorflow")
    backend = getattr(getattr(keras, "backend", None), "backend", None)
    compiles = backend is not None and backend() == "tensorflow"
    return tensorflow if compiles and not getattr(model, "run_eagerly", False) else None


@contextmanager
def _unoptimised(tensorflow: Any) -> Iterator[None]:
    """Have TensorFlow take a graph as it is: to optimise one takes longer than it saves.

    Of DenseNet121 it takes half of the first call, and the later ones are as long without.
    """
    options = tensorflow.config.optimizer
    before = options.get_experimental_options().get("disable_meta_optimizer", False)
    options.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        options.set_experimental_options({"disable_meta_optimizer": before})


def _signature(images: Any) -> Any:
    """Describe nested arrays, of any number of samples."""
    if isinstance(images, dict):
        return {name: _signature(part) for name, part in images.items()}
    if isinstance(images, (list, tuple)):
        return list(map(_signature, images))
    tensorflow = sys.modules.get("tensorflow")
    shape, kind = (None, *images.shape[1:]), str(images.dtype)
    return tensorflow.TensorSpec(shape, kind) if tensorflow else (shape, kind)


def _numbers(noted: Any, numpy: Callable[[Tensor], Any]) -> Any:
    """Copy all tensors of nested lists and dictionaries into arrays."""
    if isinstance(noted, dict):
        return {name: _numbers(value, numpy) for name, value in noted.items()}
    if isinstance(noted, tuple) and hasattr(noted, "_fields"):
        return type(noted)(*(_numbers(value, numpy) for value in noted))
    if isinstance(noted, (list, tuple)):
        return [_numbers(value, numpy) for value in noted]
    return numpy(noted)


@contextmanager
def _no_gradient(keras: Keras) -> Iterator[None]:
    """Keep torch from recording passes that are never differentiated."""
    backend = getattr(getattr(keras, "backend", None), "backend", None)
    if backend is not None and backend() == "torch":
        with sys.modules["torch"].no_grad():
            yield
    else:
        yield
