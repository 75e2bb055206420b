"""The page of a study: what every fix and every point of the phase grid is worth, in tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from suite.cases import PLAIN
from suite.judge.bands import STALLED
from suite.judge.study import (
    ABSENT,
    CONTROL,
    FEW_SEEDS,
    LEVEL,
    NOT_MEASURED,
    Study,
    accuracy,
    of_all,
    place,
    prediction_width,
    setup_of,
    spread,
    stalls,
    steps_cell,
    steps_made,
    studies,
    values,
)
from suite.networks.fixes import FIXES
from suite.networks.phases import ADVERSARIAL, GRID, PHASES
from suite.records import Record
from suite.report.grid import markdown_grid, text_grid
from suite.report.text import markdown, printable

DIGEST_LENGTH = 12
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
"""Points of the phase grid that equal a loss with a fix, whose records can stand for them."""

LEGEND = f"""\
"Stalls" counts the seeds that end below {STALLED:g} nats of information gain on the test images in
the inference phase, "branch stalls" those whose adversarial branch ends its training below it (the
plain loss has no such branch). "Steps" are those after which the running mean over 10 steps of that
branch's gain (plain: of the clean loss's) stays above it: median and range over the seeds that get
there, with their number where not all do. "Cost per step" is a step's time over the control's, the
two made in turns in one process. FGSM takes one step, PGD ten. "Gap" is clean accuracy in the
training phase less that in the inference phase, seed by seed."""


class Row(NamedTuple):
    """One row of the tables.

    Attributes:
        name: The fix, or the point of the phase grid.
        records: One a seed; none if the row was not measured.
    """

    name: str
    records: list[Record]


class Part(NamedTuple):
    """Rows that are compared with one another.

    Attributes:
        title: What the rows have in common.
        head: What a row is: the head of the first column.
        rows: The rows that were measured.
        missing: Names of the rows that were not.
        note: What else the reader must know; may be empty.
    """

    title: str
    head: str
    rows: list[Row]
    missing: list[str]
    note: str = ""


class Form(NamedTuple):
    """How a page is written: for a terminal, or in Markdown.

    Attributes:
        title: What stands around a title.
        say: Writes a line that may hold anybody's text.
        grid: Writes a table, given its columns and rows.
    """

    title: str
    say: Callable[[str], str]
    grid: Callable[[Sequence[str], Sequence[Sequence[str]]], str]


def markdown_form(title: str) -> Form:
    """Write a page in Markdown."""
    return Form(title, markdown, markdown_grid)


def text_form(width: int | None) -> Form:
    """Write a page for a terminal of some width; None for as wide as needed."""
    return Form("{}", printable, partial(text_grid, width=width))


def fixes_markdown(records: Iterable[Record]) -> str:
    """Write the tables of all fixes and grid points in Markdown.

    Args:
        records: Records of the question "fixes" count, of one or several releases; others are
            passed over.
    """
    return "\n\n".join(_page(list(records), markdown_form("**{}**")))


def fixes_text(records: Iterable[Record], *, width: int | None = None) -> str:
    """Write the same tables for a terminal.

    Args:
        records: As in `fixes_markdown`.
        width: Characters a line; None for as many as needed.
    """
    return "\n\n".join(_page(list(records), text_form(width)))


def _page(records: Sequence[Record], form: Form) -> Iterator[str]:
    """Write the paragraphs of the page, one after the other."""
    found = studies(records)
    if not found:
        yield f"The fixes: {NOT_MEASURED}."
        return
    yield LEGEND
    yield spread_note(chain.from_iterable(_seed_counts(study) for study in found))
    for study in found:
        yield form.say(f"{place(study)}: {study.setup}; {_of_network(study)}.")
        for part in parts(study):
            yield from _paragraphs(part, form)


def _seed_counts(study: Study) -> list[int]:
    """Count the seeds of each row of a study."""
    return [len(row.records) for part in parts(study) for row in part.rows]


def _of_network(study: Study) -> str:
    """List the sizes of the network and of its data in the study's own setup."""
    names = ("width", "train_images", "test_images", "epochs", "weights", "epsilon")
    return sizes([r.settings for r in study.records if setup_of(r) == study.setup], names)


def sizes(settings: Sequence[Mapping[str, Any]], names: Iterable[str]) -> str:
    """List the named settings that all of `settings` have, each value once."""
    return ", ".join(
        f"{name.replace('_', ' ')} {_listed(own[name] for own in settings)}"
        for name in names
        if all(name in own for own in settings)
    )


def parts(study: Study) -> list[Part]:
    """Lay out what is compared in a study: the fixes under each loss, and the phase grid."""
    return [*(_fixes(study, loss) for loss in LOSSES), _grid(study)]


def _fixes(study: Study, loss: str) -> Part:
    """Compare the fixes under one loss, in the order of `FIXES`, then other momenta."""
    own = (r.settings["fix"] for r in study.records if r.settings["loss"] == loss)
    names = dict.fromkeys([*FIXES, *sorted(own)])
    rows = [Row(name, study.found(loss, name)) for name in names]
    return _part(f"{place(study)}, {LOSSES[loss]}", "fix", rows)


def _grid(study: Study) -> Part:
    """Compare the points of the phase grid."""
    note = "The clean pass runs in the training phase, the attack in the inference phase."
    rows, same = [], []
    for point in GRID:
        records = study.found(point)
        if not records and point in SAME_RUNS:
            records = study.found(*SAME_RUNS[point])
            same.append(f"Here {point} is {' '.join(SAME_RUNS[point])}.")
        rows.append(Row(_point_name(point), records))
    title = f"{place(study)}, what normalises the adversarial branch, and does it update"
    return _part(title, "point", rows, note=" ".join([note, *same]))


def _point_name(point: str) -> str:
    """Name a point of the phase grid, and say what it does."""
    normalised = ADVERSARIAL[GRID[point].adversarial]
    return f"{point} ({normalised.by}, {'updates' if normalised.updates else 'does not update'})"


def _part(title: str, head: str, rows: Sequence[Row], note: str = "") -> Part:
    """Separate the rows that were measured from those that were not."""
    measured = [row for row in rows if row.records]
    missing = [row.name for row in rows if not row.records]
    return Part(title, head, measured, missing, note)


def _paragraphs(part: Part, form: Form) -> Iterator[str]:
    """Write a part: its title, both tables and the sentences below them."""
    title = form.title.format(form.say(part.title))
    if not part.rows:
        yield f"{title}: {NOT_MEASURED}"
        return
    yield title
    yield form.grid(
        (part.head, *STALL_COLUMNS), [(row.name, *stall_cells(row.records)) for row in part.rows]
    )
    cells = [(row.name, *accuracy_cells(row.records)) for row in part.rows]
    yield form.grid((part.head, *ACCURACY_COLUMNS), cells)
    few = [f"{row.name} ({len(row.records)})" for row in part.rows if _is_few(row)]
    sentences = [
        part.note,
        f"Fewer than {FEW_SEEDS} seeds: {', '.join(few)}." if few else "",
        f"{NOT_MEASURED.capitalize()}: {', '.join(part.missing)}." if part.missing else "",
        provenance([record for row in part.rows for record in row.records]),
    ]
    yield form.say(" ".join(sentence for sentence in sentences if sentence))


def _is_few(row: Row) -> bool:
    """True where a row has few seeds."""
    return len(row.records) < FEW_SEEDS


def stall_cells(records: Sequence[Record]) -> tuple[str, ...]:
    """Write the cells of `STALL_COLUMNS`."""
    return (
        of_all(*stalls(records, "information_gain")),
        of_all(*stalls(records, "adversarial_branch_gain")),
        spread(values(records, "information_gain"), decimals=2),
        steps_cell(records),
        _listed(map(str, sorted(steps_made(records)))) or ABSENT,
        spread(values(records, "cost_ratio"), decimals=2),
    )


def accuracy_cells(records: Sequence[Record]) -> tuple[str, ...]:
    """Write the cells of `ACCURACY_COLUMNS`."""
    gaps = [
        record.metrics["training_phase_clean_accuracy"] - record.metrics["clean_accuracy"]
        for record in records
        if {"training_phase_clean_accuracy", "clean_accuracy"} <= set(record.metrics)
    ]
    found = [values(records, name) for name in ACCURACIES]
    precise = values(records, "precise_bn_clean_accuracy")
    return tuple(accuracy(column) for column in (*found, gaps, precise))


def spread_note(counts: Iterable[int]) -> str:
    """Say how to read the spread of a row, for every number of seeds that the rows have."""
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


def provenance(records: Sequence[Record]) -> str:
    """Say what some records were made with: versions, machines, data, suite and seeds."""
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
    """Describe a machine: processor, cores, memory and GPUs, where recorded, and fingerprint."""
    found = [
        str(machine["cpu"]) if "cpu" in machine else "",
        f"{machine['cores']} cores" if "cores" in machine else "",
        f"{machine['memory_gib']} GiB" if "memory_gib" in machine else "",
        *(str(gpu) for gpu in machine.get("gpus", [])),
    ]
    return f"{', '.join(text for text in found if text)} ({machine['fingerprint']})".strip()


def _listed(found: Iterable[Any], separator: str = ", ") -> str:
    """List each value once."""
    return separator.join(dict.fromkeys(map(str, found)))
