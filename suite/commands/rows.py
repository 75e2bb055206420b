"""`rows`: the rows of the release table; as JSON, the matrix of a workflow that gates each of them.

It runs with nothing installed, so that a workflow can ask before it installs anything.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from suite.cases import has_baseline
from suite.commands.options import release_table
from suite.errors import ReleaseError
from suite.files import measuring_digest, probing_digest, read_bytes
from suite.judge.compatibility import TIER
from suite.judge.staleness import DATA
from suite.locks import LOCKS, lock_of, one_line
from suite.releases import WATCHED, Release, chosen, pinned, read_releases
from suite.store import stored_cases

STORED = "stored"
SHORT = 16  # hexadecimal digits of a digest in the key of a cache


def main(arguments: Sequence[str]) -> int:
    """Print the rows, one a line or as the matrix of a workflow.

    Raises:
        ReleaseError: If a name is no row, or git does not know the commit.
    """
    options = _parser().parse_args(arguments)
    rows, new = _asked(options)
    if options.json:
        print(json.dumps({"include": _matrix(options, rows, new)}))
        return 0
    for row in rows:
        print(f"{row.name:<16}Python {row.python:<6}{' '.join(row.pins)}")
    return 0


def _matrix(
    options: argparse.Namespace, rows: Sequence[Release], new: Sequence[str]
) -> list[dict[str, str]]:
    """Say of each row what a workflow needs; of a raised version without a row, as of the default.

    A version has a lock only once `new-row` has made its row.
    """
    default = release_table()["default"]
    (like,) = chosen(read_releases(), default)
    own = {**entry(like, baselines=options.baselines), "baseline": f"{STORED}:{default}"}
    return [
        *(entry(row, baselines=options.baselines) for row in rows),
        *({**own, "row": pin, "environment": ""} for pin in new),
    ]


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
        help="the rows whose lock is not that commit's, or watched versions without a row that "
        "were raised since; the default row where nothing changed",
    )  # fmt: skip
    return parser


def _asked(options: argparse.Namespace) -> tuple[tuple[Release, ...], list[str]]:
    """Pick the rows that the options ask for, and the raised versions that have no row yet."""
    rows = read_releases()
    if options.rows is not None:  # an empty text names no row, rather than all
        return chosen(rows, options.rows), []
    own = tuple(row for row in rows if row.unpinned == options.unpinned)
    if not options.changed_from:
        return own, []
    changed, new = _changed(own, options.changed_from), _new(options.changed_from, rows)
    fallback = () if new else chosen(own, release_table()["default"])
    return changed or fallback, new


def _changed(rows: Sequence[Release], commit: str) -> tuple[Release, ...]:
    """Pick the rows whose lock is not that of `commit`.

    Raises:
        ReleaseError: If git cannot compare them.
    """
    changed = _difference(commit, "--name-only", "--", str(LOCKS)).splitlines()
    return tuple(row for row in rows if str(lock_of(row).path) in changed)


def _new(commit: str, rows: Sequence[Release]) -> list[str]:
    """List the watched versions that were raised since a commit and have no row yet."""
    text = _difference(commit, "--unified=0", "--", str(WATCHED))
    raised = re.findall(r"(?m)^\+([\w-]+)==(\S+)$", text)
    return [
        f"{package}=={version}"
        for package, version in raised
        if version not in {pinned(row, package) for row in rows}
    ]


def _difference(commit: str, *options: str) -> str:
    """Ask git what differs from a commit.

    Raises:
        ReleaseError: If git cannot tell.
    """
    done = subprocess.run(
        ["git", "diff", "--relative", options[0], "--end-of-options", commit, *options[1:]],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ReleaseError(
            f"git cannot compare with {commit}: {one_line(done.stderr)}. Fetch the commit "
            "(a shallow checkout lacks it: `fetch-depth: 2`), or name rows with --rows."
        )
    return done.stdout


def entry(row: Release, *, baselines: Path) -> dict[str, str]:
    """Say what a row is judged against, and by what its environment, data and records are cached.

    A row whose stored baseline has steps and draws alone, or that has none, is judged by that of
    the default row.
    """
    own = any(map(has_baseline, stored_cases(baselines / row.name / TIER)))
    return {
        "row": row.name,
        "baseline": STORED if own else f"{STORED}:{release_table()['default']}",
        "environment": "" if row.unpinned else _digest(read_bytes(lock_of(row).path)),
        "data": _digest(DATA["gtsrb", "32"].encode()),
        "code": _digest(f"{measuring_digest()} {probing_digest()}".encode()),
    }


def _digest(content: bytes) -> str:
    """Compute a digest that is short enough for the key of a cache."""
    return hashlib.sha256(content).hexdigest()[:SHORT]
