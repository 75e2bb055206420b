"""The sessions: every job of the project in one environment each; `nox -l` lists them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = True
nox.options.reuse_venv = "yes"
nox.options.sessions = ["tests", "lint"]

SETTINGS = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["suite"]
RELEASES = [nox.param(row["name"], row["python"], id=row["name"]) for row in SETTINGS["releases"]]
GPU_RELEASES = [
    nox.param(row["name"], row["python"], id=row["name"]) for row in SETTINGS["gpu-releases"]
]
NEWEST = SETTINGS["releases"][0]["name"]
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONWARNINGS": "default"}


def install(session: nox.Session, *locks: str) -> None:
    """Install exactly what the lock files list, byte code compiled (imports take a third)."""
    files = [argument for lock in locks for argument in ("-r", f"locks/{lock}.txt")]
    session.install("--require-hashes", "--no-deps", *files, env={"UV_COMPILE_BYTECODE": "1"})


def benchmark(session: nox.Session, *, release: str, lock: str, tier: str) -> None:
    """Run the benchmarks of one tier in the environment of one release."""
    install(session, lock)
    arguments = ["--release", release, "--lock", f"locks/{lock}.txt", "--tier", tier]
    session.run(
        "python", "-m", "pytest", "-v", "benchmarks", *arguments, *session.posargs, env=ENVIRONMENT
    )


@nox.session
def tests(session: nox.Session) -> None:
    """Test the suite itself (minutes; no data set needed)."""
    install(session, NEWEST, "tools")
    session.run("python", "-m", "pytest", *session.posargs, env=ENVIRONMENT)


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
    benchmark(session, release=NEWEST, lock=NEWEST, tier="quickstart")


@nox.session
@nox.parametrize(["release", "python"], RELEASES)
def benchmarks(session: nox.Session, release: str) -> None:
    """Run the small tier on real GTSRB on the CPU (at most 25 minutes a release)."""
    benchmark(session, release=release, lock=release, tier="small")


@nox.session(name="gpu-benchmarks")
@nox.parametrize(["release", "python"], GPU_RELEASES)
def gpu_benchmarks(session: nox.Session, release: str) -> None:
    """Run the full tier at the published sizes on a CUDA GPU (hours)."""
    benchmark(session, release=release, lock=f"{release}-gpu", tier="full")


@nox.session
def compare(session: nox.Session) -> None:
    """Compare the records with the stored baselines; fails on a regression."""
    install(session, "tools")
    session.run("python", "-m", "suite", "compare", *session.posargs)


@nox.session
def rebaseline(session: nox.Session) -> None:
    """Make the records of one release and tier its baseline: -- --release R --tier T."""
    install(session, "tools")
    session.run("python", "-m", "suite", "rebaseline", *session.posargs)


@nox.session
def data(session: nox.Session) -> None:
    """Download GTSRB's official archives into the cache and verify them."""
    install(session, "tools")
    session.run("python", "-m", "suite", "download", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Resolve the release table and the tools into locks/*.txt, with hashes."""
    session.install("uv")
    for suffix, table in (("", SETTINGS["releases"]), ("-gpu", SETTINGS["gpu-releases"])):
        for row in table:
            compile_lock(session, f"{row['name']}{suffix}", row["python"], row["pins"])
    constraint = ["-c", f"locks/{NEWEST}.txt"]
    compile_lock(session, "tools", "3.11", [], "--group", "tools", *constraint)


def compile_lock(
    session: nox.Session, name: str, python: str, pins: list[str], *arguments: str
) -> None:
    """Write locks/`name`.txt: the project's own dependencies and `pins`, resolved, with hashes."""
    source = Path(session.create_tmp(), f"{name}.in")
    source.write_text("\n".join(pins))
    options = ["--universal", "--generate-hashes", "--no-annotate", "--no-emit-index-url"]
    session.run(
        "uv", "pip", "compile", "pyproject.toml", str(source), *arguments, *options,
        "--python-version", python, "--custom-compile-command", "nox -s lock",
        "--output-file", f"locks/{name}.txt", *session.posargs, silent=True,
    )  # fmt: skip
