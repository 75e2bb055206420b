"""Parity: where the first steps of two releases part, by how much, and what that looks like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from suite.errors import RecordError
from suite.judge.parity.differences import causes, correction_differs, listed
from suite.judge.parity.distances import Distance, distances
from suite.judge.parity.implied import trace_of, updates_per_step
from suite.judge.parity.known import (
    correction,
    excess_factors,
    poison_step,
    poisoned,
    twice_updated,
    without_correction,
)
from suite.records import Record


class Comparison(NamedTuple):
    """What the comparison of one case and seed of two releases found.

    Attributes:
        case: Name of the case.
        seed: Seed of both.
        release: What is compared.
        reference: What it is compared with.
        distances: One a place, cause before effect.
        known: Legitimate differences, each with its cause and how it was verified.
        causes: What the other differences look like, with the value on both sides.
    """

    case: str
    seed: int
    release: str
    reference: str
    distances: Sequence[Distance]
    known: Sequence[str]
    causes: Sequence[str]

    @property
    def first(self) -> Distance | None:
        """The first place where the two diverge."""
        return next((found for found in self.distances if found.diverges), None)

    @property
    def agrees(self) -> bool:
        """Whether nothing but known differences was found."""
        return self.first is None and not self.causes


def compare_traces(measured: Record, reference: Record) -> Comparison:
    """Return where the traces of one case of two releases part.

    Raises:
        RecordError: If they were not made of the same case, seed and data, or have other layers.
    """
    refuse_unlike(measured, reference)
    mine, theirs = trace_of(measured), trace_of(reference)
    factors = excess_factors(measured, reference)
    corrected = correction(mine, theirs, factors)
    twice, poison = twice_updated(measured, reference), poisoned(measured, reference)
    steps = [step for step in map(poison_step, (mine, theirs)) if poison and step is not None]
    broken = min(steps, default=None)
    reads_moved = measured.settings["phases"] is not None and updates_per_step(theirs) > 0
    return Comparison(
        case=measured.case,
        seed=measured.seed,
        release=measured.release,
        reference=reference.release,
        distances=list(
            distances(
                without_correction(mine, factors), theirs,
                drifted=reads_moved and bool(corrected), twice=bool(twice), broken=broken,
            )
        ),
        known=[*corrected, *twice, *poison],
        causes=[
            *correction_differs(measured, reference),
            *causes(mine, theirs, twice=bool(twice), broken_at_once=broken == 0),
        ],
    )  # fmt: skip


def refuse_unlike(measured: Record, reference: Record) -> None:
    """Raise RecordError unless both trace the same case, seed, data, layers and quantities."""
    for name in ("case", "seed", "tier", "settings", "data_digest"):
        mine, theirs = (
            record.environment[name] if name.endswith("digest") else getattr(record, name)
            for record in (measured, reference)
        )
        if mine != theirs:
            raise RecordError(
                f"{measured.name} of {measured.release} and {reference.name} of "
                f"{reference.release} cannot be compared: {name} differs. Found: {mine}. Expected: "
                f"{theirs}. {_again(measured, reference)}"
            )
    odd = sorted(map(str, set(trace_of(measured)) ^ set(trace_of(reference))))
    if odd:
        raise RecordError(
            f"{measured.name} of {measured.release} and {reference.release} hold other layers or "
            f"quantities, such as: {'; '.join(odd[:3])}. {_again(measured, reference)}"
        )


def _again(measured: Record, reference: Record) -> str:
    """Return how both traces are made anew."""
    return (
        f'Make both anew: `nox -s "benchmarks({measured.release})"` and '
        f'`nox -s "benchmarks({reference.release})"`.'
    )


def compare_releases(measured: Sequence[Record], reference: Sequence[Record]) -> list[Comparison]:
    """Return the comparison of every trace of a release with that of the reference.

    Raises:
        RecordError: If the reference has no trace of a case and seed, or the release none of a
            case of the reference's.
    """
    mine, theirs = ({(r.case, r.seed): r for r in traces(rs)} for rs in (measured, reference))
    name = reference[0].release if reference else "the reference"
    missing = sorted(str(mine[key]) for key in set(mine) - set(theirs))
    if missing:
        raise RecordError(
            f"{name} has no trace of {listed(missing)}, which others are compared with. Make it "
            f'with `nox -s "benchmarks({name})"`.'
        )
    absent = sorted({case for case, _ in theirs} - {case for case, _ in mine})
    if absent:
        release = measured[0].release
        raise RecordError(
            f"{release} has no trace of {listed(absent)}, which {name} has. Make it with "
            f'`nox -s "benchmarks({release})"`.'
        )
    return [compare_traces(mine[key], theirs[key]) for key in sorted(mine)]


def traces(records: Sequence[Record]) -> list[Record]:
    """Return the records that hold traces."""
    return [record for record in records if record.question == "parity"]
