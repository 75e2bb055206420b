"""What a benchmark run shows while it measures, and what it hears for the answer at its end."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

from suite.errors import RecordError
from suite.judge.bands import bands_of
from suite.judge.verdicts import Verdict, judge
from suite.measure.training import is_live
from suite.records import Record
from suite.report.progress import case_line, in_brief
from suite.store import read_record
from suite.tables import TIERS

if TYPE_CHECKING:
    from typing import TypeAlias

Phase: TypeAlias = "Any"
"""pytest's report of a phase of a test: its set-up, its call or its tear-down. conftest.py adds
`told`, a dictionary: the names of the records that the test looked at, the values that it had
checked, and the error that ended it, if one did. With pytest-xdist it is another process's."""

INTERRUPTED = "it was interrupted"
CLEAR = "\r\x1b[J"  # empties a terminal from the line of its cursor on


class Screen:
    """A line for each case that ends, and on a terminal one for what runs.

    The methods are hooks of pytest.

    Attributes:
        folder: Where the records are.
        records: Those that the tests looked at, by name.
        verdicts: On these.
        unanswered: Tests that crashed, each with its error.
        stopped: Why the run ended before its last test; empty if it did not.
    """

    def __init__(self, folder: Path) -> None:
        """Begin with nothing heard."""
        self.folder = folder
        self.records: dict[str, Record] = {}
        self.verdicts: list[Verdict] = []
        self.unanswered: list[str] = []
        self.stopped = ""
        self._phases: defaultdict[str, list[Phase]] = defaultdict(list)
        self._shown: set[str] = set()
        self._done = self._all = 0

    def pytest_collection_finish(self, session: Any) -> None:
        """Count the tests; pytest-xdist does not tell them."""
        self._all = len(session.items)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Show on a terminal which test begins; if it trains, its live line takes the place."""
        write_over(f"{short(nodeid)} ...")

    def pytest_runtest_logreport(self, report: Phase) -> None:
        """Hear a phase of a test, and show its line after the last one."""
        self._phases[report.nodeid].append(report)
        self._hear(report)
        if report.when not in ("setup", "call"):
            self._show(report.nodeid, self._phases.pop(report.nodeid))

    def pytest_collectreport(self, report: Any) -> None:
        """Hear of a file of tests that cannot be read."""
        if report.failed:
            self.unanswered.append(f"{report.nodeid}: {last_line(report)}")

    def pytest_keyboard_interrupt(self, excinfo: Any) -> None:
        """Hear why the run ends before its last test: Ctrl-C, or what only the user can mend."""
        self.stopped = getattr(excinfo.value, "msg", None) or INTERRUPTED
        write_over()

    def pytest_report_teststatus(self, report: Phase, config: Any) -> tuple[str, str, str] | None:
        """Keep pytest from showing each test, unless it is asked to, and failed checks as errors.

        Its traceback of a check that failed would say no more than the answer does.
        """
        if config.option.verbose > 0:
            return None
        if report.failed and not crash_of(report):
            return "failed checks", "", ""
        others = {"passed": "", "failed": "error", "skipped": "skipped"}
        kind: str = report.outcome if report.when == "call" else others[report.outcome]
        return kind, "", ""

    def _hear(self, report: Phase) -> None:
        """Take in what a phase of a test tells; what crashed is no verdict."""
        told = told_by(report)
        for name in told["names"]:
            if name not in self.records:
                self.records[name] = read_record(self.folder / f"{name}.json")
        for name, values in told["checks"]:
            self.verdicts += verdicts_on(self.records[name], values)
        if report.failed and crash_of(report):
            self.unanswered.append(f"{report.nodeid}: {crash_of(report)}")

    def _show(self, nodeid: str, phases: Sequence[Phase]) -> None:
        """Print the line of a case, once unless another test on it ends otherwise."""
        self._done += 1
        names = [name for phase in phases for name in told_by(phase)["names"]]
        name = names[-1] if names else short(nodeid)
        faulty = [phase for phase in phases if not phase.passed]
        write_over()
        if (name in self._shown and not faulty) or sys.__stdout__ is None:
            return
        self._shown.add(name)
        words = reason_of(faulty[0]) if faulty else in_brief(self.records[name]) if names else ""
        place = f"{self._done}/{self._all}" if self._all else f"{self._done}"
        seconds = sum(phase.duration for phase in phases)
        ran = not faulty and names and TIERS[self.records[name].tier].rehearsal
        outcome = "ran" if ran else outcome_of(faulty)
        with redirect_stdout(sys.__stdout__):  # whose width counts
            line = case_line(outcome, name, words, place=place, seconds=seconds)
        sys.__stdout__.write(f"{line}\n")
        sys.__stdout__.flush()


def write_over(*lines: str) -> None:
    """Put lines, cut to its size, in the place of those that a terminal showed last.

    The cursor stays in the first one. Nothing happens where there is no terminal.
    """
    if sys.__stderr__ and is_live():
        columns, rows = get_terminal_size()  # zeros where a terminal does not tell them
        shown = [line[: (columns or 80) - 1] for line in lines[: max(1, (rows or 24) - 1)]]
        back = f"\x1b[{len(shown) - 1}A" if len(shown) > 1 else ""
        text = "\n".join(shown)
        sys.__stderr__.write(f"{CLEAR}{text}{back}")
        sys.__stderr__.flush()


def verdicts_on(record: Record, values: Mapping[str, float]) -> list[Verdict]:
    """Judge values by the bands of their record; a rehearsal's few steps need not hold them.

    Raises:
        RecordError: If one has no band.
    """
    bands, seed = bands_of(record), f"seed {record.seed}"
    unjudged = [name for name in values if name not in bands]
    if unjudged:
        raise RecordError(
            f"{record.case} of the {record.tier} tier cannot be judged. Found: no band for "
            f"{', '.join(unjudged)}. Expected: a row of suite/judge/bands.csv for each."
        )
    verdicts = [
        judge(record.case, metric, value, bands[metric], seed=seed)
        for metric, value in values.items()
    ]
    return [] if TIERS[record.tier].rehearsal else verdicts


def told_by(report: Phase) -> dict[str, Any]:
    """Give what a test told of itself; a process of pytest-xdist that crashed tells nothing."""
    return getattr(report, "told", None) or {"names": [], "checks": [], "crash": None}


def crash_of(report: Phase) -> str:
    """Give the error that a test ended in; empty if a check failed."""
    crash: str | None = told_by(report)["crash"]
    return last_line(report) if crash is None else crash


def reason_of(report: Phase) -> str:
    """Say why a test did not pass."""
    if report.skipped:
        return str(report.longrepr[2])
    return crash_of(report) or str(report.longreprtext).splitlines()[0]


def outcome_of(faulty: Sequence[Phase]) -> str:
    """Name what became of a test, by its phases that did not pass."""
    if not faulty:
        return "holds"
    return "NO ANSWER" if faulty[0].skipped or crash_of(faulty[0]) else "FAILS"


def last_line(report: Any) -> str:
    """Give the last line of what pytest tells of an error."""
    return (str(report.longreprtext).strip().splitlines() or ["it told nothing"])[-1]


def short(nodeid: str) -> str:
    """Give what tells a test from others: its case and seed, else its name."""
    return nodeid.rpartition("::")[2].partition("[")[2].rstrip("]") or nodeid
