"""Tests of suite.measure.environment: labels that are true, and what is stated in a record."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from suite.errors import SuiteError
from suite.files import file_digest, measuring_digest
from suite.libraries import library_digest
from suite.measure import environment
from suite.measure.environment import (
    check_environment,
    check_labels,
    check_origins,
    decisive_variables,
    describe,
    libraries_here,
)
from suite.records import record_key
from suite.stacks.protocol import Stack

LOCK = Path("locks", "tf-2.21.txt")


# Labels


@pytest.fixture
def python_311(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 11, 0))


@pytest.mark.usefixtures("python_311")
@pytest.mark.parametrize(
    ("release", "tier", "lock"),
    [
        ("tf-2.21", "small", "locks/tf-2.21.txt"),
        ("tf-2.21", "full", "/other/place/tf-2.21-gpu.txt"),
        ("keras3-jax", "study", "keras3-jax.txt"),
        ("tf-2.20", "quickstart", "tf-2.20.txt"),  # it is measured with Python 3.13
        ("tf-2.21", "full-rehearsal", "locks/tf-2.21.txt"),
        ("tf-2.21", "full-rehearsal", "locks/tf-2.21-gpu.txt"),
    ],
)
def test_labels_that_belong_together_are_accepted(release: str, tier: str, lock: str) -> None:
    check_labels(release, tier, Path(lock))


@pytest.mark.usefixtures("python_311")
@pytest.mark.parametrize(
    ("release", "tier", "lock", "told"),
    [
        ("tf-2.15", "small", "locks/tf-2.21.txt", "locks/tf-2.21.txt is not the lock of tf-2.15"),
        ("tf-2.21", "small", "tf-2.21-gpu.txt", "in the small tier, expected tf-2.21.txt. "),
        ("tf-2.21", "full", "tf-2.21.txt", "in the full tier, expected tf-2.21-gpu.txt. "),
        ("tf-2.20", "full-rehearsal", "tf-2.20-gpu.txt", "tf-2.20 is no row of gpu-releases in"),
        ("tf-9", "small", "locks/tf-9.txt", "--release tf-9 is no row of releases in the release"),
        ("tf-2.20", "full", "tf-2.20-gpu.txt", "--release tf-2.20 is no row of gpu-releases in"),
        ("tf-2.20", "small", "tf-2.20.txt", "this is Python 3.11, expected 3.13, which tf-2.20 is"),
    ],
)
def test_labels_of_two_releases_are_refused(release: str, tier: str, lock: str, told: str) -> None:
    with pytest.raises(SuiteError, match=re.escape(told)):
        check_labels(release, tier, Path(lock))


@pytest.mark.parametrize(
    ("check", "arguments"),
    [
        ("check_labels", ("tf-2.21", "small", LOCK)),
        ("check_versions", (libraries_here(), LOCK)),
        ("check_files", (libraries_here(),)),
        ("check_origins", (libraries_here(),)),
    ],
)
def test_an_environment_is_held_against_its_labels_its_lock_and_its_files(
    check: str, arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, tuple[Any, ...]] = {}
    for name in ("check_labels", "check_versions", "check_files", "check_origins"):
        monkeypatch.setattr(environment, name, lambda *given, of=name: asked.update({of: given}))
    check_environment("tf-2.21", "small", LOCK)
    assert asked[check] == arguments


# Where modules come from


def test_the_modules_of_this_environment_are_its_own() -> None:
    code = "from suite.measure.environment import *; check_origins(libraries_here())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "path",
    ["cleverhans/__init__.py", "h5py.py", "sitecustomize.py", "usercustomize.py", "google/evil.py"],
)
def test_what_would_be_imported_from_elsewhere_is_named_before_it_is(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text("raise SystemExit('it was imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    name = path.partition("/")[0].partition(".")[0]
    for loaded in [one for one in sys.modules if one.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, loaded)
    with pytest.raises(SuiteError, match=rf"imports {name} from {tmp_path}/{name}.*PYTHONPATH"):
        check_origins(libraries_here())


@pytest.mark.parametrize("name", ["keras", "planted"])
def test_a_module_that_was_loaded_from_elsewhere_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType(name)
    module.__file__ = str(tmp_path / f"{name}.py")
    monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(SuiteError, match=f"imports {name} from {tmp_path}/{name}.py"):
        check_origins(libraries_here())


def test_a_library_of_the_python_below_the_environment_is_no_part_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = ModuleType("planted")
    module.__file__ = f"{sysconfig.get_paths()['stdlib']}/site-packages/planted.py"
    monkeypatch.setitem(sys.modules, "planted", module)
    with pytest.raises(SuiteError, match="imports planted from"):
        check_origins(libraries_here())


# What is stated


@pytest.mark.parametrize(
    "name",
    [
        "TF_XLA_FLAGS", "TF_NUM_INTRAOP_THREADS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA",
        "MKL_CBWR", "OMP_NUM_THREADS", "OPENBLAS_CORETYPE", "CUDA_LAUNCH_BLOCKING",
        "JAX_ENABLE_X64",
        "XLA_FLAGS", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "NVIDIA_TF32_OVERRIDE", "KERAS_BACKEND",
        "GLIBC_TUNABLES", "LD_PRELOAD", "TF_ENABLE_ONEDNN_OPTS", "TF2_BEHAVIOR", "KERAS_MAX_EPOCHS",
    ],
)  # fmt: skip
def test_a_variable_that_may_decide_a_number_is_stated(name: str) -> None:
    assert decisive_variables({name: "1", "HOME": "/root"}) == {name: "1"}


def test_variables_that_decide_nothing_or_are_secrets_of_others_are_not_stated() -> None:
    names = [
        "TF_CPP_MIN_LOG_LEVEL",
        "KERAS_HOME",
        "CUDA_VISIBLE_DEVICES",
        "TF_VAR_password",
        "TF_TOKEN_app",
        "PATH",
        "omp_x",
    ]
    assert decisive_variables(dict.fromkeys(names, "1")) == {}


def test_an_environment_is_described_by_all_that_decides_a_number(stack: Stack) -> None:
    found = describe(stack, LOCK, variables={"XLA_FLAGS": "", "TERM": "xterm"})
    machine = found.pop("machine")
    assert machine["fingerprint"]
    assert found == {
        "stack": "eager",
        "variables": {"XLA_FLAGS": ""},
        "keras": {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"},
        "threads": {"intra_op": 0, "inter_op": 0},
        "instructions": environment.machine.instructions(),
        "versions": stack.versions(),
        "lock_digest": file_digest(LOCK),
        "code_digest": measuring_digest(),
        "library_digest": library_digest(libraries_here()),
        "started_with": {},
    }


@pytest.mark.parametrize(
    ("name", "value"), [("floatx", "float64"), ("epsilon", 1e-3), ("image_data_format", "other")]
)
def test_another_setting_of_keras_is_another_key(
    stack: Stack, name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [record_key({}, described(stack))]
    monkeypatch.setattr(stack.keras.backend, name, lambda: value)
    keys.append(record_key({}, described(stack)))
    assert keys[0] != keys[1]


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [
        (environment.machine, "instructions", lambda: "avx"),
        (environment, "library_digest", lambda _: "sha256:1"),
        (environment, "started_with", lambda: {"sitecustomize": "sha256:1"}),
    ],
)
def test_other_instructions_libraries_or_a_module_at_the_start_are_another_key(
    stack: Stack, owner: object, name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [record_key({}, described(stack))]
    monkeypatch.setattr(owner, name, value)
    keys.append(record_key({}, described(stack)))
    assert keys[0] != keys[1]


def test_other_threads_or_variables_are_another_key(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {record_key({}, described(stack)), record_key({}, described(stack, TF_X="1"))}
    monkeypatch.setattr(stack, "threads", lambda: {"intra_op": 1})
    assert len({*keys, record_key({}, described(stack))}) == 3


def described(stack: Stack, **variables: str) -> dict[str, Any]:
    return describe(stack, LOCK, variables=variables)


def test_what_python_starts_with_is_stated_by_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sitecustomize.py"
    path.write_text("pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert environment.started_with() == {"sitecustomize": file_digest(path)}
