"""Tests of suite.machine: what decides speed, this process's memory, and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from suite import machine
from tests.processes import alive


def test_the_fingerprint_is_the_same_at_every_call() -> None:
    first = machine.describe([])
    assert first == machine.describe([])
    assert len(str(first["fingerprint"])) == 16
    assert first["cores"] == len(os.sched_getaffinity(0))
    assert first["cpu"]


def test_another_gpu_is_another_machine() -> None:
    prints = {machine.describe(gpus)["fingerprint"] for gpus in ([], ["A"], ["B"], ["A", "A"])}
    assert len(prints) == 4


def test_a_gpus_memory_and_driver_are_part_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    prints = [machine.describe(["A"])["fingerprint"]]
    assert machine.describe(["A"])["cards"] == []
    for driver in ("580.1", "580.2"):
        smi.write_text(f"#!/bin/sh\necho 'A, 80 MiB, {driver}'\n")
        smi.chmod(0o755)
        described = machine.describe(["A"])
        assert described["cards"] == [f"A, 80 MiB, {driver}"]
        prints.append(described["fingerprint"])
    smi.write_text("#!/bin/sh\necho 'no devices were found'; exit 6\n")
    assert machine.describe(["A"])["cards"] == []
    assert len(set(prints)) == 3
    assert "cards" not in machine.describe([])


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


def test_the_instructions_are_those_that_kernels_are_chosen_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags = "processor: 0\nflags\t\t: fpu avx2 sse4_2 fma hypervisor avx512f\nbogomips: 1\n"
    monkeypatch.setattr(Path, "read_text", lambda _: flags)
    assert machine.instructions() == "avx2 avx512f fma sse4_2"
    monkeypatch.setattr(Path, "read_text", lambda _: "processor: 0\n")
    assert machine.instructions() == ""


# The end

ROOT = Path(__file__).parents[1]
CHILD = "from suite import machine; machine.end_with_parent(); print(flush=True); input()"
PARENT = f"""
import os, subprocess, sys
environment = {{**os.environ, "SUITE_PARENT": str(os.getpid())}}
command = [sys.executable, "-c", {CHILD!r}]
child = subprocess.Popen(
    command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
)
child.stdout.readline()
print(child.pid, flush=True)
held = os.dup(child.stdin.fileno())
os.set_inheritable(held, True)
subprocess.Popen(["sleep", "60"], pass_fds=[held])  # the child's input stays open
child.wait()
"""


def test_a_process_ends_with_the_parent_that_it_was_told_of_even_if_that_is_killed() -> None:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)


@pytest.mark.parametrize("told", [None, "", "no number"])
def test_a_process_that_was_told_of_no_parent_lives_on(
    told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(machine.PARENT, raising=False)
    if told is not None:
        monkeypatch.setenv(machine.PARENT, told)
    machine.end_with_parent()
    assert machine.PARENT not in os.environ


def test_a_parent_that_was_gone_before_is_noticed_and_processes_of_this_one_are_not_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(machine.os, "kill", lambda *given: sent.append(given))
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda _: machine)
    monkeypatch.setattr(machine, "prctl", lambda *_: 0, raising=False)
    for parent, ends in ((os.getppid(), []), (1 + os.getppid(), [(os.getpid(), signal.SIGTERM)])):
        monkeypatch.setenv(machine.PARENT, str(parent))
        machine.end_with_parent()
        assert machine.PARENT not in os.environ
        assert sent == ends
