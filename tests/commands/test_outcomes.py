"""Tests of suite.commands.outcomes: real reports of nox and pytest tell what became of a row."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from suite.commands import outcomes
from suite.commands.matrix import run_matrix
from suite.commands.outcomes import Files, failures, nox_report, outcome_of, pytest_report
from suite.errors import WeightsError
from suite.judge.compatibility import Outcome
from suite.measure.named import set_weights_by_key
from suite.releases import Release
from tests.bounds import within

ROOT = Path(__file__).parents[2]
NOXFILE = """
import sys
import nox
from nox.command import CommandFailed
nox.options.default_venv_backend = "none"
ROWS = ("good", "fails", "uninstallable", "refused", "killed", "misspelt")
UV = "import sys; print('Resolved 2 packages'); sys.exit('error: Hash mismatch for `keras==1`')"
@nox.session
@nox.parametrize("row", [nox.param(name, id=name) for name in ROWS])
def benchmarks(session, row):
    if row == "refused":
        print("error: locks/refused.txt is missing: make it", file=sys.stderr)
        raise CommandFailed("locks/refused.txt is missing: make it")
    if row == "uninstallable":
        session.run_install("python", "-c", UV, external=True)
    more = ["--sedes", "0,1"] if row == "misspelt" else []
    session.run("python", "-m", "pytest", f"{row}.py", *more, *session.posargs, external=True)
"""
CONFTEST = """
import pytest
def pytest_addoption(parser):
    parser.addoption("--records")
@pytest.fixture(autouse=True)
def session(record_testsuite_property):
    record_testsuite_property("framework", "loaded")
"""
BENCHMARKS = {
    "good": "def test(): pass",
    "fails": "import pytest\ndef test(): pytest.fail('lenet5: accuracy is 0.1', pytrace=False)",
    "killed": "import os\ndef test(): os.kill(os.getpid(), 9)",
    "misspelt": "def test(): pass",
}
GOOD = '{"sessions": [{"result": "success", "reason": null}]}'
FAILED = '{"sessions": [{"result": "failed", "reason": null}]}'
PASSED = "<testsuites><testsuite><testcase/></testsuite></testsuites>"


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Return what became of the rows of a project whose sessions are nox's and pytest's own."""
    folder = tmp_path_factory.mktemp("project")
    files = {f"{name}.py": text for name, text in BENCHMARKS.items()}
    for name, text in {"noxfile.py": NOXFILE, "conftest.py": CONFTEST, **files}.items():
        (folder / name).write_text(text)
    names = ("good", "fails", "uninstallable", "refused", "killed", "misspelt", "unknown")
    rows = [Release(name, "3.11", ("keras==1",), "to test", unpinned=True) for name in names]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        return run_matrix(rows, records=Path("records"), jobs=2)


@pytest.mark.parametrize(
    ("row", "installs", "imports", "why"),
    [
        ("good", True, True, ""),
        ("fails", True, True, "fails.test: Failed: lenet5: accuracy is 0.1"),
        ("uninstallable", False, None, "Hash mismatch for `keras==1`"),
        ("refused", False, None, "locks/refused.txt is missing: make it"),
        ("killed", True, None, "pytest left no report; from its log: "),
        ("killed", True, None, " the last command failed with exit code -9"),
        ("misspelt", True, None, "unrecognized arguments: --sedes 0,1"),
        ("unknown", None, None, "nox left no report; from its log: "),
    ],
)  # fmt: skip
def test_the_reports_tell_how_far_a_row_came_and_why_no_further(
    ended: dict[str, Outcome], row: str, installs: bool | None, imports: bool | None, why: str
) -> None:
    found = ended[row]
    assert (found.installs, found.imports) == (installs, imports)
    assert found.passed == (row == "good")
    assert why in found.reason
    assert bool(found.reason) != found.passed


PLANTED = """
import pytest, suite.measure.once as once
from suite.errors import DataError
def refuse(*args, **options):
    raise DataError("no archive: set\\nGTSRB_ROOT")
def no_framework():
    raise TypeError("Descriptors cannot be created directly.\\nYour generated code is old.")
def broken(*args, **options):
    raise OSError("the disk is on fire")
"""
PLANTS = {
    "import": "once.check_environment = lambda *_: None\nonce.load = no_framework",
    "open": "once.open_session = refuse",
    "data": "once.open_session = lambda **_: None\nonce.measure_once = refuse",
    "run": "once.open_session = lambda **_: None\nonce.measure_once = broken",
}


@pytest.mark.parametrize(
    ("plant", "imported", "why"),
    [
        ("import", False, 'failed on setup with "TypeError: Descriptors cannot be created'),
        ("open", None, "no archive: set GTSRB_ROOT"),
        ("data", True, "no archive: set GTSRB_ROOT"),
        ("run", True, "OSError: the disk is on fire"),
    ],
)  # fmt: skip
def test_a_benchmark_notes_whether_the_framework_was_loaded_and_what_ended_it(
    plant: str, imported: bool | None, why: str, tmp_path: Path
) -> None:
    (tmp_path / "planted.py").write_text(PLANTED + PLANTS[plant])
    options = ["--release", "one", "--lock", os.devnull, "--records", str(tmp_path), "-k", "attack"]
    found = pytest_report(
        report(tmp_path, "benchmarks/test_attack.py", "-x", "-p", "planted", *options)
    )
    assert (found.ran is not None, found.imported) == (True, imported)
    assert why in (found.stopped or found.failure)
    assert bool(found.stopped) == (plant in ("open", "data"))


SKIP = "import pytest\n@pytest.mark.skip(reason='no such fix')\ndef test_skipped(): 0\n"


@pytest.mark.parametrize(
    ("text", "options", "ran", "skipped"),
    [
        (SKIP, (), 0, "skipped: test_it.test_skipped: no such fix"),
        (f"{SKIP}def test_fine(): 0", (), 1, "skipped: test_it.test_skipped: no such fix"),
        ("def test_fine(): 0", ("--co",), 0, ""),
        ("def test_fine(): 0", ("-k", "nothing"), 0, ""),
        ("def test_fine(): 0", ("--deselect", "test_it.py"), 0, ""),
        ("def test_fine(): 0", (), 1, ""),
    ],
)
def test_what_was_skipped_collected_or_deselected_did_not_run(
    tmp_path: Path, text: str, options: tuple[str, ...], ran: int, skipped: str
) -> None:
    (tmp_path / "test_it.py").write_text(text)
    plain = ("-c", os.devnull, "--rootdir", ".")
    found = pytest_report(report(tmp_path, *plain, *options, folder=tmp_path, fails=None))
    assert (found.ran, found.skipped, found.failure) == (ran, skipped, "")
    files = row(tmp_path, tests=(tmp_path / "tests.xml").read_text())
    assert told(files).passed == (ran == 1 and not skipped)


TWO = "def test_passes(): 0\ndef test_fails(): assert 0, 'why'"
CRASH = "def pytest_runtestloop(): {}['a']"


@pytest.mark.parametrize(
    ("files", "tests", "failure"),
    [
        ({"test_it.py": "import nothing"}, 1, "test_it: E ModuleNotFoundError: No module"),
        ({"conftest.py": "import nothing", "test_it.py": ""}, None, ""),
        ({"conftest.py": CRASH, "test_it.py": TWO}, 1, "pytest.internal: KeyError: 'a'"),
        ({"test_it.py": TWO}, 2, "test_it.test_fails: AssertionError: why assert 0"),
        ({"test_it.py": ""}, 0, ""),
    ],
)  # fmt: skip
def test_pytest_names_what_failed_first_without_a_framework_too(
    tmp_path: Path, files: dict[str, str], tests: int | None, failure: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = pytest_report(report(tmp_path, "-c", os.devnull, "--rootdir", ".", folder=tmp_path))
    assert (found.ran, found.imported, found.stopped) == (tests, None, "")
    assert failure in found.failure
    assert bool(found.failure) == bool(failure)


def report(tmp_path: Path, *options: str, folder: Path = ROOT, fails: bool | None = True) -> Path:
    """Return the report of a run of pytest in `folder`; with `fails`, it must end so."""
    path = tmp_path / "tests.xml"
    command = [sys.executable, "-m", "pytest", *options, "--junitxml", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    assert fails is None or (done.returncode != 0) == fails
    return path


def row(folder: Path, made: str = GOOD, run: str = GOOD, tests: str = PASSED) -> Files:
    """Return the files of a row that ended."""
    files = Files(*(folder / name for name in Files._fields))
    for path, text in zip(files, ("==== the last line ====\n", made, run, tests), strict=True):
        path.write_text(text)
    return files


def told(files: Files, status: int = 0) -> Outcome:
    return outcome_of(files, status=status, seconds=1.24, lock_digest="sha256:1")


def test_a_row_whose_reports_all_say_so_has_passed(tmp_path: Path) -> None:
    found = told(row(tmp_path))
    assert (found.passed, found.installs, found.imports) == (True, True, None)
    assert (found.reason, found.seconds, found.lock_digest) == ("", 1.2, "sha256:1")


@pytest.mark.parametrize(
    "damaged", ["", "{", "[]", '{"sessions": []}', '{"sessions": [1]}', "[" * 9_000]
)
@pytest.mark.parametrize("name", ["made", "run"])
def test_a_row_does_not_pass_without_a_report_of_nox(
    tmp_path: Path, name: str, damaged: str
) -> None:
    found = told(row(tmp_path, **{name: damaged}))
    assert not found.passed
    assert found.installs is (None if name == "made" else True)
    assert found.reason == "nox left no report; from its log: the last line"


@pytest.mark.parametrize("damaged", ["", PASSED[:-5], "<html/>", '<?xml encoding="none"?><a/>'])
def test_a_row_does_not_pass_without_a_report_of_pytest(tmp_path: Path, damaged: str) -> None:
    found = told(row(tmp_path, tests=damaged))
    assert (found.passed, found.imports) == (False, None)
    assert found.reason == "pytest left no report; from its log: the last line"


def test_a_row_without_a_test_does_not_pass(tmp_path: Path) -> None:
    found = told(row(tmp_path, tests=PASSED.replace("<testcase/>", "")))
    assert (found.passed, found.reason) == (False, "no benchmark ran; from its log: the last line")


def test_a_report_that_is_far_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pytest_report(row(tmp_path).tests).ran == 1
    monkeypatch.setattr(outcomes, "REPORT_BYTES", len(PASSED) - 1)
    assert pytest_report(row(tmp_path).tests).ran is None


def test_each_case_has_what_its_first_failing_test_said(tmp_path: Path) -> None:
    path = tmp_path / "tests.xml"
    ends = (("a", "error", "one"), ("a", "failure", "two"), ("b-c", "failure", "it fell"))
    tests = "".join(
        f'<testcase name="test[{case}-seed3]"><{end} message="{said}"/></testcase>'
        for case, end, said in ends
    )
    skipped = '<testcase name="test[d-seed0]"><skipped message="three"/></testcase>'
    path.write_text(f"<testsuites><testsuite>{tests}{skipped}<testcase/></testsuite></testsuites>")
    assert failures(path) == {("a", 3): "one", ("b-c", 3): "it fell"}
    assert failures(tmp_path / "none.xml") == {}


def test_states_that_do_not_fit_are_no_reason_to_make_others(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as raised:
        set_weights_by_key(SimpleNamespace(layers=[]), {("Dense 1", "kernel"): np.zeros(2)})
    path = tmp_path / "tests.xml"
    test = f'<testcase name="test[a-seed0]"><failure message="{raised.value}"/></testcase>'
    path.write_text(f"<testsuites><testsuite>{test}</testsuite></testsuites>")
    (why,) = failures(path).values()
    assert "Dense 1/kernel has the shape (2,) in the stored states" in why
    assert "This release makes another network" in why
    assert "Make the states anew" not in why


def test_the_error_of_a_traced_function_is_quoted_without_its_traceback(tmp_path: Path) -> None:
    path = tmp_path / "tests.xml"
    said = (
        "E   ValueError: in user code:&#10;E     File x&#10;E       raise ValueError(&#10;E&#10;"
        "E     ValueError: Inputs have the rank 2,&#10;E     expected 4&#10;E&#10;"
        "E     Arguments received by Conv2D.call():&#10;E       • mask=None&#10;&#10;x.py:1: Error"
    )
    head = "ValueError: in user code:&#10;  File x&#10;[+5 more lines]"
    test = f'<testcase name="test[a-seed0]"><failure message="{head}">{said}</failure></testcase>'
    path.write_text(f"<testsuites><testsuite>{test}</testsuite></testsuites>", encoding="utf-8")
    assert failures(path) == {("a", 0): "ValueError: Inputs have the rank 2, expected 4"}


def test_a_row_does_not_pass_if_pytest_reports_a_failure_whatever_nox_says(tmp_path: Path) -> None:
    tests = PASSED.replace("<testcase/>", '<testcase name="a"><failure message="b"/></testcase>')
    found = told(row(tmp_path, tests=tests))
    assert (found.passed, found.reason) == (False, "a: b")


@pytest.mark.parametrize(
    ("status", "why"),
    [(-9, "killed by signal 9"), (137, "killed by signal 9"), (1, "the last line")],
)
def test_a_row_whose_process_failed_does_not_pass(tmp_path: Path, status: int, why: str) -> None:
    found = told(row(tmp_path), status)
    assert (found.passed, found.reason) == (False, why)


def test_of_an_endless_log_the_end_alone_is_read(tmp_path: Path) -> None:
    files = row(tmp_path, made=FAILED)
    with files.log.open("r+b") as file:
        file.truncate(1 << 32)
        file.seek(0, os.SEEK_END)
        file.write(b"\nthe very last line\n")
    with within(30, megabytes=2):
        assert told(files).reason.endswith("the very last line")
    files.log.unlink()
    os.mkfifo(files.log)
    with within(30):
        assert "it is a named pipe" in told(files).reason


def test_a_log_that_says_nothing_or_is_missing_is_quoted_as_that(tmp_path: Path) -> None:
    files = row(tmp_path, made=FAILED)
    files.log.write_text("\nnox > Session benchmarks(one) failed.\n")
    assert told(files, 1).reason == "it printed nothing"
    files.log.unlink()
    assert told(files, 1).reason == f"{files.log} cannot be read: No such file or directory"


def test_a_long_reason_is_cut_and_the_end_of_a_log_kept(tmp_path: Path) -> None:
    files = row(tmp_path, made=FAILED)
    files.log.write_text(f"{'word ' * 1000}\nthe cause\n")
    assert len(told(files, 1).reason) < outcomes.REASON_LENGTH + 5
    assert told(files, 1).reason.endswith("word the cause")
    files.made.write_text(FAILED.replace("null", f'"the cause {"word " * 1000}"'))
    assert len(told(files, 1).reason) <= outcomes.REASON_LENGTH
    assert told(files, 1).reason.startswith("the cause word")


def test_nox_gives_its_own_reason_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "made"
    session = {"result": "failed", "reason": "Python interpreter 3.7\nnot found"}
    path.write_text(json.dumps({"sessions": [session]}))
    assert nox_report(path) == (False, "Python interpreter 3.7 not found")
