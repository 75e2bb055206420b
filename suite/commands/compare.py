"""`compare`: judge the records by the stored baselines."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from suite.commands.options import REGRESSION_STATUS, release_table, unpinned, write_text
from suite.errors import SuiteError
from suite.judge.baselines import REBASELINE, version_notes
from suite.judge.compare import compare
from suite.judge.verdicts import Verdict
from suite.records import Record
from suite.report.grid import terminal_width
from suite.report.text import markdown, printable
from suite.report.verdicts import markdown_table, summary, text_table
from suite.store import read_records, stored_cases

QUICKSTART = "quickstart"


class Report(NamedTuple):
    """What is printed about one release and tier.

    Attributes:
        heading: What was judged by what, then notes on versions that differ.
        verdicts: One for each number.
    """

    heading: list[str]
    verdicts: list[Verdict]


def main(arguments: Sequence[str]) -> int:
    """Judge every release and tier that has records, print the reports, return the status.

    Raises:
        SuiteError: If there are no records, or if nothing failed but a baseline is missing.
    """
    options = _parser().parse_args(arguments)
    reports: list[Report] = []
    unjudged: list[Path] = []
    for folder in _folders(options.records, release=options.release, tier=options.tier):
        against = options.against or folder.parent.name
        place = options.baselines / against / folder.name
        report = _report(folder, place, against=against)
        if report:
            print(_text(report))
            reports.append(report)
        else:
            unjudged.append(place)
    if options.markdown:
        write_text(options.markdown, "\n".join(map(_page, reports)))
    return _status(reports, unjudged)


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="nox -s compare --", description="Judge the records against the stored baselines."
    )
    parser.add_argument("--records", type=Path, default=Path("records"), metavar="DIR")
    parser.add_argument("--baselines", type=Path, default=Path("baselines"), metavar="DIR")
    parser.add_argument("--release", help="judge this release alone")
    parser.add_argument("--tier", help="judge this tier alone")
    parser.add_argument("--against", metavar="RELEASE", help="judge by its baseline")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report here too")
    return parser


def _folders(records: Path, *, release: str | None, tier: str | None) -> list[Path]:
    """Find the folders of records to judge, sorted by release and tier.

    The quickstart is judged only if `tier` names it, since synthetic signs say nothing about a
    release. An unpinned release is judged only if `release` names it, since it is no gate.

    Raises:
        SuiteError: If there is no folder that holds records.
    """
    no_gates = unpinned(release_table())
    found = sorted(
        path
        for path in records.glob(f"{release or '*'}/{tier or '*'}")
        if path.is_dir()
        and (tier or path.name != QUICKSTART)
        and (release or path.parent.name not in no_gates)
    )
    folders = [folder for folder in found if stored_cases(folder)]
    if not folders:
        name = release or "tf-2.21"
        raise SuiteError(
            f"{records / (release or '*') / (tier or '*')} holds no records, expected one a case "
            f'and seed. Make them with `nox -s "benchmarks({name})"`.'
        )
    return folders


def _report(folder: Path, place: Path, *, against: str) -> Report | None:
    """Judge the records in `folder` by the baseline in `place`; None if there is no baseline."""
    measured, baseline = read_records(folder), read_records(place)
    if not baseline:
        return None
    return Report(_heading(measured, baseline, against), compare(baseline, measured))


def _heading(measured: Sequence[Record], baseline: Sequence[Record], against: str) -> list[str]:
    """Say what is judged by what, and which versions differ within one release."""
    release, tier = measured[0].release, measured[0].tier
    counts = f"{len(measured)} records against {len(baseline)} of the baseline of {against}"
    notes = version_notes(baseline, measured) if release == against else []
    return [f"{release} {tier}: {counts}", *(f"note: {note}" for note in notes)]


def _text(report: Report) -> str:
    """Write a report for the terminal."""
    table = text_table(report.verdicts, width=terminal_width(), colour=sys.stdout.isatty())
    heading = map(printable, report.heading)
    return "\n".join([*heading, "", table, "", summary(report.verdicts), ""])


def _page(report: Report) -> str:
    """Write a report in Markdown."""
    title, *notes = map(markdown, report.heading)
    lines = summary(report.verdicts).split("\n")
    words = "\n".join(f"- {markdown(line.strip())}" for line in lines)
    return "\n\n".join([f"## {title}", *notes, markdown_table(report.verdicts), f"{words}\n"])


def _status(reports: Iterable[Report], unjudged: Sequence[Path]) -> int:
    """Decide the exit status; a regression counts more than a missing baseline.

    Raises:
        SuiteError: If nothing failed, but a baseline is missing.
    """
    if any(verdict.failed for report in reports for verdict in report.verdicts):
        return REGRESSION_STATUS
    if unjudged:
        raise SuiteError(
            f"{', '.join(map(str, unjudged))} holds no baseline, so nothing can be judged. Restore "
            "it from version control, judge by another release's with --against RELEASE, name the "
            f"release to judge with --release, or make a baseline with `{REBASELINE}`."
        )
    return 0
