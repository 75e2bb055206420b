"""A process of its own for code that is not ours: whatever ends it, the command lives to say so.

The answer comes back as one file, written whole, in a folder that was made for it. A process that
ends without it has answered nothing, whatever its status. It is no prison: that code can do what
its user can do.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from suite.commands.options import explained
from suite.errors import SuiteError
from suite.files import read_bytes, write_atomically
from suite.report.text import printable

START = (
    "import json, sys\n"
    "with open(sys.argv.pop()) as file:\n"
    "    asked = json.load(file)\n"
    "sys.path[:] = asked['path']\n"
    "from suite.commands.apart import answer; answer(asked)"
)
LINE = 10_000  # characters that are waited for, where code prints no end of a line
LAST_WORDS, WIDTH = 5, 300  # lines, and characters of one: some print whole graphs
TOLD = "\x1e"  # begins a line about how far the work is; nobody else's begins so
ANSWER_BYTES = 100_000_000
PARTING_S = 5.0  # for the last words, where something else still holds the output


def hide(text: str) -> None:
    """Show nothing."""
    del text


def ask(
    target: str, given: Mapping[str, Any], *, limit_s: float, show: Callable[[str], None] = hide
) -> Any:
    """Call a function of ours in a process of its own, and return what it returns.

    What that process prints, a framework too, is kept, and told where it gives no answer.

    Args:
        target: ``module:function``; it takes and returns JSON values.
        given: What it is called with.
        limit_s: Seconds after which it is ended.
        show: Called with what it `tell`s of how far it is.

    Raises:
        SuiteError: If it ends in any other way than by returning: why, and its last words.
    """
    words: deque[str] = deque(maxlen=LAST_WORDS)
    with tempfile.TemporaryDirectory(prefix="suite-", ignore_cleanup_errors=True) as folder:
        question, place = Path(folder, "question.json"), Path(folder, "answer.json")
        asked = {"target": target, "given": given, "place": str(place), "path": sys.path}
        question.write_text(json.dumps(asked), encoding="ascii")
        with _started(question, words, show) as process:
            try:
                status = process.wait(limit_s)
            except subprocess.TimeoutExpired as error:
                raise _silent(f"it was ended after {limit_s:g} s", words) from error
        if status or not place.exists():
            raise _silent(_end(status), words)
        content = read_bytes(place, limit=ANSWER_BYTES)
    try:
        return _received(json.loads(content))
    except (LookupError, TypeError, ValueError) as error:  # it can have been written by others
        raise _silent("its answer is damaged", words) from error


@contextmanager
def _started(
    question: Path, words: deque[str], show: Callable[[str], None]
) -> Iterator[subprocess.Popen[str]]:
    """Start the process, hear what it prints, and leave none of its group behind."""
    process = subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-u", "-c", START, str(question)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # to be ended with all that it started
    )
    hearing = threading.Thread(target=_hear, args=(process.stdout, words, show), daemon=True)
    hearing.start()
    try:
        yield process
    finally:
        with suppress(ProcessLookupError, PermissionError):  # nothing is left of it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        hearing.join(PARTING_S)
        if process.stdin:
            process.stdin.close()


def _hear(output: TextIO, words: deque[str], show: Callable[[str], None]) -> None:
    """Show how far the process is, and keep its last words, made safe."""
    for line in iter(lambda: output.readline(LINE), ""):
        text = printable(line.rstrip("\n").lstrip(TOLD))
        if line.startswith(TOLD):
            with suppress(OSError):  # it must be heard to its end, or it would wait for us
                show(text)
        elif text.strip():
            words.append(printable(text, limit=WIDTH))
    output.close()


def tell(text: str) -> None:
    """Tell the process that asked how far this one is."""
    with suppress(OSError):  # that it cannot be told is no reason to end
        print(f"{TOLD}{text}", flush=True)


def _end(status: int) -> str:
    """Say how a process ended that gave no answer."""
    if status >= 0:
        return f"it ended itself with status {status}"
    return f"it was ended by signal {-status} ({signal.strsignal(-status) or 'unknown'})"


def _silent(end: str, words: deque[str]) -> SuiteError:
    """Make the error about a process that gave no answer."""
    said = f"Its last words: {' / '.join(words)}" if words else "It printed nothing"
    return SuiteError(
        f"the process of the diagnosis gave none: {end}. {said}. Expected: a network that can be "
        "made and called. Make and call it by itself to see why, or give more time with --limit."
    )


def _received(answer: Mapping[str, Any]) -> Any:
    """Give what the function returned.

    Raises:
        SuiteError: If it raised instead: its words; the traceback is a note.
    """
    if "error" in answer:
        error = SuiteError(answer["error"])
        error.add_note(answer["traceback"])
        raise error
    return answer["returned"]


def answer(asked: Mapping[str, Any]) -> None:
    """Call the function that is asked for, write what came of it, and end this process."""
    _end_with_parent()
    module, _, name = asked["target"].partition(":")
    try:
        found = {"returned": getattr(importlib.import_module(module), name)(asked["given"])}
    except BaseException as error:  # the border of this process: every end of it must be told
        found = {"error": explained(error), "traceback": traceback.format_exc()}
    write_atomically(Path(asked["place"]), json.dumps(found).encode())
    sys.stdout.flush()
    os._exit(0)  # what others want to do at the end, a framework too, can only spoil the answer


def _end_with_parent() -> None:
    """End this process and its group as soon as the one that asked has ended, however that was."""
    asking = os.dup(sys.stdin.fileno())  # it says nothing more, and closes at its end
    void = os.open(os.devnull, os.O_RDONLY)
    os.dup2(void, sys.stdin.fileno())  # so that nobody waits for words of the user

    def wait() -> None:
        os.read(asking, 1)
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()
