"""`parity`: the first steps of every release compared with the default row's."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from suite.commands.options import (
    ERROR_STATUS,
    REGRESSION_STATUS,
    release_table,
    unpinned,
    write_text,
)
from suite.errors import RecordError, SuiteError
from suite.judge.parity.compare import compare_releases, traces
from suite.records import Record
from suite.report.parity import parity_markdown, parity_text
from suite.store import read_records


def main(arguments: Sequence[str]) -> int:
    """Compare the first steps of every release that has traces with the reference's.

    Those of an unpinned release count only where it is named, as in `compare`.
    """
    options = _parser().parse_args(arguments)
    table = release_table()
    name = options.reference or table["default"]
    if options.release == name:
        raise SuiteError(
            f"{name} is the reference itself, so there is nothing to compare. Name another release "
            "with --release, or another reference with --reference."
        )
    reference = traces(read_records(options.records / name / options.tier))
    if not reference:
        raise _no_traces(options.records / name / options.tier, name)
    folders = sorted(options.records.glob(f"{options.release or '*'}/{options.tier}"))
    reports = [
        (folder.parent.name, *report)
        for folder in folders
        if folder.parent.name != name
        for report in _parity_reports(folder, reference)
    ]
    if not reports:
        release = options.release or "RELEASE"
        raise _no_traces(options.records / release / options.tier, release)
    if options.markdown:
        write_text(options.markdown, "\n".join(page for _, page, _ in reports))
    no_gates = set() if options.release else unpinned(table)
    statuses = {status for row, _, status in reports if row not in no_gates}
    return next((s for s in (REGRESSION_STATUS, ERROR_STATUS) if s in statuses), 0)


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="nox -s parity --", description="Compare the first steps of the releases."
    )
    parser.add_argument("--records", type=Path, default=Path("records"), metavar="DIR")
    parser.add_argument(
        "--reference", metavar="RELEASE", help="with this one; else the default row"
    )
    parser.add_argument("--release", help="compare this release alone")
    parser.add_argument("--tier", default="small")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report here too")
    return parser


def _parity_reports(folder: Path, reference: Sequence[Record]) -> Iterator[tuple[str, int]]:
    """Print what one release's traces show; yield that as Markdown and the status, if it has any.

    Traces that cannot be compared are an error of this release alone.
    """
    try:
        records = traces(read_records(folder))
        found = compare_releases(records, reference) if records else []
    except RecordError as error:
        print(f"error: {error}", file=sys.stderr)
        yield f"## {folder.parent.name}, not compared\n\n{error}\n", ERROR_STATUS
        return
    if found:
        print(f"{parity_text(found)}\n")
        agree = all(comparison.agrees for comparison in found)
        yield parity_markdown(found), 0 if agree else REGRESSION_STATUS


def _no_traces(folder: Path, release: str) -> SuiteError:
    """Return the error of a folder without traces of first steps."""
    return SuiteError(
        f'{folder} holds no traces of first steps. Make them with `nox -s "benchmarks({release})"`.'
    )
