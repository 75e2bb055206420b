"""Tests of suite.files: digests of files and of sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.errors import RecordError
from suite.files import code_digest, file_digest


def test_the_digest_of_the_code_follows_the_named_sources_and_no_other_file(tmp_path: Path) -> None:
    named = ("measure", "files.py")
    for name in ("measure", "report"):
        (tmp_path / name).mkdir()
    (tmp_path / "measure" / "training.py").write_text("a = 1")
    (tmp_path / "files.py").write_text("a = 1")
    digest = code_digest(tmp_path, named)
    for name in ("report/grid.py", "cases.py", "measure/notes.txt"):
        (tmp_path / name).write_text("b = 2")
    assert code_digest(tmp_path, named) == digest
    for name in ("measure/training.py", "files.py", "measure/new.py"):
        (tmp_path / name).write_text("a = 2")
        assert code_digest(tmp_path, named) != digest
        digest = code_digest(tmp_path, named)
    (tmp_path / "measure" / "new.py").replace(tmp_path / "measure" / "other.py")
    assert code_digest(tmp_path, named) != digest


def test_a_named_source_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="stacks is missing"):
        code_digest(tmp_path, ["stacks"])


def test_the_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(b"abc")
    expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_digest(tmp_path / "lock") == expected
    with pytest.raises(RecordError, match="cannot be read"):
        file_digest(tmp_path / "absent")
