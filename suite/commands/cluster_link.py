"""The way to a cluster of Ray: what is sent there once, and how it is reached."""

from __future__ import annotations

import math
import os
import socket
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from suite.commands import cluster_parcel
from suite.commands.cluster_jobs import RETRIES, Cluster
from suite.commands.intermediate import COPIED, PROJECT
from suite.commands.plan import Plan
from suite.data.archives import ARCHIVE_BYTES
from suite.data.download import (
    TEST_ARCHIVE,
    TRAINING_ARCHIVE,
    TRUTH_ARCHIVE,
    gtsrb_root,
)
from suite.data.sources import TEST_FOLDER, TRAINING_FOLDER, locate, opened, readable
from suite.errors import SuiteError
from suite.files import read_within
from suite.locks import lock_of, one_line
from suite.releases import Release
from suite.tables import TIERS, asked

LOCAL, AUTO, GTSRB = "local", "auto", "gtsrb"
LEFT = frozenset(("__pycache__", "node_modules"))
ANSWER_S = 5.0  # for a cluster to take a connection
PORTS = 65_535
START = (
    "Start one with `ray start --head --disable-usage-stats` in the environment of this session "
    "(docs/cluster.md), or give --address local, which needs none"
)
ELSEWHERE = (
    "the cluster at {} takes no job from here: {}. Jobs are sent from a machine that is a node of "
    "the cluster, with its Ray and Python"
)
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_task_oom_retries": f"{RETRIES}",  # for ever, unless it is set
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # as later versions of Ray do by themselves
}
"""Environment variables that Ray reads when it is imported."""


def address(text: str) -> str:
    """Read where a cluster is: local, auto or HOST:PORT."""
    host, _, port = text.rpartition(":")
    if text not in (LOCAL, AUTO) and not (host and port.isdecimal() and int(port) <= PORTS):
        raise ArgumentTypeError(f"must be local, auto or HOST:PORT. Received: {text:.80}")
    return text


def add_address(parser: ArgumentParser, *, required: bool = False) -> None:
    """Add the option that names a cluster."""
    parser.add_argument(
        "--address", required=required, type=address, metavar="auto|local|HOST:PORT",
        help="measure on a cluster of Ray: the one that runs here, a new one on this machine, or "
        "one elsewhere (docs/cluster.md)",
    )  # fmt: skip


@contextmanager
def connected(where: str, plan: Plan, *, cpus: float | None = None) -> Iterator[Cluster]:
    """Connect with a cluster, send it what all jobs need, and take leave of it in the end.

    Args:
        where: local starts one of this machine, auto takes the one that runs here.
        plan: Its rows, tier and cases tell what the jobs need: locks, data, GPUs.
        cpus: Processors that a job takes; None for those of the smallest node.

    Raises:
        SuiteError: If no cluster answers, it has no place for the jobs, Ray fails (a disk is full,
            say), or the data are missing.
    """
    known = asked(plan.tier)
    data = official_files(gtsrb_root()) if any(known[c].data == GTSRB for c in plan.cases) else {}
    project = packed(plan.rows)
    ray = started(where)
    try:
        ray.cloudpickle.register_pickle_by_value(cluster_parcel)
        taken = places(ray.nodes(), cpus=cpus, gpu=TIERS[plan.tier].gpu)
        yield Cluster(ray, taken, sent(ray, project), sent(ray, data))
    except ray.exceptions.RayError as error:  # such as a full disk
        raise SuiteError(
            f"Ray cannot go on: {one_line(str(error))}. What is finished is kept: when that is "
            "mended, the same command goes on."
        ) from error
    finally:
        ray.shutdown()


def sent(ray: Any, files: Mapping[str, bytes]) -> tuple[str, list[Any]]:
    """Put files where the nodes get them; their digest and, in a list, the reference to them."""
    return cluster_parcel.digest_of(files), [ray.put(files)]


def started(where: str) -> Any:
    """Import Ray and connect it; Ray's module.

    Raises:
        SuiteError: If there is no Ray, or no cluster answers.
    """
    os.environ.update(SETTINGS)
    reach(where)
    try:
        import ray  # noqa: PLC0415 - takes seconds
    except ModuleNotFoundError as error:
        raise SuiteError(
            "Ray is not installed here. Run this through nox, which installs it where --address is "
            "given, or install the group `cluster` of pyproject.toml."
        ) from error
    speaks(where)
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if where == LOCAL:
        options.update(num_cpus=len(os.sched_getaffinity(0)), include_dashboard=False)
    try:
        context = ray.init(address=where, **options)
    except ConnectionError as error:
        raise SuiteError(f"no cluster of Ray was found for --address {where}. {START}.") from error
    except (RuntimeError, ValueError, OSError) as error:
        raise SuiteError(ELSEWHERE.format(where, one_line(str(error)))) from error
    if context.dashboard_url:
        print(f"dashboard: http://{context.dashboard_url}", flush=True)
    return ray


def reach(where: str) -> None:
    """Refuse an address at which nothing listens, at once: Ray itself would try for minutes.

    Raises:
        SuiteError: If nothing listens there.
    """
    if where in (LOCAL, AUTO):
        return
    host, _, port = where.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()
    except OSError as error:
        found = error.strerror or error
        raise SuiteError(f"nothing answers at {where}: {found}. {START}.") from error


def speaks(where: str) -> None:
    """Refuse an address at which something else than gRPC answers, which Ray speaks.

    Raises:
        SuiteError: If no such connection comes about; one with TLS is Ray's to try.
    """
    if where in (LOCAL, AUTO) or os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return
    import grpc  # noqa: PLC0415 - Ray's, too

    with grpc.insecure_channel(where, [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            grpc.channel_ready_future(channel).result(ANSWER_S)
        except grpc.FutureTimeoutError as error:
            raise SuiteError(f"what listens at {where} is no cluster of Ray. {START}.") from error


def places(nodes: Sequence[Mapping[str, Any]], *, cpus: float | None, gpu: bool) -> float:
    """Say what the cluster has, and give the processors that a job takes: a GPU's share of them.

    Raises:
        SuiteError: If no node has as many, or a GPU.
    """
    has = [node["Resources"] for node in nodes if node["Alive"]]
    able = [part for part in has if part.get("CPU") and (not gpu or part.get("GPU"))]
    if not able or (cpus or 0) > max(part["CPU"] for part in able):
        wanted = f"{cpus or 1:g} processors{' and a GPU' if gpu else ''}"
        found = ", ".join(f"{part.get('CPU', 0):g} and {part.get('GPU', 0):g} GPUs" for part in has)
        raise SuiteError(
            f"no node of the cluster has {wanted}, which a job takes. Found: {found or 'no node'}. "
            "Add a node that has (`ray start --address=...`), or give fewer --cpus."
        )
    shares = [part["CPU"] / part["GPU"] if gpu else part["CPU"] for part in able]
    taken = cpus or max(1.0, min(shares) // 1)
    slots = [min(part["CPU"] // taken, part["GPU"] if gpu else math.inf) for part in able]
    print(
        f"nodes: {len(able)}, processors: {sum(part['CPU'] for part in able):g}; a job takes "
        f"{taken:g}{' and a GPU' if gpu else ''}, jobs at once: {sum(slots):g}", flush=True,
    )  # fmt: skip
    return taken


def packed(rows: Sequence[Release]) -> dict[str, bytes]:
    """Read what of the project a measurement needs, and the locks of some rows, by name."""
    locks = (PROJECT / lock_of(row).path for row in rows)
    found = [path for name in COPIED for path in _files(PROJECT / name)]
    return {
        path.relative_to(PROJECT).as_posix(): path.read_bytes()
        for path in [*found, *(path for path in locks if path.exists())]
    }


def _files(path: Path) -> list[Path]:
    """List the files of a part of the project, without what Python or npm left there."""
    below = path.rglob("*") if path.is_dir() else [path]
    return [file for file in below if file.is_file() and not LEFT.intersection(file.parts)]


def official_files(root: Path) -> dict[str, bytes]:
    """Read GTSRB's files, archives or extracted, by the name at which `locate` finds them.

    Raises:
        DataError: If one is missing.
    """
    names = (
        (TRAINING_ARCHIVE, TRAINING_FOLDER), (TEST_ARCHIVE, TEST_FOLDER), (TRUTH_ARCHIVE, "")
    )  # fmt: skip
    found = {}
    for path, (archive, folder) in zip(locate(root), names, strict=True):
        if path.suffix == ".zip":
            with readable(path):
                found[archive] = read_within(path, ARCHIVE_BYTES)
            continue
        with opened(path, "") as source, readable(path):
            files = {f"{folder}/{name}".lstrip("/"): source.read(name) for name in source.names}
        found.update(files)
    return found
