"""Evidence: which records the gate may use, and what is missing, stale or damaged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from suite.cases import Case
from suite.errors import RecordError
from suite.files import file_digest
from suite.judge.gate.complete import lost
from suite.judge.history import check_fits, read_history
from suite.judge.staleness import LIBRARIES, Present, brief, differences, must_share
from suite.judge.verdicts import listed
from suite.measure.states import states_path
from suite.records import Record
from suite.store import files_by_case, read_records, read_resident, seed_of

NAMED = 3  # examples in a sentence
STEPS, DRAWS, ATTACK, TRAINING = ASKED = ("parity", "random", "attack", "training")
"""The questions whose records the gate judges, in the order of their cost."""


@dataclass(frozen=True)
class Side:
    """One of the two that are compared: where its records lie, and what they must be.

    Attributes:
        name: What it is called, such as ``"tf-2.15"`` or ``"the stored baseline of tf-2.15"``.
        release: The row of the release table that its records are of.
        root: Folder of all records, or of all baselines.
        tier: The tier of its records.
        seeds: The seeds that count, by question; without a question, all that lie there do.
        now: What its records must have been made with.
        stored: True where they are a stored baseline, which nothing here measures.
    """

    name: str
    release: str
    root: Path
    tier: str
    seeds: Mapping[str, Sequence[int]]
    now: Present
    stored: bool = False

    @property
    def folder(self) -> Path:
        """The folder of its records."""
        return self.root / self.release / self.tier


@dataclass
class Evidence:
    """What lies there of one side.

    Attributes:
        side: The side.
        records: Those that count, by case and seed.
        missing: What should be there and is not, or does not count: the case, then the reason.
        unused: How many records are of seeds that do not count.
        there: The seeds of each case, by the names of its files.
        refused: In what records that do not count are not of the present, such as "the lock".
    """

    side: Side
    records: list[Record] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unused: int = 0
    there: dict[str, set[int]] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)

    def notes(self) -> list[str]:
        """Say what else there is to know: it changes nothing, and must not be read as nothing."""
        found = []
        if self.unused:
            found.append(f"{self.side.name}: {self.unused} records of other seeds were not judged")
        if self.side.stored and LIBRARIES in self.refused and "the lock" not in self.refused:
            found.append(
                f"{self.side.name} was made of other files than lie in the environment here, by "
                "the same versions: a library was edited or built here. --stale judges it as it is"
            )
        return found


def gathered(side: Side, cases: Mapping[str, Case], *, lenient: bool = False) -> Evidence:
    """Read the records of some cases of one side, and say what is wrong or missing.

    Args:
        side: The side.
        cases: The cases that are judged, by name.
        lenient: True where stale records count; they are told all the same.
    """
    found = Evidence(side)
    stale: dict[tuple[str, str], list[int]] = defaultdict(list)
    for record in _read(found, cases):
        apart = differences(record, side.now)
        for difference in apart:
            stale[record.case, str(difference)].append(record.seed)
        if lenient or not apart:
            found.records.append(record)
        else:
            found.refused |= {difference.what for difference in apart}
    word = "stale, judged all the same" if lenient else "stale"
    found.missing += _told(side, word, stale)
    found.missing += _mixed(found)
    found.missing += _other_states(found, cases)
    found.missing += _cut(found, cases)
    if side.stored:
        found.missing += _unlisted(side.folder)
    return found


def _other_states(found: Evidence, cases: Mapping[str, Case]) -> Iterator[str]:
    """Yield the traces that step from other states than those that lie there."""
    for record in found.records:
        if record.question != STEPS:
            continue
        try:
            expected = file_digest(states_path(cases[record.case]))
        except RecordError as error:
            yield f"{record.case}: {found.side.name}: {error}"
            continue
        digest = record.environment.get("weights_digest", "not stated")
        if digest != expected:
            yield (
                f"{record.case}: {found.side.name}: stale: the states that it steps from: "
                f"{brief(digest)}, expected {brief(expected)}"
            )


def _cut(found: Evidence, cases: Mapping[str, Case]) -> Iterator[str]:
    """Yield what records lack that they must hold."""
    apart: dict[tuple[str, str], list[int]] = defaultdict(list)
    for record in found.records:
        missing = lost(record, cases[record.case])
        if missing:
            apart[record.case, f"without {listed(missing)}"].append(record.seed)
    yield from _told(found.side, "not whole", apart)


def _unlisted(folder: Path) -> Iterator[str]:
    """Yield why a stored baseline is not the one that its index tells of."""
    try:
        check_fits(read_history(folder), read_records(folder), folder)
    except RecordError as error:
        yield str(error)


def _told(side: Side, word: str, records: Mapping[tuple[str, str], Sequence[int]]) -> Iterator[str]:
    """Yield what is wrong with records, case by case, as all that is missing is told.

    Args:
        side: The side that they are of.
        word: What they are.
        records: Their seeds, by case and reason.
    """
    for (case, reason), seeds in records.items():
        named = listed([f"seed {seed}" for seed in seeds], most=NAMED)
        yield f"{case}: {side.name}: {word}: {named}: {reason}"


def _read(found: Evidence, cases: Collection[str]) -> Iterator[Record]:
    """Read the records of some cases; what is no record of its place is noted as missing."""
    side = found.side
    try:
        files = files_by_case(side.folder)
    except RecordError as error:
        found.missing.append(f"{side.name}: {error}")
        return
    for case in sorted(set(files) & set(cases)):
        found.there[case] = {seed_of(path) for path in files[case]}
        for path in files[case]:
            try:
                record = read_resident(path)
            except RecordError as error:
                found.missing.append(f"{case}: {side.name}: {error}")
                continue
            if _counts(side, record):
                yield record
            else:
                found.unused += 1


def _counts(side: Side, record: Record) -> bool:
    """True where a record is of a seed that is judged."""
    return record.seed in side.seeds.get(record.question, (record.seed,))


def _mixed(found: Evidence) -> Iterator[str]:
    """Yield in what records differ that must be made alike."""
    first: dict[str, tuple[str, str]] = {}
    apart: dict[tuple[str, str], list[int]] = defaultdict(list)
    for record in found.records:
        for what, value in must_share(record).items():
            expected, name = first.setdefault(what, (value, record.name))
            if value != expected:
                reason = f"{what} are {value}, expected {expected} as of {name}"
                apart[record.case, reason].append(record.seed)
    yield from _told(found.side, "not made alike", apart)


def passed_over(found: Evidence, other: Evidence, cases: Mapping[str, Case]) -> Iterator[str]:
    """Yield the seeds that lack a record though later ones have theirs: seeds are added in order.

    Args:
        found: A side that is measured here.
        other: The other; where the order of the seeds is not told, they are those between the
            least and the largest of both.
        cases: The cases that are judged, by name.
    """
    for name, own in sorted(found.there.items()):
        either = own | other.there.get(name, set())
        asked = found.side.seeds.get(cases[name].question) or range(min(either), max(either) + 1)
        places = [place for place, seed in enumerate(asked) if seed in own]
        lost = [seed for seed in asked[: max(places, default=0)] if seed not in own]
        if lost:
            yield (
                f"{name}: {found.side.name}: no record of seed {', '.join(map(str, lost))}, but of "
                "later ones: it was removed, or its run never ended. Measure it."
            )


def unasked(found: Evidence, seeds: Collection[int]) -> Iterator[str]:
    """Yield the seeds that lie there and that the user leaves out.

    Args:
        found: A side that is measured here.
        seeds: Those that the user names, of either side.
    """
    for name, own in sorted(found.there.items()):
        others = sorted(own - {*seeds})
        if others:
            yield (
                f"{name}: {found.side.name}: seed {', '.join(map(str, others))} lies there and is "
                "left out by --seeds. Name it too, or leave --seeds out."
            )


def dropped(stored: Collection[str], cases: Collection[str], *, where: str) -> Iterator[str]:
    """Yield the cases that a stored baseline holds and the suite no longer asks."""
    for case in sorted(set(stored) - set(cases)):
        yield f"{case}: in the stored baseline {where}, and no longer asked"
