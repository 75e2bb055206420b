"""The border between pytest and the suite: options, cases as parameters, a record for each."""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock, Timeout

from suite.architectures import PRETRAINED
from suite.bands import stack_bands
from suite.cases import TIERS, Case, table
from suite.errors import FixError, RecordError, SuiteError
from suite.records import Record, code_digest, file_digest, find, record_key, store
from suite.report.benchmark import write_benchmark_json
from suite.report.table import summary, terminal_width, text_table
from suite.verdicts import Verdict, judge

if TYPE_CHECKING:
    from typing import TypeAlias

    from suite.data import Dataset
    from suite.stacks import Stack

ROOT = Path(__file__).parent
ERROR_STATUS = 2
VERDICTS: pytest.StashKey[list[Verdict]] = pytest.StashKey()

SYNTHETIC = (
    "SYNTHETIC SIGNS, not GTSRB: this shows that the suite works here, not what a release is worth."
)

VARIABLES = (
    "GLIBC_TUNABLES",
    "KERAS_BACKEND",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_USE_LEGACY_KERAS",
    "XLA_FLAGS",
)
"""Environment variables that decide what a framework computes, or how fast: a row's `env` or a
user's own. They are part of a record's key."""

Measure: TypeAlias = "Callable[..., Record]"
Check: TypeAlias = "Callable[[Case, int, Mapping[str, float]], None]"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of a benchmark run."""
    group = parser.getgroup("suite", "adversarial-training benchmarks")
    group.addoption("--release", help="name of the installed row of the release table")
    group.addoption("--lock", type=Path, help="lock file the environment was installed from")
    group.addoption("--tier", choices=TIERS, default="small", help="size of the cases")
    group.addoption("--seeds", type=seeds, default=[0], help="seeds of all cases, such as 0,1,2")
    group.addoption("--gtsrb-root", type=Path, help="folder of GTSRB's archives; else GTSRB_ROOT")
    group.addoption(
        "--weights", type=weights_file, action="append", default=[], metavar="NET=FILE",
        help="file of vgg19's or resnet50's ImageNet weights, where they cannot be downloaded",
    )  # fmt: skip
    group.addoption("--records", type=Path, default=ROOT / "records", help="where records go")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Return what is measured, on what data and where records go, before the first case."""
    option = config.option
    if not option.release:
        return []
    notice = [SYNTHETIC] if option.tier == "quickstart" else []
    return [*notice, f"{option.release}, {option.tier} tier, records in {option.records}"]


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the list of verdicts, and refuse benchmarks that know not what is installed."""
    config.stash[VERDICTS] = []
    benchmarks = any(Path(argument).name.startswith("benchmarks") for argument in config.args)
    if benchmarks and not (config.option.release and config.option.lock):
        raise pytest.UsageError(
            "benchmarks need --release and --lock, which tell what is installed: run them with "
            '`nox -s quickstart` or `nox -s "benchmarks(tf-2.21)"`, which give both'
        )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test marked ``table(name, ...)`` once a row of these tables and seed."""
    marker = metafunc.definition.get_closest_marker("table")
    if marker is None:
        return
    option = metafunc.config.option
    rows = cases(marker, tier=option.tier, weights=dict(option.weights))
    metafunc.parametrize("case", rows, ids=str)
    metafunc.parametrize("seed", option.seeds, ids=lambda seed: f"seed{seed}")


def cases(marker: pytest.Mark, **size: Any) -> list[Case]:
    """Return the rows of the tables that a marker names, in the size of one tier."""
    return [case for name in marker.args for case in table(name, **size)]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the questions that the tier does not ask."""
    tier = config.option.tier
    markers = {item: item.get_closest_marker("table") for item in items}
    absent = [item for item, mark in markers.items() if mark and not cases(mark, tier=tier)]
    config.hook.pytest_deselected(items=absent)
    items[:] = [item for item in items if item not in absent]


def chosen(metrics: Mapping[str, float], names: Iterable[str]) -> dict[str, float]:
    """Return the named metrics."""
    return {name: metrics[name] for name in names}


def seeds(text: str) -> list[int]:
    """Return the seeds that ``--seeds`` names."""
    numbers = text.split(",")
    if not all(number.isdecimal() for number in numbers):
        raise argparse.ArgumentTypeError(f"must be numbers, such as 0,1,2. Received: {text}")
    return [int(number) for number in numbers]


def weights_file(text: str) -> tuple[str, str]:
    """Return the architecture and the file that ``--weights`` names."""
    architecture, separator, path = text.partition("=")
    if not separator or architecture not in PRETRAINED or not Path(path).is_file():
        names = " or ".join(f"{name}=FILE" for name in PRETRAINED)
        raise argparse.ArgumentTypeError(f"must be {names}, of a file there is. Received: {text}")
    return architecture, path


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> Stack:
    """Return the framework that is installed; the full tier needs it to see a GPU."""
    from suite import stacks  # noqa: PLC0415  importing a framework takes seconds

    loaded = stacks.load()
    if pytestconfig.option.tier.startswith("full") and not loaded.gpus():
        pytest.exit(
            "the full tier needs a CUDA GPU, and the framework sees none: it would take weeks. "
            'Check the driver with `nvidia-smi`, or run `nox -s "benchmarks(tf-2.21)"` on the CPU.',
            returncode=ERROR_STATUS,
        )
    return loaded


def stack_name(stack: Stack) -> str:
    """Return the name of the stack's module."""
    return stack.__name__.rpartition(".")[2]


@pytest.fixture(scope="session")
def dataset(pytestconfig: pytest.Config) -> Callable[[Case], Dataset]:
    """Return a function that loads the data a case names, each data set once."""
    from suite.data import load_gtsrb, load_synthetic  # noqa: PLC0415

    given = pytestconfig.option.gtsrb_root or os.environ.get("GTSRB_ROOT")

    @functools.lru_cache(maxsize=None)
    def load(name: str, size_px: int) -> Dataset:
        if name == "synthetic":
            return load_synthetic(size_px=size_px)
        return load_gtsrb(Path(given) if given else None, size_px=size_px)

    return lambda case: load(case.data, case.size_px)


@pytest.fixture(scope="session")
def environment(pytestconfig: pytest.Config, stack: Stack) -> Mapping[str, Any]:
    """Return what is installed and where it runs: all of a record's environment but the data."""
    from suite import machine, stacks  # noqa: PLC0415

    return {
        "stack": stack_name(stack),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "versions": stack.versions(),
        "lock_digest": file_digest(pytestconfig.option.lock),
        "code_digest": code_digest(ROOT / "suite"),
        "library_digest": stacks.library_digest(stack),
        "machine": machine.describe(stack.gpus()),
    }


@pytest.fixture(scope="session")
def measure(
    pytestconfig: pytest.Config,
    stack: Stack,
    environment: Mapping[str, Any],
    dataset: Callable[[Case], Dataset],
) -> Measure:
    """Return a function that gives the record of a case and seed, running it only if it must.

    Two runs at once do each case once: the second waits for the first one's record.
    """
    from suite.pipeline import run_case  # noqa: PLC0415

    option = pytestconfig.option

    def record_of(case: Case, seed: int, pedantic: Callable[[], Any] | None = None) -> Record:
        place = {"release": option.release, "tier": option.tier, "seed": seed}
        folder = option.records / option.release / option.tier
        with stopping(), claimed(folder / f".{case}-seed{seed}.lock"):
            data = dataset(case)
            around = {**environment, "data_digest": data.digest, **weights_digest(case)}
            key = record_key(case.settings(), around)
            record = find(option.records, case=str(case), key=key, **place)
            if record is None:
                timer = pedantic() if pedantic else None
                record = run_case(
                    case, **place, stack=stack, dataset=data, environment=around, pedantic=timer
                )
                store(record, option.records)
            return record

    return record_of


def weights_digest(case: Case) -> dict[str, str]:
    """Return the digest of the case's weights file, if it starts from one."""
    if case.weights in ("random", "imagenet", "surrogate"):
        return {}
    return {"weights_digest": file_digest(Path(case.weights))}


@contextmanager
def stopping() -> Iterator[None]:
    """End the session on what only the user can mend: no later case would fare better.

    A fix that this release does not have is a reason to skip its case alone.
    """
    try:
        yield
    except FixError as error:
        pytest.skip(f"{error}")
    except SuiteError as error:
        pytest.exit(f"{error}", returncode=ERROR_STATUS)


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Hold the lock file of a case, telling so if another run has it.

    Raises:
        RecordError: If the folder of the records cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"waiting for another run to finish {path.name}", file=sys.__stderr__)
            lock.acquire()
    except OSError as error:
        raise RecordError(
            f"{path} cannot be written: {error}. Expected a writable folder with free space for "
            "the records: free some, or name another with `-- --records DIR`."
        ) from error
    try:
        yield
    finally:
        lock.release()


@pytest.fixture
def check(pytestconfig: pytest.Config, stack: Stack) -> Check:
    """Return a function that judges values by their bands, notes the verdicts and fails on them."""
    place = {"tier": pytestconfig.option.tier, "stack": stack_name(stack)}

    def judged(case: Case, seed: int, values: Mapping[str, float]) -> None:
        bands = {**dict(case.bands), **stack_bands(str(case), **place)}
        verdicts = [
            judge(str(case), metric, value, bands[metric], seed=f"seed {seed}")
            for metric, value in values.items()
        ]
        pytestconfig.stash[VERDICTS] += verdicts
        failed = [str(verdict) for verdict in verdicts if verdict.failed]
        if failed:
            pytest.fail("\n".join(failed), pytrace=False)

    return judged


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the step times of all records in pytest-benchmark's own format."""
    option = session.config.option
    if session.config.stash[VERDICTS] and option.release:
        with stopping():
            write_benchmark_json(option.records / option.release / option.tier)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured, the bands, the verdicts, and where the records lie."""
    config = terminalreporter.config
    verdicts = config.stash[VERDICTS]
    if not verdicts:
        return
    option = config.option
    terminalreporter.section(f"{option.release}, {option.tier} tier", sep="=")
    if option.tier == "quickstart":
        terminalreporter.line(SYNTHETIC)
    terminalreporter.line(text_table(verdicts, width=terminal_width()))
    terminalreporter.line("")
    terminalreporter.line(summary(verdicts))
    terminalreporter.line(f"records: {option.records / option.release / option.tier}")
