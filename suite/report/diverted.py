"""What a framework prints, in Python or in C++, goes to a log instead of the terminal.

C++ writes to the descriptors 1 and 2 whatever Python does, and a process that crashes says its
last words there. So both lead to the log's file, which no crash takes away; `sys.__stdout__` and
`sys.__stderr__` lead to the terminal meanwhile, for what the suite itself has to say.
"""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from suite.files import tail_of
from suite.report.text import printable

if TYPE_CHECKING:
    from typing import TextIO

NAME = "framework.log"
TAIL_LINES = 10  # of a log: what a framework says of its end fits
WIDTH = 300  # characters of such a line: some print whole graphs
WATCH = f"""\
trap "" INT TERM HUP
read -r end && exit
echo
echo "The run ended at once: it crashed or was killed. The framework's last lines, of $1:"
export LC_ALL=C
tail -n {TAIL_LINES} "$1" | tr "\\015" "\\012" |
  tr -d '\\000-\\010\\013-\\037\\177-\\377' | cut -c 1-{WIDTH}"""
"""What a shell does beside the run: no process can tell of its own crash. A line that it reads
means an orderly end; without one, the run is gone."""


class Diversion(NamedTuple):
    """Streams that are led to a log.

    Attributes:
        log: Its file.
        streams: What `sys.__stdout__` and `sys.__stderr__` were; they lead to the log now.
        terminal: What they are meanwhile.
        watch: The shell that tells of a crash; None if nobody is to.
    """

    log: Path
    streams: tuple[TextIO, TextIO]
    terminal: tuple[TextIO, TextIO]
    watch: subprocess.Popen[bytes] | None


def divert(folder: Path, *, watched: bool = True) -> Diversion | None:
    """Lead the descriptors 1 and 2 to a log in a folder; None where no file can be written.

    Args:
        folder: Where the log goes; if that cannot be written, it goes among temporary files.
        watched: True where a crash is to be told on the terminal.
    """
    opened = _opened(folder)
    if opened is None:
        return None
    path, log = opened
    streams = (sys.stdout, sys.stderr)
    terminal = (_second(1, like=sys.stdout), _second(2, like=sys.stderr))
    for descriptor, stream in enumerate(streams, start=1):
        stream.flush()
        os.dup2(log, descriptor)
    os.close(log)
    sys.__stdout__, sys.__stderr__ = terminal  # type: ignore[misc, assignment]
    return Diversion(path, streams, terminal, _watch(path, terminal[1]) if watched else None)


def restore(diversion: Diversion) -> None:
    """Lead the descriptors back to the terminal, and end the watch."""
    if diversion.watch and diversion.watch.poll() is None:
        diversion.watch.communicate(b"end\n")
    pairs = zip(diversion.streams, diversion.terminal)
    for descriptor, (stream, terminal) in enumerate(pairs, start=1):
        stream.flush()
        terminal.flush()
        os.dup2(terminal.fileno(), descriptor)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__ = diversion.streams  # type: ignore[misc, assignment]


def said_last(log: Path) -> list[str]:
    """Quote the last lines of a log, each safe to print, under a line that names it."""
    lines = last_lines(log)
    head = "The framework's last lines" if lines else "The framework printed nothing"
    return [f"{head} ({log}):" if lines else f"{head}.", *(f"  {line}" for line in lines)]


def last_lines(log: Path) -> list[str]:
    """Read the last lines of a log, each safe to print; none if there are none."""
    try:
        text = tail_of(log).decode("utf-8", errors="replace")
    except OSError as error:
        return [f"{log} cannot be read: {error.strerror}"]
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]  # carriage returns too
    return [printable(line, limit=WIDTH) for line in lines[-TAIL_LINES:]]


def _opened(folder: Path) -> tuple[Path, int] | None:
    """Open the log, emptied unless another run writes there, too."""
    try:
        path, log = folder / NAME, _writable(folder)
    except OSError:
        try:
            log, name = tempfile.mkstemp(suffix=f"-{NAME}")
        except OSError:
            return None
        path = Path(name)
    _empty(log)
    return path, log


def _writable(folder: Path) -> int:
    """Open the log in a folder to write at its end.

    Raises:
        OSError: If it cannot be written, or is a link, a pipe or a device.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(str(folder / NAME), flags, 0o666)
    if not stat.S_ISREG(os.fstat(log).st_mode):
        os.close(log)
        raise OSError(f"{folder / NAME} is no regular file")
    return log


def _empty(log: int) -> None:
    """Empty a log unless another run holds it, and hold it as long as anybody writes there."""
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(log, 0)
        fcntl.flock(log, fcntl.LOCK_SH)
    except OSError:  # held, or on a file system without locks: what is new comes last
        return


def _second(descriptor: int, *, like: TextIO) -> TextIO:
    """Open a second way to where a descriptor leads, for text as of a stream."""
    return open(
        os.dup(descriptor), "w", buffering=1,
        encoding=like.encoding, errors=like.errors, closefd=False,
    )  # fmt: skip


def _watch(log: Path, terminal: TextIO) -> subprocess.Popen[bytes] | None:
    """Start the shell that tells of a crash on the terminal."""
    command = ["/bin/sh", "-c", WATCH, "sh", str(log)]
    try:
        return subprocess.Popen(  # noqa: S603 - the shell, and a path that is no part of the command
            command, stdin=subprocess.PIPE, stdout=terminal, stderr=subprocess.DEVNULL
        )
    except OSError:  # where there is no shell, the log is still there
        return None
