"""Faults of what is drawn and fed: initial weights, seeds, data, schedule, evaluation, cost."""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.data import Split
from suite.networks.batch_norm import is_batch_norm
from suite.networks.preprocessing import MODES
from tests.faults.fault import Fault, constant, tensorflow, together, with_options, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable

SCALING = "keras.src.initializers.random_initializers:VarianceScaling.__init__"
DENSE = "keras.src.layers.core.dense:Dense.__init__"
DEFAULT_SEED = "keras.src.backend.tensorflow.random:make_default_seed"
SEED = "suite.stacks.eager:seed"
RATE = "keras.src.optimizers.base_optimizer:BaseOptimizer.learning_rate"
TRAINING = "suite.measure.training"
FED = ("fed", *(f"questions.{name}" for name in ("parity", "stall", "step_time")))  # feed batches
SLOWER = 0.15
BALLAST = 32 * 2**20  # bytes; a third of what LeNet-5's steps take
HELD: list[np.ndarray] = []
NEXT_SEEDS: list[Iterator[int]] = []


def pixels(change: Callable[[Any], Any]) -> Any:
    """Change the pixels wherever the suite makes them of bytes."""
    modules = ("training", "run", "evaluation")
    return together(
        *(
            wrapped(f"suite.measure.{name}:pixels", lambda real: lambda x: change(real(x)))
            for name in modules
        )
    )


def fed(change: Callable[..., Any]) -> Any:
    """Change the batches that the questions feed: `change` is given the real function first."""

    def around(real: Any) -> Any:
        return lambda split, **named: change(real, split, **named)

    return together(*(wrapped(f"suite.measure.{name}:batches", around) for name in FED))


def relabelled(real: Any, split: Split, **named: Any) -> Iterator[Any]:
    """Swap two classes that look alike, speed limits of 30 and 50."""
    for batch in real(split, **named):
        swapped = np.where(batch.labels == 1, 2, np.where(batch.labels == 2, 1, batch.labels))
        yield batch._replace(labels=swapped)


def unshuffled(real: Any, split: Split, **named: Any) -> Iterator[Any]:
    """Sort the images by class, as they lie in the archive."""
    order = np.argsort(split.labels, kind="stable")
    taken = Split(*(array[order] for array in split))
    for batch in real(split, **named):
        size = len(batch.labels)
        at = np.arange(batch.step * size, (batch.step + 1) * size) % len(order)
        images = taken.images[at].astype(np.float32) / np.float32(255)
        yield batch._replace(images=images, labels=taken.labels[at].astype(np.int64))


def shuffled_once(real: Any, split: Split, **named: Any) -> Iterator[Any]:
    """Repeat the first epoch's order in each epoch."""
    epochs = named.pop("epochs")
    first = list(real(split, epochs=1, **named))
    for epoch in range(epochs):
        for index, batch in enumerate(first):
            yield batch._replace(step=epoch * len(first) + index, epoch=epoch)


def shuffled_twice(real: Any, split: Split, **named: Any) -> Iterator[Any]:
    """Repeat the second epoch's order in each one after it."""
    second: list[Any] = []
    for batch in real(split, **named):
        if batch.epoch == 1:
            second.append(batch)
        if batch.epoch <= 1:
            yield batch
        else:
            yield second[batch.step % len(second)]._replace(step=batch.step, epoch=batch.epoch)


def subsets(change: Callable[[Split, Split], tuple[Split, Split]]) -> Any:
    """Change the images that a case trains and evaluates on."""
    return wrapped(
        "suite.measure.pipeline:subsets",
        lambda real: lambda case, data, *, seed: change(*real(case, data, seed=seed)),
    )


def without_class(train: Split, test: Split) -> tuple[Split, Split]:
    """Put images of another class in the place of one class's."""
    rows = np.where(train.labels == 0, np.argmax(train.labels == 1), np.arange(len(train.labels)))
    return Split(*(array[rows] for array in train)), test


def mixed(train: Split, test: Split) -> tuple[Split, Split]:
    """Train on test images too."""
    count = min(len(test.labels), len(train.labels) // 4)
    both = (np.concatenate([t[:count], a[count:]]) for t, a in zip(test, train))
    return Split(*both), test


def tested_on_training(train: Split, test: Split) -> tuple[Split, Split]:
    """Evaluate on the training images."""
    rows = np.arange(len(test.labels)) % len(train.labels)
    return train, Split(*(array[rows] for array in train))


def mislabelled(train: Split, test: Split) -> tuple[Split, Split]:
    """Give one test image in twenty the next class."""
    labels = test.labels.copy()
    labels[::20] = (labels[::20] + 1) % 43
    return train, test._replace(labels=labels)


def swapped_statistics(real: Any) -> Any:
    """Give each BatchNorm its pretrained mean for its variance."""

    def set_weights(model: Any, weights: Any) -> None:
        real(model, weights)
        for layer in filter(is_batch_norm, model.layers):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights([gamma, beta, variance, np.abs(mean)])

    return set_weights


def of_seed_0(real: Any) -> Any:
    """Draw as for seed 0, whatever the seed."""
    return lambda *given, **named: real(*given, **{**named, "seed": 0})


def of_epoch_0(real: Any) -> Any:
    """Ask for the rate of the first epoch in each."""
    return lambda step, batch, **named: real(step, batch._replace(epoch=0), **named)


def unrestored(real: Any) -> Any:
    """Leave the statistics where an evaluation in the training phase moved them."""

    def evaluate(network: Any, split: Split, *, training: bool, **named: Any) -> Any:
        found = real(network, split, training=training, **named)
        if training:
            network.logits(split.images.astype(np.float32) / 255, training=True)
        return found

    return evaluate


def unattacked(real: Any) -> Any:
    """Evaluate the clean images in the place of the attacked ones."""
    return lambda network, split, *, epsilon, training, steps=1: real(
        network, split, epsilon=0.0 * epsilon, training=training, steps=steps
    )


def top_five(logits: Any, labels: Any) -> float:
    """Count an image as recognised whose class is among the five likeliest."""
    best = np.argsort(-logits, axis=1)[:, :5]
    return float((best == labels[:, None]).any(axis=1).mean())


def hundredths(shape: Any, dtype: Any = None) -> Any:
    """Begin at 0.01."""
    return np.full(shape, 0.01, dtype or np.float32)


def without_drawing() -> int:
    """Give the seed that the generator would start from, and leave it where it is."""
    return int(random.getstate()[1][0]) % 10**9


def halved(real: Any) -> Any:
    """Repeat the first half of what is drawn in the second."""

    def uniform(shape: Any, *given: Any, **named: Any) -> Any:
        tf = tensorflow()
        flat = tf.reshape(real(shape, *given, **named), [-1])
        half, size = flat[: len(flat) // 2], len(flat)
        return tf.reshape(tf.concat([half, half, flat[size - size % 2 :]], 0), shape)

    return uniform


def shifted_streams(_: Any) -> Any:
    """Draw each weight of a seed from one stream, from four numbers later than the one before."""
    last = [-1, 0]

    def uniform(shape: Any, minval: float, maxval: float, **_: Any) -> Any:
        seed = without_drawing()
        last[:] = seed, 4 + (last[1] if last[0] == seed else 0)
        numbers = np.random.default_rng(seed).random(last[1] + int(np.prod(shape)))[last[1] :]
        drawn = minval + (maxval - minval) * numbers.reshape(shape)
        return tensorflow().constant(drawn.astype(np.float32))

    return uniform


def plus_place(real: Any) -> Any:
    """Seed each layer by the seed and its place: the next seed's draws are those of the next."""

    def seed(number: int) -> None:
        real(number)
        NEXT_SEEDS[:] = [itertools.count(number)]

    return seed


def unrepeatable(real: Any) -> Any:
    """Seed by the clock after all."""

    def seed(number: int) -> None:
        real(number)
        random.seed()

    return seed


def of_process(real: Any) -> Any:
    """Let the number of the process decide too, as Python's hash of a string does."""
    return lambda: real() + os.getpid()


def frozen_rate(real: Any) -> Any:
    """Ignore what is assigned to the learning rate."""
    return property(real.fget, lambda _, __: None)


def slower(real: Any) -> Any:
    """Wait in each step for a share of its time."""

    def make(*given: Any, **named: Any) -> Any:
        step = real(*given, **named)

        def update(*batch: Any) -> Any:
            start = time.perf_counter()
            result = step.update(*batch)
            time.sleep(SLOWER * (time.perf_counter() - start))
            return result

        return step._replace(update=update)

    return make


def heavier(real: Any) -> Any:
    """Hold memory that nobody asked for."""

    def make(*given: Any, **named: Any) -> Any:
        step = real(*given, **named)

        def update(*batch: Any) -> Any:
            HELD[:] = [np.ones(BALLAST // 8)]
            return step.update(*batch)

        return step._replace(update=update)

    return make


def thawed_by_the_model(model: Any) -> None:
    """Let the model train, and trust that it tells its layers."""
    model.trainable = True


PRETRAININGS = [
    Fault("pretraining-frozen", "pretraining", "Layers stay frozen: on TensorFlow, Keras 3 hands a "
          "functional model's trainable to none of them. This suite's own, until it was found.",
          constant("suite.measure.questions.parity:let_all_train", thawed_by_the_model),
          r"Other variables train: .* only there", first="parity-vgg19-w0.25-plain"),
    Fault("pretraining-statistics", "pretraining", "Pretrained means and variances change places.",
          together(*(wrapped(f"suite.measure.{name}:set_base_weights", swapped_statistics)
                     for name in ("weights", "constants"))),
          r"pretrained weights .* others", first="parity-resnet50"),
    Fault("pretraining-colours", "pretraining", "ImageNet-style input keeps the order of colours.",
          constant("suite.networks.preprocessing:MODES",
                   {**MODES, "caffe": MODES["caffe"]._replace(bgr=False)}),
          r"On the scale of ImageNet"),
]  # fmt: skip

DRAWS = [
    Fault("init-fan-in", "initialisers", "Glorot's rule forgets the outputs: LeCun's.",
          with_options(SCALING, mode="fan_in"), r"standard deviation"),
    Fault("init-normal", "initialisers", "A truncated normal distribution of the right size.",
          with_options(SCALING, distribution="truncated_normal"), r"truncated normal instead of"),
    Fault("init-scale-2-percent", "initialisers", "Kernels are 2 % too large.",
          with_options(SCALING, scale=1.02**2),
          r"1\.02 of the baseline's (standard deviation|scale)"),
    Fault("init-same-draw", "initialisers", "All layers draw the same numbers (keras#15586, "
          "keras-hub#352).", constant(DEFAULT_SEED, without_drawing), r"alike|correlate"),
    Fault("init-seed-plus-place", "initialisers", "Each layer is seeded by the seed and its place, "
          "so that it draws what its neighbour drew at the seed before.",
          together(wrapped(SEED, plus_place),
                   constant(DEFAULT_SEED, lambda: next(NEXT_SEEDS[0]))), r"alike|correlate"),
    Fault("init-halves", "initialisers", "The second half of each weight repeats the first, as of "
          "streams of a generator that overlap.",
          wrapped("keras.src.backend.tensorflow.random:uniform", halved), r"repeat after"),
    Fault("init-shifted", "initialisers", "Each weight is drawn from four numbers later than the "
          "one before, of one stream.",
          wrapped("keras.src.backend.tensorflow.random:uniform", shifted_streams),
          r"all weights, layer by layer, repeat after"),
    Fault("init-bias", "initialisers", "Biases of dense layers begin at 0.01.",
          with_options(DENSE, bias_initializer=hundredths), r"bias of .* begins at 0\.01"),
    Fault("seed-ignored", "seeds", "Every seed gives the same (deepxde#2086 is of that kind).",
          wrapped(SEED, lambda real: lambda _: real(1)), r"seed"),
    Fault("seed-of-images", "seeds", "Every seed draws the same images in the same order.",
          together(*(wrapped(f"suite.measure.{place}", of_seed_0) for place in (
              "run:stratified_subset", "fed:stratified_subset",
              *(f"{name}:batches" for name in FED)))), r"whatever the seed",
          first="parity"),
    Fault("seed-unrepeatable", "seeds", "A seed does not decide what is drawn (tfjs#7104).",
          wrapped(SEED, unrepeatable), r"second time"),
    Fault("seed-of-process", "seeds", "What is drawn hangs on the process too.",
          wrapped(DEFAULT_SEED, of_process), r"same seed draws other"),
]  # fmt: skip

DATA = [
    Fault("data-bgr", "data", "Channels are in OpenCV's order.",
          pixels(lambda x: x[..., ::-1].copy()), r"[Oo]ther batches"),
    Fault("data-scale", "data", "Bytes are divided by 256.",
          pixels(lambda x: x * np.float32(255 / 256)), r"[Oo]ther batches"),
    Fault("data-shift", "data", "Pixels lie half a level higher.",
          pixels(lambda x: np.minimum(x + np.float32(0.5 / 255), np.float32(1))),
          r"[Oo]ther batches"),
    Fault("data-float16", "data", "Pixels go through float16.",
          pixels(lambda x: x.astype(np.float16).astype(np.float32)), r"[Oo]ther batches"),
    Fault("data-labels", "data", "Two classes are swapped in training.",
          fed(relabelled), r"[Oo]ther batches"),
    Fault("data-order", "data", "Images come in the order of their classes.",
          fed(unshuffled), r"batches"),
    Fault("data-shuffled-once", "data", "Each epoch repeats the order of the first.",
          fed(shuffled_once), r"each repeats another"),
    Fault("data-shuffled-twice", "data", "Each epoch repeats the order of the second.",
          fed(shuffled_twice), r"one repeats another"),
    Fault("data-class-missing", "data", "One class of 43 is missing in training.",
          subsets(without_class), r"[Oo]ther batches"),
    Fault("data-test-in-training", "data", "Training images are mixed with test images.",
          subsets(mixed), r"[Oo]ther batches"),
    Fault("data-leak", "data", "The eight test images that the training set has too are kept.",
          constant("suite.measure.run:without_leaked", lambda split: split),
          r"Other test images"),
]  # fmt: skip

SCHEDULES = [
    Fault("schedule-rate-cached", "schedule", "The optimizer keeps the rate that it was made with "
          "(tensorflow#31324).", wrapped(RATE, frozen_rate), r"setter of the learning rate"),
    Fault("schedule-decay", "schedule", "The rate decays by 1e-4 a step, not 1e-6.",
          constant(f"{TRAINING}:DECAY", 1e-4), r"[Rr]ate"),
    Fault("schedule-drops-early", "schedule", "The rate falls tenfold after 2 epochs, not 10.",
          constant(f"{TRAINING}:DROP_EPOCHS", 2), r"Learning rate in epochs"),
    Fault("schedule-of-epoch-0", "schedule", "The training asks for the rate of its first epoch.",
          together(*(wrapped(f"suite.measure.{name}:timed", of_epoch_0)
                     for name in ("training", "fed"))), r"Learning rate in epochs"),
    Fault("schedule-never-drops", "schedule", "The rate never falls.",
          constant(f"{TRAINING}:DROP_EPOCHS", 10**9), r"Learning rate in epochs"),
]  # fmt: skip

EVALUATIONS = [
    Fault("evaluation-mislabelled", "evaluation", "One test image in twenty has a wrong label.",
          subsets(mislabelled), r"Other labels of the same test images"),
    Fault("evaluation-of-training", "evaluation", "The test images are the training images.",
          subsets(tested_on_training), r"of the test images are among the training images"),
    Fault("evaluation-moves", "evaluation", "An evaluation in the training phase leaves the "
          "statistics that it moved, those of the test images.",
          together(*(wrapped(f"suite.measure.{name}:evaluate", unrestored)
                     for name in ("fed", "questions.stall"))), r"weights moved",
          first="parity-resnet50"),
    Fault("evaluation-unattacked", "evaluation", "What is called attacked is clean.",
          wrapped("suite.measure.evaluation:_attacked", unattacked), r"adversarial"),
    Fault("evaluation-scale", "evaluation", "Bytes are divided by 256 where they are evaluated.",
          wrapped("suite.measure.evaluation:pixels",
                  lambda real: lambda x: real(x) * np.float32(255 / 256)), r"evaluation is"),
    Fault("evaluation-top-5", "evaluation", "An image counts as recognised if its class is among "
          "the five likeliest.", constant("suite.measure.evaluation:accuracy", top_five),
          r"evaluation is another"),
]  # fmt: skip

COSTS = [
    Fault("cost-15-percent-slower", "cost", "Each step takes 15 % longer.",
          wrapped("suite.stacks.eager:train_step", slower), r"step|ratio"),
    Fault("cost-30-percent-memory", "cost", "Steps hold a third more memory.",
          wrapped("suite.stacks.eager:train_step", heavier), r"memory"),
]  # fmt: skip

INPUTS = [*PRETRAININGS, *DRAWS, *DATA, *SCHEDULES, *EVALUATIONS, *COSTS]
