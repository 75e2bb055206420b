"""What a public report is here: a network as its author has it, its data, and the right answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.networks.types import Keras, Model
from tests.diagnose.kept import keep, restore

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

FOLDER = Path(__file__).parent / "data"
CLASSES, SIDE_PX = 10, 16


class Data(NamedTuple):
    """Images with their labels.

    Attributes:
        images: ``(n, 16, 16, 3)`` float32, in [0, 1] unless a report says otherwise.
        labels: ``(n,)`` int64, or one a pixel.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


if TYPE_CHECKING:
    Build: TypeAlias = Callable[[Keras], Model]
    Train: TypeAlias = Callable[[Keras, Data], Model]
    Use: TypeAlias = Callable[[Data], Data]
    Follow: TypeAlias = Callable[["Case"], "tuple[Model, Data]"]


class Case(NamedTuple):
    """A report rebuilt, for its advice to be followed.

    Attributes:
        keras: The Keras of the model.
        model: As the report's author has it.
        data: What it is used on.
        training: What it was trained on, fed as the author feeds it.
        plain: The training images in [0, 1], with their own labels.
        found: The diagnosis.
    """

    keras: Keras
    model: Model
    data: Data
    training: Data
    plain: Data
    found: Any


def as_given(data: Data) -> Data:
    """Use the images as they are: in [0, 1], with their labels."""
    return data


class Report(NamedTuple):
    """One public report, rebuilt small.

    Attributes:
        name: Of the file of its weights.
        address: Of the thread.
        symptom: What its author saw.
        cause: What the thread found.
        build: Makes the network, compiled as the author has it.
        train: Trains it until it shows the symptom, on signs of ten classes.
        follow: Follows the advice; gives the network and the data after it.
        words: Patterns that a right answer has, in its cause or its words.
        verdicts: That are right.
        use: Makes of images in [0, 1] and their labels what the network is used on.
        trained_on: The same of what it was trained on.
        weights: The report whose weights it shares; "" for its own.
        batch_size: The author's.
        wrong: Patterns that no right answer has.
        measure: Of what the report lost: a key of `nets.MEASURES`.
    """

    name: str
    address: str
    symptom: str
    cause: str
    build: Build
    train: Train
    follow: Follow
    words: tuple[str, ...]
    verdicts: tuple[str, ...]
    use: Use = as_given
    trained_on: Use = as_given
    weights: str = ""
    batch_size: int = 32
    wrong: tuple[str, ...] = ()
    measure: str = "accuracy"

    def __str__(self) -> str:
        return self.name


def sample() -> Data:
    """Read the 256 stored signs."""
    with np.load(FOLDER / "signs.npz") as stored:
        return Data(stored["images"].astype(np.float32) / 255, stored["labels"].astype(np.int64))


def stored(report: Report, keras: Keras) -> Model:
    """Rebuild the network of a report with its stored weights, after as many steps."""
    return restore(FOLDER / f"{report.weights or report.name}.npz", report.build(keras))


def store(report: Report, model: Model) -> None:
    """Keep the weights of a trained network and how many steps it made."""
    keep(FOLDER / f"{report.name}.npz", model)
