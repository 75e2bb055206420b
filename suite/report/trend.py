"""The page of trends: every metric of the baselines over the releases, from their indexes."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from suite.files import write_atomically
from suite.judge.history import HISTORY, Entry, Numbers
from suite.judge.metrics import METRICS
from suite.report.grid import markdown_grid
from suite.report.text import LITERAL, markdown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ABSENT = "-"
PERCENT = 100.0
COLUMNS = 3
PANEL_INCHES = (2.9, 1.7)  # width and height
CROWDED = 4  # rows whose names fit beside each other
LEAST_SPAN = 6.0  # points on the axis of a panel, or noise would look like a trend
ASIDE = 0.1  # of the way to the next release, between the two colours
FORMER = 0.14  # the same, from a baseline of a row to the one before it
DRAWN = 3  # baselines of a row: the page tells of all
COLOURS = {
    "clean_accuracy": "#0072B2",
    "adversarial_accuracy": "#D55E00",
}  # Okabe and Ito (2008): no one confuses them
LEGEND = """\
Mean ± standard deviation over the seeds (their number) of the stored baseline of each row; "was" is
the same of the row's baseline before it, where that told of other numbers. Accuracies are
fractions, gains nats. Whether a difference is more than chance is the gate's to say
([gate.md](gate.md)): no test is made here."""
LOG = ("row", "day", "reason", "cases", "measured", "versions", "accepted as worse")
NAMED = ("tensorflow", "keras", "cleverhans", "jax", "torch")  # versions in the log


class Row(NamedTuple):
    """The baseline of one release and tier.

    Attributes:
        release: Name of the release.
        tier: Name of the tier.
        entries: Its index, the oldest first.
    """

    release: str
    tier: str
    entries: Sequence[Entry]

    @property
    def told(self) -> bool:
        """True where it has numbers of any case; steps and draws have none."""
        return any(entry.cases for entry in self.entries)

    def numbers(self, case: str, metric: str) -> list[Numbers]:
        """List the numbers of a metric, the oldest first, each that differs from the one before."""
        found = [entry.cases.get(case, {}).get(metric) for entry in self.entries]
        told = [numbers for numbers in found if numbers is not None]
        return [own for own, last in zip(told, [None, *told]) if str(own) != str(last)]


def oldest_first(rows: Sequence[Row]) -> list[Row]:
    """Sort baselines by the TensorFlow that they state, and those without one behind."""

    def age(row: Row) -> tuple[bool, list[int]]:
        found = " ".join(row.entries[-1].versions.get("tensorflow", []))
        return not found, [int(part) for part in re.findall(r"\d{1,9}", found)]

    return sorted(rows, key=age)


def trends_markdown(rows: Sequence[Row], releases: Sequence[str], *, figure: str = "") -> str:
    """Write the trends in Markdown: the answer, the figure, a table a metric, and every change.

    Args:
        rows: The baselines, in the order in which they are to stand.
        releases: Names of all rows of the release table.
        figure: Where the figure lies, from the page; empty where there is none.
    """
    return "\n\n".join(_page(rows, releases, figure))


def _page(rows: Sequence[Row], releases: Sequence[str], figure: str) -> Iterator[str]:
    """Yield the paragraphs of the page."""
    tiers = list(dict.fromkeys(row.tier for row in rows))
    yield "\n".join(f"- {_coverage(tier, rows, releases)}" for tier in tiers)
    yield LEGEND
    if figure:
        yield f"![Accuracy of each case over the releases]({figure})"
    for tier in tiers:
        own = [row for row in rows if row.tier == tier and row.told]
        yield f"## The {markdown(tier)} tier"
        if sum(len(row.entries) for row in own) == 1:
            yield "One baseline, never changed: there is nothing to compare yet."
            continue
        for metric in metrics(own):
            yield f"### {markdown(metric)}"
            yield markdown_grid(("case", *(row.release for row in own)), _cells(own, metric))
    yield "## Every change of a baseline"
    yield f"What the gate said of those accepted as worse: `baselines/ROW/TIER/{HISTORY}`."
    yield markdown_grid(LOG, [line for row in rows for line in _log(row)])


def _coverage(tier: str, rows: Sequence[Row], releases: Sequence[str]) -> str:
    """Say which rows of the release table have a baseline in a tier, and which have none."""
    own = [row for row in rows if row.tier == tier]
    there, bare = ([row.release for row in own if row.told is told] for told in (True, False))
    without = [name for name in releases if name not in (*there, *bare)]
    verb = "has" if len(there) == 1 else "have"
    every = len(there) + len(bare) + len(without)
    text = f"{tier} tier: {len(there)} of {every} rows {verb} a baseline"
    steps = f"; of steps and draws alone: {', '.join(bare)}" if bare else ""
    lacking = f"; without one: {', '.join(without)}" if without else ""
    return markdown(f"{text} ({', '.join(there)}){steps}{lacking}.")


def metrics(rows: Sequence[Row]) -> list[str]:
    """List the primary metrics that the baselines have, in the order of the table of metrics."""
    there = {name for row in rows for own in row.entries[-1].cases.values() for name in own}
    return [name for name, row in METRICS.items() if row.primary and name in there]


def cases(rows: Sequence[Row], metric: str) -> list[str]:
    """List the cases whose baseline has a metric, by name."""
    found = {c for row in rows for c, own in row.entries[-1].cases.items() if metric in own}
    return sorted(found)


def _cells(rows: Sequence[Row], metric: str) -> list[tuple[str, ...]]:
    """Write a line a case: the numbers of each row."""
    return [(case, *(_cell(row, case, metric) for row in rows)) for case in cases(rows, metric)]


def _cell(row: Row, case: str, metric: str) -> str:
    """Write the numbers of a row, and those that its baseline had before."""
    if metric not in row.entries[-1].cases.get(case, {}):
        return ABSENT
    *former, now = row.numbers(case, metric)
    return f"{now}; was {former[-1]}" if former else str(now)


def _log(row: Row) -> Iterator[tuple[str, ...]]:
    """Yield a line an entry of a baseline's index."""
    former: Mapping[str, Mapping[str, Numbers]] = {}
    for entry in row.entries:
        versions = [f"{name} {' or '.join(entry.versions[name])}" for name in _named(entry)]
        yield (
            f"{row.release} {row.tier}",
            entry.date,
            entry.reason,
            _changes(former, entry.cases),
            " to ".join(dict.fromkeys(entry.measured)),
            ", ".join(versions),
            ", ".join(words.partition(":")[0] for words in entry.worse) or ABSENT,
        )
        former = entry.cases


def _named(entry: Entry) -> list[str]:
    """List the packages whose versions the log names."""
    return [name for name in NAMED if name in entry.versions]


def _changes(
    former: Mapping[str, Mapping[str, Numbers]], now: Mapping[str, Mapping[str, Numbers]]
) -> str:
    """Count the cases of an entry that are new, changed and gone."""
    changed = [case for case in now if case in former and _texts(now[case]) != _texts(former[case])]
    parts = ((len({*now} - {*former}), "new"), (len(changed), "changed"))
    gone = len({*former} - {*now})
    told = [f"{count} {word}" for count, word in (*parts, (gone, "removed")) if count]
    changes = ", ".join(told) or "none changed"
    return f"{len(now)}: {changes}" if now or gone else "steps and draws alone"


def _texts(own: Mapping[str, Numbers]) -> dict[str, str]:
    """Write numbers, so that NaN equals itself."""
    return {name: repr(tuple(found)) for name, found in own.items()}


def drawn(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """List the tiers and cases of the figure: those with two states or more to compare."""
    found = []
    for tier in dict.fromkeys(row.tier for row in rows):
        own = [row for row in rows if row.tier == tier]
        names = sorted({case for metric in COLOURS for case in cases(own, metric)})
        found += [(tier, case) for case in names if _has_two(own, case)]
    return found


def _has_two(rows: Sequence[Row], case: str) -> bool:
    """True where a metric of a case has been told twice, by two rows or by one that changed."""
    return any(sum(len(row.numbers(case, name)) for row in rows) > 1 for name in COLOURS)


def trends_figure(rows: Sequence[Row], path: Path) -> None:
    """Draw the accuracies of each case over the releases, a panel a case, and write the figure.

    The same indexes give the same file.

    Args:
        rows: The baselines, in the order in which they are to stand.
        path: The ``.svg`` to write.

    Raises:
        RecordError: If the file cannot be written.
    """
    from matplotlib import rc_context  # noqa: PLC0415 - no release's environment has it

    content = io.BytesIO()
    style: dict[Any, Any] = {
        "svg.hashsalt": "trends", "svg.fonttype": "none", "font.size": 8, **LITERAL,
    }  # fmt: skip
    with rc_context(style):
        metadata = {"Date": None, "Creator": None}
        _figure(rows).savefig(content, format="svg", metadata=metadata)
    write_atomically(path, content.getvalue())


def _figure(rows: Sequence[Row]) -> Figure:
    """Draw the panels."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - no release's environment has it

    panels = drawn(rows)
    height = math.ceil(max(len(panels), 1) / COLUMNS)
    size = (COLUMNS * PANEL_INCHES[0], height * PANEL_INCHES[1] + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(
        "Accuracy in percent, mean ± standard deviation: blue, left: clean; orange, right: "
        "attacked by FGSM; hollow: the baselines before",
        fontsize=8,
    )
    axes = figure.subplots(height, COLUMNS, squeeze=False).ravel()
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for axis, (tier, case) in zip(axes, panels):
        _draw(axis, [row for row in rows if row.tier == tier and row.told], case)
    return figure


def _draw(axis: Axes, rows: Sequence[Row], case: str) -> None:
    """Draw one case: a colour a metric, from row to row."""
    for side, (metric, colour) in zip((-ASIDE / 2, ASIDE / 2), COLOURS.items()):
        told = [(place + side, _shares(row, case, metric)) for place, row in enumerate(rows)]
        line = [(x, PERCENT * found[-1].mean) for x, found in told if found]
        axis.plot([x for x, _ in line], [y for _, y in line], color=colour, lw=0.8)
        for x, found in told:
            _mark(axis, x, found, colour)
    axis.set_title(case, fontsize=7, pad=3)
    turned = 45 if len(rows) > CROWDED else 0
    axis.set_xticks(range(len(rows)), [row.release for row in rows], rotation=turned)
    axis.set_xlim(-0.5, len(rows) - 0.5)
    low, high = axis.get_ylim()
    more = max(0.0, LEAST_SPAN - (high - low)) / 2
    axis.set_ylim(low - more, high + more)
    axis.spines[["top", "right"]].set_visible(False)


def _shares(row: Row, case: str, metric: str) -> list[Numbers]:
    """Give the numbers that can be drawn: an accuracy and its deviation lie in [0, 1]."""
    return [
        own
        for own in row.numbers(case, metric)
        if 0 <= own.mean <= 1 and (0 <= own.deviation <= 1 or math.isnan(own.deviation))
    ]


def _mark(axis: Axes, x: float, found: Sequence[Numbers], colour: str) -> None:
    """Draw the numbers of one row with their deviations, those that it had before to their left."""
    for back, own in enumerate(found[: -DRAWN - 1 : -1]):
        style: dict[str, Any] = {"color": colour, "fmt": "o", "ms": 3.5, "lw": 1}
        fill = "none" if back else colour
        mean, deviation = PERCENT * own.mean, PERCENT * own.deviation
        axis.errorbar(x - back * FORMER, mean, yerr=deviation, mfc=fill, **style)
