"""`rows`: the rows of the release table; as JSON, the matrix of a workflow that gates each of them.

It runs with nothing installed, so that a workflow can ask before it installs anything.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from suite.commands.options import release_table
from suite.errors import ReleaseError
from suite.files import MEASURING, SUITE, code_digest, read_bytes
from suite.judge.compatibility import TIER
from suite.judge.staleness import DATA
from suite.locks import LOCKS, lock_of, one_line
from suite.releases import Release, chosen, read_releases

STORED = "stored"
TOOLS = LOCKS / "tools.txt"  # of the environment that judges
SHORT = 16  # hexadecimal digits of a digest in the key of a cache


def main(arguments: Sequence[str]) -> int:
    """Print the rows, one a line or as the matrix of a workflow.

    Raises:
        ReleaseError: If a name is no row, or git does not know the commit.
    """
    options = _parser().parse_args(arguments)
    rows = _asked(options)
    if options.json:
        print(json.dumps({"include": [entry(row, baselines=options.baselines) for row in rows]}))
        return 0
    for row in rows:
        print(f"{row.name:<16}Python {row.python:<6}{' '.join(row.pins)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m suite rows", description="List the pinned rows of the release table."
    )
    parser.add_argument("--json", action="store_true", help="as the matrix of a workflow")
    parser.add_argument("--baselines", type=Path, default=Path("baselines"), metavar="DIR")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--rows", metavar="A,B", help="these rows alone")
    which.add_argument("--unpinned", action="store_true", help="the rows without a lock alone")
    which.add_argument(
        "--changed-from", metavar="COMMIT",
        help="the rows whose lock is not that commit's; the default row where no lock changed",
    )  # fmt: skip
    return parser


def _asked(options: argparse.Namespace) -> tuple[Release, ...]:
    """Pick the rows that the options ask for."""
    rows = read_releases()
    if options.rows:
        return chosen(rows, options.rows)
    pinned = tuple(row for row in rows if row.unpinned == options.unpinned)
    return _changed(pinned, options.changed_from) if options.changed_from else pinned


def _changed(rows: Sequence[Release], commit: str) -> tuple[Release, ...]:
    """Pick the rows whose lock is not that of `commit`; the default row where there is none.

    Raises:
        ReleaseError: If git cannot compare them.
    """
    done = subprocess.run(
        ["git", "diff", "--name-only", "--relative", "--end-of-options", commit, "--", str(LOCKS)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ReleaseError(
            f"git cannot compare {LOCKS} with {commit}: {one_line(done.stderr)}. Fetch the commit "
            "(a shallow checkout lacks it: `fetch-depth: 2`), or name rows with --rows."
        )
    paths = done.stdout.splitlines()
    changed = tuple(row for row in rows if str(lock_of(row).path) in paths)
    return changed or chosen(tuple(rows), release_table()["default"])


def entry(row: Release, *, baselines: Path) -> dict[str, str]:
    """Say what a row is judged against, and by what its environment, data and records are cached.

    A row without a stored baseline is judged by that of the default row.
    """
    own = (baselines / row.name / TIER).is_dir()
    locks = [] if row.unpinned else [lock_of(row).path, TOOLS]
    return {
        "row": row.name,
        "baseline": STORED if own else f"{STORED}:{release_table()['default']}",
        "environment": _digest(*map(read_bytes, locks)) if locks else "",
        "data": _digest(DATA["gtsrb", "32"].encode()),
        "code": _digest(code_digest(SUITE, MEASURING).encode()),
    }


def _digest(*parts: bytes) -> str:
    """Compute a digest that is short enough for the key of a cache."""
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:SHORT]
