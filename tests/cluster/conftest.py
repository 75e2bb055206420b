"""A cluster of several Ray nodes on this machine, and a project whose rows only pretend to measure.

``nox -s cluster-tests`` runs these tests in the environment of the cluster; `nox -s tests` passes
them over. What stands in for a row is its session of nox alone: environments, data, returns and
the store are the real ones.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from suite.commands.cluster_link import SETTINGS
from suite.commands.intermediate import COPIED
from suite.data.download import TEST_ARCHIVE, TRAINING_ARCHIVE, TRUTH_ARCHIVE
from suite.files import SUITE

if TYPE_CHECKING:
    from typing import TypeAlias

Drive: TypeAlias = "Callable[..., subprocess.Popen[str]]"

collect_ignore_glob: list[str] = []

try:
    from ray._private import services
    from ray.cluster_utils import Cluster
except ImportError:  # the environment is not that of the session
    collect_ignore_glob = ["test_*.py"]

PROJECT = SUITE.parent
STAND_IN = Path(__file__).with_name("stand_in.py")
WAIT_S = 300.0  # on a machine that does something else, too


def patient(find: Callable[..., Any]) -> Callable[..., Any]:
    """Let a node take its time to start: Ray gives up after 30 s, which a busy machine may need."""

    def found(*given: Any) -> Any:
        end_s = time.monotonic() + WAIT_S
        while True:
            try:
                return find(*given)
            except RuntimeError:  # it is not there yet
                if time.monotonic() > end_s:
                    raise
                time.sleep(0.1)

    return found


class Nodes:
    """A head that runs no job, and nodes of one processor with a cache of their own."""

    def __init__(self, place: Path) -> None:
        self.place, self.count = place, 0
        services.get_node = patient(services.get_node)
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        self.live: list[Any] = []

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self, **has: int) -> float:
        """Start a node; the seconds that it took."""
        started_s = time.perf_counter()
        self.count += 1
        os.environ["SUITE_CACHE"] = str(self.place / f"node-{self.count}")
        self.live.append(self.cluster.add_node(**{"num_cpus": 1, **has}))
        return time.perf_counter() - started_s

    def kill(self, node: Any) -> None:
        """Kill a node as if its machine were gone."""
        self.live.remove(node)
        os.kill(raylet(node), signal.SIGKILL)
        self.cluster.remove_node(node, allow_graceful=False)

    def jobs(self) -> list[int]:
        """List the processes of Ray that run a job at the moment."""
        nodes = [raylet(node) for node in self.live]
        return [
            int(status.parent.name)
            for status in Path("/proc").glob("[0-9]*/status")
            if parent(status) in nodes and title(status.parent).startswith("ray::tf-")
        ]


def raylet(node: Any) -> int:
    """The process of a node that starts its workers."""
    return int(node.all_processes["raylet"][0].process.pid)


def parent(status: Path) -> int:
    try:
        return int(status.read_text().partition("PPid:")[2].split()[0])
    except OSError:  # it has ended
        return 0


def title(process: Path) -> str:
    try:
        return (process / "cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def leftovers() -> list[str]:
    """List the runs of jobs that go on; none may when nobody waits for them."""
    return [found for found in map(title, Path("/proc").glob("[0-9]*")) if "suite-job-" in found]


def wait_until(done: Callable[[], object], *, seconds: float = WAIT_S) -> None:
    end_s = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    kept = dict(os.environ)
    os.environ.update(SETTINGS)
    started = Nodes(tmp_path_factory.mktemp("nodes"))
    try:
        started.add()
        started.add()
        yield started
    finally:
        started.cluster.shutdown()
        os.environ.clear()
        os.environ.update(kept)


def copied(home: Path, *, seconds: float | None = None) -> Path:
    """Copy the project; its sessions only pretend to measure, and its data are a few bytes."""
    for name in (*COPIED, "locks"):
        source, target = PROJECT / name, home / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    text = STAND_IN.read_text()
    if seconds is not None:
        text = re.sub("SECONDS = .*", f"SECONDS = ({seconds}, {seconds})", text)
    (home / "noxfile.py").write_text(text)
    (home / "data").mkdir()
    for name in (TRAINING_ARCHIVE, TEST_ARCHIVE, TRUTH_ARCHIVE):
        (home / "data" / name).write_bytes(name.encode())
    return home


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the project, once for the tests of a file."""
    return copied(tmp_path_factory.mktemp("project"))


@pytest.fixture
def drive(nodes: Nodes, project: Path) -> Iterator[Drive]:
    """Return a function that starts `cluster` in the copy of the project."""
    started: list[subprocess.Popen[str]] = []

    def drive(records: Path, *options: str, address: str = "") -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "suite", "cluster", "--address", address or nodes.address]
        process = subprocess.Popen(
            [*command, "--records", str(records), *options],
            cwd=project,
            env={**os.environ, "GTSRB_ROOT": str(project / "data")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield drive
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
