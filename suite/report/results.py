"""The results: what each network reaches, a table a release, and a small one for the README."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from suite.cases import PLAIN
from suite.judge.study import (
    ABSENT,
    CONTROL,
    NOT_MEASURED,
    accuracy,
    of_all,
    require_cases,
    spread,
    stalls,
    values,
)
from suite.networks.architectures import ARCHITECTURES
from suite.networks.fixes import FIXES
from suite.networks.phases import GRID, PHASES
from suite.records import Record
from suite.report.grid import markdown_grid
from suite.report.study import Form, markdown_form, provenance, sizes, text_form
from suite.report.summary import FIXES_IN_WORDS
from suite.report.text import markdown

COLUMNS = (
    "network",
    "loss",
    "fix",
    "training",
    "clean",
    "FGSM",
    "gain",
    "branch gain",
    "classes",
    "cost",
)

PAGE_WIDTH = 110  # characters a line of the README
SIZES = (
    "size_px",
    "train_images",
    "test_images",
    "epochs",
    "batch_size",
    "learning_rate",
    "epsilon",
    "weights",
)

LEGEND = """\
Mean ± standard deviation over the seeds. Loss is plain, or adversarial under the phases that it
names. Clean, FGSM and training are accuracies: on clean and on attacked test images in the
inference phase, and in the last quarter of the training. Gain is the information gain (nats) on
the clean test images, branch gain that of the adversarial branch in the last quarter of the
training. Classes are those that the network predicts at all, of 43. Cost is the time of an
adversarial step over that of a plain one, without a fix. "-": there is none, or it was not
measured."""


class Row(NamedTuple):
    """One network under one loss and fix.

    Attributes:
        network: Its name, and its width where that is not the published one.
        loss: "plain", or the phases of the adversarial loss.
        fix: A key of `FIXES`, or another momentum.
        trained: The records of its training, one a seed.
        timed: The records of its step times, one a seed.
    """

    network: str
    loss: str
    fix: str
    trained: list[Record]
    timed: list[Record]


def results_markdown(records: Iterable[Record]) -> str:
    """Write what every network reaches in Markdown, a table a release and tier.

    Args:
        records: Those of the questions "training" and "step-time" count; others are passed over.
    """
    return "\n\n".join(_page(records, markdown_form("## {}")))


def results_text(records: Iterable[Record], *, width: int | None = None) -> str:
    """Write the same for a terminal; None is as wide as needed."""
    return "\n\n".join(_page(records, text_form(width)))


def overview_markdown(records: Sequence[Record]) -> str:
    """Write the table of the README: a row a network and its phases, its losses and fixes beside.

    Args:
        records: Of one release and tier.
    """
    found = [row for row in rows(records) if row.trained]
    controls = [row for row in found if row.loss != PLAIN and row.fix == CONTROL]
    if not controls:
        return f"The results: {NOT_MEASURED}."
    fixes = list(dict.fromkeys(row.fix for row in found if row.fix != CONTROL))
    columns = ("network", "phases", "plain", "adversarial", "stalls")
    words = [FIXES_IN_WORDS.get(fix, fix) for fix in fixes]
    trained = {row[:3]: row.trained for row in found}
    lines = [
        (
            row.network,
            row.loss,
            _pair(trained.get((row.network, PLAIN, CONTROL), [])),
            _pair(row.trained),
            of_all(*stalls(row.trained, "information_gain")),
            *(_pair(trained.get((row.network, row.loss, fix), [])) for fix in fixes),
        )
        for row in controls
    ]
    return f"{markdown_grid((*columns, *words), lines)}\n\n{_overview_note(found)}"


def rows(records: Iterable[Record]) -> list[Row]:
    """Sort records into rows, in the order of the architectures, their widths, losses and fixes."""
    own = [record for record in records if record.question in ("training", "step-time")]
    require_cases(own, ("architecture", "width", "loss", "fix"))
    groups: dict[tuple[str, float, str, str], list[Record]] = defaultdict(list)
    for record in sorted(own, key=lambda record: record.seed):
        settings = record.settings
        width = float(settings["width"])
        key = settings["architecture"], width, settings["loss"], settings["fix"]
        groups[key].append(record)
    return [
        Row(
            network(key[0], key[1]),
            *key[2:],
            [record for record in groups[key] if record.question == "training"],
            [record for record in groups[key] if record.question == "step-time"],
        )
        for key in sorted(groups, key=_order)
    ]


def network(architecture: str, width: float) -> str:
    """Name a network as people call it, with its width where that is not the published one."""
    title = ARCHITECTURES[architecture].title
    return title if width == 1 else f"{title}, width {width:g}"


def cells(row: Row) -> tuple[str, ...]:
    """Write the cells of `COLUMNS`."""
    accuracies = ("train_accuracy", "clean_accuracy", "adversarial_accuracy")
    gains = ("information_gain", "adversarial_branch_gain")
    return (
        *row[:3],
        *(accuracy(values(row.trained, name)) for name in accuracies),
        *(spread(values(row.trained, name), decimals=2) for name in gains),
        spread(values(row.trained, "classes_predicted"), decimals=0),
        spread(values(row.timed, "adversarial_plain_ratio"), decimals=2),
    )


def _order(key: tuple[str, float, str, str]) -> tuple[int, float, int, int, str]:
    """Rank a row: by the tables of architectures, losses and fixes, other momenta last."""
    architecture, width, loss, fix = key
    losses, fixes = [PLAIN, *PHASES, *GRID], list(FIXES)
    rank = fixes.index(fix) if fix in fixes else len(fixes)
    return list(ARCHITECTURES).index(architecture), width, losses.index(loss), rank, fix


def _page(records: Iterable[Record], form: Form) -> Iterator[str]:
    """Yield the paragraphs of the results."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.release, record.tier].append(record)
    found = {place: rows(own) for place, own in groups.items()}
    if not any(found.values()):
        yield f"The results: {NOT_MEASURED}."
        return
    yield LEGEND
    for (release, tier), lines in found.items():
        if lines:
            yield form.title.format(form.say(f"{release}, {tier} tier"))
            yield form.grid(COLUMNS, [cells(row) for row in lines])
            yield "\n".join(map(form.say, [*_sizes(lines), *_sources(lines)]))


def _sizes(lines: Iterable[Row]) -> list[str]:
    """List the size of each network's training."""
    settings: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in lines:
        settings[row.network] += [record.settings for record in row.trained]
    return [f"- {name}: {sizes(own, SIZES)}" for name, own in settings.items() if own]


def _sources(lines: Sequence[Row]) -> list[str]:
    """Tell when, where and with what the trainings ran and the steps were timed."""
    made = {
        "trained": [record for row in lines for record in row.trained],
        "cost measured": [record for row in lines for record in row.timed],
    }
    return [f"- {what} {dates(own)}: {provenance(own)}" for what, own in made.items() if own]


def dates(records: Iterable[Record]) -> str:
    """Tell from which day to which day records were made."""
    days = sorted(record.started_at[:10] for record in records)
    return " to ".join(dict.fromkeys((days[0], days[-1])))


def _pair(records: Sequence[Record]) -> str:
    """Write the mean accuracy on clean and on attacked images, in percent."""
    if not records:
        return ABSENT
    means = (np.mean(values(records, name)) for name in ("clean_accuracy", "adversarial_accuracy"))
    return " / ".join(f"{mean:.0%}" for mean in means)


def _overview_note(found: Sequence[Row]) -> str:
    """Say what the numbers of the overview are, and how far the seeds lie apart."""
    records = [record for row in found for record in row.trained]
    columns = [
        values(row.trained, name)
        for row in found
        for name in ("clean_accuracy", "adversarial_accuracy")
    ]
    apart = [float(np.std(column, ddof=1)) for column in columns if len(column) > 1]
    deviation = f"; standard deviation at most {100 * max(apart):.1f} points" if apart else ""
    seeds = ", ".join(map(str, sorted({record.seed for record in records})))
    text = (
        "Cells hold the accuracy in the inference phase on clean images / on images attacked by "
        "FGSM, under the plain loss, the adversarial loss, and the adversarial loss with a fix; "
        f"stalls counts seeds. Means over seeds {seeds}{deviation}. Measured {dates(records)} with "
        f"{records[0].release} in the {records[0].tier} tier, on {_each(records, 'test_images')} "
        f"test images of {_each(records, 'data')}, {_each(records, 'size_px')} pixels a side, with "
        f"epsilon {_each(records, 'epsilon')}."
    )
    return textwrap.fill(markdown(text), PAGE_WIDTH)


def _each(records: Iterable[Record], name: str) -> str:
    """List a setting of the records, each value once."""
    return ", ".join(dict.fromkeys(str(record.settings[name]) for record in records))
