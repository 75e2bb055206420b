"""Tests of the line that somebody who waits sees."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from suite.report import screen
from suite.report import waiting as module
from suite.report.waiting import Part, part_line, waiting, watching

LOG = """\
nox > python -m pytest benchmarks
1/9 holds  lenet5-plain-seed0: 85.1 % clean, 43 s
2/9 NO ANSWER  lenet5-intended-seed0: no space, 3 s
"""
SIGN = "120/300, 00:43 left, loss 3.502, accuracy 5 %, gain -0.02 nats, lenet5-plain seed 1\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "matrix.log"
    path.write_text(LOG + SIGN)
    return path


def test_a_terminal_shows_what_is_at_work_and_for_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(module, "write_over", lambda *lines: shown.append("".join(lines)))
    monkeypatch.setattr(module, "TICK_S", 0.01)
    with waiting("the network is loaded") as show:
        time.sleep(0.1)
        show("part 1 of 2: " + 500 * "x")
        time.sleep(0.1)
    assert shown[0] == "the network is loaded, 0 s"
    assert shown[-2].startswith("part 1 of 2: xxx")
    assert shown[-1] == ""
    told = len(shown)
    time.sleep(0.05)
    assert len(shown) == told


def test_without_a_terminal_nothing_is_written(capfd: pytest.CaptureFixture[str]) -> None:
    with waiting("the network is loaded"):
        time.sleep(0.6)
    assert capfd.readouterr() == ("", "")


def test_a_part_shows_its_cases_and_the_last_line_of_its_log(log: Path) -> None:
    assert part_line(Part("tf-2.21", 61.4, log)) == f"tf-2.21 61 s: 2/9 cases, {SIGN.strip()}"
    log.write_text(LOG)
    assert part_line(Part("tf-2.21", 61.4, log)).endswith(f" 61 s: {LOG.splitlines()[-1]}")
    log.write_text(f"{LOG}\x1b[31mred\n")
    assert part_line(Part("tf-2.21", 61.4, log)).endswith(r": 2/9 cases, \x1b[31mred")


def test_a_part_that_has_printed_nothing_says_so(tmp_path: Path, log: Path) -> None:
    log.write_text("")
    assert part_line(Part("tf-2.21", 0, log)) == "tf-2.21 0 s: it has printed nothing yet"
    assert "cannot be read" in part_line(Part("tf-2.21", 0, tmp_path / "none"))


def test_where_there_is_no_terminal_the_parts_are_told_now_and_then(
    log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with watching(print) as show:
        for _ in range(130):
            show([Part("a", 1, log), Part("b", 1, log)])
            clock[0] += 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["a", "b", "a", "b"]


def test_lines_that_are_written_over_fit_the_terminal_and_leave_it_clean(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(module, "is_live", lambda: True)
    monkeypatch.setattr(screen, "is_live", lambda: True)
    monkeypatch.setattr(screen, "get_terminal_size", lambda: (40, 4))
    monkeypatch.setattr(sys.__stderr__, "write", shown.append)
    monkeypatch.setattr(module, "TICK_S", 0.0)
    with watching(print) as show:
        show([Part(name, 1, log) for name in "abcde"])
    assert shown[0].startswith("\r\x1b[Ja 1 s: 2/9 cases")
    assert [len(line) for line in shown[0].removeprefix("\r\x1b[J").split("\n")[:2]] == [39, 39]
    assert shown[0].endswith("\x1b[2A")  # three lines, and the cursor in the first
    assert shown[1:] == ["\r\x1b[J"]
