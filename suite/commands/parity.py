"""`parity`: compare the first steps of every release with those of the default row."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from suite.commands.options import (
    ERROR_STATUS,
    REGRESSION_STATUS,
    named,
    release_table,
    unpinned,
    write_text,
)
from suite.commands.tracing import Found, Task, compared
from suite.errors import RecordError, SuiteError
from suite.judge.parity.compare import check_traces
from suite.judge.staleness import present
from suite.report.parity import parity_summary
from suite.report.text import markdown, printable
from suite.report.verdicts import ACCEPT, LEAVE_OUT, MOST, REFUSE
from suite.store import files_by_case, places, seed_of
from suite.tables import TIERS, asked

if TYPE_CHECKING:
    from typing import TypeAlias

QUESTION = "parity"  # and the beginning of the names of its cases
Files: TypeAlias = "dict[tuple[str, int], Path]"
"""Traces of a release, by case and seed."""


@dataclass
class Report:
    """What came of the traces of one release.

    Attributes:
        release: Name of the release.
        reference: Name of the release that it is compared with.
        traces: How many were compared.
        agree: How many of them agree.
        known: How many of these but for known differences.
        texts: What is printed of them: of the first `MOST` that diverge, or of all.
        pages: Every one as Markdown, if that is wanted.
        stale: Those that were made with what is no longer there.
        error: Why the release cannot be compared; empty if it can.
    """

    release: str
    reference: str
    traces: int = 0
    agree: int = 0
    known: int = 0
    texts: list[str] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    error: str = ""

    @property
    def status(self) -> int:
        """The exit status that this release alone asks for."""
        if self.agree < self.traces:
            return REGRESSION_STATUS
        return 0 if self.traces and not self.error else ERROR_STATUS

    @property
    def summary(self) -> str:
        """How many traces agree."""
        agree, known, traces = self.agree, self.known, self.traces
        return parity_summary(self.release, self.reference, agree=agree, known=known, traces=traces)

    def count(self, found: Found) -> None:
        """Count what came of one trace, and keep what must be told of it."""
        if found.error or found.stale:
            self.error = self.error or found.error
            self.stale += [found.stale] if found.stale else []
            return
        self.traces += 1
        self.agree += found.agrees
        self.known += found.agrees and found.known
        if found.text and (found.agrees or len(self.texts) < MOST):
            self.texts.append(found.text)
        if found.page:
            self.pages.append(found.page)


def main(arguments: Sequence[str]) -> int:
    """Compare every release that has traces with the reference, print reports, return the status.

    An unpinned release counts for the status only if it is named, as in `compare`.

    Raises:
        SuiteError: If there are no traces to compare, or none to compare them with.
    """
    options = _parser().parse_args(arguments)
    table = release_table()
    name = options.reference or table["default"]
    reference = _reference(options, name)
    reports, files = _releases(options, name, reference)
    now = (
        {}
        if options.stale == ACCEPT
        else {release: present(release, options.tier) for release in (name, *reports)}
    )
    tasks = [
        Task(
            reference=path,
            others={release: own[key] for release, own in files.items() if key in own},
            now=now,
            everything=options.verbose,
            page=options.markdown is not None,
        )
        for key, path in sorted(reference.items())
    ]
    for found in compared([task for task in tasks if task.others]):
        reports[found.release].count(found)
    for report in reports.values():
        _close(report, options.stale)
        _print(report)
    if options.markdown:
        write_text(options.markdown, "\n".join(map(_page, reports.values())))
    return _status(reports.values(), no_gates=set() if options.release else unpinned(table))


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="nox -s parity --", description="Compare the first steps of the releases."
    )
    parser.add_argument("--records", type=Path, default=Path("records"), metavar="DIR")
    parser.add_argument(
        "--reference",
        type=named,
        metavar="RELEASE",
        help="compare with this one; else the default row",
    )
    parser.add_argument("--release", type=named, help="compare this release alone")
    parser.add_argument("--tier", choices=TIERS, default="small")
    parser.add_argument(
        "--stale", choices=(REFUSE, LEAVE_OUT, ACCEPT), default=REFUSE,
        help="traces made with another lock, code or data than now: an error (the default), left "
        "out, or compared as they are",
    )  # fmt: skip
    parser.add_argument("--partial", action="store_true", help="cases may be missing")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write every trace here")
    parser.add_argument("-v", "--verbose", action="store_true", help="print those that agree, too")
    return parser


def _reference(options: argparse.Namespace, name: str) -> Files:
    """Find the traces that others are compared with.

    Raises:
        SuiteError: If there are none, one of the tier's cases is missing, or the one release that
            was named is the reference itself.
    """
    folder = options.records / name / options.tier
    if options.release == name:
        raise SuiteError(
            f"{name} is the reference itself, so there is nothing to compare. Name another release "
            "with --release, or another reference with --reference."
        )
    found = _traces(folder)
    if not found:
        raise _no_traces(folder, name)
    wanted = {case for case in asked(options.tier) if case.startswith(QUESTION)}
    missing = sorted(wanted - {case for case, _ in found})
    if missing and not options.partial:
        raise SuiteError(
            f"{folder} holds no trace of {', '.join(missing)}, which the tier asks for. Make it "
            f'with `nox -s "benchmarks({name})"`, or compare the others with --partial.'
        )
    return found


def _traces(folder: Path) -> Files:
    """Find the files of the traces of one release, by their names.

    Raises:
        RecordError: If the folder cannot be read.
    """
    return {
        (case, seed_of(path)): path
        for case, paths in files_by_case(folder).items()
        if case.startswith(QUESTION)
        for path in paths
    }


def _releases(
    options: argparse.Namespace, name: str, reference: Files
) -> tuple[dict[str, Report], dict[str, Files]]:
    """Find the traces of every other release; what cannot be read is its release's error alone.

    Raises:
        SuiteError: If there are none.
    """
    reports, files = {}, {}
    rows = [row["name"] for row in release_table().get("releases", [])]
    for place in places(options.records, releases=rows, tiers=TIERS):
        release = place.release
        if release in ("", name) or (options.release or release) != release:
            continue
        if place.tier not in ("", options.tier):
            continue
        try:
            own = {} if place.fault else _traces(place.path)
            if own or place.fault:
                error = f"{place.path}: {place.fault}" if place.fault else ""
                reports[release] = Report(release, name, error=error)
                check_traces(own or reference, reference, release=release, reference=name)
                files[release] = own
        except RecordError as error:
            reports[release] = Report(release, name, error=str(error))
    if not reports:
        wanted = options.release or "RELEASE"
        raise _no_traces(options.records / wanted / options.tier, wanted)
    return reports, files


def _close(report: Report, stale: str) -> None:
    """Turn what became of stale traces into an error, unless they may be left out."""
    if report.stale and (stale == REFUSE or not report.traces):
        report.error = report.error or (
            f"{len(report.stale)} traces of {report.release} or of its reference are stale, such "
            f'as {report.stale[0]}. Make them anew with `nox -s "benchmarks({report.release})"`'
            f", or see --stale."
        )


def _print(report: Report) -> None:
    """Print what was found, or why nothing could be compared."""
    if report.error:
        print(f"error: {printable(report.error)}", file=sys.stderr)
    if report.traces:
        word = "trace" if len(report.stale) == 1 else "traces"
        told = report.stale and not report.error
        left_out = f" {len(report.stale)} stale {word} left out." if told else ""
        print("\n".join([f"{report.summary}{left_out}", *report.texts]))


def _page(report: Report) -> str:
    """Write the same in Markdown."""
    if not report.traces:
        return f"## {markdown(report.release)}, not compared\n\n{markdown(report.error)}\n"
    title = markdown(f"{report.release} against {report.reference}, step by step")
    parts = [f"## {title}", markdown(report.summary), markdown(report.error), *report.pages]
    return "\n\n".join(filter(None, parts)) + "\n"


def _status(reports: Iterable[Report], *, no_gates: Collection[str]) -> int:
    """Decide the exit status; a divergence counts more than an error."""
    statuses = {report.status for report in reports if report.release not in no_gates}
    return next((s for s in (REGRESSION_STATUS, ERROR_STATUS) if s in statuses), 0)


def _no_traces(folder: Path, release: str) -> SuiteError:
    """Make the error about a folder without traces of first steps."""
    return SuiteError(
        f'{folder} holds no traces of first steps. Make them with `nox -s "benchmarks({release})"`.'
    )
