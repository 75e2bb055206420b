"""Scaling: how long a plan takes on so many nodes, simulated from what was measured.

Ray gives each node that is free the next job of its queue. That is list scheduling (Graham 1966):
a heap of the times at which nodes are free simulates it exactly, as nothing but the driver is
shared, which is a queue of its own before and after. A library for discrete events would add
processes and resources that the model does not have.
"""

from __future__ import annotations

import heapq
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from suite.errors import RecordError
from suite.files import RECORD_BYTES, parse_json, read_within
from suite.records import Record

CASES, SURROGATES, START, ENVIRONMENT, DATA, NODE, IDLE = PARTS = (
    "cases", "surrogates", "job start", "environments", "data", "node start", "idle"
)  # fmt: skip
"""What the time of nodes goes to."""

NEAR = 1.05  # times the shortest that any number of nodes reaches: more nodes gain nothing


class Run(NamedTuple):
    """One case with one seed.

    Attributes:
        seconds: It takes, without the surrogate's pretraining.
        surrogate: The network that it starts from, which a node keeps; empty for none.
        pretraining_s: What that takes where the node does not have it.
    """

    seconds: float
    surrogate: str = ""
    pretraining_s: float = 0.0


class TimedJob(NamedTuple):
    """What one node runs without a break: some seeds of a case on a row."""

    row: str
    case: str
    runs: tuple[Run, ...]


class Costs(NamedTuple):
    """What else takes time, in seconds.

    Attributes:
        node: Until a node that was started takes its first job.
        data: For a node to get the data, once.
        environment: For a node to make the environment of a row, once.
        start: Of a job, beside its cases: processes, the framework's import, decoding the data.
        task: The driver's and Ray's, to hand a job out.
        filed: The driver's, to check and store what came back of a job.
    """

    node: float
    data: float
    environment: float
    start: float
    task: float
    filed: float


@dataclass
class Node:
    """A node, and what it keeps.

    Attributes:
        pace: How many times as long everything takes there.
        kept: Environments and surrogates that it has made, and its data.
        spent: Seconds by what they went to.
    """

    pace: float = 1.0
    kept: set[str] = field(default_factory=set)
    spent: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def run(self, job: TimedJob, costs: Costs) -> float:
        """Run a job, with all that it needs here for the first time; seconds it takes."""
        parts = [*self._needed(job, costs), (START, costs.start)]
        for run in job.runs:
            parts.append((CASES, run.seconds))
            if run.surrogate and self._lacks(f"{job.row} {run.surrogate}"):
                parts.append((SURROGATES, run.pretraining_s))
        for name, seconds in parts:
            self.spent[name] += self.pace * seconds
        return self.pace * sum(seconds for _, seconds in parts)

    def _needed(self, job: TimedJob, costs: Costs) -> Iterator[tuple[str, float]]:
        """Yield what the node has to get or to make before the job."""
        if self._lacks(DATA):
            yield DATA, costs.data
        if self._lacks(job.row):
            yield ENVIRONMENT, costs.environment

    def _lacks(self, name: str) -> bool:
        """True where the node does not keep something; it does from then on."""
        lacking = name not in self.kept
        self.kept.add(name)
        return lacking


class Simulated(NamedTuple):
    """How a plan went.

    Attributes:
        nodes: Their number.
        seconds: From the start of the nodes until the last record is stored.
        spent: Seconds of all nodes, by the parts of `PARTS`.
        longest_s: The longest time that one job took.
        queued_s: How long the last result waited for the driver, which stores one at a time.
    """

    nodes: int
    seconds: float
    spent: Mapping[str, float]
    longest_s: float
    queued_s: float

    @property
    def efficiency(self) -> float:
        """The share of the nodes' time in which cases are measured."""
        return self.spent[CASES] / (self.nodes * self.seconds)

    @property
    def node_hours(self) -> float:
        """What is paid for where all nodes are held to the end."""
        return self.nodes * self.seconds / 3600


def simulated(
    jobs: Sequence[TimedJob],
    count: int,
    costs: Costs,
    *,
    slow: Collection[int] = (),
    pace: float = 1.0,
) -> Simulated:
    """Simulate a plan on nodes that each run one job at a time.

    Args:
        jobs: In the order in which they are handed out.
        count: Number of nodes.
        costs: What else takes time.
        slow: Nodes on which every job takes `pace` times as long; the first take the first jobs.
        pace: See `slow`.
    """
    nodes = [Node(pace if index in slow else 1.0) for index in range(count)]
    free = [(costs.node, index) for index in range(count)]
    heapq.heapify(free)
    longest, ends = 0.0, []
    for number, job in enumerate(jobs, start=1):
        at, index = heapq.heappop(free)
        took = nodes[index].run(job, costs)
        longest = max(longest, took)
        ends.append(max(at, number * costs.task) + took)
        heapq.heappush(free, (ends[-1], index))
    last, stored = max(ends), 0.0
    for end in sorted(ends):
        stored = max(stored, end) + costs.filed
    spent: dict[str, float] = defaultdict(float, {NODE: costs.node * count})
    for name, seconds in (part for node in nodes for part in node.spent.items()):
        spent[name] += seconds
    spent[IDLE] = count * stored - sum(spent.values())
    return Simulated(count, stored, spent, longest, stored - last)


def enough(jobs: Sequence[TimedJob], costs: Costs) -> Simulated:
    """Find the fewest nodes from which on more gain nothing: within `NEAR` of the shortest time."""
    found = simulated(jobs, len(jobs), costs)
    limit, few, many = NEAR * found.seconds, 0, len(jobs)
    while many - few > 1:  # more nodes take no longer, but for the order of a few jobs
        tried = simulated(jobs, (few + many) // 2, costs)
        if tried.seconds <= limit:
            found, many = tried, tried.nodes
        else:
            few = tried.nodes
    return found


def longest_first(jobs: Iterable[TimedJob]) -> list[TimedJob]:
    """Order jobs by their length, so that none begins late and ends alone."""
    return sorted(jobs, key=lambda job: -sum(run.seconds for run in job.runs))


def split(jobs: Iterable[TimedJob]) -> list[TimedJob]:
    """Make a job of each seed of a case."""
    return [job._replace(runs=(run,)) for job in jobs for run in job.runs]


def planned(
    records: Sequence[Record], rows: Sequence[str], cases: Iterable[str], seeds: int
) -> list[TimedJob]:
    """Plan all cases on all rows, with the times of stored records.

    A row without records of a case takes those of the nearest row in the table that has some, and
    a seed without a record those of the seeds that have one, in turn.

    Args:
        records: Of one tier, of any rows.
        rows: Names of the release table, in its order.
        cases: Names, in the order in which they are run; those that have no record are left out.
        seeds: Of each case.
    """
    known: dict[str, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for record, run in timed(records):
        known[record.case][record.release].append(run)
    return [
        TimedJob(row, case, tuple(_seeded(known[case][_nearest(row, rows, known[case])], seeds)))
        for case in cases if not known[case].keys().isdisjoint(rows) for row in rows
    ]  # fmt: skip


def _nearest(row: str, rows: Sequence[str], there: Collection[str]) -> str:
    """Find the row nearest to another in the table, of those that are `there`."""
    place = rows.index(row)
    return min((name for name in rows if name in there), key=lambda n: abs(rows.index(n) - place))


def _seeded(runs: Sequence[Run], seeds: int) -> Iterator[Run]:
    """Yield a run for each seed; its surrogate is the seed's own."""
    for seed in range(seeds):
        run = runs[seed % len(runs)]
        yield run._replace(surrogate=f"{run.surrogate} {seed}" if run.surrogate else "")


def timed(records: Sequence[Record]) -> Iterator[tuple[Record, Run]]:
    """Yield each record's time, and apart from it that of the surrogate which it made.

    Of the cases of a row and seed that start from one surrogate, the first made it. That takes
    its steps, each as long as one of the plain loss; what compiling adds stays with the case.
    """
    steps = _plain_step_s(records)
    made = set()
    for record in sorted(records, key=lambda record: record.started_at):
        digest = record.environment.get("surrogate_digest", "")
        if not digest:
            yield record, Run(record.wall_s)
            continue
        name = str(record.settings["architecture"])
        pretraining = record.settings["pretraining_steps"] * steps[record.release, name]
        mine = (record.release, digest) not in made
        made.add((record.release, digest))
        yield record, Run(max(0.0, record.wall_s - pretraining * mine), name, pretraining)


def _plain_step_s(records: Iterable[Record]) -> Mapping[tuple[str, str], float]:
    """Compute the median step under the plain loss, by row and architecture."""
    found = defaultdict(list)
    for record in records:
        if record.settings["loss"] == "plain" and "step_s" in record.timing:
            found[record.release, str(record.settings["architecture"])].append(
                float(record.timing["step_s"])
            )
    return {name: statistics.median(values) for name, values in found.items()}


class Check(NamedTuple):
    """The share of the nodes' time in which cases ran, where that was measured.

    Attributes:
        nodes: Their number.
        measured: As a share.
        simulated: The same, by the model, from what a job took beside its case.
    """

    nodes: int
    measured: float
    simulated: float


class Measured(NamedTuple):
    """What was measured on a real cluster.

    Attributes:
        costs: What else takes time than cases.
        checks: The simulation held against it; none where its efficiency was not measured.
        machine: On what, and how busy it was.
        versions: Of Ray, for one.
    """

    costs: Costs
    checks: tuple[Check, ...]
    machine: str
    versions: Mapping[str, str]


def read_measured(path: Path) -> Measured:
    """Read what was measured on a cluster, as `tests.cluster.measure` writes it.

    Raises:
        RecordError: If the file cannot be read or lacks a number.
    """
    try:
        found = parse_json(read_within(path, RECORD_BYTES))
        costs = Costs(**{name: float(found["costs"][name]["s"]) for name in Costs._fields})
        checks = tuple(_checks(costs, found)) if "efficiency" in found else ()
        machine = f"{found['machine']}, {found['load']:g} processes in the queue"
        return Measured(costs, checks, machine, dict(found["versions"]))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RecordError(
            f"{path} is not what a cluster was measured to cost ({type(error).__name__}: {error}). "
            "Restore it from version control, or make it with `python -m tests.cluster.measure "
            f"{path}` in the environment of `nox -s cluster-tests`."
        ) from error


def _checks(costs: Costs, found: Mapping[str, Any]) -> Iterator[Check]:
    """Simulate the jobs that were measured on one node and on two, which had all they need."""
    told, start = found["efficiency"], float(found["overhead"]["s"])
    jobs = [TimedJob("", "", (Run(float(told["case_s"])),))] * int(told["jobs"])
    warm = costs._replace(node=0.0, data=0.0, environment=0.0, start=start)
    for count in (1, 2):
        yield Check(count, float(told[f"{count}"]), simulated(jobs, count, warm).efficiency)
