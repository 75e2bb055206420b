"""Tests of suite.locks: a lock is fresh, or it is told what is wrong with it and what to do."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from suite import locks
from suite.commands.lock import chosen_locks
from suite.errors import ReleaseError
from suite.files import file_digest
from suite.libraries import read_pins
from suite.locks import (
    Lock,
    fault,
    find_links,
    inputs,
    lock_digest,
    one_line,
    resolved,
    staleness,
)
from suite.releases import Release, read_releases

ROOT = Path(__file__).parents[1]
PROJECT = """
[project]
dependencies = ["numpy"]
[tool.uv]
"""
CORES = ("nvidia-cublas", "nvidia-cuda-runtime", "nvidia-cuda-nvrtc", "nvidia-cuda-cupti")
SHARED = {
    "nvidia-cublas", "nvidia-cuda-cupti", "nvidia-cuda-nvrtc", "nvidia-cuda-runtime",
    "nvidia-cudnn", "nvidia-cufft", "nvidia-cusolver", "nvidia-cusparse", "nvidia-nccl",
    "nvidia-nvjitlink",
}  # fmt: skip
LOADED = {  # ptxas is nvcc's; torch brings its own, by triton
    "tensorflow": SHARED | {"nvidia-curand", "nvidia-cuda-nvcc"},
    "jax": SHARED | {"nvidia-cuda-nvcc", "jax-cuda13-plugin", "jax-cuda13-pjrt"},
    "torch": SHARED | {"nvidia-curand", "triton"},
}
"""The packages whose libraries each framework loads on a GPU."""

GPU_ROWS = [
    row for row in read_releases(ROOT / "pyproject.toml", table="gpu-releases") if not row.unpinned
]
ONE = Lock("one", "3.11", ("keras==1",))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the working directory hold a project without locks."""
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text(PROJECT)
    Path("locks").mkdir()


def test_the_committed_locks_are_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert list(filter(None, map(staleness, chosen_locks([])))) == []


def cuda_generations(pins: Mapping[str, str]) -> set[str]:
    """Read the generations of CUDA that packages are for, off their names or their versions."""
    named = {mark for name in pins for mark in re.findall(r"(?:cu|cuda)(\d{2})(?!\d)", name)}
    cores = [name for name in CORES if name in pins]  # from CUDA 13 on they have no suffix
    return named | {pins[name].partition(".")[0] for name in cores}


def unsuffixed(name: str) -> str:
    """Name a package of CUDA without its generation."""
    return re.sub(r"-cu\d+$", "", name)


@pytest.mark.parametrize("row", GPU_ROWS, ids=str)
def test_a_lock_with_cuda_is_of_one_generation_and_has_all_that_its_framework_loads(
    row: Release,
) -> None:
    pins = read_pins(ROOT / "locks" / f"{row.lock}.txt")
    assert len(cuda_generations(pins)) == 1
    framework = next(name for name in LOADED if name in pins)
    assert LOADED[framework] <= {unsuffixed(name) for name in pins}
    assert "nvidia-ml-py" in pins, "whose absence would leave utilisation and power unrecorded"


@pytest.mark.parametrize("row", GPU_ROWS, ids=str)
def test_a_lock_with_cuda_has_the_versions_of_its_row_on_the_cpu(row: Release) -> None:
    mine, theirs = (read_pins(ROOT / "locks" / f"{name}.txt") for name in (row.lock, row.name))
    builds = {"tensorflow": "tensorflow-cpu"}
    names = ("tensorflow", "jax", "torch", "keras", "cleverhans", "numpy", "h5py")
    found = {name: theirs.get(builds.get(name, name)) for name in names}
    there = {name: version for name, version in found.items() if version}
    assert {"keras", "numpy"} < set(there)
    assert set(there) & {"tensorflow", "jax", "torch"}
    assert {name: mine.get(name) for name in there} == {
        name: version.partition("+")[0] for name, version in there.items()
    }


def test_two_generations_of_cuda_are_told_from_one() -> None:
    assert cuda_generations({"nvidia-cublas-cu12": "12.9", "nvidia-nccl-cu12": "2.3"}) == {"12"}
    assert cuda_generations({"nvidia-cuda-runtime": "13.0", "nvidia-nccl-cu13": "2.3"}) == {"13"}
    assert cuda_generations({"nvidia-cublas": "13.1", "nvidia-nccl-cu12": "2.3"}) == {"12", "13"}
    assert cuda_generations({"jax-cuda13-plugin": "0.9", "nvidia-cudnn-cu12": "9"}) == {"12", "13"}


@pytest.mark.usefixtures("project")
def test_a_lock_that_nothing_fits_is_told_from_one_that_was_not_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: Lock) -> str:
        raise ReleaseError("one cannot be resolved: no version of keras==1")

    monkeypatch.setattr(locks, "resolved", refuse)
    monkeypatch.setattr("shutil.which", lambda _: "/bin/uv")
    text = "locks/one.txt is missing; one cannot be resolved: no version of keras==1"
    assert fault(ONE) == (text, True)
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert fault(ONE) == (f"locks/one.txt is missing; {locks.NO_UV}", False)


@pytest.mark.usefixtures("project")
def test_a_lock_that_would_change_tells_how_and_names_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = ONE._replace(name="one-gpu")
    gpu.path.write_text("keras==1\n")
    monkeypatch.setattr("shutil.which", lambda _: "/bin/uv")
    monkeypatch.setattr(locks, "resolved", lambda _: "keras==2\nnumpy==1\n")
    found = fault(gpu)
    assert found is not None
    assert not found.unresolvable
    assert found.text == (
        "locks/one-gpu.txt has no header of `nox -s lock`; would change keras 1 -> 2, "
        "numpy absent -> 1. Run `nox -s lock -- one`"
    )


@pytest.mark.usefixtures("project")
def test_the_digest_of_a_lock_is_that_of_a_fresh_one() -> None:
    row = Release("one", "3.11", ("keras==1",), "to test")
    assert lock_digest(row) == ""
    body = "keras==1\n"
    head = [
        f"# {word} {hashlib.sha256(text.encode()).hexdigest()}\n"
        for word, text in (("inputs", inputs(ONE)), ("content", body))
    ]
    ONE.path.write_text("".join([*head, body]))
    assert lock_digest(row) == file_digest(ONE.path)
    assert lock_digest(replace(row, pins=("keras==2",))) == ""


@pytest.mark.usefixtures("project")
def test_the_lock_of_an_unpinned_row_is_never_stale() -> None:
    row = Release("one", "3.11", ("keras",), "to test", unpinned=True)
    assert lock_digest(row) == ""
    ONE.path.write_text("resolved yesterday")
    assert lock_digest(row) == file_digest(ONE.path)


@pytest.mark.usefixtures("project")
def test_without_uv_no_lock_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "nowhere")
    with pytest.raises(ReleaseError, match="uv is missing"):
        resolved(ONE)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("error: a\n  b.\n", "a b"),
        ("  \u00d7 No solution\n  \u2570\u2500 Because", "No solution Because"),
        ("", ""),
    ],
)
def test_a_message_is_put_on_one_line(message: str, expected: str) -> None:
    assert one_line(message) == expected


@pytest.mark.parametrize(
    ("row", "environment", "expected"),
    [
        ("", {"PIP_FIND_LINKS": "/wheels"}, {}),
        ("https://a", {}, {"UV_FIND_LINKS": "https://a"}),
        ("https://a", {"PIP_FIND_LINKS": "/wheels"}, {"UV_FIND_LINKS": "/wheels"}),
        ("https://a", {"PIP_FIND_LINKS": "/w", "UV_FIND_LINKS": "/v"}, {"UV_FIND_LINKS": "/v"}),
    ],
)
def test_wheels_of_this_machine_go_before_the_rows(
    row: str, environment: dict[str, str], expected: dict[str, str]
) -> None:
    assert find_links(row, environment) == expected
