"""The border between pytest and the suite: options, cases as parameters, a record for each."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from suite import machine
from suite.cases import Case, read_seeds
from suite.errors import FixError, SuiteError, WriteError
from suite.judge.bands import bands_of
from suite.judge.verdicts import Verdict, judge
from suite.networks.architectures import FILED
from suite.records import Record
from suite.report.step_times import write_benchmark_json
from suite.report.summary import SYNTHETIC, first_screen, nothing, write_table
from suite.report.text import printable
from suite.tables import TIERS, table

if TYPE_CHECKING:
    from typing import TypeAlias

    from suite.measure.once import Session

ROOT = Path(__file__).parent
FOUND_STATUS, ERROR_STATUS = 1, 2  # a check failed; it could not be told
ENDS = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
VERDICTS: pytest.StashKey[list[Verdict]] = pytest.StashKey()
RECORDS: pytest.StashKey[dict[str, Record]] = pytest.StashKey()
UNANSWERED: pytest.StashKey[list[str]] = pytest.StashKey()
UNWRITTEN: pytest.StashKey[list[str]] = pytest.StashKey()

Note: TypeAlias = "Callable[[str, object], None]"
Measure: TypeAlias = "Callable[..., Record]"
Check: TypeAlias = "Callable[[Record, Mapping[str, float]], None]"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of a benchmark run."""
    group = parser.getgroup("suite", "adversarial-training benchmarks")
    group.addoption("--release", help="name of the installed row of the release table")
    group.addoption("--lock", type=Path, help="lock file the environment was installed from")
    group.addoption("--tier", choices=TIERS, default="small", help="size of the cases")
    group.addoption(
        "--seeds", type=read_seeds, default=[0], help="seeds of all cases, such as 0,1,2"
    )
    group.addoption("--gtsrb-root", type=Path, help="folder of GTSRB's archives; else GTSRB_ROOT")
    group.addoption(
        "--weights", type=weights_file, action="append", default=[], metavar="NET=FILE",
        help="file of weights: ImageNet's, where they cannot be downloaded, or resnet50-photos'",
    )  # fmt: skip
    group.addoption("--records", type=Path, default=ROOT / "records", help="where records go")
    group.addoption("--partial", action="store_true", help="cases may be skipped")
    group.addoption("--worker", metavar="SOCKET", help="time steps as asked there; nothing else")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what is measured, on what data and where records go, before the first case."""
    option = config.option
    if not option.release:
        return []
    notice = [SYNTHETIC] if option.tier == "quickstart" else []
    rows = table("photographs", tier=option.tier)
    missing = {row.architecture for row in rows} - set(dict(option.weights))
    notice += [f"left out: {name}, without --weights {name}=FILE" for name in sorted(missing)]
    return [*notice, f"{option.release}, {option.tier} tier, records in {option.records}"]


def pytest_configure(config: pytest.Config) -> None:
    """End with the nox that started it; prepare the lists of what was measured and judged."""
    machine.end_with_parent()
    config.stash[VERDICTS] = []
    config.stash[RECORDS] = {}
    config.stash[UNANSWERED] = []
    config.stash[UNWRITTEN] = []


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """Describe the machine to pytest-benchmark as records do; its own words change from run to run.

    So ``--benchmark-compare`` with the stored step times warns of another machine alone.
    """
    from suite.stacks.loading import load  # noqa: PLC0415 - takes seconds

    if config.option.release:
        machine_info.clear()
        with stopping():
            machine_info.update(machine.describe(load().gpus()))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test marked ``table(name, ...)`` once a row of these tables and seed."""
    marker = metafunc.definition.get_closest_marker("table")
    if marker is None:
        return
    option = metafunc.config.option
    rows = cases(marker, tier=option.tier, files=dict(option.weights))
    metafunc.parametrize("case", rows, ids=str)
    metafunc.parametrize("seed", option.seeds, ids=lambda seed: f"seed{seed}")


def cases(marker: pytest.Mark, *, tier: str, files: Mapping[str, str]) -> list[Case]:
    """List the rows of the tables that a marker names, in the size of one tier.

    Those whose weights are a file that nobody can download are left out where it is not given.
    """
    rows = (case for name in marker.args for case in table(name, tier=tier))
    return [row for row in rows if row.weights != "photographs" or row.architecture in files]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the questions that are not asked; refuse benchmarks without a release."""
    option = config.option
    wanted = [i for i in items if bool(i.get_closest_marker("worker")) == bool(option.worker)]
    config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
    items[:] = wanted
    markers = {item: item.get_closest_marker("table") for item in items}
    if any(markers.values()) and not (option.release and option.lock):
        raise pytest.UsageError(
            "benchmarks need --release and --lock, which tell what is installed: run them with "
            '`nox -s quickstart` or `nox -s "benchmarks(tf-2.21)"`, which give both'
        )
    size = {"tier": option.tier, "files": dict(option.weights)}
    absent = [item for item, mark in markers.items() if mark and not cases(mark, **size)]
    config.hook.pytest_deselected(items=absent)
    items[:] = [item for item in items if item not in absent]


def chosen(metrics: Mapping[str, float], names: Iterable[str]) -> dict[str, float]:
    """Pick the named metrics."""
    return {name: metrics[name] for name in names}


def weights_file(text: str) -> tuple[str, str]:
    """Read the architecture and the file that ``--weights`` names."""
    architecture, separator, path = text.partition("=")
    there = os.path.isfile(path)  # noqa: PTH113 - False for what can be no path, too
    if not separator or architecture not in FILED or not there:
        names = " or ".join(f"{name}=FILE" for name in FILED)
        rule = f"must be {names}, of a file there is"
        raise argparse.ArgumentTypeError(f"{rule}. Received: {text:.80}")
    return architecture, path


@pytest.fixture(scope="session")
def session(pytestconfig: pytest.Config, record_testsuite_property: Note) -> Session:
    """Load the framework that is installed, once for all cases; `matrix` reads what is noted."""
    from suite.measure.once import open_session  # noqa: PLC0415 - takes seconds

    option = pytestconfig.option
    root = option.gtsrb_root or os.environ.get("GTSRB_ROOT")
    record_testsuite_property("framework", "asked for")
    with stopping(record_testsuite_property):
        opened = open_session(
            release=option.release,
            tier=option.tier,
            records=option.records,
            lock=option.lock,
            gtsrb_root=Path(root) if root else None,
            files={name: Path(path) for name, path in option.weights},
        )
    record_testsuite_property("framework", "loaded")
    return opened


@pytest.fixture(scope="session")
def measure(
    pytestconfig: pytest.Config, session: Session, record_testsuite_property: Note
) -> Measure:
    """Give a function that finds the record of a case and seed, and runs the case if it must."""
    from suite.measure.once import measure_once  # noqa: PLC0415 - takes seconds

    def record_of(case: Case, seed: int, timer: Callable[[], Any] | None = None) -> Record:
        with stopping(record_testsuite_property):
            record = measure_once(case, seed, session=session, timer=timer)
        pytestconfig.stash[RECORDS][record.name] = record
        return record

    return record_of


@contextmanager
def stopping(note: Note | None = None) -> Iterator[None]:
    """End the session on what only the user can mend: no later case would fare better.

    A fix that this release does not have is a reason to skip its case alone.
    """
    try:
        yield
    except FixError as error:
        pytest.skip(printable(f"{error}"))
    except SuiteError as error:
        if note:
            note("stopped", error)
        pytest.exit(printable(f"{error}"), returncode=ERROR_STATUS)


@pytest.fixture
def check(pytestconfig: pytest.Config) -> Check:
    """Give a function that judges values by the bands of their record and fails outside them."""

    def judged(record: Record, values: Mapping[str, float]) -> None:
        bands, seed = bands_of(record), f"seed {record.seed}"
        verdicts = [
            judge(record.case, metric, value, bands[metric], seed=seed)
            for metric, value in values.items()
        ]
        pytestconfig.stash[VERDICTS] += verdicts
        failed = [str(verdict) for verdict in verdicts if verdict.failed]
        if failed:
            pytest.fail("\n".join(failed), pytrace=False)

    return judged


def pytest_exception_interact(
    node: pytest.Item | pytest.Collector, call: pytest.CallInfo[None], report: Any
) -> None:
    """Note a test that ended in an error: a failed check is an answer, a crash is none."""
    del report
    error = call.excinfo.value if call.excinfo else None
    if error is not None and not isinstance(error, pytest.fail.Exception):
        node.config.stash[UNANSWERED].append(f"{node.nodeid}: {error!r}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the tables of the run; end it with 0, with 1 for a failed check, else with 2."""
    option, stash = session.config.option, session.config.stash
    if not option.release:
        return
    folder = option.records / option.release / option.tier
    verdicts = stash[VERDICTS]
    if verdicts:
        with stopping():
            stash[UNWRITTEN] += unwritten(verdicts, folder)
    ended = session.exitstatus in ENDS  # else interrupted, or by an error within pytest
    session.exitstatus = status_of(session) if ended else ERROR_STATUS


def unwritten(verdicts: Iterable[Verdict], folder: Path) -> Iterator[str]:
    """Write the table of the verdicts and the step times; tell what a folder does not take.

    The run stands without them: what was measured may be judged again where nothing is writable.
    """
    for write in (partial(write_table, verdicts, folder), partial(write_benchmark_json, folder)):
        try:
            write()
        except WriteError as error:
            yield printable(f"NOT WRITTEN {error}")


def status_of(session: pytest.Session) -> int:
    """Tell how a run ends: what was not answered is no pass, and what crashed is no verdict."""
    config = session.config
    if session.testsfailed > len(config.stash[UNANSWERED]):
        return FOUND_STATUS
    skipped = reports(config, "skipped") and not config.option.partial
    answered = reports(config, "passed") and not session.testsfailed
    return 0 if answered and not skipped else ERROR_STATUS


def reports(config: pytest.Config, outcome: str) -> list[Any]:
    """List the reports of tests that passed or were skipped; none where nothing is told at all."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return reporter.getreports(outcome) if reporter else []


def skips(config: pytest.Config) -> list[str]:
    """List the tests that were skipped, with the reason."""
    return [f"{report.nodeid}: {report.longrepr[2]}" for report in reports(config, "skipped")]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the answer: what holds and what does not, question by question."""
    config = terminalreporter.config
    verdicts, option = config.stash[VERDICTS], config.option
    records = list(config.stash[RECORDS].values())
    unanswered = config.stash[UNANSWERED] + skips(config)
    if not option.release:
        return
    if not records:
        terminalreporter.line(nothing(option.release, unanswered))
        return
    terminalreporter.section(f"{option.release}, {option.tier} tier", sep="=")
    lines = first_screen(
        records,
        verdicts,
        folder=option.records / option.release / option.tier,
        unanswered=unanswered,
        whole=option.verbose > 0,
    )
    for line in [*lines, *config.stash[UNWRITTEN]]:
        terminalreporter.line(line)
