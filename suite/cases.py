"""The case: what is trained or measured, under which loss, phases and fix, in which size."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from suite.files import probing_digest
from suite.networks import resnet50
from suite.networks.architectures import ARCHITECTURES
from suite.networks.fixes import require_fix
from suite.networks.phases import GRID, PHASES, Phases

DATA = ("gtsrb", "synthetic")
SEED_DIGITS = 9  # all of them are seeds that NumPy and every framework take
PLAIN = "plain"
"""Name of the plain cross-entropy; every other loss is named after the phases of its passes."""

NAMES = {
    "training": "{net}-{case.loss}{fix}",
    "fixes": "{net}-{case.loss}-{case.fix}-b{case.batch_size}-lr{case.learning_rate:g}"
    "-{case.size_px}px",
    "attack": "attack-{net}",
    "step-time": "step-time-{net}",
    "parity": "parity-{net}-{case.loss}",
    "random": "random-{net}",
    "traps": "traps",
}
"""How the cases of each question are named."""

TRACED = ("parity", "random")
"""How the names of the cases begin that the gate alone judges, by one seed: its steps and draws."""

PROBED = (*TRACED, "traps")
"""The questions that `suite.files.PROBING` answers. The names of their cases begin so too, and
`compare` holds them against no baseline."""

QUESTIONS = tuple(NAMES)
"""What is done with a case: train and evaluate its model; the same, and find out what its fix is
worth; attack the untrained model; time its steps; trace them; describe what is drawn at random; or
observe the calls that differ between releases."""


@dataclass(frozen=True)
class Case:
    """One row: a model, a loss and a fix on some data.

    Attributes:
        architecture: A key of `suite.networks.architectures.ARCHITECTURES`.
        loss: ``"plain"``, or the row of `PHASES` or `GRID` that the adversarial loss runs under.
        fix: A key of `suite.networks.fixes.FIXES`, or another momentum; "none" is the control.
        question: One of `QUESTIONS`.
        epsilon: FGSM step in the max norm; pixels are in [0, 1].
        learning_rate: The rate of the first ten epochs; the published schedule then lowers it.
        batch_size: Images per step.
        epochs: Passes over the training images.
        train_images: Size of the seeded training subset; None takes all.
        test_images: Size of the seeded test subset; None takes all.
        size_px: Side of the square images, in pixels.
        width: Multiplies channels and hidden units; 1 is the published size.
        blocks: Bottleneck blocks of ResNet-50's four stages.
        weights: "random", "imagenet", "photographs", "surrogate", or "states" (those of
            `suite.measure.states`, for parity alone).
        pretraining_steps: Steps of the surrogate's pretraining.
        data: "gtsrb" or "synthetic".

    Raises:
        ValueError: If a field is outside its range or names no row.
    """

    architecture: str
    loss: str = "intended"
    fix: str = "none"
    question: str = "training"
    epsilon: float = 0.01
    learning_rate: float = 0.001
    batch_size: int = 32
    epochs: int = 10
    train_images: int | None = None
    test_images: int | None = None
    size_px: int = 64
    width: float = 1.0
    blocks: tuple[int, ...] = resnet50.BLOCKS
    weights: str = "random"
    pretraining_steps: int = 0
    data: str = "gtsrb"

    def __post_init__(self) -> None:
        self._check_names()
        self._check_numbers()
        self._check_weights()

    def _check_names(self) -> None:
        require("architecture", self.architecture, ARCHITECTURES)
        require("loss", self.loss, (PLAIN, *PHASES, *GRID))
        require_fix(self.fix)
        require("question", self.question, QUESTIONS)
        require("data", self.data, DATA)

    def _check_numbers(self) -> None:
        for name in ("batch_size", "epochs", "size_px", "width", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive. Received: {getattr(self, name)}")
        if not 0 <= self.epsilon <= 1:
            raise ValueError(f"epsilon must be in [0, 1]. Received: {self.epsilon}")
        for name in ("train_images", "test_images"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name} must be positive, or None for all. Received: {count}")
        if len(self.blocks) != len(resnet50.BLOCKS) or min(self.blocks) < 1:
            raise ValueError(f"blocks must be four positive numbers. Received: {self.blocks}")

    def _check_weights(self) -> None:
        """Refuse weights that the architecture cannot take and would silently do without."""
        published = self.width == 1 and self.blocks == resnet50.BLOCKS
        row = ARCHITECTURES[self.architecture]
        there = {
            "random": True,
            "surrogate": True,
            "states": self.question == "parity",
            "imagenet": published and row.imagenet,
            "photographs": published and row.photographs,
        }
        if not there.get(self.weights):
            raise ValueError(
                f"weights must be one of {', '.join(name for name in there if there[name])} for "
                f"this {self.net}. Received: {self.weights}"
            )
        if (self.weights == "surrogate") != (self.pretraining_steps > 0):
            raise ValueError(
                "pretraining_steps must be positive for surrogate weights and 0 for others. "
                f"Received: {self.pretraining_steps}"
            )

    def __str__(self) -> str:
        """Name the case by the fields that distinguish it from the others of its question."""
        fix = "" if (self.loss, self.fix) == (PLAIN, "none") else f"-{self.fix}"
        return NAMES[self.question].format(case=self, net=self.net, fix=fix)

    @property
    def net(self) -> str:
        """The name of the network: its architecture, and its width if it is not the published."""
        return self.architecture if self.width == 1 else f"{self.architecture}-w{self.width:g}"

    @property
    def phases(self) -> Phases | None:
        """The phases of the adversarial loss; None under the plain loss."""
        return None if self.loss == PLAIN else {**GRID, **PHASES}[self.loss]

    def settings(self) -> dict[str, Any]:
        """List every field that decides the run, as JSON values."""
        phases = self.phases and list(self.phases)
        return {**asdict(self), "blocks": list(self.blocks), "phases": phases}


def require_settings(settings: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuse settings, as of a record, whose `names` hold what no case has.

    Raises:
        ValueError: If one is missing, or is none that a case can have.
    """
    try:
        Case(**{name: settings[name] for name in names})
    except KeyError as error:
        raise ValueError(f"settings must have {error}. Received: {', '.join(settings)}") from error
    except TypeError as error:
        raise ValueError(f"settings must be a case's. Received: {error}") from error


def has_baseline(case: str) -> bool:
    """True where the name of a case tells that `compare` judges it by a baseline."""
    return not case.startswith(PROBED)


def probe_digest(question: str) -> dict[str, str]:
    """Compute what the environment of a record states of the code that probes; else nothing.

    Raises:
        RecordError: If a source cannot be read.
    """
    return {"probe_digest": probing_digest()} if question in PROBED else {}


def read_seeds(text: str) -> list[int]:
    """Read the seeds that an option names, such as ``0,1,2``.

    Raises:
        ArgumentTypeError: If they are none.
    """
    numbers = text.split(",")
    if not all(number.isdecimal() and len(number) <= SEED_DIGITS for number in numbers):
        raise ArgumentTypeError(f"must be numbers, such as 0,1,2. Received: {text:.80}")
    return [int(number) for number in numbers]


def require(name: str, value: str, rows: Collection[str]) -> None:
    """Refuse a `value` that is none of the `rows`, with a list of them.

    Raises:
        ValueError: If it is not.
    """
    if value not in rows:
        raise ValueError(f"{name} must be one of {', '.join(rows)}. Received: {value}")
