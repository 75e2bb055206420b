"""`rebaseline`: make the records of one release and tier its baseline."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from suite.judge.baselines import rebaseline
from suite.report.text import printable
from suite.store import stored_cases


def main(arguments: Sequence[str]) -> int:
    """Make the records of one release and tier its baseline, and print which cases it holds."""
    options = _parser().parse_args(arguments)
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
    parser.add_argument("--tier", required=True)
    parser.add_argument(
        "--removed", action="append", default=[], metavar="CASE", help="the baseline may lose it"
    )
    return parser
