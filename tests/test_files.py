"""Tests of suite.files: reading is bounded, digests follow contents, writes are whole."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suite import files
from suite.errors import RecordError, WriteError
from suite.files import code_digest, file_digest, parse_json, read_bytes, write_atomically
from tests.bounds import within

# Digests


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


def test_a_large_file_is_digested_piece_by_piece(tmp_path: Path) -> None:
    with (tmp_path / "weights").open("wb") as file:
        file.truncate(64_000_000)
    with within(60, megabytes=8):
        file_digest(tmp_path / "weights")


# Reading


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


NO_FILES: list[tuple[Callable[[Path], object], str]] = [
    (os.mkfifo, "it is a named pipe, expected a file"),
    (_socket, "it is a socket, expected a file"),
    (lambda path: path.symlink_to("/dev/zero"), "it is a device, expected a file"),
    (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    (lambda path: path.symlink_to(path.with_name("nothing")), "No such file"),
    (Path.mkdir, "it is a folder, expected a file"),
]


@pytest.mark.parametrize("read", [read_bytes, file_digest])
@pytest.mark.parametrize(("make", "message"), NO_FILES, ids=[message for _, message in NO_FILES])
def test_what_is_no_file_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], object], message: str, read: Callable[[Path], object]
) -> None:
    make(tmp_path / "record.json")
    with within(30), pytest.raises(RecordError, match=rf"record.json cannot be read: .*{message}"):
        read(tmp_path / "record.json")


@pytest.mark.parametrize(
    ("make", "message"),
    [(os.mkfifo, "named pipe"), (_socket, "socket"), (NO_FILES[2][0], "device"), (Path.mkdir, "")],
)
def test_what_is_no_file_is_not_written_over(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "gate.json"
    make(path)
    kind = path.lstat().st_mode
    with within(30), pytest.raises(WriteError, match=f"gate.json cannot be written: .*{message}"):
        write_atomically(path, b"1")
    assert path.lstat().st_mode == kind


def test_a_file_that_becomes_a_pipe_while_it_is_opened_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, pipe, opened = tmp_path / "record.json", tmp_path / "pipe", os.open
    path.touch()
    os.mkfifo(pipe)
    monkeypatch.setattr(files.os, "open", lambda _, *flags: opened(pipe, *flags))
    with within(30), pytest.raises(RecordError, match="it is a named pipe"):
        read_bytes(path)


def test_a_file_larger_than_the_limit_is_refused_and_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(b"12345678")
    assert read_bytes(path, limit=8) == b"12345678"
    with pytest.raises(RecordError, match="it holds more than 7 bytes"):
        read_bytes(path, limit=7)
    os.truncate(path, 1 << 40)
    with within(30, megabytes=50), pytest.raises(RecordError, match="more than 16,000,000 bytes"):
        read_bytes(path)


def test_a_file_that_is_longer_than_its_status_says_is_read_whole() -> None:
    status = Path("/proc/self/status")  # a file of 0 bytes, as the system has it
    assert b"VmHWM" in read_bytes(status)
    with pytest.raises(RecordError, match="it holds more than 9 bytes"):
        read_bytes(status, limit=9)


BAD_JSON = [
    (b"[" * 100_000, "nests deeper than 32 levels"),
    (b"[" * 100_000 + b"]" * 100_000, "nests deeper than 32 levels"),
    (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nests deeper than 32 levels"),
    (b"[" * 33 + b"]" * 33, "nests deeper than 32 levels"),
    (b"[1, " + b'{"a": [' * 16 + b"]}" * 16 + b"]", "nests deeper than 32 levels"),
    (b'{"n": 1' + b"0" * 400 + b"}", "1000.* needs more than 64 bits"),
    (b'{"n": -1' + b"0" * 5_000_000 + b"}", "-1000.* needs more than 64 bits"),
    (b"[9223372036854775808]", "9223372036854775808... needs more"),
    (b'{"a": 1, "a": 2}', "duplicate keys: a"),
    (b"{" + b'"a": 1,' * 200_000 + b'"b": 2}', "duplicate keys: a"),
    (b"{" + b",".join(b'"%d":0' % (n // 2) for n in range(200_000)) + b"}", "duplicate keys: 0, "),
    (b"[NaN]", "NaN is not a JSON number"),
    (b"[-Infinity]", "-Infinity is not a JSON number"),
    (b'["\\ud800"]', "surrogates not allowed"),
    (b'["\\uDFFF"]', "surrogates not allowed"),
    (b'{"\\udc00\\ud800": 1}', "surrogates not allowed"),
    (b'["\xed\xa0\x80"]', "can't decode"),
    (b"\xef\xbb\xbf{}", "BOM"),
    ('{"a": 1}'.encode("utf-16"), "can't decode"),
    ('{"a": 1}'.encode("utf-32-le"), "Expecting"),
    (b'{"a": "\x00"}', "Invalid control character"),
    (b"\x00", "Expecting value"),
    (b"", "Expecting value"),
    (b"{} {}", "Extra data"),
]


@pytest.mark.parametrize(("content", "message"), BAD_JSON, ids=range(len(BAD_JSON)))
def test_json_that_could_hurt_is_refused_in_one_short_line(content: bytes, message: str) -> None:
    with within(30), pytest.raises(ValueError, match=message) as caught:
        parse_json(content)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


GOOD_JSON: list[tuple[bytes, Any]] = [
    (b"[" * 32 + b"]" * 32, None),
    (b"[9223372036854775807, -9223372036854775808]", [2**63 - 1, -(2**63)]),
    (b'["\\ud83d\\ude00", "\\\\ud800"]', ["\U0001f600", "\\ud800"]),
    (b'{"a": [0.1, -0.0, 5e-324, 1e308, null, true]}', {"a": [0.1, 0, 5e-324, 1e308, None, True]}),
]


@pytest.mark.parametrize(("content", "value"), GOOD_JSON, ids=range(len(GOOD_JSON)))
def test_json_that_is_harmless_is_read(content: bytes, value: Any) -> None:
    found = parse_json(content)
    assert value is None or found == value


# Writing


def _strays(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.suffix == ".tmp"]


KILLED = """
import os, signal, sys
from pathlib import Path
from suite import files

os.fsync = lambda descriptor: os.kill(os.getpid(), getattr(signal, sys.argv[2]))
files.write_atomically(Path(sys.argv[1]), b"new")
"""


def _writer(path: Path, sign: str) -> subprocess.Popen[bytes]:
    """Start a writer that gets a signal when its content is in the temporary file."""
    return subprocess.Popen([sys.executable, "-c", KILLED, str(path), sign])  # noqa: S603 - ours


def test_what_a_killed_writer_left_is_removed_by_the_next_write_in_its_folder(
    tmp_path: Path,
) -> None:
    assert _writer(tmp_path / "a.json", "SIGKILL").wait() == -signal.SIGKILL
    assert len(_strays(tmp_path)) == 1
    write_atomically(tmp_path / "b.json", b"other")
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]
    _writer(tmp_path / "a.json", "SIGKILL").wait()
    write_atomically(tmp_path / "b.json", b"other")  # nothing to write
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]


def test_the_temporary_file_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with _writer(path, "SIGSTOP") as writer:
        os.waitpid(writer.pid, os.WUNTRACED)
        write_atomically(tmp_path / "b.json", b"other")
        left = _strays(tmp_path)
        writer.send_signal(signal.SIGKILL)
    assert len(left) == 1
    write_atomically(path, b"mine")
    assert not _strays(tmp_path)
    assert path.read_bytes() == b"mine"


def test_only_its_own_kind_of_file_is_removed(tmp_path: Path) -> None:
    hexadecimal = "0123456789abcdef" * 2
    kept = [f"a.{hexadecimal}.tmp", f".a.{hexadecimal}.tmp.txt", ".a.0123.tmp", f".{hexadecimal}"]
    for name in kept:
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / f".pipe.{hexadecimal}.tmp")
    (tmp_path / f".folder.{hexadecimal}.tmp").mkdir()
    (tmp_path / f".stray.{hexadecimal}.tmp").touch()
    with within(30):
        write_atomically(tmp_path / "b.json", b"")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*kept, "b.json", f".pipe.{hexadecimal}.tmp", f".folder.{hexadecimal}.tmp"}


def test_many_writers_at_once_do_not_sweep_one_another(tmp_path: Path) -> None:
    def write(name: str) -> None:
        for number in range(100):
            write_atomically(tmp_path / name, f"{name} {number}".encode())

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    contents = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert contents == {name: f"{name} 99" for name in "abcd"}


def test_a_temporary_file_that_is_swept_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, swept = files.fcntl.flock, []

    def sweep_first(file: Any, flags: int) -> None:
        if not swept:
            swept.append(Path(file.name))
            Path(file.name).unlink()
        lock(file, flags)

    monkeypatch.setattr(files.fcntl, "flock", sweep_first)
    write_atomically(tmp_path / "a.json", b"whole")
    assert (tmp_path / "a.json").read_bytes() == b"whole"
    assert len(swept) == 1


def test_a_file_that_has_the_content_already_needs_no_writing(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, b"same")
    before = path.stat().st_ino
    write_atomically(path, b"same")
    assert path.stat().st_ino == before
    for other in (b"sam", b"same "):
        write_atomically(path, other)
        assert path.read_bytes() == other
