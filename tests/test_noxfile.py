"""Tests of noxfile: what its list shows, which row a session takes, what it asks for first."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import STDOUT
from types import ModuleType
from typing import Any

import nox.registry
import pytest
from nox.command import CommandFailed
from nox.virtualenv import VirtualEnv

ROOT = Path(__file__).parents[1]
SCREEN_LINES = 40  # of a terminal of usual height

Load = Callable[..., ModuleType]


class FakeSession:
    """Notes what is asked of a session of nox."""

    python = None
    venv_backend = "uv"
    virtualenv = None

    def __init__(self, *posargs: str) -> None:
        self.posargs = list(posargs)
        self.installs: list[tuple[str, ...]] = []
        self.runs: list[tuple[str, ...]] = []
        self.environments: list[dict[str, str]] = []
        self.told: list[str] = []
        self.apart = False
        self.patience_s = 0.0

    def log(self, message: str) -> None:
        self.told.append(message)

    def install(self, *arguments: str, env: dict[str, str], include_outer_env: bool) -> None:
        assert not include_outer_env
        self.installs.append(arguments)
        self.environments.append(env)

    def run(
        self,
        *arguments: str,
        env: dict[str, str],
        include_outer_env: bool,
        stderr: object = STDOUT,
        interrupt_timeout: float = 0.3,
        **_: object,
    ) -> None:
        assert not include_outer_env
        self.apart = stderr is None
        self.patience_s = interrupt_timeout
        assert list(Path(env.get("KERAS_HOME", "/nowhere")).glob("*")) == []
        self.runs.append(arguments)
        self.environments.append(env)

    run_install = run


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Load:
    """Return a function that imports noxfile as nox does, where there is neither GPU nor driver."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(nox.registry, "_REGISTRY", {})
    monkeypatch.setenv("PATH", str(tmp_path))

    def loaded(*arguments: str) -> ModuleType:
        monkeypatch.setattr(sys, "argv", ["nox", *arguments])
        spec = importlib.util.spec_from_file_location("noxfile_under_test", ROOT / "noxfile.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(module, "GPU", tmp_path / "nvidia0")
        return module

    return loaded


def listed(*arguments: str) -> str:
    """Return what real nox lists."""
    command = [sys.executable, "-m", "nox", "-l", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_the_list_fits_a_screen_and_only_benchmarks_list_their_rows() -> None:
    lines = listed().splitlines()
    names = [line.split()[1] for line in lines if line.startswith(("* ", "- "))]
    rows = [name.partition("(")[0] for name in names if "(" in name]
    assert len(lines) - len(rows) < SCREEN_LINES  # whatever the release table has
    assert set(rows) == {"benchmarks", "gpu-benchmarks"}
    assert {"study", "stack-tests", "benchmarks(tf-1.14)", "gpu-benchmarks(tf-2.21)"} < set(names)


def test_a_session_takes_the_python_of_the_row_that_is_named_and_a_folder_for_it() -> None:
    options = ("--json", "-s", "study", "stack-tests", "--", "tf-1.14", "-k", "x")
    sessions = {entry["session"]: entry for entry in json.loads(listed(*options))}
    for name in ("stack-tests", "study"):
        assert sessions[f"{name}(tf-1.14)"]["python"] == "3.7"
        assert name not in sessions


def test_a_row_that_is_named_is_taken_and_the_options_go_to_pytest(load: Load) -> None:
    session = FakeSession("tf-2.15", "-k", "nothing")
    load("--", *session.posargs).stack_tests(session)
    assert session.installs[0][-1] == "locks/tf-2.15.txt"
    command = " ".join(session.runs[0])
    assert "tf-2.15" not in command
    assert command.endswith("tests/diagnose/healthy tests/diagnose/reports -k nothing")


@pytest.mark.parametrize("options", [(), ("-k", "nothing")])
def test_without_a_row_the_default_is_taken(load: Load, options: tuple[str, ...]) -> None:
    session = FakeSession(*options)
    module = load("-s", "study", "--", *options) if options else load("-s", "study")
    module.study(session)
    assert session.installs[0][-1] == "locks/tf-2.21.txt"
    wanted = [*("--seeds", "0,1,2,3,4"), *options, *labels("tf-2.21", "study")]
    assert list(session.runs[0][-len(wanted) :]) == wanted


def labels(release: str, tier: str) -> list[str]:
    return ["--release", release, "--lock", f"locks/{release}.txt", "--tier", tier]


def test_the_seeds_of_a_study_can_be_others(load: Load) -> None:
    session = FakeSession("tf-2.0", "--seeds", "7")
    load("--", *session.posargs).study(session)
    seeds = ["--seeds", "0,1,2,3,4", "--seeds", "7"]  # the last one counts
    wanted = [*seeds, *labels("tf-2.0", "study")]
    assert list(session.runs[0][-len(wanted) :]) == wanted


@pytest.mark.parametrize("name", ["study", "stack_tests"])
def test_an_unknown_row_is_an_error_that_names_the_rows(load: Load, name: str) -> None:
    session = FakeSession("tf-9", "-k", "nothing")
    module = load("--", *session.posargs)
    wanted = r"^tf-9 is no row of the release table\. .* tf-2\.15, "
    with pytest.raises(CommandFailed, match=wanted):
        getattr(module, name)(session)
    assert session.installs == []


def test_the_tests_of_a_stack_are_there(load: Load) -> None:
    assert [path for path in load().STACK_TESTS if not (ROOT / path).exists()] == []


def driver(folder: Path, says: str) -> None:
    """Put an `nvidia-smi` that lists these devices on the path."""
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)


@pytest.mark.parametrize("says", [None, "", "No devices found."])
def test_without_a_gpu_nothing_is_installed_for_one(
    load: Load, tmp_path: Path, says: str | None
) -> None:
    session, module = FakeSession(), load()
    if says is not None:
        driver(tmp_path, says)
    wanted = (
        r"^the full tier needs a CUDA GPU: found neither /dev/nvidia0 nor a GPU that "
        r"`nvidia-smi -L` lists\. .* Here, on the CPU, `nox -s rehearsal -- tf-2\.21` tries every "
        r"case of it, and `nox -s \"benchmarks\(tf-2\.21\)\"` runs the small tier$"
    )
    with pytest.raises(CommandFailed, match=wanted):
        module.gpu_benchmarks(session, module.DEFAULT)
    assert session.installs == []


@pytest.mark.parametrize("found", ["device", "driver", "install only"])
def test_with_a_gpu_or_only_to_install_its_packages_are_installed(
    load: Load, tmp_path: Path, found: str
) -> None:
    session = FakeSession()
    module = load(*(["--install-only"] if found == "install only" else []))
    if found == "device":
        module.GPU.touch()
    if found == "driver":
        driver(tmp_path, "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)")
    module.gpu_benchmarks(session, module.DEFAULT)
    assert session.installs[0][-1] == "locks/tf-2.21-gpu.txt"
    assert "--tier full" in " ".join(session.runs[0])


def test_the_keras_that_runs_is_the_rows_whatever_the_user_set(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    module = load()
    for release, backend in (("keras3-jax", "jax"), ("tf-2.21", "tensorflow")):
        session = FakeSession()
        module.benchmark(session, module.ROWS[release], lock=release, tier="small")
        assert session.environments[-1]["KERAS_BACKEND"] == backend
        assert "TF_USE_LEGACY_KERAS" not in session.environments[-1]


# Labels


@pytest.mark.parametrize(
    "given",
    [
        ["--release", "tf-2.15"], ["--release=tf-2.15"], ["-k", "x", "--lock", "other.txt"],
        ["--tier=quickstart"], ["--tier", "small"], ["@options.txt"],
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["quickstart", "benchmarks", "gpu_benchmarks", "study", "matrix"])
def test_another_release_lock_or_tier_than_the_sessions_is_refused_before_anything_is_installed(
    load: Load, given: list[str], name: str
) -> None:
    session, module = FakeSession(*given), load("--install-only")
    row = [module.DEFAULT] if name.endswith("benchmarks") else []
    what = next(option for option in given if option.startswith(("--release", "--l", "--t", "@")))
    told = "is no row" if name == "study" and what[0] == "@" else "is the session's own: .*benchm"
    with pytest.raises(CommandFailed, match=f"^{what} {told}"):
        getattr(module, name)(session, *row)
    assert session.installs == session.runs == []


def test_the_labels_of_the_session_come_last(load: Load) -> None:
    session = FakeSession("-k", "attack")
    load().quickstart(session)
    wanted = ["-k", "attack", *labels("tf-2.21", "quickstart")]
    assert list(session.runs[0][-len(wanted) :]) == wanted


@pytest.mark.parametrize(
    ("name", "apart"),
    [("gate", True), ("bisect", True), ("new_row", True), ("diagnose", True), ("compare", False)],
)
def test_only_the_answer_of_the_gate_is_on_standard_output(
    load: Load, name: str, apart: bool
) -> None:
    session = FakeSession()
    getattr(load(), name)(session)
    assert session.apart == apart


ANSWERING = ["gate", "bisect", "new_row", "diagnose", "cluster"]


def ended_with(session: FakeSession, module: Any, name: str) -> Any:
    """Run a session that answers; give the status that it ends nox with."""
    with pytest.raises(SystemExit) as ended:
        getattr(module, name)(session)
    return ended.value.code


@pytest.mark.parametrize("name", ["gate", "bisect", "new_row"])
@pytest.mark.parametrize("option", ["--release", "--tier=small", "@options.txt"])
def test_a_label_that_is_refused_is_no_answer(
    load: Load, option: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    session = FakeSession(option)
    assert ended_with(session, load(), name) == 2
    said = capsys.readouterr().err
    assert re.match(rf"error: {option.partition('=')[0]}.* is the session's own", said)
    assert session.installs == session.runs == []


@pytest.mark.parametrize("name", ANSWERING)
def test_a_lock_that_is_missing_is_no_answer(
    load: Load,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    session, module = FakeSession(), load()
    monkeypatch.chdir(tmp_path)
    assert ended_with(session, module, name) == 2
    said = capsys.readouterr().err
    assert re.match(r"error: locks/.*\.txt is missing: make it with `nox -s lock", said)
    assert session.runs == []


@pytest.mark.parametrize("name", ANSWERING)
def test_what_cannot_be_installed_answers_nothing(load: Load, name: str) -> None:
    session, module = FakeSession(), load()

    def install(*_: Any, **__: Any) -> None:
        raise CommandFailed("uv failed", return_code=1)

    module.install = install
    assert ended_with(session, module, name) == 2


@pytest.mark.parametrize("name", ANSWERING)
@pytest.mark.parametrize("status", [1, 2, 130])
def test_nox_ends_with_the_status_of_the_gate(load: Load, name: str, status: int) -> None:
    session = FakeSession()

    def run(*_: str, **__: Any) -> None:
        raise CommandFailed("it failed", return_code=status)

    session.run = run  # type: ignore[method-assign]
    assert ended_with(session, load(), name) == status


# What a command sees of the user's environment


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Set variables that would change numbers, or hide tests, and some that a session needs."""
    refused = (
        *("PYTHONPATH", "PYTHONSTARTUP", "PYTHONHASHSEED", "PYTEST_ADDOPTS", "PYTEST_PLUGINS"),
        *("KERAS_HOME", "TF_XLA_FLAGS", "TF_NUM_INTRAOP_THREADS", "ONEDNN_MAX_CPU_ISA"),
        *("XLA_FLAGS", "JAX_ENABLE_X64", "OMP_NUM_THREADS", "MKL_CBWR", "TORCH_X", "LD_PRELOAD"),
        *("GLIBC_TUNABLES", "UV_NO_VERIFY_HASHES", "PIP_TARGET", "SECRET"),
    )
    for name in refused:
        monkeypatch.setenv(name, "the user's")
    needed = {
        name: f"{name} of the user"
        for name in ("HOME", "LANG", "LC_ALL", "SUITE_CACHE", "GTSRB_ROOT", "CUDA_VISIBLE_DEVICES")
    }
    for name, value in needed.items():
        monkeypatch.setenv(name, value)
    return needed


@pytest.mark.parametrize("name", ["tests", "quickstart", "compare", "diagnose", "lint", "matrix"])
def test_a_command_sees_what_is_listed_and_nothing_else_of_the_users(
    load: Load, users: dict[str, str], name: str
) -> None:
    session, module = FakeSession(), load()
    getattr(module, name)(session)
    for environment in session.environments:
        assert {name: environment[name] for name in users} == users
        theirs = [name for name, value in environment.items() if value == "the user's"]
        assert theirs == []


def test_a_command_is_told_where_keras_looks_and_by_whom_it_was_started(
    load: Load, users: dict[str, str]
) -> None:
    del users
    session = FakeSession()
    load().quickstart(session)
    environment = session.environments[-1]
    assert not Path(environment["KERAS_HOME"]).exists()  # it was there, and empty, while it ran
    assert environment["PYTHONNOUSERSITE"] == "1"
    assert environment["SUITE_PARENT"] == str(os.getpid())
    [told] = [line for line in session.told if line.startswith("not passed on: ")]
    assert {"TF_XLA_FLAGS", "PYTEST_ADDOPTS", "PYTHONPATH"} <= set(told[15:].split(", "))


@pytest.mark.parametrize("name", ["quickstart", "gate", "matrix", "bisect"])
def test_a_run_has_time_after_a_ctrl_c_to_tell_what_is_known(load: Load, name: str) -> None:
    session = FakeSession()
    getattr(load(), name)(session)
    assert session.patience_s >= 30


@pytest.mark.parametrize(
    ("name", "seen"), [("matrix", True), ("gate", True), ("quickstart", False)]
)
def test_settings_of_the_registry_are_seen_by_what_installs_alone(
    load: Load, monkeypatch: pytest.MonkeyPatch, name: str, seen: bool
) -> None:
    monkeypatch.setenv("UV_INDEX_URL", "http://127.0.0.1:9")
    session = FakeSession()
    getattr(load(), name)(session)
    installing, running = session.environments
    assert "UV_INDEX_URL" in installing
    assert ("UV_INDEX_URL" in running) == seen


# What is installed


class Installing(FakeSession):
    """A session with an environment, in which a fake installer puts what the lock files list."""

    def __init__(self, folder: Path, *, backend: str = "uv") -> None:
        super().__init__()
        self.virtualenv = object.__new__(VirtualEnv)
        self.virtualenv.location = str(folder)
        self.venv_backend = backend
        self.site = folder / "lib" / "python3.11" / "site-packages"
        self.site.mkdir(parents=True, exist_ok=True)
        (folder / "pyvenv.cfg").write_text("home = /usr/bin\nversion_info = 3.11.7\n")

    def install(self, *arguments: str, env: dict[str, str], include_outer_env: bool) -> None:
        super().install(*arguments, env=env, include_outer_env=include_outer_env)
        for info in self.site.glob("*.dist-info") if "--exact" in arguments else ():
            info.rmdir()
        for file in arguments[arguments.index("-r") + 1 :: 2]:
            for name, version in re.findall(r"(?m)^(\S+)==(\S+)", Path(file).read_text()):
                (self.site / f"{name.replace('-', '_')}-{version}.dist-info").mkdir(exist_ok=True)

    def run_install(self, *arguments: str, env: dict[str, str], include_outer_env: bool) -> None:
        super().run_install(*arguments, env=env, include_outer_env=include_outer_env)
        assert arguments[:5] == ("python", "-m", "pip", "uninstall", "--yes")
        for name in arguments[5:]:
            [info] = self.site.glob(f"{name}-*.dist-info")
            info.rmdir()


@pytest.fixture
def lock(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, Path]:
    """Return noxfile in a folder with one lock, and the lock."""
    module = load()
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "locks" / "one.txt"
    path.parent.mkdir()
    path.write_text("keras==3.15.1 \\\n    --hash=sha256:1\nml-dtypes==0.6.0\n")
    return module, path


def test_nothing_is_installed_where_the_environment_is_its_lock_already(
    lock: tuple[ModuleType, Path], tmp_path: Path
) -> None:
    module, _ = lock
    session = Installing(tmp_path / "env")
    for _ in range(3):
        module.install(session, "one")
    assert len(session.installs) == 1
    assert session.told == ["installed already: one"] * 2


@pytest.mark.parametrize(
    "change", ["hash", "version", "extra", "missing", "other", "python", "two locks", "not there"]
)
def test_what_is_not_its_lock_is_installed(
    lock: tuple[ModuleType, Path], tmp_path: Path, change: str
) -> None:
    module, path = lock
    session, locks = Installing(tmp_path / "env"), ["one"]
    module.install(session, "one")
    keras = session.site / "keras-3.15.1.dist-info"
    if change == "hash":
        path.write_text(path.read_text().replace("sha256:1", "sha256:2"))
    if change == "version":
        keras.rename(session.site / "keras-3.14.0.dist-info")
    if change == "extra":
        (session.site / "torch-2.0.dist-info").mkdir()
    if change == "missing":
        keras.rmdir()
    if change == "other":
        (tmp_path / "env" / module.STAMP).write_text("of another tool")
    if change == "python":
        (tmp_path / "env" / "pyvenv.cfg").write_text("version_info = 3.12.1\n")
    if change == "two locks":
        (path.parent / "two.txt").write_text("mypy==1\n")
        locks.append("two")
    if change == "not there":
        (tmp_path / "env" / module.STAMP).unlink()
    module.install(session, *locks)
    assert len(session.installs) == 2
    assert session.installs[-1][:3] == ("--require-hashes", "--no-deps", "--exact")


def test_virtualenv_removes_what_no_lock_lists_but_pip(
    lock: tuple[ModuleType, Path], tmp_path: Path
) -> None:
    module, _ = lock
    session = Installing(tmp_path / "env", backend="virtualenv")
    for name in ("pip-26.0", "setuptools-80.0", "torch-2.0"):
        (session.site / f"{name}.dist-info").mkdir()
    for _ in range(2):
        module.install(session, "one")
    assert [path.stem for path in sorted(session.site.iterdir())] == [
        "keras-3.15.1", "ml_dtypes-0.6.0", "pip-26.0",
    ]  # fmt: skip
    assert session.runs == [("python", "-m", "pip", "uninstall", "--yes", "setuptools", "torch")]
    assert [options[:2] for options in session.installs] == [("--require-hashes", "--no-deps")]
    assert "--exact" not in session.installs[0]


def test_what_virtualenv_put_beside_the_packages_is_removed(
    lock: tuple[ModuleType, Path], tmp_path: Path
) -> None:
    module, _ = lock
    session = Installing(tmp_path / "env")
    theirs = ("_virtualenv.py", "_virtualenv.pth", "__pycache__/_virtualenv.cpython-37.pyc")
    for name in (*theirs, "pip-26.3.virtualenv"):
        (session.site / name).parent.mkdir(exist_ok=True)
        (session.site / name).write_text("")
    module.install(session, "one")
    assert not list(session.site.rglob("*virtualenv*"))


def test_an_environment_that_nox_was_told_not_to_install_into_is_not_taken_for_its_lock(
    lock: tuple[ModuleType, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, _ = lock
    session = Installing(tmp_path / "env")
    monkeypatch.setattr(Installing, "install", FakeSession.install)  # as `nox --no-install`
    module.install(session, "one")
    assert not (tmp_path / "env" / module.STAMP).exists()


def test_uv_is_installed_by_the_hashes_of_the_tools_lock(load: Load, tmp_path: Path) -> None:
    module, session = load(), Installing(tmp_path / "env")
    installed: list[str] = []
    real = session.install

    def install(*arguments: str, **options: Any) -> None:
        installed.append(Path(arguments[-1]).read_text())
        real(*arguments, **options)

    session.install = install
    for _ in range(2):
        module.lock(session)
    [text] = installed
    assert re.fullmatch(r"uv==\S+ \\\n(    --hash=sha256:\w{64}( \\)?\n)+", text)
    assert session.installs[0][:3] == ("--require-hashes", "--no-deps", "--exact")


def test_the_tools_are_pinned_with_nox_and_uv() -> None:
    text = (ROOT / "locks" / "tools.txt").read_text()
    for name in ("nox", "uv"):
        assert re.search(rf"(?m)^{name}==\S+ \\\n    --hash=sha256:", text)
