"""Tests of suite.commands.processes: whatever stops a matrix, none of its processes is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from suite.commands import processes
from suite.commands.outcomes import files_of
from suite.releases import Release
from tests.processes import alive

ROOT = Path(__file__).parents[2]
HANGING = """
import os, subprocess, sys, time
making = "--install-only" in sys.argv
if making == (os.environ["HANGS"] == "making"):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(200)"])
    with open("pids", "a") as file:
        file.write(f"{os.getpid()} {child.pid} ")
    time.sleep(200)
"""
MATRIX = """
import signal, sys
from pathlib import Path
from suite.commands import matrix, processes
from suite.releases import Release
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests may run with it ignored
signal.signal(signal.SIGHUP, signal.SIG_DFL)
processes.NOX = (sys.executable, "-I", "-S", "hanging.py")
rows = [Release(name, "3.11", ("keras==1",), "to test", unpinned=True) for name in ("one", "two")]
matrix.read_releases = lambda: rows
sys.exit(matrix.main(["--jobs", "2"]))
"""


def release(name: str) -> Release:
    return Release(name, "3.11", ("keras==1",), "to test", unpinned=True)


def run_of(name: str, process: subprocess.Popen[bytes]) -> processes.Run:
    """Make a run of a process that has no files."""
    return processes.Run(release(name), process, 0.0, files_of(release(name), Path("nowhere")))


@pytest.mark.parametrize(
    ("number", "hangs"),
    [
        (signal.SIGINT, "measuring"),
        (signal.SIGTERM, "measuring"),
        (signal.SIGHUP, "measuring"),
        (signal.SIGTERM, "making"),
    ],
)
def test_a_stopped_matrix_leaves_no_process_behind(
    number: int, hangs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hanging.py").write_text(HANGING)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HANGS": hangs}
    process = subprocess.Popen(
        [sys.executable, "-c", MATRIX], env=environment, stdout=subprocess.PIPE, text=True
    )
    pids = started_pids(Path("pids"), 4)
    assert all(map(alive, pids))
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "one stopped; the same command goes on with it" in output
    wait_until(lambda: not any(map(alive, pids)))


@pytest.mark.parametrize("hangs", ["making", "measuring"])
@pytest.mark.parametrize("deaf", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"])
def test_a_killed_matrix_leaves_no_process_behind(
    hangs: str, deaf: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hanging.py").write_text(f"import signal\n{deaf}\n{HANGING}")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HANGS": hangs}
    process = subprocess.Popen([sys.executable, "-c", MATRIX], env=environment)
    pids = started_pids(Path("pids"), 4)
    process.kill()
    process.wait()
    wait_until(lambda: not any(map(alive, pids)))


@pytest.mark.parametrize(("making", "measuring"), [("true", "false"), ("exit 3", "true")])
def test_a_row_ends_with_the_status_of_the_command_that_failed(
    making: str, measuring: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f'case "$*" in *install-only*) {making};; *) {measuring};; esac'
    monkeypatch.setattr(processes, "NOX", ("/bin/sh", "-c", script, "nox"))
    status = processes.start(release("one"), tmp_path, []).process.wait()
    assert status == (3 if making == "exit 3" else 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_was_ignored_still_is(number: int) -> None:
    former = signal.signal(number, signal.SIG_IGN)
    try:
        with processes.stopped_together([]):
            assert signal.getsignal(number) == signal.SIG_IGN
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, former)


def test_a_row_that_has_ended_keeps_no_other_from_being_stopped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ended, hanging = (
        run_of(name, subprocess.Popen(command, start_new_session=True))
        for name, command in (("ended", ["true"]), ("hanging", ["sleep", "200"]))
    )
    ended.process.wait()
    with processes.stopped_together([ended, hanging]):
        pass
    assert hanging.process.poll() == -signal.SIGTERM
    assert capsys.readouterr().out == "hanging stopped; the same command goes on with it\n"


def test_a_row_that_ignores_the_signal_is_stopped_by_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE_S", 0.1)
    deaf = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    process = subprocess.Popen(
        ["/bin/sh", "-c", deaf], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
        with processes.stopped_together([run_of("deaf", process)]):
            pass
    assert process.poll() == -signal.SIGKILL


def test_the_reports_of_the_run_before_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "NOX", ("true",))
    files = files_of(release("one"), tmp_path)
    files.log.parent.mkdir()
    for path in files:
        path.write_text("of yesterday")
    processes.start(release("one"), tmp_path, []).process.wait()
    assert [path for path in files if path.exists()] == [files.log]
    assert files.log.read_text() == ""


def test_arguments_reach_pytest_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "NOX", ("printf", "%s\\n"))
    run = processes.start(release("one"), tmp_path, ["-k", "attack or 'lenet5'; $HOME"])
    run.process.wait()
    lines = files_of(release("one"), tmp_path).log.read_text().splitlines()
    assert lines[lines.index("--") + 1 :][:2] == ["-k", "attack or 'lenet5'; $HOME"]


def started_pids(path: Path, count: int) -> list[int]:
    """Return the process ids of two rows and their children, as soon as all run."""

    def found() -> list[int]:
        return [int(word) for word in path.read_text().split()] if path.exists() else []

    wait_until(lambda: len(found()) == count)
    return found()


def wait_until(true: Callable[[], bool], limit_s: float = 30) -> None:
    end_s = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end_s, "it never became true"
        time.sleep(0.02)
