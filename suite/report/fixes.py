"""What every fix and every point of the phase grid is worth: the tables of a study."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

from suite.bands import STALLED
from suite.cases import PLAIN
from suite.fixes import FIXES
from suite.phases import ADVERSARIAL, GRID, PHASES
from suite.records import Record
from suite.report.table import markdown_grid, text_grid

if TYPE_CHECKING:
    from typing import TypeAlias

CONTROL = "none"
FEW_SEEDS = 5  # below this a row is flagged
LEVEL = 0.95  # of the prediction interval
DIGEST_LENGTH = 12
SMOOTHED_STEPS = 10
TAIL = 4  # a record's gain of a branch is that of the last 1/4 of the steps
NOT_MEASURED = "not measured"
ABSENT = "-"

STALL_COLUMNS = (
    "stalls",
    "branch stalls",
    "information gain",
    f"steps until gain stays > {STALLED:g}",
    "steps made",
    "cost per step",
)
ACCURACY_COLUMNS = (
    "inference: clean",
    "FGSM",
    "PGD",
    "training: clean",
    "FGSM",
    "PGD",
    "gap",
    "clean after precise-bn",
)
ACCURACIES = (
    "clean_accuracy",
    "adversarial_accuracy",
    "pgd_accuracy",
    "training_phase_clean_accuracy",
    "training_phase_adversarial_accuracy",
    "training_phase_pgd_accuracy",
)
LOSSES = {**{name: f"{name} phases" for name in PHASES}, PLAIN: "plain loss"}
SAME_RUNS = {
    "moving-kept": ("intended", CONTROL),
    "own-updating": ("intended", "attack-inference-loss-training"),
}
"""Points of the grid that are a loss and a fix of the other tables, and may be measured there."""

LEGEND = f"""\
"Stalls" counts the seeds that end below {STALLED:g} nats of information gain on the test images in
the inference phase, "branch stalls" those whose adversarial branch ends its training below it (the
plain loss has no such branch). "Steps" are those after which the running mean over 10 steps of that
branch's gain (plain: of the clean loss's) stays above it: median and range over the seeds that get
there, with their number where not all do. "Cost per step" is a step's time over the control's, the
two made in turns in one process. FGSM takes one step, PGD ten. "Gap" is clean accuracy in the
training phase less that in the inference phase, seed by seed."""


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


class Row(NamedTuple):
    """One row of the tables.

    Attributes:
        name: The fix, or the point of the grid.
        records: One a seed; none if it was not measured.
    """

    name: str
    records: list[Record]


class Comparison(NamedTuple):
    """Rows that are compared with one another.

    Attributes:
        title: What they have in common.
        head: What a row is.
        rows: Those that were measured.
        missing: Names of those that were not.
        note: What else the reader must know; may be empty.
    """

    title: str
    head: str
    rows: list[Row]
    missing: list[str]
    note: str = ""


Grid: TypeAlias = "Callable[[Sequence[str], Sequence[Sequence[str]]], str]"
"""Makes a table of columns and rows."""


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


def comparisons(study: Study) -> list[Comparison]:
    """Return what is compared in a study: the fixes, a loss at a time, and the phase grid."""
    found = [_fixes(study, loss) for loss in LOSSES]
    return [*found, _grid(study)]


def _fixes(study: Study, loss: str) -> Comparison:
    """Return the fixes under one loss, in the order of `FIXES`, other momenta behind them."""
    own = (r.settings["fix"] for r in study.records if r.settings["loss"] == loss)
    names = dict.fromkeys([*FIXES, *sorted(own)])
    rows = [Row(name, study.found(loss, name)) for name in names]
    return _comparison(f"{place(study)}, {LOSSES[loss]}", "fix", rows)


def _grid(study: Study) -> Comparison:
    """Return the points of the phase grid."""
    note = "The clean pass runs in the training phase, the attack in the inference phase."
    rows, same = [], []
    for point in GRID:
        records = study.found(point)
        if not records and point in SAME_RUNS:
            records = study.found(*SAME_RUNS[point])
            same.append(f"Here {point} is {' '.join(SAME_RUNS[point])}.")
        rows.append(Row(_point_name(point), records))
    title = f"{place(study)}, what normalises the adversarial branch, and does it update"
    return _comparison(title, "point", rows, note=" ".join([note, *same]))


def _point_name(point: str) -> str:
    """Return a point of the grid in words."""
    normalised = ADVERSARIAL[GRID[point].adversarial]
    return f"{point} ({normalised.by}, {'updates' if normalised.updates else 'does not update'})"


def _comparison(title: str, head: str, rows: Sequence[Row], note: str = "") -> Comparison:
    """Return the rows that were measured and the names of the others."""
    measured = [row for row in rows if row.records]
    missing = [row.name for row in rows if not row.records]
    return Comparison(title, head, measured, missing, note)


def place(study: Study) -> str:
    """Return the release, and the tier where that is not the small study's."""
    return study.release if study.tier == "study" else f"{study.release} ({study.tier})"


def fixes_markdown(records: Iterable[Record]) -> str:
    """Return the tables of all fixes and grid points in Markdown.

    Args:
        records: Of question "fixes", of one or several releases; others are passed over.
    """
    return "\n\n".join(_page(list(records), title="**{}**", grid=markdown_grid))


def fixes_text(records: Iterable[Record], *, width: int | None = None) -> str:
    """Return the same for a terminal; None is as wide as needed."""

    def grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        return text_grid(columns, rows, width=width)

    return "\n\n".join(_page(list(records), title="{}", grid=grid))


def _page(records: Sequence[Record], *, title: str, grid: Grid) -> Iterator[str]:
    """Yield the paragraphs of the report."""
    found = studies(records)
    if not found:
        yield f"The fixes: {NOT_MEASURED}."
        return
    yield LEGEND
    yield spread_note(chain.from_iterable(_seed_counts(study) for study in found))
    for study in found:
        yield f"{place(study)}: {study.setup}; {_of_network(study)}."
        for comparison in comparisons(study):
            yield from _paragraphs(comparison, title=title, grid=grid)


def _seed_counts(study: Study) -> list[int]:
    """Return how many seeds the rows of a study have."""
    return [len(row.records) for part in comparisons(study) for row in part.rows]


def _of_network(study: Study) -> str:
    """Return the size of the network and of its data, as the study's own setup has them."""
    names = ("width", "train_images", "test_images", "epochs", "weights", "epsilon")
    own = [r.settings for r in study.records if setup_of(r) == study.setup]
    parts = [
        f"{name.replace('_', ' ')} {_listed(settings[name] for settings in own)}"
        for name in names
        if all(name in settings for settings in own)
    ]
    return ", ".join(parts)


def _paragraphs(part: Comparison, *, title: str, grid: Grid) -> Iterator[str]:
    """Yield the title, both tables and what stands below them."""
    if not part.rows:
        yield f"{title.format(part.title)}: {NOT_MEASURED}"
        return
    yield title.format(part.title)
    yield grid(
        (part.head, *STALL_COLUMNS), [(row.name, *stall_cells(row.records)) for row in part.rows]
    )
    cells = [(row.name, *accuracy_cells(row.records)) for row in part.rows]
    yield grid((part.head, *ACCURACY_COLUMNS), cells)
    few = [f"{row.name} ({len(row.records)})" for row in part.rows if _is_few(row)]
    sentences = [
        part.note,
        f"Fewer than {FEW_SEEDS} seeds: {', '.join(few)}." if few else "",
        f"{NOT_MEASURED.capitalize()}: {', '.join(part.missing)}." if part.missing else "",
        provenance([record for row in part.rows for record in row.records]),
    ]
    yield " ".join(sentence for sentence in sentences if sentence)


def _is_few(row: Row) -> bool:
    return len(row.records) < FEW_SEEDS


def stall_cells(records: Sequence[Record]) -> tuple[str, ...]:
    """Return the cells of `STALL_COLUMNS`."""
    return (
        counted(*stalls(records, "information_gain")),
        counted(*stalls(records, "adversarial_branch_gain")),
        spread(values(records, "information_gain"), decimals=2),
        steps_cell(records),
        _listed(map(str, sorted(steps_made(records)))) or ABSENT,
        spread(values(records, "cost_ratio"), decimals=2),
    )


def accuracy_cells(records: Sequence[Record]) -> tuple[str, ...]:
    """Return the cells of `ACCURACY_COLUMNS`."""
    gaps = [
        record.metrics["training_phase_clean_accuracy"] - record.metrics["clean_accuracy"]
        for record in records
        if {"training_phase_clean_accuracy", "clean_accuracy"} <= set(record.metrics)
    ]
    found = [values(records, name) for name in ACCURACIES]
    precise = values(records, "precise_bn_clean_accuracy")
    return tuple(accuracy(column) for column in (*found, gaps, precise))


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


def spread_note(counts: Iterable[int]) -> str:
    """Return how to read the spread of as many seeds as the rows have."""
    several = [count for count in sorted(set(counts), reverse=True) if count > 1]
    text = "Spread is mean ± standard deviation over seeds."
    if not several:
        return f"{text} One seed has none."
    factors = ", ".join(f"{prediction_width(count):.1f} with {count} seeds" for count in several)
    return (
        f"{text} In {LEVEL:.0%} of cases one further run of a row lies within mean ± f standard "
        f"deviations, where f is {factors} (prediction interval, Student's t). Where a row stalls "
        "in some seeds alone, two kinds of runs are mixed, and the counts tell more."
    )


def prediction_width(count: int) -> float:
    """Return how many standard deviations off the mean one further run lies at most, at `LEVEL`."""
    quantile = float(stdtrit(count - 1, (1 + LEVEL) / 2))
    return quantile * math.sqrt(1 + 1 / count)


def provenance(records: Sequence[Record]) -> str:
    """Return versions, machine, data, state of the suite and seeds of some records."""
    environments = [record.environment for record in records]
    names = dict.fromkeys(name for found in environments for name in found["versions"])
    versions = ", ".join(
        f"{name} {_listed(e['versions'].get(name, 'none') for e in environments)}" for name in names
    )
    machines = _listed((_machine(e["machine"]) for e in environments), " and ")
    digests = [
        f"{word} {_listed(e[key].rpartition(':')[2][:DIGEST_LENGTH] for e in environments)}"
        for word, key in (("data", "data_digest"), ("suite", "code_digest"))
    ]
    seeds = f"seeds {_listed(str(seed) for seed in sorted({r.seed for r in records}))}"
    return f"{'; '.join([versions, machines, *digests, seeds])}; {len(records)} records."


def _machine(machine: Any) -> str:
    """Return processor, cores, memory and GPUs, as far as they are stated, and the fingerprint."""
    parts = [
        str(machine["cpu"]) if "cpu" in machine else "",
        f"{machine['cores']} cores" if "cores" in machine else "",
        f"{machine['memory_gib']} GiB" if "memory_gib" in machine else "",
        *(str(gpu) for gpu in machine.get("gpus", [])),
    ]
    return f"{', '.join(part for part in parts if part)} ({machine['fingerprint']})".strip()


def _listed(found: Iterable[Any], separator: str = ", ") -> str:
    """Return each value once."""
    return separator.join(dict.fromkeys(map(str, found)))
