"""Reports of heads, losses and labels that do not fit each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from suite.diagnose.found import CONSTANT, OTHER
from suite.networks.types import Keras, Model
from tests.diagnose.reports import follow
from tests.diagnose.reports.inputs import train as train_plain
from tests.diagnose.reports.nets import compiled, fit, plain, signs
from tests.diagnose.reports.report import CLASSES, Case, Data, Report, sample

WHOLE, RARE, MISSING = 700, 8, 3  # steps; images of the rare class; the class never shown


def named_loss(keras: Keras) -> Model:
    """End in logits, with a loss that expects probabilities."""
    loss = "sparse_categorical_crossentropy"
    return compiled(keras, signs(keras), loss=loss)


def default_loss(keras: Keras) -> Model:
    """The same without BatchNorm, the loss as an object with its defaults."""
    loss = keras.losses.SparseCategoricalCrossentropy()
    return compiled(keras, signs(keras, norm=None), loss=loss)


def from_logits(keras: Keras) -> Model:
    return compiled(keras, signs(keras, norm=None))


def one_softmax(keras: Keras) -> Model:
    """End in a softmax over one unit, which is 1."""
    head = signs(keras, units=1, activation="softmax")
    return compiled(keras, head, loss="binary_crossentropy")


def trained(build: Callable[[Keras], Model], use: Any, steps: int = WHOLE) -> Any:
    """Make what trains a network on what `use` makes of the images."""

    def train(keras: Keras, data: Data) -> Model:
        return fit(build(keras), use(data), steps=steps)

    return train


def same(data: Data) -> Data:
    return data


def halves(data: Data) -> Data:
    """Tell the first five classes from the others."""
    return Data(data.images, (data.labels >= CLASSES // 2).astype(np.int64))


def unbalanced(data: Data) -> Data:
    """Take 31 images of all classes but one for each of that one."""
    ones = np.flatnonzero(data.labels == 0)
    zeros = np.flatnonzero(data.labels != 0)
    rows = np.sort(np.concatenate([zeros, ones[: max(RARE, len(zeros) // 31)]]))
    return Data(data.images[rows], (data.labels[rows] == 0).astype(np.int64))


def two(keras: Keras) -> Model:
    """End in two logits."""
    return compiled(keras, signs(keras, units=2, norm=None), rate=0.0003)


def weighted(case: Case) -> tuple[Model, Data]:
    """Show both classes alike often, and train on."""
    rare = np.flatnonzero(case.training.labels == 1)
    common = np.flatnonzero(case.training.labels == 0)
    rows = np.concatenate([common, np.tile(rare, len(common) // len(rare))])
    rows = np.random.default_rng(0).permutation(rows)
    model = compiled(case.keras, signs(case.keras, units=2))
    return fit(model, Data(*(array[rows] for array in case.training)), steps=WHOLE), case.data


def exploding(keras: Keras) -> Model:
    """Learn without BatchNorm at a rate that kills every ReLU."""
    return compiled(keras, signs(keras, norm=None), rate=0.5)


def without_one(data: Data) -> Data:
    """Leave a class away."""
    rows = np.flatnonzero(data.labels != MISSING)
    return Data(data.images[rows], data.labels[rows])


def renamed(data: Data) -> Data:
    """Number the classes in another order."""
    return Data(data.images, np.random.default_rng(5).permutation(CLASSES)[data.labels])


def named_back(case: Case) -> tuple[Model, Data]:
    """Number the classes as in the training."""
    order = np.argsort(np.random.default_rng(5).permutation(CLASSES))
    return case.model, Data(case.data.images, order[case.data.labels])


def shuffled(data: Data) -> Data:
    """Pair the images of a generator that shuffles with the labels in the order of the files."""
    return Data(data.images, np.sort(data.labels))


def paired(case: Case) -> tuple[Model, Data]:
    """Give each image its own label."""
    return case.model, sample()


ROWS = (
    Report(
        name="logits-as-probabilities",
        address="https://github.com/keras-team/keras-hub/pull/1008",
        symptom="Does not converge.",
        cause="The loss expects probabilities, the last layer gives logits.",
        build=named_loss,
        train=trained(named_loss, same),
        follow=follow.its_code,
        verdicts=(OTHER,),
        words=("from_logits|softmax", "loss"),
    ),
    Report(
        name="loss-by-default",
        address="https://github.com/tensorflow/docs/pull/2102",
        symptom="An accuracy of .3, not far from a guess.",
        cause="The loss was made without from_logits=True; the last layer has no activation.",
        build=default_loss,
        train=trained(default_loss, same),
        follow=follow.its_code,
        verdicts=(OTHER,),
        words=("from_logits|softmax", "loss"),
    ),
    Report(
        name="softmax-of-one",
        address="https://stats.stackexchange.com/revisions/2bda6552-783b-4fb7-ba2b-a03d2266e69b/view-source",
        symptom="Every prediction is 1.",
        cause="Dense(1, softmax): one number divided by itself.",
        build=one_softmax,
        train=trained(one_softmax, halves, 100),
        follow=follow.its_code,
        verdicts=(OTHER, CONSTANT),
        words=("softmax", "sigmoid"),
        use=halves,
        trained_on=halves,
    ),
    Report(
        name="unbalanced",
        address="https://github.com/keras-team/keras/issues/2005",
        symptom="97 % right, and always the same class.",
        cause="One class has 31 times the images of the other.",
        build=two,
        train=trained(two, unbalanced, 60),
        follow=weighted,
        verdicts=(CONSTANT, OTHER),
        words=("balance|most frequent class|weight",),
        wrong=("label shuffle",),
        use=unbalanced,
        trained_on=unbalanced,
        measure="recall",
    ),
    Report(
        name="one-class",
        address="https://github.com/keras-team/keras/issues/2975",
        symptom="Always the same class, whatever the image.",
        cause="Weights that a learning rate far too high has driven off: nothing varies.",
        build=exploding,
        train=trained(exploding, same, 100),
        follow=follow.anew(from_logits, steps=2 * WHOLE),
        verdicts=(CONSTANT, "diverged"),
        words=("learning rate",),
        wrong=("label shuffle",),
    ),
    Report(
        name="class-never-predicted",
        address="https://github.com/keras-team/keras/issues/8346",
        symptom="A high accuracy, and one class is never predicted.",
        cause="Its images never reached the training.",
        build=plain,
        train=trained(plain, without_one),
        follow=follow.train_on,
        verdicts=(OTHER, CONSTANT),
        words=(rf"\b{MISSING}\b", "never predicted|dead"),
        trained_on=without_one,
        measure="recall",
    ),
    Report(
        name="classes-renamed",
        address="https://github.com/keras-team/keras/issues/6075",
        symptom="97 % right in training; each class is told as another one, always the same.",
        cause="The classes are in another order than in the training.",
        build=plain,
        train=train_plain,
        follow=named_back,
        verdicts=(OTHER,),
        words=("permut|order of the classes",),
        use=renamed,
        weights="fed-bytes",
    ),
    Report(
        name="generator-shuffles",
        address="https://github.com/keras-team/keras/issues/11427",
        symptom="evaluate gives a good accuracy, the confusion matrix is that of chance.",
        cause="The generator shuffles the images, and its labels are in the order of the files.",
        build=plain,
        train=train_plain,
        follow=paired,
        verdicts=(OTHER,),
        words=("label shuffle",),
        use=shuffled,
        weights="fed-bytes",
    ),
)
