"""The plan of what is to be measured, on this machine or on a cluster: rows, cases, seeds."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from suite.commands.cluster_node import Job
from suite.commands.outcomes import OF_CASE
from suite.errors import SuiteError
from suite.judge.staleness import Present, differences, present
from suite.locks import lock_of
from suite.releases import Release
from suite.store import read_resident, record_path

SESSIONS: Mapping[str, tuple[str, ...]] = {
    "quickstart": ("quickstart",),
    "small": ("benchmarks({})",),
    "study": ("study", "{}"),
    "full": ("gpu-benchmarks({})",),
}
"""The words that name nox's session of each tier, for a row."""

TEST = re.compile(rf"(?m)^benchmarks\S*{OF_CASE.pattern}")  # as pytest lists one of a case
OF_FILES = ("--gtsrb-root", "--weights")  # options of pytest that name files of this machine
LINES = 3  # of what pytest says last, where it refuses something


class Shelf(NamedTuple):
    """Where what the jobs of a row make is kept.

    Attributes:
        release: The row.
        tier: A key of `SESSIONS`.
        root: Folder of all records.
        now: What its records must have been made with.
    """

    release: Release
    tier: str
    root: Path
    now: Present

    @property
    def folder(self) -> Path:
        """The folder of the row's records of the tier."""
        return self.root / self.release.name / self.tier


class Plan(NamedTuple):
    """What of pytest's sessions is to run: on each row, some seeds of some cases.

    Attributes:
        rows: Rows of the release table.
        cases: Names of cases of the tier.
        seeds: Of every case.
        records: Where records, logs and reports go.
        tier: A key of `SESSIONS`.
        options: Of pytest, for the rows' whole sessions.
    """

    rows: Sequence[Release]
    cases: Sequence[str]
    seeds: Sequence[int]
    records: Path
    tier: str = "small"
    options: tuple[str, ...] = ()

    @property
    def arguments(self) -> tuple[str, ...]:
        """Pytest's options for a row's whole session."""
        return (
            "-k",
            expression(self.cases),
            "--seeds",
            ",".join(map(str, self.seeds)),
            *self.options,
        )

    def shelves(self) -> dict[str, Shelf]:
        """Look up where each row's records are, and what they must have been made with."""
        tier, root = self.tier, self.records
        return {row.name: Shelf(row, tier, root, present(row.name, tier)) for row in self.rows}

    def lacking(self) -> list[Job]:
        """List a job for each row and case, with the seeds that have no record that holds.

        Raises:
            RecordError: If a record is damaged.
        """
        shelves = self.shelves()  # rows in turn, so that environments are made at once
        every = (Job(row, case, tuple(self.seeds)) for case in self.cases for row in shelves)
        left = (job._replace(seeds=absent(job, shelves[job.row])) for job in every)
        return [job for job in left if job.seeds]


def collected(rows: Sequence[Release], arguments: Sequence[str], records: Path) -> Plan:
    """Plan what a run of the small tier with some options of pytest's asks for, as pytest lists it.

    Raises:
        SuiteError: If an option names a file, which no node has, or pytest does not take it.
    """
    given = [word for word in (a.partition("=")[0] for a in arguments) if word in OF_FILES]
    if given:
        raise SuiteError(f"{given[0]} names a file of this machine: leave --address out.")
    row, tier = rows[0], "small"
    labels = ("--release", row.name, "--lock", str(lock_of(row).path), "--tier", tier)
    command = (sys.executable, "-m", "pytest", "benchmarks", "--collect-only", "-q")
    done = subprocess.run(
        [*command, *arguments, *labels], capture_output=True, text=True, check=False
    )
    found = dict.fromkeys(TEST.findall(done.stdout))
    if not found:
        said = " ".join([*done.stdout.splitlines(), *done.stderr.splitlines()][-LINES:])
        raise SuiteError(f"pytest finds no benchmark with {' '.join(arguments)}: {said}")
    cases, seeds = dict.fromkeys(case for case, _ in found), dict.fromkeys(s for _, s in found)
    return Plan(rows, [*cases], [*map(int, seeds)], records, tier, tuple(arguments))


def expression(cases: Sequence[str]) -> str:
    """Write pytest's ``-k`` for the tests of some cases: the name of a test holds its case."""
    return " or ".join(f"[{case}-seed" for case in cases)


def absent(job: Job, shelf: Shelf) -> tuple[int, ...]:
    """List the seeds of a job of which there is no record that holds.

    Raises:
        RecordError: If a record is damaged.
    """
    where = {"release": job.row, "tier": shelf.tier, "case": job.case}
    paths = {seed: record_path(shelf.root, **where, seed=seed) for seed in job.seeds}
    return tuple(
        seed for seed, path in paths.items()
        if not path.exists() or differences(read_resident(path, bare=True), shelf.now)
    )  # fmt: skip
