"""Tests of suite.report.results: every cell says what the records say, for the page and README."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from suite.judge.study import ABSENT
from suite.records import Record
from suite.report.results import (
    COLUMNS,
    cells,
    dates,
    network,
    overview_markdown,
    results_markdown,
    results_text,
    rows,
)

MakeRecord = Callable[..., Record]
MakeRun = Callable[..., Record]
SETTINGS = {
    "architecture": "resnet50", "width": 0.25, "loss": "intended", "fix": "none",
    "data": "gtsrb", "size_px": 32, "test_images": 1000, "epsilon": 0.01,
}  # fmt: skip


@pytest.fixture
def make_run(make_record: MakeRecord) -> MakeRun:
    """Make a record of the small tier; keywords replace settings, `metrics` what was measured."""

    def run(seed: int = 0, metrics: dict[str, float] | None = None, **changes: Any) -> Record:
        fields = {
            name: changes.pop(name)
            for name in ("question", "release", "tier", "started_at", "environment")
            if name in changes
        }
        settings = {**SETTINGS, **changes}
        case = "-".join(str(value) for value in settings.values())
        return make_record(case, seed, settings=settings, metrics=metrics or {}, **fields)

    return run


def reached(clean: float, attacked: float, gain: float) -> dict[str, float]:
    return {"clean_accuracy": clean, "adversarial_accuracy": attacked, "information_gain": gain}


def grid(page: str) -> list[list[str]]:
    """List the cells of each line of the first Markdown table of a page."""
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    return [line.strip("| ").split(" | ") for line in lines]


def test_a_row_is_the_spread_over_the_seeds_of_training_and_step_times(make_run: MakeRun) -> None:
    records = [
        make_run(
            seed,
            {
                **reached(0.5 + 0.1 * seed, 0.4, 1.9),
                "train_accuracy": 0.6,
                "adversarial_branch_gain": 1.5 + seed,
                "classes_predicted": 29.0 + 2 * seed,
            },
        )
        for seed in (1, 0)
    ]
    timed = [make_run(0, {"adversarial_plain_ratio": 2.42}, question="step-time")]
    (row,) = rows([*timed, *records])
    assert [record.seed for record in row.trained] == [0, 1]
    assert cells(row) == (
        "ResNet-50, width 0.25",
        "intended",
        "none",
        ".600 ± .000",
        ".550 ± .071",
        ".400 ± .000",
        "1.90 ± 0.00",
        "2.00 ± 0.71",
        "30 ± 1",
        "2.42",
    )
    assert len(cells(row)) == len(COLUMNS)


def test_what_was_not_measured_is_a_dash(make_run: MakeRun) -> None:
    (row,) = rows([make_run(0, reached(0.7, 0.5, 2.0), loss="plain", architecture="lenet5")])
    assert cells(row) == (
        "LeNet-5, width 0.25", "plain", "none",
        ABSENT, ".700", ".500", "2.00", ABSENT, ABSENT, ABSENT,
    )  # fmt: skip


def test_rows_stand_in_the_order_of_the_tables_not_of_the_files(make_run: MakeRun) -> None:
    chosen = [
        ("lenet5", 1.0, "plain", "none"),
        ("lenet5", 1.0, "intended", "none"),
        ("resnet50", 0.25, "plain", "none"),
        ("resnet50", 0.25, "literal", "none"),
        ("resnet50", 0.25, "literal", "imagenet-inputs"),
        ("resnet50", 0.25, "intended", "none"),
        ("resnet50", 0.25, "intended", "bn-momentum-0.5"),
        ("resnet50", 0.25, "intended", "imagenet-inputs"),
        ("resnet50", 0.25, "intended", "bn-momentum-0.9"),
        ("resnet50", 1.0, "intended", "none"),
    ]
    names = ("architecture", "width", "loss", "fix")
    records = [make_run(0, reached(0.7, 0.5, 2.0), **dict(zip(names, row))) for row in chosen]
    found = [(row.network, row.loss, row.fix) for row in rows(records[::-1])]
    assert found == [(network(row[0], row[1]), *row[2:]) for row in chosen]


def test_other_questions_are_passed_over(make_run: MakeRun) -> None:
    others = [make_run(question=question) for question in ("fixes", "attack", "parity", "traps")]
    assert rows(others) == []
    assert results_markdown(others) == "The results: not measured."
    assert overview_markdown(others) == "The results: not measured."


def test_each_release_and_tier_has_a_table_and_says_where_it_comes_from(make_run: MakeRun) -> None:
    places = [("tf-2.21", "small"), ("tf-2.15", "small"), ("tf-2.21", "full")]
    records = [
        make_run(
            seed,
            reached(0.7, 0.5, 2.0),
            release=release,
            tier=tier,
            environment={"versions": {"keras": release[3:]}},
            started_at=f"2026-11-2{seed}T12:00:00+00:00",
        )
        for release, tier in places
        for seed in (2, 3)
    ]
    page = results_markdown(records)
    heads = [line for line in page.splitlines() if line.startswith("## ")]
    assert heads == [f"## {release}, {tier} tier" for release, tier in places]
    assert "- ResNet-50, width 0.25: size px 32, test images 1000, epsilon 0.01\n" in page
    trained = "trained 2026-11-22 to 2026-11-23: python 3.11.7, keras 2.15"
    assert f"- {trained}; 2 cores (machine-a); data 2;" in page
    assert page.count("seeds 2, 3; 2 records.") == 3
    assert "cost measured" not in page


def test_the_text_for_a_terminal_has_the_cells_of_the_page(make_run: MakeRun) -> None:
    records = [make_run(seed, reached(0.7 + 0.1 * seed, 0.5, 2.0)) for seed in range(2)]
    text = results_text(records)
    assert "tf-2.21, small tier\n" in text
    for cell in cells(rows(records)[0]):
        assert cell in text


def test_dates_name_the_first_and_the_last_day_once_each(make_run: MakeRun) -> None:
    days = [make_run(started_at=f"2026-11-{day}T00:00:00+00:00") for day in (24, 22, 23)]
    assert dates(days) == "2026-11-22 to 2026-11-24"
    assert dates(days[:1]) == "2026-11-24"


def test_overview_has_a_row_a_network_and_phases_with_losses_and_fixes_beside(
    make_run: MakeRun,
) -> None:
    cases = [
        ("lenet5", "plain", "none", (0.76, 0.48, 2.5)),
        ("lenet5", "intended", "none", (0.79, 0.58, 2.6)),
        ("resnet50", "plain", "none", (0.07, 0.05, -0.9)),
        ("resnet50", "literal", "none", (0.055, 0.055, 0.0)),
        ("resnet50", "literal", "bn-momentum-0.5", (0.055, 0.055, 0.0)),
        ("resnet50", "intended", "none", (0.06, 0.06, 0.2)),
        ("resnet50", "intended", "bn-momentum-0.5", (0.51, 0.41, 1.9)),
    ]
    records = [
        make_run(seed, reached(clean + 0.02 * seed, attacked, gain - 0.15 * seed), **settings)
        for architecture, loss, fix, (clean, attacked, gain) in cases
        for settings in [{"architecture": architecture, "loss": loss, "fix": fix, "width": 1.0}]
        for seed in (0, 1)
    ]
    page = overview_markdown(records)
    head, _, *lines = grid(page)
    assert head == ["network", "phases", "plain", "adversarial", "stalls", "Momentum 0.5"]
    assert lines == [
        ["LeNet-5", "intended", "77% / 48%", "80% / 58%", "0/2", "-"],
        ["ResNet-50", "literal", "8% / 5%", "6% / 6%", "2/2", "6% / 6%"],
        ["ResNet-50", "intended", "8% / 5%", "7% / 6%", "1/2", "52% / 41%"],
    ]


def test_overview_tells_seeds_spread_release_day_and_images(make_run: MakeRun) -> None:
    records = [make_run(seed, reached(0.5 + 0.1 * seed, 0.4, 1.0)) for seed in (0, 2)]
    note = " ".join(overview_markdown(records).split("\n\n")[1].split())
    assert note.endswith(
        "Means over seeds 0, 2; standard deviation at most 14.1 points. Measured 2024-05-01 with "
        "tf-2.21 in the small tier, on 1000 test images of gtsrb, 32 pixels a side, with epsilon "
        "0.01."
    )
    assert max(map(len, overview_markdown(records).splitlines())) <= 120


def test_one_seed_has_no_spread(make_run: MakeRun) -> None:
    note = overview_markdown([make_run(3, reached(0.5, 0.4, 1.0))])
    assert "Means over seeds 3. Measured" in " ".join(note.split())
