"""Tests of suite.commands.matrix: every row gets its turn, and its outcome is told and kept."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from suite.__main__ import main
from suite.commands import processes, turns
from suite.commands.matrix import disk_use, evidence, read_outcome, run_matrix
from suite.errors import RecordError, ReleaseError
from suite.files import file_digest
from suite.locks import Fault
from suite.records import Record
from suite.releases import Release
from suite.report.pages import SECTION, markers, write_section
from suite.store import store
from tests.bounds import within
from tests.commands.conftest import write_lock

ROOT = Path(__file__).parents[2]
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
import json, os, pathlib, sys, time
options, _, given = " ".join(sys.argv[1:]).partition(" -- ")
options, given = options.split(), given.split()
name = options[options.index("-s") + 1][len("benchmarks("):-1]
making = "--install-only" in options
calls = pathlib.Path("calls")
def note(word):
    with calls.open("a") as file:
        file.write(f"{word} {name} {os.getpid()}\\n")
def starts():
    return [line.split()[1] for line in calls.read_text().splitlines() if line.startswith("start")]
def report(result):
    content = {"sessions": [{"result": result, "reason": None}]}
    pathlib.Path(options[options.index("--report") + 1]).write_text(json.dumps(content))
if making:
    report("success")
    sys.exit()
note("start")
print("arguments:", *given, flush=True)
if os.environ.get("FAKE_WORKS"):
    time.sleep(float(os.environ["FAKE_WORKS"]))
if os.environ.get("FAKE_MEETS"):  # two start before one ends
    pair = (starts().index(name) // 2 + 1) * 2
    while len(starts()) < pair:
        time.sleep(0.01)
note("end")
fails = name in os.environ.get("FAKE_FAILS", "bad").split(",")
failure = '<failure message="OSError: the disk is on fire"/>' if fails else ""
if name in os.environ.get("FAKE_SKIPS", "").split(","):
    failure = '<skipped type="pytest.skip" message="this release has no such fix"/>'
test = f'<testcase classname="benchmarks.test_it" name="test">{failure}</testcase>'
if os.environ.get("FAKE_COLLECTS"):
    test = ""
path = pathlib.Path(given[given.index("--junitxml") + 1])
path.write_text(f"<testsuites><testsuite>{test}</testsuite></testsuites>")
report("failed" if fails else "success")
sys.exit(fails)
"""
FIRE = "benchmarks.test_it.test: OSError: the disk is on fire"

Output = pytest.CaptureFixture[str]
MakeRecord = Callable[..., Record]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the working directory hold a release table, and let a fake nox run its rows."""
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text(PROJECT)
    Path("locks").mkdir()
    for name in ROWS:
        write_lock(release(name), f"{name}==1\n")
    Path("fake.py").write_text(FAKE)
    monkeypatch.setattr(processes, "NOX", (sys.executable, "-I", "-S", "fake.py"))
    monkeypatch.setattr(turns, "POLL_S", 0.01)


def release(name: str, *, unpinned: bool = False) -> Release:
    return Release(name, "3.11", ("keras==1",), "to test", unpinned=unpinned)


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
    assert re.search(rf"^bad \d+ s, failed: {FIRE}$", output, re.MULTILINE)
    assert "4 of 4 rows done" in output
    assert f"bad: {FIRE}" in output


def test_a_matrix_without_failure_ends_with_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAILS", "")
    assert main(["matrix"]) == 0


def test_a_row_whose_benchmarks_were_only_collected_is_no_pass(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("FAKE_COLLECTS", "1")
    assert main(["matrix", "--rows", "one"]) == 1
    assert "failed: no benchmark ran; from its log: arguments:" in capsys.readouterr().out


def test_a_row_with_a_skipped_case_is_no_pass_and_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("FAKE_SKIPS", "two")
    assert main(["matrix", "--rows", "one,two"]) == 1
    output = capsys.readouterr().out
    assert re.search(r"^one \d+ s, passed$", output, re.MULTILINE)
    assert "failed: skipped: benchmarks.test_it.test: this release has no such fix" in output


def test_an_unpinned_row_is_no_gate(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setenv("FAKE_FAILS", "nightly")
    assert main(["matrix"]) == 0
    assert "nightly failed, and is no gate" in capsys.readouterr().out


def test_rows_run_in_the_order_given() -> None:
    main(["matrix", "--rows", "two,one"])
    assert calls("start") == ["two", "one"]
    assert not overlapped()


def test_jobs_run_at_once_and_no_more_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MEETS", "1")
    main(["matrix", "--jobs", "2"])
    words = [line.split()[0] for line in Path("calls").read_text().splitlines()]
    running = [words[: i + 1].count("start") - words[:i].count("end") for i in range(len(words))]
    assert overlapped()
    assert max(running) == 2


def on_terminal(*command: str) -> str:
    """Run a command of the suite with the fake nox on a pseudo-terminal; return what it wrote."""
    program = (
        "import sys; from suite.__main__ import main; from suite.commands import processes;"
        "processes.NOX = (sys.executable, '-I', '-S', 'fake.py'); sys.exit(main(sys.argv[1:]))"
    )
    variables = {**os.environ, "TERM": "xterm", "COLUMNS": "70", "PYTHONPATH": str(ROOT)}
    terminal, end = pty.openpty()
    line, shown = [sys.executable, "-c", program, *command], b""
    with subprocess.Popen(line, stdin=end, stdout=end, stderr=end, env=variables):
        os.close(end)
        with contextlib.suppress(OSError):  # closed
            for part in iter(lambda: os.read(terminal, 65536), b""):
                shown += part
    os.close(terminal)
    return shown.decode()


def test_a_terminal_shows_what_each_row_is_at_and_is_clean_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAKE_WORKS", "2")
    shown = on_terminal("matrix", "--rows", "one,two", "--jobs", "2")
    both = r"\r\x1b\[Jone \d s: arguments: [^\r\n]*\r\ntwo \d s: arguments: [^\r\n]*\x1b\[1A"
    assert re.search(both, shown)
    last = shown.rpartition(" s: arguments: ")[2]
    assert re.match(r"[^\r\n]*(\x1b\[1A)?\r\x1b\[J\w+ \d s, passed\r\n", last)


@pytest.mark.parametrize("jobs", ["0", "-1", "two"])
def test_jobs_must_be_a_positive_number(jobs: str, capsys: Output) -> None:
    with pytest.raises(SystemExit):
        main(["matrix", f"--jobs={jobs}"])
    assert (
        f"must be a whole number from 1 to 2147483647. Received: {jobs}" in capsys.readouterr().err
    )


def test_an_unknown_row_is_an_error_that_lists_the_rows(capsys: Output) -> None:
    assert main(["matrix", "--rows", "one,tf-9"]) == 2
    error = capsys.readouterr().err
    assert "tf-9 is no row of the release table, which has one, bad, two, nightly." in error
    assert not Path("calls").exists()


def test_further_options_are_passed_on(tmp_path: Path) -> None:
    options = ["--seeds", "0,1", "-k", "attack or lenet5", "--gtsrb-root", "/data"]
    main(["matrix", "--rows", "one", "--records", "elsewhere", *options])
    log = Path("elsewhere/one/matrix.log").read_text()
    folder = tmp_path / "elsewhere"
    ours = f"--records {folder} --junitxml {folder / 'one' / 'matrix-tests.xml'}"
    assert log == f"arguments: {' '.join(options)} {ours}\n"


def test_other_commands_take_no_further_options(capsys: Output) -> None:
    with pytest.raises(SystemExit):
        main(["compare", "--seeds", "0"])
    assert "unrecognized arguments: --seeds 0" in capsys.readouterr().err


def test_a_row_whose_lock_is_stale_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    stale = "locks/one.txt is stale; would change keras 1 -> 2"
    fault = Fault(stale)
    monkeypatch.setattr(turns, "fault", lambda lock: fault if lock.name == "one" else None)
    assert main(["matrix", "--rows", "one,two"]) == 1
    assert calls("start") == ["two"]
    outcome = read_outcome(release("one"), Path("records"))
    assert outcome is not None
    assert (outcome.installs, outcome.imports, outcome.reason) == (None, None, stale)


def test_a_row_that_cannot_be_resolved_cannot_be_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fault = Fault("locks/one.txt is missing; no version of keras==9.9", unresolvable=True)
    monkeypatch.setattr(turns, "fault", lambda _: fault)
    outcome = run_matrix([release("one")], records=Path("records"))["one"]
    assert (outcome.installs, outcome.reason) == (False, fault.text)


def test_an_unpinned_row_needs_no_fresh_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "fault", lambda _: Fault("stale"))
    assert run_matrix([release("one", unpinned=True)], records=Path("records"))["one"].passed


def test_what_became_of_a_row_is_kept_with_the_digest_of_its_lock() -> None:
    found = run_matrix([release("bad")], records=Path("records"))["bad"]
    assert found == read_outcome(release("bad"), Path("records"))
    assert found.lock_digest == file_digest(Path("locks/bad.txt"))
    assert (found.passed, found.installs, found.imports) == (False, True, None)
    assert 0 <= found.seconds < 30


BAD_OUTCOMES = ["{", "[]", "{}", '{"schema": 1, "more": 2}', "[" * 9_000, "\x00", " " * 200_000]


@pytest.mark.parametrize("content", BAD_OUTCOMES, ids=range(len(BAD_OUTCOMES)))
def test_a_damaged_outcome_is_named(content: str) -> None:
    run_matrix([release("one")], records=Path("records"))
    Path("records/one/matrix.json").write_text(content)
    with pytest.raises(RecordError, match=r"^records/one/matrix\.json cannot be read: "):
        read_outcome(release("one"), Path("records"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("passed", 1), ("passed", None), ("installs", "yes"), ("imports", 0), ("seconds", "long"),
        ("seconds", True), ("seconds", None), ("reason", None), ("reason", ["a"]),
        ("lock_digest", {}), ("date", 20260101), ("seconds", 10**20),
    ],
)  # fmt: skip
def test_an_outcome_whose_field_is_of_another_type_is_named(field: str, value: object) -> None:
    run_matrix([release("one")], records=Path("records"))
    path = Path("records/one/matrix.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(RecordError, match=rf"cannot be read: ({field} must be|the integer)"):
        read_outcome(release("one"), Path("records"))


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to(path)])
def test_an_outcome_that_is_no_file_is_named_at_once(make: Callable[[Path], object]) -> None:
    path = Path("records/one/matrix.json")
    path.parent.mkdir(parents=True)
    make(path)
    with within(30), pytest.raises(RecordError, match=r"matrix\.json cannot be read: "):
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
    assert log.startswith(f"arguments: --records {Path.cwd() / 'records'} --junitxml ")
    assert calls("end") == ["one", "one"]


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


def test_the_table_needs_no_curves_and_no_traces(make_record: MakeRecord) -> None:
    digest = file_digest(Path("locks/one.txt"))
    fields = {"release": "one", "environment": {"lock_digest": digest}}
    for case in ("lenet5-plain", "parity-lenet5-plain", "traps"):
        store(make_record(case, question="training", **fields), Path("records"))
    [plain, traps] = evidence(release("one"), Path("records")).records
    assert (plain.case, plain.curves, plain.statistics, plain.timing) == (
        "lenet5-plain",
        {},
        [],
        {},
    )
    assert plain.metrics == {"clean_accuracy": 0.8}
    assert (traps.case, traps.curves) == ("traps", {"loss": [3.4, 2.1, 1.0]})


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
    note = f"nightly: {FIRE}; 1 records of another lock do not count"
    assert note in output


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
    Path("page.md").write_text(f"{BEGIN}\n{END}\n")
    Path("traps.md").write_text("{}\n{}\n".format(*markers("seen")))
    assert main(["matrix", "--table", "--page", "page.md", "--traps", "traps.md"]) == 0
    assert "\n| trap | one |\n" in Path("traps.md").read_text()
    text = Path("page.md").read_text()
    assert "| trap |" not in text
    assert "From 1 records of the small tier" in text


def test_the_table_goes_between_the_markers_of_a_page() -> None:
    page = Path("page.md")
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert main(["matrix", "--table", "--page", "page.md"]) == 0
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n\n| release | installs |")
    assert text.endswith(f"\n\n{END}\nafter\n")
    assert "old" not in text
    main(["matrix", "--table", "--page", "page.md"])
    assert page.read_text() == text


@pytest.mark.parametrize("text", ["", f"{BEGIN}\n", f"{END}\n{BEGIN}\n"])
def test_a_page_without_markers_is_left_alone(text: str) -> None:
    Path("page.md").write_text(text)
    with pytest.raises(ReleaseError, match=r"^page\.md lacks the lines <!-- compatibility: begin"):
        write_section(Path("page.md"), "table")
    assert Path("page.md").read_text() == text


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
