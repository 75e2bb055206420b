"""Tests of suite.report.fixes and suite.report.curves: every cell says what the records say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suite.errors import RecordError
from suite.judge.study import (
    accuracy,
    prediction_width,
    running_gains,
    spread,
    stalls,
    steps_cell,
    steps_to_gain,
    studies,
)
from suite.networks.fixes import FIXES
from suite.networks.phases import GRID
from suite.records import Record
from suite.report import curves
from suite.report.study import (
    ACCURACY_COLUMNS,
    STALL_COLUMNS,
    accuracy_cells,
    parts,
    fixes_markdown,
    fixes_text,
    provenance,
    stall_cells,
)

ENTROPY = 3.5
STEPS = 80
MakeRecord = Callable[..., Record]
MakeRun = Callable[..., Record]


@pytest.fixture
def make_run(make_record: MakeRecord) -> MakeRun:
    """Return a function that makes a record of question "fixes"; keywords replace metrics."""

    def run(
        loss: str = "intended",
        fix: str = "none",
        *,
        seed: int = 0,
        learns_after: int | None = None,
        settings: dict[str, Any] | None = None,
        **metrics: float,
    ) -> Record:
        learns = learns_after is not None
        gains = [0.0] * STEPS if learns_after is None else _steep(learns_after)
        losses = [ENTROPY - gain for gain in gains]
        branch = "clean" if loss == "plain" else "adversarial"
        return make_record(
            "-".join(["net", loss, fix, *map(str, (settings or {}).values())]),
            seed=seed,
            question="fixes",
            tier="study",
            settings={**_SETTINGS, "loss": loss, "fix": fix, **(settings or {})},
            curves={f"step_{branch}_ce": losses},
            metrics={
                f"{branch}_branch_gain": float(np.mean(gains[-STEPS // 4 :])),
                "information_gain": 1.5 if learns else 0.0,
                **metrics,
            },
        )

    return run


_SETTINGS = {
    "architecture": "resnet50", "batch_size": 32, "learning_rate": 0.01, "size_px": 32,
    "width": 0.25, "epochs": 1,
}  # fmt: skip


def _steep(step: int) -> list[float]:
    """Return gains whose running mean over 10 steps first exceeds 0.1 nats after `step` steps."""
    return [0.0] * (step - 1) + [2.0] * (STEPS - step + 1)


def cells(page: str, name: str) -> list[list[str]]:
    """Return the cells of all rows of a Markdown page that have this name."""
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("|")]
    return [row[1:] for row in rows if row[0] == name]


def test_a_stall_is_a_gain_below_a_tenth_of_a_nat_and_nan_is_no_learning(make_run: MakeRun) -> None:
    gains = (0.0999, 0.1, math.nan, 1.0, -2.0)
    records = [make_run(seed=seed, information_gain=gain) for seed, gain in enumerate(gains)]
    assert stalls(records, "information_gain") == (3, 5)
    assert stalls(records, "unknown") == (0, 0)


def test_stall_cells_of_seeds_that_part(make_run: MakeRun) -> None:
    after = (30, 50, 40, None, None)
    records = [
        make_run(seed=seed, learns_after=step, cost_ratio=1.5 + 0.1 * seed)
        for seed, step in enumerate(after)
    ]
    assert stall_cells(records) == (
        "2/5",
        "2/5",
        "0.90 ± 0.82",
        "3 of 5: 40 (30 to 50)",
        "80",
        "1.70 ± 0.16",
    )


def test_accuracy_cells_of_two_seeds(make_run: MakeRun) -> None:
    names = (
        "clean_accuracy", "adversarial_accuracy", "pgd_accuracy", "training_phase_clean_accuracy",
        "training_phase_adversarial_accuracy", "training_phase_pgd_accuracy",
        "precise_bn_clean_accuracy",
    )  # fmt: skip
    first = dict(zip(names, (0.5, 0.4, 0.3, 0.6, 0.45, 0.35, 0.55)))
    second = {**first, "clean_accuracy": 0.52, "training_phase_clean_accuracy": 0.64}
    records = [make_run(**first), make_run(seed=1, **second)]
    assert accuracy_cells(records) == (
        ".510 ± .014",
        ".400 ± .000",
        ".300 ± .000",
        ".620 ± .028",
        ".450 ± .000",
        ".350 ± .000",
        ".110 ± .014",
        ".550 ± .000",
    )


def test_the_gap_is_taken_seed_by_seed(make_run: MakeRun) -> None:
    pairs = ((0.1, 0.6), (0.3, 0.8))
    records = [
        make_run(seed=seed, clean_accuracy=clean, training_phase_clean_accuracy=trained)
        for seed, (clean, trained) in enumerate(pairs)
    ]
    assert accuracy_cells(records)[6] == ".500 ± .000"


def test_what_a_record_does_not_have_is_a_dash(make_run: MakeRun) -> None:
    record = make_run("plain")
    assert stall_cells([record]) == ("1/1", "-", "0.00", "never in 80", "80", "-")
    assert accuracy_cells([record]) == ("-",) * len(ACCURACY_COLUMNS)


@pytest.mark.parametrize(
    ("found", "cell"),
    [
        ([], "-"),
        ([0.25], ".250"),
        ([1.0, 1.0], "1.000 ± .000"),
        ([-0.0001, -0.0003], ".000 ± .000"),
        ([-0.5, -0.7], "-.600 ± .141"),
        ([0.5, math.nan], "nan ± nan"),
        ([0.5, -math.inf], "-inf ± nan"),
    ],
)
def test_accuracies_with_spread(found: Sequence[float], cell: str) -> None:
    assert accuracy(found) == cell


def test_spread_is_the_deviation_of_a_sample() -> None:
    assert spread([1.0, 2.0, 3.0, 4.0], decimals=2) == "2.50 ± 1.29"


@pytest.mark.parametrize(
    ("after", "cell"),
    [
        ((30,), "30"),
        ((30, 30), "30"),
        ((30, 35), "32.5 (30 to 35)"),
        ((None, 60), "1 of 2: 60"),
        ((None, None), "never in 80"),
        ((), "-"),
    ],
)
def test_steps_are_median_and_range(
    make_run: MakeRun, after: Sequence[int | None], cell: str
) -> None:
    records = [make_run(seed=seed, learns_after=step) for seed, step in enumerate(after)]
    assert steps_cell(records) == cell


def test_running_gains_restore_the_entropy_of_the_labels(make_run: MakeRun) -> None:
    gains = running_gains(make_run(learns_after=75))
    assert len(gains) == STEPS - 9
    assert gains[0] == pytest.approx(0)
    assert gains[-1] == pytest.approx(6 * 2.0 / 10)
    assert running_gains(make_run("plain", learns_after=20))[-1] == pytest.approx(2.0)


def test_a_gain_that_does_not_last_is_not_reached(make_run: MakeRun) -> None:
    record = make_run(learns_after=60)
    losses = list(record.curves["step_adversarial_ce"])
    losses[5:15] = [ENTROPY - 2] * 10
    noisy = _with_curve(record, losses)
    assert running_gains(noisy)[5] == pytest.approx(2.0)
    assert steps_to_gain(noisy) == 60


def test_a_branch_that_ends_stalled_was_never_there(make_run: MakeRun) -> None:
    record = make_run()
    losses = [ENTROPY] * (STEPS - 2) + [ENTROPY - 0.9] * 2
    lucky = _with_curve(record, losses, adversarial_branch_gain=0.09)
    assert running_gains(lucky)[-1] > 0.1
    assert steps_to_gain(lucky) == math.inf


def test_a_branch_that_diverges_never_gets_there(make_run: MakeRun) -> None:
    losses = [ENTROPY - 2] * 60 + [math.nan] * 20
    assert steps_to_gain(_with_curve(make_run(), losses, adversarial_branch_gain=1.0)) == math.inf


def test_a_gain_from_the_first_step_on_takes_one_window(make_run: MakeRun) -> None:
    assert steps_to_gain(make_run(learns_after=1)) == 10


def test_rows_come_in_the_order_of_the_fixes_and_missing_ones_are_named(make_run: MakeRun) -> None:
    fixes = ("precise-bn", "bn-momentum-0.9", "bn-momentum-0.7", "none")
    page = fixes_markdown(make_run("literal", fix) for fix in fixes)
    lines = page.splitlines()
    names = [line.split(" | ")[0].strip("| ") for line in lines if line.startswith("|")]
    header = ["fix", "---"]
    assert names == [*header, "none", "precise-bn", "bn-momentum-0.7", "bn-momentum-0.9"] * 2
    missing = ", ".join(name for name in FIXES if name not in fixes)
    assert f"Not measured: {missing}." in page
    assert "**tf-2.21, intended phases**: not measured" in lines
    assert "**tf-2.21, plain loss**: not measured" in lines


def test_tables_hold_the_cells_of_their_rows(make_run: MakeRun) -> None:
    records = [
        make_run("literal", seed=seed, clean_accuracy=0.05 + 0.01 * seed) for seed in range(5)
    ]
    page = fixes_markdown(records)
    first, second = cells(page, "none")
    assert first == ["5/5", "5/5", "0.00 ± 0.00", "never in 80", "80", "-"]
    assert second[0] == ".070 ± .016"
    assert cells(page, "fix") == [list(STALL_COLUMNS), list(ACCURACY_COLUMNS)]


def test_rows_of_few_seeds_are_flagged(make_run: MakeRun) -> None:
    records = [make_run("literal", seed=seed) for seed in range(5)]
    records += [make_run("literal", "bn-reset", seed=seed) for seed in range(4)]
    assert "Fewer than 5 seeds: bn-reset (4)." in fixes_markdown(records)
    assert "Fewer than" not in fixes_markdown(records[:5])


def test_how_to_read_the_spread_follows_from_the_seeds(make_run: MakeRun) -> None:
    assert prediction_width(5) == pytest.approx(2.7764451 * math.sqrt(1.2))
    records = [make_run("literal", seed=seed) for seed in range(5)]
    records += [make_run("plain", seed=seed) for seed in range(3)]
    page = fixes_markdown(records)
    assert "In 95% of cases one further run of a row lies within mean ± f" in page
    assert "where f is 3.0 with 5 seeds, 5.0 with 3 seeds (prediction interval" in page
    assert "One seed has none." in fixes_markdown(records[:1])


def test_every_point_of_the_grid_is_named_with_what_it_does(make_run: MakeRun) -> None:
    records = [make_run(point) for point in GRID if point not in ("own-updating", "moving-kept")]
    records += [make_run("intended"), make_run("intended", "attack-inference-loss-training")]
    grid = parts(studies(records)[0])[-1]
    assert [row.name for row in grid.rows] == [
        "own-updating (own batch, updates)",
        "own-kept (own batch, does not update)",
        "clean-updating (clean batch, updates)",
        "clean-kept (clean batch, does not update)",
        "moving-updating (moving statistics, updates)",
        "moving-kept (moving statistics, does not update)",
    ]
    cases = [row.records[0].settings["fix"] for row in grid.rows]
    assert cases == ["attack-inference-loss-training", *["none"] * 5]
    assert "Here own-updating is intended attack-inference-loss-training." in grid.note
    assert "Here moving-kept is intended none." in grid.note


def test_a_point_that_was_run_itself_goes_first(make_run: MakeRun) -> None:
    records = [make_run("own-updating"), make_run("intended", "attack-inference-loss-training")]
    grid = parts(studies(records)[0])[-1]
    assert grid.rows[0].records == records[:1]
    assert "own-updating is" not in grid.note
    assert [name.split(" ")[0] for name in grid.missing] == list(GRID)[1:]


def test_other_setups_stay_out_of_the_tables(make_run: MakeRun) -> None:
    usual = [make_run("intended", fix, learns_after=30) for fix in ("none", "bn-reset")]
    other = [make_run(settings=change) for change in ({"batch_size": 16}, {"size_px": 48})]
    (study,) = studies([*other, *usual])
    assert str(study.setup) == "resnet50, batch 32, learning rate 0.01, 32 px"
    assert cells(fixes_markdown([*other, *usual]), "none")[0][0] == "0/1"


def test_records_of_a_case_come_by_seed(make_run: MakeRun) -> None:
    records = [make_run(seed=seed) for seed in (2, 0, 1)]
    (study,) = studies([*records, make_run("literal")])
    assert [record.seed for record in study.found("intended")] == [0, 1, 2]
    assert study.found("intended", "bn-reset") == []


def test_the_setup_is_the_one_of_most_cases_not_of_most_seeds(make_run: MakeRun) -> None:
    small = {"batch_size": 16}
    often = [make_run(seed=seed, settings=small) for seed in range(9)]
    (study,) = studies([*often, make_run(), make_run("literal")])
    assert study.setup.batch_size == 32


def test_releases_and_tiers_are_told_apart(make_run: MakeRun) -> None:
    record = make_run("literal")
    old = _replaced(record, release="tf-1.14", metrics={**record.metrics, "information_gain": 1.0})
    large = _replaced(record, tier="full-study")
    page = fixes_markdown([record, old, large])
    titles = [line for line in page.splitlines() if line.endswith("literal phases**")]
    assert titles == [
        "**tf-2.21, literal phases**",
        "**tf-1.14, literal phases**",
        "**tf-2.21 (full-study), literal phases**",
    ]
    assert [row[0] for row in cells(page, "none")[::2]] == ["1/1", "0/1", "1/1"]
    assert "tf-1.14: resnet50, batch 32, learning rate 0.01, 32 px; width 0.25, epochs 1." in page


def test_other_questions_are_passed_over(make_run: MakeRun, make_record: MakeRecord) -> None:
    assert fixes_markdown([make_record()]) == "The fixes: not measured."
    assert fixes_markdown([make_record(), make_run()]) == fixes_markdown([make_run()])


def test_where_the_numbers_come_from(make_record: MakeRecord) -> None:
    machine = {"cpu": "A", "cores": 2, "memory_gib": 24, "gpus": ["H"], "fingerprint": "f1"}
    first = {
        "machine": machine, "versions": {"numpy": "2.0.0", "keras": "3.0"},
        "data_digest": "sha256:" + "ab" * 32,
    }  # fmt: skip
    second = {**first, "versions": {"numpy": "2.1.0"}, "machine": {"fingerprint": "f2"}}
    records = [make_record(seed=3, environment=first), make_record(seed=1, environment=second)]
    assert provenance(records) == (
        "numpy 2.0.0, 2.1.0, keras 3.0, none; A, 2 cores, 24 GiB, H (f1) and (f2); "
        "data abababababab; suite 3; seeds 1, 3; 2 records."
    )


def test_text_has_the_same_rows(make_run: MakeRun) -> None:
    records = [make_run("literal", seed=seed) for seed in range(5)]
    text = fixes_text(records)
    assert "tf-2.21, literal phases" in text.splitlines()
    row = next(line for line in text.splitlines() if line.strip().startswith("none "))
    assert " ".join(row.split()) == "none 5/5 5/5 0.00 ± 0.00 never in 80 80 -"
    assert max(map(len, fixes_text(records, width=70).split("\n\n")[4].splitlines())) <= 70


@pytest.fixture
def curved(make_run: MakeRun) -> list[Record]:
    """Return controls, a fix that mends under one policy, and a point of the grid."""
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
    broken = _with_curve(make_run("literal", "bn-reset"), [3.0] * 70 + [math.nan] * 10)
    longer = _with_curve(make_run("literal", "more-iterations"), [ENTROPY] * 300)
    half = [
        make_run("literal", "group-norm", seed=1),
        _replaced(broken, settings={**broken.settings, "fix": "group-norm"}),
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
    falling = _with_curve(make_run("literal", "bn-reset"), [ENTROPY] * 40 + [50.0] * 40)
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
        curves.curves_figure([*curved, _replaced(curved[0], release="tf-1.14")], path)
    with pytest.raises(ValueError, match=r"one release and tier\. Received: \[\]"):
        curves.curves_figure([], path)
    with pytest.raises(ValueError, match="must hold curves of the adversarial branch"):
        curves.curves_figure([make_run("plain")], path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="cannot be written"):
        curves.curves_figure(curved, tmp_path / "file" / "a.svg")


def _with_curve(record: Record, losses: list[float], **metrics: float) -> Record:
    """Return a record with another curve, and the gain of its branch that this implies."""
    gain = {
        "adversarial_branch_gain": ENTROPY - float(np.mean(losses[-max(1, len(losses) // 4) :]))
    }
    changed = {**record.metrics, **gain, **metrics}
    return _replaced(record, curves={"step_adversarial_ce": losses}, metrics=changed)


def _replaced(record: Record, **changes: Any) -> Record:
    """Return a record with other fields."""
    return Record(
        **{**{field.name: getattr(record, field.name) for field in fields(record)}, **changes}
    )
