"""Jobs on a cluster of Ray: Ray places and retries them, and their records are stored here."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from suite.commands.cluster_node import Job, Order, Returned
from suite.commands.cluster_parcel import on_node
from suite.commands.outcomes import files_of, untried
from suite.commands.plan import SESSIONS, Plan, Shelf, absent
from suite.errors import RecordError
from suite.files import write_atomically
from suite.judge.compatibility import Outcome
from suite.judge.staleness import differences
from suite.locks import Fault, fault, lock_digest, lock_of, one_line
from suite.records import Record
from suite.releases import Release
from suite.report.text import printable
from suite.store import find, read_resident, store
from suite.tables import TIERS

LOGS = ".cluster"  # folder of the logs of the cases; hidden, as no tier of the row is called so
RETRIES = 5  # of a job whose worker or node died; what a case itself does is never tried again
POLL_S = 1.0
SKIPPED = "skipped: "  # begins what `outcome_of` says of a test that another job answers


class Result(NamedTuple):
    """What became of a job.

    Attributes:
        job: The job.
        missing: The seeds of which there is no record that holds.
        outcome: As of a row's own run.
        node: Where it ran; empty if it ran nowhere.
        seconds: What the time on the node was spent on.
    """

    job: Job
    missing: tuple[int, ...]
    outcome: Outcome
    node: str = ""
    seconds: Mapping[str, float] = {}

    @property
    def reason(self) -> str:
        """Say why it did not end as expected; empty if it did."""
        reason = self.outcome.reason
        if self.job.case and not self.missing and reason.startswith(SKIPPED):
            return ""  # a test that compares two cases is for the whole session
        return f"{reason} (on {self.node})" if reason and self.node else reason


@dataclass(frozen=True)
class Cluster:
    """A cluster of Ray that is connected.

    Attributes:
        ray: The module.
        cpus: Processors that a job takes.
        project: Digest of the project's files and, in a list, the reference to them.
        data: The same of the data.
        waiting: The jobs that have not ended, by the reference of their result.
    """

    ray: Any
    cpus: float
    project: tuple[str, list[Any]]
    data: tuple[str, list[Any]]
    waiting: dict[Any, Job] = field(default_factory=dict)

    def run(
        self, plan: Plan, *, judged: bool = False, until_s: float = math.inf
    ) -> Iterator[Result]:
        """Measure what a plan lacks, and tell of each job what became of it.

        Args:
            plan: What is to run.
            judged: True to run each row's whole session in the end, with all of its records.
            until_s: The clock (`time.perf_counter`) at which to end, whatever is still running.

        Yields:
            What became of a job; that of a row that cannot be measured, and of the whole session,
            names no case.

        Raises:
            RecordError: If a record or a log cannot be written, or one that is there is damaged.
        """
        shelves = plan.shelves()
        last = {name: Job(name, "", tuple(plan.seeds)) for name in shelves}
        refused = {row.name: why for row in plan.rows for why in [refusal(row)] if why}
        for name, why in refused.items():
            yield Result(last[name], tuple(plan.seeds), why)
        jobs = [job for job in plan.lacking() if job.row not in refused]
        left = Counter(job.row for job in jobs)
        jobs += [last[row] for row in last if judged and not left[row] and row not in refused]
        try:
            self._submit(jobs, shelves, plan)
            while self.waiting and time.perf_counter() < until_s:
                for job, returned in self._ended():
                    yield filed(job, returned, shelves[job.row])
                    left[job.row] -= 1
                    if judged and job.case and not left[job.row]:
                        self._submit([last[job.row]], shelves, plan)
        finally:
            self._give_up()

    def _submit(self, jobs: Sequence[Job], shelves: Mapping[str, Shelf], plan: Plan) -> None:
        """Give jobs to Ray."""
        for job in jobs:
            order = order_of(shelves[job.row].release, plan)
            given = {} if job.case else stored(shelves[job.row].folder)
            task = self.ray.remote(on_node).options(
                num_cpus=self.cpus,
                num_gpus=int(TIERS[plan.tier].gpu),
                max_retries=RETRIES,
                name=str(job),
            )
            sent = (tuple(job), tuple(order), self.project, self.data, given)
            self.waiting[task.remote(*sent)] = job

    def _ended(self) -> Iterator[tuple[Job, Returned]]:
        """Yield what came back of the jobs that have ended; wait a moment where none has."""
        for reference in self.ray.wait([*self.waiting], timeout=POLL_S)[0]:
            job = self.waiting.pop(reference)
            try:
                yield job, Returned(*self.ray.get(reference))
            except self.ray.exceptions.RayError as error:
                yield job, unreturned(lost(error))

    def _give_up(self) -> None:
        """Cancel what has not ended."""
        for reference in self.waiting:
            self.ray.cancel(reference, force=True)
        self.waiting.clear()


def outcomes_of(
    cluster: Cluster, plan: Plan, *, judged: bool = False, until_s: float = math.inf
) -> Iterator[tuple[Release, Outcome]]:
    """Run a plan, say of each case when it has ended, and yield of each row what became of it.

    Args:
        cluster: Where.
        plan: What.
        judged: True for the outcome of the whole session, with all records; else it is that of the
            first case that did not end as expected, or of the last one.
        until_s: The clock (`time.perf_counter`) at which to end.
    """
    rows, found = {row.name: row for row in plan.rows}, dict[str, Outcome]()
    for result in cluster.run(plan, judged=judged, until_s=until_s):
        name = result.job.row
        if result.job.case:
            print(printable(line(result)), flush=True)
        elif judged:
            yield rows[name], result.outcome
        if not judged and (name not in found or found[name].passed):
            why = result.reason
            found[name] = replace(result.outcome, passed=not why, reason=why)
    yield from ((rows[name], outcome) for name, outcome in found.items())


def line(result: Result) -> str:
    """Write the line of a job that has ended."""
    end = f"MISSING, {result.reason}" if result.missing else result.reason or "measured"
    where = f" on {result.node}" if result.node else ""
    return f"{result.job}: {result.outcome.seconds:.0f} s{where}, {end}"


def order_of(row: Release, plan: Plan) -> Order:
    """Say how the jobs of a row are run."""
    session = tuple(word.format(row) for word in SESSIONS[plan.tier])
    return Order(plan.tier, session, lock_digest(row), plan.arguments)


def refusal(row: Release) -> Outcome | None:
    """Tell why no cluster measures a row: it has no lock, or a stale one."""
    if row.unpinned:
        why = f"it has no lock, so nodes could differ: `nox -s matrix -- --rows {row}` runs it here"
        return untried(Fault(why), lock_digest="")
    found = fault(lock_of(row))
    return untried(found, lock_digest=lock_digest(row)) if found else None


def lost(error: Exception) -> str:
    """Say why no result came back."""
    cause = getattr(error, "cause", None)  # of what was raised on the node
    if cause is not None:
        return f"{type(cause).__name__}: {one_line(str(cause))}"
    words = f"{type(error).__name__}: {one_line(str(error))}"
    return f"Ray gave it up, after up to {RETRIES} retries where a worker or node died: {words}"


def unreturned(why: str) -> Returned:
    """Make what stands for a job of which nothing came back."""
    return Returned("", untried(Fault(why), lock_digest=""), {}, {}, {})


def stored(folder: Path) -> dict[str, bytes]:
    """Read the files of all records of a row, by name."""
    return {path.name: path.read_bytes() for path in folder.glob("*.json")}


def filed(job: Job, returned: Returned, shelf: Shelf) -> Result:
    """Store what came back of a job: each record once and as a whole, beside them the log.

    Raises:
        RecordError: If something cannot be written.
    """
    outcome, kept = returned.outcome, list[Record]()
    for name, content in returned.made.items():
        try:
            kept += [checked(name, content, job, shelf)] if is_record(name) else []
        except RecordError as error:
            outcome = untried(Fault(f"{error}"), lock_digest=outcome.lock_digest)
    for record in kept:
        keep(record, shelf.root)
    for path, content in beside(job, returned, shelf):
        write_atomically(path, content)
    missing = absent(job, shelf) if job.case else ()
    return Result(job, missing, outcome, returned.node, returned.seconds)


def is_record(name: str) -> bool:
    """True for the name of a record's file in the folder of a row and tier."""
    return "/" not in name and name.endswith(".json")


def checked(name: str, content: bytes, job: Job, shelf: Shelf) -> Record:
    """Read a record that came from a node.

    Raises:
        RecordError: If it is damaged, or not what its job was to measure, or not with the code and
            the lock of now.
    """
    with TemporaryDirectory(prefix="suite-returned-") as place:
        path = Path(place, job.row, shelf.tier, name)
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        record = read_resident(path)
    if job.case and (record.case != job.case or record.seed not in job.seeds):
        raise RecordError(f"{record} came back from a node, expected the job {job}")
    found = differences(record, shelf.now)
    if found:
        what = f"{found[0].what} {found[0].found}, expected {found[0].expected}"
        raise RecordError(f"{record} came back from a node with {what}. Give the command again.")
    return record


def keep(record: Record, records: Path) -> None:
    """Store a record; one that is there already, of the same making, stays.

    Raises:
        RecordError: If it cannot be written, or what lies there is damaged.
    """
    where = {"release": record.release, "tier": record.tier, "case": record.case}
    if find(records, **where, seed=record.seed, key=record.key) is None:
        store(record, records)


def beside(job: Job, returned: Returned, shelf: Shelf) -> Iterator[tuple[Path, bytes]]:
    """Yield what lies beside the records: of a case its log, of a whole session all it left."""
    if job.case:
        if "log" in returned.reports:
            yield shelf.root / job.row / LOGS / f"{job.case}.log", returned.reports["log"]
        return
    for name, path in files_of(shelf.release, shelf.root)._asdict().items():
        if name in returned.reports:
            yield path, returned.reports[name]
    for name, content in returned.made.items():
        if not is_record(name) and ".." not in Path(name).parts and not Path(name).is_absolute():
            yield shelf.folder / name, content
