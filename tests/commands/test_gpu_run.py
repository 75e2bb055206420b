"""Tests of suite.commands.gpu_run: slices end in time, go on, and leave few and small files."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suite.commands import gpu_run
from suite.commands.gpu_bundle import MAIN
from suite.commands.gpu_environment import INSTALLED
from suite.commands.gpu_run import (
    Slice,
    at_once,
    measure,
    own_records,
    pack,
    run_slice,
    started,
    tell,
    unpacked,
    usage_noted,
)
from suite.errors import SuiteError
from suite.files import SUITE
from tests.commands.conftest import LOCK, MADE_WITH, Output

JOBS = [["step-time-a", 0], ["net-a", 0], ["net-a", 1], ["net-b", 0]]
ASKED: dict[str, Any] = {
    "release": "row", "tier": "sample", "python": "3.11", "beside": [], "jobs": JOBS,
    "env": {"STATED": "yes"}, "passed": ["PATH", "WHAT"],
    "code_digest": "sha256:code", "probe_digest": "sha256:probes",
    "data_digests": ["sha256:32", "sha256:64"],
}  # fmt: skip
RECORD = json.dumps({"environment": MADE_WITH})
WORKER = """\
#!/bin/sh
# python -m suite gpu-work --slice NAME --records DIR --workers N [--alone] --seconds N
echo "$@" "$STATED$SUITE_PARENT" >> "$0.calls"
names="net-a-seed0 net-a-seed1 net-b-seed0"
case "$*" in *--alone*) names=step-time-a-seed0;; esac
for name in $names; do [ -e "$7/row/sample/$name.json" ] || { WHAT; }; done
"""
MAKES = f"echo '{RECORD}' > $7/row/sample/$name.json"


def a_slice(tmp_path: Path, what: str, *, seconds: float = 30.0) -> Slice:
    """Prepare a slice whose workers do `what` for each of their records that is missing."""
    python = tmp_path / "python"
    python.write_text(WORKER.replace("WHAT", what))
    python.chmod(0o755)
    home = tmp_path / "work" / "bundle"
    home.mkdir(parents=True, exist_ok=True)
    (home / "bundle.json").write_text(json.dumps(ASKED))
    (tmp_path / "work" / "env").mkdir(exist_ok=True)
    (tmp_path / "work" / "env" / INSTALLED).write_bytes(LOCK)
    deadline_s = time.monotonic() + seconds
    run = Slice("s1", tmp_path / "work", tmp_path / "out", home, ASKED, python, deadline_s)
    for folder in (run.out, run.records, run.logs):
        folder.mkdir(parents=True, exist_ok=True)
    return run


def packed(out: Path) -> dict[str, bytes]:
    """Read all that the archives of a slice hold."""
    found = {}
    for path in sorted(out.glob("records-*.zip")):
        with zipfile.ZipFile(path) as archive:
            found.update({name: archive.read(name) for name in archive.namelist()})
    return found


def test_workers_time_steps_alone_and_then_measure_side_by_side(tmp_path: Path) -> None:
    run = a_slice(tmp_path, MAKES)
    measure(run, workers=1, alone=True)
    assert {name for name in packed(run.out) if "/" in name} == {"records/step-time-a-seed0.json"}
    measure(run, workers=3, alone=False)
    calls = (tmp_path / "python.calls").read_text().splitlines()
    assert [("--workers 1" in call, "--alone" in call) for call in calls] == [
        (True, True), *[(False, False)] * 3,
    ]  # fmt: skip
    assert all(call.endswith(f"yes{os.getpid()}") for call in calls)
    assert all(20 < float(call.split("--seconds ")[1].split()[0]) <= 30 for call in calls)
    assert set(packed(run.out)) == {
        "bundle.json", INSTALLED, *(f"records/{case}-seed{seed}.json" for case, seed in JOBS),
    }  # fmt: skip
    assert tell(run) == 0


def test_a_slice_ends_in_time_and_what_is_finished_is_left(tmp_path: Path, capsys: Output) -> None:
    run = a_slice(tmp_path, f"{MAKES}; exec sleep 60", seconds=2)
    begun_s = time.monotonic()
    measure(run, workers=2, alone=False)
    assert time.monotonic() - begun_s < 10
    assert "records/net-a-seed0.json" in packed(run.out)
    assert tell(run) == 1
    assert "the same command goes on with step-time-a-seed0" in capsys.readouterr().out


def test_a_worker_that_fell_is_replaced_but_not_for_ever(tmp_path: Path) -> None:
    run = a_slice(tmp_path, "echo fell >&2; exit 1")
    measure(run, workers=2, alone=False)
    assert len((tmp_path / "python.calls").read_text().splitlines()) == 4
    assert (run.out / "log.txt").read_text().count("fell") == 4


def test_files_are_left_while_workers_still_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packs: list[Slice] = []
    monkeypatch.setattr(gpu_run, "pack", packs.append)
    monkeypatch.setattr(gpu_run, "PACK_S", 0.1)
    measure(a_slice(tmp_path, "exec sleep 60", seconds=2), workers=1, alone=False)
    assert len(packs) > 1


def test_a_worker_sees_what_is_passed_and_what_is_stated_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"WHAT": "passed", "STATED": "no", "OTHER": "kept back", "SUITE_CACHE": "elsewhere"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    run = a_slice(tmp_path, MAKES)
    seen = gpu_run._variables(run._replace(asked={**ASKED, "passed": ["WHA*", "STATED", "SUITE*"]}))
    assert (seen["WHAT"], seen["STATED"]) == ("passed", "yes")
    assert "OTHER" not in seen
    assert seen["SUITE_CACHE"] == str(run.work / "cache")


@pytest.mark.parametrize(
    ("told", "cores", "expected"),
    [
        (["143771 MiB"], 16, 10), (["81559 MiB", "143771 MiB"], 16, 5), (["143771 MiB"], 4, 4),
        (["8192 MiB"], 16, 1), ([], 16, 6), (["[N/A]"], 2, 2),
    ],
)  # fmt: skip
def test_as_many_cases_run_at_once_as_the_gpu_and_the_cores_bear(
    told: list[str], cores: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_run, "cards", {"memory.total": told}.__getitem__)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert at_once() == expected


def test_what_the_gpu_does_is_noted_until_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, noted = tmp_path / "nvidia-smi", tmp_path / "gpu.csv"
    asked.write_text('#!/bin/sh\necho "$@"\nexec sleep 60\n')
    asked.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    begun_s = time.monotonic()
    with usage_noted(noted):
        while not (noted.exists() and noted.read_text()) and time.monotonic() - begun_s < 30:
            time.sleep(0.01)
    assert "--query-gpu=timestamp,name,utilization.gpu" in noted.read_text()
    assert time.monotonic() - begun_s < 50


def test_of_a_long_log_the_end_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_run, "LOG_BYTES", 100)
    run = a_slice(tmp_path, MAKES)
    (run.logs / "a.log").write_text("x" * 200 + "the end")
    pack(run)
    assert (run.out / "log.txt").read_text().endswith("xthe end")


def test_files_are_few_and_small_however_many_records_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 20_000
    monkeypatch.setattr(gpu_run, "FILE_BYTES", limit)
    run, drawn = a_slice(tmp_path, MAKES), np.random.default_rng(0).bytes
    run = run._replace(asked={**ASKED, "jobs": [[f"net-{number}", 0] for number in range(40)]})

    def write(number: int) -> tuple[str, bytes]:
        path = run.records / f"net-{number}-seed0.json"
        curve = base64.b85encode(drawn(3_200)).decode()  # which hardly becomes smaller
        path.write_text(json.dumps({"environment": MADE_WITH, "curve": curve}))
        return f"records/{path.name}", path.read_bytes()

    made = dict(write(number) for number in range(22))
    (run.logs / "a.log").write_bytes(b"x" * 50_000)
    pack(run)
    assert made.items() <= packed(run.out).items()
    files = [*run.out.iterdir()]
    assert len(files) <= 8
    assert max(path.stat().st_size for path in files) <= limit
    for number in range(22, 40):
        write(number)
    with pytest.raises(SuiteError, match=r"records fit in no file; they stay in .*/row/sample"):
        pack(run)


def test_an_archive_of_an_earlier_bundle_does_not_stay_beside_those_of_this_one(
    tmp_path: Path,
) -> None:
    run = a_slice(tmp_path, MAKES)
    for name in ("records-1.zip", "records-2.zip"):
        (run.out / name).write_text("of more records")
    pack(run)
    assert [path.name for path in run.out.glob("records-*.zip")] == ["records-1.zip"]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("net-a-seed5", {}),  # the bundle was made anew for other seeds
        ("net-a-seed0", {"code_digest": "sha256:older"}),
        ("net-a-seed0", {"probe_digest": "sha256:older"}),
        ("net-a-seed0", {"data_digest": "sha256:of fewer images"}),
        ("net-a-seed0", {"lock_digest": "sha256:of another machine"}),
    ],
)
def test_a_record_that_was_brought_along_counts_where_this_bundle_could_have_made_it(
    tmp_path: Path, name: str, changes: dict[str, str], capsys: Output
) -> None:
    run = a_slice(tmp_path, MAKES)
    (run.records / "net-b-seed0.json").write_text(RECORD)
    other = {"environment": {**MADE_WITH, **changes}}
    (run.records / f"{name}.json").write_text(json.dumps(other))
    pack(run)
    assert {name for name in packed(run.out) if "/" in name} == {"records/net-b-seed0.json"}
    assert tell(run) == 1
    assert "1 of 4 records" in capsys.readouterr().out
    (run.records / f"{name}.json").write_text("[")  # damaged: it is made again
    assert tell(run) == 1


def bundle_of(tmp_path: Path, **more: str) -> Path:
    """Write a bundle that has no packages."""
    path = tmp_path / "gpu-bundle.pyz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__main__.py", MAIN)
        archive.writestr("bundle.json", json.dumps(ASKED))
        for source in SUITE.rglob("*.py"):
            archive.write(source, f"suite/{source.relative_to(SUITE)}")
        for name, content in more.items():
            archive.writestr(name, content)
    return path


def test_a_bundle_is_unpacked_once_and_brings_records_of_earlier_slices(tmp_path: Path) -> None:
    place = "row/sample/net-a-seed0.json"
    bundle = bundle_of(tmp_path, **{f"records/{place}": "{}"})
    home = unpacked(bundle, tmp_path / "work")
    assert (tmp_path / "work" / "records" / place).read_text() == "{}"
    (home / "marked").touch()
    (tmp_path / "work" / "env").mkdir()
    assert (unpacked(bundle, tmp_path / "work") / "marked").exists()
    unpacked(bundle_of(tmp_path), tmp_path / "work")
    assert not (home / "marked").exists()
    assert not (tmp_path / "work" / "env").exists(), "it holds another bundle's packages"
    assert (tmp_path / "work" / "records" / place).exists()


def test_a_bundle_made_anew_brings_no_record_over_one_that_was_made_later(tmp_path: Path) -> None:
    place = "row/sample/net-a-seed0.json"
    here = tmp_path / "work" / "records" / place
    here.parent.mkdir(parents=True)
    for own, brought, kept in (
        ("2026-11-02T10:00", "2026-11-01T10:00", "2026-11-02T10:00"),
        ("2026-11-01T10:00", "2026-11-02T10:00", "2026-11-02T10:00"),
    ):
        here.write_text(json.dumps({"started_at": own}))
        record = json.dumps({"started_at": brought})
        unpacked(bundle_of(tmp_path, **{f"records/{place}": record}), tmp_path / "work")
        assert json.loads(here.read_text()) == {"started_at": kept}
    here.write_text("{")  # cut off
    unpacked(bundle_of(tmp_path, **{f"records/{place}": record, "new": ""}), tmp_path / "work")
    assert here.read_text() == record


def test_a_run_makes_the_environment_and_all_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    run = a_slice(tmp_path, MAKES)
    monkeypatch.setattr(gpu_run, "make_environment", lambda *_: run.python)
    given = ["--work", f"{run.work}", "--out", f"{run.out}", "--minutes", "0.5", "--jobs", "2"]
    bundle = bundle_of(tmp_path)
    monkeypatch.setattr(gpu_run, "unpacked", lambda *_: run.home)
    (run.home / "locks").mkdir()
    assert run_slice(given, bundle) == 0
    assert "4 of 4 records" in capsys.readouterr().out
    assert (run.home / "locks" / "row-gpu.txt").read_text() == "torch==2\n"


@pytest.mark.parametrize(
    "given", [["--minutes", "0"], ["--minutes", "nan"], ["--minutes", "inf"], ["--jobs", "0"],
              ["--jobs", "-1"], ["--jobs", "two"]],
)  # fmt: skip
def test_a_slice_without_time_or_workers_is_refused(
    tmp_path: Path, given: list[str], capsys: Output
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_slice(given, bundle_of(tmp_path))
    assert ended.value.code == 2
    assert re.search("must be|invalid count value: 'two'", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("what", "minutes", "status", "end"),
    [
        ("echo 0.98; exit 0", 1, 0, "All of it: "),
        ("echo 0.90; exit 1", 1, 1, "All of it: "),
        ("echo 0.97; exec sleep 60", 0.03, 1, "The time was up: "),
    ],
)
def test_bare_loops_are_told_and_left_alone_and_in_time(
    *, what: str, minutes: float, status: int, end: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output,
) -> None:  # fmt: skip
    run = a_slice(tmp_path, MAKES)
    (run.home / "locks").mkdir()
    run.python.write_text(f"#!/bin/sh\necho $@ $STATED$PYTHONUNBUFFERED; {what}\n")
    monkeypatch.setattr(gpu_run, "make_environment", lambda *_: run.python)
    monkeypatch.setattr(gpu_run, "unpacked", lambda *_: run.home)
    given = ["--work", f"{run.work}", "--out", f"{run.out}", "--minutes", f"{minutes}"]
    begun_s = time.monotonic()
    assert run_slice([*given, "--overhead"], bundle_of(tmp_path)) == status
    assert time.monotonic() - begun_s < 10
    told = (run.out / "overhead.txt").read_text()
    assert "-m pytest -W default benchmarks/bare_loops.py --tier sample yes1\n0.9" in told
    assert f"{told}\n{end}" in capsys.readouterr().out
    assert not own_records(run)


def test_where_nothing_can_be_measured_a_run_ends_at_once_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_slice(tmp_path, "echo error: no GPU >&2; exit 2")
    monkeypatch.setattr(gpu_run, "make_environment", lambda *_: run.python)
    monkeypatch.setattr(gpu_run, "unpacked", lambda *_: run.home)
    (run.home / "locks").mkdir()
    given = ["--work", f"{run.work}", "--out", f"{run.out}", "--minutes", "1", "--jobs", "4"]
    with pytest.raises(SuiteError, match="nothing can be measured here: error: no GPU"):
        run_slice(given, bundle_of(tmp_path))
    assert len((tmp_path / "python.calls").read_text().splitlines()) == 2


def test_a_bundle_starts_in_a_python_that_has_nothing_installed(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", bundle_of(tmp_path), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={})
    assert "Measure what the bundle asks for" in done.stdout


def test_what_the_user_can_mend_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--work", f"{tmp_path}", "--out", f"{tmp_path / 'out'}"])
    bundle = bundle_of(tmp_path)
    monkeypatch.setattr(gpu_run.json, "loads", lambda _: {**ASKED, "python": "2.7"})
    assert started(bundle) == 2
    assert capsys.readouterr().err.startswith("error: this is Python 3.")
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys, "argv", ["x", "--work", f"{tmp_path / 'file'}"])
    assert started(bundle) == 2
    assert capsys.readouterr().err.startswith("error: [Errno 20] Not a directory")


def test_an_old_python_is_told_before_anything_is_imported(tmp_path: Path) -> None:
    code = f"import sys; sys.version_info = (3, 6); exec({MAIN!r})"
    command = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: Python 3.9 or newer is needed, this is 3.")
