"""What mends a network, as code to paste: one piece for each thing that a diagnosis can find."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from suite.diagnose.causes.head import (
    CUT_OFF,
    NEITHER,
    NOT_ONE_SUM,
    NOT_PROBABILITIES,
    ONE_OVER_CLASSES,
    ONE_UNIT,
)
from suite.diagnose.causes.head import (
    TWICE as TAKEN_TWICE,
)
from suite.diagnose.causes.scale import CAUSES as SCALES
from suite.diagnose.causes.unsteady import CAUSES as UNSTEADY
from suite.diagnose.causes.unsteady import CHANGED
from suite.diagnose.found import BY_HEART as LEARNED_BY_HEART
from suite.diagnose.found import HEALTHY, MORE_IMAGES, TRAINING_IMAGES, Diagnosis
from suite.diagnose.intake import taken
from suite.diagnose.loading import demand_eager, keras_of
from suite.diagnose.network import Network
from suite.diagnose.pieces import (
    AGAIN,
    ANEW,
    APPLY,
    BALANCED,
    BY_HEART,
    CLASSES,
    FINITE,
    FULL,
    LOADING,
    LOSS,
    MOMENTUM,
    MORE,
    NEW_HEAD,
    NORMALISED,
    OUTLYING,
    PHASE_PASSED,
    PHASES,
    PRECISE,
    RECALLS,
    RESCALED_NORMS,
    SHUFFLE,
    SLOWER,
    UNBIASED,
    UNPINNED,
)
from suite.diagnose.probes import (
    BYTES,
    EACH_STANDARDISED,
    STANDARDISED,
    SYMMETRIC,
    TORCH,
    TURNS,
    TWICE,
    UNIT,
)
from suite.diagnose.statistics import half_life, pooled_statistics
from suite.diagnose.trials import (
    ALIKE,
    BATCH_STATISTICS,
    CAFFE,
    CENTRED,
    FLOAT32,
    INPUT_SCALE,
    INVERTED,
    PRECISE_BN,
    RENAMED,
    RESCALED,
    SINGLE,
    STEADY,
    STEADY_PRECISE,
    InputScale,
)
from suite.networks.phases import TRAINING
from suite.networks.preprocessing import IMAGENET_DEVIATION, IMAGENET_MEAN, IMAGENET_MEAN_BGR
from suite.networks.types import Keras, Model


def recompute_statistics(
    model: Model, images: Any, *, batch_size: int = 32, keras: Keras | None = None
) -> None:
    """Set BatchNorm's moving statistics to those of `images` (Wu & Johnson 2021), frozen ones too.

    Args:
        model: A built Keras model; its weights stay as they are.
        images: Of the training, what the model is fed: an array, or a dictionary or list of them.
        batch_size: Images in a batch, each normalised by itself.
        keras: The Keras module of the model; by default its class's.

    Raises:
        ValueError: If the images are none that the model takes.
        SuiteError: If the model cannot be called batch by batch.
    """
    network, fed = Network(model, keras or keras_of(model)), taken(model, images)
    demand_eager(model)
    network.hear(fed[:1])  # which layers run
    heard = network.hear_forced(fed, batch_size=batch_size)
    network.set_statistics([pooled_statistics(parts) for parts in heard.moments])


HALVINGS = 10  # of a distance: a thousandth of it is left


class Remedy(NamedTuple):
    """What to do.

    Attributes:
        words: In a sentence or two.
        code: To paste, where `model` is the network and `images` and `labels` what it is fed;
            empty where no code mends it.
        tried: The kinds of trials that do what it does.
    """

    words: str
    code: str = ""
    tried: tuple[str, ...] = ()


def _loss(*, from_logits: bool) -> str:
    """Write the code that trains on with another loss."""
    return LOSS.replace("{from_logits}", str(from_logits))


BY_FIX: Mapping[str, Remedy] = {
    "precise-bn": Remedy(
        "Recompute BatchNorm's moving statistics; all weights stay.", PRECISE, (PRECISE_BN,)
    ),
    "group-norm": Remedy(
        "Replace BatchNorm by GroupNorm, which needs no statistics, and train on.",
        NORMALISED,
        (BATCH_STATISTICS, ALIKE, SINGLE),
    ),
    "imagenet-inputs": Remedy(
        "Put the input scale of these weights inside the network, and feed pixels in [0, 1].",
        APPLY.format(arguments='"imagenet-inputs", keras_of(model), model, inputs="caffe"'),
        (INPUT_SCALE,),
    ),
}
BY_CAUSE: Mapping[str, Remedy] = {
    "NaN weights": Remedy("Go back to a checkpoint, and on with a smaller learning rate.", SLOWER),
    "exploded weights": Remedy(
        "Go back to a checkpoint, and on with a smaller learning rate and clipped gradients.",
        SLOWER,
        (RESCALED,),
    ),
    "dead head": Remedy("Initialise the layer anew, and train on.", ANEW),
    "dead layer": Remedy("Initialise the layer anew, and train on.", ANEW),
    "label shuffle (classes permuted)": Remedy(
        "Compare the order of the classes with that of the training.", CLASSES, (RENAMED,)
    ),
    "label shuffle": Remedy("Shuffle images and labels alike.", SHUFFLE),
    "not trained, or weights not loaded": Remedy(
        "Load the trained weights, and see which were not.", LOADING
    ),
    "weights not loaded": Remedy("Load them, and see which were not.", LOADING),
    "unbalanced classes": Remedy("Train on with each class weighted by how rare it is.", BALANCED),
    "classes never predicted": Remedy(
        "Look at the recall of each class, here and on images of the training.", RECALLS
    ),
    "images in different scales": Remedy(
        "Scale the images that were not, then recompute the statistics.", OUTLYING
    ),
    "biased head": Remedy("Take the mean output from the bias.", UNBIASED, (CENTRED,)),
    "phases disagree": Remedy(
        "Look at each layer that does something else in the two phases.", PHASES, (TRAINING,)
    ),
    "weights that stand out": Remedy(
        "Go back to a checkpoint, and on with a smaller learning rate.", SLOWER, (RESCALED,)
    ),
    **dict.fromkeys(
        UNSTEADY,
        Remedy(
            "Pass the phase on, then recompute the statistics.",
            PHASE_PASSED,
            (STEADY, STEADY_PRECISE),
        ),
    ),
    "overflow in half precision": Remedy("Compute in float32.", FULL, (FLOAT32,)),
    "NaN in the training phase": Remedy("See which images, in which phase.", FINITE),
    "NaN activations": Remedy("See which images, in which phase.", FINITE),
    NOT_PROBABILITIES: Remedy("Give the loss logits, and train on.", _loss(from_logits=True)),
    TAKEN_TWICE: Remedy("Give the loss probabilities, and train on.", _loss(from_logits=False)),
    **dict.fromkeys(
        (ONE_UNIT, ONE_OVER_CLASSES, NEITHER, CUT_OFF, NOT_ONE_SUM),
        Remedy("Give it a head of one unit a class with softmax, and train on.", NEW_HEAD),
    ),
    "phase pinned": Remedy(
        "Let BatchNorm run in the training phase while the network trains, and train on.", UNPINNED
    ),
    "scales next to 0": Remedy(
        "Set these scales to 1, recompute the statistics, and train on with no decay of gamma.",
        RESCALED_NORMS,
    ),
    "one class alone": Remedy("Give images of several classes."),
    "not trained": Remedy("See whether it can learn 32 images by heart.", BY_HEART),
    "nothing learned": Remedy("See whether it can learn 32 images by heart.", BY_HEART),
}
UNKNOWN = Remedy("No fix of BatchNorm mends this, and no code does: see what was found.")
NONE = Remedy("Nothing is to be mended.")
UNMENDED = Remedy(
    "Mend the layer's own call: let it draw, or normalise by the batch, only where `training` is "
    "true; where it mixes the images of a batch by mistake, take another axis.",
    PHASE_PASSED,
)
"""Of a layer that no class of Keras' own is steady in place of."""

BY_NEXT: Mapping[str, Remedy] = {
    MORE_IMAGES: Remedy(
        "Nothing here decides. Examine four times as many images, or those of the training, too, "
        "before you change anything.",
        MORE,
    ),
    TRAINING_IMAGES: Remedy(
        "Nothing here decides. Examine images of the training, before you change anything.", AGAIN
    ),
    LEARNED_BY_HEART: Remedy(
        "Nothing here decides. The next experiment: see whether it can learn 32 images by heart.",
        BY_HEART,
    ),
}
"""What to do where nothing decides."""


def remedy(found: Diagnosis) -> Remedy:
    """Choose what to do about a diagnosis, with its code, and say what that gave here."""
    chosen = _chosen(found)
    code = chosen.code.replace("{layer}", ascii(found.layer))
    words = " ".join([chosen.words, *_gave(found, chosen.tried)])
    return chosen._replace(words=words, code=code)


def _chosen(found: Diagnosis) -> Remedy:
    """Choose the remedy by verdict, fix and cause."""
    if found.verdict == HEALTHY:
        return NONE
    if found.fix.startswith("bn-momentum-"):
        return _momentum(found)
    scale = next((attempt.scale for attempt in found.attempts if attempt.scale), None)
    if found.cause in SCALES and scale and found.fix not in BY_FIX:
        words = "Feed the images as in the training of these weights."
        return Remedy(words, rescaling(scale), (INPUT_SCALE,))
    steadied = found.cause == CHANGED or any(each.kind == STEADY for each in found.attempts)
    if found.cause in UNSTEADY and not steadied:
        return UNMENDED
    kind = found.cause.partition(" (")[0]
    by_cause = BY_CAUSE.get(found.cause) or (None if found.fix else BY_CAUSE.get(kind))
    return by_cause or BY_FIX.get(found.fix) or BY_NEXT.get(found.next, UNKNOWN)


def _gave(found: Diagnosis, kinds: Collection[str]) -> Iterator[str]:
    """Say what the best trial of some kinds gave."""
    made = [attempt for attempt in found.attempts if attempt.kind in kinds]
    best = max(made, key=lambda attempt: attempt.accuracy, default=None)
    if best is not None:
        yield (
            f"Tried here: {best.what}; right in {best.accuracy:.1%} of the images, "
            f"{found.attempts[0].accuracy:.1%} as it is."
        )


def _momentum(found: Diagnosis) -> Remedy:
    """Write the code of another momentum, and how many steps it then takes."""
    momentum = found.fix.rpartition("-")[2]
    steps = math.ceil(HALVINGS * half_life(float(momentum)))
    arguments = f'"{found.fix}", keras_of(model), model'
    words = f"Give every BatchNorm the momentum {momentum}, and train on."
    code = MOMENTUM.replace("{arguments}", arguments).replace("{steps}", str(steps))
    return Remedy(words, code, (PRECISE_BN,))


DECODED: Mapping[str, str] = {
    UNIT: "images",
    BYTES: "images / 255",
    TWICE: "images * 255",
    SYMMETRIC: "(images + 1) / 2",
    TORCH: f"images * {IMAGENET_DEVIATION} + {IMAGENET_MEAN}",
    CAFFE: f"(images + {IMAGENET_MEAN_BGR})[..., ::-1] / 255",
}
"""From each scale to [0, 1]; another one is its smallest and its largest value."""

ENCODED: Mapping[str, str] = {
    UNIT: "pixels",
    BYTES: "pixels * 255",
    SYMMETRIC: "pixels * 2 - 1",
    STANDARDISED: "(pixels - pixels.mean(axes)) / pixels.std(axes)",
    EACH_STANDARDISED: "(pixels - means) / deviations",
    TWICE: "pixels / 255",
    TORCH: f"(pixels - {IMAGENET_MEAN}) / {IMAGENET_DEVIATION}",
    CAFFE: f"pixels[..., ::-1] * 255 - {IMAGENET_MEAN_BGR}",
}
"""From [0, 1] to each scale."""


MEASURED: Mapping[str, str] = {
    STANDARDISED: "\naxes = tuple(range(pixels.ndim - 1))",
    EACH_STANDARDISED: (
        "\naxes = tuple(range(1, pixels.ndim))  # each image by itself"
        "\nmeans, deviations = pixels.mean(axes, keepdims=True), pixels.std(axes, keepdims=True)"
    ),
}
"""What is measured of the pixels before."""


def _decoded(source: str) -> str:
    """Write the conversion from a scale to [0, 1]."""
    if source in DECODED:
        return DECODED[source]
    low, high = source.strip("[]").split(", ")
    return f"(images - ({low})) / ({high} - ({low}))"


def rescaling(scale: InputScale) -> str:
    """Write the conversion of images in NumPy, as code to paste."""
    turn = TURNS.get(scale.turn)
    decoded = "images" if turn else _decoded(scale.source)
    encoded = turn.code if turn else ENCODED[scale.target]
    measured = "" if turn else MEASURED.get(scale.target, "")
    inverted = "\npixels = 1 - pixels" if scale.turn == INVERTED else ""
    swapped = "\nscaled = scaled[..., ::-1]" if scale.swapped else ""
    return f"""\
import numpy as np

images = np.asarray(images, np.float32)
pixels = {decoded}{inverted}{measured}
scaled = {encoded}{swapped}
print(np.mean(model.predict(scaled).argmax(-1) == labels))  # the accuracy
"""


LOADED = """\
from suite.diagnose.sources import opened

source = opened(
    {model}, {data}, split={split}, inputs={inputs},
    size_px={size}, output={output}, count={images}, seed={seed},
)
model, images, labels = source.model, source.images, source.labels
# These are the images that were examined. To train, or to recompute statistics, take those of the
# training: their folder in place of {data}; of GTSRB, split="train".
"""
HELD = "# `model` is your network; `images` and `labels` are those of the training, as it is fed\n"


def setting(about: Mapping[str, Any]) -> str:
    """Write the code before a remedy's: where the network and its images come from.

    Args:
        about: The options of the command by name, or fewer where no command was given.
    """
    if "data" not in about:
        return HELD
    return LOADED.format(**{name: ascii(value) for name, value in about.items()})
