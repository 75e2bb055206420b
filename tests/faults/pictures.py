"""The pictures of failures, drawn from docs/failures.json, and their place in the page.

`python -m tests.faults.pictures` draws docs/failures/NAME.svg and writes the sections of
docs/reading-a-failure.md; no framework is needed. The same numbers give the same files.
"""

from __future__ import annotations

import io
import json
import math
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from suite.files import write_atomically
from suite.report.pages import write_section
from suite.report.text import LITERAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOCS = Path("docs")
WITHOUT, WITH, SHADE, DARK = "#0072B2", "#D55E00", "#E6E6E6", "#333333"
"""Okabe and Ito (2008): no one confuses the first two; lines and marks differ in shape too."""

INCHES = 5.2  # wide: on a phone, letters are still about 8 pixels high
WORDS = 76  # characters a line of what is printed
STYLE: dict[Any, Any] = {"svg.hashsalt": "failures", "svg.fonttype": "none", "font.size": 9}
TABLE = {"as it was": WITHOUT, "changed": WITH, "gone": "white"}


def opened(height: float) -> tuple[Figure, Axes]:
    """Make a figure of so many inches with one panel without a box."""
    figure = Figure(figsize=(INCHES, height), layout="constrained")
    axis = figure.subplots()
    axis.spines[["top", "right"]].set_visible(False)
    return figure, axis


def curves(drawn: Mapping[str, Any]) -> tuple[Figure, str]:
    """Draw how a network learns without and with the fault."""
    figure, axis = opened(2.2)
    axis.axhline(drawn["stalled"], color=DARK, linewidth=0.8, linestyle=":")
    axis.plot(drawn["steps"], drawn["without"], color=WITHOUT, linewidth=1.6, label="as it is")
    axis.plot(drawn["steps"], drawn["with"], color=WITH, linewidth=1.6, linestyle="--",
              label="with the fault")  # fmt: skip
    axis.set(xlabel="step", ylabel="gain of the branch (nats)")
    axis.legend(frameon=False)
    ends = [drawn[name][-1] for name in ("without", "with")]
    return figure, (
        f"Information gain of the adversarial branch over {drawn['steps'][-1]} steps: as it is "
        f"it ends at {ends[0]:.2f} nats, with the fault at {ends[1]:.2f}. Below the dotted line, "
        f"{drawn['stalled']:g} nats, a network stalls."
    )


def steps(drawn: Mapping[str, Any]) -> tuple[Figure, str]:
    """Draw how far each quantity of each layer parts, in tolerances, and mark the first."""
    quantities, layers = drawn["quantities"], drawn["layers"]
    figure, axis = opened(0.9 + 0.19 * len(quantities))
    shares = np.array([[np.nan if c is None else c for c in row] for row in drawn["cells"]])
    colours = np.clip(np.log10(np.maximum(shares, 1.0)) / math.log10(400), 0, 1)
    axis.imshow(colours, aspect="auto", cmap="Oranges", vmin=-0.12, vmax=1.1, rasterized=False)
    quantity, layer, _ = drawn["first"]
    at = layers.index(layer), quantities.index(quantity)
    corner = (at[0] - 0.5, at[1] - 0.5)
    axis.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=DARK, linewidth=2))
    axis.annotate("first", at, xytext=(at[0] + 3, at[1] - 1.2), arrowprops={"arrowstyle": "->"})
    axis.set_yticks(range(len(quantities)), quantities, fontsize=8)
    axis.set_xticks([])
    axis.set_xlabel(f"the {len(layers)} layers, in order; the darker, the further apart")
    parted = int(np.sum(shares > 1))
    return figure, (
        f"A grid of {len(quantities)} quantities of step {drawn['step']} and {len(layers)} layers: "
        f"{parted} cells are further apart than rounding allows. The first of them, framed, is "
        f"{quantity} of {layer}; what follows from it parts too."
    )


def draws(drawn: Mapping[str, Any]) -> tuple[Figure, str]:
    """Draw the histograms of what was drawn without and with the fault."""
    figure, axis = opened(2.0)
    edges = np.arange(len(drawn["without"]) + 1)
    axis.stairs(drawn["without"], edges, color=WITHOUT, linewidth=1.6, label="as it is")
    axis.stairs(drawn["with"], edges, color=WITH, linewidth=1.6, linestyle="--",
                label="with the fault")  # fmt: skip
    axis.set(xlabel=f"{drawn['place']}, from small to large", ylabel="share", xticks=[], ylim=0)
    axis.legend(frameon=False)
    peaks = [max(drawn[name]) for name in ("without", "with")]
    return figure, (
        f"Histograms of the {drawn['place']} over {drawn['seeds']} seeds: flat as it is, at most "
        f"{peaks[0]:.1%} a bin, and a bell with the fault, with up to {peaks[1]:.1%}."
    )


def outcome(drawn: Mapping[str, Any]) -> tuple[Figure, str]:
    """Draw the interval of each metric's difference, in margins, and each pair of seeds."""
    rows = drawn["metrics"]
    figure, axis = opened(0.9 + 0.34 * len(rows))
    axis.axvspan(-1, 1, color=SHADE)
    axis.axvline(0, color=DARK, linewidth=0.8)
    for height, row in enumerate(rows):
        low, middle, high = np.array(row["interval"]) / row["margin"]
        pairs = (np.array(row["with"]) - np.array(row["without"])) * scaled(row) / row["margin"]
        axis.plot([low, high], [height, height], color=WITH, linewidth=3, alpha=0.6)
        axis.plot(middle, height, "D", color=WITH, markersize=5)
        axis.plot(pairs, np.full(len(pairs), height + 0.25), "o", color=WITHOUT, markersize=3)
        axis.annotate(row["decision"], (1.02, height), xycoords=("axes fraction", "data"),
                      va="center", annotation_clip=False)  # fmt: skip
    axis.set_yticks(range(len(rows)), [row["metric"].replace("_", " ") for row in rows])
    axis.set(ylim=(len(rows) - 0.4, -0.6), xlabel="difference, in margins (grey: less than one)")
    said = "; ".join(f"{row['metric'].replace('_', ' ')} {told(row)}" for row in rows)
    count = " or ".join(map(str, sorted({len(row["with"]) for row in rows})))
    return figure, f"The difference with the fault, with its interval and {count} seeds: {said}."


def scaled(row: Mapping[str, Any]) -> float:
    """Give how many of the unit of the interval one of the seeds' numbers is."""
    return 100.0 if row["unit"] == "points" else 1.0


def told(row: Mapping[str, Any]) -> str:
    """Tell an interval and what is decided of it."""
    low, middle, high = row["interval"]
    return f"{middle:+.2g} {row['unit']} ({low:.2g} to {high:.2g}), {row['decision']}"


def slower(drawn: Mapping[str, Any]) -> tuple[Figure, str]:
    """Draw how much longer a step took in each pair, the interval and the margin."""
    figure, axis = opened(1.9)
    low, middle, high = drawn["interval"]
    farthest = 3 * max(high, drawn["margin"])  # a step that was interrupted says nothing
    shown = np.clip(drawn["pairs"], -farthest, farthest)
    axis.hist(shown, bins=40, color=SHADE, edgecolor=DARK, linewidth=0.5)
    top = axis.get_ylim()[1]
    axis.plot([low, high], [top, top], color=WITH, linewidth=3)
    axis.plot(middle, top, "D", color=WITH, markersize=5)
    axis.axvline(drawn["margin"], color=WITHOUT, linestyle="--", label="margin")
    axis.set(
        xlabel="a step takes so much longer (%; outermost: or further)", ylabel="pairs of blocks"
    )
    axis.legend(frameon=False)
    where = "lies above" if low > drawn["margin"] else "does not lie above"
    return figure, (
        f"Histogram of {len(drawn['pairs'])} pairs of blocks: steps take {middle:.1f} % longer "
        f"with the fault; the interval, {low:.1f} to {high:.1f} %, {where} the margin of "
        f"{drawn['margin']:g} %."
    )


def bands(drawn: Mapping[str, Any]) -> tuple[Figure, str]:
    """Draw the numbers that left their band, each on an axis of its own."""
    rows = drawn["rows"]
    figure, axis = opened(0.7 + 0.42 * len(rows))
    for height, row in enumerate(rows):
        known = [v for v in (*row["band"], row["without"], row["with"]) if v is not None]
        low, span = min(known), (max(known) - min(known)) or 1.0
        place = [0.0 if v is None else (v - low) / span for v in (*row["band"], row["without"])]
        axis.barh(height, place[1] - place[0], 0.5, place[0], color=SHADE, edgecolor=DARK)
        axis.plot(place[2], height, "o", color=WITHOUT)
        bad = (row["with"] - low) / span
        axis.plot(bad, height, "X", color=WITH, markersize=8)
        axis.text(1.06, height, f"{row['with']:.3g}", va="center")
    axis.set_yticks(range(len(rows)), [row["metric"].replace("_", " ") for row in rows])
    axis.set(xticks=[], xlim=(-0.05, 1.2), ylim=(len(rows) - 0.5, -0.6),
             xlabel="grey: the band; circle: as it is; cross: with the fault")  # fmt: skip
    said = "; ".join(f"{row['metric'].replace('_', ' ')} is {row['with']:.3g}" for row in rows)
    return figure, f"Numbers outside their band: {said}. As it is, all lie inside."


def traps(drawn: Mapping[str, Any]) -> tuple[Figure, str]:
    """Draw a square for each call, and name those that do something else."""
    rows = drawn["rows"]
    other = [row for row in rows if row[1] != row[2]]
    names = [f"{question.replace('`', '')} {old}; with the fault: {new}"
             for question, old, new in other]  # fmt: skip
    text = "\n".join(line for name in names for line in textwrap.wrap(name, 66))
    figure, axis = opened(0.6 + 0.18 * text.count("\n"))
    for number, row in enumerate(rows):
        look = {"facecolor": WITH, "hatch": "xxx"} if row in other else {"facecolor": WITHOUT}
        axis.add_patch(Rectangle((number, 0), 0.8, 0.8, edgecolor="white", **look))
    axis.set(xlim=(0, len(rows)), ylim=(0, 0.8), aspect="equal")
    axis.set_axis_off()
    axis.text(0, -0.5, text, va="top", fontsize=8)
    return figure, (
        f"{len(rows)} squares, one a call; the {len(other)} hatched calls do something else."
    )


def books(drawn: Mapping[str, Any]) -> tuple[Figure, str]:
    """Draw the files of records: as they were, changed, or gone."""
    figure = Figure(figsize=(INCHES, 1.9), layout="constrained")
    panels = drawn["panels"]
    seeds = max(seeds_of(panel) for panel in panels)
    for axis, panel in zip(figure.subplots(1, len(panels)), panels):
        for number, fate in enumerate(panel["files"].values()):
            corner = (number % seeds, -(number // seeds))
            hatch = {"changed": "xx", "gone": "", "as it was": ""}[fate]
            axis.add_patch(Rectangle(corner, 0.8, 0.8, facecolor=TABLE[fate], edgecolor=DARK,
                                     hatch=hatch))  # fmt: skip
        axis.set(xlim=(-0.2, seeds), ylim=(-len(panel["files"]) // seeds + 0.6, 1))
        axis.set_axis_off()
        axis.set_title("\n".join(textwrap.wrap(panel["what"], 26)), fontsize=8)
    counts = "; ".join(f"{p['what'].rstrip('.')}: {counted(p)}" for p in panels)
    return figure, f"Records as squares, {seeds} seeds a line: {counts}."


def seeds_of(panel: Mapping[str, Any]) -> int:
    """Count the seeds of the case that has most of them."""
    return max(Counter(name.rpartition("-seed")[0] for name in panel["files"]).values())


def counted(panel: Mapping[str, Any]) -> str:
    """Count the files by what became of them."""
    fates = [*panel["files"].values()]
    return ", ".join(f"{fates.count(fate)} {fate}" for fate in TABLE if fate in fates)


PICTURES: Mapping[str, Callable[[Mapping[str, Any]], tuple[Figure, str]]] = {
    "curves": curves, "steps": steps, "draws": draws, "outcome": outcome, "slower": slower,
    "bands": bands, "traps": traps, "books": books,
}  # fmt: skip


def section(name: str, kind: Mapping[str, Any], alt: str) -> str:
    """Write the picture of a kind, the fault and what was printed."""
    lines = [line for text in kind["words"] for line in textwrap.wrap(text, WORDS,
             subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)]  # fmt: skip
    place = f"Planted: {kind['what']} (`{kind['fault']}`, on `{kind['case']}`)"
    printed = "\n".join(lines)
    return f"![{alt}](failures/{name}.svg)\n\n{place}\n\n```text\n{printed}\n```"


def draw(docs: Path) -> None:
    """Draw all pictures below a folder and write their sections into its page."""
    kinds = json.loads((docs / "failures.json").read_text(encoding="utf-8"))
    for name, kind in kinds.items():
        content = io.BytesIO()
        with rc_context({**STYLE, **LITERAL}):
            figure, alt = PICTURES[kind["picture"]](kind["drawn"])
            figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
        path = docs / "failures" / f"{name}.svg"
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, content.getvalue())
        write_section(docs / "reading-a-failure.md", section(name, kind, alt), section=name)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if sys.argv[1:] else DOCS)
