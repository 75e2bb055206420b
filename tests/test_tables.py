"""Tests of suite.tables: every row of every table and tier is valid and named once."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest

from suite.cases import Case
from suite.networks.architectures import ARCHITECTURES
from suite.networks.fixes import FIXES
from suite.networks.phases import GRID, PHASES
from suite.tables import TABLES, TIERS, table

ROWS = [
    pytest.param(tier, name, id=f"{tier}-{name}")
    for tier, size in TIERS.items()
    for name in size.tables
]


def rows(tier: str) -> list[Case]:
    """Return the rows of all tables of a tier."""
    return [case for name in TIERS[tier].tables for case in table(name, tier=tier)]


@pytest.mark.parametrize("tier", TIERS)
def test_one_name_in_a_tier_is_one_case(tier: str) -> None:
    by_name = itertools.groupby(sorted(rows(tier), key=str), key=str)
    for name, same in by_name:
        assert len({json.dumps(case.settings()) for case in same}) == 1, name


@pytest.mark.parametrize(("tier", "name"), ROWS)
def test_every_table_has_rows_of_different_names(tier: str, name: str) -> None:
    names = [str(case) for case in table(name, tier=tier)]
    assert names
    assert len(set(names)) == len(names)


def test_every_table_is_part_of_a_tier_and_every_tiers_table_exists() -> None:
    used = {name for size in TIERS.values() for name in size.tables}
    assert used == set(TABLES)


def test_the_small_tier_asks_every_question_of_every_architecture() -> None:
    published = {"lenet5", "alexnet", "vgg19", "resnet50"}
    for name in ("accuracy", "attack", "step-time", "random"):
        assert {case.architecture for case in table(name, tier="small")} == published
    losses = [(case.architecture, case.loss) for case in table("accuracy", tier="small")]
    assert set(losses) == set(itertools.product(published, ("plain", "intended")))
    stall = {(case.loss, case.fix) for case in table("stall", tier="small")}
    fixes = ("none", "bn-momentum-0.5", "imagenet-inputs")
    assert stall == set(itertools.product(PHASES, fixes))
    unstalled = {case.architecture for case in table("no-stall", tier="small")}
    assert unstalled == published - {"resnet50"}


def test_the_stall_tables_rows_differ_in_loss_and_fix_alone() -> None:
    for tier in (tier for tier, size in TIERS.items() if "stall" in size.tables):
        bare = {replace(case, loss="plain", fix="none") for case in table("stall", tier=tier)}
        assert len(bare) == 1


def test_the_study_measures_every_fix_and_every_point_of_the_grid_on_one_network() -> None:
    fixes, grid = table("fixes", tier="study"), table("grid", tier="study")
    assert {case.fix for case in fixes} == set(FIXES)
    assert {(case.loss, case.fix) for case in fixes} >= {(loss, "none") for loss in PHASES}
    elsewhere = {"moving-kept", "own-updating"}  # intended; attack-inference-loss-training
    assert {case.loss for case in grid} == set(GRID) - elsewhere
    bare = {replace(case, loss="plain", fix="none") for case in (*fixes, *grid)}
    assert len(bare) == 1


def test_the_other_settings_of_the_study_differ_from_its_control_in_one_thing() -> None:
    name = "resnet50-w0.25-intended-none-b32-lr0.01-32px"
    [control] = [case for case in table("fixes", tier="study") if str(case) == name]
    for name in ("low-rate", "small-batch", "large-batch", "large-images", "linear-head"):
        varied = [case for case in table(name, tier="study") if case.loss == "intended"]
        [case] = varied
        changed = {
            field for field, value in case.settings().items() if value != control.settings()[field]
        }
        assert len(changed) == 1, changed


def test_the_full_tier_is_the_published_setting() -> None:
    for case in rows("full"):
        weights = "imagenet" if ARCHITECTURES[case.architecture].imagenet else "random"
        assert (case.size_px, case.width, case.epsilon, case.batch_size) == (64, 1, 0.01, 32)
        if case.question == "training":
            assert (case.weights, case.epochs, case.learning_rate) == (weights, 10, 0.001)
            assert case.train_images is case.test_images is None


def test_the_sample_is_of_the_published_networks_phases_and_images_and_downloads_nothing() -> None:
    full = {str(case): case for case in rows("full")}
    for case in rows("sample"):
        same = {"size_px": 64, "width": 1, "epsilon": 0.01, "batch_size": 32, "data": "gtsrb"}
        assert same.items() <= case.settings().items()
        assert case.weights in ("random", "surrogate")
        assert str(case) in full or case.fix == "precise-bn"
    assert {str(case) for case in rows("rehearsal")} == {str(case) for case in rows("sample")}


def test_the_full_tiers_rehearsal_is_that_tier_with_other_sizes() -> None:
    full, rehearsal = TIERS["full"], TIERS["full-rehearsal"]
    assert [str(case) for case in rows("full-rehearsal")] == [str(case) for case in rows("full")]
    assert (set(rehearsal.architectures), set(rehearsal.tables)) == (
        set(full.architectures),
        set(full.tables),
    )
    sizes = {"data", "size_px", "batch_size", "train_images", "test_images", "epochs"}
    sizes |= {"weights", "pretraining_steps"}  # ImageNet's would be a download
    for rehearsed, case in zip(rows("full-rehearsal"), rows("full")):
        settings = case.settings()
        differ = {name for name, value in rehearsed.settings().items() if value != settings[name]}
        assert differ <= sizes
        assert (rehearsed.weights == "random") == (case.weights == "random")


def test_mixed_precision_is_part_of_the_full_tier_and_of_no_smaller_one() -> None:
    mixed = {name for name in ARCHITECTURES if name.endswith("float16")}
    assert len(mixed) == 3
    for tier in TIERS:
        own = mixed & {case.architecture for case in rows(tier)}
        assert own == (mixed if tier in ("full", "full-rehearsal") else set())


def test_only_the_quickstart_and_the_full_tiers_rehearsal_need_no_gtsrb() -> None:
    drawn = ("quickstart", "full-rehearsal")
    assert {case.data for tier in drawn for case in rows(tier)} == {"synthetic"}
    others = [case for tier in TIERS if tier not in drawn for case in rows(tier)]
    assert {case.data for case in others} == {"gtsrb"}


def test_full_size_networks_make_steps_at_the_published_size() -> None:
    for case in table("full-size", tier="small"):
        assert (case.width, case.blocks, case.question) == (1, (3, 4, 6, 3), "step-time")


def test_the_full_tier_starts_from_imagenet_where_that_was_published() -> None:
    found = {case.architecture: case.weights for case in table("accuracy", tier="full")}
    assert found == {
        "vgg19": "imagenet", "resnet50": "imagenet", "lenet5": "random", "alexnet": "random",
        "lenet5-float16": "random", "resnet50-float16": "imagenet",
        "resnet50-bfloat16": "imagenet",
    }  # fmt: skip


def test_the_study_has_the_control_and_its_fixes_on_weights_of_photographs() -> None:
    rows = table("photographs", tier="study")
    assert {row.weights for row in rows} == {"photographs"}
    assert {row.learning_rate for row in rows} == {0.001}, "as published"
    assert {("literal", "none"), ("literal", "imagenet-inputs"), ("plain", "none")} < {
        (row.loss, row.fix) for row in rows
    }


def test_a_table_that_a_tier_lacks_is_empty_and_an_unknown_one_an_error() -> None:
    assert table("full-size", tier="full") == ()
    with pytest.raises(ValueError, match=r"name must be one of accuracy, .* Received: speed"):
        table("speed", tier="small")
    with pytest.raises(ValueError, match=r"tier must be one of .* Received: huge"):
        table("accuracy", tier="huge")
