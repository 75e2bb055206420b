"""Tests of the command `data`: where GTSRB's archives lie, or why they cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.__main__ import main
from suite.commands import data
from suite.errors import DataError
from tests.commands.conftest import Output


def test_download_tells_where_the_archives_lie(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr(data, "download_gtsrb", lambda: Path("cache/gtsrb"))
    assert main(["data"]) == 0
    assert capsys.readouterr().out == "cache/gtsrb\n"


def test_a_download_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    def fail() -> Path:
        raise DataError("no route to the archive")

    monkeypatch.setattr(data, "download_gtsrb", fail)
    assert main(["data"]) == 2
    assert capsys.readouterr().err == "error: no route to the archive\n"
