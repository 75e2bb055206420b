"""`fix-table`: what every fix is worth, and which claims of the published answer hold."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from suite.commands.options import check_figure, folders_of, release_table, reporting
from suite.errors import SuiteError
from suite.judge.study import photographed, studies
from suite.records import Record
from suite.report.claims import claims_markdown, claims_text
from suite.report.curves import curves_figure
from suite.report.grid import terminal_width
from suite.report.pages import write_section
from suite.report.study import fixes_markdown, fixes_text
from suite.store import read_records

STUDIES = ("study", "full-study")


def main(arguments: Sequence[str]) -> int:
    """Print what every fix is worth and which claims of the published answer hold."""
    options = _parser().parse_args(arguments)
    roots = ", ".join(map(str, options.records))
    releases = [row["name"] for row in release_table().get("releases", [])]
    folders = [path for root in options.records for path in folders_of(root, releases, STUDIES)]
    records = [record for folder in folders for record in read_records(folder)]
    if options.figure:
        check_figure(options.figure)
    with reporting(roots):
        if not studies(records):
            raise SuiteError(
                f"{roots} holds no study of the fixes. Make one with `nox -s study -- tf-2.21`."
            )
        width = terminal_width()
        print(f"{fixes_text(records, width=width)}\n\n{claims_text(records, width=width)}")
        if options.figure:
            _draw(records, options.figure)
        if options.page:
            write_section(options.page, _page(records, options), section="fixes")
    return 0


def _draw(records: Iterable[Record], figure: Path) -> None:
    """Draw the curves of the default release's study, but those on weights of photographs.

    Raises:
        SuiteError: If there is none among the records.
    """
    release = release_table()["default"]
    measured = [r for r in records if (r.release, r.tier) == (release, STUDIES[0])]
    own = [record for record in measured if not photographed(record)]
    if not own:
        raise SuiteError(f"No records of {release}, {STUDIES[0]} tier: no curves to draw.")
    curves_figure(own, figure)


def _page(records: Sequence[Record], options: argparse.Namespace) -> str:
    """Write the claims, the curves if they are drawn, and the tables in Markdown."""
    parts = [claims_markdown(records), fixes_markdown(records)]
    if options.figure:
        place = os.path.relpath(options.figure, options.page.parent)
        parts.insert(1, f"![Information gain of the adversarial branch]({place})")
    return "\n\n".join(parts)


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="nox -s fix-table --", description="Compare the fixes and judge the claims."
    )
    parser.add_argument("--records", type=Path, nargs="+", default=[Path("records")], metavar="DIR")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the report there too")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the default row's curves")
    return parser
