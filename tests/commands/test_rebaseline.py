"""Tests of the command `rebaseline`: the records of one release and tier become its baseline."""

from __future__ import annotations

from pathlib import Path

from suite.__main__ import main
from suite.store import read_records
from tests.commands.conftest import Fill, Output


def test_rebaseline_makes_the_records_the_baseline(fill: Fill, capsys: Output) -> None:
    fill("records")
    assert main(["rebaseline", "--release", "tf-2.21", "--tier", "small"]) == 0
    output = capsys.readouterr().out
    assert "baselines/tf-2.21/small: 5 records of 1 cases\nnew: net-plain\n" in output
    assert "CHANGELOG.md" in output
    assert len(read_records(Path("baselines/tf-2.21/small"))) == 5
    assert main(["compare"]) == 0


def test_rebaseline_names_the_cases_it_removed(fill: Fill, capsys: Output) -> None:
    fill("records")
    fill("baselines", case="vgg19")
    command = ["rebaseline", "--release", "tf-2.21", "--tier", "small"]
    assert main(command) == 2
    assert main([*command, "--removed", "vgg19"]) == 0
    assert "removed: vgg19\n" in capsys.readouterr().out


def test_rebaseline_of_too_few_seeds_is_an_error(fill: Fill, capsys: Output) -> None:
    fill("records", [0.8, 0.9])
    assert main(["rebaseline", "--release", "tf-2.21", "--tier", "small"]) == 2
    assert "holds 2 seeds, expected at least 5" in capsys.readouterr().err
    assert not Path("baselines").exists()
