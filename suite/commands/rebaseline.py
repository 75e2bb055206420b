"""`rebaseline`: make the records of one release and tier its baseline."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from suite.judge.baselines import GAPS, folder_in, has_baseline, rebaseline
from suite.judge.staleness import present
from suite.report.text import printable
from suite.store import stored_cases
from suite.tables import TIERS


def main(arguments: Sequence[str]) -> int:
    """Make the records of one release and tier its baseline, and print which cases it holds."""
    options = _parser().parse_args(arguments)
    target = folder_in(options.baselines, options.release, options.tier)
    former, now = stored_cases(target), present(options.release, options.tier)
    records = rebaseline(
        options.records,
        options.baselines,
        release=options.release,
        tier=options.tier,
        now=now,
        removed=options.removed,
        keep=options.keep,
    )
    cases = {record.case for record in records}
    print(printable(f"{target}: {len(records)} records of {len(cases)} cases"))
    absent = {*filter(has_baseline, now.cases)} - cases
    for word, names in (
        ("new", cases - former),
        ("removed", former - cases),
        (
            f"not in it, so that `compare` cannot judge them (measure them, or tell why in {GAPS})",
            absent,
        ),
    ):
        if names:
            print(printable(f"{word}: {', '.join(sorted(names))}"))
    print("Commit the baseline alone, with a line in CHANGELOG.md that gives the reason.")
    return 0


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="nox -s rebaseline --",
        description="Make the records of one release and tier its baseline.",
    )
    parser.add_argument("--records", type=Path, default=Path("records"), metavar="DIR")
    parser.add_argument("--baselines", type=Path, default=Path("baselines"), metavar="DIR")
    parser.add_argument("--release", required=True)
    parser.add_argument("--tier", choices=TIERS, required=True)
    parser.add_argument(
        "--removed", action="append", default=[], metavar="CASE", help="the baseline may lose it"
    )
    parser.add_argument(
        "--keep", action="store_true", help="cases without records stay in the baseline as they are"
    )
    return parser
