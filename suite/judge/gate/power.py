"""Power: the simulation that tells how often a plan errs, and how small an effect it finds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from suite.judge.gate.finding import NO_WORSE, UNDECIDED, WORSE
from suite.judge.gate.interval import own_level, reach
from suite.judge.gate.paired import difference, rank_p, tailed
from suite.judge.gate.sequential import Plan, quantile

RUNS = 4000  # simulated gates: a rate of 0.05 is then known to 0.0034 (one standard deviation)


class Law(NamedTuple):
    """What one seed gives: a normal number, now and then far below the others.

    Attributes:
        mean: Of the normal part.
        deviation: Standard deviation of the normal part.
        tail: Chance that a seed ends far below.
        depth: How far below.
    """

    mean: float = 0.0
    deviation: float = 1.0
    tail: float = 0.0
    depth: float = 0.0

    @property
    def expected(self) -> float:
        """The mean over all seeds."""
        return self.mean - self.tail * self.depth


class Rates(NamedTuple):
    """What becomes of many simulated gates of one metric, as shares of them.

    Attributes:
        worse: Those that end with "worse".
        no_worse: Those that end with "no worse".
        undecided: Those that neither does at the last look.
        missed: Those in which the interval of at least one look leaves out the true difference.
        seeds: Mean number of seeds on the candidate's side when the gate ends.
    """

    worse: float
    no_worse: float
    undecided: float
    missed: float
    seeds: float


class Setting(NamedTuple):
    """One row of the table of error rates and power.

    Attributes:
        title: What happens, in words.
        before: What a seed of the baseline gives.
        after: What a seed of the candidate gives.
        margin: How much worse still counts as no worse.
        together: Correlation of the same seed on both sides.
        stored: Seeds of the baseline, where it gets no more.
    """

    title: str
    before: Law
    after: Law
    margin: float = 0.1
    together: float = 0.0
    stored: int | None = None


FAMILY = 50  # primary metrics of the small tier, which the table corrects for
GAIN = Law(mean=1.5, deviation=0.05)  # nats, as the adversarial branch of ResNet-50
LATE = Law(mean=0.774, deviation=0.029, tail=0.15, depth=0.244)  # AlexNet's plain loss, accuracy
PROMPT = LATE._replace(tail=0.0)

SETTINGS = (
    Setting("nothing differs", GAIN, GAIN),
    Setting("nothing differs, and seeds go together by half", GAIN, GAIN, together=0.5),
    Setting("the candidate varies three times as much", GAIN, GAIN._replace(deviation=0.15)),
    Setting("nothing differs, five seeds stored", GAIN, GAIN, stored=5),
    Setting("nothing differs, ten seeds stored", GAIN, GAIN, stored=10),
    Setting("a fall of half the margin", GAIN, GAIN._replace(mean=1.45)),
    Setting("a fall of the margin", GAIN, GAIN._replace(mean=1.4)),
    Setting("a fall of 1.5 margins", GAIN, GAIN._replace(mean=1.35)),
    Setting("a fall of three margins", GAIN, GAIN._replace(mean=1.2)),
    Setting("a fall of 1.5 margins, ten seeds stored", GAIN, GAIN._replace(mean=1.35), stored=10),
    Setting("one seed in seven ends late, on both sides", LATE, LATE, margin=0.02),
    Setting("the same, five seeds stored", LATE, LATE, margin=0.02, stored=5),
    Setting("one in seven ends late, the candidate's alone", PROMPT, LATE, margin=0.02),
    Setting("one in ten, a fall of the margin", PROMPT, LATE._replace(tail=0.1), margin=0.0244),
)
"""What the table of the documentation shows: gains in nats, and an accuracy with a tail."""

HEADINGS = ("what happens", "worse", "no worse", "undecided", "interval misses", "seeds")


def table(plan: Plan, *, runs: int = RUNS) -> list[str]:
    """Simulate every row of `SETTINGS`, and write the table in Markdown."""
    head = f"| {' | '.join(HEADINGS)} |"
    return [head, f"|{' --- |' * len(HEADINGS)}", *(_row(row, plan, runs) for row in SETTINGS)]


def _row(row: Setting, plan: Plan, runs: int) -> str:
    """Simulate one row of the table."""
    found = simulate(
        plan,
        row.before,
        row.after,
        margin=row.margin,
        family=FAMILY,
        together=row.together,
        stored=row.stored,
        runs=runs,
    )
    shares = [f"{100 * share:.1f} %" for share in found[:-1]]
    return f"| {row.title} | {' | '.join(shares)} | {found.seeds:.1f} |"


def simulate(
    plan: Plan,
    before: Law,
    after: Law,
    *,
    margin: float,
    family: int = 1,
    together: float = 0.0,
    stored: int | None = None,
    runs: int = RUNS,
    seed: int = 0,
) -> Rates:
    """Run many gates of one metric, larger being better, and count what becomes of them.

    Args:
        plan: The looks and the level.
        before: What a seed of the baseline gives.
        after: What a seed of the candidate gives.
        margin: How much worse still counts as no worse.
        family: Number of metrics that are corrected for; the others show nothing.
        together: Correlation of the normal parts of the same seed on both sides.
        stored: Seeds of the baseline, where it gets no more; None where both sides grow, and have
            the same seeds.
        runs: Number of gates.
        seed: Of the simulation.
    """
    rng = np.random.default_rng(seed)
    own, other = draw(rng, before, after, together=together, shape=(runs, plan.last))
    truth = after.expected - before.expected
    seen = [
        _look(plan, own[:, : stored or look], other[:, :look], margin=margin, family=family)
        for look in plan.looks
    ]
    decided = np.array([decision for decision, _, _ in seen])
    missed = np.array([(low > truth) | (high < truth) for _, low, high in seen])
    first = np.argmax(decided != UNDECIDED, axis=0)
    ended = np.take_along_axis(decided, first[None], axis=0)[0]
    seeds = np.where(ended == UNDECIDED, plan.last, np.array(plan.looks)[first])
    worse, fine, undecided = (
        float(np.mean(ended == name)) for name in (WORSE, NO_WORSE, UNDECIDED)
    )
    return Rates(worse, fine, undecided, float(np.mean(missed.any(axis=0))), float(np.mean(seeds)))


def _look(
    plan: Plan, before: np.ndarray, after: np.ndarray, *, margin: float, family: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decide each run by its numbers so far: the decisions, and both ends of the intervals."""
    found = difference(before, after, min(before.shape[1], after.shape[1]))
    level, half = own_level(plan, family), quantile(plan.nominal, found.freedom) * found.error
    low, high = found.estimate - half, found.estimate + half
    beyond = found.estimate + quantile(level, found.freedom) * found.error < 0
    worse = beyond & (found.estimate < -margin)
    doubted = worse & tailed(before, after)
    worse[doubted] = rank_p(before[doubted], after[doubted]) <= level
    return np.where(low > -margin, NO_WORSE, np.where(worse, WORSE, UNDECIDED)), low, high


def draw(
    rng: np.random.Generator, before: Law, after: Law, *, together: float, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the numbers of both sides, ``(runs, seeds)``."""
    common = rng.standard_normal(shape)
    apart = rng.standard_normal(shape)
    normal = common, together * common + np.sqrt(1 - together**2) * apart
    numbers = [
        law.mean + law.deviation * own - law.depth * (rng.random(shape) < law.tail)
        for law, own in zip((before, after), normal)
    ]
    return numbers[0], numbers[1]


def detectable(
    plan: Plan,
    deviation: float,
    *,
    family: int = 1,
    together: float = 0.0,
    seeds: int | None = None,
) -> float:
    """Compute the smallest fall that is "worse" with the plan's power after so many seeds a side.

    Args:
        plan: The looks, level and power.
        deviation: Standard deviation over the seeds, the same on both sides.
        family: Number of metrics that are corrected for.
        together: Correlation of the same seed on both sides.
        seeds: On each side; None for those of the last look.
    """
    count = plan.last if seeds is None else seeds
    error = deviation * np.sqrt(2 * (1 - together) / count)
    return reach(own_level(plan, family), count - 1, plan) * float(error)
