"""Digests of files, and writes that are made as a whole or not at all."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from suite.errors import RecordError

MEND = "Restore it from version control, or move it away and run the case again."


def file_digest(path: Path) -> str:
    """Compute ``"sha256:..."`` of a file's content.

    Raises:
        RecordError: If the file cannot be read.
    """
    return f"sha256:{hashlib.sha256(read_bytes(path)).hexdigest()}"


def code_digest(root: Path, names: Iterable[str] = ("",)) -> str:
    """Compute ``"sha256:..."`` of the paths and contents of the Python sources below `root`.

    Args:
        root: A folder.
        names: The files and folders below it that count; the whole folder unless given.

    Raises:
        RecordError: If a file cannot be read, or a name is neither a file nor a folder.
    """
    digest = hashlib.sha256()
    for name in sorted(path for part in names for path in _sources(root, part)):
        digest.update(f"{name} {file_digest(root / name)}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def _sources(root: Path, part: str) -> list[str]:
    """List the Python files of one part of `root`, relative to `root`.

    Raises:
        RecordError: If the part is missing.
    """
    place = root / part
    if not place.exists():
        raise RecordError(f"{place} is missing, expected a source or a folder of sources.")
    paths = [place] if place.is_file() else place.rglob("*.py")
    return [path.relative_to(root).as_posix() for path in paths]


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Raises:
        RecordError: If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}. {MEND}") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` as a whole or not at all; folders are made as needed.

    Raises:
        RecordError: If it cannot be written; the file that was there before is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write_through(temporary, content)
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            if temporary.exists():
                temporary.unlink()
    except OSError as error:
        refuse_write(path, error)


def _write_through(path: Path, content: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the folder's entries are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_write(path: Path, error: OSError) -> NoReturn:
    """Turn an operating system's refusal to write into a RecordError: path, cause, what to do.

    Raises:
        RecordError: Always.
    """
    raise RecordError(
        f"{path} cannot be written: {error.strerror}. What was there before is unchanged. Free "
        "some space or make the folder writable, then give the same command again: what is "
        "finished is not run again."
    ) from error
