"""The stages of a bisection: rows, Pythons, packages, versions; the culprit from both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from packaging.version import Version

from suite.commands.intermediate import point_of, row_point, versions_between
from suite.commands.probing import Search
from suite.errors import ReleaseError
from suite.judge.gate.bisect import (
    VARIABLES,
    Change,
    Kit,
    Recipe,
    changes,
    first_bad,
    mixed,
    rows_between,
    smallest,
)
from suite.judge.gate.symptom import BAD, GOOD, UNRESOLVED
from suite.libraries import read_pins
from suite.locks import lock_of
from suite.releases import Release, read_releases, read_table
from suite.report.bisect import Result
from suite.report.text import printable

ROWS, PYTHONS, PACKAGES, VERSIONS, BOTH_SIDES = (
    "rows", "Pythons", "packages", "versions", "both sides",
)  # fmt: skip


class Span(NamedTuple):
    """Two neighbouring rows between which the symptom begins.

    Attributes:
        good: What the last good one is made of.
        bad: What the first bad one is made of.
        python: The Python that both are measured with.
        links: Where wheels lie that PyPI does not have.
    """

    good: Kit
    bad: Kit
    python: str
    links: str


def bisect(search: Search, result: Result) -> None:
    """Go through the stages and put into the result what they find.

    Raises:
        BudgetError: If the budget is spent; the result holds what was found by then.
        SuiteError: If the baseline cannot be measured.
    """
    span = _rows(search, result)
    if span and span.good.python != span.bad.python:
        span = _one_python(search, result, span)
    if span:
        _packages(search, result, span)


def _rows(search: Search, result: Result) -> Span | None:
    """Find the two neighbouring rows; None where the candidate does not show the symptom."""
    entries = {entry["name"]: entry for entry in read_table()["releases"]}
    rows = {row.name: row for row in read_releases()}
    names = rows_between([*rows], entries, search.baseline.title, search.candidate.title)
    points = {name: row_point(rows[name], search.records) for name in names}
    status = search.look(points[names[-1]], ROWS)
    if status != BAD:
        again = "does not show again what the gate called worse"
        what = again if status == GOOD else f"is {status} when it is looked at again"
        result.undecided = f"{names[-1]} {what}: {search.steps[-1].words}"
        return None
    good, bad, between = first_bad(names, lambda name: search.look(points[name], ROWS))
    result.rows, result.passed_over = (good, bad), between
    before, after = (_kit(rows[name], entries[name].get("env", {})) for name in (good, bad))
    links = rows[bad].find_links or rows[good].find_links
    return Span(before, after, before.python, links)


def _kit(row: Release, variables: Mapping[str, str]) -> Kit:
    """Say what a row is made of."""
    asked_for = frozenset(read_pin.partition("==")[0].partition("[")[0] for read_pin in row.pins)
    return Kit(row.name, row.python, read_pins(lock_of(row).path), asked_for, variables)


def _tried(
    search: Search, stage: str, title: str, recipe: Recipe, links: str, *, again: bool = False
) -> str:
    """Resolve a recipe and look at it; what cannot be resolved is passed over, and said."""
    try:
        point = point_of(title, recipe, search.root, links=links)
    except ReleaseError as error:
        return search.tell_unresolved(stage, title, str(error))
    return search.look(point, stage, again=again)


def _one_python(search: Search, result: Result, span: Span) -> Span | None:
    """Find a Python with which both rows can be measured; it may itself be to blame."""
    own = [kit.python for kit in (span.good, span.bad)]
    found: dict[str, list[str]] = {}
    for python in dict.fromkeys([*own, *_pythons(*own)]):
        found[python] = [
            status if kit.python == python else _on(search, PYTHONS, kit, python, span.links)
            for kit, status in ((span.good, GOOD), (span.bad, BAD))
        ]
        if found[python] == [GOOD, BAD]:
            return span._replace(python=python)
    _blame_python(search, result, span, found)
    return None


def _on(
    search: Search, stage: str, kit: Kit, python: str, links: str, *, again: bool = False
) -> str:
    """Look at a row's packages on another Python."""
    title = f"{kit.name}'s packages on Python {python}{', again' if again else ''}"
    whole = mixed(kit, kit, frozenset(), python=python)
    return _tried(search, stage, title, whole, links, again=again)


def _pythons(first: str, second: str) -> list[str]:
    """List the Pythons between two, such as 3.11 between 3.10 and 3.12."""
    low, high = sorted(int(python.partition(".")[2]) for python in (first, second))
    return [f"3.{minor}" for minor in range(low + 1, high)]


def _blame_python(
    search: Search, result: Result, span: Span, found: Mapping[str, Sequence[str]]
) -> None:
    """Say that Python is to blame, if the rest of neither row is; or that it cannot be told."""
    low, high = span.good.python, span.bad.python
    what = f"Python {low} -> {high}"
    if found[high][0] == BAD and found[low][1] == GOOD:
        statuses = [
            _on(search, BOTH_SIDES, kit, python, span.links, again=True)
            for kit, python in ((span.good, high), (span.bad, low))
        ]
        if statuses == [BAD, GOOD]:
            result.culprit = what
            return
    result.undecided = (
        f"no Python was found on which the packages of {span.good.name} are good and those of "
        f"{span.bad.name} bad, so that Python ({low} and {high}) cannot be told from the packages"
    )


def _packages(search: Search, result: Result, span: Span) -> None:
    """Find the smallest set of changed packages that shows the symptom, and confirm it."""
    found = {change.name: change for change in changes(span.good, span.bad)}
    result.changed = [str(change) for change in found.values()]
    if not found:
        result.undecided = f"the locks of {span.good.name} and {span.bad.name} do not differ"
        return
    seen: dict[frozenset[str], str] = {frozenset(): GOOD}

    def test(names: AbstractSet[str]) -> str:
        names = frozenset(names)
        if names not in seen:
            recipe = mixed(span.good, span.bad, names, python=span.python)
            seen[names] = _tried(search, PACKAGES, _with(span, found, names), recipe, span.links)
        return seen[names]

    if test(frozenset(found)) != BAD:  # the same packages, resolved here, must show it too
        result.undecided = (
            f"{span.good.name} with all packages of {span.bad.name} is {seen[frozenset(found)]}: "
            f"{search.steps[-1].words}"
        )
        return
    culprits = smallest([*found], test)
    result.culprits = [str(found[name]) for name in culprits]
    kept = [n for n in culprits if seen.get(frozenset(culprits) - {n}) == UNRESOLVED]
    result.inseparable = [str(found[name]) for name in kept]
    if len(culprits) == 1 and _has_versions(found[culprits[0]]):
        _versions(search, result, span, culprits[0])
    else:
        _confirm_set(search, result, span, found, frozenset(culprits))


def _with(span: Span, found: Mapping[str, Change], names: AbstractSet[str]) -> str:
    """Name an environment between two rows by what was changed in the good one."""
    if len(names) == len(found) > 1:
        return f"{span.good.name} with all packages of {span.bad.name}"
    return f"{span.good.name} with {_told(found, names)}"


def _told(found: Mapping[str, Change], names: AbstractSet[str]) -> str:
    """Name some changes."""
    return " and ".join(str(found[name]) for name in found if name in names)


def _has_versions(change: Change) -> bool:
    """True where a change is that of one package's version."""
    names = {*change.before, *change.after}
    return change.name != VARIABLES and bool(change.before and change.after) and len(names) == 1


def _versions(search: Search, result: Result, span: Span, name: str) -> None:
    """Find the first bad version of the one package that is to blame, and confirm it."""
    listed = _listed(search, span, name)
    package = listed.package

    def recipe(version: str, *, into: AbstractSet[str]) -> Recipe:
        found = mixed(span.good, span.bad, into, python=span.python)
        return found._replace(pins={**found.pins, package: version})

    def test(version: str) -> str:
        title = f"{span.good.name} with {package} {version}"
        wanted = recipe(version, into=frozenset([name]))
        return _tried(search, VERSIONS, title, wanted, span.links)

    good, bad, between = first_bad([listed.good, *listed.between, listed.bad], test)
    result.package, result.versions, result.skipped = package, (good, bad), between
    if listed.lowest in (good, bad):
        result.unlisted = listed.ended
    rest = frozenset(change.name for change in changes(span.good, span.bad)) - {name}
    sides = [
        (f"{span.good.name} with {package} {bad}", recipe(bad, into=frozenset([name]))),
        (f"{span.bad.name} with {package} {good}", recipe(good, into=rest)),
        (f"{span.good.name} with {package} {good}", recipe(good, into=frozenset())),
    ]
    _confirm(search, result, span, f"{package} {bad}", sides)


class Listed(NamedTuple):
    """The versions of a package between those of two rows.

    Attributes:
        package: Its name.
        good: The version of the good row.
        bad: That of the bad one.
        between: Those between, from good to bad.
        ended: Why those above the lowest may be missing; empty if none are.
    """

    package: str
    good: str
    bad: str
    between: Sequence[str]
    ended: str

    @property
    def lowest(self) -> str:
        """The lower one of the two rows' versions."""
        return min(self.good, self.bad, key=_version_key)


def _listed(search: Search, span: Span, name: str) -> Listed:
    """List the versions of a package between those of two rows, in the order good to bad."""
    change = next(each for each in changes(span.good, span.bad) if each.name == name)
    package = next(iter(change.before))
    good, bad = change.before[package], change.after[package]
    low, high = sorted((good, bad), key=_version_key)
    listed, ended = versions_between(
        package, low, high, python=span.python, until_s=search.bench.until_s, links=span.links
    )
    if ended:
        search.tell_unresolved(VERSIONS, f"versions of {package} from {low} on", ended)
    between = listed if low == good else listed[::-1]
    return Listed(package, good, bad, between, printable(ended, limit=200))


def _version_key(version: str) -> Version:
    return Version(version)


def _confirm_set(
    search: Search,
    result: Result,
    span: Span,
    found: Mapping[str, Change],
    culprits: AbstractSet[str],
) -> None:
    """Confirm from both sides that a set of changes is to blame."""
    rest = frozenset(found) - culprits
    good, bad = (
        mixed(span.good, span.bad, names, python=span.python) for names in (culprits, rest)
    )
    back = _told(found, culprits)
    sides = [
        (_with(span, found, culprits), good),
        (f"{span.bad.name} without {back}", bad),
        (span.good.name, mixed(span.good, span.bad, frozenset(), python=span.python)),
    ]
    _confirm(search, result, span, back, sides)


def _confirm(
    search: Search, result: Result, span: Span, what: str, sides: Sequence[tuple[str, Recipe]]
) -> None:
    """Measure both sides anew: the good row with the change, the bad row with it put back.

    Where the bad row cannot be had with it put back, the change is put back in the other
    environment that shows the symptom, and the result says so.
    """
    statuses = []
    for title, recipe in sides[:2]:
        status = _tried(search, BOTH_SIDES, f"{title}, again", recipe, span.links, again=True)
        statuses.append(status)
    if statuses == [BAD, UNRESOLVED]:
        title, recipe = sides[2]
        again = _tried(search, BOTH_SIDES, f"{title}, again", recipe, span.links, again=True)
        statuses[1] = again
        result.one_sided = (
            f"{span.bad.name} cannot be had with it put back: it was put back in "
            f"{span.good.name} alone"
        )
    if statuses == [BAD, GOOD]:
        result.culprit = what
    elif statuses == [BAD, BAD]:
        result.undecided = (
            f"{what} shows it, and {span.bad.name} with it put back still does: something else "
            "causes it too"
        )
    else:
        result.undecided = (
            f"{what} could not be confirmed: measured anew, {sides[0][0]} is {statuses[0]} and "
            f"{sides[1][0]} is {statuses[1]}"
        )
