"""The border between pytest and the suite: options, cases as parameters, a record for each."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from suite import machine
from suite.cases import Case, read_seeds
from suite.errors import FixError, SuiteError, WriteError
from suite.judge.study import PHOTOGRAPHS
from suite.judge.verdicts import Verdict
from suite.networks.architectures import FILED
from suite.records import Record
from suite.report.diverted import Diversion, divert, restore, said_last
from suite.report.screen import INTERRUPTED, Screen, verdicts_on
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
SCREEN: pytest.StashKey[Screen] = pytest.StashKey()
LOG: pytest.StashKey[Diversion | None] = pytest.StashKey()
UNWRITTEN: pytest.StashKey[list[str]] = pytest.StashKey()
WHOLE: pytest.StashKey[bool] = pytest.StashKey()
PRINTED: pytest.StashKey[bool] = pytest.StashKey()
NAMES: pytest.StashKey[list[str]] = pytest.StashKey()
CHECKS: pytest.StashKey[list[tuple[str, dict[str, float]]]] = pytest.StashKey()

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
    group.addoption(
        "--alone",
        action="store_true",
        help="measure the case of each test alone, as a cluster does",
    )
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
    """End with the nox that started it; begin to show a benchmark run, and to keep its log."""
    machine.end_with_parent()
    config.stash[LOG] = None
    if config.option.release:
        quieten(config)
        config.stash[SCREEN] = Screen(folder_of(config.option))
        config.pluginmanager.register(config.stash[SCREEN])


def quieten(config: pytest.Config) -> None:
    """Lead what a framework prints to its log, and leave out what the answer says better.

    pytest's reporter is made next and takes `sys.stdout`, which is the terminal so long. ``-s``
    leaves it so, and ``-v`` prints all checks.
    """
    option, stash = config.option, config.stash
    stash[UNWRITTEN], stash[WHOLE], stash[PRINTED] = [], option.verbose > 0, option.capture == "no"
    option.verbose -= stash[WHOLE]
    option.reportchars, option.capture = "N", "no"
    if hasattr(option, "benchmark_quiet"):
        option.benchmark_quiet = not option.benchmark_compare
    if option.collectonly:
        return
    capture_nothing(config.pluginmanager)
    alone = not hasattr(config, "workerinput")  # else a process of pytest-xdist
    log = stash[LOG] = divert(folder_of(option), watched=alone)
    if log:
        config.add_cleanup(partial(restore, log))
        sys.stdout, sys.stderr = log.terminal


def capture_nothing(plugins: pytest.PytestPluginManager) -> None:
    """Put a capture of nothing in the place of pytest's: a crash would take what it holds along."""
    capture: Any = plugins.get_plugin("capturemanager")
    if capture:
        capture.stop_global_capturing()
        plugins.unregister(capture)
        other = type(capture)("no")
        plugins.register(other, "capturemanager")
        other.start_global_capturing()


def folder_of(option: argparse.Namespace) -> Path:
    """Locate the records of a run."""
    return Path(option.records, option.release, option.tier)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Let what Python prints go to the log, as pytest has its own way to the terminal now."""
    log = session.config.stash[LOG]
    if log:
        sys.stderr = log.streams[1]
        if not session.config.stash[PRINTED]:
            sys.stdout = log.streams[0]
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    if SCREEN in session.config.stash and reporter:
        reporter.showfspath = False


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Have warnings written to the log at once; pytest itself would keep them to the end."""
    if item.config.stash[LOG]:
        warnings.showwarning = warn  # type: ignore[assignment] # its last arguments are None


def warn(
    message: Warning | str, category: type[Warning], filename: str, line: int, *_: Any
) -> None:
    """Write a warning where Python prints its errors."""
    sys.stderr.write(warnings.formatwarning(message, category, filename, line))


def pytest_enter_pdb(config: pytest.Config) -> None:
    """Give the terminal back to who debugs."""
    log = config.stash[LOG]
    if log:
        restore(log)


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
    return [row for row in rows if row.weights != PHOTOGRAPHS or row.architecture in files]


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


@pytest.fixture
def measure(
    request: pytest.FixtureRequest, session: Session, record_testsuite_property: Note
) -> Measure:
    """Give a function that finds the record of a case and seed, and runs the case if it must."""
    from suite.measure.once import measure_once  # noqa: PLC0415 - takes seconds

    def record_of(case: Case, seed: int, timer: Callable[[], Any] | None = None) -> Record:
        if request.config.option.alone and case != request.node.callspec.params["case"]:
            pytest.skip(f"{case} is measured by a job of its own")
        with stopping(record_testsuite_property):
            record = measure_once(case, seed, session=session, timer=timer)
        request.node.stash.setdefault(NAMES, []).append(record.name)
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
def check(request: pytest.FixtureRequest) -> Check:
    """Give a function that judges values by the bands of their record and fails outside them."""

    def judged(record: Record, values: Mapping[str, float]) -> None:
        verdicts = verdicts_on(record, values)  # first: what cannot be judged is told of nowhere
        request.node.stash.setdefault(CHECKS, []).append((record.name, dict(values)))
        failed = [str(verdict) for verdict in verdicts if verdict.failed]
        if failed:
            pytest.fail("\n".join(failed), pytrace=False)

    return judged


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, None]:
    """Give the report of a test's call what the screen tells of it: a crash is no failed check."""
    result = yield
    error = call.excinfo.value if call.excinfo else None
    answer = error is None or isinstance(error, (pytest.fail.Exception, pytest.skip.Exception))
    result.get_result().told = {
        "names": item.stash.get(NAMES, []) if call.when == "call" else [],
        "checks": item.stash.get(CHECKS, []) if call.when == "call" else [],
        "crash": "" if answer else repr(error),
    }


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the tables of the run; end it with 0, with 1 for a failed check, else with 2."""
    screen, stash = session.config.stash.get(SCREEN, None), session.config.stash
    if not screen:
        return
    if screen.verdicts:
        with stopping():
            stash[UNWRITTEN] += unwritten(screen.verdicts, screen.folder)
    ended = session.exitstatus in ENDS  # else interrupted, or by an error within pytest
    session.exitstatus = status_of(session, screen) if ended else ERROR_STATUS


def unwritten(verdicts: Iterable[Verdict], folder: Path) -> Iterator[str]:
    """Write the table of the verdicts and the step times; tell what a folder does not take.

    The run stands without them: what was measured may be judged again where nothing is writable.
    """
    for write in (partial(write_table, verdicts, folder), partial(write_benchmark_json, folder)):
        try:
            write()
        except WriteError as error:
            yield printable(f"NOT WRITTEN {error}")


def status_of(session: pytest.Session, screen: Screen) -> int:
    """Tell how a run ends: what was not answered is no pass, and what crashed is no verdict."""
    if session.testsfailed > len(screen.unanswered):
        return FOUND_STATUS
    config = session.config
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
    if SCREEN not in config.stash:
        return
    option = config.option
    terminalreporter.section(f"{option.release}, {option.tier} tier", sep="=")
    with redirect_stdout(sys.__stdout__):  # whose width counts
        lines = [*answer(config)]
    for line, markup in zip(lines, [{"bold": True}, *({} for _ in lines)]):
        terminalreporter.line(line, **markup)


def answer(config: pytest.Config) -> Iterator[str]:
    """Yield the lines of the answer, then what the framework said, if something went wrong."""
    screen, log = config.stash[SCREEN], config.stash[LOG]
    unanswered = screen.unanswered + skips(config)
    if screen.records:
        yield from first_screen(
            [*screen.records.values()],
            screen.verdicts,
            folder=screen.folder,
            unanswered=unanswered,
            stopped=screen.stopped,
            log=log.log if log else None,
            whole=config.stash[WHOLE],
        )
    else:
        yield from nothing(config.option.release, unanswered, stopped=screen.stopped)
    yield from config.stash[UNWRITTEN]
    if log and (screen.unanswered or screen.stopped not in ("", INTERRUPTED)):
        yield from ["", *said_last(log.log)]
