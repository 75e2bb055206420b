"""The border between pytest and the suite: options, cases as parameters, a record for each."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock, Timeout

from suite.cases import TIERS, Case, table
from suite.errors import RecordError, SuiteError
from suite.records import Record, code_digest, file_digest, find, record_key, store
from suite.report.benchmark import write_benchmark_json
from suite.report.table import summary, terminal_width, text_table
from suite.verdicts import Verdict, judge

if TYPE_CHECKING:
    from suite.data import Dataset
    from suite.stacks import Stack

ROOT = Path(__file__).parent
ERROR_STATUS = 2
VERDICTS = pytest.StashKey[list[Verdict]]()

SYNTHETIC = (
    "SYNTHETIC SIGNS, not GTSRB: this shows that the suite works here, not what a release is worth."
)

Measure = Callable[..., Record]
Check = Callable[[Case, int, Mapping[str, float]], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of a benchmark run."""
    group = parser.getgroup("suite", "adversarial-training benchmarks")
    group.addoption("--release", help="name of the installed row of the release table")
    group.addoption("--lock", type=Path, help="lock file the environment was installed from")
    group.addoption("--tier", choices=TIERS, default="small", help="size of the cases")
    group.addoption("--seeds", default="0", help="seeds of every case, such as 0,1,2")
    group.addoption("--gtsrb-root", type=Path, help="folder of GTSRB's archives; else GTSRB_ROOT")
    group.addoption("--weights", help="weights file of a pretrained base, for the full tier")
    group.addoption("--records", type=Path, default=ROOT / "records", help="where records go")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Return what is measured, on what data and where records go, before the first case."""
    option = config.option
    if not option.release:
        return []
    notice = [SYNTHETIC] if option.tier == "quickstart" else []
    return [*notice, f"{option.release}, {option.tier} tier, records in {option.records}"]


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the list of verdicts that the summary shows."""
    config.stash[VERDICTS] = []


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test marked ``table(name)`` once a row of that table and seed."""
    marker = metafunc.definition.get_closest_marker("table")
    if marker is None:
        return
    option = metafunc.config.option
    if not option.release or not option.lock:
        raise pytest.UsageError(
            "benchmarks need --release and --lock, which tell what is installed: run them with "
            '`nox -s quickstart` or `nox -s "benchmarks(tf-2.21)"`, which give both'
        )
    rows = table(marker.args[0], tier=option.tier, weights=option.weights)
    metafunc.parametrize("case", rows, ids=str)
    metafunc.parametrize("seed", seeds(metafunc.config), ids=lambda seed: f"seed{seed}")


def chosen(metrics: Mapping[str, float], names: Iterable[str]) -> dict[str, float]:
    """Return the named metrics."""
    return {name: metrics[name] for name in names}


def seeds(config: pytest.Config) -> list[int]:
    """Return the seeds of ``--seeds``."""
    texts = config.option.seeds.split(",")
    if not all(text.isdecimal() for text in texts):
        raise pytest.UsageError(
            f"--seeds must be numbers with commas, such as 0,1,2. Received: {config.option.seeds}"
        )
    return [int(text) for text in texts]


@pytest.fixture(scope="session")
def installed(pytestconfig: pytest.Config) -> tuple[str, str]:
    """Return the name of the release under measurement and the digest of its lock."""
    return pytestconfig.option.release, file_digest(pytestconfig.option.lock)


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> Stack:
    """Return the framework that is installed; the full tier needs it to see a GPU."""
    from suite import stacks  # noqa: PLC0415  importing a framework takes seconds

    loaded = stacks.load()
    if pytestconfig.option.tier == "full" and not loaded.gpus():
        pytest.exit(
            "the full tier needs a CUDA GPU, and the framework sees none: it would take weeks. "
            'Check the driver with `nvidia-smi`, or run `nox -s "benchmarks(tf-2.21)"` on the CPU.',
            returncode=ERROR_STATUS,
        )
    return loaded


@pytest.fixture(scope="session")
def dataset(pytestconfig: pytest.Config) -> Callable[[Case], Dataset]:
    """Return a function that loads the data a case names, each data set once."""
    from suite.data import load_gtsrb, load_synthetic  # noqa: PLC0415

    given = pytestconfig.option.gtsrb_root or os.environ.get("GTSRB_ROOT")

    @functools.cache
    def load(name: str, size_px: int) -> Dataset:
        if name == "synthetic":
            return load_synthetic(size_px=size_px)
        return load_gtsrb(Path(given) if given else None, size_px=size_px)

    return lambda case: load(case.data, case.size_px)


@pytest.fixture(scope="session")
def measure(
    pytestconfig: pytest.Config,
    installed: tuple[str, str],
    stack: Stack,
    dataset: Callable[[Case], Dataset],
) -> Measure:
    """Return a function that gives the record of a case and seed, running it only if it must.

    Two runs at once do each case once: the second waits for the first one's record.
    """
    from suite import machine, pipeline  # noqa: PLC0415

    release, lock_digest = installed
    tier, root = pytestconfig.option.tier, pytestconfig.option.records
    common = {
        "versions": stack.versions(),
        "lock_digest": lock_digest,
        "code_digest": code_digest(ROOT / "suite"),
        "machine": machine.describe(stack.gpus()),
    }

    def record_of(case: Case, seed: int, pedantic: Callable[[], Any] | None = None) -> Record:
        place = {"release": release, "tier": tier, "seed": seed}
        with stopping(), claimed(root / release / tier / f".{case}-seed{seed}.lock"):
            data = dataset(case)
            environment = {**common, "data_digest": data.digest}
            key = record_key(case.settings(), environment)
            found = find(root, case=str(case), key=key, **place)
            if found is not None:
                return found
            record = pipeline.run_case(
                case,
                **place,
                stack=stack,
                dataset=data,
                environment=environment,
                pedantic=pedantic() if pedantic else None,
            )
            store(record, root)
            return record

    return record_of


@contextmanager
def stopping() -> Iterator[None]:
    """End the session on what only the user can mend: no later case would fare better."""
    try:
        yield
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
def check(pytestconfig: pytest.Config) -> Check:
    """Return a function that judges values by their bands, notes the verdicts and fails on them."""

    def judged(case: Case, seed: int, values: Mapping[str, float]) -> None:
        bands = dict(case.bands)
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
