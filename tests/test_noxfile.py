"""Tests of noxfile: what its list shows, which row a session takes, what it asks for first."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import nox.registry
import pytest

ROOT = Path(__file__).parents[1]
SCREEN_LINES = 50

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

    def error(self, message: str) -> NoReturn:
        raise RuntimeError(message)

    def install(self, *arguments: str, **_: Any) -> None:
        self.installs.append(arguments)

    def run(self, *arguments: str, **_: Any) -> None:
        self.runs.append(arguments)


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
    assert len(lines) < SCREEN_LINES
    names = [line.split()[1] for line in lines if line.startswith(("* ", "- "))]
    rows = {name.partition("(")[0] for name in names if "(" in name}
    assert rows == {"benchmarks", "gpu-benchmarks"}
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
    assert command.endswith("tests/diagnose/test_loading.py -k nothing")


@pytest.mark.parametrize("options", [(), ("-k", "nothing")])
def test_without_a_row_the_default_is_taken(load: Load, options: tuple[str, ...]) -> None:
    session = FakeSession(*options)
    module = load("-s", "study", "--", *options) if options else load("-s", "study")
    module.study(session)
    assert session.installs[0][-1] == "locks/tf-2.21.txt"
    row = "--release tf-2.21 --lock locks/tf-2.21.txt --tier study --seeds 0,1,2,3,4"
    assert " ".join(session.runs[0]).endswith(" ".join([row, *options]))


def test_the_seeds_of_a_study_can_be_others(load: Load) -> None:
    session = FakeSession("tf-2.0", "--seeds", "7")
    load("--", *session.posargs).study(session)
    assert " ".join(session.runs[0]).endswith("--seeds 0,1,2,3,4 --seeds 7")  # the last one counts


@pytest.mark.parametrize("name", ["study", "stack_tests"])
def test_an_unknown_row_is_an_error_that_names_the_rows(load: Load, name: str) -> None:
    session = FakeSession("tf-9", "-k", "nothing")
    module = load("--", *session.posargs)
    with pytest.raises(RuntimeError, match=r"^tf-9 is no row of the release table\. .* tf-2\.15, "):
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
        r"`nvidia-smi -L` lists\. .* `nox -s \"benchmarks\(tf-2\.21\)\"` here, on the CPU$"
    )
    with pytest.raises(RuntimeError, match=wanted):
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


def test_the_keras_that_runs_is_the_rows_whatever_the_user_set(load: Load) -> None:
    module = load()
    environment = module.install_release(FakeSession(), module.ROWS["keras3-jax"], "keras3-jax")
    assert environment["KERAS_BACKEND"] == "jax"
    environment = module.install_release(FakeSession(), module.DEFAULT, "tf-2.21")
    assert environment["KERAS_BACKEND"] == "tensorflow"
    assert environment["TF_USE_LEGACY_KERAS"] is None
