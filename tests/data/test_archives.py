"""An archive is read within the bounds of an official one, whatever it says of itself."""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path

import pytest

from suite.data import archives
from suite.data.archives import fault_of, opened_archive, read_member
from tests.bounds import within


def _archive(path: Path, *, method: int = zipfile.ZIP_DEFLATED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _patch(path: Path, mark: bytes, offset: int, field: bytes) -> None:
    """Overwrite a field of a header of the archive at `path`."""
    content = bytearray(path.read_bytes())
    place = content.index(mark) + offset
    content[place : place + len(field)] = field
    path.write_bytes(content)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive.zip"


def test_a_whole_archive_has_no_fault(path: Path) -> None:
    largest = os.urandom(archives.MEMBER_BYTES)
    _archive(path, largest=largest, empty=b"", folder=b"")
    assert fault_of(path) == ""
    with opened_archive(path) as archive:
        assert read_member(archive, archive.getinfo("largest")) == largest


def test_a_member_of_zeros_without_end_is_refused_before_it_is_unpacked(path: Path) -> None:
    _archive(path, good=b"1", zeros=bytes(60_000_000))
    with within(30, megabytes=20):
        assert fault_of(path) == "zeros: 60,000,000 bytes, expected at most 1,048,576"


def test_a_member_that_holds_more_than_it_declares_is_refused_unread(path: Path) -> None:
    _archive(path, zeros=bytes(60_000_000))
    small = struct.pack("<L", 100)
    _patch(path, b"PK\x01\x02", 24, small)
    with within(30, megabytes=20):
        assert fault_of(path).startswith("zeros: Bad CRC-32")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_explodes_at_once_is_refused(path: Path, method: int) -> None:
    _archive(path, method=method, zeros=bytes(1000))
    assert fault_of(path) == f"zeros: packed by method {method}, expected 0 or 8"


def test_too_many_members_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _archive(path, a=b"", b=b"", c=b"")
    monkeypatch.setattr(archives, "MEMBERS", 3)
    assert fault_of(path) == ""
    monkeypatch.setattr(archives, "MEMBERS", 2)
    assert fault_of(path) == "3 files, expected at most 2"


def test_members_that_are_too_large_together_are_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _archive(path, a=bytes(5), b=bytes(6))
    monkeypatch.setattr(archives, "TOTAL_BYTES", 11)
    assert fault_of(path) == ""
    monkeypatch.setattr(archives, "TOTAL_BYTES", 10)
    assert fault_of(path) == "11 bytes unpacked, expected at most 10"


def test_a_directory_that_would_fill_the_memory_is_not_read(path: Path) -> None:
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 400_000_000, 0, 0)
    with path.open("wb") as file:
        file.truncate(400_000_000)
        file.seek(0, os.SEEK_END)
        file.write(end)
    with within(30, megabytes=40):
        assert fault_of(path) == "its directory is larger than 8,388,608 bytes"


def test_what_is_no_archive_is_named_with_its_fault(path: Path) -> None:
    path.write_bytes(b"<html>")
    assert fault_of(path) == "File is not a zip file"
    path.unlink()
    os.mkfifo(path)
    with within(30):
        assert "it is a named pipe" in fault_of(path)


def test_no_file_stays_open(path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    path.write_bytes(b"PK" * 100)
    for _ in range(3):
        assert fault_of(path)
    _archive(path, a=b"1")
    for _ in range(3):
        assert not fault_of(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
