"""Tests of suite.commands.states: each network is trained once, and its states are stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.cases import Case
from suite.commands import states as command
from suite.measure import states
from suite.measure.once import Session
from suite.measure.states import load_states
from suite.stacks.protocol import Stack
from tests.measure.conftest import ENVIRONMENT, SMALL, coloured


def test_the_states_of_every_network_are_stored_and_told(
    stack: Stack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: dict[str, object] = {}

    def opened(**options: object) -> Session:
        asked.update(options)
        return Session("tf-2.21", "small", tmp_path, stack, ENVIRONMENT, lambda *_: coloured())

    case = Case("lenet5", **SMALL)
    monkeypatch.setattr(command, "open_session", opened)
    monkeypatch.setattr(command, "table", lambda *_, **__: [case])
    monkeypatch.setattr(states, "FOLDER", tmp_path)
    assert command.main(["--release", "tf-2.21", "--lock", "locks/tf-2.21.txt"]) == 0
    assert asked["release"] == "tf-2.21"
    found = load_states(states.states_path(case))
    assert list(found) == [27 // 8 * 2]  # too short for the states on the way
    assert "lenet5-w0.125.npz: states along lenet5-w0.125-intended-none" in capsys.readouterr().out


def test_the_release_and_its_lock_must_be_told() -> None:
    with pytest.raises(SystemExit):
        command.main([])
