"""The data are known by their content: an exchanged file is noticed whatever its name and times."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suite.data import digests, gtsrb
from suite.data.cache import cache_root
from suite.data.digests import source_digest, source_status
from suite.data.download import TEST_ARCHIVE
from suite.data.gtsrb import Expected, load_verified
from suite.data.sources import TEST_FOLDER
from suite.errors import DataError
from tests.bounds import within

Forged = dict[str, dict[str, bytes]]
Write = Callable[[Forged], Path]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the paths that are digested from now on."""
    paths: list[Path] = []
    compute = digests._computed

    def computed(path: Path) -> str:
        paths.append(path)
        return compute(path)

    monkeypatch.setattr(digests, "_computed", computed)
    return paths


def _rewrite_keeping_size_and_mtime(path: Path) -> None:
    times, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _exchange_keeping_size_and_mtime(path: Path) -> None:
    other = path.with_name("other")
    shutil.copy2(path, other)
    _rewrite_keeping_size_and_mtime(other)
    other.replace(path)


@pytest.mark.parametrize(
    "swap", [_rewrite_keeping_size_and_mtime, _exchange_keeping_size_and_mtime]
)
def test_a_file_exchanged_with_size_and_mtime_kept_is_noticed(
    tmp_path: Path, swap: Callable[[Path], None]
) -> None:
    path = tmp_path / "archive.zip"
    path.write_bytes(b"0123456789")
    before, times = source_digest(path), path.stat()
    swap(path)
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (times.st_size, times.st_mtime_ns)
    assert source_digest(path) != before


@pytest.mark.parametrize("packed", [True, False])
def test_data_exchanged_with_size_and_mtime_kept_are_decoded_anew(
    forged: Forged, write_archives: Write, write_tree: Write, expected: Expected, packed: bool
) -> None:
    root = write_archives(forged) if packed else write_tree(forged)
    before = load_verified(root, size_px=4, expected=expected)
    if packed:
        name = f"{TEST_FOLDER}/00000.ppm"
        forged[TEST_ARCHIVE][name] = forged[TEST_ARCHIVE][name][:-1] + b"\xff"
        times = (root / TEST_ARCHIVE).stat()
        shutil.rmtree(root)
        write_archives(forged)
        os.utime(root / TEST_ARCHIVE, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert (root / TEST_ARCHIVE).stat().st_size == times.st_size
    else:
        image = root / TEST_FOLDER / "00000.ppm"
        times = image.stat()
        image.write_bytes(image.read_bytes()[:-1] + b"\xff")
        os.utime(image, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert load_verified(root, size_px=4, expected=expected).digest != before.digest


def test_a_digest_is_remembered_for_a_day(
    tmp_path: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, now = tmp_path / "archive.zip", digests.time.time()
    path.write_bytes(b"0123456789")
    digest = source_digest(path)
    for age_s, times_read in ((0, 1), (86_399, 1), (86_401, 2), (86_402, 2)):
        monkeypatch.setattr(digests.time, "time", lambda age_s=age_s: now + 1 + age_s)
        assert source_digest(path) == digest
        assert len(read) == times_read
    monkeypatch.setattr(digests.time, "time", lambda: now)  # a clock that was set back
    assert source_digest(path) == digest
    assert len(read) == 3


def test_anew_forgets_what_is_remembered(tmp_path: Path, read: list[Path]) -> None:
    path = tmp_path / "archive.zip"
    path.write_bytes(b"0123456789")
    source_digest(path)
    [note] = (cache_root() / "digests").iterdir()
    note.write_text(json.dumps({**json.loads(note.read_text()), "sha256": "wrong"}))
    assert source_digest(path) == "wrong"
    digest = source_digest(path, anew=True)
    assert digest != "wrong"
    assert source_digest(path) == digest
    assert len(read) == 2


def test_to_verify_is_to_read_every_source_again(
    forged: Forged, write_archives: Write, expected: Expected, read: list[Path]
) -> None:
    root = write_archives(forged)
    load_verified(root, size_px=4, expected=expected)
    load_verified(root, size_px=4, expected=expected)
    assert len(read) == 3
    load_verified(root, size_px=4, expected=expected, verify=True)
    assert [path.name for path in read[3:]] == [path.name for path in read[:3]]


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"checked_at": "soon"}', b'{"checked_at": 9e99}', b"[" * 4000]
)
def test_a_damaged_memory_is_forgotten(tmp_path: Path, damage: bytes, read: list[Path]) -> None:
    path = tmp_path / "archive.zip"
    path.write_bytes(b"0123456789")
    digest = source_digest(path)
    [note] = (cache_root() / "digests").iterdir()
    note.write_bytes(damage)
    assert source_digest(path) == digest
    assert len(read) == 2


def test_a_cache_that_cannot_be_written_costs_time_and_no_answer(
    tmp_path: Path, read: list[Path]
) -> None:
    cache_root().parent.mkdir(exist_ok=True)
    cache_root().write_text("no folder")
    path = tmp_path / "archive.zip"
    path.write_bytes(b"0123456789")
    assert source_digest(path) == source_digest(path)
    assert len(read) == 2


def test_archives_that_were_moved_need_no_decoding(
    forged: Forged, write_archives: Write, expected: Expected, tmp_path: Path
) -> None:
    root = write_archives(forged)
    before = load_verified(root, size_px=4, expected=expected)
    root.rename(tmp_path / "moved")
    folders = sorted((cache_root() / "data").iterdir())
    assert load_verified(tmp_path / "moved", size_px=4, expected=expected).digest == before.digest
    assert sorted((cache_root() / "data").iterdir()) == folders


def test_archives_that_change_while_they_are_read_are_not_kept(
    forged: Forged, write_archives: Write, expected: Expected, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, split = write_archives(forged), gtsrb._test_split

    def changing(*arguments: Any, **options: Any) -> Any:
        made = split(*arguments, **options)
        _rewrite_keeping_size_and_mtime(root / TEST_ARCHIVE)
        return made

    monkeypatch.setattr(gtsrb, "_test_split", changing)
    with pytest.raises(DataError, match=r"the files changed while they were read. Run again"):
        load_verified(root, size_px=4, expected=expected)
    assert not [path for path in (cache_root() / "data").iterdir() if path.is_dir()]


def test_a_file_without_end_is_not_digested_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "ARCHIVE_BYTES", 5_000_000)
    with (tmp_path / "archive.zip").open("wb") as file:
        file.truncate(5_000_000)
        assert source_digest(tmp_path / "archive.zip")
        file.truncate(1 << 42)
    with within(30), pytest.raises(
        DataError, match=r"archive.zip: cannot be read .*5,000,000 bytes"
    ):
        source_digest(tmp_path / "archive.zip")


def test_the_status_of_a_tree_follows_every_image_and_table(
    forged: Forged, write_tree: Write
) -> None:
    root = write_tree(forged)
    seen = {source_status(root), source_digest(root)}
    image = root / TEST_FOLDER / "00002.ppm"
    for change in (
        lambda: image.rename(image.with_name("00009.ppm")),  # the last one, still
        (root / "new.csv").touch,
        lambda: (root / "new.csv").write_text("1"),
    ):
        change()
        new = {source_status(root), source_digest(root)}
        assert not seen & new
        seen |= new
    (root / "notes.txt").touch()
    assert source_digest(root) in seen
