"""The sessions, one for each job. ROW is a release, such as tf-2.15; without it, the default."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
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
for entry in (*SETTINGS["releases"], *SETTINGS["gpu-releases"]):
    for field in ("name", "python", "pins", "reason"):
        if field not in entry:
            sys.exit(f"pyproject.toml: {entry.get('name', 'a release')} has no {field}. Add it.")
RELEASES = [nox.param(row, row["python"], id=row["name"]) for row in SETTINGS["releases"]]
GPU_RELEASES = [nox.param(row, row["python"], id=row["name"]) for row in SETTINGS["gpu-releases"]]
ROWS = {row["name"]: row for row in SETTINGS["releases"]}
DEFAULT = ROWS[SETTINGS["default"]]
GIVEN = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
ROW = (
    ROWS.get(GIVEN[0], DEFAULT) if GIVEN else DEFAULT
)  # a session's Python is fixed when it is made
ENVIRONMENT = {  # the Keras that runs is the row's choice, not the user's
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "PYTHONWARNINGS": "default",
    "KERAS_BACKEND": "tensorflow",
    "TF_USE_LEGACY_KERAS": None,
}
STACK_TESTS = [
    "tests/stacks",
    "tests/networks/test_fixes.py",
    "tests/measure/test_statistics.py",
    "tests/measure/test_phases_seen.py",
    "tests/diagnose/test_loading.py",
]
GPU = Path("/dev/nvidia0")
NO_GPU = (
    f"the full tier needs a CUDA GPU: found neither {GPU} nor a GPU that `nvidia-smi -L` lists. "
    'Run it where there is one, or `nox -s "benchmarks({})"` here, on the CPU'
)

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
    """Install one row of the release table; give the environment variables that it runs with."""
    renew_if_python_changed(session)
    if row.get("unpinned"):  # resolved anew each time; its lock is not committed
        session.install("uv")
        session.run_install("python", "-m", "suite", "lock", "--upgrade", row["name"])
    install(session, lock, find_links=row.get("find-links", ""))
    return {**ENVIRONMENT, **row.get("env", {})}


def run_pytest(session: nox.Session, *arguments: str, env: dict[str, Any]) -> None:
    """Run pytest; what another release's framework warns of is no error."""
    session.run("python", "-m", "pytest", "-W", "default", *arguments, env=env)


def benchmark(session: nox.Session, row: Row, *more: str, lock: str, tier: str) -> None:
    """Run the benchmarks of one tier in the environment of one release."""
    env = install_release(session, row, lock)
    options = ("--release", row["name"], "--lock", f"locks/{lock}.txt", "--tier", tier)
    run_pytest(session, "benchmarks", *options, *more, env=env)


def for_one_row(function: Callable[..., None]) -> Callable[..., None]:
    """Make the row that is named a session's parameter, so that it gets a folder of its own.

    The default row is none, so that `nox -l` lists such a session once, by its bare name.
    """
    named = [nox.param(ROW, id=ROW["name"])]
    return function if ROW is DEFAULT else nox.parametrize("row", named)(function)


def options_after_row(session: nox.Session) -> list[str]:
    """Give pytest's options without the row before them; refuse what is neither."""
    given = session.posargs
    if not given or given[0].startswith("-"):
        return given
    if given[0] not in ROWS:
        rows = ", ".join(ROWS)
        session.error(f"{given[0]} is no row of the release table. Name one first, of {rows}")
    return given[1:]


def require_gpu(session: nox.Session, row: Row) -> None:
    """Stop before gigabytes are installed that nothing here can run; `--install-only` may go on."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False).stdout  # noqa: S607 - of the driver
    except OSError:
        listed = b""
    if not (listed.startswith(b"GPU ") or GPU.exists() or "--install-only" in sys.argv):
        session.error(NO_GPU.format(row["name"]))


@nox.session
def tests(session: nox.Session) -> None:
    """Test the suite itself (minutes; no data set needed)."""
    install(session, DEFAULT["name"], "tools")
    session.run("python", "-m", "pytest", *session.posargs, env=ENVIRONMENT)


@nox.session(name="stack-tests", python=ROW["python"])
@for_one_row
def stack_tests(session: nox.Session, row: Row = ROW) -> None:
    """Test what works through one release's framework (a minute): -- ROW [OPTIONS]."""
    options = options_after_row(session)
    env = install_release(session, row, row["name"])
    run_pytest(session, *STACK_TESTS, *options, env=env)


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
    """Try everything on synthetic signs (at most 10 minutes; no data set needed)."""
    benchmark(session, DEFAULT, *session.posargs, lock=DEFAULT["name"], tier="quickstart")


@nox.session
@nox.parametrize(["row", "python"], RELEASES)
def benchmarks(session: nox.Session, row: Row) -> None:
    """Run the small tier on GTSRB on the CPU (at most 25 minutes)."""
    benchmark(session, row, *session.posargs, lock=row["name"], tier="small")


@nox.session(name="gpu-benchmarks")
@nox.parametrize(["row", "python"], GPU_RELEASES)
def gpu_benchmarks(session: nox.Session, row: Row) -> None:
    """Run the full tier at the published sizes on a CUDA GPU (hours)."""
    require_gpu(session, row)
    benchmark(session, row, *session.posargs, lock=f"{row['name']}-gpu", tier="full")


@nox.session(python=ROW["python"])
@for_one_row
def study(session: nox.Session, row: Row = ROW) -> None:
    """Measure every fix with five seeds on the CPU (hours): -- ROW [OPTIONS]."""
    options = ["--seeds", "0,1,2,3,4", *options_after_row(session)]
    benchmark(session, row, *options, lock=row["name"], tier="study")


@nox.session
def matrix(session: nox.Session) -> None:
    """Run the small tier on every release: -- [--rows A,B] [--jobs N] [OPTIONS]."""
    install(session, "tools")
    session.run("python", "-m", "suite", "matrix", *session.posargs)


@nox.session
def compare(session: nox.Session) -> None:
    """Compare the records with the stored baselines; fail on a regression."""
    install(session, "tools")
    session.run("python", "-m", "suite", "compare", *session.posargs)


@nox.session
def parity(session: nox.Session) -> None:
    """Compare the first training steps of the releases that have records."""
    install(session, "tools")
    session.run("python", "-m", "suite", "parity", *session.posargs)


@nox.session(name="fix-table")
def fix_table(session: nox.Session) -> None:
    """Compare the fixes and judge the published claims, from records."""
    install(session, "tools")
    session.run("python", "-m", "suite", "study", *session.posargs)


@nox.session
def results(session: nox.Session) -> None:
    """Show what every network reaches, from stored records."""
    install(session, "tools")
    session.run("python", "-m", "suite", "results", *session.posargs)


@nox.session
def diagnose(session: nox.Session) -> None:
    """Find out why a network of your own does not train: -- MODEL --data DIR."""
    install(session, DEFAULT["name"], "tools")
    session.run("python", "-m", "suite", "diagnose", *session.posargs, env=ENVIRONMENT)


@nox.session
def rebaseline(session: nox.Session) -> None:
    """Make a release's records its baseline: -- --release NAME --tier TIER."""
    install(session, "tools")
    session.run("python", "-m", "suite", "rebaseline", *session.posargs)


@nox.session
def data(session: nox.Session) -> None:
    """Download GTSRB's official archives into the cache and check them."""
    install(session, "tools")
    session.run("python", "-m", "suite", "data", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Resolve the release table into locks/*.txt: -- [NAME]; find stale ones: -- --check."""
    session.install("uv")
    session.run("python", "-m", "suite", "lock", *session.posargs)
