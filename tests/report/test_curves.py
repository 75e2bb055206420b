"""Tests of suite.report.curves: the figure shows what the records' curves say."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from suite.errors import RecordError
from suite.judge.study import running_gains, studies
from suite.records import Record
from suite.report import curves
from tests.judge.conftest import ENTROPY, STEPS, MakeRun, with_curve


@pytest.fixture
def curved(make_run: MakeRun) -> list[Record]:
    """Make controls, a fix that mends under one policy, and a point of the grid."""
    after = {
        ("literal", "none"): None, ("intended", "none"): None, ("own-kept", "none"): 30,
        ("literal", "bn-momentum-0.5"): None, ("intended", "bn-momentum-0.5"): 20,
    }  # fmt: skip
    return [
        make_run(loss, fix, seed=seed, learns_after=step and step + seed)
        for (loss, fix), step in after.items()
        for seed in range(3)
    ]


def test_the_figure_has_a_panel_a_fix_and_a_point(curved: list[Record]) -> None:
    drawn = curves.figure(studies(curved)[0])
    shown = [axis for axis in drawn.axes if axis.axison]
    assert [axis.get_title() for axis in shown] == ["none", "bn-momentum-0.5", "own-kept"]
    colours = [[line.get_color() for line in axis.lines[1:]] for axis in shown]
    both = [curves.COLOURS["literal"], curves.COLOURS["intended"]]
    assert colours == [both, both, [curves.GRID_COLOUR]]


def test_a_line_is_the_mean_of_the_seeds_and_its_band_their_range(curved: list[Record]) -> None:
    drawn = curves.figure(studies(curved)[0])
    axis = drawn.axes[1]
    line, band = axis.lines[2], axis.collections[1]
    own = [
        r
        for r in curved
        if (r.settings["loss"], r.settings["fix"]) == ("intended", "bn-momentum-0.5")
    ]
    gains = np.stack([running_gains(record) for record in own])
    assert line.get_xdata().tolist() == list(range(10, STEPS + 1))
    np.testing.assert_allclose(line.get_ydata(), gains.mean(axis=0))
    for edge in (gains.min(axis=0), gains.max(axis=0)):
        corners = {(float(x), round(float(y), 9)) for x, y in band.get_paths()[0].vertices}
        assert {(x, round(float(y), 9)) for x, y in zip(range(10, STEPS + 1), edge)} <= corners


def test_the_figure_tells_what_diverged_and_what_is_longer(
    curved: list[Record], make_run: MakeRun
) -> None:
    broken = with_curve(make_run("literal", "bn-reset"), [3.0] * 70 + [math.nan] * 10)
    longer = with_curve(make_run("literal", "more-iterations"), [ENTROPY] * 300)
    half = [
        make_run("literal", "group-norm", seed=1),
        replace(broken, settings={**broken.settings, "fix": "group-norm"}),
    ]
    drawn = curves.figure(studies([*curved, broken, longer, *half])[0])
    titles = [axis.get_title() for axis in drawn.axes if axis.axison]
    assert titles[2:5] == [
        "more-iterations, 300 steps",
        "bn-reset (1 of 1 diverged)",
        "group-norm (1 of 2 diverged)",
    ]
    line = drawn.axes[2].lines[1]
    assert len(line.get_xdata()) <= curves.POINTS


def test_what_falls_far_leaves_room_for_the_rest(curved: list[Record], make_run: MakeRun) -> None:
    falling = with_curve(make_run("literal", "bn-reset"), [ENTROPY] * 40 + [50.0] * 40)
    drawn = curves.figure(studies([*curved, falling])[0])
    low, high = drawn.axes[0].get_ylim()
    assert low == curves.LOWEST_GAIN
    assert high > 2
    assert curves.figure(studies(curved)[0]).axes[0].get_ylim()[0] > curves.LOWEST_GAIN


def test_the_file_is_the_same_for_the_same_records(curved: list[Record], tmp_path: Path) -> None:
    paths = [tmp_path / "a.svg", tmp_path / "b" / "b.svg"]
    for path in paths:
        curves.curves_figure(curved, path)
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert b"<svg" in first
    assert b"<dc:date>" not in first
    assert b"matplotlib" not in first.lower().split(b"<defs>", maxsplit=1)[0]


def test_a_figure_of_nothing_or_of_two_releases_is_refused(
    curved: list[Record], make_run: MakeRun, tmp_path: Path
) -> None:
    path = tmp_path / "a.svg"
    with pytest.raises(
        ValueError, match=r"one release and tier\. Received: \['tf-2.21', 'tf-1.14'"
    ):
        curves.curves_figure([*curved, replace(curved[0], release="tf-1.14")], path)
    with pytest.raises(ValueError, match=r"one release and tier\. Received: \[\]"):
        curves.curves_figure([], path)
    with pytest.raises(ValueError, match="must hold curves of the adversarial branch"):
        curves.curves_figure([make_run("plain")], path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="cannot be written"):
        curves.curves_figure(curved, tmp_path / "file" / "a.svg")
