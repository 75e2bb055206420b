"""The initial weights of a case's model: random, ImageNet's, a file's, or the suite's surrogate."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pooch
from filelock import FileLock
from pooch.hashes import hash_matches

from suite.cases import Case
from suite.data import CLASSES, Split, cache_root, load_synthetic
from suite.data.cache import writable
from suite.data.download import resume
from suite.data.split import pixels
from suite.errors import WeightsError
from suite.files import file_digest, write_atomically
from suite.measure.kept import Kept
from suite.measure.training import batches, train
from suite.networks.architectures import ARCHITECTURES, PRETRAINED_INPUTS
from suite.networks.batch_norm import batch_norms, is_batch_norm, walk
from suite.networks.head import HEAD_LAYERS
from suite.networks.preprocessing import imagenet_inputs
from suite.networks.types import Images, Model
from suite.records import record_key
from suite.stacks.protocol import Stack, TrainStep

if TYPE_CHECKING:
    from typing import TypeAlias

SURROGATE_RATE = 6e-4  # learning rate of the pretraining by Adam
PLAIN_RATE = 1e-4  # the same without BatchNorm, where larger steps kill the units of deep layers
SURROGATE_MOMENTUM = 0.9  # of BatchNorm in the pretraining, so that its statistics settle
STANDARDISING_EPSILON = 1e-6  # keeps a channel that is constant over the images finite
STANDARDISING_IMAGES = 256  # at least, where there are so many signs
SYNTHETIC_SEED = 0
KERNEL_WEIGHTS = ("kernel", "bias")  # of a convolution, in the order of Keras
NORM_WEIGHTS = ("gamma", "beta", "moving_mean", "moving_variance")
SURROGATES = "surrogates"  # the folder of the cache that holds them
GIVEN = ("imagenet", "photographs")  # the weights that a user's file may hold
IMAGENET_URL = "https://storage.googleapis.com/tensorflow/keras-applications/"

Weights: TypeAlias = "list[np.ndarray]"
"""Weights and statistics of the layers below the head, in order."""


class Pretraining(NamedTuple):
    """A network that is pretrained in place of ImageNet's, and everything of it that is compiled.

    Attributes:
        model: The case's network, whose base is wanted.
        whole: The same with its inputs preprocessed, which is trained.
        rate: Learning rate.
        step: The update.
    """

    model: Model
    whole: Model
    rate: float
    step: TrainStep

    @property
    def models(self) -> tuple[Model, ...]:
        """The one model that has all variables."""
        return (self.whole,)


def initial_model(
    stack: Stack,
    case: Case,
    *,
    seed: int,
    environment: Mapping[str, Any],
    kept: Kept | None = None,
    file: Path | None = None,
) -> Model:
    """Build the model of `case` with the weights that it starts from.

    Args:
        stack: The framework under measurement.
        case: Its ``weights`` say where they come from.
        seed: Seed of random weights, and of the surrogate's pretraining.
        environment: Versions and digests; part of the surrogate's key.
        kept: What the pretraining of another seed compiled.
        file: Weights that the user gave, in place of a download.

    Raises:
        WeightsError: If the weights cannot be loaded, or do not fit.
    """
    kept = kept or Kept()
    if case.weights != "surrogate":
        kept.seed(seed, case, stack)
        load = photographed_model if case.weights == "photographs" else published_model
        return load(stack, case, file)
    pretrained = surrogate(stack, case, seed=seed, environment=environment, kept=kept)
    kept.seed(seed, case, stack)
    model = build(stack, case)
    set_base_weights(model, pretrained)
    return model


def build(stack: Stack, case: Case, *, base_weights: str | None = None) -> Model:
    """Build the untrained model of `case`; `base_weights` are passed to `keras.applications`."""
    row = ARCHITECTURES[case.architecture]
    options = {name: getattr(case, name) for name in row.options}
    if row.imagenet:
        options["base_weights"] = base_weights
    return row.build(
        stack.keras, size_px=case.size_px, classes=CLASSES, width=case.width, **options
    )


def published_model(stack: Stack, case: Case, file: Path | None = None) -> Model:
    """Build the model of `case` with random weights or ImageNet's, which a `file` may hold.

    Raises:
        WeightsError: If the file is missing or does not fit, or the download fails.
    """
    source = None
    pretrained = ARCHITECTURES[case.architecture].imagenet
    if case.weights == "imagenet" and pretrained:
        source = str(file or imagenet_weights(*pretrained))
    try:
        return build(stack, case, base_weights=source)
    except (OSError, ValueError) as error:
        if source is None or pretrained is None:
            raise
        raise WeightsError(
            f"{source} cannot be used as weights of {case.architecture}: {error}. Expected: "
            f"{pretrained[0]} of `keras.applications`. Give its path with "
            f"`-- --weights {case.architecture}=FILE`."
        ) from error


def photographed_model(stack: Stack, case: Case, file: Path | None = None) -> Model:
    """Build the model of `case` with the weights of a `file` that photographs gave.

    The file holds an array for each weight below the head, named ``layer/kernel`` and so on.

    Raises:
        WeightsError: If there is no file, or it is not the one that the architecture names.
    """
    expected = ARCHITECTURES[case.architecture].photographs
    option = f"Give the path of the file with `-- --weights {case.architecture}=FILE`."
    if file is None or file_digest(file) != expected:
        found = f"{file}, {file_digest(file)}" if file else "no file"
        raise WeightsError(
            f"{case.architecture} starts from weights that nothing downloads. Found: {found}. "
            f"Expected: {expected} (docs/science.md tells where it comes from). {option}"
        )
    model = build(stack, case)
    with file.open("rb") as content, np.load(content) as arrays:
        for layer in model.layers:
            if layer.name not in HEAD_LAYERS and layer.weights:
                names = NORM_WEIGHTS if is_batch_norm(layer) else KERNEL_WEIGHTS
                layer.set_weights([arrays[f"{layer.name}/{name}"] for name in names])
    return model


def imagenet_weights(name: str, checksum: str, *, base_url: str = IMAGENET_URL) -> Path:
    """Locate the file of ImageNet's weights without top; download it into the cache if missing.

    Raises:
        WeightsError: If the download fails or its checksum is wrong.
    """
    folder = cache_root() / "imagenet"
    store = pooch.create(path=folder, base_url=base_url, registry={name: checksum})
    try:
        if (folder / name).exists() and hash_matches(folder / name, checksum):
            return folder / name  # first: nothing has to be writable for what is there
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "download.lock"):  # two at once would share their unfinished part
            return Path(store.fetch(name, downloader=resume))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{base_url}{name}: download failed. Found: {error}. Expected: ImageNet's weights of "
            f"that name, {checksum}. Try again, or fetch the file elsewhere and give its path "
            f"with `-- --weights ARCHITECTURE=FILE`."
        ) from error


def base_weights(model: Model) -> Weights:
    """Read the weights and statistics of every layer below the head, in order."""
    layers = (layer for layer in model.layers if layer.name not in HEAD_LAYERS)
    return [np.asarray(array) for layer in layers for array in layer.get_weights()]


def set_base_weights(model: Model, weights: Weights) -> None:
    """Set every weight and statistic below the head.

    Raises:
        WeightsError: If the shapes are not those of `model`.
    """
    expected = [array.shape for array in base_weights(model)]
    if [array.shape for array in weights] != expected:
        raise WeightsError(
            f"The surrogate weights are of other shapes than {model.name}'s: delete the cached "
            f"file under {cache_root() / SURROGATES} and run again."
        )
    remaining = iter(weights)
    for layer in model.layers:
        if layer.name not in HEAD_LAYERS:
            layer.set_weights(list(itertools.islice(remaining, len(layer.get_weights()))))


def surrogate(
    stack: Stack,
    case: Case,
    *,
    seed: int,
    environment: Mapping[str, Any],
    kept: Kept | None = None,
) -> Weights:
    """Load base weights pretrained on synthetic signs in place of ImageNet's; make them if missing.

    A network with BatchNorm is pretrained on ImageNet-style inputs (0 to 255, BGR, mean
    subtracted), so that its statistics belong to other data and another scale: the cause of the
    stall. A network without BatchNorm has no statistics to be wrong, and is pretrained on pixels
    in [0, 1]: on inputs 255 times smaller than those of its pretraining, its few channels would
    give little more than their biases, which ImageNet's weights do not suffer from. The weights
    are cached by a key of everything that made them.

    Raises:
        WeightsError: If the cached file is not as it was made, or has a double.
        SuiteError: If it cannot be written.
    """
    name = surrogate_name(case, seed=seed, environment=environment)
    folder = cache_root() / SURROGATES
    path = stored_weights(folder, name)
    if path is None:
        with writable(folder, needed="a writable folder"):
            folder.mkdir(parents=True, exist_ok=True)
            held = FileLock(folder / f"{name}.lock").acquire()
        with held:  # else runs at once might start from different ones
            path = stored_weights(folder, name)
            if path is None:
                signs = load_synthetic(size_px=case.size_px, seed=SYNTHETIC_SEED)
                made = pretrain(stack, case, signs.train, seed=seed, kept=kept)
                path = save_weights(folder, name, made)
    return load_weights(path)


def surrogate_name(case: Case, *, seed: int, environment: Mapping[str, Any]) -> str:
    """Name the surrogate of a case by its architecture and a key of all that decides its weights.

    The data of the case does not: the surrogate has never seen it.
    """
    signs = load_synthetic(size_px=case.size_px, seed=SYNTHETIC_SEED)
    made_by = {
        "architecture": [case.architecture, case.width, case.blocks, case.size_px],
        "pretraining": [case.pretraining_steps, case.batch_size, SURROGATE_RATE, PLAIN_RATE, seed],
        "signs": signs.digest,
    }
    elsewhere = {name: value for name, value in environment.items() if name != "data_digest"}
    return f"{case.architecture}-{record_key(made_by, elsewhere)[:16]}"


def surrogate_digest(case: Case, *, seed: int, environment: Mapping[str, Any]) -> dict[str, str]:
    """Tell the digest of the surrogate that a run of a case started from, if it did from one."""
    if case.weights != "surrogate":
        return {}
    name = surrogate_name(case, seed=seed, environment=environment)
    path = stored_weights(cache_root() / SURROGATES, name)
    return {"surrogate_digest": _digest_of(path)} if path else {}


def pretrain(
    stack: Stack, case: Case, signs: Split, *, seed: int, kept: Kept | None = None
) -> Weights:
    """Pretrain the case's network on synthetic `signs`; return its base weights."""
    kept = kept or Kept()
    kept.seed(seed, case, stack)
    begun = begun_pretraining(stack, case, signs, kept)
    steps = case.pretraining_steps
    endless = batches(signs, batch_size=case.batch_size, epochs=steps, seed=seed)
    source = itertools.islice(endless, steps)
    title = f"pretraining {case.architecture}"
    for _ in train(begun.step, source, steps=steps, base_rate=begun.rate, title=title):
        pass
    return base_weights(begun.model)


def begun_pretraining(stack: Stack, case: Case, signs: Split, kept: Kept) -> Pretraining:
    """Build the network that is pretrained, and compile its update, if no seed before did."""
    model = build(stack, case)
    let_all_train(model)
    stride = max(1, len(signs.labels) // STANDARDISING_IMAGES)
    rate = pretraining_rate(model)
    if any(batch_norms(model)):
        whole = imagenet_inputs(stack.keras, model, PRETRAINED_INPUTS)
    else:
        whole = standardised(stack, model, pixels(signs.images[::stride]))

    def compiled() -> Pretraining:
        step = stack.train_step(whole, phases=None, epsilon=0.0, optimizer="adam")
        return Pretraining(model, whole, rate, step)

    return kept.renewed("pretraining", case, stack, [whole], compiled)


def let_all_train(model: Model) -> None:
    """Let every layer train, and BatchNorm follow fast, as the pretraining wants it.

    Each layer is told: Keras 3, unlike Keras 2, hands a functional model's own ``trainable`` to
    none of its layers, and what is frozen stays so.
    """
    for layer in walk(model):
        layer.trainable = True
    for layer in batch_norms(model):
        layer.momentum = SURROGATE_MOMENTUM


def pretraining_rate(model: Model) -> float:
    """Choose the learning rate of the pretraining by Adam."""
    return SURROGATE_RATE if any(batch_norms(model)) else PLAIN_RATE


def standardised(stack: Stack, model: Model, images: Images) -> Model:
    """Scale each convolution of `model` so that its output over `images` has mean 0, variance 1.

    This does to the initial weights, once, what BatchNorm would do to the first batch (Salimans &
    Kingma 2016, section 3). Without it, one VGG19 in five with few channels never leaves 5 %.
    """
    for layer in model.layers:
        if isinstance(layer, stack.keras.layers.Conv2D):
            activation, layer.activation = layer.activation, stack.keras.activations.linear
            below = stack.network(stack.keras.Model(model.input, layer.output))
            outputs = below.logits(images, training=False)
            layer.activation = activation
            deviation = outputs.std(axis=(0, 1, 2)) + STANDARDISING_EPSILON
            kernel, _ = layer.get_weights()
            layer.set_weights([kernel / deviation, -outputs.mean(axis=(0, 1, 2)) / deviation])
    return model


def stored_weights(folder: Path, name: str) -> Path | None:
    """Find the file of weights that bears a name and its own digest; None if there is none.

    Raises:
        WeightsError: If there are two.
    """
    found = sorted(folder.glob(f"{name}-{'[0-9a-f]' * 64}.npz"))
    if len(found) > 1:
        raise WeightsError(
            f"{folder} has {len(found)} files {name}-*.npz, expected one, which a run makes. "
            f"Delete them (`rm {folder / name}-*.npz`); the next run makes it again."
        )
    return found[0] if found else None


def save_weights(folder: Path, name: str, weights: Weights) -> Path:
    """Write `weights` to an ``.npz`` file named after its digest too; return its path."""
    file = io.BytesIO()
    np.savez(file, *weights)
    content = file.getvalue()
    path = folder / f"{name}-{hashlib.sha256(content).hexdigest()}.npz"
    write_atomically(path, content)
    return path


def _digest_of(path: Path) -> str:
    """Read the digest of a file of weights off its name."""
    return f"sha256:{path.stem.rpartition('-')[2]}"


def load_weights(path: Path) -> Weights:
    """Read the weights in `path`, in their order.

    Raises:
        WeightsError: If the file is not the one that was saved.
    """
    if file_digest(path) != _digest_of(path):
        raise WeightsError(
            f"{path} was changed since it was made: its sha256 is {file_digest(path)[7:19]}..., "
            f"expected the one in its name. Delete it (`rm {path}`); the next run makes it again."
        )
    with path.open("rb") as file, np.load(file) as arrays:
        return [arrays[f"arr_{index}"] for index in range(len(arrays.files))]
