"""Diagnose every report, follow the advice, and renew docs/reports.md; train the networks anew."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from suite.stacks.loading import load
from tests.diagnose.reports import page, training
from tests.diagnose.reports.measure import measured
from tests.diagnose.reports.table import REPORTS


def main(arguments: Sequence[str]) -> int:
    """Measure the reports that are named, or all; 1 where an answer is wrong."""
    parser = argparse.ArgumentParser(prog="nox -s reports --")
    parser.add_argument("names", nargs="*", help="of reports; all")
    parser.add_argument("--train", action="store_true", help="train their networks anew first")
    options = parser.parse_args(arguments)
    known = [report.name for report in REPORTS]
    for name in options.names:
        if name not in known:
            parser.error(f"{name} is no report: one of {', '.join(known)}")
    chosen = [report for report in REPORTS if report.name in (options.names or known)]
    stack, (images, used) = load(), training.signs()
    if options.train:
        training.keep(used)
        training.train(stack, chosen, images)
    rows = page.read(page.MEASURED) if page.MEASURED.exists() else {}
    for report in chosen:
        rows[report.name] = measured(report, stack.keras, images)
        print(page.line(report, rows[report.name]), flush=True)  # noqa: T201 - a command prints
    page.write(page.MEASURED, {name: rows[name] for name in known if name in rows})
    page.renew([report for report in REPORTS if report.name in rows], rows)
    return int(not all(row.right for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
