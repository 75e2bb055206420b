"""The search for what made a release worse: which rows, packages and versions to try next.

Nothing is measured here. A test tells of one thing to try whether it is good, bad or
unresolved (`suite.judge.gate.symptom`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import AbstractSet, Any, NamedTuple, TypeVar

from suite.judge.gate.symptom import BAD, UNRESOLVED
from suite.judge.staleness import DISTRIBUTIONS

FRAMEWORKS = ("tensorflow", "jax", "torch")  # by which rows are of one line
VARIABLES = "the variables"  # of the environment that a row sets: a change as a package is one

T = TypeVar("T")


class Kit(NamedTuple):
    """What a row of the release table installs, and what it runs with.

    Attributes:
        name: Of the row.
        python: The Python, such as ``"3.11"``.
        pins: The versions of its lock, by package.
        asked: The packages that the row itself pins.
        variables: The environment variables that it sets.
    """

    name: str
    python: str
    pins: Mapping[str, str]
    asked: AbstractSet[str]
    variables: Mapping[str, str]


class Change(NamedTuple):
    """One thing in which two kits differ.

    Attributes:
        name: Of the package, or `VARIABLES`.
        before: What the first has of it, by package or variable; empty for nothing.
        after: What the second has.
    """

    name: str
    before: Mapping[str, str]
    after: Mapping[str, str]

    def __str__(self) -> str:
        names = {*self.before, *self.after}
        if names == {self.name} and self.before and self.after:
            return f"{self.name} {self.before[self.name]} -> {self.after[self.name]}"
        named = (_listed(part) for part in (self.before, self.after))
        return f"{self.name} ({' -> '.join(part or 'none' for part in named)})"


class Recipe(NamedTuple):
    """What an environment between two rows is resolved from.

    Attributes:
        python: The Python.
        pins: The versions that it has, by package.
        followers: The versions of packages that come only if another one asks for them.
        variables: The environment variables that it runs with.
    """

    python: str
    pins: Mapping[str, str]
    followers: Mapping[str, str]
    variables: Mapping[str, str]


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))


def rows_between(
    names: Sequence[str], entries: Mapping[str, Mapping[str, Any]], baseline: str, candidate: str
) -> list[str]:
    """List the rows of the release table from the baseline to the candidate, both included.

    A row between the two in the table is a point on the way if it is pinned, installs the same
    framework as both, and sets the environment variables that one of the two sets: Keras 2 beside
    a release of Keras 3, another backend, or what is resolved anew each time is not on the way.

    Args:
        names: All rows, in the order of the table.
        entries: The rows as the table holds them, by name.
        baseline: The first row.
        candidate: The last one.
    """
    ends = [entries[baseline], entries[candidate]]
    frameworks = {framework(entry["pins"]) for entry in ends}
    low, high = sorted((names.index(baseline), names.index(candidate)))
    inner = [
        name
        for name in names[low + 1 : high]
        if not entries[name].get("unpinned")
        and frameworks == {framework(entries[name]["pins"])}
        and entries[name].get("env", {}) in [end.get("env", {}) for end in ends]
    ]
    falling = names.index(baseline) > names.index(candidate)
    return [baseline, *(reversed(inner) if falling else inner), candidate]


def framework(pins: Iterable[str]) -> str:
    """Name the framework among pinned packages, whatever distribution it comes from."""
    families = {family(pin.partition("==")[0].partition("[")[0]) for pin in pins}
    return next((name for name in FRAMEWORKS if name in families), "")


def family(package: str) -> str:
    """Name what a distribution brings: one of two that bring the same is in the other's place."""
    return next((name for name, all_ in DISTRIBUTIONS.items() if package in all_), package)


def changes(good: Kit, bad: Kit) -> list[Change]:
    """List in what two kits differ; what the rows themselves pin comes first.

    A package that only one of them has, and that no row asks for, comes and goes with what needs
    it and is no change of its own.
    """
    asked = {family(name) for name in (*good.asked, *bad.asked)}
    found = []
    for name in sorted({*map(family, good.pins), *map(family, bad.pins)}):
        before, after = _members(good.pins, name), _members(bad.pins, name)
        if before != after and ((before and after) or name in asked):
            found.append(Change(name, before, after))
    if good.variables != bad.variables:
        found.append(Change(VARIABLES, good.variables, bad.variables))
    return sorted(found, key=lambda change: change.name not in {*asked, VARIABLES})


def _members(pins: Mapping[str, str], name: str) -> dict[str, str]:
    """Pick the packages of one family."""
    return {package: version for package, version in pins.items() if family(package) == name}


def mixed(good: Kit, bad: Kit, taken: AbstractSet[str], *, python: str) -> Recipe:
    """Mix two kits: the good one with some changes taken from the bad one.

    Args:
        good: The one that most comes from.
        bad: The one that the changes lead to.
        taken: Names of the changes.
        python: The Python that it is for.
    """
    pins: dict[str, str] = {}
    own = {change.name: change for change in changes(good, bad)}
    for name in {*map(family, good.pins), *map(family, bad.pins)}:
        before, after = _members(good.pins, name), _members(bad.pins, name)
        if before == after:
            pins.update(before)
        elif name in own:
            pins.update(after if name in taken else before)
    both = {**bad.pins, **good.pins}
    return Recipe(
        python=python,
        pins=pins,
        followers={
            name: version
            for name, version in both.items()
            if name not in pins and family(name) not in own
        },
        variables=bad.variables if VARIABLES in taken else good.variables,
    )


def first_bad(points: Sequence[T], test: Callable[[T], str]) -> tuple[T, T, list[T]]:
    """Search by halves for where good turns into bad; what is unresolved is passed over.

    Args:
        points: In their order; the first is known to be good and the last to be bad.
        test: Tells the status of a point.

    Returns:
        The last good one, the first bad one, and those between them that are unresolved.
    """
    low, high = 0, len(points) - 1
    passed_over: set[int] = set()
    while True:
        inner = [index for index in range(low + 1, high) if index not in passed_over]
        if not inner:
            between = [points[index] for index in sorted(passed_over) if low < index < high]
            return points[low], points[high], between
        middle = min(inner, key=lambda index: abs(2 * index - low - high))
        status = test(points[middle])
        if status == UNRESOLVED:
            passed_over.add(middle)
        elif status == BAD:
            high = middle
        else:
            low = middle


def smallest(names: Sequence[T], test: Callable[[AbstractSet[T]], str]) -> list[T]:
    """Find a smallest set of changes that is bad: delta debugging (Zeller, Hildebrandt, 2002).

    No change can be taken out of it such that the rest is still bad.

    Args:
        names: All changes, which together are known to be bad, and none of which is good.
        test: Tells the status of a set of changes.
    """
    current, parts = [*names], 2
    while len(current) > 1:
        chunks = _split(current, parts)
        others = [[name for name in current if name not in chunk] for chunk in chunks]
        smaller = next((each for each in chunks if test(frozenset(each)) == BAD), None)
        if smaller is not None:
            current, parts = smaller, 2
            continue
        rest = others if parts > 2 else []  # noqa: PLR2004 - of two halves each is the other's rest
        smaller = next((each for each in rest if test(frozenset(each)) == BAD), None)
        if smaller is not None:
            current, parts = smaller, parts - 1
        elif parts < len(current):
            parts = min(len(current), 2 * parts)
        else:
            break
    return current


def _split(names: Sequence[T], parts: int) -> list[list[T]]:
    """Split a list into parts of about equal length, none of them empty."""
    ends = [len(names) * part // parts for part in range(parts + 1)]
    return [[*names[low:high]] for low, high in zip(ends, ends[1:])]
