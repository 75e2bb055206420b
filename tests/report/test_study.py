"""Tests of suite.report.study: every cell of the tables says what the records say."""

from __future__ import annotations

from dataclasses import replace

from suite.judge.study import studies
from suite.networks.fixes import FIXES
from suite.networks.phases import GRID
from suite.report.study import (
    ACCURACY_COLUMNS,
    STALL_COLUMNS,
    accuracy_cells,
    fixes_markdown,
    fixes_text,
    parts,
    provenance,
    stall_cells,
)
from tests.judge.conftest import MakeRecord, MakeRun


def cells(page: str, name: str) -> list[list[str]]:
    """Read the cells of all rows of a Markdown page that have this name."""
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("|")]
    return [row[1:] for row in rows if row[0] == name]


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
    assert cells(fixes_markdown([*other, *usual]), "none")[0][0] == "0/1"


def test_releases_and_tiers_are_told_apart(make_run: MakeRun) -> None:
    record = make_run("literal")
    old = replace(record, release="tf-1.14", metrics={**record.metrics, "information_gain": 1.0})
    large = replace(record, tier="full-study")
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
        "python 3.11.7, numpy 2.0.0, 2.1.0, keras 3.0, none; A, 2 cores, 24 GiB, H (f1) and (f2); "
        "data abababababab; suite 3; seeds 1, 3; 2 records."
    )


def test_text_has_the_same_rows(make_run: MakeRun) -> None:
    records = [make_run("literal", seed=seed) for seed in range(5)]
    text = fixes_text(records)
    assert "tf-2.21, literal phases" in text.splitlines()
    row = next(line for line in text.splitlines() if line.strip().startswith("none "))
    assert " ".join(row.split()) == "none 5/5 5/5 0.00 ± 0.00 never in 80 80 -"
    assert max(map(len, fixes_text(records, width=70).split("\n\n")[4].splitlines())) <= 70
