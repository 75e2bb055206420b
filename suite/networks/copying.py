"""Copies of any Keras model, with some layers changed: same weights, nesting, sharing and calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from suite.errors import FixError
from suite.networks.batch_norm import batch_norms, is_batch_norm, walk
from suite.networks.types import Keras, Model

if TYPE_CHECKING:
    from typing import TypeAlias

    Copies: TypeAlias = "dict[int, tuple[Model, Model]]"
    """Each layer with its copy, by the layer's id."""


def _nothing(layer: Model) -> None:
    """Leave `layer` as it is."""
    del layer


def copied(
    keras: Keras,
    model: Model,
    *,
    change: Callable[[Model], None] = _nothing,
    replace: Callable[[Model], Model | None] = _nothing,
) -> Model:
    """Copy `model` with its weights; change its BatchNorm layers or replace some layers.

    Args:
        keras: The Keras that made `model`.
        model: Left as it was.
        change: Changes a new BatchNorm layer. TensorFlow 1 builds the momentum into its graph
            when a layer is called, so the change is made before that, and once more at the end
            for layers that a custom layer makes late.
        replace: Gives the layer that takes another's place, or None to copy it. A replacement
            takes over the first of the layer's weights, as many as it has itself.

    Raises:
        FixError: If the model cannot be copied.
    """
    copies: Copies = {}
    copy = _clone(keras, model, change, replace, copies)
    if not copy.built:
        _build_alike(copy, model)
    _copy_trainable(keras, copies)
    _copy_weights(keras, copies)
    _change_all(copy, change)
    if replace is _nothing and len(copy.weights) != len(model.weights):
        raise FixError(
            f"The model {model.name} shares a layer through a custom layer, and a copy would have "
            "two of it: call the shared layer in the graph of a functional model instead."
        )
    return copy


def without_dropout(keras: Keras, model: Model) -> Model:
    """Copy `model` with dropout that drops nothing: each framework draws its own masks."""

    def idle(layer: Model) -> Model | None:
        dropout = isinstance(layer, keras.layers.Dropout)
        return keras.layers.Dropout(0.0, name=layer.name) if dropout else None

    has_dropout = any(isinstance(layer, keras.layers.Dropout) for layer in model.layers)
    return copied(keras, model, replace=idle) if has_dropout else model


def _change_all(model: Model, change: Callable[[Model], None]) -> None:
    """Change every BatchNorm layer of `model`."""
    for layer in batch_norms(model):
        change(layer)


def _clone(
    keras: Keras,
    layer: Model,
    change: Callable[[Model], None],
    replace: Callable[[Model], Model | None],
    copies: Copies,
) -> Model:
    """Copy `layer` with initial weights; layers that it shares stay shared."""
    if not hasattr(layer, "get_weights"):  # a bare operation of Keras 3
        return layer
    if id(layer) not in copies:

        def inner(child: Model) -> Model:
            return _clone(keras, child, change, replace, copies)

        new = replace(layer)
        if new is None:
            new = _made_anew(keras, layer, inner)
        _change_all(new, change)
        copies[id(layer)] = layer, new
    return copies[id(layer)][1]


def _made_anew(keras: Keras, layer: Model, inner: Callable[[Model], Model]) -> Model:
    """Make a new layer of the same configuration; `inner` copies the layers inside it.

    Raises:
        FixError: If a custom class cannot be made anew from its configuration.
    """
    if hasattr(layer, "_run_through_graph"):  # Keras 3
        return keras.models.clone_model(layer, clone_function=lambda old: _called(old, inner(old)))
    if _is_graph(keras, layer):
        return keras.models.clone_model(layer, clone_function=inner)
    try:
        config = layer.get_config()
        if type(layer) is keras.layers.TimeDistributed:
            del config["layer"]
            return type(layer)(inner(layer.layer), **config)
        return type(layer).from_config(config)
    except (NotImplementedError, TypeError, KeyError) as error:
        raise FixError(
            f"The layer or model {layer.name} of the class {type(layer).__name__} cannot be "
            f"copied: {error!r}. Give the class a get_config from which from_config makes it anew."
        ) from error


def _called(layer: Model, new: Model) -> Any:
    """Adapt `new` to the calls of `layer`: only a BatchNorm takes a phase and a mask."""
    if is_batch_norm(layer) == is_batch_norm(new):
        return new
    return lambda inputs, **_: new(inputs)


def _is_graph(keras: Keras, layer: Model) -> bool:
    """True where `layer` is a model whose graph Keras knows: functional or Sequential."""
    if isinstance(layer, keras.Sequential):
        return True
    return bool(getattr(layer, "_is_graph_network", hasattr(layer, "_run_through_graph")))


def _build_alike(copy: Model, model: Model) -> None:
    """Create the weights of the copy of a custom model, as the first call of `model` did.

    Raises:
        FixError: If Keras cannot do so without images.
    """
    config = model.get_build_config() if hasattr(model, "get_build_config") else None
    if config:
        copy.build_from_config(config)
    if len(copy.weights) != len(model.weights):  # on PyTorch a copy has them without being built
        raise FixError(
            f"The model {model.name} of the class {type(model).__name__} cannot be copied, since "
            "its layers are made by its first call: make it a functional model, or take Keras "
            "2.12 or newer."
        )


def _copy_weights(keras: Keras, copies: Copies) -> None:
    """Give every copy the first of its layer's weights, as many as it has itself."""
    for layer, new in copies.values():
        if not _is_graph(keras, layer) and new is not layer:
            new.set_weights(layer.get_weights()[: len(new.weights)])
            if type(layer).__name__ == "Normalization":  # it computes with values derived from them
                new.finalize_state()


def _copy_trainable(keras: Keras, copies: Copies) -> None:
    """Give every copy the flag `trainable` of its layer, the outer layers first.

    All flags are read before one is set, since the model and its copy may share layers.
    """
    pairs = [
        pair
        for outer, copy in reversed(list(copies.values()))
        for pair in ([(outer, copy)] if _is_graph(keras, outer) else _matched(outer, copy))
    ]
    for new, trainable in [(new, layer.trainable) for layer, new in pairs]:
        new.trainable = trainable


def _matched(layer: Model, new: Model) -> Iterator[tuple[Model, Model]]:
    """Yield `layer` with its copy, then each layer inside it with its own copy."""
    return zip(walk(layer), walk(new))


def batch_norm_holders(keras: Keras, model: Model) -> Iterator[Model]:
    """Yield the wrappers and custom layers of `model` that contain a BatchNorm."""
    for layer in walk(model):
        if not _is_graph(keras, layer) and not is_batch_norm(layer) and any(batch_norms(layer)):
            yield layer


def lost_when_saved(keras: Keras, model: Model) -> Iterator[str]:
    """Yield a warning where custom layers contain a BatchNorm, whose changes are not saved."""
    holders = batch_norm_holders(keras, model)
    own = [layer.name for layer in holders if not isinstance(layer, keras.layers.Wrapper)]
    if own:
        yield f"to be applied anew after loading: BatchNorm inside custom layers ({', '.join(own)})"
