"""Tests of the command `study`: the fixes compared and the claims judged, from records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from suite.__main__ import main
from suite.records import Record
from suite.store import read_record, store

MakeRecord = Callable[..., Record]
Fill = Callable[..., None]
Output = pytest.CaptureFixture[str]


STUDIED = {
    "architecture": "resnet50", "loss": "intended", "fix": "none", "batch_size": 32,
    "learning_rate": 0.01, "size_px": 32, "width": 0.25, "epochs": 1,
}  # fmt: skip


def study(make_record: MakeRecord, gain: float, **changes: Any) -> None:
    """Store five seeds of one case of a study."""
    settings = {**STUDIED, **changes}
    for seed in range(5):
        store(
            make_record(
                f"net-{settings['loss']}-{settings['fix']}",
                seed=seed,
                tier="study",
                question="fixes",
                settings=settings,
                curves={"step_adversarial_ce": [3.5 - gain] * 40},
                metrics={"information_gain": gain, "adversarial_branch_gain": gain},
            ),
            Path("records"),
        )


def test_fixes_writes_claims_curves_and_tables_into_the_page(
    fill: Fill, make_record: MakeRecord, capsys: Output
) -> None:
    del fill  # the project alone
    Path("page.md").write_text(
        "before\n<!-- fixes: begin -->\nold\n<!-- fixes: end -->\nafter\n", encoding="utf-8"
    )
    study(make_record, 0.0)
    study(make_record, 1.5, fix="bn-momentum-0.5")
    arguments = ["fix-table", "--page", "page.md", "--figure", "figures/fixes.svg"]
    assert main(arguments) == 0
    page = Path("page.md").read_text(encoding="utf-8")
    assert page.startswith("before\n<!-- fixes: begin -->\n")
    assert page.endswith("<!-- fixes: end -->\nafter\n")
    assert "old" not in page
    assert "(figures/fixes.svg)" in page
    assert "| bn-momentum-0.5 | 0/5 |" in page
    assert "<svg" in Path("figures/fixes.svg").read_text(encoding="utf-8")
    assert "BatchNorm momentum 0.5 mends it" in capsys.readouterr().out


def test_fixes_without_a_study_names_the_command_that_makes_one(fill: Fill, capsys: Output) -> None:
    fill("records")
    assert main(["fix-table"]) == 2
    assert "nox -s study -- tf-2.21" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size_px": None}, "net-intended-none-seed0 of tf-2.21, study tier, is no case's record"),
        ({"batch_size": "32"}, "is no case's record: settings must be a case's"),
        ({"architecture": ["a"]}, "is no case's record"),
        ({"fix": "a\nb"}, "is no case's record: fix must be"),
    ],
)
def test_settings_that_are_no_cases_are_an_error_that_names_the_record(
    fill: Fill, make_record: MakeRecord, capsys: Output, changes: Any, words: str
) -> None:
    del fill
    study(make_record, 0.0)
    settings = {**STUDIED, **changes}
    record = make_record(
        "net-intended-none", tier="study", question="fixes", settings=settings, seed=0
    )
    store(record, Path("records"))
    status = main(["fix-table"])
    printed = capsys.readouterr()
    assert status == 2
    assert printed.err.count("\n") == 1
    assert words in printed.err
    assert "Unforeseen" not in printed.err


def test_a_record_without_its_curves_is_an_error(
    fill: Fill, make_record: MakeRecord, capsys: Output
) -> None:
    del fill
    study(make_record, 0.0)
    path = next(Path("records/tf-2.21/study").glob("*seed0.json"))
    store(replace(read_record(path), curves={}), Path("records"))
    assert main(["fix-table", "--figure", "curves.svg"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: records holds a record that is whole, but lacks a metric or c")


@pytest.mark.parametrize("kind", ["loop", "dangling", "file"])
def test_a_study_that_cannot_be_read_is_not_passed_over(
    fill: Fill, make_record: MakeRecord, capsys: Output, kind: str
) -> None:
    del fill
    study(make_record, 0.0)
    place = Path("records/tf-2.15/study")
    place.parent.mkdir()
    place.write_text("") if kind == "file" else place.symlink_to(
        "study" if kind == "loop" else "nowhere"
    )
    assert main(["fix-table"]) == 2
    assert "error: records/tf-2.15/study" in capsys.readouterr().err
