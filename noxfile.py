"""The sessions: every job of the project in one environment each; `nox -l` lists them."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path
from typing import Any

import nox
from nox.virtualenv import VirtualEnv

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = True
nox.options.reuse_venv = "yes"
nox.options.sessions = ["tests", "lint"]

PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
PATHS = [os.environ["PATH"], *map(str, sorted(PYENV.glob("3.*/bin")))]
os.environ["PATH"] = os.pathsep.join(PATHS)  # pyenv's shims hide the Pythons that are not active

SETTINGS = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["suite"]
for row in (*SETTINGS["releases"], *SETTINGS["gpu-releases"]):
    for field in ("name", "python", "pins", "reason"):
        if field not in row:
            sys.exit(f"pyproject.toml: {row.get('name', 'a release')} has no {field}. Add it.")
RELEASES = [nox.param(row, row["python"], id=row["name"]) for row in SETTINGS["releases"]]
GPU_RELEASES = [nox.param(row, row["python"], id=row["name"]) for row in SETTINGS["gpu-releases"]]
DEFAULT = next(row for row in SETTINGS["releases"] if row["name"] == SETTINGS["default"])
ENVIRONMENT = {  # the Keras that runs is the row's choice, not the user's
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "PYTHONWARNINGS": "default",
    "KERAS_BACKEND": "tensorflow",
    "TF_USE_LEGACY_KERAS": None,
}
STACK_TESTS = [
    "tests/stacks",
    "tests/test_diagnosis.py",
    "tests/test_fixes.py",
    "tests/examination/test_loading.py",
]

Row = dict[str, Any]


def install(session: nox.Session, *locks: str, find_links: str = "") -> None:
    """Install exactly what the lock files list, byte code compiled (imports take a third)."""
    missing = [lock for lock in locks if not Path("locks", f"{lock}.txt").exists()]
    if missing:
        session.error(f"locks/{missing[0]}.txt is missing: make it with `nox -s lock -- NAME`")
    files = [argument for lock in locks for argument in ("-r", f"locks/{lock}.txt")]
    env = {"UV_COMPILE_BYTECODE": "1"}
    if find_links:  # wheels that PyPI does not have: where this machine keeps its own goes first
        own = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS")
        env["UV_FIND_LINKS"] = own or find_links
    exact = ["--exact"] if session.venv_backend == "uv" else []  # removes what no lock lists
    session.install("--require-hashes", "--no-deps", *exact, *files, env=env)


def renew_if_python_changed(session: nox.Session) -> None:
    """Make the environment anew if it is of another Python: nox would reuse it all the same."""
    place = session.virtualenv
    if session.python and isinstance(place, VirtualEnv):
        settings = Path(place.location, "pyvenv.cfg").read_text()
        if f"version_info = {session.python}." not in settings:
            place.reuse_existing = False
            place.create()


def install_release(session: nox.Session, row: Row, lock: str) -> dict[str, Any]:
    """Install one row of the release table and return the environment variables it runs with."""
    renew_if_python_changed(session)
    if row.get("unpinned"):  # resolved anew each time; its lock is not committed
        session.install("uv")
        session.run_install("python", "-m", "suite", "lock", "--upgrade", row["name"])
    install(session, lock, find_links=row.get("find-links", ""))
    return {**ENVIRONMENT, **row.get("env", {})}


def benchmark(session: nox.Session, row: Row, *more: str, lock: str, tier: str) -> None:
    """Run the benchmarks of one tier in the environment of one release, whatever it warns of."""
    environment = install_release(session, row, lock)
    arguments = ["--release", row["name"], "--lock", f"locks/{lock}.txt", "--tier", tier, *more]
    options = ["-W", "default", "benchmarks", *arguments, *session.posargs]
    session.run("python", "-m", "pytest", *options, env=environment)


@nox.session
def tests(session: nox.Session) -> None:
    """Test the suite itself (minutes; no data set needed)."""
    install(session, DEFAULT["name"], "tools")
    session.run("python", "-m", "pytest", *session.posargs, env=ENVIRONMENT)


@nox.session(name="stack-tests")
@nox.parametrize(["row", "python"], RELEASES)
def stack_tests(session: nox.Session, row: Row) -> None:
    """Test in the environment of one release what works through its framework (a minute)."""
    environment = install_release(session, row, row["name"])
    options = ["-W", "default", *STACK_TESTS, *session.posargs]
    session.run("python", "-m", "pytest", *options, env=environment)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types and the import contracts."""
    install(session, "tools")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports")


@nox.session
def quickstart(session: nox.Session) -> None:
    """Try the whole flow on synthetic signs (at most 10 minutes, no download but packages)."""
    benchmark(session, DEFAULT, lock=DEFAULT["name"], tier="quickstart")


@nox.session
@nox.parametrize(["row", "python"], RELEASES)
def benchmarks(session: nox.Session, row: Row) -> None:
    """Run the small tier on real GTSRB on the CPU (at most 25 minutes a release)."""
    benchmark(session, row, lock=row["name"], tier="small")


@nox.session(name="gpu-benchmarks")
@nox.parametrize(["row", "python"], GPU_RELEASES)
def gpu_benchmarks(session: nox.Session, row: Row) -> None:
    """Run the full tier at the published sizes on a CUDA GPU (hours)."""
    benchmark(session, row, lock=f"{row['name']}-gpu", tier="full")


@nox.session
@nox.parametrize(["row", "python"], RELEASES)
def study(session: nox.Session, row: Row) -> None:
    """Measure every fix and what the stall depends on, five seeds, on the CPU (hours)."""
    benchmark(session, row, "--seeds", "0,1,2,3,4", lock=row["name"], tier="study")


@nox.session(name="fix-table")
def fix_table(session: nox.Session) -> None:
    """Write the table of the fixes, its plot and the claims into the README, from records."""
    install(session, "tools")
    session.run("python", "-m", "suite", "study", *session.posargs)


@nox.session
def diagnose(session: nox.Session) -> None:
    """Tell why a network does not train, and what to do: -- MODEL --data DIR."""
    install(session, DEFAULT["name"], "tools")
    session.run("python", "-m", "suite", "diagnose", *session.posargs, env=ENVIRONMENT)


@nox.session
def matrix(session: nox.Session) -> None:
    """Run the small tier on all releases, or -- --rows A,B, --jobs N at once; print one table."""
    install(session, "tools")
    session.run("python", "-m", "suite", "matrix", *session.posargs)


@nox.session
def compare(session: nox.Session) -> None:
    """Compare the records with the stored baselines; fails on a regression."""
    install(session, "tools")
    session.run("python", "-m", "suite", "compare", *session.posargs)


@nox.session
def parity(session: nox.Session) -> None:
    """Compare the first steps of every release that has records with the default row's."""
    install(session, "tools")
    session.run("python", "-m", "suite", "parity", *session.posargs)


@nox.session
def rebaseline(session: nox.Session) -> None:
    """Make the records of one release and tier its baseline: -- --release R --tier T."""
    install(session, "tools")
    session.run("python", "-m", "suite", "rebaseline", *session.posargs)


@nox.session
def data(session: nox.Session) -> None:
    """Download GTSRB's official archives into the cache and verify them."""
    install(session, "tools")
    session.run("python", "-m", "suite", "data", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Resolve the release table, or -- NAME alone, into locks/*.txt; -- --check for stale ones."""
    session.install("uv")
    session.run("python", "-m", "suite", "lock", *session.posargs)
