"""Traces of a training that takes place on paper, with differences planted in them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from suite.judge.parity.compare import Comparison, compare_traces
from suite.measure.summaries import PROJECTIONS, Entry, summarised
from suite.records import Record

if TYPE_CHECKING:
    from typing import TypeAlias

MakeRecord: TypeAlias = "Callable[..., Record]"
Make: TypeAlias = "Callable[..., Record]"
Against: TypeAlias = "Callable[..., Comparison]"

STEPS = 5
LAYERS = ("first_bn", "second_bn")
WEIGHTS = (("conv", "kernel"), ("conv", "bias"), ("first_bn", "gamma"), ("logits", "kernel"))
SHAPES = {"kernel": (40, 6), "bias": (6,), "gamma": (6,)}
IMAGES, POSITIONS = 16, 2
RATES = [0.1] * (STEPS - 1) + [0.05]
KERAS_3 = {"keras": "3.15.1", "tensorflow": "2.21.0"}
KERAS_2 = {"keras": "2.15.0", "tensorflow": "2.15.1"}
EVALUATION: Mapping[str, float] = MappingProxyType(
    {
        "information_gain": 2.0,
        "adversarial_information_gain": 1.0,
        "clean_accuracy": 0.75,
        "adversarial_accuracy": 0.5,
        "training_phase_information_gain": 1.5,
        "weights_moved": 0.0,
    }
)
GRAPH = {"keras": "2.2.4-tf", "tensorflow": "1.14.0"}


class Planted(NamedTuple):
    """What may be planted in a training on paper; the defaults are honest.

    Attributes:
        set_momentum: Momentum of BatchNorm, as it is set.
        momentum: Momentum of BatchNorm, as it is observed.
        bn_epsilon: Epsilon of BatchNorm.
        narrow: Its factor in the training phase.
        updates: Updates of the moving statistics a step.
        correction: How often the variance is multiplied by n / (n - 1).
        epsilon: Largest change of a pixel by the attack.
        elsewhere: Share of the pixels that the attack moves to the other side.
        rate: Factor of the learning rate.
        sgd: Momentum of SGD.
        nesterov: True for Nesterov's momentum.
        late_rate: True where the rate multiplies the momentum, and is no part of it.
        decay: Share of the weights that each update takes away, in units of the learning rate.
        clean_share: Weight of the clean cross-entropy in the loss.
        wrong_pass: Nats by which the adversarial pass is off.
        wrong_from: The first step at which it is.
        steeper: Factor of the gradient of one kernel.
        other_start: Deviation of the initial weights of the logits.
        order: Digests of the batches.
        epochs: Digests of the order of the epochs.
        batches: Sizes of the batches of two and a half of them.
        drawn: Digests of what two other seeds draw.
        labels: A word for the labels.
        pixels: A word for the pixels.
        moved: How far the attack moves a pixel on average, in units of epsilon.
        skipped: Images at the end of the batch that the attack leaves out.
        test_images: How many images there are to evaluate on.
        tested: Words for their pixels and their labels.
        leaked: How many of them are training images.
        noise: Relative rounding of every array.
        drop: Factor of the learning rate after ten epochs.
        forward: Relative error of the second layer's batch.
        unordered: Share of the gradient before that is traced with each, and not applied.
        turned: Size of what is added at random to the gradient of one kernel at step 0.
        probed: How far the optimizer, tried alone, moves a weight.
        set_rate: The learning rate that it holds after Keras' own setter; None in a graph.
        late: Where a weight stands after the 128,000th step; None in a graph.
        sure: Share of the loss of an image that is wrong for sure.
        reach: Largest change of a pixel by an attack of several steps, in units of epsilon.
        lost: How many pretrained weights are others once they are set.
        evaluated: Numbers of the evaluation that are others.
        miscounted: Images more that the adversarial pass calls recognised.
        alike: Whether the attack moves each image as the first.
        bias_sgd: Momentum of the biases, where it is another.
    """

    set_momentum: float = 0.99
    momentum: float = 0.99
    bn_epsilon: float = 1e-3
    narrow: float = 1.0
    updates: int = 1
    correction: int = 0
    epsilon: float = 0.01
    elsewhere: float = 0.0
    rate: float = 1.0
    sgd: float = 0.9
    nesterov: bool = True
    late_rate: bool = False
    decay: float = 0.0
    clean_share: float = 0.5
    wrong_pass: float = 0.0
    wrong_from: int = 0
    steeper: float = 1.0
    other_start: float = 0.0
    order: tuple[int, ...] = tuple(range(STEPS))
    epochs: tuple[str, ...] = ("first", "second")
    batches: tuple[int, ...] = (32, 32)
    drawn: tuple[str, ...] = ("of 1", "of 2")
    labels: str = "right"
    pixels: str = "RGB"
    moved: float = 1.0
    skipped: int = 0
    test_images: int = 100
    tested: tuple[str, str] = ("pixels", "labels")
    leaked: int = 0
    noise: float = 0.0
    drop: float = 0.1
    forward: float = 0.0
    unordered: float = 0.0
    turned: float = 0.0
    sure: float = 1.0
    reach: float = 1.0
    lost: int = 0
    probed: tuple[float, ...] = (0.95, 0.4, 3.6, 8e-4)
    set_rate: float | None = 0.25
    late: float | None = 5e-4
    evaluated: Mapping[str, float] = MappingProxyType({})
    miscounted: int = 0
    alike: bool = False
    bias_sgd: float | None = None


def paper_trace(**planted: Any) -> list[Entry]:
    """Trace a training that takes place on paper, one array after the other."""
    paper = Paper(Planted(**planted))
    paper.start()
    for step in range(STEPS):
        paper.train(step)
    return paper.entries


class Paper:
    """A training on paper: random batches, statistics, losses and gradients, real updates."""

    def __init__(self, planted: Planted) -> None:
        self.planted = planted
        self.entries: list[Entry] = []
        self.rng, self.errors = np.random.default_rng(0), np.random.default_rng(1)
        self.weights = {w: self.rng.normal(size=SHAPES[w[1]]) for w in WEIGHTS}
        self.weights["logits", "kernel"] += planted.other_start * self.rng.normal(size=(40, 6))
        self.moving = {x: [self.rng.normal(size=6), self.rng.uniform(1, 2, 6)] for x in LAYERS}
        self.velocity = {w: np.zeros(SHAPES[w[1]]) for w in WEIGHTS}
        self.slopes = dict(self.velocity)

    def add(self, step: int, quantity: str, layer: str, array: Any, weight: str = "") -> None:
        """Trace an array, rounded."""
        array = array * (1 + self.planted.noise * self.errors.normal(size=array.shape))
        self.entries.append({"step": step, **summarised(quantity, layer, array, weight=weight)})

    def number(self, step: int, quantity: str, layer: str = "", **values: Any) -> None:
        """Trace numbers as they are."""
        self.entries.append({"step": step, "quantity": quantity, "layer": layer, **values})

    def start(self) -> None:
        """Trace the data, the constants of optimizer and BatchNorm, and the initial weights."""
        planted = self.planted
        told = {
            "training_images": [64, planted.pixels, planted.labels],
            "epochs": [f"{planted.pixels} of {epoch}" for epoch in planted.epochs],
            "labels": [f"{planted.labels} of {epoch}" for epoch in planted.epochs],
            "test_images": [planted.test_images, *planted.tested],
            "leaked": planted.leaked,
            "batches": planted.batches,
            "seeds": planted.drawn,
        }
        self.number(0, "data", digest=str(told), **told)
        rates = [1.0, 1.0, planted.drop, planted.drop**2]
        self.number(0, "schedule", digest=str(rates), rates=rates)
        probed = {"moved": list(planted.probed), "late": planted.late, "rate": planted.set_rate}
        self.number(0, "optimizer", sure=planted.sure, **probed)
        several = {"start": 0.577, "again": False, "least": 1.0, "largest": planted.reach}
        several.update({"alike": 0.004, "two": 1.0, "stride": 0.25, "outside": 0.0})
        self.number(0, "several steps", **several)
        self.number(0, "start", colours=[-103.939, 151.061], lost=planted.lost)
        told = {"images": 64, "shown": " ".join(planted.tested), **EVALUATION, **planted.evaluated}
        self.number(0, "evaluation", **told)
        for layer in LAYERS:
            self.number(
                0, "batch norm", layer, dimensions=4, positions=POSITIONS,
                momentum=planted.set_momentum, observed_momentum=planted.momentum,
                epsilon=planted.bn_epsilon, observed_epsilon=planted.bn_epsilon,
                observed_training_epsilon=planted.bn_epsilon * planted.narrow,
                observed_correction=planted.correction * 1.00001,
            )  # fmt: skip
        for (layer, name), array in self.weights.items():
            self.entries.append(
                {"step": 0, **summarised("initial weight", layer, array, weight=name)}
            )

    def train(self, step: int) -> None:
        """Trace one step, cause before effect."""
        labels = f"{self.planted.order[step]}{self.planted.labels}"
        pixels = f"{self.planted.order[step]}{self.planted.pixels}"
        told = {"digest": pixels + labels, "pixels": pixels, "labels": labels}
        self.number(step, "batch", **told, images=IMAGES, learning_rate=RATES[step])
        changes = [change for layer in LAYERS for change in self.normalise(step, layer)]
        self.attack(step)
        clean, adversarial = 3 + self.rng.random(), 4 + self.rng.random()
        self.number(
            step, "replay", clean_ce=clean, unperturbed_ce=3.5, adversarial_ce=adversarial,
            clean_accuracy=0.25, adversarial_accuracy=0.125,
        )  # fmt: skip
        for layer, change, name in changes:
            self.add(step, "change", layer, change, name)
        wrong = self.planted.wrong_pass if step >= self.planted.wrong_from else 0.0
        self.lose(step, clean, adversarial + wrong)
        self.descend(step)

    def normalise(self, step: int, layer: str) -> list[tuple[str, np.ndarray, str]]:
        """Trace a layer's batch, and return how its moving statistics change."""
        wrong = 1 + self.planted.forward * (layer == "second_bn")
        n = IMAGES * POSITIONS
        batch = [
            wrong * self.rng.normal(size=6),
            wrong * self.rng.uniform(1, 3, 6) * (n / (n - 1)) ** self.planted.correction,
        ]
        share, changes = 1 - self.planted.momentum**self.planted.updates, []
        for index, kind in enumerate(("mean", "variance")):
            distance = batch[index] - self.moving[layer][index]
            self.add(step, f"batch {kind}", layer, batch[index])
            self.add(step, f"{kind} distance", layer, distance)
            changes.append((layer, share * distance, f"moving_{kind}"))
            self.moving[layer][index] = self.moving[layer][index] + share * distance
        return changes

    def attack(self, step: int) -> None:
        """Trace logits and a perturbation."""
        self.add(step, "inference logits", "", self.rng.normal(size=(IMAGES, 5)))
        signs = self.rng.random(800) < 0.5
        signs ^= self.errors.random(800) < self.planted.elsewhere
        if self.planted.alike:
            signs = np.tile(signs[: len(signs) // IMAGES], IMAGES)
        signs[len(signs) - self.planted.skipped * len(signs) // IMAGES :] = False
        bits = base64.b64encode(np.packbits(signs).tobytes()).decode()
        epsilon = self.planted.epsilon
        told = {"largest": epsilon, "mean": self.planted.moved * epsilon, "signs": bits}
        self.number(step, "perturbation", **told)

    def lose(self, step: int, clean: float, adversarial: float) -> None:
        """Trace both cross-entropies, the loss and both accuracies."""
        share = self.planted.clean_share
        self.number(step, "clean_ce", value=clean)
        self.number(step, "adversarial_ce", value=adversarial)
        self.number(step, "loss", value=share * clean + (1 - share) * adversarial)
        self.number(step, "clean_accuracy", value=0.25)
        accuracy = 0.125 + self.planted.miscounted / IMAGES
        self.number(step, "adversarial_accuracy", value=accuracy)

    def descend(self, step: int) -> None:
        """Trace the gradients and the updates that SGD makes of them."""
        planted = self.planted
        slopes = {w: self.rng.normal(size=SHAPES[w[1]]) for w in WEIGHTS}
        slopes["conv", "kernel"] *= planted.steeper
        if step == 0:
            slopes["conv", "kernel"] += planted.turned * self.errors.normal(size=(40, 6))
        for (layer, name), slope in reversed(slopes.items()):
            apart = planted.unordered * self.slopes[layer, name]
            self.add(step, "gradient", layer, slope + apart, name)
        self.slopes = slopes
        fallen = RATES[step] / RATES[max(step - 1, 0)] if planted.late_rate else 1.0
        for place, slope in slopes.items():
            pull = planted.rate * RATES[step] * (slope + planted.decay * self.weights[place])
            other = place[1] == "bias" and planted.bias_sgd is not None
            sgd = planted.bias_sgd if other else planted.sgd
            self.velocity[place] = fallen * sgd * self.velocity[place] - pull
            ahead = sgd * self.velocity[place] - pull
            change = ahead if planted.nesterov else self.velocity[place]
            self.weights[place] = self.weights[place] + change
            self.add(step, "change", place[0], change, place[1])


@pytest.fixture
def make(make_record: MakeRecord) -> Make:
    """Return a function that makes the record of a training on paper."""

    def made(
        release: str = "tf-2.15",
        versions: dict[str, str] = KERAS_3,
        stack: str | None = None,
        **planted: Any,
    ) -> Record:
        named = {"stack": stack} if stack else {}
        return make_record(
            case="parity-net", release=release, question="parity",
            settings={"phases": ["training", "inference", "inference"]},
            environment={"versions": versions, **named}, statistics=paper_trace(**planted),
        )  # fmt: skip

    return made


@pytest.fixture
def against(make: Make) -> Against:
    """Return a function that compares a training with a planted difference with an honest one."""
    return lambda **planted: compare_traces(make(**planted), make("tf-2.21"))


def with_entries(record: Record, change: Callable[[Entry], Any]) -> Record:
    """Copy a record, and change the copies of its entries in place."""
    entries = [dict(entry) for entry in record.statistics]
    for entry in entries:
        change(entry)
    return replace(record, statistics=entries)


def with_nan(record: Record, is_broken: Callable[[Entry], bool]) -> Record:
    """Copy a record, with NaN in the entries that are broken."""

    def breaks(entry: Entry) -> None:
        if is_broken(entry):
            nan = float("nan")
            entry.update({name: nan for name in ("rms", "value") if name in entry})
            if "projections" in entry:
                entry["projections"] = [nan] * PROJECTIONS

    return with_entries(record, breaks)
