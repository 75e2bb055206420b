"""Bounds on what reading may cost, for tests of input that tries to cost more."""

from __future__ import annotations

import signal
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def within(seconds: float, *, megabytes: float | None = None) -> Iterator[None]:
    """Fail if the body takes longer, hangs, or holds more memory at once than is given."""

    def ring(*_: int | FrameType | None) -> None:
        raise AssertionError(f"not done within {seconds} s")

    former = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    if megabytes:
        tracemalloc.start()
    try:
        yield
        if megabytes:
            peak = tracemalloc.get_traced_memory()[1]
            assert peak < megabytes * 1e6, f"{peak / 1e6:.0f} MB at once"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
        tracemalloc.stop()
