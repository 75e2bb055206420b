"""Tests of suite.commands.cluster_node, with a stand-in for nox: what a node does with a job."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from suite.commands import cluster_node
from suite.commands.cluster_node import (
    Job,
    Order,
    Place,
    Returned,
    ended,
    measured,
    options_of,
    own_folder,
)
from suite.files import SUITE, TAIL_BYTES

ROOT = SUITE.parent
ROW = "tf-2.21"
NOX = """\
import json, os, sys
from pathlib import Path

def after(name):
    return sys.argv[sys.argv.index(name) + 1]

making = "--install-only" in sys.argv
tells = json.loads(Path({tells!r}).read_text())
with Path({tells!r} + ".calls").open("a") as calls:
    calls.write(json.dumps([sys.argv[1:], os.environ.get("GTSRB_ROOT")]) + "\\n")
failed = making and tells["made"]
result = "failed" if failed else "success"
Path(after("--report")).write_text(json.dumps({{"sessions": [{{"result": result}}]}}))
print("said " * tells["words"], "the end", flush=True)
if making:
    sys.exit(tells["made"])
records = next(a for a in sys.argv if a.startswith("--records=")).partition("=")[2]
home = Path(records, {row!r}, "small")
tells["found"] = sorted(path.name for path in home.iterdir())
for name in ("net-seed0.json", "timing/step-times.json", ".net-seed0.lock"):
    (home / name).parent.mkdir(exist_ok=True)
    (home / name).write_text(json.dumps(tells["found"]))
tests = '<testsuites><testsuite><testcase name="a"/></testsuite></testsuites>'
Path(after("--junitxml")).write_text(tests)
sys.exit(tells["run"])
"""


@pytest.fixture
def nox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a module in the place of nox; give a function that says how its two runs end."""
    tells = tmp_path / "tells"
    (tmp_path / "nox.py").write_text(NOX.format(tells=str(tells), row=ROW))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("GTSRB_ROOT", "of the node")

    def ends(*, made: int = 0, run: int = 0, words: int = 1) -> Path:
        tells.write_text(json.dumps({"made": made, "run": run, "words": words}))
        return tmp_path / "tells.calls"

    return ends


def of_nox(calls: Path) -> list[tuple[list[str], str | None]]:
    return [(words, data) for words, data in map(json.loads, calls.read_text().splitlines())]


def order(tmp_path: Path, *session: str) -> tuple[Order, Place]:
    return Order("small", session, "sha256:0123456789abcdef01", ("-k", "x")), Place(
        tmp_path, None, 0
    )


def run(tmp_path: Path, *session: str, data: Path | None = None) -> Returned:
    asked, place = order(tmp_path, *session)
    place = place._replace(data=data, placed_s=2.0)
    return measured(Job(ROW, "net", (0, 2)), asked, place, {"old.json": b"{}"})


def test_a_job_returns_all_that_its_run_left_and_leaves_nothing(nox: Any, tmp_path: Path) -> None:
    nox()
    found = run(tmp_path, "benchmarks(x)")
    assert found.outcome.passed, found.outcome.reason
    assert found.node == socket.gethostname()
    assert found.made == {
        "old.json": b"{}",
        "net-seed0.json": b'["old.json"]',  # the records that there were lay there
        "timing/step-times.json": b'["old.json"]',
    }
    assert {"log", "made", "run", "tests"} == set(found.reports)
    assert found.seconds["files"] == 2
    assert found.outcome.seconds == pytest.approx(sum(found.seconds.values()), abs=0.1)
    assert not [*tmp_path.glob("jobs/suite-job-*")]


@pytest.mark.parametrize(
    ("session", "making", "running"),
    [(("benchmarks(x)",), [], ["--"]), (("study", ROW), ["--", ROW], ["--", ROW])],
)
def test_the_environment_is_made_and_then_the_case_is_run_with_the_data(
    session: tuple[str, ...], making: list[str], running: list[str], nox: Any, tmp_path: Path
) -> None:
    calls = nox()
    run(tmp_path, *session, data=tmp_path)
    (made, data), (ran, given) = of_nox(calls)
    environments = ["--envdir", str(tmp_path / "environments" / "0123456789abcdef")]
    assert made[:3] == ran[:3] == ["--non-interactive", *environments]
    assert made[made.index("-s") + 1 :] == [session[0], *making]
    options = ["-k", "[net-seed", "--seeds", "0,2", "--alone", "--partial"]
    expected = [session[0], *running, *options]
    assert ran[ran.index("-s") + 1 :][: len(expected)] == expected
    assert (data, given) == ("of the node", str(tmp_path))


def test_without_an_environment_nothing_is_run(nox: Any, tmp_path: Path) -> None:
    calls = nox(made=3)
    found = run(tmp_path, "benchmarks(x)")
    assert len(of_nox(calls)) == 1
    assert (found.outcome.installs, found.outcome.passed) == (False, False)
    assert "the end" in found.outcome.reason


def test_a_run_that_ends_with_a_status_is_no_pass_and_what_it_made_comes_back(
    nox: Any, tmp_path: Path
) -> None:
    nox(run=1)
    found = run(tmp_path, "benchmarks(x)")
    assert not found.outcome.passed
    assert "net-seed0.json" in found.made


def test_of_a_long_log_the_end_comes_back(nox: Any, tmp_path: Path) -> None:
    nox(words=50_000)
    log = run(tmp_path, "benchmarks(x)").reports["log"]
    assert len(log) == TAIL_BYTES
    assert log.endswith(b"the end\n")


def test_a_disk_that_is_full_is_the_outcome(
    nox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nox()
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(cluster_node, "made", lambda *_: (_ for _ in ()).throw(full))
    found = run(tmp_path, "benchmarks(x)")
    assert (found.outcome.passed, found.made) == (False, {})
    assert "No space left on device" in found.outcome.reason


def test_a_case_is_measured_alone_and_a_session_as_it_is_given() -> None:
    assert options_of(Job(ROW, "net", (0, 2)), ("-k", "x")) == [
        "-k", "[net-seed", "--seeds", "0,2", "--alone", "--partial"
    ]  # fmt: skip
    assert options_of(Job(ROW, "", (0, 2)), ("-k", "x")) == ["-k", "x"]


def test_a_node_without_nox_is_told_with_its_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    found = measured(Job(ROW, "net", (0,)), *order(tmp_path, "x"), {})
    assert found.outcome.installs is False
    assert f"`{sys.executable} -m pip install 'nox[uv]'`" in found.outcome.reason


def test_a_run_ends_with_its_worker_even_if_that_is_killed(tmp_path: Path) -> None:
    worker = (
        "from pathlib import Path; from suite.commands.cluster_node import ended; "
        f"ended(['sleep', '987.25'], Path({str(tmp_path / 'log')!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", worker], cwd=ROOT)
    runs = ["pgrep", "-f", "^sleep 987.25"]
    deadline_s = time.monotonic() + 60
    while subprocess.run(runs, capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    process.kill()
    process.wait()
    while not subprocess.run(runs, capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_a_run_ends_with_a_job_that_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, wait = ["pgrep", "-f", "^sleep 986.25"], subprocess.Popen.wait

    def cancelled(process: Any, *arguments: Any, **options: Any) -> int:
        if process.args[-1].endswith("wait $nox") and not told:
            while subprocess.run(runs, capture_output=True, check=False).returncode:
                assert time.monotonic() < deadline_s
                time.sleep(0.05)
            told.append("cancelled")
            raise KeyboardInterrupt
        return wait(process, *arguments, **options)

    told, deadline_s = list[str](), time.monotonic() + 60
    monkeypatch.setattr(subprocess.Popen, "wait", cancelled)
    with pytest.raises(KeyboardInterrupt):
        ended(["sleep", "986.25"], tmp_path / "log")
    assert told
    assert subprocess.run(runs, capture_output=True, check=False).returncode


def test_folders_of_killed_jobs_are_removed_and_no_others(tmp_path: Path) -> None:
    left = tmp_path / "suite-job-killed"
    left.mkdir()
    (left / "job.log").write_text("half")
    with own_folder(tmp_path) as one:
        assert not left.exists()
        with own_folder(tmp_path) as other:
            assert one.exists()
            assert other.exists()
    assert not [*tmp_path.glob("suite-job-*")]


def test_a_folder_that_is_being_removed_is_left_to_its_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin() -> None:
        with own_folder(tmp_path):
            pass

    other, remove = threading.Thread(target=begin), shutil.rmtree

    def slowly(folder: Path) -> None:
        if not other.ident:
            (folder / ".held").unlink()  # as a removal may begin
            other.start()
            other.join(0.5)
        remove(folder)

    monkeypatch.setattr("suite.commands.cluster_node.shutil.rmtree", slowly)
    begin()
    other.join()
    assert not [*tmp_path.glob("suite-job-*")]


def test_a_run_gives_its_status_and_what_it_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("GTSRB_ROOT", "elsewhere")
    assert ended(["sh", "-c", 'echo "$GTSRB_ROOT"; exit 3'], log, GTSRB_ROOT="here") == 3
    assert log.read_text() == "here\n"
