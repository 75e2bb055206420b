"""Files: read within bounds whoever wrote them, digested, written as a whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import hashlib
import io
import json
import os
import re
import stat
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from suite.errors import RecordError, WriteError

MEND = "Restore it from version control, or move it away and run the case again."
SUITE = Path(__file__).parent
MEASURING = ("data", "measure", "networks", "stacks")
"""The folders of the suite that decide a number: a record's code digest covers them.

A change of a report, a band or the diagnosis makes no case run anew. The case itself is part of
the key by its settings.
"""

STATING = ("measure/environment.py", "measure/once.py")
"""Files in them that decide none: what they state is held against the present itself."""

PROBING = (
    "measure/constants.py",
    "measure/fed.py",
    "measure/states.py",
    *(
        f"measure/questions/{name}.py"
        for name in (
            "draws", "dropout", "parity", "trap_calls", "trap_defaults", "trap_saves", "traps",
        )
    ),
)  # fmt: skip
"""Files in them that decide no training's number, nor an attack's, nor a step's time: their own
digest is in the records of steps, draws and traps alone, so that a new probe makes no training
stale."""

RECORD_BYTES = 16_000_000
"""What a record may hold at most: 80 times the largest that is stored, and twice what the longest
training of any tier writes (61,250 steps, 6 curves, 20 bytes a number)."""

TAIL_BYTES = 100_000
TABLE_BYTES = 1_000_000  # of a table of bands or traps, which have some 20,000
DEPTH = 32  # of nested JSON; a record has 5
TOO_DEEP = f"it nests deeper than {DEPTH} levels"
NESTING = frozenset((dict, list))
INTEGER_DIGITS = 19  # of the largest integer of 64 bits
CHUNK_BYTES = 1 << 20
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")  # `_locked` names its files so


def file_digest(path: Path) -> str:
    """Compute ``"sha256:..."`` of a file's content.

    Raises:
        RecordError: If the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open_regular(path) as file:
            for chunk in iter(lambda: file.read(CHUNK_BYTES), b""):
                digest.update(chunk)
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}. {MEND}") from error
    return f"sha256:{digest.hexdigest()}"


def measuring_digest() -> str:
    """Compute the digest of the code that decides every number (`MEASURING`).

    Raises:
        RecordError: If a source cannot be read.
    """
    return code_digest(SUITE, MEASURING, but=(*STATING, *PROBING))


def probing_digest() -> str:
    """Compute the digest of the code that steps, draws and traps are probed with (`PROBING`).

    Raises:
        RecordError: If a source cannot be read.
    """
    return code_digest(SUITE, PROBING)


def code_digest(root: Path, names: Iterable[str] = ("",), *, but: Collection[str] = ()) -> str:
    """Compute ``"sha256:..."`` of the paths and contents of the Python sources below `root`.

    Args:
        root: A folder.
        names: The files and folders below it that count; the whole folder unless given.
        but: Files in them that do not.

    Raises:
        RecordError: If a file cannot be read, or a name is neither a file nor a folder.
    """
    digest = hashlib.sha256()
    for name in sorted({path for part in names for path in _sources(root, part)} - {*but}):
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


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file to read it; a pipe, which would wait for its writer, or a device is refused.

    Raises:
        OSError: If it cannot be opened or is no regular file.
    """
    _check_regular(path.stat().st_mode)  # first: to open some devices does something
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_regular(os.fstat(descriptor).st_mode)  # again: it may have been exchanged
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def tail_of(path: Path) -> bytes:
    """Read the last `TAIL_BYTES` of a log, which may be of any size.

    Raises:
        OSError: If it cannot be read.
    """
    with open_regular(path) as file:
        file.seek(-min(TAIL_BYTES, os.fstat(file.fileno()).st_size), os.SEEK_END)
        return file.read(TAIL_BYTES)


def _check_regular(mode: int) -> None:
    """Refuse the mode of anything but a regular file.

    Raises:
        OSError: If it is that of something else.
    """
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        found = kinds.get(stat.S_IFMT(mode), "a device")
        raise OSError(errno.EINVAL, f"it is {found}, expected a file")


def read_bytes(path: Path, *, limit: int = RECORD_BYTES) -> bytes:
    """Read a file of at most `limit` bytes.

    Raises:
        RecordError: If it cannot be read, is no regular file, or is larger.
    """
    try:
        return read_within(path, limit)
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}. {MEND}") from error


def read_within(path: Path, limit: int) -> bytes:
    """Read a file of at most `limit` bytes.

    Raises:
        OSError: If it cannot be read, is no regular file, or is larger.
    """
    with open_regular(path) as file:
        expected = min(os.fstat(file.fileno()).st_size, limit)
        content = file.read(expected + 1)  # as much memory is taken before anything is read
        if len(content) > expected:  # it has grown since, or is too large
            content += file.read(limit + 1 - len(content))
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it holds more than {limit:,} bytes")
    return content


def read_table(path: Path, columns: tuple[str, ...]) -> list[list[str]]:
    """Read the rows of a comma-separated table below its header.

    Raises:
        ValueError: If it cannot be read, or has other columns; it names the row.
    """
    try:
        text = read_within(path, TABLE_BYTES).decode("utf-8")
        lines = list(csv.reader(io.StringIO(text, newline="")))
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"{path} must be a table in UTF-8. Received: {error}") from error
    if not lines or tuple(lines[0]) != columns:
        raise ValueError(f"{path} must have the columns {columns}. Received: {lines[:1]!r:.200}")
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(columns):
            rule = f"have {len(columns)} fields in each row"
            raise ValueError(f"{path} must {rule}. Received: {line!r:.80} in row {number}")
    return lines[1:]


def parse_json(content: bytes) -> Any:
    """Parse strict JSON in UTF-8, whoever wrote it.

    Raises:
        ValueError: If it is not JSON, nests deeper than `DEPTH`, names a key twice, or holds a
            number that is none (``NaN``), an integer of more than 64 bits, or half a character.
    """
    try:
        found = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_int=_integer,
        )
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    if _nests(found, DEPTH):
        raise ValueError(TOO_DEEP)
    if b"\\ud" in content or b"\\uD" in content:  # an escape that may be half of a pair
        json.dumps(found, ensure_ascii=False).encode("utf-8")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object of its `pairs`.

    Raises:
        ValueError: If a key comes twice.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = sorted(name for name, count in counts.items() if count > 1)
        raise ValueError(f"duplicate keys: {', '.join(twice):.200}")
    return found


def _no_constant(name: str) -> NoReturn:
    """Refuse ``NaN`` and ``Infinity``, which are not JSON.

    Raises:
        ValueError: Always.
    """
    raise ValueError(f"{name} is not a JSON number")


def _integer(text: str) -> int:
    """Read an integer that every consumer can turn into a float or an array's entry.

    Raises:
        ValueError: If it needs more than 64 bits.
    """
    if len(text) > INTEGER_DIGITS + 1 or not -(2**63) <= int(text) < 2**63:
        raise ValueError(f"the integer {text:.20}... needs more than 64 bits")
    return int(text)


def _nests(value: Any, depth: int) -> bool:
    """True where lists and objects nest deeper than `depth`."""
    level = [value] if type(value) in NESTING else []
    for _ in range(depth):
        level = [
            item
            for part in level
            for item in (part.values() if isinstance(part, dict) else part)
            if type(item) in NESTING
        ]
    return bool(level)


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` as a whole or not at all; folders are made as needed.

    A file that already holds it is left alone, so that nothing has to be writable for it. What a
    killed writer left in the folder is removed.

    Raises:
        WriteError: If it cannot be written; the file that was there before is unchanged.
    """
    try:
        if path.exists():
            _check_regular(path.stat().st_mode)
        _sweep(path.parent)
        if _holds(path, content):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with _held_temporary(path) as (temporary, file):
            _write_through(file, content)
            temporary.replace(path)
            sync_folder(path.parent)
    except OSError as error:
        refuse_write(path, error)


def _write_through(file: BinaryIO, content: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    file.write(content)
    file.flush()
    os.fsync(file.fileno())


def _holds(path: Path, content: bytes) -> bool:
    """True where `path` is a file of exactly this content."""
    try:
        return read_within(path, len(content)) == content
    except OSError:
        return False


@contextlib.contextmanager
def _held_temporary(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Make a file beside `path` and hold its lock; what is still there in the end is removed."""
    temporary, file = _locked(path)
    with file:
        try:
            yield temporary, file
        finally:
            if temporary.exists():
                temporary.unlink()


def _locked(path: Path) -> tuple[Path, BinaryIO]:
    """Make a file beside `path` and lock it; `_sweep` sees by the lock that its writer lives."""
    while True:
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        file = temporary.open("xb")
        with contextlib.suppress(OSError):  # a file system without locks: nothing is swept there
            fcntl.flock(file, fcntl.LOCK_EX)
        if temporary.exists():
            return temporary, file
        file.close()  # it was swept before it was locked


def _sweep(folder: Path) -> None:
    """Remove the temporary files of killed writers: the system has released their locks."""
    entries = folder.iterdir() if folder.is_dir() else ()
    for stray in (entry for entry in entries if TEMPORARY.fullmatch(entry.name)):
        # Left alone is what its living writer holds, another user's, and what is gone by now.
        with contextlib.suppress(OSError), open_regular(stray) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stray.unlink()


def sync_folder(folder: Path) -> None:
    """Wait until the folder's entries are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_write(path: Path, error: OSError) -> NoReturn:
    """Turn an operating system's refusal to write into a WriteError: path, cause, what to do.

    Raises:
        WriteError: Always.
    """
    raise WriteError(
        f"{path} cannot be written: {error.strerror}. What was there before is unchanged. Free "
        "some space or make the folder writable, then give the same command again: what is "
        "finished is not run again."
    ) from error
