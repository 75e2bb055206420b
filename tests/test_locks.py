"""Tests of suite.locks: a lock is fresh, or it is told what is wrong with it and what to do."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from suite import locks
from suite.commands.lock import chosen_locks
from suite.errors import ReleaseError
from suite.files import file_digest
from suite.locks import (
    Lock,
    fault,
    find_links,
    inputs,
    lock_digest,
    one_line,
    resolved,
    staleness,
)
from suite.releases import Release

ROOT = Path(__file__).parents[1]
PROJECT = """
[project]
dependencies = ["numpy"]
[tool.uv]
"""
ONE = Lock("one", "3.11", ("keras==1",))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the working directory hold a project without locks."""
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text(PROJECT)
    Path("locks").mkdir()


def test_the_committed_locks_are_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert list(filter(None, map(staleness, chosen_locks([])))) == []


@pytest.mark.usefixtures("project")
def test_a_lock_that_nothing_fits_is_told_from_one_that_was_not_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: Lock) -> str:
        raise ReleaseError("one cannot be resolved: no version of keras==1")

    monkeypatch.setattr(locks, "resolved", refuse)
    monkeypatch.setattr("shutil.which", lambda _: "/bin/uv")
    text = "locks/one.txt is missing; one cannot be resolved: no version of keras==1"
    assert fault(ONE) == (text, True)
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert fault(ONE) == (f"locks/one.txt is missing; {locks.NO_UV}", False)


@pytest.mark.usefixtures("project")
def test_a_lock_that_would_change_tells_how_and_names_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = ONE._replace(name="one-gpu")
    gpu.path.write_text("keras==1\n")
    monkeypatch.setattr("shutil.which", lambda _: "/bin/uv")
    monkeypatch.setattr(locks, "resolved", lambda _: "keras==2\nnumpy==1\n")
    found = fault(gpu)
    assert found is not None
    assert not found.unresolvable
    assert found.text == (
        "locks/one-gpu.txt has no header of `nox -s lock`; would change keras 1 -> 2, "
        "numpy absent -> 1. Run `nox -s lock -- one`"
    )


@pytest.mark.usefixtures("project")
def test_the_digest_of_a_lock_is_that_of_a_fresh_one() -> None:
    row = Release("one", "3.11", ("keras==1",), "to test")
    assert lock_digest(row) == ""
    body = "keras==1\n"
    head = [
        f"# {word} {hashlib.sha256(text.encode()).hexdigest()}\n"
        for word, text in (("inputs", inputs(ONE)), ("content", body))
    ]
    ONE.path.write_text("".join([*head, body]))
    assert lock_digest(row) == file_digest(ONE.path)
    assert lock_digest(replace(row, pins=("keras==2",))) == ""


@pytest.mark.usefixtures("project")
def test_the_lock_of_an_unpinned_row_is_never_stale() -> None:
    row = Release("one", "3.11", ("keras",), "to test", unpinned=True)
    assert lock_digest(row) == ""
    ONE.path.write_text("resolved yesterday")
    assert lock_digest(row) == file_digest(ONE.path)


@pytest.mark.usefixtures("project")
def test_without_uv_no_lock_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "nowhere")
    with pytest.raises(ReleaseError, match="uv is missing"):
        resolved(ONE)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("error: a\n  b.\n", "a b"),
        ("  \u00d7 No solution\n  \u2570\u2500 Because", "No solution Because"),
        ("", ""),
    ],
)
def test_a_message_is_put_on_one_line(message: str, expected: str) -> None:
    assert one_line(message) == expected


@pytest.mark.parametrize(
    ("row", "environment", "expected"),
    [
        ("", {"PIP_FIND_LINKS": "/wheels"}, {}),
        ("https://a", {}, {"UV_FIND_LINKS": "https://a"}),
        ("https://a", {"PIP_FIND_LINKS": "/wheels"}, {"UV_FIND_LINKS": "/wheels"}),
        ("https://a", {"PIP_FIND_LINKS": "/w", "UV_FIND_LINKS": "/v"}, {"UV_FIND_LINKS": "/v"}),
    ],
)
def test_wheels_of_this_machine_go_before_the_rows(
    row: str, environment: dict[str, str], expected: dict[str, str]
) -> None:
    assert find_links(row, environment) == expected
