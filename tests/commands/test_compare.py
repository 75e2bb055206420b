"""Tests of the command line: what it prints and the status it ends with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from suite.__main__ import main
from suite.errors import DataError
from suite.records import Record
from suite.store import read_records, store

MakeRecord = Callable[..., Record]
VALUES = [0.80, 0.82, 0.79, 0.81, 0.83]


@pytest.fixture
def fill(
    tmp_path: Path, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Return a function that stores one record a value, in a project without anything else."""
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text('[tool.suite]\ndefault = "tf-2.21"\n', encoding="utf-8")

    def fill(root: str, values: list[float] = VALUES, **changes: Any) -> None:
        for seed, value in enumerate(values):
            metrics = {"clean_accuracy": value}
            store(make_record(seed=seed, metrics=metrics, **changes), Path(root))

    return fill


Fill = Callable[..., None]
Output = pytest.CaptureFixture[str]


def test_compare_passes_what_agrees(fill: Fill, capsys: Output) -> None:
    fill("baselines")
    fill("records", [0.815])
    assert main(["compare"]) == 0
    output = capsys.readouterr().out
    assert "tf-2.21 small: 1 records against 5 of the baseline of tf-2.21" in output
    assert "1 of 1 checks passed." in output


def test_compare_fails_on_a_regression(fill: Fill, capsys: Output) -> None:
    fill("baselines")
    fill("records", [0.815, 0.1])
    assert main(["compare"]) == 1
    assert "1 of 2 checks passed; 1 regression:" in capsys.readouterr().out


def test_compare_fails_on_other_data(fill: Fill) -> None:
    fill("baselines")
    fill("records", [0.815], environment={"data_digest": "sha256:9"})
    assert main(["compare"]) == 1


def test_compare_without_records_names_the_command_that_makes_them(
    fill: Fill, capsys: Output
) -> None:
    del fill
    assert main(["compare", "--release", "tf-2.15"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: records/tf-2.15/* holds no records")
    assert 'nox -s "benchmarks(tf-2.15)"' in captured.err


def test_compare_without_a_baseline_is_an_error_that_tells_the_ways_out(
    fill: Fill, capsys: Output
) -> None:
    fill("records")
    assert main(["compare"]) == 2
    error = capsys.readouterr().err
    assert "baselines/tf-2.21/small holds no baseline, so nothing can be judged" in error
    assert "--against RELEASE" in error
    assert "nox -s rebaseline" in error


def test_compare_judges_what_has_a_baseline_before_it_names_what_has_none(
    fill: Fill, capsys: Output
) -> None:
    fill("baselines")
    fill("records", [0.815])
    fill("records", release="tf-1.14")
    assert main(["compare"]) == 2
    printed = capsys.readouterr()
    assert "1 of 1 checks passed." in printed.out
    assert "baselines/tf-1.14/small holds no baseline" in printed.err
    assert main(["compare", "--release", "tf-2.21"]) == 0


def test_an_unpinned_release_is_part_of_no_gate_unless_it_is_named(fill: Fill) -> None:
    table = '[[tool.suite.releases]]\nname = "tf-nightly"\nunpinned = true\n'
    Path("pyproject.toml").write_text(table, encoding="utf-8")
    fill("baselines")
    fill("records", [0.815])
    fill("records", [0.1], release="tf-nightly")
    assert main(["compare"]) == 0
    assert main(["compare", "--release", "tf-nightly", "--against", "tf-2.21"]) == 1


def test_compare_judges_every_release_and_tier_that_has_records(fill: Fill, capsys: Output) -> None:
    for release, tier in (("tf-2.15", "small"), ("tf-2.21", "small"), ("tf-2.21", "full")):
        fill("records", [0.8], release=release, tier=tier)
        fill("baselines", release=release, tier=tier)
    assert main(["compare"]) == 0
    assert capsys.readouterr().out.count("1 of 1 checks passed.") == 3
    assert main(["compare", "--release", "tf-2.21", "--tier", "full"]) == 0
    assert capsys.readouterr().out.count("checks passed.") == 1


def test_compare_leaves_out_the_quickstart_unless_asked_for_it(fill: Fill, capsys: Output) -> None:
    fill("records", [0.1], tier="quickstart")
    fill("records", [0.8])
    for tier in ("quickstart", "small"):
        fill("baselines", tier=tier)
    assert main(["compare"]) == 0
    assert "quickstart" not in capsys.readouterr().out
    assert main(["compare", "--tier", "quickstart"]) == 1


def test_compare_against_another_release_judges_by_its_baseline(fill: Fill, capsys: Output) -> None:
    fill("baselines", [0.3, 0.31, 0.29, 0.3, 0.3], release="tf-2.15")
    fill("baselines")
    fill("records", [0.815], environment={"versions": {"numpy": "9"}})
    assert main(["compare"]) == 0
    assert "note: numpy is 9, the baseline has 2.0.0" in capsys.readouterr().out
    assert main(["compare", "--against", "tf-2.15"]) == 1
    output = capsys.readouterr().out
    assert "against 5 of the baseline of tf-2.15" in output
    assert "note:" not in output


def test_compare_against_a_release_without_baseline_is_an_error(fill: Fill, capsys: Output) -> None:
    fill("records")
    assert main(["compare", "--against", "tf-2.51"]) == 2
    assert "baselines/tf-2.51/small holds no baseline" in capsys.readouterr().err


@pytest.mark.parametrize("root", ["records", "baselines"])
def test_a_damaged_file_is_an_error_that_names_it(fill: Fill, capsys: Output, root: str) -> None:
    fill("baselines")
    fill("records")
    path = Path(root, "tf-2.21", "small", "net-plain-seed3.json")
    path.write_text(path.read_text()[:-50])
    assert main(["compare"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {path} is not JSON")


def test_compare_writes_the_same_report_as_markdown(fill: Fill) -> None:
    fill("baselines")
    fill("records", [0.1])
    assert main(["compare", "--markdown", "report.md"]) == 1
    text = Path("report.md").read_text()
    assert text.startswith("## tf-2.21 small: 1 records against 5 of the baseline of tf-2.21\n")
    assert "| net-plain (seed 0) | clean_accuracy | 0.81 ± 0.016 (5) | 0.1 |" in text
    assert "- 0 of 1 checks passed; 1 regression:" in text


def test_a_report_that_cannot_be_written_is_an_error(fill: Fill, capsys: Output) -> None:
    fill("records")
    fill("baselines")
    assert main(["compare", "--markdown", "absent/report.md"]) == 2
    assert "absent/report.md cannot be written" in capsys.readouterr().err


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


def test_download_tells_where_the_archives_lie(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    data = SimpleNamespace(download_gtsrb=lambda: Path("cache/gtsrb"))
    monkeypatch.setitem(sys.modules, "suite.data", data)
    assert main(["download"]) == 0
    assert capsys.readouterr().out == "cache/gtsrb\n"


def test_a_download_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    def fail() -> Path:
        raise DataError("no route to the archive")

    monkeypatch.setitem(sys.modules, "suite.data", SimpleNamespace(download_gtsrb=fail))
    assert main(["download"]) == 2
    assert capsys.readouterr().err == "error: no route to the archive\n"


def traced(fill: Fill, release: str, loss: float = 3.5, **changes: Any) -> None:
    """Store a trace of one number."""
    batch = {"digest": "a", "images": 4, "learning_rate": 0.1}
    entries = [{"step": 0, "quantity": "batch", "layer": "", **batch}]
    for step in range(3):
        entries.append({**entries[0], "step": step} if step else {**NO_CHANGE, "step": 0})
        for quantity in ("initial weight", "gradient", "change")[step > 0 :]:
            entries.append({**NO_CHANGE, "step": step, "quantity": quantity})
        entries.append({"step": step, "quantity": "loss", "layer": "", "value": loss})
    fixed = {"question": "parity", "settings": {"phases": None}, "case": "parity-net"}
    fill("records", [0.0], release=release, statistics=entries, **{**fixed, **changes})


NO_CHANGE = {
    "quantity": "inference logits", "layer": "logits", "weight": "kernel",
    "rms": 1.0, "projections": [1.0, -1.0],
}  # fmt: skip


def test_parity_agrees_with_the_reference(fill: Fill, capsys: Output, tmp_path: Path) -> None:
    traced(fill, "tf-2.21")
    traced(fill, "tf-2.15")
    assert main(["parity", "--markdown", "page.md"]) == 0
    assert "1 of 1 traces of tf-2.15 agree with tf-2.21's." in capsys.readouterr().out
    assert "## tf-2.15 against tf-2.21" in (tmp_path / "page.md").read_text()


def test_parity_fails_on_a_divergence(fill: Fill, capsys: Output) -> None:
    traced(fill, "tf-2.21")
    traced(fill, "tf-2.15", loss=3.6)
    assert main(["parity"]) == 1
    assert "first divergence: step 0, loss" in capsys.readouterr().out
    assert main(["parity", "--reference", "tf-2.15", "--release", "tf-2.21"]) == 1


def test_parity_without_traces_names_the_command_that_makes_them(
    fill: Fill, capsys: Output
) -> None:
    fill("records", [0.8], release="tf-2.15")
    assert main(["parity"]) == 2
    assert "records/tf-2.21/small holds no traces of first steps" in capsys.readouterr().err
    traced(fill, "tf-2.21")
    assert main(["parity"]) == 2
    assert main(["parity", "--release", "tf-2.15"]) == 2
    assert 'nox -s "benchmarks(tf-2.15)"' in capsys.readouterr().err


def test_parity_refuses_traces_of_other_data(fill: Fill, capsys: Output) -> None:
    traced(fill, "tf-2.21")
    traced(fill, "tf-2.15", environment={"data_digest": "sha256:9"})
    assert main(["parity"]) == 2
    assert "cannot be compared: data_digest differs" in capsys.readouterr().err


def test_parity_of_the_reference_with_itself_says_so(fill: Fill, capsys: Output) -> None:
    traced(fill, "tf-2.21")
    assert main(["parity", "--release", "tf-2.21"]) == 2
    assert "error: tf-2.21 is the reference itself" in capsys.readouterr().err


def test_parity_with_a_release_that_cannot_be_compared_tells_of_the_others(
    fill: Fill, capsys: Output, tmp_path: Path
) -> None:
    traced(fill, "tf-2.21")
    traced(fill, "tf-2.15", environment={"data_digest": "sha256:9"})
    traced(fill, "tf-2.16")
    assert main(["parity", "--markdown", "page.md"]) == 2
    captured = capsys.readouterr()
    assert "1 of 1 traces of tf-2.16 agree with tf-2.21's." in captured.out
    assert "error: parity-net-seed0 of tf-2.15 and" in captured.err
    page = (tmp_path / "page.md").read_text()
    assert "## tf-2.15, not compared\n\nparity-net-seed0 of tf-2.15" in page
    assert "## tf-2.16 against tf-2.21" in page
    traced(fill, "tf-2.16", loss=3.6)
    assert main(["parity"]) == 1


def test_parity_shows_an_unpinned_release_and_counts_it_only_where_it_is_named(
    fill: Fill, capsys: Output
) -> None:
    with Path("pyproject.toml").open("a", encoding="utf-8") as file:
        file.write('[[tool.suite.releases]]\nname = "tf-nightly"\nunpinned = true\n')
    traced(fill, "tf-2.21")
    traced(fill, "tf-nightly", loss=3.6)
    assert main(["parity"]) == 0
    assert "0 of 1 traces of tf-nightly agree" in capsys.readouterr().out
    assert main(["parity", "--release", "tf-nightly"]) == 1
    traced(fill, "tf-nightly", environment={"data_digest": "sha256:9"})
    assert main(["parity"]) == 0
    assert "error: " in capsys.readouterr().err
    traced(fill, "tf-2.15", loss=3.6)
    assert main(["parity"]) == 1


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


def test_fixes_writes_claims_curves_and_tables_into_the_readme(
    fill: Fill, make_record: MakeRecord, capsys: Output
) -> None:
    del fill  # the project alone
    Path("README.md").write_text(
        "before\n<!-- fixes: begin -->\nold\n<!-- fixes: end -->\nafter\n", encoding="utf-8"
    )
    study(make_record, 0.0)
    study(make_record, 1.5, fix="bn-momentum-0.5")
    arguments = ["fixes", "--readme", "README.md", "--figure", "figures/fixes.svg"]
    assert main(arguments) == 0
    page = Path("README.md").read_text(encoding="utf-8")
    assert page.startswith("before\n<!-- fixes: begin -->\n")
    assert page.endswith("<!-- fixes: end -->\nafter\n")
    assert "old" not in page
    assert "(figures/fixes.svg)" in page
    assert "| bn-momentum-0.5 | 0/5 |" in page
    assert "<svg" in Path("figures/fixes.svg").read_text(encoding="utf-8")
    assert "BatchNorm momentum 0.5 mends it" in capsys.readouterr().out


def test_fixes_without_a_study_names_the_command_that_makes_one(fill: Fill, capsys: Output) -> None:
    fill("records")
    assert main(["fixes"]) == 2
    assert 'nox -s "study(tf-2.21)"' in capsys.readouterr().err


def test_the_command_line_loads_no_framework_and_ends_with_its_status(fill: Fill) -> None:
    del fill
    script = (
        "import runpy, sys\n"
        "sys.argv = ['suite', 'compare']\n"
        "try:\n"
        "    runpy.run_module('suite', run_name='__main__')\n"
        "finally:\n"
        "    assert not {'tensorflow', 'keras', 'cleverhans', 'torch', 'jax'} & set(sys.modules)\n"
    )
    home = Path(sys.modules["suite"].__path__[0]).parent
    command = [sys.executable, "-W", "error", "-c", script]
    environment = {**os.environ, "PYTHONPATH": str(home)}
    done = subprocess.run(  # noqa: S603 - our own code
        command, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
