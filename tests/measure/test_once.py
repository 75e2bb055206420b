"""Tests of suite.measure.once: a record is found, or made and stored once, and what its key has."""

from __future__ import annotations

import ast
import errno
import io
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from suite import files
from suite.cases import Case
from suite.data import Dataset
from suite.errors import RecordError, SuiteError
from suite.files import SUITE, file_digest
from suite.measure import once
from suite.measure.environment import describe
from suite.measure.once import Session, claimed, measure_once, open_session
from suite.records import Record
from suite.stacks.protocol import Stack
from suite.store import read_records
from tests.measure.conftest import ENVIRONMENT, SMALL, coloured

MakeRecord = Callable[..., Record]
CASE = Case("lenet5", data="synthetic", **SMALL)
STEP_TIME = replace(CASE, question="step-time", train_images=56)


@pytest.fixture
def session(stack: Stack, tmp_path: Path) -> Session:
    """Open a session of this stack whose records lie in a folder of the test."""
    return Session(
        "tf-2.21", "small", tmp_path / "records", stack, ENVIRONMENT, lambda *_: coloured()
    )


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, make_record: MakeRecord) -> list[dict[str, Any]]:
    """Collect the arguments of every run from now on; the runs themselves cost nothing."""
    made: list[dict[str, Any]] = []

    def run_case(case: Case, **arguments: Any) -> Record:
        made.append({"case": case, **arguments})
        return make_record(
            str(case),
            arguments["seed"],
            settings=case.settings(),
            environment=dict(arguments["environment"]),
        )

    monkeypatch.setattr(once, "run_case", run_case)
    return made


def not_asked_for() -> Any:
    raise AssertionError("the timer must not be asked for")


# One way to a record


def test_a_record_is_made_and_stored_once_and_then_found(
    session: Session, runs: list[dict[str, Any]]
) -> None:
    first = measure_once(CASE, 0, session=session)
    assert read_records(session.folder) == [first]
    assert measure_once(CASE, 0, session=session, timer=not_asked_for) == first
    assert len(runs) == 1


def test_what_is_finished_is_found_where_nothing_can_be_written(
    session: Session, runs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = measure_once(CASE, 0, session=session)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    before = sorted(session.folder.iterdir())
    assert measure_once(CASE, 0, session=session) == record
    assert sorted(session.folder.iterdir()) == before
    with pytest.raises(RecordError, match=r"cannot be written: .*Read-only file system"):
        measure_once(CASE, 1, session=session)
    assert len(runs) == 1


def test_another_seed_case_or_environment_is_run_on_its_own(
    session: Session, runs: list[dict[str, Any]]
) -> None:
    measure_once(CASE, 0, session=session)
    measure_once(CASE, 1, session=session)
    measure_once(replace(CASE, learning_rate=0.5), 0, session=session)
    patched = session._replace(environment={**ENVIRONMENT, "lock_digest": "sha256:9"})
    measure_once(CASE, 0, session=patched)
    assert [run["seed"] for run in runs] == [0, 1, 0, 0]


def test_a_run_is_told_what_the_session_knows_and_the_digest_of_its_data(
    session: Session, runs: list[dict[str, Any]]
) -> None:
    measure_once(CASE, 3, session=session, timer=lambda: "the timer")
    [run] = runs
    assert (run["case"], run["seed"]) == (CASE, 3)
    assert (run["release"], run["tier"], run["stack"]) == ("tf-2.21", "small", session.stack)
    assert run["environment"] == {**ENVIRONMENT, "data_digest": coloured().digest}
    assert run["dataset"].digest == coloured().digest
    assert run["pedantic"] == "the timer"


def test_a_file_of_weights_is_part_of_the_environment_by_its_content(
    session: Session, runs: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = tmp_path / "vgg19_notop.h5"
    for content in (b"some", b"other"):
        path.write_bytes(content)
        case = Case("vgg19", data="synthetic", weights="imagenet")
        measure_once(case, 0, session=session._replace(files={"vgg19": path}))
        assert runs[-1]["environment"]["weights_digest"] == file_digest(path)
        assert runs[-1]["file"] == path
    assert len(runs) == 2


def test_a_file_of_weights_is_for_the_cases_that_start_from_it(
    session: Session, runs: list[dict[str, Any]], tmp_path: Path
) -> None:
    case = Case("vgg19", data="synthetic")
    measure_once(case, 0, session=session._replace(files={"vgg19": tmp_path / "none.h5"}))
    assert "weights_digest" not in runs[-1]["environment"]
    assert runs[-1]["file"] is None


def test_a_real_run_gives_what_is_stored(session: Session) -> None:
    case = replace(CASE, question="attack")
    record = measure_once(case, 0, session=session)
    assert record.metrics["perturbation_max"] == pytest.approx(case.epsilon, rel=1e-3)
    assert read_records(session.folder) == [record]


def test_a_step_time_case_without_its_timer_is_refused_and_its_claim_given_back(
    session: Session,
) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^pedantic must be pytest-benchmark's timer"):
            measure_once(STEP_TIME, 0, session=session)
    assert not read_records(session.folder)


# Runs at once


def test_two_runs_at_once_share_one_and_the_second_says_that_it_waits(
    session: Session, runs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    told, running = Telling(), threading.Event()
    monkeypatch.setattr(sys, "__stderr__", told)
    quick = once.run_case

    def slow(case: Case, **arguments: Any) -> Record:
        running.set()
        assert told.written.wait(timeout=60)
        return quick(case, **arguments)

    monkeypatch.setattr(once, "run_case", slow)
    found: list[Record] = []

    def measure() -> None:
        found.append(measure_once(CASE, 0, session=session))

    first, second = threading.Thread(target=measure), threading.Thread(target=measure)
    first.start()
    assert running.wait(timeout=60)
    second.start()
    for thread in (first, second):
        thread.join(timeout=60)
    assert len(runs) == 1
    assert found[0] == found[1]
    assert told.getvalue() == f"waiting for another run to finish .{CASE}-seed0.lock\n"


class Telling(io.StringIO):
    """A stream that tells when something was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def write(self, text: str) -> int:
        self.written.set()
        return super().write(text)


def test_a_claim_is_given_back_even_after_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks: list[FileLock] = []

    def kept(path: Path) -> FileLock:
        locks.append(FileLock(path))
        return locks[-1]

    monkeypatch.setattr(once, "FileLock", kept)
    path = tmp_path / "new" / ".case.lock"
    with pytest.raises(KeyError), claimed(path):
        raise KeyError("planted")
    with claimed(path):
        assert [lock.is_locked for lock in locks] == [False, True]
    assert [lock.is_locked for lock in locks] == [False, False]


def test_a_folder_that_cannot_be_written_is_an_error_that_tells_the_option(
    session: Session, runs: list[dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    blocked = session._replace(records=tmp_path / "file")
    with pytest.raises(RecordError, match=r"file/tf-2.21.* cannot be written: .*--records DIR"):
        measure_once(CASE, 0, session=blocked)
    assert not runs


# A session


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a lock of an environment that is not held against it."""
    path = tmp_path / "tf-2.21.txt"
    path.write_text("numpy==2.4.6\n")
    monkeypatch.setattr(once, "check_environment", lambda *_: None)
    return path


def opened(lock: Path, **changes: Any) -> Session:
    around = {"release": "tf-2.21", "tier": "small", "records": lock.parent / "records"}
    return open_session(**{**around, **changes}, lock=lock)


def test_a_session_describes_what_is_installed_and_where_it_runs(
    stack: Stack, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "")
    variables = dict(os.environ)
    session = opened(lock)
    assert session.folder == lock.parent / "records" / "tf-2.21" / "small"
    assert session.stack is stack
    assert session.environment == describe(stack, lock, variables=variables)
    assert session.environment["variables"]["XLA_FLAGS"] == ""


def test_variables_count_as_they_were_before_the_framework_was_loaded(
    stack: Stack, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TF_X", raising=False)
    monkeypatch.setattr(once, "load", lambda: monkeypatch.setenv("TF_X", "1") or stack)
    assert "TF_X" not in opened(lock).environment["variables"]


def test_nothing_is_loaded_or_stored_where_the_environment_is_not_what_its_labels_say(
    lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(*labels: object) -> None:
        asked.append(labels)
        raise SuiteError("another release")

    monkeypatch.setattr(once, "check_environment", refuse)
    monkeypatch.delattr(once, "load")
    with pytest.raises(SuiteError, match="another release"):
        opened(lock)
    assert asked == [("tf-2.21", "small", lock)]


def test_each_data_set_is_loaded_once(
    lock: Path, noise: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Any] = []
    monkeypatch.setattr(once, "load_synthetic", lambda size_px: loaded.append(size_px) or noise)
    monkeypatch.setattr(
        once, "load_gtsrb", lambda root, size_px: loaded.append((root, size_px)) or noise
    )
    session = opened(lock, gtsrb_root=Path("archives"))
    for name, size_px in (("synthetic", 32), ("gtsrb", 32), ("gtsrb", 64)):
        for _ in range(2):
            assert session.dataset(name, size_px) is noise
    assert loaded == [32, (Path("archives"), 32), (Path("archives"), 64)]


def test_the_full_tier_without_a_gpu_is_refused(
    stack: Stack, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "gpus", list)
    with pytest.raises(SuiteError, match=r"full tier needs a CUDA GPU.*benchmarks\(tf-2.21\)"):
        opened(lock, tier="full")
    assert opened(lock, tier="small").tier == "small"
    assert opened(lock, tier="rehearsal").tier == "rehearsal"


def test_a_run_that_needs_a_gpu_takes_one_before_the_framework_is_loaded(
    stack: Stack, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(once, "lease", lambda: told.append("leased"))
    monkeypatch.setattr(once, "load", lambda: told.append("loaded") or stack)
    for options in ({"tier": "rehearsal"}, {"tier": "small"}):
        opened(lock, **options)
    opened(lock, tier="rehearsal", shares_gpu=True)
    assert told == ["leased", "loaded", "loaded", "loaded"]


def test_a_training_of_hours_is_kept_until_its_record_is_stored(
    session: Session, runs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_once(CASE, 0, session=session)
    large = session._replace(tier="full")
    given: list[Path] = []

    def store(record: Record, _: Path) -> None:
        path = runs[-1]["checkpoint"].path
        path.write_bytes(b"")
        given.append(path)
        assert runs[-1]["checkpoint"].key == record.key

    monkeypatch.setattr(once, "store", store)
    measure_once(CASE, 3, session=large)
    assert [run["checkpoint"] is None for run in runs] == [True, False]
    assert [path.relative_to(large.folder) for path in given] == [Path(f".{CASE}-seed3.checkpoint")]
    assert not given[0].exists()


def test_an_unknown_tier_or_a_missing_lock_is_refused(lock: Path) -> None:
    with pytest.raises(ValueError, match=r"^tier must be .* Received: huge"):
        opened(lock, tier="huge")
    with pytest.raises(RecordError, match=r"none.txt cannot be read"):
        opened(lock.with_name("none.txt"))


# The digest of what measures


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Copy the suite's own sources."""
    return Path(
        shutil.copytree(SUITE, tmp_path / "suite", ignore=shutil.ignore_patterns("__pycache__"))
    )


@pytest.mark.parametrize(
    ("path", "digests"),
    [
        ("stacks/eager.py", {"measures"}),
        ("measure/questions/stall.py", {"measures"}),
        ("networks/fixes.py", {"measures"}),
        ("data/split.py", {"measures"}),
        ("measure/new.py", {"measures"}),
        ("measure/questions/new.py", {"measures"}),
        ("measure/questions/traps.py", {"probes"}),
        ("measure/questions/parity.py", {"probes"}),
        ("measure/constants.py", {"probes"}),
        ("measure/fed.py", {"probes"}),
        ("measure/once.py", set()),
        ("machine.py", set()),
        ("files.py", set()),
        ("libraries.py", set()),
        ("judge/bands.csv", set()),
        ("judge/traps.csv", set()),
        ("judge/traps.py", set()),
        ("diagnose/examine.py", set()),
        ("report/study.py", set()),
        ("commands/compare.py", set()),
        ("records.py", set()),
        ("tables.py", set()),
        ("measure/notes.txt", set()),
    ],
)
def test_an_edit_changes_the_digest_of_the_code_whose_numbers_may_change(
    tree: Path, monkeypatch: pytest.MonkeyPatch, path: str, digests: set[str]
) -> None:
    monkeypatch.setattr(files, "SUITE", tree)
    before = files.measuring_digest(), files.probing_digest()
    with (tree / path).open("a") as file:
        file.write("\n# an edit\n")
    after = files.measuring_digest(), files.probing_digest()
    changed = zip(("measures", "probes"), before, after, strict=True)
    assert {name for name, old, new in changed if old != new} == digests


BESIDE = {
    "cases", "errors", "files", "libraries", "machine", "records", "releases", "store", "tables",
}  # fmt: skip
"""Settings; what reads, writes and states; and what is stored: they decide no number."""


def sources() -> Iterator[Path]:
    """List the sources of what measures."""
    for name in files.MEASURING:
        yield from (SUITE / name).rglob("*.py")


def test_what_measures_imports_nothing_else_of_the_suite_that_decides_a_number() -> None:
    assert len([*sources()]) > 40
    for source in sources():
        assert imported(source) <= {*files.MEASURING} | BESIDE, source


def test_what_trains_attacks_and_times_imports_nothing_of_what_probes() -> None:
    probes = {f"suite/{name}" for name in files.PROBING}
    whole = {*files.PROBING, *files.STATING, "measure/questions/__init__.py"}  # it chooses
    own = [path for path in sources() if path.relative_to(SUITE).as_posix() not in whole]
    assert len(own) > 35
    for source in own:
        assert not probes & {*imports(source)}, source


def test_every_file_that_is_named_apart_is_there() -> None:
    assert all((SUITE / name).is_file() for name in (*files.PROBING, *files.STATING))


def test_the_record_of_a_probe_states_the_digest_of_what_probes(
    session: Session, runs: list[dict[str, Any]]
) -> None:
    probed = replace(CASE, question="traps")
    found = [measure_once(case, 0, session=session).environment for case in (CASE, probed)]
    assert [each.get("probe_digest") for each in found] == [None, files.probing_digest()]
    assert len(runs) == 2


def imports(source: Path) -> Iterator[str]:
    """List the files of the suite that a source imports, or imports a name from."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                yield f"{name.replace('.', '/')}.py"


def imported(source: Path) -> set[str]:
    """List the parts of the suite that a source imports."""
    names = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module]
            if node.module == "suite":
                modules = [f"suite.{alias.name}" for alias in node.names]
            names |= {name.split(".")[1] for name in modules if name.startswith("suite.")}
        elif isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("suite.")}
    return names
