"""Tests of the command `parity`: the first steps of releases compared, printed and judged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from suite.__main__ import main
from tests.commands.conftest import Fill, Output

NO_CHANGE = {
    "quantity": "inference logits", "layer": "logits", "weight": "kernel",
    "rms": 1.0, "projections": [1.0, -1.0],
}  # fmt: skip


def traced(fill: Fill, release: str, loss: float = 3.5, **changes: Any) -> None:
    """Store the trace of three steps of a network whose arrays are all alike."""
    fixed = {"question": "parity", "settings": {"phases": None}, "case": "parity-net"}
    entries = [entry for step in range(3) for entry in _entries(step, loss)]
    fill("records", [0.0], release=release, statistics=entries, **{**fixed, **changes})


def _entries(step: int, loss: float) -> Iterator[dict[str, Any]]:
    batch = {"digest": "a", "images": 4, "learning_rate": 0.1}
    yield {"step": step, "quantity": "batch", "layer": "", **batch}
    first = ("inference logits", "initial weight") if step == 0 else ()
    for quantity in (*first, "gradient", "change"):
        yield {**NO_CHANGE, "step": step, "quantity": quantity}
    yield {"step": step, "quantity": "loss", "layer": "", "value": loss}


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
