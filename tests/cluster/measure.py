"""Measure what a cluster costs beside the cases, on a cluster of nodes on this machine.

``python -m tests.cluster.measure FILE`` in the environment of ``nox -s cluster-tests`` writes what
docs/cluster.md tells and the simulation of larger clusters reads. The cases of the first part only
wait, so that two nodes share no processor; those of the second are real (GTSRB_ROOT). It
wants a clone without environments of rows: what only waits cannot state their libraries.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from suite.commands import cluster_jobs, cluster_link
from suite.commands.cluster_link import SETTINGS, connected
from suite.commands.plan import Plan
from suite.files import SUITE, write_atomically
from suite.machine import cpu_name, versions
from suite.releases import chosen, read_releases
from suite.store import read_records
from tests.cluster.conftest import Nodes, copied

WAIT_S = 4.0  # of a pretended case
PRETENDED = ("lenet5-plain", "parity-lenet5-plain", "attack-lenet5", "random-lenet5")
EMPTY = 200  # tasks that do nothing
REAL = "attack-lenet5"
ROWS = ("tf-2.21", "tf-2.15")


def main(path: Path) -> None:
    """Measure all and write it."""
    os.environ.update(SETTINGS)
    with tempfile.TemporaryDirectory() as place:
        nodes = Nodes(Path(place, "nodes"))
        try:
            found = measured(nodes, Path(place))
        finally:
            nodes.cluster.shutdown()
    write_atomically(path, f"{json.dumps(found, indent=1)}\n".encode())
    sys.stdout.write(f"{path} written\n")


def measured(nodes: Nodes, place: Path) -> dict[str, Any]:
    """Measure with one node, then with two."""
    starts = [nodes.add()]
    project = copied(place / "project", seconds=WAIT_S)
    with sent_from(project):
        pretended(nodes, place / "cold")  # the first node makes its environments
        one, _ = pretended(nodes, place / "one")
        starts.append(nodes.add())
        pretended(nodes, place / "warm")  # the second node makes its environments, too
        two, _ = pretended(nodes, place / "two")
        warm, jobs = pretended(nodes, place / "again")
    empty_s = empty(nodes)
    real = really(nodes, place / "real")
    return {
        "machine": f"{cpu_name()}, {len(os.sched_getaffinity(0))} shared cores",
        "load": round(os.getloadavg()[2], 1),
        "versions": versions(["ray"]),
        "system": platform.platform(),
        "costs": {
            "node": spread(starts),
            "data": spread([job["files"] for job in real["first"]]),
            "environment": spread([job["environment"] for job in real["first"]]),
            "start": spread([job["start"] for job in real["first"]]),
            "task": spread([empty_s]),
            "filed": spread(FILED_S),
        },
        "overhead": spread([sum(job.values()) - WAIT_S for job in jobs]),
        "efficiency": {
            "case_s": WAIT_S,
            "jobs": len(jobs),
            "1": round(len(jobs) * WAIT_S / one, 3),
            "2": round(len(jobs) * WAIT_S / (2 * min(two, warm)), 3),
            "speedup": round(one / min(two, warm), 3),
        },
        "real": real,
    }


def pretended(nodes: Nodes, records: Path) -> tuple[float, list[dict[str, float]]]:
    """Run jobs that only wait; the seconds from the first that began to the last that ended."""
    plan = Plan(chosen(read_releases(), ",".join(ROWS)), PRETENDED, (0,), records)
    with connected(nodes.address, plan) as cluster:
        started_s = time.perf_counter()
        results = [*cluster.run(plan)]
        missing = [result.reason for result in results if result.missing]
        assert not missing, missing
        return time.perf_counter() - started_s, [dict(result.seconds) for result in results]


def empty(nodes: Nodes) -> float:
    """Time a task that does nothing, among many: what Ray and the driver need for one."""
    with connected(nodes.address, Plan((), (), (), Path())) as cluster:
        task = cluster.ray.remote(lambda: None)
        cluster.ray.get([task.remote() for _ in range(EMPTY)])
        started_s = time.perf_counter()
        cluster.ray.get([task.remote() for _ in range(EMPTY)])
        return (time.perf_counter() - started_s) / EMPTY


def really(nodes: Nodes, records: Path) -> dict[str, Any]:
    """Measure a small case on two rows whose pins conflict, at once, where GTSRB is."""
    rows = chosen(read_releases(), ",".join(ROWS))
    plan = Plan(rows, (REAL,), (0,), records)
    with connected(nodes.address, plan) as cluster:
        started_s = time.perf_counter()
        results = [*cluster.run(plan)]
        wall_s = time.perf_counter() - started_s
    first = []
    for result in results:
        case_s = sum(r.wall_s for r in read_records(records / result.job.row / "small"))
        spent = dict(result.seconds)
        first.append(
            {"row": result.job.row, **spent, "case": case_s, "start": spent["run"] - case_s}
        )
    return {"case": REAL, "wall_s": wall_s, "first": first}


FILED_S: list[float] = []


@contextmanager
def sent_from(project: Path) -> Iterator[None]:
    """Send another project's files and data, and time what is done with what comes back."""
    filed, real, root = cluster_jobs.filed, cluster_link.PROJECT, os.environ.get("GTSRB_ROOT")

    def timed(*given: Any) -> Any:
        started_s = time.perf_counter()
        try:
            return filed(*given)
        finally:
            FILED_S.append(time.perf_counter() - started_s)

    cluster_jobs.filed, cluster_link.PROJECT = timed, project
    os.environ["GTSRB_ROOT"] = str(project / "data")
    try:
        yield
    finally:
        cluster_jobs.filed, cluster_link.PROJECT = filed, real
        os.environ["GTSRB_ROOT"] = root or ""


def spread(values: Sequence[float]) -> dict[str, float]:
    """Give median, least and most in seconds, and how many there are."""
    rounded = [round(value, 4) for value in values]
    return {
        "s": statistics.median(rounded), "least": min(rounded), "most": max(rounded),
        "count": len(rounded),
    }  # fmt: skip


if __name__ == "__main__":
    os.chdir(SUITE.parent)
    main(Path(sys.argv[1]))
