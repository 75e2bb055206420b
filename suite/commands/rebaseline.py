"""`rebaseline`: show what records change in a baseline, and make them the baseline."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from suite.cases import has_baseline
from suite.commands.options import REGRESSION_STATUS, reporting
from suite.errors import RecordError, ReleaseError, SuiteError
from suite.files import refuse_write, write_atomically
from suite.judge.baselines import GAPS, by_case, folder_in, renewed
from suite.judge.history import (
    FOUND,
    HISTORY,
    Entry,
    check_fits,
    check_whole,
    entry_of,
    history_text,
    read_history,
    records_digest,
)
from suite.judge.renewal import Renewal, renewal
from suite.judge.staleness import Present, present
from suite.records import Record
from suite.releases import read_releases
from suite.report.grid import terminal_width
from suite.report.renewal import lines
from suite.report.text import printable
from suite.store import read_records, replace_records
from suite.tables import TIERS

UNKNOWN = "found without an index: neither its reason nor its day is known"
BARE = "all cases; it holds steps and draws alone, for `gate`"
PAGES = (
    "--page docs/results.md --readme README.md --trends docs/trends.md --cluster docs/cluster.md"
)
COMMIT = (
    "Commit the baseline alone, with a line in CHANGELOG.md that gives the reason. The pages "
    f"follow: nox -s results -- {PAGES}, and the other pages that docs/stored.md lists"
)


def main(arguments: Sequence[str]) -> int:
    """Show what changes, then make the records of one release and tier its baseline.

    Raises:
        SuiteError: If nothing may be written; the baseline is then as before.
    """
    options = _parser().parse_args(arguments)
    target = folder_in(options.baselines, options.release, options.tier)
    _check_row(options.release, options.tier)
    if options.date and not options.index:
        raise SuiteError("--date goes with --index alone: records become a baseline today.")
    return _index(target, options) if options.index else _rebaseline(target, options)


def _check_row(release: str, tier: str) -> None:
    """Refuse a release that has no row.

    Raises:
        ReleaseError: If it has none in the table of its tier.
    """
    table = "gpu-releases" if TIERS[tier].gpu else "releases"
    rows = [row.name for row in read_releases(table=table)]
    if release not in rows:
        raise ReleaseError(
            f"{printable(release)} is no row of the release table, expected one of "
            f"{', '.join(rows)}. Name one with --release, or add a row to [tool.suite]."
        )


def _rebaseline(target: Path, options: argparse.Namespace) -> int:
    """Show what the records change; write them unless that is refused or not asked for."""
    now = present(options.release, options.tier)
    fresh = renewed(
        options.records,
        options.baselines,
        release=options.release,
        tier=options.tier,
        now=now,
        removed=options.removed,
        keep=options.keep,
    )
    former, entries = read_records(target), read_history(target)
    if entries:
        check_fits(entries, former, target)
    _check_named(options, {record.case for record in (*former, *fresh)})
    with reporting(f"{options.records} or {target}"):
        found = renewal(former, fresh)
        for line in lines(found, width=terminal_width(), verbose=options.verbose):
            print(line)
    for line in _beside(found, now):
        print(printable(line))
    if records_digest(former) == records_digest(fresh):
        print(f"{target} is what these records would make of it: nothing to write.")
        return 0
    refused = sorted({finding.case for finding in found.worse} - {*options.worse})
    if refused:
        print(printable(_refusal(target, refused)))
        return REGRESSION_STATUS
    if options.dry_run:
        print(f"Nothing was written (--dry-run); {target} is as before.")
        return 0
    _require_reason(target, options)
    _write(target, fresh, [*(entries or _found(former)), _entry(found, options)], former)
    print(printable(f"{target}: {len(fresh)} records of {len(found.fresh)} cases"))
    print(COMMIT)
    return 0


def _check_named(options: argparse.Namespace, cases: Collection[str]) -> None:
    """Refuse an accepted or removed case that is none: another was meant.

    Raises:
        SuiteError: If there is one.
    """
    unknown = sorted({*options.worse, *options.removed} - {*cases})
    if unknown:
        raise SuiteError(
            f"--worse or --removed names {printable(', '.join(unknown))}, expected cases of the "
            f"baseline or the records: {', '.join(sorted(cases))}."
        )


def _refusal(target: Path, cases: Sequence[str]) -> str:
    """Say that what the gate calls worse does not become a baseline unasked."""
    flags = " ".join(f"--worse {case}" for case in cases)
    return (
        f"Refused: the gate calls {', '.join(cases)} worse; {target} is as before. Find out why. "
        f'If that is meant, say so, with its reason: {flags} --reason "..."'
    )


def _beside(found: Renewal, now: Present) -> Iterator[str]:
    """Name the cases that are new, removed, or not in the baseline though the tier has them."""
    judged = {*filter(has_baseline, now.cases)}
    absent = sorted(judged - {*found.fresh}) if judged & {*found.fresh} else [BARE]
    lacking = (
        f"not in it, so that `compare` cannot judge them (measure them, or tell why in {GAPS})"
    )
    fewer = [
        f"{case} ({len(found.former[case])} -> {len(runs)})"
        for case, runs in found.fresh.items()
        if len(runs) < len(found.former.get(case, ()))
    ]
    kinds = (
        ("new", found.new),
        ("removed", found.removed),
        ("with fewer seeds than before", fewer),
        (lacking, absent),
    )
    for word, names in kinds:
        if names:
            yield f"{word}: {', '.join(names)}"


def _require_reason(target: Path, options: argparse.Namespace) -> None:
    """Refuse to write without a reason.

    Raises:
        SuiteError: If there is none.
    """
    if options.reason is None:
        raise SuiteError(
            f"--reason is missing, expected why the baseline changes; {target} is as before. Add "
            '--reason "..." to write what is shown above, or --dry-run to only look.'
        )


def _entry(found: Renewal, options: argparse.Namespace) -> Entry:
    """Sum up the new baseline."""
    former = [record for runs in found.former.values() for record in runs]
    return entry_of(
        found.fresh,
        day=_today(),
        reason=options.reason,
        former=records_digest(former) if former else "",
        worse=[f"{f.case}: {f.words}" for f in found.worse],
        removed=found.removed,
    )


def _today() -> str:
    """Give the day, in UTC."""
    return datetime.now(UTC).date().isoformat()


def _found(former: Sequence[Record]) -> list[Entry]:
    """Sum up a baseline that has no index, so that its numbers are not lost."""
    if not former:
        return []
    return [entry_of(by_case(former), day=_today(), reason=UNKNOWN, how=FOUND)]


def _index(target: Path, options: argparse.Namespace) -> int:
    """Enter a baseline into its index as it lies there; no record changes.

    Raises:
        SuiteError: If there is no baseline or no reason, or nothing is to be written.
    """
    if options.dry_run:
        raise SuiteError("--index shows nothing that --dry-run could show: give one of them.")
    _require_reason(target, options)
    if not target.is_dir():
        raise RecordError(f"{target} is missing, expected a baseline to enter into its index.")
    with _held(target.parent):
        records, entries = read_records(target), read_history(target)
        if not records:
            raise RecordError(f"{target} holds no records, expected a baseline.")
        last = entries[-1] if entries else None
        if last and last.digest == records_digest(records):
            print(f"{target / HISTORY} tells of these records already: nothing to write.")
            return 0
        day, own = options.date or _today(), by_case(records)
        entry = entry_of(
            own,
            day=day,
            reason=options.reason,
            how=FOUND,
            former=last.digest if last else "",
            removed=sorted({*last.cases} - {*own}) if last else (),
        )
        check_whole([*entries, entry], target)
        write_atomically(target / HISTORY, history_text([*entries, entry]))
    print(f"{target / HISTORY}: {len(entries) + 1} entries; no record has changed.")
    return 0


def _write(
    target: Path, fresh: Sequence[Record], entries: Sequence[Entry], former: Sequence[Record]
) -> None:
    """Exchange the baseline and its index in one rename.

    Args:
        target: Folder of the baseline.
        fresh: The records that it is to hold.
        entries: Its index.
        former: The records that were there when the change was shown.

    Raises:
        RecordError: If others lie there by now, or something cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        refuse_write(target, error)
    with _held(target.parent):
        if records_digest(read_records(target)) != records_digest(former):
            raise RecordError(
                f"{target} has changed since what is shown above was judged: another `rebaseline` "
                "was at work. Give the command again."
            )
        replace_records(fresh, target, beside={HISTORY: history_text(entries)})


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, which leaves no file behind; wait while another command has it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(
            OSError
        ):  # a file system without locks: what was judged is checked
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="nox -s rebaseline --",
        description="Show what records change in a baseline, and make them the baseline.",
    )
    parser.add_argument("--records", type=Path, default=Path("records"), metavar="DIR")
    parser.add_argument("--baselines", type=Path, default=Path("baselines"), metavar="DIR")
    parser.add_argument("--release", required=True)
    parser.add_argument("--tier", choices=TIERS, required=True)
    parser.add_argument("--reason", metavar="WHY", help="kept in the index; without it, only shown")
    parser.add_argument("--dry-run", action="store_true", help="only show what changes")
    parser.add_argument(
        "--worse", action="append", default=[], metavar="CASE",
        help="accept that the gate calls it worse, for the reason given",
    )  # fmt: skip
    parser.add_argument(
        "--removed", action="append", default=[], metavar="CASE", help="the baseline may lose it"
    )
    parser.add_argument(
        "--keep", action="store_true", help="cases without records stay in the baseline as they are"
    )
    parser.add_argument(
        "--index", action="store_true",
        help="change no record: enter the baseline into its index as it lies there",
    )  # fmt: skip
    parser.add_argument("--date", metavar="DAY", help="when it became the baseline, with --index")
    parser.add_argument("-v", "--verbose", action="store_true", help="show every metric")
    return parser
