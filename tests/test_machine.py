"""Tests of suite.machine: a fingerprint over what decides speed, and this process's peak memory."""

from __future__ import annotations

import os

import numpy as np
import pytest

from suite import machine


def test_the_fingerprint_is_the_same_at_every_call() -> None:
    first = machine.describe([])
    assert first == machine.describe([])
    assert len(str(first["fingerprint"])) == 16
    assert first["cores"] == len(os.sched_getaffinity(0))
    assert first["cpu"]


def test_another_gpu_is_another_machine() -> None:
    prints = {machine.describe(gpus)["fingerprint"] for gpus in ([], ["A"], ["B"], ["A", "A"])}
    assert len(prints) == 4


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        (machine, "cpu_name", lambda: "another"),
        (machine.os, "sched_getaffinity", lambda _: set(range(1000))),
        (machine.os, "sysconf", lambda _: 2**22),
        (machine.platform, "machine", lambda: "another"),
    ],
)
def test_another_processor_count_memory_or_system_is_another_machine(
    where: object, name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = machine.describe([])["fingerprint"]
    monkeypatch.setattr(where, name, value)
    assert machine.describe([])["fingerprint"] != here


def test_peak_memory_holds_what_was_freed_until_the_reset() -> None:
    size = 200 * 2**20
    machine.reset_peak_memory()
    before = machine.peak_memory_bytes()
    np.ones(size, np.uint8)
    assert machine.peak_memory_bytes() - before > 0.9 * size
    machine.reset_peak_memory()
    assert machine.peak_memory_bytes() - before < 0.5 * size
