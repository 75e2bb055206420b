"""`results`: what the networks reach, as tables from stored records."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from suite import tables
from suite.commands.options import folders_of, release_table, reporting
from suite.errors import SuiteError
from suite.judge.history import check_fits, read_history
from suite.judge.scaling import planned, read_measured
from suite.records import Record
from suite.releases import read_releases
from suite.report.grid import terminal_width
from suite.report.pages import write_section
from suite.report.results import overview_markdown, results_markdown, results_text
from suite.report.scaling import scaling_markdown
from suite.report.traps import stated_markdown
from suite.report.trend import Row, oldest_first, trends_figure, trends_markdown
from suite.store import read_records

SECTION = "results"
TIERS = ("small", "full")
SEEDS = 10  # of each case, in the plan whose scaling is simulated


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
        if options.cluster:
            _cluster(options.cluster, records)
        if options.trends:
            _trends(options, [row["name"] for row in table.get("releases", [])])
        if options.traps:
            write_section(options.traps, stated_markdown(), section="traps")
        if options.readme:
            write_section(options.readme, overview_markdown(default), section=SECTION)
    return 0


def stored(root: Path, releases: Sequence[str]) -> list[Record]:
    """Read the records of all releases below `root`, in the order of the release table."""
    folders = in_order(root, releases, TIERS)
    return [record for folder in folders for record in read_records(folder)]


def in_order(root: Path, releases: Sequence[str], tiers: Sequence[str]) -> list[Path]:
    """List the folders of some tiers' records below `root`, in the order of the release table."""

    def order(folder: Path) -> tuple[int, str, int]:
        name = folder.parent.name
        place = releases.index(name) if name in releases else len(releases)
        return place, name, tiers.index(folder.name)

    return sorted(folders_of(root, releases, tiers), key=order)


def _trends(options: argparse.Namespace, releases: Sequence[str]) -> None:
    """Put the trends into their page, and the figure beside it.

    Raises:
        RecordError: If a baseline has no index, or one of other records.
    """
    page, rows = options.trends, oldest_first(histories(options.records, releases))
    figure = page.with_suffix(".svg")
    trends_figure(rows, figure)
    write_section(page, trends_markdown(rows, releases, figure=figure.name), section="trends")


def _cluster(page: Path, records: Sequence[Record]) -> None:
    """Put how far the plan of all rows scales into a page, from what the file beside it tells.

    Raises:
        RecordError: If that file is none.
    """
    measured = read_measured(page.with_suffix(".json"))
    rows = [row.name for row in read_releases() if not row.unpinned]
    small = [record for record in records if record.tier == TIERS[0]]
    jobs = planned(small, rows, tables.asked(TIERS[0]), SEEDS)
    write_section(page, scaling_markdown(jobs, measured), section="scaling")


def histories(root: Path, releases: Sequence[str]) -> list[Row]:
    """Read the index of each baseline below `root`, each held against its records.

    Raises:
        RecordError: If one is missing, damaged, or tells of other records.
    """
    found = []
    for folder in in_order(root, releases, [*tables.TIERS]):
        entries = read_history(folder)
        check_fits(entries, read_records(folder), folder)
        found.append(Row(folder.parent.name, folder.name, entries))
    return found


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
    parser.add_argument(
        "--traps", type=Path, metavar="FILE", help="put what is stated of each trap there"
    )
    parser.add_argument(
        "--trends", type=Path, metavar="FILE",
        help="put every metric over the releases there, from the baselines' indexes, and a figure",
    )  # fmt: skip
    parser.add_argument(
        "--cluster", type=Path, metavar="FILE",
        help="put there how far all rows, cases and ten seeds scale, simulated from these records "
        "and from what a cluster was measured to cost, in the file's .json",
    )  # fmt: skip
    return parser
