"""A study: the records of one release by fix and loss, and the numbers made of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

from suite.cases import PLAIN
from suite.judge.bands import STALLED
from suite.records import Record

CONTROL = "none"
FEW_SEEDS = 5  # below this a row is flagged
LEVEL = 0.95  # of the prediction interval
SMOOTHED_STEPS = 10
TAIL = 4  # a record's gain of a branch is that of the last 1/4 of the steps
NOT_MEASURED = "not measured"
ABSENT = "-"


class Setup(NamedTuple):
    """What the claims vary.

    Attributes:
        architecture: A key of `suite.architectures.ARCHITECTURES`; its end names the head.
        batch_size: Images a step.
        learning_rate: Of the first epochs.
        size_px: Side of the images.
    """

    architecture: str
    batch_size: int
    learning_rate: float
    size_px: int

    def __str__(self) -> str:
        """Return all four in words."""
        rate = f"learning rate {self.learning_rate:g}"
        return f"{self.architecture}, batch {self.batch_size}, {rate}, {self.size_px} px"


class Study(NamedTuple):
    """What one release measured in one tier.

    Attributes:
        release: Its name.
        tier: One of `suite.cases.TIERS`.
        setup: The one under which the fixes are compared.
        records: All of them.
    """

    release: str
    tier: str
    setup: Setup
    records: tuple[Record, ...]

    def found(self, loss: str, fix: str = CONTROL, setup: Setup | None = None) -> list[Record]:
        """Return the records of one case, by seed; none if it was not measured."""
        wanted = (loss, fix, setup or self.setup)
        own = (r for r in self.records if (r.settings["loss"], r.settings["fix"]) == wanted[:2])
        return sorted((r for r in own if setup_of(r) == wanted[2]), key=lambda r: r.seed)


def setup_of(record: Record) -> Setup:
    """Return what the claims vary, of one record."""
    return Setup(*(record.settings[name] for name in Setup._fields))


def studies(records: Iterable[Record]) -> list[Study]:
    """Return the records of question "fixes" by release and tier, in the order they come in.

    The setup of a tier is the one with the most cases in it, over all releases.
    """
    own = [record for record in records if record.question == "fixes"]
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in own:
        groups.setdefault((record.release, record.tier), []).append(record)
    setups = {
        tier: _usual_setup([r for r in own if r.tier == tier]) for tier in {r.tier for r in own}
    }
    return [
        Study(release, tier, setups[tier], tuple(found))
        for (release, tier), found in groups.items()
    ]


def _usual_setup(records: Sequence[Record]) -> Setup:
    """Return the setup with the most cases, the first of several."""
    cases: dict[Setup, set[str]] = {}
    for record in records:
        cases.setdefault(setup_of(record), set()).add(record.case)
    return max(cases, key=lambda setup: len(cases[setup]))


def place(study: Study) -> str:
    """Return the release, and the tier where that is not the small study's."""
    return study.release if study.tier == "study" else f"{study.release} ({study.tier})"


def values(records: Iterable[Record], metric: str) -> list[float]:
    """Return a metric of all records that have it."""
    return [record.metrics[metric] for record in records if metric in record.metrics]


def steps_made(records: Iterable[Record]) -> list[int]:
    """Return how many steps each training made."""
    return [
        len(record.curves[branch(record)]) for record in records if branch(record) in record.curves
    ]


def stalls(records: Iterable[Record], metric: str) -> tuple[int, int]:
    """Return in how many records a gain stays low, and how many have it; NaN is not learning."""
    gains = values(records, metric)
    return sum(not gain >= STALLED for gain in gains), len(gains)


def counted(count: int, total: int) -> str:
    """Return ``k/n``."""
    return f"{count}/{total}" if total else ABSENT


def spread(found: Sequence[float], *, decimals: int) -> str:
    """Return mean ± standard deviation; the value alone if there is but one."""
    if not found:
        return ABSENT
    with np.errstate(invalid="ignore"):  # of infinities
        mean = _fixed(float(np.mean(found)), decimals)
        deviation = float(np.std(found, ddof=1)) if len(found) > 1 else math.nan
    return mean if len(found) == 1 else f"{mean} ± {_fixed(deviation, decimals)}"


def accuracy(found: Sequence[float]) -> str:
    """Return mean ± standard deviation of fractions, without the zero before the point."""
    parts = spread(found, decimals=3).split(" ")
    return " ".join(
        part.replace("0.", ".", 1) if part.startswith(("0.", "-0.")) else part for part in parts
    )


def _fixed(value: float, decimals: int) -> str:
    """Return a number with as many decimals; none is minus zero."""
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text


def steps_cell(records: Iterable[Record]) -> str:
    """Return the steps until the gain: median and range, over how many of how many seeds."""
    curved = [record for record in records if branch(record) in record.curves]
    steps = [steps_to_gain(record) for record in curved]
    reached = [count for count in steps if math.isfinite(count)]
    if not steps:
        return ABSENT
    if not reached:
        return f"never in {max(steps_made(curved))}"
    low, high = min(reached), max(reached)
    text = f"{float(np.median(reached)):g}"
    text += f" ({low:g} to {high:g})" if low < high else ""
    return text if len(reached) == len(steps) else f"{len(reached)} of {len(steps)}: {text}"


def steps_to_gain(record: Record) -> float:
    """Return after how many steps a branch's running gain stays above 0.1 nats; inf if never.

    Stays, since a stalled branch's exceeds it now and then: which classes a batch holds moves
    the mean over 10 steps of 32 images by about 0.05 nats. One that ends stalled never got there.
    """
    gains = running_gains(record)
    below = np.flatnonzero(~(gains > STALLED))
    first = int(below[-1]) + 1 if below.size else 0
    stalled = not record.metrics[_gain_of(record)] >= STALLED
    return math.inf if stalled or first == len(gains) else float(first + window(record))


def running_gains(record: Record) -> Any:
    """Return the running mean of a branch's gain, an array that starts at step 10.

    The labels' entropy is what the record's own gain adds to the cross-entropy it is made of.
    """
    losses = np.asarray(record.curves[branch(record)], dtype=np.float64)
    tail = losses[-max(1, len(losses) // TAIL) :]
    entropy = record.metrics[_gain_of(record)] + np.mean(tail)
    steps = window(record)
    return entropy - np.convolve(losses, np.full(steps, 1 / steps), mode="valid")


def branch(record: Record) -> str:
    """Return the curve of the adversarial branch, under the plain loss of the clean images."""
    return "step_clean_ce" if record.settings["loss"] == PLAIN else "step_adversarial_ce"


def _gain_of(record: Record) -> str:
    """Return the metric that sums up that curve."""
    clean = record.settings["loss"] == PLAIN
    return "clean_branch_gain" if clean else "adversarial_branch_gain"


def window(record: Record) -> int:
    """Return over how many steps the running mean is taken."""
    return min(SMOOTHED_STEPS, len(record.curves[branch(record)]))


def prediction_width(count: int) -> float:
    """Return how many standard deviations off the mean one further run lies at most, at `LEVEL`."""
    quantile = float(stdtrit(count - 1, (1 + LEVEL) / 2))
    return quantile * math.sqrt(1 + 1 / count)
