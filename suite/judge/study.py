"""Studies: the records of one release by fix and loss, and the numbers that sum them up."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from suite.cases import PLAIN, require_settings
from suite.errors import RecordError
from suite.files import MEND
from suite.judge.bands import STALLED
from suite.records import Record

CONTROL = "none"
FEW_SEEDS = 5  # rows and claims of fewer seeds are marked
LEVEL = 0.95  # chance that one further run lies in the prediction interval
SMOOTHED_STEPS = 10
TAIL = 4  # a record sums up the gain of a branch over the last 1/4 of its steps
NOT_MEASURED = "not measured"
PHOTOGRAPHS = "photographs"  # the weights of the network that these gave
ABSENT = "-"


class Setup(NamedTuple):
    """The settings that the claims vary.

    Attributes:
        architecture: A key of `suite.networks.architectures.ARCHITECTURES`; its end names the head.
        batch_size: Images a step.
        learning_rate: Learning rate of the first epochs.
        size_px: Side of the images, in pixels.
    """

    architecture: str
    batch_size: int
    learning_rate: float
    size_px: int

    def __str__(self) -> str:
        rate = f"learning rate {self.learning_rate:g}"
        return f"{self.architecture}, batch {self.batch_size}, {rate}, {self.size_px} px"


class Study(NamedTuple):
    """The records of one release and tier that compare the fixes.

    Attributes:
        release: Name of the release.
        tier: A key of `suite.tables.TIERS`.
        setup: The setup under which the fixes are compared.
        records: The records of all setups.
    """

    release: str
    tier: str
    setup: Setup
    records: tuple[Record, ...]

    def found(self, loss: str, fix: str = CONTROL, setup: Setup | None = None) -> list[Record]:
        """Find the records of one case, by seed; the study's own setup is the default."""
        wanted = (loss, fix, setup or self.setup)
        own = (r for r in self.records if (r.settings["loss"], r.settings["fix"]) == wanted[:2])
        return sorted((r for r in own if setup_of(r) == wanted[2]), key=lambda r: r.seed)


def setup_of(record: Record) -> Setup:
    """Read the settings that the claims vary from a record."""
    return Setup(*(record.settings[name] for name in Setup._fields))


def studies(records: Iterable[Record]) -> list[Study]:
    """Sort the records of question "fixes" by release and tier, in the order they come in.

    Those that start from weights of photographs are a study of their own. The setup of a tier is
    the one under which most cases were measured, over all releases.
    """
    own = [record for record in records if record.question == "fixes"]
    require_cases(own, (*Setup._fields, "loss", "fix"))
    groups: dict[tuple[str, str, bool], list[Record]] = {}
    alike: dict[tuple[str, bool], list[Record]] = {}
    for record in own:
        groups.setdefault((record.release, record.tier, photographed(record)), []).append(record)
        alike.setdefault((record.tier, photographed(record)), []).append(record)
    setups = {group: _usual_setup(found) for group, found in alike.items()}
    return [
        Study(release, tier, setups[tier, own_weights], tuple(found))
        for (release, tier, own_weights), found in groups.items()
    ]


def photographed(record: Record) -> bool:
    """True where a network started from weights that photographs gave."""
    return record.settings.get("weights") == PHOTOGRAPHS


def _usual_setup(records: Sequence[Record]) -> Setup:
    """Find the setup with the most cases; of several, the first."""
    cases: dict[Setup, set[str]] = {}
    for record in records:
        cases.setdefault(setup_of(record), set()).add(record.case)
    return max(cases, key=lambda setup: len(cases[setup]))


def require_cases(records: Iterable[Record], names: Collection[str]) -> None:
    """Refuse records whose settings `names` are no case's, of which nothing can be told.

    Raises:
        RecordError: If there is one.
    """
    for record in records:
        try:
            require_settings(record.settings, names)
        except ValueError as error:
            where = f"{record.name} of {record.release}, {record.tier} tier"
            raise RecordError(f"{where}, is no case's record: {error}. {MEND}") from error


def place(study: Study) -> str:
    """Name the release of a study, and its tier and weights where they are not the usual."""
    told = [study.tier] if study.tier != "study" else []
    told += [f"pretrained on {PHOTOGRAPHS}"] if photographed(study.records[0]) else []
    return f"{study.release} ({', '.join(told)})" if told else study.release


def values(records: Iterable[Record], metric: str) -> list[float]:
    """List the values of a metric, of all records that have it."""
    return [record.metrics[metric] for record in records if metric in record.metrics]


def steps_made(records: Iterable[Record]) -> list[int]:
    """Count the steps of each training whose curve was recorded."""
    return [
        len(record.curves[branch(record)]) for record in records if branch(record) in record.curves
    ]


def stalls(records: Iterable[Record], metric: str) -> tuple[int, int]:
    """Count the records in which a gain stays below `STALLED` or is NaN, and those that have it."""
    gains = values(records, metric)
    return sum(not gain >= STALLED for gain in gains), len(gains)


def of_all(count: int, total: int) -> str:
    """Write ``k/n``, or a dash where there is nothing to count."""
    return f"{count}/{total}" if total else ABSENT


def spread(found: Sequence[float], *, decimals: int) -> str:
    """Write mean ± standard deviation; one value stands alone, none is a dash."""
    if not found:
        return ABSENT
    with np.errstate(invalid="ignore"):  # the deviation of infinities is NaN
        mean = _fixed(float(np.mean(found)), decimals)
        deviation = float(np.std(found, ddof=1)) if len(found) > 1 else math.nan
    return mean if len(found) == 1 else f"{mean} ± {_fixed(deviation, decimals)}"


def accuracy(found: Sequence[float]) -> str:
    """Write mean ± standard deviation of fractions, without the zero before the point."""
    parts = spread(found, decimals=3).split(" ")
    return " ".join(
        part.replace("0.", ".", 1) if part.startswith(("0.", "-0.")) else part for part in parts
    )


def _fixed(value: float, decimals: int) -> str:
    """Write a number with so many decimals, and zero without a minus sign."""
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text


def steps_cell(records: Iterable[Record]) -> str:
    """Write after how many steps the branch learns: median and range, and how many seeds do."""
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
    """Count the steps after which a branch's running gain stays above `STALLED`; inf if never.

    A stalled branch exceeds it now and then, since the classes in a batch move the mean over
    10 steps of 32 images by about 0.05 nats: so it must stay, and a branch that ends stalled never
    got there.
    """
    gains = running_gains(record)
    below = np.flatnonzero(~(gains > STALLED))
    first = int(below[-1]) + 1 if below.size else 0
    stalled = not record.metrics[_gain_of(record)] >= STALLED
    return math.inf if stalled or first == len(gains) else float(first + window(record))


def running_gains(record: Record) -> np.ndarray:
    """Average a branch's information gain over the last `window` steps, at each step.

    The gain is the entropy of the labels less the cross-entropy. The entropy is not recorded: it
    is the gain that the record sums up plus the cross-entropy over the same steps.

    Returns:
        Nats, ``(steps - window + 1,)``.
    """
    losses = np.asarray(record.curves[branch(record)], dtype=np.float64)
    tail = losses[-max(1, len(losses) // TAIL) :]
    entropy = record.metrics[_gain_of(record)] + np.mean(tail)
    steps = window(record)
    return np.asarray(entropy - np.convolve(losses, np.full(steps, 1 / steps), mode="valid"))


def branch(record: Record) -> str:
    """Name the curve of the adversarial branch; under the plain loss that of the clean images."""
    return "step_clean_ce" if record.settings["loss"] == PLAIN else "step_adversarial_ce"


def _gain_of(record: Record) -> str:
    """Name the metric that sums up the curve of `branch`."""
    clean = record.settings["loss"] == PLAIN
    return "clean_branch_gain" if clean else "adversarial_branch_gain"


def window(record: Record) -> int:
    """Count the steps that the running mean is taken over."""
    return min(SMOOTHED_STEPS, len(record.curves[branch(record)]))


def prediction_width(count: int) -> float:
    """Compute half the width of the prediction interval at `LEVEL`, in standard deviations.

    One further run lies in this interval around the mean of `count` runs (Student's t).
    """
    quantile = float(stdtrit(count - 1, (1 + LEVEL) / 2))
    return quantile * math.sqrt(1 + 1 / count)
