"""Lineage: where many records come from - states of the suite, days, versions - in a few notes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from suite.judge.baselines import surroundings
from suite.judge.staleness import brief
from suite.records import Record

STATED = "environment."  # begins the name of what a record states beside versions


@dataclass
class Lineage:
    """What some records say about where they were made, collected as they are read.

    Attributes:
        records: Their number.
        days: The days on which they were made, by the digest of the code that measured.
        traits: All values of each version, and of what else they state.
    """

    records: int = 0
    days: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    traits: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, records: Iterable[Record]) -> None:
        """Collect what some more records say."""
        for record in records:
            self.records += 1
            self.days[record.environment["code_digest"]].add(record.started_at[:10])
            for name, value in _traits(record).items():
                self.traits[name].add(value)


def _traits(record: Record) -> dict[str, str]:
    """Describe where a record was made, thing by thing: versions, and what else is stated."""
    stated = {f"{STATED}{name}": str(value) for name, value in surroundings(record).items()}
    stated.pop(f"{STATED}library_digest", None)  # the versions say the same, readably
    versions = record.environment["versions"]
    return {**{name: str(version) for name, version in versions.items()}, **stated}


def lineage_notes(former: Lineage, measured: Lineage, *, code: str, alike: bool) -> Iterator[str]:
    """Say of which state of the suite a baseline is, and in what the records differ from it.

    Args:
        former: Of the baseline.
        measured: Of the records that are judged by it.
        code: Digest of the code that measures, as it is now.
        alike: True where both are of one release, so that every difference is worth a note.

    Yields:
        One line each.
    """
    older = {digest: days for digest, days in former.days.items() if digest != code}
    if older:
        days = sorted(day for found in older.values() for day in found)
        when = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
        states = ", ".join(map(brief, sorted(older)))
        yield f"baseline of an older state of the suite (code {states}; {when})"
    for name in sorted(measured.traits):
        if len(measured.traits[name]) > 1:
            yield f"the records differ in {name}: {_listed(measured.traits[name])}"
    if alike:
        yield from trait_notes(former.traits, measured.traits)


def trait_notes(
    then: Mapping[str, Collection[str]], now: Mapping[str, Collection[str]]
) -> list[str]:
    """Write a line for each trait of the records that is not one of the baseline's.

    Args:
        then: All values of each trait of the baseline.
        now: The same of the records that are judged by it.
    """
    names = sorted({*then, *now}) if then and now else []
    return [
        f"{name} is {_listed(now.get(name, ()))}, the baseline has {_listed(then.get(name, ()))}"
        for name in names
        if set(now.get(name, ())) != set(then.get(name, ()))
        and not (name.startswith(STATED) and not (name in then and name in now))  # of older records
    ]


def _listed(values: Collection[str]) -> str:
    """List values, or say that there is none."""
    return ", ".join(sorted(values)) or "absent"
