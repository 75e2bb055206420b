"""`parity`: compare the first steps of every release with those of the default row."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from suite.commands.options import (
    ERROR_STATUS,
    REGRESSION_STATUS,
    release_table,
    unpinned,
    write_text,
)
from suite.errors import RecordError, SuiteError
from suite.judge.parity.compare import Comparison, compare_releases, traces
from suite.records import Record
from suite.report.parity import parity_markdown, parity_text
from suite.report.text import markdown, printable
from suite.store import read_records


class Report(NamedTuple):
    """What is printed about one release.

    Attributes:
        release: Name of the release.
        comparisons: One for each of its traces.
        error: Why its traces cannot be compared; empty if they can.
    """

    release: str
    comparisons: list[Comparison]
    error: str = ""

    @property
    def status(self) -> int:
        """The exit status that this release alone asks for."""
        if self.error:
            return ERROR_STATUS
        return 0 if all(found.agrees for found in self.comparisons) else REGRESSION_STATUS


def main(arguments: Sequence[str]) -> int:
    """Compare every release that has traces with the reference, print reports, return the status.

    An unpinned release counts for the status only if it is named, as in `compare`.

    Raises:
        SuiteError: If there are no traces to compare, or none to compare them with.
    """
    options = _parser().parse_args(arguments)
    table = release_table()
    name = options.reference or table["default"]
    reference = _reference(options.records / name / options.tier, other=options.release)
    reports = []
    for folder in sorted(options.records.glob(f"{options.release or '*'}/{options.tier}")):
        report = None if folder.parent.name == name else _report(folder, reference)
        if report:
            _print(report)
            reports.append(report)
    if not reports:
        release = options.release or "RELEASE"
        raise _no_traces(options.records / release / options.tier, release)
    if options.markdown:
        write_text(options.markdown, "\n".join(map(_page, reports)))
    return _status(reports, no_gates=set() if options.release else unpinned(table))


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="nox -s parity --", description="Compare the first steps of the releases."
    )
    parser.add_argument("--records", type=Path, default=Path("records"), metavar="DIR")
    parser.add_argument(
        "--reference", metavar="RELEASE", help="compare with this one; else the default row"
    )
    parser.add_argument("--release", help="compare this release alone")
    parser.add_argument("--tier", default="small")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report here too")
    return parser


def _reference(folder: Path, *, other: str | None) -> list[Record]:
    """Read the traces that others are compared with.

    Raises:
        SuiteError: If there are none, or the one `other` release is the reference itself.
    """
    name = folder.parent.name
    if other == name:
        raise SuiteError(
            f"{name} is the reference itself, so there is nothing to compare. Name another release "
            "with --release, or another reference with --reference."
        )
    found = traces(read_records(folder))
    if not found:
        raise _no_traces(folder, name)
    return found


def _report(folder: Path, reference: Sequence[Record]) -> Report | None:
    """Compare the traces of one release with the reference; None if it has no traces.

    Traces that cannot be read or compared are an error of this release alone.
    """
    release = folder.parent.name
    try:
        records = traces(read_records(folder))
        return Report(release, compare_releases(records, reference)) if records else None
    except RecordError as error:
        return Report(release, [], str(error))


def _print(report: Report) -> None:
    """Print what was found, or why nothing could be compared."""
    if report.error:
        print(f"error: {printable(report.error)}", file=sys.stderr)
    else:
        print(f"{parity_text(report.comparisons)}\n")


def _page(report: Report) -> str:
    """Write the same in Markdown."""
    if report.error:
        return f"## {markdown(report.release)}, not compared\n\n{markdown(report.error)}\n"
    return parity_markdown(report.comparisons)


def _status(reports: Iterable[Report], *, no_gates: Collection[str]) -> int:
    """Decide the exit status; a divergence counts more than an error."""
    statuses = {report.status for report in reports if report.release not in no_gates}
    return next((s for s in (REGRESSION_STATUS, ERROR_STATUS) if s in statuses), 0)


def _no_traces(folder: Path, release: str) -> SuiteError:
    """Make the error about a folder without traces of first steps."""
    return SuiteError(
        f'{folder} holds no traces of first steps. Make them with `nox -s "benchmarks({release})"`.'
    )
