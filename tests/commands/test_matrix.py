"""Tests of suite.matrix: every row gets its turn, and what became of each is told and kept."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from suite import locks
from suite.__main__ import main
from suite.commands import matrix, processes
from suite.commands.logs import imported, installed, reason
from suite.commands.matrix import disk_use, evidence, read_outcome, run_matrix
from suite.errors import RecordError, ReleaseError
from suite.files import file_digest
from suite.locks import inputs, lock_of
from suite.records import Record
from suite.releases import Release
from suite.report.pages import SECTION, markers, write_section
from suite.store import store

ROOT = Path(__file__).parents[1]
BEGIN, END = markers(SECTION)
ROWS = ("one", "bad", "two", "nightly")
PROJECT = "[project]\ndependencies = []\n[tool.uv]\n" + "".join(
    f"""[[tool.suite.releases]]
name = "{name}"
python = "3.11"
pins = ["keras==1"]
reason = "to test"
{"unpinned = true" if name == "nightly" else ""}
"""
    for name in ROWS
)
FAKE = """
import os, pathlib, subprocess, sys, time
name = sys.argv[2][len("benchmarks("):-1]
log = pathlib.Path("calls")
def note(word):
    with log.open("a") as file:
        file.write(f"{word} {name} {os.getpid()} {time.time()}\\n")
note("start")
print("nox > python -m pytest -v", flush=True)
print("arguments:", *sys.argv[3:])
if os.environ.get("FAKE_HANGS"):
    child = "import time; time.sleep(200)"
    print(subprocess.Popen([sys.executable, "-c", child]).pid, file=log.open("a"), flush=True)
    time.sleep(200)
time.sleep(0.3)
note("end")
if name in os.environ.get("FAKE_FAILS", "bad").split(","):
    print("E   OSError: the disk is on fire")
    sys.exit("nox > Session benchmarks failed.")
"""

Output = pytest.CaptureFixture[str]
MakeRecord = Callable[..., Record]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the working directory hold a release table, and let a fake nox run its rows."""
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text(PROJECT)
    Path("locks").mkdir()
    for name in ROWS:
        lock(release(name))
    Path("fake.py").write_text(FAKE)
    monkeypatch.setattr(processes, "NOX", (sys.executable, "fake.py"))


def release(name: str, *, unpinned: bool = False) -> Release:
    return Release(name, "3.11", ("keras==1",), "to test", unpinned=unpinned)


def lock(row: Release) -> None:
    """Write the lock of a row as if uv had resolved it."""
    body = f"{row.name}==1\n"
    head = [
        f"# {word} {hashlib.sha256(text.encode()).hexdigest()}\n"
        for word, text in (("inputs", inputs(lock_of(row))), ("content", body))
    ]
    lock_of(row).path.write_text("".join([*head, body]))


def calls(word: str) -> list[str]:
    """Return the rows in the order in which they started or ended."""
    lines = Path("calls").read_text().splitlines()
    return [line.split()[1] for line in lines if line.startswith(f"{word} ")]


def overlapped() -> bool:
    """Return whether a row started before the one before it had ended."""
    words = [line.split()[0] for line in Path("calls").read_text().splitlines()]
    return "start start" in " ".join(words)


def test_a_failing_row_stops_no_other_and_fails_the_matrix(capsys: Output) -> None:
    assert main(["matrix"]) == 1
    assert calls("end") == ["one", "bad", "two", "nightly"]
    output = capsys.readouterr().out
    assert "one started, log in records/one/matrix.log" in output
    assert re.search(r"^bad \d+ s, failed: OSError: the disk is on fire$", output, re.MULTILINE)
    assert "4 of 4 rows done" in output
    assert "bad: OSError: the disk is on fire" in output


def test_a_matrix_without_failure_ends_with_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAILS", "")
    assert main(["matrix"]) == 0


def test_an_unpinned_row_is_no_gate(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setenv("FAKE_FAILS", "nightly")
    assert main(["matrix"]) == 0
    assert "nightly failed, and is no gate" in capsys.readouterr().out


def test_rows_run_in_the_order_given() -> None:
    main(["matrix", "--rows", "two,one"])
    assert calls("start") == ["two", "one"]
    assert not overlapped()


def test_jobs_run_at_once_and_no_more_than_asked() -> None:
    main(["matrix", "--jobs", "2"])
    words = [line.split()[0] for line in Path("calls").read_text().splitlines()]
    running = [words[: i + 1].count("start") - words[:i].count("end") for i in range(len(words))]
    assert overlapped()
    assert max(running) == 2


@pytest.mark.parametrize("jobs", ["0", "-1", "two"])
def test_jobs_must_be_a_positive_number(jobs: str, capsys: Output) -> None:
    with pytest.raises(SystemExit):
        main(["matrix", f"--jobs={jobs}"])
    assert f"must be a positive number. Received: {jobs}" in capsys.readouterr().err


def test_an_unknown_row_is_an_error_that_lists_the_rows(capsys: Output) -> None:
    assert main(["matrix", "--rows", "one,tf-9"]) == 2
    error = capsys.readouterr().err
    assert "tf-9 is no row of the release table, which has one, bad, two, nightly." in error
    assert not Path("calls").exists()


def test_further_options_are_passed_on(tmp_path: Path) -> None:
    options = ["--seeds", "0,1", "-k", "attack or lenet5", "--gtsrb-root", "/data"]
    main(["matrix", "--rows", "one", "--records", "elsewhere", *options])
    log = Path("elsewhere/one/matrix.log").read_text()
    assert f"arguments: -- {' '.join(options)} --records {tmp_path / 'elsewhere'}" in log


def test_other_commands_take_no_further_options(capsys: Output) -> None:
    with pytest.raises(SystemExit):
        main(["compare", "--seeds", "0"])
    assert "unrecognized arguments: --seeds 0" in capsys.readouterr().err


def test_a_row_whose_lock_is_stale_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = "locks/one.txt is stale; would change keras 1 -> 2"
    monkeypatch.setattr(locks, "problem", lambda lock: fault if lock.name == "one" else "")
    assert main(["matrix", "--rows", "one,two"]) == 1
    assert calls("start") == ["two"]
    outcome = read_outcome(release("one"), Path("records"))
    assert outcome is not None
    assert (outcome.installs, outcome.imports, outcome.reason) == (None, None, fault)


def test_a_row_that_cannot_be_resolved_cannot_be_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fault = "locks/one.txt is missing; one cannot be resolved: no version of keras==9.9"
    monkeypatch.setattr(locks, "problem", lambda _: fault)
    outcome = run_matrix([release("one")], records=Path("records"))["one"]
    assert (outcome.installs, outcome.reason) == (False, fault)


def test_an_unpinned_row_needs_no_fresh_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "problem", lambda _: "stale")
    assert run_matrix([release("one", unpinned=True)], records=Path("records"))["one"].passed


def test_what_became_of_a_row_is_kept_with_the_digest_of_its_lock() -> None:
    found = run_matrix([release("bad")], records=Path("records"))["bad"]
    assert found == read_outcome(release("bad"), Path("records"))
    assert found.lock_digest == file_digest(Path("locks/bad.txt"))
    assert (found.passed, found.installs, found.imports) == (False, True, None)
    assert 0.3 <= found.seconds < 30


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"schema": 1, "more": 2}'])
def test_a_damaged_outcome_is_named(content: str) -> None:
    run_matrix([release("one")], records=Path("records"))
    Path("records/one/matrix.json").write_text(content)
    with pytest.raises(RecordError, match=r"^records/one/matrix\.json cannot be read: "):
        read_outcome(release("one"), Path("records"))


def test_an_outcome_of_another_schema_is_named() -> None:
    run_matrix([release("one")], records=Path("records"))
    path = Path("records/one/matrix.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 2}))
    with pytest.raises(RecordError, match="schema must be 1"):
        read_outcome(release("one"), Path("records"))


def test_a_second_run_finds_the_records_of_the_first() -> None:
    main(["matrix", "--rows", "one"])
    main(["matrix", "--rows", "one"])
    log = Path("records/one/matrix.log").read_text()
    assert f"arguments: -- --records {Path.cwd() / 'records'}\n" in log
    assert calls("end") == ["one", "one"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_matrix_leaves_no_process_behind(number: int) -> None:
    code = (
        "import signal, sys; from suite import matrix; from suite.__main__ import main;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # tests may run with it ignored
        "signal.signal(signal.SIGHUP, signal.SIG_DFL);"
        "matrix.NOX = (sys.executable, 'fake.py');"
        "sys.exit(main(['matrix', '--jobs', '2']))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FAKE_HANGS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
    )
    pids = started_pids(4)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "one stopped; the same command goes on with it" in output
    wait_until(lambda: not any(map(alive, pids)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_was_ignored_still_is(number: int) -> None:
    former = signal.signal(number, signal.SIG_IGN)
    try:
        with processes.stopped_together([]):
            assert signal.getsignal(number) == signal.SIG_IGN
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, former)


def test_a_row_that_has_ended_keeps_no_other_from_being_stopped(capsys: Output) -> None:
    codes = ("", "import time; time.sleep(200)")
    ended, hanging = (
        processes.Run(release(name), subprocess.Popen(command, start_new_session=True), 0.0)
        for name, command in zip(ROWS, ([sys.executable, "-c", code] for code in codes))
    )
    ended.process.wait()
    with processes.stopped_together([ended, hanging]):
        pass
    assert hanging.process.poll() == -signal.SIGTERM
    assert capsys.readouterr().out == "bad stopped; the same command goes on with it\n"


def started_pids(count: int) -> list[int]:
    """Return the process ids of two fake rows and their children, as soon as all run."""

    def found() -> list[int]:
        lines = Path("calls").read_text().splitlines() if Path("calls").exists() else []
        words = [line.split() for line in lines]
        return [int(word[2] if word[0] == "start" else word[0]) for word in words if word]

    wait_until(lambda: len(found()) == count)
    return found()


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until(true: Callable[[], bool], limit_s: float = 30) -> None:
    end_s = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end_s, "it never became true"
        time.sleep(0.05)


INSTALL_FAILED = """nox > uv pip install --require-hashes --no-deps -r locks/tf-1.txt
error: Hash mismatch for `keras==1`
  cause: Expected:
             sha256:aa
nox > Command uv pip install -r locks/tf-1.txt failed with exit code 2
nox > Session benchmarks(tf-1) failed.
"""
UNKNOWN_OPTION = """nox > python -m pytest -v -W default benchmarks --sedes 0,1
ERROR: usage: __main__.py [options] [file_or_dir] [file_or_dir] [...]
__main__.py: error: unrecognized arguments: --sedes 0,1
  inifile: pyproject.toml

nox > Command python -m pytest -v -W default benchmarks --sedes 0,1 failed with exit code 4
nox > Session benchmarks(tf-1) failed.
"""
NEWER_UNKNOWN_OPTION = UNKNOWN_OPTION.replace("__main__.py", "python -m pytest")
CONFTEST_FAILED = """nox > /envs/tf-1/bin/python -m pytest -v -W default benchmarks
ImportError while loading conftest 'conftest.py'.
conftest.py:14: in <module>
    import numpy
E   ModuleNotFoundError: No module named 'numpy'
nox > Session benchmarks(tf-1) failed.
"""
PYTEST_BROKE = """nox > python -m pytest -v -W default benchmarks
INTERNALERROR>     def pytest_configure(config): raise KeyError("a")
INTERNALERROR> KeyError: 'a'
nox > Session benchmarks(tf-1) failed.
"""
NO_PYTEST = """nox > python -m pytest -v -W default benchmarks
Traceback (most recent call last):
  File "runpy.py", line 5
ImportError: cannot import name 'console_main'
nox > Command python -m pytest -v -W default benchmarks failed with exit code 1
nox > Session benchmarks(tf-1) failed.
"""
KILLED = """nox > python -m pytest -v -W default benchmarks
E   OSError: of a failed check before
FAILED [ 10%]
lenet5-plain:   0%|nox > Command python -m pytest -v benchmarks failed with exit code -9
nox > Session benchmarks(tf-1) failed.
"""
IMPORT_FAILED = """nox > python -m pytest -v
benchmarks/test_accuracy.py::test[lenet5-seed0] ERROR        [ 10%]
suite/stacks/__init__.py:97: in load
    return _tensorflow()
E     TypeError: Descriptors cannot be created directly.
E     If this call came from a _pb2.py file, your generated code is out of date.
E     More information: https://developers.google.com
=========== short test summary info ===========
ERROR benchmarks/test_accuracy.py::test[lenet5-seed0] - TypeError: Descr...
nox > Command python -m pytest failed with exit code 1
nox > Session benchmarks(tf-1) failed.
"""
NO_DATA = """nox > python -m pytest -v
!!!!!!!! _pytest.outcomes.Exit: no archive: set
GTSRB_ROOT !!!!!!!!
nox > Session benchmarks(tf-1) failed.
"""
NO_PYTHON = (
    "nox > Session benchmarks(tf-1) failed: Python interpreter 3.7 not found (took a second).\n"
)
NO_LOCK = "nox > Session benchmarks(tf-1) aborted: locks/tf-1.txt is missing: make it.\n"
FAILED_CHECK = """nox > python -m pytest -v
benchmarks/test_attack.py::test[seed0] FAILED [ 10%]
linear_error is 0.3, expected 0 to 1e-06
FAILED benchmarks/test_attack.py::test[seed0] - Failed: attack
nox > Session benchmarks(tf-1) failed.
"""


@pytest.mark.parametrize(
    ("log", "installs", "imports", "why"),
    [
        (INSTALL_FAILED, False, None, "Hash mismatch for `keras==1` cause: Expected: sha256:aa"),
        (IMPORT_FAILED, True, False, "TypeError: Descriptors cannot be created directly"),
        (NO_DATA, True, None, "no archive: set GTSRB_ROOT"),
        (NO_PYTHON, False, None, "Python interpreter 3.7 not found"),
        (NO_LOCK, False, None, "locks/tf-1.txt is missing: make it"),
        (FAILED_CHECK, True, True, "benchmarks/test_attack.py::test[seed0] - Failed: attack"),
        (UNKNOWN_OPTION, True, None, "unrecognized arguments: --sedes 0,1"),
        (NEWER_UNKNOWN_OPTION, True, None, "unrecognized arguments: --sedes 0,1"),
        (CONFTEST_FAILED, True, None, "ModuleNotFoundError: No module named 'numpy'"),
        (PYTEST_BROKE, True, None, "KeyError: 'a'"),
        (NO_PYTEST, True, None, "ImportError: cannot import name 'console_main'"),
        (KILLED, True, True, "pytest failed with exit code -9"),
        ("", False, None, "it printed nothing"),
        ("line\nKilled\n\n", False, None, "Killed"),
    ],
)  # fmt: skip
def test_the_log_tells_how_far_a_row_came_and_why_no_further(
    log: str, installs: bool, imports: bool | None, why: str
) -> None:
    assert (installed(log), imported(log), reason(log)) == (installs, imports, why)


def test_stored_records_make_the_table_without_a_run(
    make_record: MakeRecord, capsys: Output
) -> None:
    digest = file_digest(Path("locks/one.txt"))
    store(make_record(release="one", environment={"lock_digest": digest}), Path("records"))
    assert main(["matrix", "--table"]) == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line}
    assert lines["one"][1:3] == ["yes", "yes"]
    assert lines["two"][1:3] == ["not", "run"]
    assert not Path("calls").exists()


def table_row(name: str, output: str) -> list[str]:
    """Return the words of one row of the printed table."""
    _, _, rows = output.partition("release   installs")
    return next(line.split() for line in rows.splitlines() if line.startswith(f"{name} "))


def test_a_nightly_that_breaks_today_shows_no_yes_of_yesterday(
    make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    environment = {"lock_digest": "sha256:yesterday"}
    store(make_record(release="nightly", environment=environment), Path("records"))
    row = release("nightly", unpinned=True)
    digest = file_digest(Path("locks/nightly.txt"))
    assert evidence(row, Path("records")).lock_digest == digest
    monkeypatch.setenv("FAKE_FAILS", "nightly")
    assert main(["matrix", "--rows", "nightly"]) == 0
    output = capsys.readouterr().out
    assert table_row("nightly", output)[1:4] == ["yes", "not", "run"]
    note = "nightly: OSError: the disk is on fire; 1 records of another lock do not count"
    assert note in output


def test_the_lock_of_an_unpinned_row_is_never_stale() -> None:
    Path("locks/nightly.txt").write_text("resolved yesterday")
    found = matrix.lock_digest(release("nightly", unpinned=True))
    assert found == file_digest(Path("locks/nightly.txt"))


def test_an_impossible_pin_says_no_whatever_was_measured_before(
    make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    environment = {"lock_digest": file_digest(Path("locks/one.txt"))}
    store(make_record(release="one", environment=environment), Path("records"))
    main(["matrix", "--rows", "one"])
    assert table_row("one", capsys.readouterr().out)[1:3] == ["yes", "yes"]
    Path("pyproject.toml").write_text(PROJECT.replace("keras==1", "keras==9.9", 1))
    main(["matrix", "--table", "--rows", "one"])
    assert table_row("one", capsys.readouterr().out)[1:3] == ["not", "run"]
    uv = Path("bin/uv")
    uv.parent.mkdir()
    uv.write_text("#!/bin/sh\necho 'error: there is no version of keras==9.9' >&2\nexit 1\n")
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{uv.parent.resolve()}{os.pathsep}{os.environ['PATH']}")
    assert main(["matrix", "--rows", "one"]) == 1
    output = capsys.readouterr().out
    assert table_row("one", output)[1] == "no"
    assert "; one cannot be resolved: there is no version of keras==9.9; 1 records of" in output
    assert calls("start") == ["one"]


def test_only_traps_under_the_present_lock_are_shown(make_record: MakeRecord) -> None:
    for name, digest in (("one", file_digest(Path("locks/one.txt"))), ("two", "sha256:old")):
        environment = {"lock_digest": digest, "versions": {"keras": "3.15.1"}}
        fields = {"question": "traps", "statistics": [], "environment": environment}
        store(make_record("traps", release=name, **fields), Path("records"))
    Path("README.md").write_text(f"{BEGIN}\n{END}\n")
    assert main(["matrix", "--table", "--readme", "README.md"]) == 0
    text = Path("README.md").read_text()
    assert "| trap | one |\n" in text
    assert "From 1 records of the small tier" in text


def test_the_table_goes_between_the_markers_of_a_page() -> None:
    page = Path("README.md")
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert main(["matrix", "--table", "--readme", "README.md"]) == 0
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n\n| release | installs |")
    assert text.endswith(f"\n\n{END}\nafter\n")
    assert "old" not in text
    main(["matrix", "--table", "--readme", "README.md"])
    assert page.read_text() == text


@pytest.mark.parametrize("text", ["", f"{BEGIN}\n", f"{END}\n{BEGIN}\n"])
def test_a_page_without_markers_is_left_alone(text: str) -> None:
    Path("README.md").write_text(text)
    with pytest.raises(
        ReleaseError, match=r"^README\.md lacks the lines <!-- compatibility: begin"
    ):
        write_section(Path("README.md"), "table")
    assert Path("README.md").read_text() == text


def test_a_page_that_is_not_there_is_named() -> None:
    with pytest.raises(ReleaseError, match=r"^NONE\.md cannot be read: No such file"):
        write_section(Path("NONE.md"), "table")


def test_disk_use_counts_shared_files_once() -> None:
    one, two = (Path(".nox", f"benchmarks-{name}", "lib") for name in ("tf-1-0", "tf-2-0"))
    for folder in (one, two):
        folder.mkdir(parents=True)
    with (one / "big").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 200_000_000)
    (two / "big").hardlink_to(one / "big")
    found = disk_use([release("tf-1.0"), release("tf-2.0"), release("tf-3.0")])
    assert found == (
        "disk: tf-1.0 0.2 GB, tf-2.0 0.2 GB, tf-3.0 0.0 GB; together 0.2 GB, "
        "shared files counted once"
    )
