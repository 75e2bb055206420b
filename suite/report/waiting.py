"""What somebody who waits at a terminal sees: which part is at work, and for how long already."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from shutil import get_terminal_size

from suite.report.screen import write_over

TICK_S = 0.5


@contextmanager
def waiting(first: str) -> Iterator[Callable[[str], None]]:
    """Keep a terminal's last line current until the end; write nothing where there is no terminal.

    Args:
        first: What is at work at the beginning.

    Yields:
        What takes the words for that which begins.
    """
    said, started, ended = [first], time.monotonic(), threading.Event()

    def keep() -> None:
        while not ended.wait(TICK_S):
            text = f"{said[-1]}, {time.monotonic() - started:.0f} s"
            write_over(text[: (get_terminal_size().columns or len(text) + 1) - 1])

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield said.append
    finally:
        ended.set()
        thread.join()
        write_over("")
