"""Tests of the command `parity`: the first steps of releases compared, printed and judged."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from suite import store, tables
from suite.__main__ import main
from suite.cases import Case
from tests.commands.conftest import (
    CASES,
    NIGHTLY,
    TRACE,
    Fill,
    Output,
    write_locks,
    write_project,
)

NO_CHANGE = {
    "quantity": "inference logits", "layer": "logits", "weight": "kernel",
    "rms": 1.0, "projections": [1.0, -1.0],
}  # fmt: skip


OTHER = {"data_digest": "sha256:9"}


def traced(fill: Fill, release: str, loss: float = 3.5, **changes: Any) -> None:
    """Store the trace of three steps of a network whose arrays are all alike."""
    entries = [entry for step in range(3) for entry in _entries(step, loss)]
    given = {"values": [0.0], "case": TRACE, "statistics": entries, **changes}
    fill("records", release=release, **given)


def _entries(step: int, loss: float) -> Iterator[dict[str, Any]]:
    batch = {"digest": "a", "images": 4, "learning_rate": 0.1}
    yield {"step": step, "quantity": "batch", "layer": "", **batch}
    first = ("initial weight",) if step == 0 else ()
    values = {name: NO_CHANGE[name] for name in ("projections", "rms")}
    yield {"step": step, "quantity": "inference logits", "layer": "", **values}
    if step == 0:
        yield {
            "step": 0,
            "quantity": "optimizer",
            "layer": "",
            "moved": [0.1],
            "sure": 1.0,
            "late": 0.1,
            "rate": 0.25,
        }
    for quantity in (*first, "gradient", "change"):
        yield {**NO_CHANGE, "step": step, "quantity": quantity}
    yield {"step": step, "quantity": "clean_ce", "layer": "", "value": 3.5}
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
    traced(fill, "tf-2.15", environment=OTHER)
    assert main(["parity", "--stale", "accept"]) == 2
    assert "cannot be compared: data_digest differs" in capsys.readouterr().err


def test_parity_of_the_reference_with_itself_says_so(fill: Fill, capsys: Output) -> None:
    traced(fill, "tf-2.21")
    assert main(["parity", "--release", "tf-2.21"]) == 2
    assert "error: tf-2.21 is the reference itself" in capsys.readouterr().err


def test_parity_with_a_release_that_cannot_be_compared_tells_of_the_others(
    fill: Fill, capsys: Output, tmp_path: Path
) -> None:
    traced(fill, "tf-2.21")
    traced(fill, "tf-2.15", statistics=[*_entries(0, 3.5)])
    traced(fill, "tf-2.16")
    assert main(["parity", "--markdown", "page.md"]) == 2
    captured = capsys.readouterr()
    assert "1 of 1 traces of tf-2.16 agree with tf-2.21's." in captured.out
    assert "error: parity-lenet5-plain-seed0 of tf-2.15 and" in captured.err
    page = (tmp_path / "page.md").read_text()
    assert "## tf-2.15, not compared\n\nparity-lenet5-plain-seed0 of tf-2.15" in page
    assert "## tf-2.16 against tf-2.21" in page
    traced(fill, "tf-2.16", loss=3.6)
    assert main(["parity"]) == 1


def test_parity_shows_an_unpinned_release_and_counts_it_only_where_it_is_named(
    fill: Fill, capsys: Output
) -> None:
    traced(fill, "tf-2.21")
    traced(fill, NIGHTLY, loss=3.6)
    assert main(["parity"]) == 0
    assert "0 of 1 traces of tf-nightly agree" in capsys.readouterr().out
    assert main(["parity", "--release", NIGHTLY]) == 1
    traced(fill, NIGHTLY, environment=OTHER)
    assert main(["parity"]) == 0
    assert "error: " in capsys.readouterr().err
    traced(fill, "tf-2.15", loss=3.6)
    assert main(["parity"]) == 1


def test_traces_that_agree_are_counted_and_told_on_request(fill: Fill, capsys: Output) -> None:
    traced(fill, "tf-2.21")
    traced(fill, "tf-2.15")
    main(["parity"])
    assert capsys.readouterr().out == "1 of 1 traces of tf-2.15 agree with tf-2.21's.\n"
    main(["parity", "-v"])
    assert f"\n{TRACE} (seed 0): agrees\n" in capsys.readouterr().out


def test_after_a_changed_pin_and_a_new_lock_traces_are_stale(fill: Fill, capsys: Output) -> None:
    traced(fill, "tf-2.21")
    traced(fill, "tf-2.15")
    write_project(pin="numpy==1.9.0")
    write_locks(pin="numpy==1.9.0")
    assert main(["parity"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"are stale, such as {TRACE}-seed0 of tf-2.15: the lock: sha256:" in captured.err
    assert main(["parity", "--stale", "accept"]) == 0
    assert main(["parity", "--stale", "leave-out"]) == 2


def test_a_stale_reference_makes_every_comparison_stale(fill: Fill, capsys: Output) -> None:
    traced(fill, "tf-2.21", environment={"code_digest": "sha256:9"})
    traced(fill, "tf-2.15")
    assert main(["parity"]) == 2
    assert f"{TRACE}-seed0 of tf-2.21: the code that measures" in capsys.readouterr().err


def test_stale_traces_can_be_left_out_and_are_counted(fill: Fill, capsys: Output) -> None:
    for release in ("tf-2.21", "tf-2.15"):
        traced(fill, release, values=[0.0, 0.0])
    traced(fill, "tf-2.15", environment=OTHER)
    assert main(["parity"]) == 2
    capsys.readouterr()
    assert main(["parity", "--stale", "leave-out"]) == 0
    out = "1 of 1 traces of tf-2.15 agree with tf-2.21's. 1 stale trace left out.\n"
    assert capsys.readouterr().out == out


def test_a_record_of_another_question_is_no_trace(fill: Fill, capsys: Output) -> None:
    traced(fill, "tf-2.21")
    traced(fill, "tf-2.15", question="training")
    assert main(["parity"]) == 2
    assert "the question: 'training', expected 'parity'" in capsys.readouterr().err


@pytest.mark.parametrize("metrics", [{}, {"parameters": 3.0}])
@pytest.mark.parametrize("release", ["tf-2.21", "tf-2.15"])
def test_a_trace_without_its_metrics_is_an_error(
    fill: Fill, capsys: Output, release: str, metrics: dict[str, float]
) -> None:
    traced(fill, "tf-2.21")
    traced(fill, "tf-2.15")
    traced(fill, release, metrics=metrics)
    assert main(["parity"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "lacks the metrics " in line
    assert "clean_accuracy" in line


def test_a_case_of_the_tier_that_the_reference_lacks_is_an_error_unless_allowed(
    fill: Fill, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = (*CASES["parity"], Case("lenet5", question="parity"))
    monkeypatch.setattr(tables, "TABLES", {**CASES, "parity": more})
    traced(fill, "tf-2.21")
    traced(fill, "tf-2.15")
    assert main(["parity"]) == 2
    assert "holds no trace of parity-lenet5-intended, which" in capsys.readouterr().err
    assert main(["parity", "--partial"]) == 0


def test_a_place_that_cannot_be_read_is_an_error_of_its_release(fill: Fill, capsys: Output) -> None:
    traced(fill, "tf-2.21")
    traced(fill, "tf-2.15")
    Path("records/tf-2.16").write_text("")
    assert main(["parity"]) == 2
    captured = capsys.readouterr()
    assert "1 of 1 traces of tf-2.15 agree" in captured.out
    assert "error: records/tf-2.16: it is no folder" in captured.err
    assert main(["parity", "--release", "tf-2.15"]) == 0


def test_many_traces_are_compared_in_several_processes_with_the_same_answer(
    fill: Fill, capsys: Output
) -> None:
    many = 2 * len(os.sched_getaffinity(0)) + 1
    for release in ("tf-2.21", "tf-2.15"):
        traced(fill, release, values=[0.0] * many)
    traced(fill, "tf-2.15", loss=3.6)
    assert main(["parity"]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"{many - 1} of {many} traces of tf-2.15 agree with tf-2.21's.\n")
    assert out.count("first divergence") == 1


def test_each_file_is_read_once_and_no_other_is(
    fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Counter[str] = Counter()
    real = store.read_bytes

    def counted(path: Path) -> bytes:
        read[str(path)] += 1
        return real(path)

    for release in ("tf-2.21", "tf-2.15", "tf-2.16"):
        traced(fill, release)
        fill("records", [0.8], release=release)
    monkeypatch.setattr(store, "read_bytes", counted)
    assert main(["parity"]) == 0
    assert set(read.values()) == {1}
    names = ("tf-2.15", "tf-2.16", "tf-2.21")
    assert sorted(read) == [f"records/{name}/small/{TRACE}-seed0.json" for name in names]
