"""Tests of the command `study`: the fixes compared and the claims judged, from records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suite.__main__ import main
from suite.records import Record
from suite.store import store

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
    arguments = ["study", "--page", "page.md", "--figure", "figures/fixes.svg"]
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
    assert main(["study"]) == 2
    assert "nox -s study -- tf-2.21" in capsys.readouterr().err
