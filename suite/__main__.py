"""The command line: ``compare``, ``rebaseline`` and ``download``."""
# ruff: noqa: T201 - to print is what a command line is for

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from suite.baselines import REBASELINE, compare, rebaseline, version_notes
from suite.errors import SuiteError
from suite.records import Record, read_records, stored_cases
from suite.report.table import markdown_table, summary, terminal_width, text_table
from suite.verdicts import Verdict

REGRESSION_STATUS = 1
ERROR_STATUS = 2
QUICKSTART = "quickstart"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0, 1 for a regression, 2 for an error."""
    options = _parser().parse_args(arguments)
    commands = {"compare": _compare, "rebaseline": _rebaseline, "download": _download}
    try:
        return commands[options.command](options)
    except SuiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return ERROR_STATUS


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    folders = argparse.ArgumentParser(add_help=False)
    folders.add_argument("--records", type=Path, default=Path("records"), metavar="DIR")
    folders.add_argument("--baselines", type=Path, default=Path("baselines"), metavar="DIR")
    parser = argparse.ArgumentParser(prog="python -m suite")
    commands = parser.add_subparsers(dest="command", required=True)
    judge = commands.add_parser("compare", parents=[folders], help="judge the records")
    judge.add_argument("--release", help="judge this release alone")
    judge.add_argument("--tier", help="judge this tier alone")
    judge.add_argument("--against", metavar="RELEASE", help="baseline of another release")
    judge.add_argument("--markdown", type=Path, metavar="FILE", help="write the report here too")
    new = commands.add_parser("rebaseline", parents=[folders], help="make records the baseline")
    new.add_argument("--release", required=True)
    new.add_argument("--tier", required=True)
    new.add_argument("--removed", action="append", default=[], metavar="CASE", help="is gone")
    commands.add_parser("download", help="download GTSRB's official archives")
    return parser


def _compare(options: argparse.Namespace) -> int:
    """Judge every release and tier that has records, print the reports, return the status."""
    folders = _measured(options.records, release=options.release, tier=options.tier)
    verdicts: list[Verdict] = []
    pages: list[str] = []
    for folder in folders:
        measured = read_records(folder)
        against = options.against or folder.parent.name
        baseline = read_records(options.baselines / against / folder.name)
        if not baseline:
            raise SuiteError(
                f"{options.baselines / against / folder.name} holds no baseline, so nothing can be "
                f"judged. Restore it from version control, judge by another release's with "
                f"--against RELEASE, or make one with `{REBASELINE}`."
            )
        heading = _heading(measured, baseline, against)
        found = compare(baseline, measured)
        table = text_table(found, width=terminal_width(), colour=sys.stdout.isatty())
        print("\n".join([*heading, "", table, "", summary(found), ""]))
        pages.append(_page(heading, found))
        verdicts += found
    if options.markdown:
        _write_text(options.markdown, "\n".join(pages))
    return REGRESSION_STATUS if any(verdict.failed for verdict in verdicts) else 0


def _measured(records: Path, *, release: str | None, tier: str | None) -> list[Path]:
    """Return the folders of records, by release and tier, or raise SuiteError if there is none.

    Those of the quickstart count only where `tier` names it: synthetic signs tell nothing of a
    release.
    """
    found = sorted(
        path
        for path in records.glob(f"{release or '*'}/{tier or '*'}")
        if path.is_dir() and (tier or path.name != QUICKSTART)
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


def _write_text(path: Path, text: str) -> None:
    """Write a report or raise SuiteError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SuiteError(
            f"{path} cannot be written: {error.strerror}. Name another file with --markdown."
        ) from error


def _rebaseline(options: argparse.Namespace) -> int:
    """Make the records of one release and tier its baseline and say which cases it holds."""
    target = options.baselines / options.release / options.tier
    former = stored_cases(target)
    records = rebaseline(
        options.records,
        options.baselines,
        release=options.release,
        tier=options.tier,
        removed=options.removed,
    )
    cases = {record.case for record in records}
    print(f"{target}: {len(records)} records of {len(cases)} cases")
    for word, names in (("new", cases - former), ("removed", former - cases)):
        if names:
            print(f"{word}: {', '.join(sorted(names))}")
    print("Commit the baseline alone, with a line in CHANGELOG.md that gives the reason.")
    return 0


def _download(options: argparse.Namespace) -> int:
    """Download GTSRB if it is not there yet and say where it lies."""
    from suite.data import download_gtsrb  # noqa: PLC0415 - the other commands need no data

    del options
    print(download_gtsrb())
    return 0


if __name__ == "__main__":
    sys.exit(main())
