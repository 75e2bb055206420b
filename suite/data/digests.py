"""The digest of what the data are read from: by content, computed anew daily and at any change."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from suite.data.archives import ARCHIVE_BYTES, MEMBER_BYTES
from suite.data.cache import cache_root
from suite.data.sources import files_below, readable
from suite.errors import RecordError
from suite.files import CHUNK_BYTES, open_regular, parse_json, read_within, write_atomically

DAY_S = 24 * 3600
KINDS = (".ppm", ".csv")  # what counts in an extracted tree
NOTE_BYTES = 4096


def source_digest(path: Path, *, anew: bool = False) -> str:
    """Compute the SHA-256 of an archive, a csv file, or the images and csv files of a tree.

    It is remembered in the cache for a day, unless the status of a file changes: its size, its
    times of change (ctime, which ``touch`` cannot set back) or its inode.

    Args:
        path: As `suite.data.sources.locate` returns it.
        anew: Forget what is remembered.

    Raises:
        DataError: If it cannot be read.
    """
    place = os.fsencode(path)
    note = cache_root() / "digests" / f"{hashlib.sha256(place).hexdigest()[:16]}.json"
    status = source_status(path)
    known = None if anew else _remembered(note, status)
    if known is None:
        known = _computed(path)
        content = {"checked_at": time.time(), "status": status, "sha256": known}
        with contextlib.suppress(RecordError):  # unwritable: computed again by the next run
            write_atomically(note, json.dumps(content).encode())
    return known


def source_status(path: Path) -> str:
    """Digest the status of every file at `path`: name, device, inode, size, mtime and ctime.

    Raises:
        DataError: If it cannot be read.
    """
    digest = hashlib.sha256()
    with readable(path):
        for name, file in _files(path):
            found = os.stat(file)  # noqa: PTH116 - 50,000 of them
            fields = (found.st_dev, found.st_ino, found.st_size)
            times = (found.st_mtime_ns, found.st_ctime_ns)
            digest.update(name + repr((*fields, *times)).encode())
    return digest.hexdigest()


def _remembered(note: Path, status: str) -> str | None:
    """Read the digest that was computed of files of this status; None after a day."""
    try:
        content = parse_json(read_within(note, NOTE_BYTES))
        fresh = 0 <= time.time() - content["checked_at"] < DAY_S
        return str(content["sha256"]) if fresh and content["status"] == status else None
    except (OSError, ValueError, LookupError, TypeError):  # absent, or damaged
        return None


def _computed(path: Path) -> str:
    """Compute the digest of a file, or of the names and contents of a tree.

    Raises:
        DataError: If a file cannot be read.
    """
    digest = hashlib.sha256()
    limit = MEMBER_BYTES if path.suffix in KINDS else ARCHIVE_BYTES
    with readable(path):
        if path.is_dir():
            for name, file in _files(path):
                content = read_within(Path(file), MEMBER_BYTES)
                digest.update(name + hashlib.sha256(content).digest())
        else:
            with open_regular(path) as archive:
                for chunk in iter(lambda: archive.read(CHUNK_BYTES), b""):
                    digest.update(chunk)
                    if archive.tell() > limit:
                        raise OSError(errno.EFBIG, f"it holds more than {limit:,} bytes")
    return digest.hexdigest()


def _files(path: Path) -> Iterator[tuple[bytes, str]]:
    """Give the name and the path of `path` itself, or of the files that count below it."""
    if path.is_dir():
        for entry in files_below(path):
            if entry.name.endswith(KINDS):
                yield os.fsencode(os.path.relpath(entry.path, path)) + b"\0", entry.path
    else:
        yield b"", str(path)
