"""The figure of a study: how the adversarial branch learns under every fix and grid point."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.files import write_atomically
from suite.judge.bands import STALLED
from suite.judge.study import SMOOTHED_STEPS, Study, branch, place, running_gains, studies, window
from suite.networks.fixes import FIXES
from suite.networks.phases import GRID
from suite.records import Record
from suite.report.text import LITERAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOWEST_GAIN = -0.5  # nats; curves that fall further are cut off there
PANEL_COLUMNS = 4
PANEL_INCHES = (2.05, 1.5)  # width and height
HEADING_INCHES = 0.62
POINTS = 100  # a line is drawn with at most so many
COLOURS = {
    "literal": "#D55E00",
    "intended": "#0072B2",
}  # Okabe and Ito (2008): no one confuses them
GRID_COLOUR = "#009E73"


class Panel(NamedTuple):
    """One small plot of the figure.

    Attributes:
        title: The fix, or the point of the phase grid.
        lines: The records of each line by its colour; the line is their mean.
    """

    title: str
    lines: dict[str, list[Record]]

    @property
    def steps(self) -> int:
        """Number of steps of the longest line; 0 if all records diverged."""
        records = [record for found in self.lines.values() for record in found]
        return max((len(record.curves[branch(record)]) for record in records), default=0)


def curves_figure(records: Iterable[Record], path: Path) -> None:
    """Draw the information gain of the adversarial branch against the steps, and write the figure.

    There is one panel for each fix, with literal and intended phases, and one for each point of the
    phase grid. The same records give the same file.

    Args:
        records: Records of the question "fixes", of one release and tier; those of other questions
            are passed over.
        path: The file to write; its suffix chooses between SVG and PNG.

    Raises:
        ValueError: If `records` hold no curve of the branch, or several releases or tiers.
        RecordError: If the file cannot be written.
    """
    from matplotlib import rc_context  # noqa: PLC0415 - no release's environment has it

    found = studies(records)
    if len(found) != 1:
        names = [place(study) for study in found]
        raise ValueError(f"records must be of one release and tier. Received: {names}")
    content = io.BytesIO()
    style: dict[Any, Any] = {"svg.hashsalt": "fixes", "font.size": 8, **LITERAL}
    with rc_context(style):
        metadata = {"Date": None, "Creator": None} if path.suffix == ".svg" else {}
        figure(found[0]).savefig(content, format=path.suffix[1:], dpi=120, metadata=metadata)
    write_atomically(path, content.getvalue())


def figure(study: Study) -> Figure:
    """Draw the figure of one study.

    Raises:
        ValueError: If the study holds no curve of the branch.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - no release's environment has it
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415

    found = panels(study)
    if not found:
        raise ValueError("records must hold curves of the adversarial branch. Received: none")
    rows = math.ceil(len(found) / PANEL_COLUMNS)
    height = rows * PANEL_INCHES[1] + HEADING_INCHES
    layout = ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - HEADING_INCHES / height))
    drawn = Figure(figsize=(PANEL_COLUMNS * PANEL_INCHES[0], height), layout=layout)
    axes = drawn.subplots(rows, PANEL_COLUMNS, sharey=True, squeeze=False).ravel()
    _fill(axes, found)
    _head(drawn, study, height, grid=any(GRID_COLOUR in panel.lines for panel in found))
    return drawn


def panels(study: Study) -> list[Panel]:
    """Lay out a panel for each fix, then one for each point of the phase grid that was measured."""
    fixes = [
        _panel(fix, {COLOURS[loss]: study.found(loss, fix) for loss in COLOURS}) for fix in FIXES
    ]
    points = [_panel(point, {GRID_COLOUR: study.found(point)}) for point in GRID]
    return [panel for panel in (*fixes, *points) if panel.steps or "diverged" in panel.title]


def _panel(name: str, lines: Mapping[str, list[Record]]) -> Panel:
    """Make the panel of the records that did not diverge; its title says how many did."""
    whole = {
        colour: [record for record in records if np.isfinite(running_gains(record)).all()]
        for colour, records in lines.items()
    }
    count, left = (sum(map(len, found.values())) for found in (lines, whole))
    return Panel(f"{name} ({count - left} of {count} diverged)" if left < count else name, whole)


def _fill(axes: np.ndarray, found: Sequence[Panel]) -> None:
    """Draw a panel on each of the axes, row by row, and hide the axes that are left over."""
    for axis in axes[len(found) :]:
        axis.set_axis_off()
    for axis, panel in zip(axes, found):
        _draw(axis, panel)
        if panel.steps not in (0, found[0].steps):
            axis.set_title(f"{panel.title}, {panel.steps} steps", fontsize=8, pad=3)
    for axis in axes[::PANEL_COLUMNS]:
        axis.set_ylabel("gain (nats)")
    _cut_off(axes[0])


def _draw(axis: Axes, panel: Panel) -> None:
    """Draw all lines of a panel."""
    axis.axhline(STALLED, color="0.5", linewidth=0.7, linestyle=":")
    for colour, records in panel.lines.items():
        if records:
            _draw_line(axis, colour, records)
    axis.set_title(panel.title, fontsize=8, pad=3)
    axis.set_xlim(0, panel.steps or 1)
    axis.set_xticks([0, panel.steps // 2, panel.steps])
    axis.spines[["top", "right"]].set_visible(False)


def _draw_line(axis: Axes, colour: str, records: Sequence[Record]) -> None:
    """Draw the mean of the seeds and a band from the smallest to the largest."""
    gains = np.stack([running_gains(record) for record in records])
    drawn = slice(None, None, math.ceil(gains.shape[1] / POINTS))
    steps = window(records[0]) + np.arange(gains.shape[1])[drawn]
    low, high = gains.min(axis=0)[drawn], gains.max(axis=0)[drawn]
    axis.fill_between(steps, low, high, color=colour, alpha=0.25, linewidth=0)
    axis.plot(steps, gains.mean(axis=0)[drawn], color=colour, linewidth=1.3)


def _cut_off(axis: Axes) -> None:
    """Cut the common axis of gains off below, so that a curve that falls far leaves room."""
    low, high = axis.get_ylim()
    axis.set_ylim(max(low, LOWEST_GAIN), high)


def _head(drawn: Figure, study: Study, height: float, *, grid: bool) -> None:
    """Write the heading: what is shown, the colours by name, and how to read the lines."""
    top = 1 - 0.05 / height
    line = 0.18 / height
    title = f"Information gain of the adversarial branch in training, {place(study)}"
    drawn.text(0.01, top, title, va="top", fontsize=10, weight="bold")
    names = [(f"{name} phases", colour) for name, colour in COLOURS.items()]
    names += [("point of the phase grid", GRID_COLOUR)] if grid else []
    for index, (name, colour) in enumerate(names):
        drawn.text(0.01 + 0.15 * index, top - 1.1 * line, name, va="top", color=colour, size=9)
    text = (
        f"Against steps (mean of {SMOOTHED_STEPS}); line: mean over seeds, band: smallest to "
        f"largest; dotted: {STALLED:g} nats, below which it stalls."
    )
    drawn.text(0.01, top - 2.1 * line, text, va="top", size=8, color="0.3")
