"""The sessions, one for each job. ROW is a release, such as tf-2.15; without it, the default."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import nox
from nox.command import CommandFailed
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
GPU_RELEASES = [
    nox.param(row, row["python"], id=row["name"])
    for row in SETTINGS["gpu-releases"]
    if not row.get("unpinned")  # which gpu-bundle alone can install
]
ROWS = {row["name"]: row for row in SETTINGS["releases"]}
DEFAULT = ROWS[SETTINGS["default"]]
GIVEN = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
ROW = ROWS.get(GIVEN[0], DEFAULT) if GIVEN else DEFAULT  # fixes the Python of a session

SEEN = SETTINGS["variables"]
PASSED, FETCHING, MISSED = SEEN["passed"], SEEN["fetching"], SEEN["missed"]
STATED = {"PYTHONNOUSERSITE": "1"}
ENVIRONMENT = {  # of what runs a framework: the Keras is the row's choice, not the user's
    "KERAS_BACKEND": "tensorflow",
    "PYTHONWARNINGS": "default",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}
PATIENCE = {"interrupt_timeout": 60.0, "terminate_timeout": 5.0}
"""Seconds that nox waits after a Ctrl-C: a network may be compiling, and what is known so far is
told at the end of the run."""
STAMP = "installed.txt"  # in an environment: which lock files it was installed from

LABELS = ("--release", "--lock", "--tier")
NOT_HERE = (
    "{} is the session's own: one release's numbers would be stored as another's. Run the session "
    'of what you want: quickstart, "benchmarks(ROW)" for the small tier, study -- ROW, '
    '"gpu-benchmarks(ROW)" for the full tier'
)
STACK_TESTS = [
    "tests/stacks",
    "tests/networks/test_fixes.py",
    "tests/measure/test_constants.py",
    "tests/measure/test_statistics.py",
    "tests/measure/test_phases_seen.py",
    "tests/diagnose/test_loading.py",
    "tests/diagnose/test_sources.py",
    "tests/diagnose/test_turns.py",
    "tests/diagnose/healthy",
    "tests/diagnose/reports",
]
WORKFLOWS = {  # by the schema that they follow
    "dependabot": "docs/examples/dependabot.yml",
    "github-actions": "action.yml",
    "github-workflows": ".github/workflows/upgrade.yml docs/examples/github.yml",
    "gitlab-ci": "docs/examples/gitlab-ci.yml",
    "renovate": "renovate.json",
}
RAYJOB = ("tests/workflow/rayjob.schema.json", "docs/examples/kuberay.yaml")
GPU = Path("/dev/nvidia0")
NO_GPU = (
    f"the full tier needs a CUDA GPU: found neither {GPU} nor a GPU that `nvidia-smi -L` lists. "
    "Run it where there is one. Here, on the CPU, `nox -s rehearsal -- {0}` tries every case of "
    'it, and `nox -s "benchmarks({0})"` runs the small tier'
)

Row = dict[str, Any]


def passed(*patterns: str) -> dict[str, str]:
    """Pick the user's environment variables that a command may see."""
    return {
        name: value
        for name, value in os.environ.items()
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    }


def run(
    session: nox.Session,
    *command: str,
    env: dict[str, str] | None = None,
    fetches: bool = False,
    **streams: Any,
) -> None:
    """Run a command in a stated environment, with a Keras that finds no settings of the user's."""
    seen = passed(*PASSED, *(FETCHING if fetches else ()))
    missed = sorted({*passed(*MISSED)} - {*seen})
    if missed and env:
        session.log(f"not passed on: {', '.join(missed)}")
    with TemporaryDirectory(prefix="keras-") as home:
        own = {"KERAS_HOME": home, "SUITE_PARENT": str(os.getpid())}
        env = {**seen, **STATED, **own, **(env or {})}
        session.run(*command, env=env, include_outer_env=False, **{**PATIENCE, **streams})


def refuse(message: str) -> NoReturn:
    """Say why a session cannot go on, and let it fail; `answer` ends with 2 then."""
    sys.stderr.write(f"error: {message}\n")  # without nox's prefix: the matrix quotes it
    raise CommandFailed(message)


def install(session: nox.Session, *locks: str, find_links: str = "") -> None:
    """Make the environment exactly what the lock files list, if it is not so already."""
    files = [Path("locks", f"{lock}.txt") for lock in locks]
    missing = [file for file in files if not file.exists()]
    if missing:
        refuse(f"{missing[0]} is missing: make it with `nox -s lock -- NAME`")
    install_files(session, *files, find_links=find_links)


def install_files(session: nox.Session, *files: Path, find_links: str = "") -> None:
    """Install exactly what the files list, byte code compiled (imports take a third)."""
    place = session.virtualenv
    folder = Path(place.location) if isinstance(place, VirtualEnv) else None
    if folder and is_installed(folder, *files):
        session.log(f"installed already: {', '.join(file.stem for file in files)}")
        return
    env = {**passed(*PASSED, *FETCHING), "UV_COMPILE_BYTECODE": "1"}
    if find_links:  # wheels that PyPI does not have: where this machine keeps its own goes first
        own = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS")
        env["UV_FIND_LINKS"] = own or find_links
    exact = ["--exact"] if session.venv_backend == "uv" else []  # removes what no lock lists
    arguments = [argument for file in files for argument in ("-r", str(file))]
    options = ("--require-hashes", "--no-deps", *exact)
    session.install(*options, *arguments, env=env, include_outer_env=False)
    if folder:
        remove_others(session, folder, *files)
        if versions(folder) == pins(*files):  # not so after `nox --no-install`
            (folder / STAMP).write_text(stamp(folder, *files))


def is_installed(folder: Path, *files: Path) -> bool:
    """True where an environment was installed from these files and still holds what they list."""
    made_from = folder / STAMP
    known = made_from.exists() and made_from.read_text() == stamp(folder, *files)
    return known and versions(folder) == pins(*files)


def stamp(folder: Path, *files: Path) -> str:
    """Write down the Python of an environment and the digests of lock files."""
    python = re.search(r"^version_info = .*$", (folder / "pyvenv.cfg").read_text(), re.MULTILINE)
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return "\n".join([python[0] if python else "", *digests, ""])


def pins(*files: Path) -> dict[str, str]:
    """Read the versions that lock files list."""
    listed = (re.findall(r"(?m)^([\w.-]+)==(\S+)", file.read_text()) for file in files)
    return dict(pair for pairs in listed for pair in pairs)


def versions(folder: Path) -> dict[str, str]:
    """List the versions in an environment; pip, which virtualenv needs to install, is none."""
    names = (info.stem.rpartition("-") for info in folder.glob("lib/*/*/*.dist-info"))
    found = {re.sub(r"[-_.]+", "-", name).lower(): version for name, _, version in names}
    return {name: version for name, version in found.items() if name != "pip"}


def remove_others(session: nox.Session, folder: Path, *files: Path) -> None:
    """Remove what no file lists: packages, as uv does by itself, and what is virtualenv's own."""
    others = sorted(set(versions(folder)) - set(pins(*files)))
    if others and session.venv_backend != "uv":
        command = ("python", "-m", "pip", "uninstall", "--yes", *others)
        session.run_install(*command, env=passed(*PASSED), include_outer_env=False)
    site = next(folder.glob("lib/*/site-packages"))
    for pattern in ("_virtualenv.*", "__pycache__/_virtualenv.*", "*.virtualenv"):
        for path in site.glob(pattern):  # what runs at each start, for installs with distutils
            path.unlink()


def install_uv(session: nox.Session, *, alone: bool) -> None:
    """Install the uv that the lock of the tools pins; `alone` if nothing else is to be there."""
    tools = Path("locks", "tools.txt")
    found = re.search(r"^uv==.*?(?=^\S|\Z)", tools.read_text(), re.MULTILINE | re.DOTALL)
    if not found:
        refuse(f"{tools} pins no uv: restore it from version control")
    with TemporaryDirectory() as folder:
        file = Path(folder, "uv.txt")
        file.write_text(found[0])
        if alone:
            install_files(session, file)
        else:
            env = passed(*PASSED, *FETCHING)
            session.install("--require-hashes", "-r", str(file), env=env, include_outer_env=False)


def renew_if_python_changed(session: nox.Session) -> None:
    """Make the environment anew if it is of another Python: nox would reuse it all the same."""
    place = session.virtualenv
    if session.python and isinstance(place, VirtualEnv):
        settings = Path(place.location, "pyvenv.cfg").read_text()
        if f"version_info = {session.python}." not in settings:
            place.reuse_existing = False
            place.create()


def install_release(session: nox.Session, row: Row, lock: str) -> dict[str, str]:
    """Install one row of the release table; give the environment variables that it runs with."""
    renew_if_python_changed(session)
    if row.get("unpinned"):  # resolved anew each time; its lock is not committed
        install_uv(session, alone=False)
        command = ("python", "-m", "suite", "lock", "--upgrade", row["name"])
        env = {**passed(*PASSED, *FETCHING), **STATED}
        session.run_install(*command, env=env, include_outer_env=False)
    install(session, lock, find_links=row.get("find-links", ""))
    return {**ENVIRONMENT, **row.get("env", {})}


def run_pytest(session: nox.Session, *arguments: str, env: dict[str, str]) -> None:
    """Run pytest; what another release's framework warns of is no error."""
    run(session, "python", "-m", "pytest", "-W", "default", *arguments, env=env)


def refuse_labels(given: list[str]) -> None:
    """Stop where an option would name another release, lock or tier than the session's."""
    for option in given:
        if option.partition("=")[0] in LABELS or option.startswith("@"):  # a file of options
            refuse(NOT_HERE.format(option))


def benchmark(session: nox.Session, row: Row, *more: str, lock: str, tier: str) -> None:
    """Run the benchmarks of one tier in the environment of one release."""
    refuse_labels([*more])
    env = install_release(session, row, lock)
    labels = ("--release", row["name"], "--lock", f"locks/{lock}.txt", "--tier", tier)
    run_pytest(session, "benchmarks", *more, *labels, env=env)  # the last one counts


def ray(session: nox.Session) -> list[str]:
    """Name the lock of Ray where a cluster is to measure."""
    asked = any(option.partition("=")[0] == "--address" for option in session.posargs)
    return ["cluster"] if asked else []


def ask(session: nox.Session, command: str, **options: Any) -> None:
    """Give one of the suite's commands what follows ``--``, where no framework is installed."""
    install(session, *ray(session), "tools")
    run(session, "python", "-m", "suite", command, *session.posargs, **options)


def answer(
    session: nox.Session, command: str, *locks: str, labels: bool = True, **options: Any
) -> None:
    """Give one of the suite's commands what follows ``--``; end with its status, whatever it is.

    Without `labels` no release, lock or tier may be among that.
    """
    told: dict[str, Any] = {"fetches": True, "stderr": None}  # stdout begins with the answer
    try:
        refuse_labels([] if labels else session.posargs)
        install(session, *ray(session), *locks, "tools")
    except CommandFailed:  # nox itself would end with 1, which is an answer
        sys.exit(2)
    try:
        run(session, "python", "-m", "suite", command, *session.posargs, **{**told, **options})
    except CommandFailed as error:
        sys.exit(error.return_code or 2)


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
        refuse(f"{given[0]} is no row of the release table. Name one first, of {rows}")
    return given[1:]


def require_gpu(row: Row) -> None:
    """Stop before gigabytes are installed that nothing here can run; `--install-only` may go on."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False).stdout  # noqa: S607 - of the driver
    except OSError:
        listed = b""
    if not (listed.startswith(b"GPU ") or GPU.exists() or "--install-only" in sys.argv):
        refuse(NO_GPU.format(row["name"]))


@nox.session
def tests(session: nox.Session) -> None:
    """Test the suite itself (minutes; no data set needed)."""
    install(session, DEFAULT["name"], "tools")
    # a file's tests share their networks; those with few tests take longest, and are not last
    parallel = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
    env = {**ENVIRONMENT, "TF_NUM_INTRAOP_THREADS": "1"}  # else two processes have four
    run(session, "python", "-m", "pytest", *parallel, *session.posargs, env=env)


@nox.session(name="cross-check")
def cross_check(session: nox.Session) -> None:
    """Compare the suite with other people's implementations: ART, fvcore, OpenCV (minutes)."""
    links = next(row["find-links"] for row in ROWS.values() if "find-links" in row)
    install(session, DEFAULT["name"], "cross-check", find_links=links)
    run_pytest(session, "tests/cross_check", *session.posargs, env=ENVIRONMENT)


@nox.session
def browser(session: nox.Session) -> None:
    """Test the report's pages in Chromium, which is not installed here: -- [--screenshots]."""
    install(session, "tools", "browser")
    run(session, "python", "-m", "pytest", "tests/browser", *session.posargs)


@nox.session(name="stack-tests", python=ROW["python"])
@for_one_row
def stack_tests(session: nox.Session, row: Row = ROW) -> None:
    """Test what works through one release's framework (a minute): -- ROW [OPTIONS]."""
    options = options_after_row(session)
    env = install_release(session, row, row["name"])
    run_pytest(session, *STACK_TESTS, *options, env=env)


@nox.session(python=ROW["python"])
@for_one_row
def overhead(session: nox.Session, row: Row = ROW) -> None:
    """Compare the suite's steps with bare loops: -- ROW [--tier full] [OPTIONS] (minutes)."""
    options = options_after_row(session)
    env = install_release(session, row, row["name"])
    run_pytest(session, "benchmarks/bare_loops.py", *options, env=env)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Try new hostile input on every reader, each time other (minutes): -- [-n 2] [OPTIONS]."""
    install(session, "tools")
    run(session, "python", "-m", "pytest", "tests/property", "--hypothesis-profile", "fuzz",
        *session.posargs)  # fmt: skip


@nox.session
def faults(session: nox.Session) -> None:
    """Plant faults and tell which layer finds each (hours; GTSRB): -- [NAME ...] [OPTIONS]."""
    install(session, DEFAULT["name"], "tools")
    run(session, "python", "-m", "tests.faults", *session.posargs, env=ENVIRONMENT)


@nox.session
def reports(session: nox.Session) -> None:
    """Diagnose public reports' networks and follow the advice (minutes; GTSRB): -- [--train]."""
    install(session, DEFAULT["name"], "tools")
    run(session, "python", "-m", "tests.diagnose.reports", *session.posargs, env=ENVIRONMENT)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types, the import contracts and the workflows (no network)."""
    install(session, "tools")
    run(session, "ruff", "check", ".")
    run(session, "ruff", "format", "--check", ".")
    run(session, "mypy")
    run(session, "lint-imports")
    run(session, "actionlint", ".github/workflows/upgrade.yml", "docs/examples/github.yml")
    run(session, "zizmor", "--offline", "--quiet", ".", "docs/examples/dependabot.yml")
    for schema, file in WORKFLOWS.items():
        run(session, "check-jsonschema", "--builtin-schema", f"vendor.{schema}", *file.split())
    run(session, "check-jsonschema", "--schemafile", *RAYJOB)
    run(session, "shellcheck", "docs/examples/slurm.sh")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site of the documentation in build/site (a minute): -- [--external] checks URLs."""
    if {*session.posargs} - {"--external"}:
        refuse(f"--external is the only option. Received: {' '.join(session.posargs)}")
    install(session, "docs")
    builder = "linkcheck" if session.posargs else "html"
    folder = "build/links" if session.posargs else "build/site"
    options = ("--fail-on-warning", "--keep-going", "--fresh-env", "--write-all", "--quiet")
    run(session, "sphinx-build", *options, "-b", builder, "-c", "docs", "-d", "build/pages", ".",
        folder)  # fmt: skip


@nox.session
def quickstart(session: nox.Session) -> None:
    """Try everything on synthetic signs (3 to 10 minutes; no data set needed)."""
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
    require_gpu(row)
    benchmark(session, row, *session.posargs, lock=f"{row['name']}-gpu", tier="full")


@nox.session(python=ROW["python"])
@for_one_row
def rehearsal(session: nox.Session, row: Row = ROW) -> None:
    """Run every case of the full tier on the CPU, as small as it can be: -- ROW [OPTIONS]."""
    options = options_after_row(session)
    benchmark(session, row, *options, lock=row["name"], tier="full-rehearsal")


@nox.session(name="gpu-bundle")
def gpu_bundle(session: nox.Session) -> None:
    """Pack all that a GPU's machine without a network needs: -- ROW --installed FILE."""
    ask(session, "gpu-bundle", fetches=True)


@nox.session(name="gpu-collect")
def gpu_collect(session: nox.Session) -> None:
    """Check the files that a bundle left, and file their records: -- DIR."""
    ask(session, "gpu-collect")


@nox.session(python=ROW["python"])
@for_one_row
def study(session: nox.Session, row: Row = ROW) -> None:
    """Measure every fix with five seeds on the CPU (hours): -- ROW [OPTIONS]."""
    options = ["--seeds", "0,1,2,3,4", *options_after_row(session)]
    benchmark(session, row, *options, lock=row["name"], tier="study")


@nox.session
def matrix(session: nox.Session) -> None:
    """Run the small tier on every release: -- [--rows A,B] [--jobs N] [OPTIONS]."""
    refuse_labels(session.posargs)
    ask(session, "matrix", fetches=True)


@nox.session
def cluster(session: nox.Session) -> None:
    """Measure on a cluster of Ray: -- --address auto|local|HOST:PORT [--rows A,B] [OPTIONS]."""
    answer(session, "cluster", terminate_timeout=60.0)  # for it to take leave of the cluster


@nox.session(name="cluster-tests")
def cluster_tests(session: nox.Session) -> None:
    """Test a cluster of several nodes on this machine: nodes are killed (20 minutes)."""
    install(session, "cluster", "tools")
    run(session, "python", "-m", "pytest", "tests/cluster", *session.posargs, fetches=True)


@nox.session
def gate(session: nox.Session) -> None:
    """Tell whether one release may replace another: -- --baseline ROW --candidate ROW."""
    answer(session, "gate", labels=False)


@nox.session(name="new-row")
def new_row(session: nox.Session) -> None:
    """Add a new version to the release table, and gate it: -- tensorflow==2.22.0 [--no-run]."""
    answer(session, "new-row", labels=False)


@nox.session
def bisect(session: nox.Session) -> None:
    """Find the package and version that made a release worse: -- --baseline ROW --candidate ROW."""
    answer(session, "bisect", labels=False, terminate_timeout=60.0)  # to remove environments


@nox.session
def compare(session: nox.Session) -> None:
    """Compare the records with the stored baselines; fail on a regression."""
    ask(session, "compare")


@nox.session
def parity(session: nox.Session) -> None:
    """Compare the first training steps of the releases that have records."""
    ask(session, "parity")


@nox.session(name="fix-table")
def fix_table(session: nox.Session) -> None:
    """Compare the fixes and judge the published claims, from records."""
    ask(session, "fix-table")


@nox.session
def results(session: nox.Session) -> None:
    """Show what every network reaches, from stored records."""
    ask(session, "results")


@nox.session
def report(session: nox.Session) -> None:
    """Write one page of all records: -- [--records DIR] [--baselines DIR] [--verdict FILE]."""
    ask(session, "report")


@nox.session(name="report-assets", venv_backend="none")
def report_assets(session: nox.Session) -> None:
    """Bundle the report's plotting library anew, bit for bit (Node.js and npm)."""
    with session.chdir("suite/report/html/vendor"):
        run(session, "npm", "ci", fetches=True)
        run(session, "node", "build.mjs")


@nox.session
def diagnose(session: nox.Session) -> None:
    """Find out why a network of your own does not train: -- MODEL --data X."""
    answer(session, "diagnose", DEFAULT["name"], env=ENVIRONMENT, fetches=False)


@nox.session
def rebaseline(session: nox.Session) -> None:
    """Make a release's records its baseline: -- --release NAME --tier TIER --reason WHY."""
    ask(session, "rebaseline")


@nox.session(python=DEFAULT["python"])
def states(session: nox.Session) -> None:
    """Train the networks that every release steps from, and store their states (minutes)."""
    env, name = install_release(session, DEFAULT, DEFAULT["name"]), DEFAULT["name"]
    labels = ["--release", name, "--lock", f"locks/{name}.txt"]
    run(session, "python", "-m", "suite", "states", *labels, *session.posargs, env=env)


@nox.session
def data(session: nox.Session) -> None:
    """Download GTSRB's official archives into the cache and check them."""
    ask(session, "data")


@nox.session
def lock(session: nox.Session) -> None:
    """Resolve the release table into locks/*.txt: -- [NAME]; find stale ones: -- --check."""
    install_uv(session, alone=True)
    run(session, "python", "-m", "suite", "lock", *session.posargs, fetches=True)
