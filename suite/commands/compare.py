"""`compare`: the records judged against the stored baselines."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from suite.commands.options import REGRESSION_STATUS, release_table, unpinned, write_text
from suite.errors import SuiteError
from suite.judge.baselines import REBASELINE, version_notes
from suite.judge.compare import compare
from suite.judge.verdicts import Verdict
from suite.records import Record
from suite.report.grid import terminal_width
from suite.report.verdicts import markdown_table, summary, text_table
from suite.store import read_records, stored_cases

QUICKSTART = "quickstart"


def main(arguments: Sequence[str]) -> int:
    """Judge every release and tier that has records, print the reports, return the status."""
    options = _parser().parse_args(arguments)
    folders = _measured(options.records, release=options.release, tier=options.tier)
    verdicts: list[Verdict] = []
    pages: list[str] = []
    unjudged: list[Path] = []
    for folder in folders:
        measured = read_records(folder)
        against = options.against or folder.parent.name
        place = options.baselines / against / folder.name
        baseline = read_records(place)
        if not baseline:
            unjudged.append(place)
            continue
        heading = _heading(measured, baseline, against)
        found = compare(baseline, measured)
        table = text_table(found, width=terminal_width(), colour=sys.stdout.isatty())
        print("\n".join([*heading, "", table, "", summary(found), ""]))
        pages.append(_page(heading, found))
        verdicts += found
    if options.markdown:
        write_text(options.markdown, "\n".join(pages))
    if any(verdict.failed for verdict in verdicts):
        return REGRESSION_STATUS
    if unjudged:
        raise SuiteError(
            f"{', '.join(map(str, unjudged))} holds no baseline, so nothing can be judged. Restore "
            "it from version control, judge by another release's with --against RELEASE, name the "
            f"release to judge with --release, or make a baseline with `{REBASELINE}`."
        )
    return 0


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="nox -s compare --", description="Judge the records against the stored baselines."
    )
    parser.add_argument("--records", type=Path, default=Path("records"), metavar="DIR")
    parser.add_argument("--baselines", type=Path, default=Path("baselines"), metavar="DIR")
    parser.add_argument("--release", help="judge this release alone")
    parser.add_argument("--tier", help="judge this tier alone")
    parser.add_argument("--against", metavar="RELEASE", help="baseline of another release")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report here too")
    return parser


def _measured(records: Path, *, release: str | None, tier: str | None) -> list[Path]:
    """Return the folders of records, by release and tier, or raise SuiteError if there is none.

    Those of the quickstart count only where `tier` names it: synthetic signs tell nothing of a
    release. Those of an unpinned release count only where `release` names it: it is no gate.
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


def _heading(measured: Sequence[Record], baseline: Sequence[Record], against: str) -> list[str]:
    """Return what is held against what, and which versions differ within one release."""
    release, tier = measured[0].release, measured[0].tier
    counts = f"{len(measured)} records against {len(baseline)} of the baseline of {against}"
    notes = version_notes(baseline, measured) if release == against else []
    return [f"{release} {tier}: {counts}", *(f"note: {note}" for note in notes)]


def _page(heading: Sequence[str], verdicts: Sequence[Verdict]) -> str:
    """Return the report of one release and tier in Markdown."""
    words = "\n".join(f"- {line.strip()}" for line in summary(verdicts).splitlines())
    notes = "".join(f"{note}\n\n" for note in heading[1:])
    return f"## {heading[0]}\n\n{notes}{markdown_table(verdicts)}\n\n{words}\n"
