"""What became of a row, read from the reports that nox and pytest leave in files.

Nothing is decided by what they print. pytest's JUnit file is our own and few of its attributes are
read, so the standard library's XML parser will do; it is not given files of an absurd size.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from suite.files import parse_json, read_within, tail_of
from suite.judge.compatibility import Outcome
from suite.locks import Fault, one_line
from suite.releases import Release

REPORT_BYTES = 50_000_000  # pytest's has about 100 kB
REASON_LENGTH = 300  # characters: it goes into a cell of a table
TAIL_LINES = 6  # of a log: what uv or pytest's command line complain about fits
SHELL_SIGNAL = 128  # a shell's exit status for a command that a signal killed, less the signal
TRACED = "in user code:"  # begins TensorFlow's message of an error while it traces a function
ANEW = "Make the states anew with `nox -s states`."
OTHER_NETWORK = (
    "This release makes another network of the same layers. Only where the suite's own network was "
    "changed are its states made anew, with `nox -s states`."
)
"""What the first means where a release is measured; the code that says it is part of every record's
digest, and stays as it is while nothing else there changes."""

OF_CASE = re.compile(r"\[(.+?)-seed(\d+)[-\]]")  # in the name of a benchmark's test
KIND = re.compile(r"[\w.]+(Error|Exception|Warning|Interrupt)\b")  # begins the words of an error
ARGUMENTS = re.compile(r"\s*Arguments received by .*")  # which Keras adds to those of a layer's
SPEECHLESS = ("collection failure", "internal error")  # pytest's messages without a reason

FRAMEWORK, ASKED, LOADED = "framework", "asked for", "loaded"
STOPPED = "stopped"
"""What conftest.py notes in pytest's report: whether the framework was loaded, and what ended the
run before its last test."""


class Files(NamedTuple):
    """The files of a row's last run, beside its records.

    Attributes:
        log: All that nox, uv and pytest printed.
        made: Nox's report of making the environment.
        run: Nox's report of the benchmarks.
        tests: Pytest's report of the benchmarks, in JUnit's XML.
    """

    log: Path
    made: Path
    run: Path
    tests: Path


class NoxReport(NamedTuple):
    """What nox reports of a session.

    Attributes:
        succeeded: Whether it ran to its end; None if there is no report that can be read.
        reason: Why not, if nox itself stopped it; empty if one of its commands failed.
    """

    succeeded: bool | None = None
    reason: str = ""


class PytestReport(NamedTuple):
    """What pytest reports of a run.

    Attributes:
        ran: How many tests it names that were not skipped; None if there is no report that can be
            read.
        imported: Whether the framework could be imported; None if that is not known.
        stopped: Why the run was ended before its last test; empty if it was not.
        failure: The first test that failed, and what it says; empty if none did.
        skipped: The first test that was skipped, and why; empty if none was.
    """

    ran: int | None = None
    imported: bool | None = None
    stopped: str = ""
    failure: str = ""
    skipped: str = ""


def files_of(release: Release, records: Path, job: str = "matrix") -> Files:
    """Name the files of a row's last run for a job, such as `matrix` or `gate`."""
    folder = records / release.name
    names = (".log", "-made.json", "-run.json", "-tests.xml")
    return Files(*(folder / f"{job}{name}" for name in names))


def outcome_of(files: Files, *, status: int, seconds: float, lock_digest: str) -> Outcome:
    """Tell what became of a row that has ended.

    A missing or damaged report makes what it would tell unknown, and the row no pass.

    Args:
        files: Of its run.
        status: Exit status of its process.
        seconds: How long it ran.
        lock_digest: Digest of its lock.
    """
    made, run, tests = nox_report(files.made), nox_report(files.run), pytest_report(files.tests)
    fault = tests.stopped or tests.failure or tests.skipped  # what was not asked is no pass
    reported = made.succeeded and run.succeeded and tests.ran
    passed = status == 0 and bool(reported) and not fault
    last = f"{_silence(made, run, tests)}{_last_words(files.log)}"
    reasons = (made.reason, fault, run.reason, _killed(status), last)
    return Outcome(
        passed=passed,
        installs=made.succeeded,
        imports=tests.imported,
        seconds=round(seconds, 1),
        reason="" if passed else next(filter(None, reasons)),
        lock_digest=lock_digest,
        date=_today(),
    )


def untried(fault: Fault, *, lock_digest: str) -> Outcome:
    """Tell what became of a row that was not started because of its lock."""
    return Outcome(
        passed=False,
        installs=False if fault.unresolvable else None,
        imports=None,
        seconds=0.0,
        reason=fault.text,
        lock_digest=lock_digest,
        date=_today(),
    )


def nox_report(path: Path) -> NoxReport:
    """Read nox's report of one session; without succeeded if it is missing or damaged."""
    try:
        session = parse_json(read_within(path, REPORT_BYTES))["sessions"][0]
        return NoxReport(session["result"] == "success", _short(session.get("reason") or ""))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return NoxReport()


def pytest_report(path: Path) -> PytestReport:
    """Read pytest's report of a run; ran is None if it is missing or damaged."""
    suite = _tests(path)
    if suite is None:
        return PytestReport()
    notes = {note.get("name"): note.get("value") for note in suite.iterfind("properties/property")}
    return PytestReport(
        ran=len(suite.findall("testcase")) - len(suite.findall("testcase/skipped")),
        imported=_imported(suite, notes.get(FRAMEWORK)),
        stopped=one_line(notes.get(STOPPED) or ""),
        failure=_first(suite, "error", "failure"),
        skipped=_first(suite, "skipped"),
    )


def failures(path: Path) -> dict[tuple[str, int], str]:
    """Read in pytest's report, by case and seed, what the first test that failed said."""
    suite = _tests(path)
    found: dict[tuple[str, int], str] = {}
    for test, result in _ended(suite, "error", "failure") if suite is not None else ():
        own = OF_CASE.search(test.get("name") or "")
        if own:
            found.setdefault((own.group(1), int(own.group(2))), _short(_message(result)))
    return found


def _tests(path: Path) -> ElementTree.Element | None:
    """Read pytest's report of a run; None if it is missing or damaged."""
    try:
        report = read_within(path, REPORT_BYTES)
        return ElementTree.fromstring(report).find("testsuite")  # noqa: S314 - pytest's, and small
    except (OSError, ValueError, LookupError, ElementTree.ParseError):
        return None


def _ended(
    suite: ElementTree.Element, *ends: str
) -> Iterator[tuple[ElementTree.Element, ElementTree.Element]]:
    """Yield the tests that ended in one of some ways, each with what it says."""
    for test in suite.iterfind("testcase"):
        yield from ((test, result) for result in test if result.tag in ends)


def _imported(suite: ElementTree.Element, framework: str | None) -> bool | None:
    """Tell whether the framework was loaded; it was not if a test's set-up failed before that."""
    if framework == LOADED:
        return True
    return False if framework == ASKED and suite.find("testcase/error") is not None else None


def _first(suite: ElementTree.Element, *ends: str) -> str:
    """Name the first test that ended in one of some ways and quote what it says; or nothing."""
    for test, result in _ended(suite, *ends):
        name = ".".join(filter(None, (test.get("classname"), test.get("name"))))
        skipped = "skipped: " if result.tag == "skipped" else ""
        return _short(f"{skipped}{name}: {_message(result)}")
    return ""


def _message(result: ElementTree.Element) -> str:
    """Quote why a test failed: its message, or the last line of the traceback if that says more."""
    message = (result.get("message") or "").replace(ANEW, OTHER_NETWORK)
    lines = (result.text or "").strip().splitlines()
    said = [line[1:].strip() for line in lines if line.startswith("E ") and line[1:].strip()]
    errors = [place for place, line in enumerate(said) if KIND.match(line)]
    if TRACED in message and errors:  # the error itself stands below the traceback in its message
        return ARGUMENTS.sub("", " ".join(said[errors[-1] :]))
    return lines[-1] if lines and message in SPEECHLESS else message


def _killed(status: int) -> str:
    """Name the signal that ended nox, if one did."""
    number = -status if status < 0 else status - SHELL_SIGNAL
    return f"killed by signal {number}" if number > 0 else ""


def _silence(made: NoxReport, run: NoxReport, tests: PytestReport) -> str:
    """Say which report is missing or names no test, so that only the log is left to quote."""
    if made.succeeded is False:  # and nothing else was tried
        return ""
    if None in (made.succeeded, run.succeeded):
        return "nox left no report; from its log: "
    if not tests.ran:
        missing = "pytest left no report" if tests.ran is None else "no benchmark ran"
        return f"{missing}; from its log: "
    return ""


def _last_words(log: Path) -> str:
    """Quote the end of a log for a person to read."""
    try:
        text = tail_of(log).decode("utf-8", errors="replace")
    except OSError as error:
        return f"{log} cannot be read: {error.strerror}"
    text = re.sub(r"nox > Command .* failed with", "the last command failed with", text)
    said = [line for line in text.splitlines() if line.strip() and not line.startswith("nox > ")]
    end = one_line(re.sub(r"([-=_!])\1{2,}", " ", " ".join(said[-TAIL_LINES:])))
    if len(end) > REASON_LENGTH:
        end = f"... {end[-REASON_LENGTH:].partition(' ')[2]}"
    return end or "it printed nothing"


def _short(text: str) -> str:
    return textwrap.shorten(one_line(text), REASON_LENGTH, placeholder=" ...")


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
