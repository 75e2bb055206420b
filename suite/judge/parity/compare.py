"""Parity: where the first steps of two releases part, by how much, and what that looks like."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from suite.errors import RecordError
from suite.judge.parity.differences import (
    AT_START,
    ATTACKS,
    causes,
    correction_differs,
    initial_weights,
)
from suite.judge.parity.distances import (
    FINITE,
    TOLERANCES,
    Circumstances,
    Distance,
    distances,
    tolerance_name,
    turned_tolerance,
)
from suite.judge.parity.everywhere import GRADIENT, gradients_differ
from suite.judge.parity.implied import (
    STATE,
    Itself,
    Trace,
    remembered,
    trace_of,
    updates_per_step,
)
from suite.judge.parity.known import (
    correction,
    excess_factors,
    first_poison,
    poisoned,
    twice_updated,
    without_correction,
)
from suite.judge.parity.updates import OPTIMIZER, UNORDERED, optimizer_differs
from suite.judge.verdicts import listed
from suite.records import Record

ADAM = "Adam"  # how the names of the states end that it steps from
WITNESSES = 2  # states at least from which all steps agree, where those from others are excused
PAIRS = 16  # of records whose comparisons are remembered: those of one release
SHARP = 5e-5  # of gradients that agree but for rounding, where no attack turns pixels; seen: 1.2e-5


class Comparison(NamedTuple):
    """What the traces of one case and seed show when two releases are compared.

    Attributes:
        case: Name of the case.
        seed: Seed of both traces.
        release: The release that is compared.
        reference: The release that it is compared with.
        distances: One for each place that is compared, cause before effect.
        known: Differences that have a reason, each with its cause and how it was verified.
        causes: What the other differences look like, with the value on both sides.
        state: The step of the stored training that the steps start after; empty for a trace of the
            first steps alone.
        applied: Those of the causes that are read off how gradients are applied.
        attacks: Those that are read off attacks made beside the steps, which follow gradients.
        twice: True where one of the two is known to update the moving statistics twice a step.
    """

    case: str
    seed: int
    release: str
    reference: str
    distances: Sequence[Distance]
    known: Sequence[str]
    causes: Sequence[str]
    state: str = ""
    applied: Sequence[str] = ()
    attacks: Sequence[str] = ()
    twice: bool = False

    @property
    def first(self) -> Distance | None:
        """The first place where the two diverge; None where they do not."""
        return next((found for found in self.distances if found.diverges), None)

    @property
    def nearest(self) -> Distance | None:
        """The distance that is the largest share of its tolerance; None where none is bounded."""
        bounded = [found for found in self.distances if 0 < found.tolerance < FINITE]
        return max(bounded, key=lambda found: found.share, default=None)

    @property
    def agrees(self) -> bool:
        """True where no difference but known ones was found."""
        return self.first is None and not self.causes


def check_traces(
    mine: Collection[tuple[str, int]],
    theirs: Collection[tuple[str, int]],
    *,
    release: str,
    reference: str,
) -> None:
    """Refuse to compare two releases of which one lacks traces that the other has.

    Args:
        mine: Cases and seeds of the traces of the release.
        theirs: The same of the reference.
        release: Name of the release.
        reference: Name of the reference.

    Raises:
        RecordError: If the reference lacks a trace that the release has, or the release lacks a
            case that the reference has.
    """
    missing = sorted(f"{case}-seed{seed}" for case, seed in set(mine) - set(theirs))
    if missing:
        raise RecordError(
            f"{reference} has no trace of {listed(missing)}, which others are compared with. Make "
            f'it with `nox -s "benchmarks({reference})"`.'
        )
    absent = sorted({case for case, _ in theirs} - {case for case, _ in mine})
    if absent:
        raise RecordError(
            f"{release} has no trace of {listed(absent)}, which {reference} has. Make it with "
            f'`nox -s "benchmarks({release})"`.'
        )


def compare_states(measured: Record, reference: Record) -> list[Comparison]:
    """Compare the steps that two releases make from each state of one case and seed.

    A slope is not continuous: where a unit is 0 but for rounding, or two are the largest of a pool
    but for it, rounding decides which way the gradient goes. A fault of the gradient shows from
    every state; what parts at step 0 from one state alone, without a cause and by little more than
    rounding, is taken for that and listed as a known difference. So is what parts from two, where
    there is no attack and the gradients from all others agree a hundred times closer than they
    must: kernels that round more coarsely part from all (`suite.judge.parity.everywhere`). So is
    an optimizer that the graph of TensorFlow 1 seems to change from one or two states.

    The last answers are remembered: what is judged by them is shown afterwards.

    Raises:
        RecordError: As `compare_traces`, or where one starts from other states.
    """
    return [*_compared_states(Itself(measured), Itself(reference))]


@functools.lru_cache(maxsize=PAIRS)
def _compared_states(first: Itself, second: Itself) -> tuple[Comparison, ...]:
    """Compare the steps of two records, state by state.

    Raises:
        RecordError: As `compare_states`.
    """
    measured, reference = first.content, second.content
    mine, theirs = by_state(measured), by_state(reference)
    if list(mine) != list(theirs):
        raise RecordError(
            f"{measured.name} of {measured.release} steps from {listed(list(mine))}, that of "
            f"{reference.release} from {listed(list(theirs))}. {_again(measured, reference)}"
        )
    found = [compare_traces(mine[state], theirs[state]) for state in mine]
    found = _excused(found, _unordered, most=2)
    excused = _excused(found, _with_turned_units, most=2 if _sharp(found) else 1)
    told = []
    if _unexplained(excused):
        attacked = any(map(_attacked, found))
        told = gradients_differ([each.distances for each in found], attacked=attacked)
    return tuple(each._replace(causes=[*told, *each.causes]) for each in excused)


def _unexplained(found: Sequence[Comparison]) -> bool:
    """True where at step 0 nothing parts but gradients and their updates, without a cause.

    Attacks that are made beside the steps of the plain loss follow the gradients.
    """
    return not any({*each.causes} - {*each.attacks} for each in found) and all(
        TOLERANCES[tolerance_name(each.place)].turned
        for one in found
        for each in one.distances
        if each.diverges and each.place.step == 0
    )


def _sharp(found: Sequence[Comparison]) -> bool:
    """True where no attack turns pixels, and all gradients agree closely but from what parts."""
    parted = _parted(found)
    agreeing = [each for each in found if _start(each) not in parted]
    slopes = (
        distance.value
        for each in agreeing
        for distance in each.distances
        if distance.place.step == 0 and distance.place.quantity == GRADIENT
    )
    return not any(map(_attacked, found)) and all(value <= SHARP for value in slopes)


def _attacked(found: Comparison) -> bool:
    """True where the steps of a comparison are under an adversarial loss."""
    return any(each.place.quantity == "perturbation" for each in found.distances)


def _excused(
    found: Sequence[Comparison], known: Callable[[Comparison, str], Comparison], *, most: int
) -> list[Comparison]:
    """Let a known difference be one, where the steps from other states bear witness.

    Args:
        found: What was found from each state.
        known: Makes what it excuses known, given the witnesses in words.
        most: So many states at most may part; one counts once, whatever the optimizer.
    """
    parted = _parted(found)
    agreeing = {_start(each) for each in found} - parted
    if not 0 < len(parted) <= most or len(agreeing) < WITNESSES:
        return [*found]
    return [known(each, f"all steps from {len(agreeing)} other states") for each in found]


def _parted(found: Sequence[Comparison]) -> set[str]:
    """Name the states from which some steps do not agree."""
    return {_start(each) for each in found if not each.agrees}


def _start(found: Comparison) -> str:
    """Name the state without the optimizer that steps from it."""
    return found.state.partition(",")[0]


def _with_turned_units(found: Comparison, witnesses: str) -> Comparison:
    """List what parts at step 0 in slopes alone as known: units that rounding turned round.

    The updates of Adam after it are others too; what they seem to tell of it, the witnesses deny.

    Args:
        found: Is left as it is where it agrees, has another cause or parts further than that.
        witnesses: What agrees beside it, in words.
    """
    attacked, adaptive = _attacked(found), found.state.endswith(ADAM)
    parted = [each for each in found.distances if each.diverges]
    limits = {each: turned_tolerance(each, attacked=attacked, adaptive=adaptive) for each in parted}
    slopes = [each for each in parted if each.place.step == 0]
    if not slopes or not all(each.value <= limits[each] for each in parted):
        return found
    if found.causes and not (adaptive and found.causes == found.applied):
        return found
    largest = max(slopes, key=lambda each: each.share)
    told = (
        f"Units turned round by rounding: the {largest.place.quantity} of step 0 in "
        f"{len({each.place.layer for each in slopes})} layers, at most by {largest.against} "
        f"({largest.place}); up to {limits[largest]:.2g} is known. Verified: every pass of that "
        f"step agrees, and so do {witnesses}."
    )
    eased = [each._replace(tolerance=limits.get(each, each.tolerance)) for each in found.distances]
    return found._replace(distances=eased, known=[*found.known, told], causes=[])


def _unordered(found: Comparison, witnesses: str) -> Comparison:
    """List an optimizer that seems another one as known, where a graph orders no statistics.

    Its gradients are not always those of the trace, and its settings are read off these. They
    are the same from every state: a fault shows in the steps from the others.
    """
    if not found.twice or found.first or not found.causes or found.causes != found.applied:
        return found
    told = (
        "Gradients of a graph: the updates of these steps are not those of the gradients in the "
        "trace, since TensorFlow 1 orders no reads and updates of the statistics. Verified: the "
        f"optimizer is the reference's in {witnesses}."
    )
    return found._replace(causes=[], known=[*found.known, told])


@remembered
def by_state(record: Record) -> dict[str, Record]:
    """Split a record into one for each state that its steps start from."""
    entries: dict[str, list[Mapping[str, Any]]] = {}
    for entry in record.statistics:
        entries.setdefault(str(entry.get(STATE, "")), []).append(entry)
    if len(entries) <= 1:
        return dict.fromkeys(entries or [""], record)
    return {
        state: Record.of_json({**vars(record), "statistics": own}) for state, own in entries.items()
    }


def compare_traces(measured: Record, reference: Record) -> Comparison:
    """Compare the traces of one case, seed and state of two releases.

    Raises:
        RecordError: If they are not of the same case, seed and data, have other layers, or one of
            them lacks what every trace holds, or holds what none does.
    """
    try:
        with np.errstate(all="ignore"):  # numbers that are none are told as such
            return _compared(measured, reference)
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise RecordError(
            f"{measured.name} of {measured.release} and {reference.release} cannot be compared: "
            f"one of them is no whole trace ({type(error).__name__}: {error}). "
            f"{_again(measured, reference)}"
        ) from error


def _compared(measured: Record, reference: Record) -> Comparison:
    """Compare two traces that are whole.

    Raises:
        RecordError: If they are not of the same case, seed and data, or have other layers.
    """
    _refuse_unlike(measured, reference)
    mine, theirs, untrained = _common(trace_of(measured), trace_of(reference))
    factors = excess_factors(measured, reference)
    corrected = correction(mine, theirs, factors)
    twice, poison = twice_updated(measured, reference), poisoned(measured, reference)
    broken = first_poison(mine, theirs) if poison else None
    state = str(measured.statistics[0].get(STATE, ""))
    reads_moved = measured.settings["phases"] is not None and updates_per_step(theirs) > 0
    known = Circumstances(
        drifted=reads_moved and bool(corrected),
        twice=bool(twice),
        broken=broken,
        adaptive=state.endswith(ADAM),
    )
    allowed = UNORDERED if twice else OPTIMIZER
    applied = [] if broken == 0 else [*optimizer_differs(mine, theirs, allowed=allowed)]
    told = [*causes(mine, theirs, twice=bool(twice), broken_at_once=broken == 0)]
    parted = [*correction_differs(measured, reference)]
    if any(find is initial_weights for find, _ in told):  # all else follows from them
        told, parted, applied = [each for each in told if each[0] in AT_START], [], []
    found = [words for _, words in told]
    return Comparison(
        case=measured.case,
        seed=measured.seed,
        release=measured.release,
        reference=reference.release,
        distances=list(distances(without_correction(mine, factors), theirs, known)),
        known=[*corrected, *twice, *poison],
        causes=[*untrained, *parted, *found, *applied],
        state=state,
        applied=applied,
        attacks=[words for find, words in told if find in ATTACKS],
        twice=bool(twice),
    )


def _refuse_unlike(measured: Record, reference: Record) -> None:
    """Refuse two records that do not trace the same.

    Raises:
        RecordError: If case, seed, tier, settings, data, layers or quantities differ.
    """
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
    mine, theirs = trace_of(measured), trace_of(reference)
    odd = {str(place) for place in mine.keys() ^ theirs.keys() if place.quantity != GRADIENT}
    sizes = {"projections", "rms"}
    odd |= {f"{place} without rms" for place in mine if sizes & {*mine[place]} == {"projections"}}
    if odd:
        raise RecordError(
            f"{measured.name} of {measured.release} and {reference.release} hold other layers or "
            f"quantities, such as: {'; '.join(sorted(odd)[:3])}. {_again(measured, reference)}"
        )


def _common(mine: Trace, theirs: Trace) -> tuple[Trace, Trace, list[str]]:
    """Keep the places that both traces have; say which variables train in one of them alone."""
    if mine.keys() == theirs.keys():
        return mine, theirs, []
    told = [
        f"Other variables train: {listed(names)} only {where}"
        for names, where in ((_trained(mine, theirs), "here"), (_trained(theirs, mine), "there"))
        if names
    ]
    return (
        {place: entry for place, entry in mine.items() if place in theirs},
        {place: entry for place, entry in theirs.items() if place in mine},
        told,
    )


def _trained(trace: Trace, other: Trace) -> list[str]:
    """Name the variables that have a gradient in one trace and not in the other."""
    lone = [place for place in trace if place not in other and place.quantity == GRADIENT]
    return list(dict.fromkeys(f"{place.layer}/{place.weight}" for place in lone))


def _again(measured: Record, reference: Record) -> str:
    """Say how to make both traces anew."""
    return (
        f'Make both anew: `nox -s "benchmarks({measured.release})"` and '
        f'`nox -s "benchmarks({reference.release})"`.'
    )
