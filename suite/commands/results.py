"""`results`: what the networks reach, as tables from stored records."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from suite.commands.options import folders_of, release_table, reporting
from suite.errors import SuiteError
from suite.records import Record
from suite.report.grid import terminal_width
from suite.report.pages import write_section
from suite.report.results import overview_markdown, results_markdown, results_text
from suite.store import read_records

SECTION = "results"
TIERS = ("small", "full")


def main(arguments: Sequence[str]) -> int:
    """Print what every network reaches, and put it into pages where the options name them."""
    options = _parser().parse_args(arguments)
    table = release_table()
    records = stored(options.records, [row["name"] for row in table.get("releases", [])])
    default = [r for r in records if (r.release, r.tier) == (table["default"], TIERS[0])]
    if not (default if options.readme else records):
        wanted = f"{table['default']}, " if options.readme else ""
        raise SuiteError(
            f"{options.records} holds no records of {wanted}small tier. Make them with "
            f'`nox -s "benchmarks({table["default"]})"`, or name another folder with --records.'
        )
    with reporting(str(options.records)):
        print(results_text(records, width=terminal_width()))
        if options.page:
            write_section(options.page, results_markdown(records), section=SECTION)
        if options.readme:
            write_section(options.readme, overview_markdown(default), section=SECTION)
    return 0


def stored(root: Path, releases: Sequence[str]) -> list[Record]:
    """Read the records of all releases below `root`, in the order of the release table."""

    def order(folder: Path) -> tuple[int, str, int]:
        name = folder.parent.name
        place = releases.index(name) if name in releases else len(releases)
        return place, name, TIERS.index(folder.name)

    folders = sorted(folders_of(root, releases, TIERS), key=order)
    return [record for folder in folders for record in read_records(folder)]


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="nox -s results --", description="Write the tables of results, from stored records."
    )
    parser.add_argument("--records", type=Path, default=Path("baselines"), metavar="DIR")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the tables there too")
    parser.add_argument(
        "--readme", type=Path, metavar="FILE", help="put the default row's table in short there"
    )
    return parser
