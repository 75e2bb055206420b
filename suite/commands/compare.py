"""`compare`: judge the records by the stored baselines."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from suite.commands.judging import Wishes, judged
from suite.commands.options import (
    ERROR_STATUS,
    REGRESSION_STATUS,
    named,
    release_table,
    unpinned,
    write_text,
)
from suite.commands.provenance import provenance
from suite.errors import SuiteError
from suite.judge.compatibility import TIER
from suite.report.grid import terminal_width
from suite.report.text import printable
from suite.report.verdicts import (
    ACCEPT,
    LEAVE_OUT,
    REFUSE,
    Leniency,
    Report,
    answer,
    findings,
    notes,
    page,
    regressions,
    text_table,
    unanswered,
)
from suite.store import Place, places
from suite.tables import TIERS

QUICKSTART = "quickstart"
ALL = "every verdict, those that passed too: -v, or --markdown FILE"
GATE = "each seed by itself; all of them together: nox -s gate -- --baseline stored --candidate {}"


def main(arguments: Sequence[str]) -> int:
    """Judge every release and tier that has records, print the answer, return the status.

    Raises:
        SuiteError: If there are no records, or a record or baseline is damaged.
    """
    options = _parser().parse_args(arguments)
    allowed = Leniency(options.stale, options.partial)
    wishes = Wishes(
        baselines=options.baselines,
        against=options.against,
        stale=options.stale,
        rows=options.markdown is not None,
        verdicts=options.verbose,
    )
    chosen, closing = _chosen(options)
    reports = [judged(place, wishes) for place in chosen]
    closing.append(provenance(options.baselines))
    rows = {row["name"] for row in release_table()["releases"]}
    gated = [place for place in chosen if place.release in rows and place.tier == TIER]
    closing += [
        GATE.format(place.release)
        for place in gated
        if (options.baselines / place.release / TIER).is_dir()
    ]
    if options.markdown:
        write_text(options.markdown, page(reports, allowed, closing=closing))
    for line in _lines(reports, allowed):
        print(line)
    for line in (*closing, f"every verdict: {options.markdown}" if options.markdown else ALL):
        print(printable(line))
    if regressions(reports):
        return REGRESSION_STATUS
    return ERROR_STATUS if unanswered(reports, allowed) else 0


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="nox -s compare --", description="Judge the records against the stored baselines."
    )
    parser.add_argument("--records", type=Path, default=Path("records"), metavar="DIR")
    parser.add_argument("--baselines", type=Path, default=Path("baselines"), metavar="DIR")
    parser.add_argument("--release", type=named, help="judge this release alone")
    parser.add_argument("--tier", choices=TIERS, help="judge this tier alone")
    parser.add_argument("--against", type=named, metavar="RELEASE", help="judge by its baseline")
    parser.add_argument(
        "--stale", choices=(REFUSE, LEAVE_OUT, ACCEPT), default=REFUSE,
        help="records made with another lock, code or data than now: nothing can be told (the "
        "default), they do not count, or they are judged as they are",
    )  # fmt: skip
    parser.add_argument(
        "--partial", action="store_true", help="cases, numbers and baselines may be missing"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write every verdict here")
    parser.add_argument("-v", "--verbose", action="store_true", help="print every verdict")
    return parser


def _chosen(options: argparse.Namespace) -> tuple[list[Place], list[str]]:
    """Find the folders of records to judge, and say in a line at most which were left out.

    The quickstart and rehearsals are judged only if their tier is named, since drawn signs and a
    few steps say nothing about a release. An unpinned release is judged only if it is named, since
    it is no gate.

    Raises:
        SuiteError: If there is no folder.
    """
    table = release_table()
    found = [
        place
        for place in places(
            options.records,
            releases=[row["name"] for row in table.get("releases", [])],
            tiers=TIERS,
        )
        if place.release in (options.release or place.release, "")
        and place.tier in (options.tier or place.tier, "")
    ]
    no_gates = set() if options.release else unpinned(table)
    aside = set() if options.tier else {QUICKSTART, *(n for n, t in TIERS.items() if t.rehearsal)}
    extra = [place for place in found if place.release in no_gates or place.tier in aside]
    chosen = [place for place in found if place not in extra]
    if not chosen:
        release, tier = options.release or "*", options.tier or "*"
        raise SuiteError(
            f"{options.records / release / tier} holds no records, expected one a case and seed. "
            f'Make them with `nox -s "benchmarks({options.release or table["default"]})"`.'
        )
    names = ", ".join(f"{place.release} {place.tier}" for place in extra)
    return chosen, [f"not judged unless named with --release or --tier: {names}"] if extra else []


def _lines(reports: Sequence[Report], allowed: Leniency) -> Iterator[str]:
    """Write the answer, what is wrong or missing, then what else there is to know.

    Yields:
        One line each, or a table.
    """
    yield printable(answer(reports, allowed))
    for report in reports:
        yield from findings(report, allowed)
    for report in reports:
        yield from notes(report)
    for report in reports:
        if report.verdicts:
            width, colour = terminal_width(), sys.stdout.isatty()
            yield f"\n{text_table(report.verdicts, width=width, colour=colour)}\n"
