"""The named fixes of the stall, each a small pure change of a model, its phases or its schedule."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from suite.errors import FixError
from suite.phases import INFERENCE, PHASES, TRAINING, Phases
from suite.preprocessing import MODE_OF_NAME, MODES
from suite.types import Keras, Model

if TYPE_CHECKING:
    from typing import TypeAlias

    Copies: TypeAlias = "dict[int, tuple[Model, Model]]"
    """By identity, each layer and its copy; the layers inside a model before it."""

MOMENTUM = re.compile(r"bn-momentum-(0(?:\.\d+)?)")
HALVING = 2  # of the batch: 32 -> 16 images, as in keras#7177
LENGTHENING = 5  # of the epochs
GROUPS = 32  # the most GroupNorm forms, as Wu & He 2018 do
NAMED = 2  # layers named in words at most, before only the first and the last are

NO_BATCH_NORM = "nothing to change: the model has no BatchNorm layer"
NO_PHASES = "nothing to change: the plain loss has one pass, in the training phase"


class Fixed(NamedTuple):
    """What is trained and how, after a fix.

    Attributes:
        model: What is trained and deployed. A new model with weights of its own where a fix
            changes the model, and the given one itself where it changes nothing of it.
        branch: What the perturbed images go through; `model` itself but for ``dual-bn``.
        phases: Of the adversarial loss; None under the plain loss.
        batch_size: Images a step.
        epochs: Passes over the training images.
        changes: What was changed, in words; empty for ``none``.
    """

    model: Model
    branch: Model
    phases: Phases | None
    batch_size: int
    epochs: int
    changes: tuple[str, ...]


class Given(NamedTuple):
    """What a fix is applied to: the arguments of `apply`."""

    keras: Keras
    model: Model
    phases: Phases | None
    batch_size: int
    epochs: int
    recompute: Callable[[Model], None] | None

    def fixed(self, *changes: str, **fields: Any) -> Fixed:
        """Return the given with `fields` replaced; another `model` is its own branch."""
        model = fields.get("model", self.model)
        unfixed = Fixed(model, model, self.phases, self.batch_size, self.epochs, changes)
        return unfixed._replace(**fields)


def apply(
    name: str,
    keras: Keras,
    model: Model,
    *,
    phases: Phases | None = None,
    batch_size: int = 32,
    epochs: int = 10,
    recompute: Callable[[Model], None] | None = None,
) -> Fixed:
    """Return what is trained, and how, after the fix `name`; `model` is left as it was.

    A changed model is a copy with the same weights, layer names (but the inputs'), nesting,
    sharing and arguments of its calls (a pinned ``training=False`` stays pinned), without the
    optimizer's state. The fixes of BatchNorm do not copy a model that has none: `Fixed.changes`
    says so.

    Args:
        name: A key of `FIXES`, or ``bn-momentum-X`` with any X in [0, 1).
        keras: The Keras that `model` is of.
        model: Built; functional, Sequential, or a class that its ``get_config`` can remake.
        phases: Of the adversarial loss; None is the plain loss, whose one pass is in the
            training phase.
        batch_size: Images a step, before the fix.
        epochs: Passes over the training images, before the fix.
        recompute: Replaces the moving statistics of a model by those of the training images;
            only ``precise-bn`` asks for it.

    Raises:
        ValueError: If `name` is no fix, `model` is not built, or an argument that the fix needs is
            missing.
        FixError: If the model, or this release of Keras, cannot take the fix.
    """
    require_fix(name)
    if not model.built:
        raise ValueError(f"model must be built: call it on images once. Received: {model.name}")
    given = Given(keras, model, phases, batch_size, epochs, recompute)
    if name in FIXES:
        return FIXES[name](given)
    return momentum(given, float(name.rpartition("-")[2]))


def require_fix(name: str) -> None:
    """Raise a ValueError that lists the fixes unless `name` is one."""
    if name not in FIXES and not MOMENTUM.fullmatch(name):
        rows = ", ".join(FIXES)
        raise ValueError(
            f"fix must be one of {rows}, or bn-momentum-X with X in [0, 1). Received: {name}"
        )


def batch_norms(model: Model) -> Iterator[Model]:
    """Yield every BatchNorm layer of `model` once, in order.

    Those of nested models, of wrappers and inside custom layers are among them, and so are
    subclasses of Keras' own.
    """
    return filter(_is_batch_norm, _walk(model, set()))


def _is_batch_norm(layer: Model) -> bool:
    """Return whether `layer` is a BatchNorm; the classes of all releases have one base name."""
    return any(base.__name__.startswith("BatchNormalization") for base in type(layer).__mro__)


def _walk(layer: Model, seen: set[int]) -> Iterator[Model]:
    """Yield `layer` and all layers inside it, each once, the outer first."""
    if id(layer) not in seen:
        seen.add(id(layer))
        if hasattr(layer, "get_weights"):  # else a list of layers, as TensorFlow 1 tracks them
            yield layer
        for child in _children(layer):
            yield from _walk(child, seen)


def _children(layer: Model) -> list[Model]:
    """Return the layers directly inside `layer`, in order."""
    if hasattr(type(layer), "layers"):  # any model
        return list(layer.layers)
    if hasattr(layer, "_flatten_layers"):
        return list(layer._flatten_layers(include_self=False, recursive=False))
    return list(getattr(layer, "_layers", ()))  # before TensorFlow 2.4


# Copying


def _nothing(layer: Model) -> None:
    """Neither change nor replace `layer`."""
    del layer


def copied(
    keras: Keras,
    model: Model,
    *,
    change: Callable[[Model], None] = _nothing,
    replace: Callable[[Model], Model | None] = _nothing,
) -> Model:
    """Return a copy of `model` with the same weights, its BatchNorm layers changed.

    Args:
        keras: The Keras that `model` is of.
        model: Left as it was.
        change: Changes a new BatchNorm layer. TensorFlow 1 takes the momentum into its graph
            when a layer is called: the change comes before, and once more at the end for layers
            that a custom layer makes late.
        replace: Returns what takes a layer's place, or None where it shall be copied. What has
            the layer's weights, or begins with them, gets its values.

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
    """Return a copy of `layer` with initial weights; what is shared inside it stays shared."""
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
    """Return a new layer of the same configuration, `inner` giving the layers inside it.

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
    """Return what is called on a layer's inputs; only a BatchNorm takes a phase and a mask."""
    if _is_batch_norm(layer) == _is_batch_norm(new):
        return new
    return lambda inputs, **_: new(inputs)


def _is_graph(keras: Keras, layer: Model) -> bool:
    """Return whether `layer` is a model whose graph Keras knows, not one of a class of its own."""
    if isinstance(layer, keras.Sequential):
        return True
    return bool(getattr(layer, "_is_graph_network", hasattr(layer, "_run_through_graph")))


def _build_alike(copy: Model, model: Model) -> None:
    """Make the weights of a model of a class of its own, as the first call of `model` did.

    Raises:
        FixError: If Keras cannot do so without images.
    """
    config = model.get_build_config() if hasattr(model, "get_build_config") else None
    if config:
        copy.build_from_config(config)
    if len(copy.weights) != len(model.weights):  # PyTorch's has them without being built
        raise FixError(
            f"The model {model.name} of the class {type(model).__name__} cannot be copied, since "
            "its layers are made by its first call: make it a functional model, or take Keras "
            "2.12 or newer."
        )


def _copy_weights(keras: Keras, copies: Copies) -> None:
    """Give every copy the weights of its layer, as many of the first as it has."""
    for layer, new in copies.values():
        if not _is_graph(keras, layer) and new is not layer:
            new.set_weights(layer.get_weights()[: len(new.weights)])
            if type(layer).__name__ == "Normalization":  # computes with what it made of its weights
                new.finalize_state()


def _copy_trainable(keras: Keras, copies: Copies) -> None:
    """Give every copy the flag `trainable` of its layer, the outer before what is inside.

    All are read before one is set, since what two models share is in both.
    """
    pairs = [
        pair
        for outer, copy in reversed(list(copies.values()))
        for pair in ([(outer, copy)] if _is_graph(keras, outer) else _matched(outer, copy))
    ]
    for new, trainable in [(new, layer.trainable) for layer, new in pairs]:
        new.trainable = trainable


def _matched(layer: Model, new: Model) -> Iterator[tuple[Model, Model]]:
    """Yield `layer` with its copy, then each layer inside it with its own."""
    return zip(_walk(layer, set()), _walk(new, set()))


# Words


def _words(layers: list[Model]) -> str:
    """Return how many BatchNorm layers these are, and their names or the first and the last."""
    names = [layer.name for layer in layers]
    listed = ", ".join(names) if len(names) <= NAMED else f"{names[0]} to {names[-1]}"
    return f"{len(names)} BatchNorm layer{'' if len(names) == 1 else 's'} ({listed})"


def _holders(keras: Keras, model: Model) -> Iterator[Model]:
    """Yield the layers of `model` that hold a BatchNorm and are no graph: wrappers and custom."""
    for layer in _walk(model, set()):
        if not _is_graph(keras, layer) and not _is_batch_norm(layer) and any(batch_norms(layer)):
            yield layer


def _lost_when_saved(keras: Keras, model: Model) -> Iterator[str]:
    """Yield a warning if a custom layer that holds a BatchNorm would not save its attributes."""
    holders = _holders(keras, model)
    own = [layer.name for layer in holders if not isinstance(layer, keras.layers.Wrapper)]
    if own:
        yield f"to be applied anew after loading: BatchNorm inside custom layers ({', '.join(own)})"


# The fixes


def control(given: Given) -> Fixed:
    """Change nothing."""
    return given.fixed()


def momentum(given: Given, value: float = 0.5) -> Fixed:
    """Give every BatchNorm the momentum `value`: at 0.5 its statistics follow in few steps."""
    former: dict[float, list[Model]] = {}
    for layer in batch_norms(given.model):
        former.setdefault(round(float(layer.momentum), 9), []).append(layer)
    if not former:
        return given.fixed(NO_BATCH_NORM)

    def change(layer: Model) -> None:
        layer.momentum = value

    model = copied(given.keras, given.model, change=change)
    changes = (
        f"momentum of {_words(layers)} {old:g} -> {value:g}"
        if old != value
        else f"momentum of {_words(layers)} is {value:g} already"
        for old, layers in former.items()
    )
    return given.fixed(*changes, *_lost_when_saved(given.keras, given.model), model=model)


def more_iterations(given: Given) -> Fixed:
    """Train in batches of half the size for five times the epochs: ten times the steps."""
    batch_size, epochs = max(1, given.batch_size // HALVING), given.epochs * LENGTHENING
    changes = (
        f"batch size {given.batch_size} -> {batch_size}",
        f"epochs {given.epochs} -> {epochs}",
    )
    return given.fixed(*changes, batch_size=batch_size, epochs=epochs)


def freeze(given: Given) -> Fixed:
    """Set `trainable` of every BatchNorm to False: statistics, gamma and beta stay as they are.

    From TensorFlow 2.0 on this is also the inference phase, whatever phase a call asks for; the
    layers of TensorFlow 1, and those of `keras.applications` in 2.0 and 2.1, do not do so.
    """
    layers = list(batch_norms(given.model))
    if not layers:
        return given.fixed(NO_BATCH_NORM)
    old = [layer for layer in layers if not getattr(layer, "_USE_V2_BEHAVIOR", True)]
    words = [f"{_words(layers)} frozen: trainable = False"]
    if old:
        words.append(
            f"{_words(old)} go on normalising by the batch in the training phase and updating "
            "their statistics: freezing means the inference phase from TensorFlow 2.0 on"
        )

    def change(layer: Model) -> None:
        layer.trainable = False

    model = copied(given.keras, given.model, change=change)
    return given.fixed(*words, *_lost_when_saved(given.keras, given.model), model=model)


def inference(given: Given) -> Fixed:
    """Run all passes in the inference phase: as ``bn-freeze``, but gamma and beta learn.

    Dropout, which the phase rules too, is off then.

    Raises:
        ValueError: Under the plain loss, which has no phases to choose.
    """
    if given.phases is None:
        raise ValueError(
            "phases must be those of an adversarial loss for the fix bn-inference: the plain "
            "loss runs in the training phase; there bn-freeze is what keeps BatchNorm to its "
            "moving statistics. Received: None"
        )
    return _in_phases(given, Phases(INFERENCE, INFERENCE, INFERENCE))


def training(given: Given) -> Fixed:
    """Run all passes in the training phase."""
    return _in_phases(given, Phases(TRAINING, TRAINING, TRAINING))


def attack_in_inference(given: Given) -> Fixed:
    """Craft in the inference phase, and take both losses in the training phase."""
    return _in_phases(given, Phases(TRAINING, INFERENCE, TRAINING))


def scope(given: Given) -> Fixed:
    """Put the phase back after the attack: turn ``literal`` into ``intended``."""
    if given.phases is not None and given.phases != PHASES["literal"]:
        return given.fixed("nothing to change: the phases are not those of the global switch")
    return _in_phases(given, PHASES["intended"])


def _in_phases(given: Given, phases: Phases) -> Fixed:
    """Return the given under other phases; the plain loss has one pass alone, in training."""
    if given.phases is None:
        return given.fixed(NO_PHASES)
    former, new = ("/".join(choice) for choice in (given.phases, phases))
    if former == new:
        return given.fixed(f"nothing to change: the phases are {new} already")
    return given.fixed(f"phases {former} -> {new} (clean/attack/adversarial)", phases=phases)


def reset(given: Given) -> Fixed:
    """Set the moving mean of every BatchNorm to 0 and its variance to 1."""
    layers = list(batch_norms(given.model))
    if not layers:
        return given.fixed(NO_BATCH_NORM)
    model = copied(given.keras, given.model)
    for layer in batch_norms(model):
        _set_statistics(layer, mean=0.0, variance=1.0)
    return given.fixed(f"moving mean of {_words(layers)} -> 0, variance -> 1", model=model)


def _set_statistics(layer: Model, *, mean: float, variance: float) -> None:
    """Set every channel's moving mean and variance; NaN goes too."""
    weights = layer.get_weights()
    for variable, weight in zip(layer.weights, weights):
        if variable is layer.moving_mean:
            weight[...] = mean
        elif variable is layer.moving_variance:
            weight[...] = variance
    layer.set_weights(weights)


def precise(given: Given) -> Fixed:
    """Replace the moving statistics by those of the data before the first step.

    Raises:
        ValueError: Without `recompute`.
    """
    if given.recompute is None:
        raise ValueError(
            "recompute must be a function of a model for the fix precise-bn, which needs data. "
            "Received: None"
        )
    layers = list(batch_norms(given.model))
    if not layers:
        return given.fixed(NO_BATCH_NORM)
    model = copied(given.keras, given.model)
    given.recompute(model)
    return given.fixed(f"moving statistics of {_words(layers)} recomputed on data", model=model)


def imagenet(given: Given) -> Fixed:
    """Put a copy of the model behind ImageNet's preprocessing."""
    model = imagenet_inputs(given.keras, copied(given.keras, given.model))
    name = preprocessing(given.model)
    return given.fixed(f"inputs in [0, 1] preprocessed inside: {MODES[name].words}", model=model)


def dual(given: Given) -> Fixed:
    """Give the perturbed images BatchNorm layers of their own, which begin as the others' copies.

    All else is shared: the branch learns it too.

    Raises:
        FixError: If a custom layer holds a BatchNorm, which cannot be had twice.
    """
    layers = list(batch_norms(given.model))
    if not layers:
        return given.fixed(NO_BATCH_NORM)
    _require_replaceable(given, "dual-bn")
    model = copied(given.keras, given.model)

    def replace(layer: Model) -> Model | None:
        return None if any(batch_norms(layer)) else layer

    branch = copied(given.keras, model, replace=replace)
    name = f"{model.name}_adversarial"
    branch = given.keras.Model(branch.input, branch.output, name=name)
    words = f"{_words(layers)} doubled: the branch of the perturbed images has its own"
    phased = attack_in_inference(given)
    unused = ("the plain loss does not use the branch",)
    changes = (words, *(phased.changes if given.phases else unused))
    return phased._replace(model=model, branch=branch, changes=changes)


def group(given: Given) -> Fixed:
    """Put GroupNorm in the place of every BatchNorm; gamma and beta are kept.

    Raises:
        FixError: If a custom layer holds a BatchNorm, which cannot be replaced there, one
            normalises several axes, or Keras is older than 2.11.
    """
    keras, layers = given.keras, list(batch_norms(given.model))
    if not layers:
        return given.fixed(NO_BATCH_NORM)
    if not hasattr(keras.layers, "GroupNormalization"):
        raise FixError(
            "The fix group-norm needs GroupNormalization, which Keras has from 2.11 on (TensorFlow "
            "2.11): take a newer release, or another fix."
        )
    _require_replaceable(given, "group-norm")
    groups: set[int] = set()

    def replace(layer: Model) -> Model | None:
        if not _is_batch_norm(layer):
            return None
        new = _group_norm(keras, layer)
        groups.add(new.groups)
        return new

    model = copied(keras, given.model, replace=replace)
    counts = " to ".join(map(str, sorted({min(groups), max(groups)})))
    words = f"{_words(layers)} replaced by GroupNorm of {counts} groups; gamma and beta kept"
    return given.fixed(words, model=model)


def _require_replaceable(given: Given, fix: str) -> None:
    """Raise a FixError if a custom layer of the model holds a BatchNorm."""
    for layer in _holders(given.keras, given.model):
        if type(layer) is not given.keras.layers.TimeDistributed:
            raise FixError(
                f"The fix {fix} cannot replace the BatchNorm inside {layer.name} of the class "
                f"{type(layer).__name__}: call it in the graph of a functional model instead."
            )


def _group_norm(keras: Keras, layer: Model) -> Model:
    """Return a GroupNorm with the name and the settings of a BatchNorm."""
    config, known = layer.get_config(), keras.layers.GroupNormalization().get_config()
    axis = config["axis"]
    if not isinstance(axis, int):
        if len(axis) != 1:
            raise FixError(f"The fix group-norm is for one axis; {layer.name} has {list(axis)}.")
        (axis,) = axis
    channels = int(layer.moving_mean.shape[0])
    settings = {key: value for key, value in config.items() if key in known}
    settings.update(axis=axis, groups=_groups(channels, alone=_alone(layer, axis)))
    return keras.layers.GroupNormalization.from_config(settings)


def _groups(channels: int, *, alone: bool) -> int:
    """Return the largest divisor of `channels` up to `GROUPS`.

    Where a channel is `alone`, of one value an image, a group has two channels at least: a single
    value less its own mean would always be 0.
    """
    most = min(GROUPS, channels // 2 if alone else channels)
    return next((count for count in range(most, 0, -1) if channels % count == 0), 1)


def _alone(layer: Model, axis: int) -> bool:
    """Return whether a channel has one value in each image, as far as Keras can tell."""
    built = layer.get_build_config() if hasattr(layer, "get_build_config") else None
    if built is None:  # Keras 2 where a wrapper built it, and before 2.12
        return False
    shape = list(built["input_shape"])
    del shape[axis]
    return all(side == 1 for side in shape[1:])


# ImageNet's preprocessing


def preprocessing(model: Model) -> str:
    """Return the key of `MODES` for `model`, by its layers and the names of its nested models."""
    layers = list(_walk(model, set()))
    if any(type(layer).__name__ in ("Rescaling", "Normalization") for layer in layers):
        return "raw"
    names = [layer.name for layer in layers if hasattr(type(layer), "layers")]
    found = (mode for name in names for known, mode in MODE_OF_NAME if known.match(name))
    return next(found, "caffe")


def imagenet_inputs(keras: Keras, model: Model) -> Model:
    """Return `model` behind ImageNet's preprocessing, so that its statistics fit the data.

    The new model shares the weights of `model` and still takes RGB pixels in [0, 1], hence
    epsilon keeps its meaning. The preprocessing is a fixed 1x1 convolution.

    Raises:
        FixError: If `model` does not take RGB images, channels last.
    """
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[-1] != 3:  # noqa: PLR2004 - RGB
        raise FixError(
            "The fix imagenet-inputs is for models of RGB images (batch, height, width, 3); the "
            f"model {model.name} takes {shape}."
        )
    mode = MODES[preprocessing(model)]
    inputs = keras.Input(shape[1:])
    preprocess = keras.layers.Conv2D(3, 1, trainable=False, name="imagenet_preprocess")
    outputs = model(preprocess(inputs))
    kernel, bias = preprocess.get_weights()
    kernel[...] = 0.0
    for channel, (mean, deviation) in enumerate(zip(mode.mean, mode.deviation)):
        kernel[0, 0, 2 - channel if mode.bgr else channel, channel] = mode.unit / deviation
        bias[channel] = -mean / deviation
    preprocess.set_weights([kernel, bias])
    return keras.Model(inputs, outputs)


FIXES: Mapping[str, Callable[[Given], Fixed]] = MappingProxyType(
    {
        "none": control,
        "bn-momentum-0.5": momentum,
        "more-iterations": more_iterations,
        "bn-freeze": freeze,
        "bn-inference": inference,
        "training-phase": training,
        "attack-inference-loss-training": attack_in_inference,
        "bn-reset": reset,
        "precise-bn": precise,
        "phase-scope": scope,
        "imagenet-inputs": imagenet,
        "dual-bn": dual,
        "group-norm": group,
    }
)
"""Sources: the published answer and keras#7177 (momentum, iterations); keras#9965 (freeze,
inference); neural-structured-learning#28 (training-phase); Pang et al. 2021 (attack in inference);
keras#9214 (reset); Wu & Johnson 2021 (precise); the pretrained nets' own input scale (ImageNet);
Xie et al. 2020 (dual); Wu & He 2018 (group)."""
