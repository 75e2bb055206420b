"""Tests of the line that somebody who waits sees."""

from __future__ import annotations

import time

import pytest

from suite.report import waiting as module
from suite.report.waiting import waiting


def test_a_terminal_shows_what_is_at_work_and_for_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(module, "write_over", shown.append)
    monkeypatch.setattr(module, "TICK_S", 0.01)
    with waiting("the network is loaded") as show:
        time.sleep(0.1)
        show("part 1 of 2: " + 500 * "x")
        time.sleep(0.1)
    assert shown[0] == "the network is loaded, 0 s"
    assert shown[-2].startswith("part 1 of 2: xxx")
    assert len(shown[-2]) < 500
    assert shown[-1] == ""
    told = len(shown)
    time.sleep(0.05)
    assert len(shown) == told


def test_without_a_terminal_nothing_is_written(capfd: pytest.CaptureFixture[str]) -> None:
    with waiting("the network is loaded"):
        time.sleep(0.6)
    assert capfd.readouterr() == ("", "")
