"""What a benchmark run shows and what it keeps in its log, with a framework that is a stand-in."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from suite.errors import RecordError
from suite.records import Record
from suite.report.screen import verdicts_on
from suite.store import read_record, write_record

ROOT = Path(__file__).parents[1]
BASELINE = ROOT / "baselines" / "tf-2.21" / "small"
NOISE = ("oneDNN custom operations are on", "C++ prints", "Python prints", "logs", "warns")
STAND_IN = """
import logging, os, sys, warnings
from pathlib import Path
from suite.errors import SuiteError
from suite.measure import once
from suite.store import read_record

def open_session(**options):
    os.write(2, b"port.cc:153] oneDNN custom operations are on\\r\\x1b[31m.\\r\\n")
    os.write(1, b"C++ prints\\n")
    print("Python prints")
    logging.getLogger("framework").addHandler(logging.StreamHandler(sys.stderr))
    logging.getLogger("framework").warning("Python logs")
    warnings.warn("Python warns", stacklevel=2)
    {opening}
    return options["records"] / options["release"] / options["tier"]

def measure_once(case, seed, *, session, timer):
    {measuring}
    return read_record(session / f"{{case}}-seed{{seed}}.json")

once.open_session, once.measure_once = open_session, measure_once
"""


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Copy a stored baseline, as if its cases had been measured."""
    folder = tmp_path / "tf-2.21" / "small"
    folder.mkdir(parents=True)
    for path in BASELINE.glob("attack-*-seed0.json"):
        shutil.copy(path, folder)
    return tmp_path


def test_a_rehearsal_is_judged_as_its_tier_would_be_and_need_not_hold(
    make_record: Callable[..., Record],
) -> None:
    record = make_record("lenet5-plain", 0, tier="full-rehearsal")
    full = make_record("lenet5-plain", 0, tier="full")
    (verdict,) = verdicts_on(full, {"clean_accuracy": 0.1})
    assert verdict.failed
    assert verdicts_on(record, {"clean_accuracy": 0.1}) == []
    with pytest.raises(RecordError, match=r"no band for perturbation_max\. Expected: a row of"):
        verdicts_on(record, {"perturbation_max": 0.1})


def command(records: Path, *more: str, opening: str = "", measuring: str = "") -> list[str]:
    """Write the command of a run on the stand-in."""
    text = STAND_IN.format(opening=opening or "pass", measuring=measuring or "pass")
    (records / "stand_in.py").write_text(text)
    labels = ["--release", "tf-2.21", "--lock", str(ROOT / "locks" / "tf-2.21.txt")]
    own = ["-W", "default", "--records", str(records), "-k", "attack-", *more]
    plugins = ["-p", "stand_in", "-p", "no:hypothesispytest"]  # no release's environment has that
    return [sys.executable, "-m", "pytest", *plugins, "benchmarks", *labels, *own]


def variables(records: Path) -> dict[str, str]:
    """Give the variables without those that tell of a parallel run, on a terminal that is none."""
    kept = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    return {**kept, "TERM": "xterm", "PYTHONPATH": str(records)}


def run(
    records: Path, *more: str, opening: str = "", measuring: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(records, *more, opening=opening, measuring=measuring),
        cwd=ROOT, env=variables(records), capture_output=True, text=True, check=False,
    )  # fmt: skip


def on_terminal(
    records: Path, *, columns: int, measuring: str = "", interrupt: str = "", **more: str
) -> str:
    """Run the stand-in on a pseudo-terminal, with Ctrl-C once a text appears; return the output."""
    line = command(records, measuring=measuring)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # which a shell in the background ignores
        env = {**variables(records), "COLUMNS": str(columns), **more}
        os.execvpe(line[0], line, env)  # noqa: S606 - a terminal is what it is about
    shown, deadline = "", time.monotonic() + 120
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                shown += os.read(terminal, 65536).decode()
            except OSError:  # closed
                break
        if interrupt and interrupt in shown:
            os.write(terminal, b"\x03")
            interrupt = ""
    os.waitpid(pid, 0)
    os.close(terminal)
    return shown


def log_of(records: Path) -> str:
    return (records / "tf-2.21" / "small" / "framework.log").read_text()


def lines_of(shown: str) -> list[str]:
    """Give what stands on a terminal at the end: a carriage return writes over its line."""
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", shown)
    return [line.split("\r")[-1] for line in plain.split("\r\n")]


@pytest.mark.parametrize("option", ["-v", "-s"])
def test_what_a_framework_prints_is_in_the_log_and_not_on_the_terminal(
    option: str, records: Path
) -> None:
    done = run(records, option)
    shown, log = done.stdout + done.stderr, log_of(records)
    assert done.returncode == 0, shown
    for noise in NOISE:
        printed = option == "-s" and noise == "Python prints"  # as -s asks for
        assert (noise in shown) == printed, shown
        assert (noise in log) != printed, log
    assert "\r" not in shown
    assert "\x1b" not in shown
    assert "framework.log, what the framework printed" in shown


def test_each_case_has_a_line_with_its_numbers_and_the_answer_comes_first(records: Path) -> None:
    lines = run(records).stdout.splitlines()
    cases = [line for line in lines if re.match(r"\d/4 holds  attack-", line)]
    assert len(cases) == 4
    assert all(re.search(r": the loss rises in \d+ % of the images, \d s$", line) for line in cases)
    section = lines.index(next(line for line in lines if "= tf-2.21, small tier =" in line))
    assert lines[section + 1].startswith("tf-2.21 does as expected: all ")
    assert not any(line.startswith("benchmarks/") for line in lines)


@pytest.mark.parametrize("columns", [60, 100])
def test_a_terminal_shows_the_running_case_and_wraps_no_line(columns: int, records: Path) -> None:
    shown = on_terminal(records, columns=columns)
    lines = lines_of(shown)
    assert "\r\x1b[Jattack-lenet5-seed0 ..." in shown
    assert not any(line.endswith(" ...") for line in lines)
    assert any(line.startswith("4/4 holds  attack-") for line in lines)
    begin = next(i for i, line in enumerate(lines) if line.startswith("collected "))
    answer = [line for line in lines[begin + 1 :] if line and str(records) not in line]
    assert max(map(len, answer)) <= columns
    assert not any(noise in shown for noise in NOISE)


def test_what_has_no_band_ends_its_case_with_an_error_and_the_run_with_an_answer(
    records: Path,
) -> None:
    without = "from suite.report import screen; screen.bands_of = lambda record: {}"
    done = run(records, opening=without)
    assert done.returncode == 2, done.stdout
    assert "INTERNALERROR" not in done.stdout
    assert "4/4" in done.stdout
    assert "attack-lenet5 of the small tier cannot be judged. Found: no band for" in done.stdout


def test_colours_are_left_out_where_they_are_not_wanted(records: Path) -> None:
    shown = on_terminal(records, columns=80, NO_COLOR="1")
    assert set(re.findall(r"\x1b\[\d*\w", shown)) == {"\x1b[J"}


def test_a_crash_shows_the_last_lines_of_the_log_and_where_it_is(records: Path) -> None:
    ending = "os.write(2, b'out of memory\\n'); raise MemoryError('no space')"
    done = run(records, "-k", "attack-lenet5", measuring=ending)
    assert done.returncode == 2
    assert "is not judged" in done.stdout
    assert "MemoryError('no space')" in done.stdout
    at = done.stdout.index("The framework's last lines")
    assert str(records / "tf-2.21" / "small" / "framework.log") in done.stdout[at:]
    assert "  port.cc:153] oneDNN custom operations are on" in done.stdout[at:]
    assert "  out of memory" in done.stdout[at:]
    assert "\\x1b[31m." in done.stdout[at:]


@pytest.mark.parametrize(
    ("opening", "told"),
    [
        ("raise SuiteError('no data, run X')", "STOPPED before its end: no data, run X"),
        ("raise ModuleNotFoundError('tensorflow')", "ModuleNotFoundError('tensorflow')"),
    ],
)
def test_an_end_before_the_first_case_shows_what_the_framework_said(
    opening: str, told: str, records: Path
) -> None:
    done = run(records, opening=opening)
    assert done.returncode == 2
    assert told in done.stdout
    assert "  port.cc:153] oneDNN" in done.stdout[done.stdout.index("The framework's last") :]


def test_a_check_that_fails_tells_its_values_and_nothing_of_the_framework(records: Path) -> None:
    path = records / "tf-2.21" / "small" / "attack-lenet5-seed0.json"
    record = read_record(path)
    path.unlink()
    write_record(replace(record, metrics={**record.metrics, "linear_error": 0.5}), path)
    done = run(records)
    assert done.returncode == 1
    assert "FAILED attack-lenet5 (seed 0): linear_error is 0.5, expected" in done.stdout
    assert re.search(r"\d/4 FAILS  attack-lenet5-seed0: .*linear_error is 0.5", done.stdout)
    assert "The framework's last lines" not in done.stdout
    assert done.stdout.count("linear_error is 0.5") == 2


@pytest.mark.parametrize(
    "ended", ["os.kill(os.getpid(), 11)", "os.abort()", "os.kill(os.getpid(), 9)"]
)
def test_a_process_that_dies_leaves_its_log_and_is_told_of(ended: str, records: Path) -> None:
    done = run(records, measuring=f"os.write(2, b'Check failed: rank\\n'); print('here'); {ended}")
    assert done.returncode < 0
    assert "Check failed: rank" in log_of(records)
    assert "Check failed: rank" in done.stderr
    assert str(records / "tf-2.21" / "small" / "framework.log") in done.stderr
    assert "it crashed or was killed" in done.stderr


def test_ctrl_c_ends_with_what_is_known_so_far(records: Path) -> None:
    waiting = "'vgg19' in str(case) and (print('', flush=True), __import__('time').sleep(60))"
    shown = on_terminal(
        records, measuring=waiting, columns=100, interrupt="attack-vgg19-w0.25-seed0 ..."
    )
    assert "STOPPED before its end: it was interrupted. So far: tf-2.21 does as expected" in shown
    assert "checks hold" in shown
    assert not any("seed0 ..." in line for line in lines_of(shown))
    assert not any(noise in shown for noise in NOISE)


def test_processes_of_xdist_tell_their_cases_to_the_one_that_shows_them(records: Path) -> None:
    pytest.importorskip("xdist", reason="tf-2.21's own environment does not have it")
    done = run(records, "-n", "2", "-p", "xdist")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"tf-2.21 does as expected: all \d+ checks hold", done.stdout)
    assert len(re.findall(r"(?m)^\d holds  attack-", done.stdout)) == 4
    assert not any(noise in done.stdout + done.stderr for noise in NOISE)
    assert log_of(records).count("C++ prints") == 2


def test_a_process_of_xdist_that_dies_is_no_answer(records: Path) -> None:
    pytest.importorskip("xdist", reason="tf-2.21's own environment does not have it")
    done = run(records, "-n", "2", measuring="'lenet5' in str(case) and os.abort()")
    assert done.returncode == 2
    assert "1 test gave NO ANSWER" in done.stdout
    assert "crashed while running" in done.stdout


def test_a_folder_that_cannot_be_written_has_its_log_elsewhere(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (records / "tf-2.21" / "small" / "framework.log").mkdir()
    done = run(records)
    assert done.returncode == 0
    found = re.search(r"(?m)^(\S+-framework.log) has what the framework printed$", done.stdout)
    assert found
    assert "C++ prints" in Path(found[1]).read_text()


def test_runs_at_once_keep_both_logs_and_a_later_one_begins_anew(records: Path) -> None:
    waiting = "__import__('time').sleep(0.5)"
    first = subprocess.Popen(
        command(records, measuring=waiting), cwd=ROOT, env=variables(records),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    log = records / "tf-2.21" / "small" / "framework.log"
    while first.poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.02)
    assert run(records).returncode == 0
    first.send_signal(signal.SIGTERM)
    first.wait()
    assert log_of(records).count("C++ prints") == 2
    assert run(records).returncode == 0
    assert log_of(records).count("C++ prints") == 1
