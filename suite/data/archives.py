"""A zip archive, whoever made it: opened and read within the bounds of an official one."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from suite.files import open_regular

MEMBER_BYTES = 1 << 20
"""The largest file of the official set is GT-final_test.csv with 0.4 MB; the largest image, of
250 x 250 pixels, has 0.2 MB."""

ARCHIVE_BYTES = 1 << 30  # of a whole archive; the official training archive has 0.3 GB
MEMBERS = 65_535  # the official training archive has 39,296
TOTAL_BYTES = 1 << 30  # of all members, unpacked
DIRECTORY_BYTES = 8 << 20  # of the list of members; each takes about 100
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Decompressed piece by piece; of the others, a few bytes can become gigabytes at once."""

FAULTS = (
    EOFError,
    LookupError,
    OSError,
    OverflowError,
    RuntimeError,  # encrypted, or a compression that zipfile lacks
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What zipfile raises for an archive or a member that is damaged or out of bounds."""


class _Bounded(io.BufferedReader):
    """A file of which nothing larger than an archive's directory is read at once."""

    def read(self, size: int | None = -1) -> bytes:
        """Read up to `size` bytes; all that is left if it is negative.

        Raises:
            BadZipFile: If that is more than `DIRECTORY_BYTES`.
        """
        endless = size is None or size < 0 or size > DIRECTORY_BYTES
        content = super().read(DIRECTORY_BYTES + 1 if endless else size)
        if len(content) > DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its directory is larger than {DIRECTORY_BYTES:,} bytes")
        return content


@contextmanager
def opened_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive.

    Raises:
        BadZipFile: If it is none, or has more members or bytes than an official one can have.
        OSError: If it cannot be read, or is no regular file.
    """
    with _Bounded(open_regular(path).detach()) as file, zipfile.ZipFile(file) as archive:
        _check_bounds(archive.infolist())
        yield archive


def _check_bounds(members: list[zipfile.ZipInfo]) -> None:
    """Refuse members that are too many, or too large together.

    Raises:
        BadZipFile: If they are.
    """
    if len(members) > MEMBERS:
        raise zipfile.BadZipFile(f"{len(members):,} files, expected at most {MEMBERS:,}")
    total = sum(member.file_size for member in members)
    if total > TOTAL_BYTES:
        raise zipfile.BadZipFile(f"{total:,} bytes unpacked, expected at most {TOTAL_BYTES:,}")


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Read one file of an archive and compare it with its checksum.

    Raises:
        BadZipFile: If its checksum is wrong, or it is larger or packed otherwise than an official
            one; other `FAULTS` if it is damaged.
    """
    if member.compress_type not in METHODS:
        raise zipfile.BadZipFile(f"packed by method {member.compress_type}, expected 0 or 8")
    if member.file_size > MEMBER_BYTES:
        raise zipfile.BadZipFile(f"{member.file_size:,} bytes, expected at most {MEMBER_BYTES:,}")
    with archive.open(member) as file:
        return file.read(MEMBER_BYTES)


def fault_of(path: Path) -> str:
    """Read a whole archive and say what is wrong with it; an empty string if nothing is."""
    name = ""
    try:
        with opened_archive(path) as archive:
            for member in archive.infolist():
                name = f"{member.filename}: "
                read_member(archive, member)
    except FAULTS as error:
        return f"{name}{error}"
    return ""
