"""What somebody who waits sees: which part is at work, for how long already, what it said last."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from suite.measure.training import is_live
from suite.report.diverted import last_lines
from suite.report.screen import write_over
from suite.report.text import printable

TICK_S = 0.5
QUIET_S = 60.0  # between two looks at the parts where there is no terminal: many pile up in a log
CASE = re.compile(r"(\d+/\d+) [A-Za-z ]+  ")  # begins the line of a case that has ended


class Part(NamedTuple):
    """A process that works by itself and prints into a log.

    Attributes:
        name: Of what it works at.
        seconds: How long it has run.
        log: What it prints.
    """

    name: str
    seconds: float
    log: Path


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
            write_over(f"{said[-1]}, {time.monotonic() - started:.0f} s")

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield said.append
    finally:
        ended.set()
        thread.join()
        write_over()


@contextmanager
def watching(tell: Callable[[str], None]) -> Iterator[Callable[[Sequence[Part]], None]]:
    """Show what processes that print into logs are at, until the end.

    Args:
        tell: Takes a line for each part every `QUIET_S` where there is no terminal.

    Yields:
        What takes the parts, often: a terminal has a line for each, which are gone at the end.
    """
    told_s = time.monotonic()

    def show(parts: Sequence[Part]) -> None:
        nonlocal told_s
        live = is_live()
        if time.monotonic() - told_s < (TICK_S if live else QUIET_S):
            return
        told_s = time.monotonic()
        if live:
            write_over(*map(part_line, parts))
        else:
            tell("\n".join(map(part_line, parts)))

    try:
        yield show
    finally:
        write_over()


def part_line(part: Part) -> str:
    """Write what a process is at: how many cases have ended, and the last line of its log."""
    said = last_lines(part.log)
    ended = [found[1] for line in said for found in [CASE.match(line)] if found]
    words = said[-1] if said else "it has printed nothing yet"
    count = f"{ended[-1]} cases, " if ended and not CASE.match(words) else ""
    return printable(f"{part.name} {part.seconds:.0f} s: {count}{words}")
