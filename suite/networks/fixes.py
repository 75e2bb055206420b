"""The named fixes of the stall: each is a small change of a model, its phases or its schedule."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from suite.errors import FixError
from suite.networks.batch_norm import batch_norms, is_batch_norm, layers_in_words, set_statistics
from suite.networks.copying import batch_norm_holders, copied, lost_when_saved
from suite.networks.group_norm import group_normalised
from suite.networks.phases import INFERENCE, PHASES, TRAINING, Phases
from suite.networks.preprocessing import MODES, imagenet_inputs, preprocessing
from suite.networks.types import Keras, Model

MOMENTUM = re.compile(r"bn-momentum-(0(?:\.\d+)?)")
HALVING = 2  # divides the batch size: 32 -> 16 images, as in keras#7177
LENGTHENING = 5  # multiplies the epochs
NO_BATCH_NORM = "nothing to change: the model has no BatchNorm layer"
NO_PHASES = "nothing to change: the plain loss has one pass, in the training phase"


class Fixed(NamedTuple):
    """What is trained and how, after a fix.

    Attributes:
        model: The model to train and deploy: a new one with weights of its own where the fix
            changes the model, else the given one.
        branch: The model that the perturbed images go through: `model`, except under ``dual-bn``.
        phases: The phases of the adversarial loss; None under the plain loss.
        batch_size: Images per step.
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
    inputs: str

    def fixed(self, *changes: str, **fields: Any) -> Fixed:
        """Describe what is trained: as given, but for `fields`; a new `model` is its own branch."""
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
    inputs: str = "",
) -> Fixed:
    """Apply the fix `name`; return what is trained and how. `model` is left as it was.

    A changed model is a copy with the same weights, layer names (except the inputs'), nesting,
    sharing and call arguments, but without the optimizer's state. A ``training=False`` or ``True``
    that a layer was called with in a functional graph is copied too, and holds where the release
    lets it: in Keras 2 always; in Keras 3 up to 3.15 only where the model itself is called without
    ``training=``, which `fit`, `evaluate` and `predict` never do (keras#20285). There,
    ``bn-freeze`` keeps a BatchNorm in the inference phase, whatever a call asks for. A fix of
    BatchNorm does not copy a model that has none; `Fixed.changes` says so.

    Args:
        name: A key of `FIXES`, or ``bn-momentum-X`` with any X in [0, 1).
        keras: The Keras that made `model`.
        model: Built; functional, Sequential, or of a class that can be made from its
            ``get_config``.
        phases: The phases of the adversarial loss; None takes the plain loss, whose one pass is
            in the training phase.
        batch_size: Images per step, before the fix.
        epochs: Passes over the training images, before the fix.
        recompute: Replaces the moving statistics of a model by those of the training images;
            only ``precise-bn`` needs it.
        inputs: The input scale that the weights were trained with, a key of
            `suite.networks.preprocessing.MODES`; only ``imagenet-inputs`` needs it, and only where
            neither a layer nor a name of `keras.applications` tells.

    Raises:
        ValueError: If `name` is no fix, `model` is not built, or an argument is missing or wrong.
        FixError: If the model, or this release of Keras, cannot take the fix.
    """
    require_fix(name)
    if not model.built:
        raise ValueError(f"model must be built: call it on images once. Received: {model.name}")
    given = Given(keras, model, phases, batch_size, epochs, recompute, inputs)
    if name in FIXES:
        return FIXES[name](given)
    return momentum(given, float(name.rpartition("-")[2]))


def require_fix(name: str) -> None:
    """Refuse a `name` that is no fix, with a list of the fixes.

    Raises:
        ValueError: If `name` is neither a key of `FIXES` nor another momentum.
    """
    if name not in FIXES and not MOMENTUM.fullmatch(name):
        rows = ", ".join(FIXES)
        raise ValueError(
            f"fix must be one of {rows}, or bn-momentum-X with X in [0, 1). Received: {name}"
        )


def control(given: Given) -> Fixed:
    """Change nothing."""
    return given.fixed()


def momentum(given: Given, value: float = 0.5) -> Fixed:
    """Give every BatchNorm the momentum `value`: at 0.5 its statistics follow in a few steps."""
    former: dict[float, list[Model]] = {}
    for layer in batch_norms(given.model):
        former.setdefault(round(float(layer.momentum), 9), []).append(layer)
    if not former:
        return given.fixed(NO_BATCH_NORM)

    def change(layer: Model) -> None:
        layer.momentum = value

    model = copied(given.keras, given.model, change=change)
    changes = (
        f"momentum of {layers_in_words(layers)} {old:g} -> {value:g}"
        if old != value
        else f"momentum of {layers_in_words(layers)} is {value:g} already"
        for old, layers in former.items()
    )
    return given.fixed(*changes, *lost_when_saved(given.keras, given.model), model=model)


def more_iterations(given: Given) -> Fixed:
    """Halve the batch size and multiply the epochs by five: ten times the steps."""
    batch_size, epochs = max(1, given.batch_size // HALVING), given.epochs * LENGTHENING
    changes = (
        f"batch size {given.batch_size} -> {batch_size}",
        f"epochs {given.epochs} -> {epochs}",
    )
    return given.fixed(*changes, batch_size=batch_size, epochs=epochs)


def freeze(given: Given) -> Fixed:
    """Set `trainable` of every BatchNorm to False: statistics, gamma and beta stay as they are.

    From TensorFlow 2.0 on, such a layer also runs in the inference phase, whatever phase a call
    asks for. The layers of TensorFlow 1, and those of `keras.applications` in 2.0 and 2.1, do not.
    """
    layers = list(batch_norms(given.model))
    if not layers:
        return given.fixed(NO_BATCH_NORM)
    old = [layer for layer in layers if not getattr(layer, "_USE_V2_BEHAVIOR", True)]
    words = [f"{layers_in_words(layers)} frozen: trainable = False"]
    if old:
        words.append(
            f"{layers_in_words(old)} go on normalising by the batch in the training phase and "
            "updating their statistics: freezing means the inference phase from TensorFlow 2.0 on"
        )

    def change(layer: Model) -> None:
        layer.trainable = False

    model = copied(given.keras, given.model, change=change)
    return given.fixed(*words, *lost_when_saved(given.keras, given.model), model=model)


def inference(given: Given) -> Fixed:
    """Run all passes in the inference phase: like ``bn-freeze``, but gamma and beta learn.

    Dropout, which depends on the phase too, is then off.

    Raises:
        ValueError: Under the plain loss, which has no phases to choose.
    """
    if given.phases is None:
        raise ValueError(
            "phases must be those of an adversarial loss for the fix bn-inference: the plain loss "
            "always runs in the training phase. Take bn-freeze instead, under which BatchNorm "
            "keeps to its moving statistics. Received: None"
        )
    return _in_phases(given, Phases(INFERENCE, INFERENCE, INFERENCE))


def training(given: Given) -> Fixed:
    """Run all passes in the training phase."""
    return _in_phases(given, Phases(TRAINING, TRAINING, TRAINING))


def attack_in_inference(given: Given) -> Fixed:
    """Run the attack in the inference phase and both losses in the training phase."""
    return _in_phases(given, Phases(TRAINING, INFERENCE, TRAINING))


def scope(given: Given) -> Fixed:
    """Put the phase back after the attack, which turns ``literal`` into ``intended``."""
    if given.phases is not None and given.phases != PHASES["literal"]:
        return given.fixed("nothing to change: the phases are not those of the global switch")
    return _in_phases(given, PHASES["intended"])


def _in_phases(given: Given, phases: Phases) -> Fixed:
    """Take other phases; the plain loss has no choice of them."""
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
        set_statistics(layer, mean=0.0, variance=1.0)
    return given.fixed(f"moving mean of {layers_in_words(layers)} -> 0, variance -> 1", model=model)


def precise(given: Given) -> Fixed:
    """Replace the moving statistics by those of the data, before the first step.

    Raises:
        ValueError: If there is no `recompute`.
    """
    if given.recompute is None:
        raise ValueError(
            "recompute must be a function of a model for the fix precise-bn, which needs data: "
            'suite.fixes.apply("precise-bn", keras, model, images=images) has one. Received: None'
        )
    layers = list(batch_norms(given.model))
    if not layers:
        return given.fixed(NO_BATCH_NORM)
    model = copied(given.keras, given.model)
    given.recompute(model)
    return given.fixed(
        f"moving statistics of {layers_in_words(layers)} recomputed on data", model=model
    )


def imagenet(given: Given) -> Fixed:
    """Put ImageNet's preprocessing in front of a copy of the model.

    Raises:
        FixError: If the model takes no RGB images, or nothing tells its input scale.
    """
    model = imagenet_inputs(given.keras, copied(given.keras, given.model), given.inputs)
    name = preprocessing(given.model, given.inputs)
    return given.fixed(f"inputs in [0, 1] preprocessed inside: {MODES[name].words}", model=model)


def dual(given: Given) -> Fixed:
    """Give the perturbed images BatchNorm layers of their own, copied from the others.

    Everything else is shared, and the branch trains it too.

    Raises:
        FixError: If a custom layer contains a BatchNorm, which cannot be doubled there.
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
    words = f"{layers_in_words(layers)} doubled: the branch of the perturbed images has its own"
    phased = attack_in_inference(given)
    unused = ("the plain loss does not use the branch",)
    changes = (words, *(phased.changes if given.phases else unused))
    return phased._replace(model=model, branch=branch, changes=changes)


def group(given: Given) -> Fixed:
    """Replace every BatchNorm by a GroupNorm; gamma and beta are kept.

    Raises:
        FixError: If a custom layer contains a BatchNorm, which cannot be replaced there, if one
            normalises several axes, or if Keras is older than 2.11.
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
        if not is_batch_norm(layer):
            return None
        new = group_normalised(keras, layer)
        groups.add(new.groups)
        return new

    model = copied(keras, given.model, replace=replace)
    counts = " to ".join(map(str, sorted({min(groups), max(groups)})))
    words = (
        f"{layers_in_words(layers)} replaced by GroupNorm of {counts} groups; gamma and beta kept"
    )
    return given.fixed(words, model=model)


def _require_replaceable(given: Given, fix: str) -> None:
    """Refuse a model in which a custom layer contains a BatchNorm.

    Raises:
        FixError: If one does.
    """
    for layer in batch_norm_holders(given.keras, given.model):
        if type(layer) is not given.keras.layers.TimeDistributed:
            raise FixError(
                f"The fix {fix} cannot replace the BatchNorm inside {layer.name} of the class "
                f"{type(layer).__name__}: call it in the graph of a functional model instead."
            )


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
"""The fixes by name. Sources: the published answer and keras#7177 (momentum, iterations);
keras#9965 (freeze, inference); neural-structured-learning#28 (training-phase); Pang et al. 2021
(attack in inference); keras#9214 (reset); Wu & Johnson 2021 (precise); the pretrained networks' own
input scale (ImageNet); Xie et al. 2020 (dual); Wu & He 2018 (group)."""
