"""Tests of the command `data`: where GTSRB's archives lie and what they hold, or why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from suite.__main__ import main
from suite.commands import data
from suite.data import Dataset
from suite.errors import DataError
from tests.commands.conftest import Output

DOWNLOADED = Path("cache/gtsrb")


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch, noise: Dataset) -> list[tuple[Any, ...]]:
    """Return what is loaded from now on: (folder, size, verify); nothing is downloaded."""
    found: list[tuple[Any, ...]] = []

    def load(root: Path, *, size_px: int, verify: bool) -> Dataset:
        found.append((root, size_px, verify))
        return noise

    monkeypatch.delenv("GTSRB_ROOT", raising=False)
    monkeypatch.setattr(data, "download_gtsrb", lambda: DOWNLOADED)
    monkeypatch.setattr(data, "load_gtsrb", load)
    monkeypatch.setattr(data, "DATA", {("gtsrb", "32"): noise.digest})
    return found


def test_what_was_downloaded_is_checked_by_its_pixels(
    loads: list[tuple[Any, ...]], capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GTSRB_ROOT", "elsewhere")  # it is the download that is asked for
    assert main(["data"]) == 0
    assert loads == [(DOWNLOADED, 32, False)]
    assert capsys.readouterr().out == (
        "cache/gtsrb\n129 training and 129 test images, the official ones by their pixels at "
        "32 px\n"
    )


@pytest.mark.parametrize(("given", "folder"), [("", DOWNLOADED), ("mine", Path("mine"))])
def test_verify_reads_the_archives_that_are_used_whole(
    loads: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch, given: str, folder: Path
) -> None:
    monkeypatch.setenv("GTSRB_ROOT", given)
    assert main(["data", "--verify"]) == 0
    assert loads == [(folder, 32, True)]


@pytest.mark.usefixtures("loads")
def test_a_cache_of_other_images_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr(data, "DATA", {("gtsrb", "32"): "sha256:official"})
    assert main(["data", "--verify"]) == 2
    assert "the cache holds other images than were decoded: sha256:" in capsys.readouterr().err


def test_a_download_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    def fail() -> Path:
        raise DataError("no route to the archive")

    monkeypatch.setattr(data, "download_gtsrb", fail)
    assert main(["data"]) == 2
    assert capsys.readouterr().err == "error: no route to the archive\n"


def test_a_download_that_is_not_the_official_set_is_an_error(
    loads: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    def refuse(*_: object, **__: object) -> Dataset:
        raise DataError("not the official images")

    monkeypatch.setattr(data, "load_gtsrb", refuse)
    assert main(["data"]) == 2
    assert capsys.readouterr().err == "error: not the official images\n"
    assert not loads
