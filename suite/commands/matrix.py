"""`matrix`: run the small tier on the rows of the release table, each in its own environment."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from suite.cases import has_baseline
from suite.commands.cluster_jobs import outcomes_of
from suite.commands.cluster_link import add_address, connected
from suite.commands.options import INTERRUPTED_STATUS, REGRESSION_STATUS, positive, refuse_more
from suite.commands.plan import collected
from suite.commands.processes import Run, stopped_together
from suite.commands.turns import in_turn
from suite.errors import RecordError
from suite.files import measuring_digest, parse_json, read_within, write_atomically
from suite.judge.compatibility import TIER, Evidence, Outcome
from suite.locks import lock_digest
from suite.records import Record
from suite.releases import Release, chosen, read_releases
from suite.report.compatibility import Row, compatibility, markdown_report, text_report
from suite.report.grid import terminal_width
from suite.report.pages import SECTION, write_section
from suite.report.text import printable
from suite.report.traps import traps_markdown
from suite.store import files_by_case, read_resident

OUTCOME_BYTES = 100_000  # of what became of a row: a few words
TRAPS = "traps"  # the case, and the question
BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's is


def run_matrix(
    rows: Sequence[Release],
    *,
    records: Path,
    jobs: int = 1,
    arguments: Sequence[str] = (),
    address: str | None = None,
) -> dict[str, Outcome]:
    """Run the small tier of the rows and tell what became of each, by name.

    A row that fails stops no other. A case that has its record is not run again.

    Args:
        rows: Rows of the release table, in the order in which they start.
        records: Where records, logs and outcomes go.
        jobs: Rows that run at the same time.
        arguments: Passed on to pytest.
        address: The cluster that measures the cases; None for this machine.

    Raises:
        RecordError: If a report or an outcome cannot be written.
    """
    outcomes, running = dict[str, Outcome](), list[Run]()
    with ExitStack() as stack:
        if address:
            plan = collected(rows, arguments, records)
            cluster = stack.enter_context(connected(address, plan))
            ends = outcomes_of(cluster, plan, judged=True)
        else:
            ends = in_turn(rows, running, records=records, jobs=jobs, arguments=arguments)
        stack.enter_context(stopped_together(running))
        for row, outcome in ends:
            write_outcome(outcome, row, records)
            outcomes[row.name] = outcome
            end = "passed" if outcome.passed else f"failed: {outcome.reason}"
            print(printable(f"{row} {outcome.seconds:.0f} s, {end}"), flush=True)
            print(f"{len(outcomes)} of {len(rows)} rows done", flush=True)
    return outcomes


def write_outcome(outcome: Outcome, release: Release, records: Path) -> None:
    """Store what became of a row beside its records.

    Raises:
        RecordError: If it cannot be written.
    """
    content = json.dumps(asdict(outcome), indent=1)
    write_atomically(records / release.name / "matrix.json", f"{content}\n".encode())


def read_outcome(release: Release, records: Path) -> Outcome | None:
    """Read what became of a row when it last ran; None if it has not run yet.

    Raises:
        RecordError: If the file is damaged.
    """
    path = records / release.name / "matrix.json"
    if not os.path.lexists(path):
        return None
    try:
        return Outcome(**parse_json(read_within(path, OUTCOME_BYTES)))
    except (OSError, ValueError, TypeError) as error:
        raise RecordError(f"{path} cannot be read: {error}. Remove it: a run makes it.") from error


def evidence(release: Release, records: Path) -> Evidence:
    """Gather what is stored of a row: of its records what the tables show, and no curves.

    Raises:
        RecordError: If a record is damaged.
    """
    files = files_by_case(records / release.name / TIER)
    stored = tuple(
        read_resident(path, bare=case != TRAPS)
        for case in files
        if case == TRAPS or has_baseline(case)
        for path in files[case]
    )
    outcome = read_outcome(release, records)
    code = measuring_digest()
    return Evidence(release.name, lock_digest(release), stored, outcome, code)


def disk_use(rows: Sequence[Release], environments: Path = Path(".nox")) -> str:
    """Measure the environments of the rows, and all together with shared files counted once."""
    seen: dict[tuple[int, int], int] = {}
    parts = []
    for row in rows:
        files = _blocks(environments / re.sub(r"[^\w-]", "-", f"benchmarks-{row}"))
        seen.update(files)
        parts.append(f"{row} {_gigabytes(files.values())}")
    total = _gigabytes(seen.values())
    return f"disk: {', '.join(parts)}; together {total}, shared files counted once"


def _blocks(folder: Path) -> dict[tuple[int, int], int]:
    """Measure the bytes that each file below a folder takes on the disk, by device and inode."""
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            status = os.lstat(os.path.join(parent, name))  # noqa: PTH118 - a hundred thousand
            found[status.st_dev, status.st_ino] = status.st_blocks * BLOCK_BYTES
    return found


def _gigabytes(sizes: Iterable[int]) -> str:
    return f"{sum(sizes) / 1e9:.1f} GB"


def main(arguments: Sequence[str]) -> int:
    """Run the rows and print what each can do; return 1 if one failed that is not unpinned."""
    options, more = _parser().parse_known_args(arguments)
    if options.table:
        refuse_more(more)
    rows = chosen(read_releases(), options.rows)
    outcomes = {}
    try:
        if not options.table:
            outcomes = run_matrix(
                rows, records=options.records, jobs=options.jobs, arguments=more,
                address=options.address,
            )  # fmt: skip
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS
    if outcomes and not options.address:
        print(disk_use(rows), end="\n\n")
    lines, traps, count = _shown(rows, options.records)
    print(text_report(lines, width=terminal_width()))
    if options.page:
        text = markdown_report(lines, records=count)
        write_section(options.page, text, section=options.section)
    if options.traps:
        write_section(options.traps, traps_markdown(traps), section="seen")
    failed = [row for row in rows if row.name in outcomes and not outcomes[row.name].passed]
    for row in failed:
        print(f"{row} failed{', and is no gate' if row.unpinned else ''}")
    return REGRESSION_STATUS if any(not row.unpinned for row in failed) else 0


def _shown(rows: Sequence[Release], records: Path) -> tuple[list[Row], list[Record], int]:
    """Sum up row after row; keep of their records those of the traps, and the number of all."""
    lines, traps, count = list[Row](), list[Record](), 0
    for row in rows:
        stored = evidence(row, records)
        lines.append(compatibility(stored))
        traps += [record for record in stored.current if record.question == TRAPS]
        count += len(stored.current)
    return lines, traps, count


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="nox -s matrix --",
        description="Run the small tier on all rows; further options are those of a benchmark run.",
        allow_abbrev=False,
    )
    parser.add_argument("--records", type=Path, default=Path("records"), metavar="DIR")
    parser.add_argument("--rows", metavar="A,B", help="these rows of the release table, in order")
    parser.add_argument("--jobs", type=positive, default=1, metavar="N", help="rows at once")
    add_address(parser)
    parser.add_argument("--table", action="store_true", help="print what is stored; run nothing")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the tables there too")
    parser.add_argument("--section", default=SECTION, metavar="NAME", help="between its markers")
    parser.add_argument("--traps", type=Path, metavar="FILE", help="put what each trap did there")
    return parser
