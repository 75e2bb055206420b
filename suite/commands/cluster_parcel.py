"""What is sent to a node once: files, placed there in a folder that bears their digest.

Ray takes this module along with each job (`pickled by value`), for a node has nothing of the suite
before. So it imports the standard library and filelock, which Ray brings, and is handed plain
tuples. Ray's own way for code, `working_dir`, unpacks a folder anew under the jobs that run in it
when another node starts on the same machine (2.60.0).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

NAME = "adversarial-training-regression"  # of the suite's folder in the user's cache
DIGITS = 16  # of a digest in the name of a folder


def on_node(
    job: tuple[Any, ...],
    order: tuple[Any, ...],
    project: tuple[str, list[Any]],
    data: tuple[str, list[Any]],
    given: Mapping[str, bytes],
) -> tuple[Any, ...]:
    """Run a job on a node, in a process of Ray's: with the suite that was sent.

    Args:
        job: Of `suite.commands.cluster_node`, as a plain tuple; likewise what comes back.
        order: How it is run.
        project: Digest of the project's files and, in a list, Ray's reference to them: so Ray does
            not fetch what the node has already.
        data: The same of the data; an empty digest for none.
        given: Records that there are.
    """
    import ray  # noqa: PLC0415 - where jobs run

    started_s = time.perf_counter()
    home = placed("projects", project[0], lambda: ray.get(project[1][0]))
    if str(home) not in sys.path:
        sys.path.insert(0, str(home))
    from suite.commands.cluster_node import Job, Order, Place, measured  # noqa: PLC0415 - there now

    root = placed("data", data[0], lambda: ray.get(data[1][0])) if data[0] else None
    placed_s = time.perf_counter() - started_s
    return tuple(measured(Job(*job), Order(*order), Place(cache(), root, placed_s), given))


def cache() -> Path:
    """Locate the folder in which a node keeps what its jobs share, as the suite's cache is."""
    own, home = os.environ.get("SUITE_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return (Path(own) if own else Path(home or Path.home() / ".cache", NAME)) / "cluster"


def digest_of(files: Mapping[str, bytes]) -> str:
    """Compute the digest of files, by their names and contents; empty where there are none."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name} {hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return digest.hexdigest() if files else ""


def placed(kind: str, digest: str, fetch: Callable[[], Mapping[str, bytes]]) -> Path:
    """Write files into the node's folder of their digest, unless they are there; give it.

    Args:
        kind: Names the folder above it.
        digest: Of the files.
        fetch: Gets them, by name.
    """
    folder = cache() / kind / digest[:DIGITS]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not folder.is_dir():
            partial = folder.with_name(f"{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)  # of a worker that was killed
            for name, content in fetch().items():
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                (partial / name).write_bytes(content)
            partial.replace(folder)
    return folder
