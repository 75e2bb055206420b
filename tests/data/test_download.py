"""The download resumes, checks what came, and says what to do when it fails."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import pytest

from suite.data import download
from suite.data.download import (
    CHECKSUMS,
    TEST_ARCHIVE,
    TRAINING_ARCHIVE,
    archive_folder,
    download_gtsrb,
)
from suite.errors import DataError


class Server(NamedTuple):
    """A local server of archives.

    Attributes:
        url: Its address.
        files: What it serves.
        ranges: The Range header of every request.
        faults: "no-range" ignores ranges, "cut" closes after half of the body.
    """

    url: str
    files: dict[str, bytes]
    ranges: list[str | None]
    faults: set[str]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "CHUNK_BYTES", 1024)


@pytest.fixture
def server() -> Iterator[Server]:
    """Return a running server of one archive."""
    state = Server("", {TEST_ARCHIVE: _archive()}, [], set())
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state._replace(url=f"http://127.0.0.1:{httpd.server_port}/archives")
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def _archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("GTSRB/image.ppm"), bytes(range(256)) * 40)
    return file.getvalue()


def _handler(state: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.ranges.append(self.headers["Range"])
            _answer(self, state)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _answer(handler: BaseHTTPRequestHandler, state: Server) -> None:
    content = state.files.get(handler.path.removeprefix("/archives/"))
    if content is None:
        handler.send_error(404)
        return
    start = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    start = 0 if "no-range" in state.faults else start
    if start >= len(content):
        handler.send_response(416)
        handler.send_header("Content-Range", f"bytes */{len(content)}")
        handler.end_headers()
        return
    handler.send_response(206 if start else 200)
    body = content[start:]
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2] if "cut" in state.faults else body)


def _md5(content: bytes) -> dict[str, str | None]:
    return {TEST_ARCHIVE: f"md5:{hashlib.md5(content, usedforsecurity=False).hexdigest()}"}


def _fetch(server: Server) -> bytes:
    folder = download_gtsrb(base_url=server.url, checksums=_md5(_archive()))
    return (folder / TEST_ARCHIVE).read_bytes()


def test_an_archive_is_fetched_once_and_source_and_terms_are_told_first(
    server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    assert _fetch(server) == _archive()
    told = capfd.readouterr().err
    assert told.index("Stallkamp") < told.index("100%")
    assert "Ruhr-Universitaet Bochum" in told
    assert server.url in told
    _fetch(server)
    assert server.ranges == ["bytes=0-"]


def test_an_interrupted_transfer_is_resumed(server: Server) -> None:
    server.faults.add("cut")
    with pytest.raises(DataError, match=rf"{server.url}/{TEST_ARCHIVE}: download failed"):
        _fetch(server)
    server.faults.clear()
    assert _fetch(server) == _archive()
    whole_chunks = len(_archive()) // 2 // 1024 * 1024
    assert server.ranges == ["bytes=0-", f"bytes={whole_chunks}-"]
    assert not list(archive_folder().glob("*.part"))


def test_a_server_without_ranges_sends_the_file_again(server: Server) -> None:
    server.faults.update({"cut", "no-range"})
    with pytest.raises(DataError, match=r"download failed"):
        _fetch(server)
    server.faults.remove("cut")
    assert _fetch(server) == _archive()


def test_a_part_that_is_the_whole_file_is_taken(server: Server) -> None:
    archive_folder().mkdir(parents=True)
    (archive_folder() / f"{TEST_ARCHIVE}.part").write_bytes(_archive())
    assert _fetch(server) == _archive()


def test_a_part_longer_than_the_file_is_deleted(server: Server) -> None:
    archive_folder().mkdir(parents=True)
    (archive_folder() / f"{TEST_ARCHIVE}.part").write_bytes(_archive() + b"more")
    with pytest.raises(DataError, match=r"does not belong to the server's file"):
        _fetch(server)
    assert _fetch(server) == _archive()


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(server: Server) -> None:
    server.files[TEST_ARCHIVE] = _archive() + b"?"
    with pytest.raises(DataError, match=r"download failed.*hash.*nox -s data"):
        _fetch(server)
    assert not list(archive_folder().glob("*.zip*"))


def test_an_archive_without_published_checksum_is_checked_by_its_own(server: Server) -> None:
    server.files[TRAINING_ARCHIVE] = _archive().replace(b"\x09\x0a\x0b", b"\x09\x0a\x00", 1)
    with pytest.raises(DataError, match=r"not a whole zip archive \(GTSRB/image.ppm: Bad CRC"):
        download_gtsrb(base_url=server.url, checksums={TRAINING_ARCHIVE: None})
    assert not (archive_folder() / TRAINING_ARCHIVE).exists()


@pytest.mark.parametrize("known", [True, False])
def test_a_damaged_archive_in_the_cache_is_fetched_again(server: Server, known: bool) -> None:
    archive_folder().mkdir(parents=True)
    path = archive_folder() / TEST_ARCHIVE
    path.write_bytes(_archive()[:-9])
    checksums: dict[str, str | None] = _md5(_archive()) if known else {TEST_ARCHIVE: None}
    download_gtsrb(base_url=server.url, checksums=checksums)
    assert path.read_bytes() == _archive()


def test_a_body_without_end_is_cut_off_and_not_kept(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "ARCHIVE_BYTES", len(_archive()) - 1)
    with pytest.raises(DataError, match=r"download failed. Found: more than 10,\d+ bytes came"):
        _fetch(server)
    assert not list(archive_folder().glob("*.part"))
    monkeypatch.setattr(download, "ARCHIVE_BYTES", len(_archive()))
    assert _fetch(server) == _archive()


def test_what_a_killed_download_left_is_removed_and_nothing_else(server: Server) -> None:
    archive_folder().mkdir(parents=True)
    kept = {"tmp", "tmpabcdefg", "tmpabcdefgh.zip", "atmpabcdefgh", "TMPabcdefgh"}
    for name in ("tmpabcdefgh", "tmp_1x9_z0_", *kept):
        (archive_folder() / name).touch()
    _fetch(server)
    assert {path.name for path in archive_folder().iterdir()} == {
        *kept, TEST_ARCHIVE, "download.lock",
    }  # fmt: skip


def test_pooch_names_its_temporary_files_as_the_sweep_expects(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    fetch = download.resume

    def looking(url: str, output_file: str, store: object) -> None:
        seen.extend(path.name for path in archive_folder().iterdir())
        fetch(url, output_file, store)

    monkeypatch.setattr(download, "resume", looking)
    _fetch(server)
    seen.remove("download.lock")
    assert [bool(download.POOCH_TEMPORARY.fullmatch(name)) for name in seen] == [True]


def test_a_missing_file_on_the_server_names_address_cause_and_ways_out(server: Server) -> None:
    message = (
        f"{server.url}/{TRAINING_ARCHIVE}: download failed. Found: 404.*nox -s data.*GTSRB_ROOT"
    )
    with pytest.raises(DataError, match=message):
        download_gtsrb(base_url=server.url, checksums={TRAINING_ARCHIVE: None})


def test_an_unreachable_server_names_address_cause_and_ways_out() -> None:
    with pytest.raises(DataError, match=r"127.0.0.1:9/.*download failed.*refused.*--gtsrb-root"):
        download_gtsrb(base_url="http://127.0.0.1:9/")


def test_the_three_official_archives_are_asked_for() -> None:
    assert len(CHECKSUMS) == 3
    known = [checksum for checksum in CHECKSUMS.values() if checksum]
    assert all(re.fullmatch("md5:[0-9a-f]{32}", checksum) for checksum in known)
