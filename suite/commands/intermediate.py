"""Environments between two rows: resolved by uv, measured as a row is, judged, and removed."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from suite.commands.outcomes import outcome_of
from suite.commands.plan import expression
from suite.commands.processes import POLL_S, STOPS, Run, start, stopped_together
from suite.commands.rounds import clock_s
from suite.errors import BudgetError, ReleaseError, SuiteError
from suite.files import (
    SUITE,
    file_digest,
    measuring_digest,
    read_within,
    write_atomically,
)
from suite.judge.compatibility import TIER, Outcome
from suite.judge.gate.bisect import Recipe
from suite.judge.staleness import Present, present
from suite.libraries import library_digest, read_pins, site_packages
from suite.locks import OPTIONS, PLATFORM, compiled, fault, lock_digest, lock_of
from suite.releases import Release
from suite.report.text import printable
from suite.tables import asked

PROJECT = SUITE.parent
COPIED = ("suite", "benchmarks", "baselines/states", "conftest.py", "noxfile.py", "pyproject.toml")
"""What of the project a measurement needs."""

JOB = "bisect"  # names the logs and reports
NOX = ".nox"
MADE, MADE_BYTES = "made.txt", 1_000_000  # which environments are to be removed: some lines
LOCK = "lock.txt"
DIGITS = 12  # of a digest in a name
MOST_VERSIONS = 300  # of one package that are listed


class Point(NamedTuple):
    """One environment to measure in: a row's, or one between two rows.

    Attributes:
        title: What it is, in words.
        release: The row of the release table, or one made for it.
        folder: Where its records, logs and reports go.
        variables: The environment variables that it runs with; those of a row are in the table.
        lock: Text of its lock; empty for a row of the table.
        note: What there is to know of how it was resolved; may be empty.
    """

    title: str
    release: Release
    folder: Path
    variables: Mapping[str, str] = {}
    lock: str = ""
    note: str = ""

    @property
    def digest(self) -> str:
        """The digest of all that decides what is measured in it, beside the code."""
        if not self.lock:
            return lock_digest(self.release)
        return _digest([self.release.python, self.lock, dict(self.variables)])


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def row_point(row: Release, records: Path) -> Point:
    """Make a point of a row of the release table; its records lie where all of them do."""
    return Point(row.name, row, records)


def point_of(title: str, recipe: Recipe, root: Path, *, links: str = "") -> Point:
    """Resolve a recipe, if need be against what its packages ask of each other, and say so.

    Args:
        title: What it is, in words.
        recipe: What it is made of.
        root: Folder of all that a search measures.
        links: Where wheels lie that PyPI does not have; may be empty.

    Raises:
        ReleaseError: If there are no such files for its Python.
    """
    lock, note = _resolved(title, recipe, links)
    digest = _digest([recipe.python, lock, dict(recipe.variables)])[:DIGITS]
    release = Release(
        name=f"bisect-{recipe.python}",  # one environment a Python: uv changes what differs
        python=recipe.python,
        pins=tuple(f"{name}=={version}" for name, version in sorted(recipe.pins.items())),
        reason=title,
        find_links=links,
    )
    return Point(title, release, root / digest, recipe.variables, lock, note)


def _resolved(title: str, recipe: Recipe, links: str) -> tuple[str, str]:
    """Resolve a recipe as its packages ask; where that fails, whatever they ask.

    Raises:
        ReleaseError: If both fail.
    """
    pins = [f"{name}=={version}" for name, version in sorted(recipe.pins.items())]
    followers = [f"{name}=={version}" for name, version in sorted(recipe.followers.items())]
    with tempfile.TemporaryDirectory() as folder:
        constraints, overrides = Path(folder, "constraints.txt"), Path(folder, "overrides.txt")
        constraints.write_text("\n".join(followers), encoding="utf-8")
        overrides.write_text("\n".join([*pins, *followers]), encoding="utf-8")
        options = ["--python-version", recipe.python, "--python-platform", PLATFORM, *OPTIONS]
        options += ["--no-header"]
        try:
            lock = compiled(title, pins, [*options, "-c", str(constraints)], links=links)
        except ReleaseError as error:
            lock = compiled(title, pins, [*options, "--override", str(overrides)], links=links)
            why = printable(str(error).partition(": ")[2], limit=300)
            return lock, f"against what its packages ask of each other ({why})"
        return lock, ""


def versions_between(
    package: str, low: str, high: str, *, python: str, until_s: float, links: str = ""
) -> tuple[list[str], str]:
    """List the versions of a package between two, ascending, as uv finds them for a Python.

    uv is asked for the newest below the last one found, over and over: so every index and folder
    that the user's settings name counts, and what was withdrawn or has no file for the platform
    does not.

    Args:
        package: Its name.
        low: The lower version.
        high: The higher one.
        python: The Python.
        until_s: The clock at which the budget is spent.
        links: Where wheels lie that PyPI does not have; may be empty.

    Returns:
        The versions, and why the list may end early; empty if it reaches the lower one.

    Raises:
        BudgetError: If the budget is spent.
    """
    options = ["--python-version", python, "--python-platform", PLATFORM, "--no-deps"]
    options += ["--no-header", "--no-annotate", "--quiet"]
    low, last, found = low.partition("+")[0], high.partition("+")[0], list[str]()
    while len(found) < MOST_VERSIONS:
        if clock_s() >= until_s:
            raise BudgetError(f"The budget was spent while versions of {package} were listed.")
        wanted = f"{package}>={low},<{last}"
        try:
            text = compiled(wanted, [wanted], options, links=links, project=None)
        except ReleaseError as error:
            return found[::-1], str(error)
        version = re.search(r"(?m)^[\w.-]+==(\S+)", text)
        if not version or version[1].partition("+")[0] in (low, last):
            return found[::-1], ""
        found.append(version[1])
        last = version[1].partition("+")[0]
    return found[::-1], f"only the newest {MOST_VERSIONS} are listed"


class Bench(NamedTuple):
    """Where points are measured.

    Attributes:
        until_s: The clock at which the budget is spent.
        arguments: Passed on to pytest.
        project: A copy of the project, in which environments between rows are made.
    """

    until_s: float
    arguments: Sequence[str]
    project: Path

    def measured(
        self, point: Point, case: str, seeds: Sequence[int], use: Callable[[], Any]
    ) -> Outcome:
        """Measure some seeds of a case, and call `use` while the environment is there.

        That of a row is removed then, unless it was there before. That of the copy of the project
        is changed into the next one, unless something failed, and goes with the copy. What became
        of the run comes back.

        Raises:
            BudgetError: If the budget is spent.
        """
        project = self.project if point.lock else Path()
        place = environment_of(point, project)
        stays = place.exists() and not point.lock
        with noted([] if stays or point.lock else [place], self.project.parent):
            try:
                outcome = self._run(point, case, seeds, project.resolve())
                use()
                stays = stays or bool(point.lock and outcome.imports)
                return outcome
            finally:
                if not stays:
                    remove(place)

    def _run(self, point: Point, case: str, seeds: Sequence[int], project: Path) -> Outcome:
        """Start nox for a point, and wait for it.

        Raises:
            BudgetError: If the budget is spent.
        """
        if point.lock:
            add_row(project, point)
        asked_for = ("-k", expression([case]), "--seeds", ",".join(map(str, seeds)))
        arguments, running = (*asked_for, *self.arguments), list[Run]()
        records = point.folder.resolve()
        with stopped_together(running):
            run = start(
                point.release, records, arguments, job=JOB, project=project if point.lock else None
            )
            running.append(run)
            while run.process.poll() is None:
                if clock_s() >= self.until_s:
                    raise BudgetError(f"The budget was spent while {point.title} was measured.")
                time.sleep(POLL_S)
            running.clear()
        return outcome_of(
            run.files,
            status=run.process.returncode,
            seconds=clock_s() - run.started_s,
            lock_digest=point.digest,
        )


def refusal(point: Point) -> str:
    """Say why a point cannot be measured: the lock of its row is stale; empty if it can."""
    found = None if point.lock else fault(lock_of(point.release))
    return found.text if found else ""


def environment_of(point: Point, project: Path) -> Path:
    """Name the folder in which nox makes the environment of a point."""
    return project / NOX / re.sub(r"[^\w-]", "-", f"benchmarks-{point.release}")


def now_of(point: Point, project: Path) -> Present:
    """Look up what the records of a point must have been made with."""
    if not point.lock:
        return present(point.release.name, TIER)
    file = point.folder / LOCK
    write_atomically(file, point.lock.encode())
    now = Present(
        cases=asked(TIER),
        lock=file_digest(file),
        fault="",
        pins=read_pins(file),
        python=point.release.python,
        code=measuring_digest(),
    )
    with suppress(SuiteError):  # it is made only where something is to be measured
        digest = library_digest(site_packages(environment_of(point, project)))
        return now._replace(libraries=digest, unchecked="")
    return now


@contextmanager
def copy_of_project(root: Path) -> Iterator[Path]:
    """Copy what measures into a folder of its own below `root`, and remove it in the end."""
    root.mkdir(parents=True, exist_ok=True)
    for left in root.glob("project-*"):  # by a search that was killed
        remove(left)
    folder = Path(tempfile.mkdtemp(prefix="project-", dir=root))
    try:
        for name in COPIED:
            source, target = PROJECT / name, folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy(source, target)
        yield folder.resolve()
    finally:
        remove(folder)


@contextmanager
def new_removed(points: Sequence[Point], root: Path) -> Iterator[None]:
    """Remove in the end the environments of rows that were not there at the beginning.

    First those go that a search below `root` had made when it was killed.
    """
    for left in _noted(root):
        remove(left)
    places = [environment_of(point, Path()) for point in points]
    absent = [place for place in places if not place.exists()]
    with noted(absent, root):
        try:
            yield
        finally:
            for place in absent:
                remove(place)


@contextmanager
def noted(places: Sequence[Path], root: Path) -> Iterator[None]:
    """Note below `root` which environments are to be removed, until they are."""
    former = _noted(root)
    _note([*former, *places], root)
    try:
        yield
    finally:
        _note(former, root)


def _note(places: Sequence[Path], root: Path) -> None:
    """Write down which environments are to be removed."""
    write_atomically(root / MADE, "".join(f"{place.resolve()}\n" for place in places).encode())


def _noted(root: Path) -> list[Path]:
    """Read which environments a search made and has not removed: folders of nox's, of a row."""
    if not (root / MADE).exists():
        return []
    lines = read_within(root / MADE, MADE_BYTES).decode("utf-8", "replace").splitlines()
    return [path for path in map(Path, lines) if path.match(f"*/{NOX}/benchmarks-*")]


def add_row(project: Path, point: Point) -> None:
    """Give a copy of the project the row and the lock of a point, beside those it has."""
    text = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    row, lock = point.release, project / "locks" / f"{point.release.lock}.txt"
    fields = {"name": row.name, "python": row.python, "pins": [*row.pins], "reason": row.reason}
    fields.update({"find-links": row.find_links} if row.find_links else {})
    lines = [f"{name} = {json.dumps(value)}" for name, value in fields.items()]
    own = ", ".join(f"{name} = {json.dumps(value)}" for name, value in point.variables.items())
    lines += [f"env = {{ {own} }}"] if own else []
    added = "\n".join(["", "[[tool.suite.releases]]", *lines, ""])
    write_atomically(project / "pyproject.toml", f"{text}{added}".encode())
    write_atomically(lock, point.lock.encode())


def remove(folder: Path) -> None:
    """Remove a folder, whatever signals come meanwhile."""
    former = {number: signal.signal(number, signal.SIG_IGN) for number in STOPS}
    try:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
