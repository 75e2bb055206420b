"""`lock`: resolve the release table into lock files, or check that they are fresh."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from suite.commands.options import ERROR_STATUS
from suite.errors import ReleaseError
from suite.locks import Lock, check, group_locks, lock_of, strangers, update
from suite.releases import TABLES, read_releases
from suite.report.text import printable

STALE_STATUS = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the locks; return 1 if one is stale, 2 if one cannot be resolved, else 0."""
    options = _parser().parse_args(arguments)
    locks = chosen_locks(options.names)
    problems = check(locks) if options.check else update(locks, upgrade=options.upgrade)
    if options.check and not options.names:
        problems += strangers()
    for problem in problems:
        print(f"error: {printable(problem)}", file=sys.stderr)
    found = STALE_STATUS if options.check else ERROR_STATUS
    return found if problems else 0


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(prog="nox -s lock --")
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows; without one, all")
    parser.add_argument("--check", action="store_true", help="fail on a stale lock; write nothing")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    return parser


def chosen_locks(names: Sequence[str]) -> list[Lock]:
    """Choose the locks of the named rows, with those of their GPU rows; without names, all.

    An unpinned row's lock is chosen only by its name.

    Raises:
        ReleaseError: If a name is neither a row's nor a dependency group's.
    """
    rows, groups = [row for table, _ in TABLES for row in read_releases(table=table)], group_locks()
    known = list(dict.fromkeys([*(row.name for row in rows), *(group.name for group in groups)]))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ReleaseError(
            f"{', '.join(unknown)} is no row of the release table, which has {', '.join(known)}."
        )
    locks = [lock_of(row) for row in rows if row.name in names or not (names or row.unpinned)]
    return [*locks, *(group for group in groups if group.name in names or not names)]
