"""The claims of the published answer, judged by the records of a study."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from scipy.special import comb

from suite.cases import PLAIN
from suite.judge.bands import STALLED
from suite.judge.study import (
    CONTROL,
    FEW_SEEDS,
    NOT_MEASURED,
    Setup,
    Study,
    accuracy,
    of_all,
    place,
    setup_of,
    spread,
    stalls,
    steps_cell,
    steps_made,
    studies,
    values,
)
from suite.networks.phases import PHASES
from suite.records import Record

TRUE, PARTLY, FALSE = "true", "partly", "false"
MEASURES = ("information_gain", "adversarial_branch_gain")
"""Where a network can stall: on the test images in the inference phase, and in training."""

LEAST_RATE = 0.05 ** (1 / FEW_SEEDS)  # the rate at which all seeds stall in 1 of 20 studies


def chance_of(changed: int) -> float:
    """Compute how probable it is that chance alone makes so many of `FEW_SEEDS` seeds differ.

    This is Fisher's exact test, one-sided, where none of one group's seeds stall: the least
    probable counts with that difference.
    """
    return float(comb(FEW_SEEDS, changed) / comb(2 * FEW_SEEDS, changed))


UNSURE = 3  # the largest change, in seeds, that chance alone makes in more than 1 of 20 studies
FEW = f"(fewer than {FEW_SEEDS} seeds)"
RULES = f"""\
A seed stalls where it ends below {STALLED:g} nats of information gain: on the test images in the
inference phase, or in the adversarial branch. That something mends it is true if the control stalls
in all seeds and the treatment in none, in whichever of the two the control stalls at all; false if
no rate of stalling falls; partly otherwise. That the plain loss hides the same defect is true if
all its seeds learn in the training phase, stall in the inference phase and no longer do with the
statistics recomputed, and the control of the phases stalls in all seeds; false if none stalls so
hidden; partly otherwise. That the rate depends on something is true if another value takes both
rates from all seeds to none or back; false if it moves no rate; partly otherwise. All else is kept,
so that another batch size makes another number of steps of the same images. All of {FEW_SEEDS}
seeds stand for a rate of at least {LEAST_RATE:.0%}, none of them for one of at most
{1 - LEAST_RATE:.0%} (95%, one-sided). A change by up to {UNSURE} of {FEW_SEEDS} seeds may be
chance: Fisher's exact test (one-sided) gives {chance_of(UNSURE):.3f} or more for {UNSURE}
seeds, {chance_of(UNSURE + 1):.3f} for {UNSURE + 1}. Fewer seeds tell less."""


class Judgement(NamedTuple):
    """The verdict on a claim.

    Attributes:
        verdict: `TRUE`, `PARTLY`, `FALSE` or `NOT_MEASURED`.
        numbers: The numbers from which it follows, in words.
    """

    verdict: str
    numbers: str


class Claim(NamedTuple):
    """One claim, judged in one release under one phase policy.

    Attributes:
        text: A key of `CLAIMS`.
        place: The release, and the tier where that is not "study".
        phases: A key of `PHASES`.
        verdict: See `Judgement`.
        numbers: See `Judgement`.
    """

    text: str
    place: str
    phases: str
    verdict: str
    numbers: str


def judge_claims(records: Iterable[Record]) -> list[Claim]:
    """Judge every claim under every phase policy, in each release and tier.

    Args:
        records: Records of the question "fixes" count; others are passed over.
    """
    return [
        Claim(text, place(study), phases, *judge(study, phases))
        for study in studies(records)
        for text, judge in CLAIMS.items()
        for phases in PHASES
    ]


def mends(study: Study, phases: str, *, fix: str) -> Judgement:
    """Judge the claim that a fix mends the stall."""
    control, treated = study.found(phases), study.found(phases, fix)
    missing = [name for name, found in ((CONTROL, control), (fix, treated)) if not found]
    if missing:
        return Judgement(NOT_MEASURED, f"no records of {' and '.join(missing)}")
    numbers = _few(f"{CONTROL}: {tally(control)}; {fix}: {tally(treated)}", control, treated)
    pairs = [(was, now) for was, now in _rates(control, treated) if was > 0]
    if not pairs:
        return Judgement(NOT_MEASURED, f"the control does not stall; {numbers}")
    if all((was, now) == (1, 0) for was, now in pairs):
        return Judgement(TRUE, numbers)
    return Judgement(PARTLY if any(now < was for was, now in pairs) else FALSE, numbers)


def hides(study: Study, phases: str) -> Judgement:
    """Judge the claim that the plain loss has the control's defect too, hidden while it trains."""
    control, plain = study.found(phases), study.found(PLAIN)
    missing = [name for name, found in ((CONTROL, control), (PLAIN, plain)) if not found]
    if missing:
        return Judgement(NOT_MEASURED, f"no records of {' and '.join(missing)}")
    hidden = [record for record in plain if _gains(record, "training_phase_") and _stalls(record)]
    mended = [record for record in hidden if _gains(record, "precise_bn_")]
    stalled, seeds = stalls(control, "information_gain")
    numbers = (
        f"{PLAIN}: {of_all(*stalls(plain, 'information_gain'))} stall, {len(hidden)} of them "
        f"learn in the training phase, {len(mended)} of these learn in the inference phase with "
        f"the statistics recomputed (clean accuracy {_accuracies(plain)}); {CONTROL}: "
        f"{of_all(stalled, seeds)} stall"
    )
    numbers = _few(numbers, control, plain)
    if not stalled:
        return Judgement(NOT_MEASURED, f"the control does not stall; {numbers}")
    whole = len(mended) == len(plain) and stalled == seeds
    return Judgement(TRUE if whole else PARTLY if hidden else FALSE, numbers)


def depends(study: Study, phases: str, *, field: str) -> Judgement:
    """Judge the claim that the rate of stalling depends on one field of the setup."""
    control = study.found(phases)
    variations = {
        getattr(setup, field): study.found(phases, setup=setup)
        for setup in _variations(study, phases, field)
    }
    if not control or not variations:
        return Judgement(NOT_MEASURED, f"no records of {'another value' if control else CONTROL}")
    values_of = {getattr(study.setup, field): control, **variations}
    numbers = "; ".join(f"{_shown(value)}: {tally(found)}" for value, found in values_of.items())
    numbers = _few(numbers, *values_of.values())
    rates = [_rates(control, found) for found in variations.values()]
    if any(all({was, now} == {0, 1} for was, now in pairs) for pairs in rates):
        return Judgement(TRUE, numbers)
    moved = any(was != now for pairs in rates for was, now in pairs)
    return Judgement(PARTLY if moved else FALSE, numbers)


CLAIMS: Mapping[str, Callable[[Study, str], Judgement]] = {
    "BatchNorm momentum 0.5 mends it": partial(mends, fix="bn-momentum-0.5"),
    "more iterations mend it": partial(mends, fix="more-iterations"),
    "the plain loss hides the same defect": hides,
    "the rate of stalling depends on the learning rate": partial(depends, field="learning_rate"),
    "the rate of stalling depends on the batch size": partial(depends, field="batch_size"),
    "the rate of stalling depends on the head": partial(depends, field="architecture"),
    "the rate of stalling depends on the image size": partial(depends, field="size_px"),
}
"""What the published answer of 2020 says or leaves open, and the function that judges it."""


def tally(records: Sequence[Record]) -> str:
    """Write the stalls, the gain and the steps of one case in words."""
    inference, branch = (of_all(*stalls(records, name)) for name in MEASURES)
    gain = spread(values(records, "information_gain"), decimals=2)
    made = ", ".join(dict.fromkeys(map(str, steps_made(records))))
    return (
        f"{inference} stall, {branch} in the branch, gain {gain} nats, {made} steps made, the "
        f"branch learns after: {steps_cell(records)}"
    )


def _rates(control: Sequence[Record], other: Sequence[Record]) -> list[tuple[float, float]]:
    """Compute the rates of stalling of both, for every measure that both have."""
    counts = [(stalls(control, name), stalls(other, name)) for name in MEASURES]
    return [(k / n, j / m) for (k, n), (j, m) in counts if n and m]


def _variations(study: Study, phases: str, field: str) -> list[Setup]:
    """Find the setups of the control that differ from the usual one in `field` alone."""
    own = [r for r in study.records if r.settings["loss"] == phases]
    setups = {setup_of(r) for r in own if r.settings["fix"] == CONTROL}
    usual = study.setup
    return sorted(
        setup
        for setup in setups
        if setup != usual and setup._replace(**{field: getattr(usual, field)}) == usual
    )


def _gains(record: Record, prefix: str) -> bool:
    """True where a network learned, as it was evaluated in one way; NaN is not learning."""
    return record.metrics.get(f"{prefix}information_gain", 0.0) >= STALLED


def _stalls(record: Record) -> bool:
    """True where a network did not learn, as it was evaluated in the inference phase."""
    return not _gains(record, "")


def _accuracies(records: Sequence[Record]) -> str:
    """Write the clean accuracy in both phases and with the statistics recomputed."""
    names = (
        ("training phase", "training_phase_clean_accuracy"),
        ("inference phase", "clean_accuracy"),
        ("recomputed", "precise_bn_clean_accuracy"),
    )
    return ", ".join(f"{word} {accuracy(values(records, metric))}" for word, metric in names)


def _few(numbers: str, *groups: Sequence[Record]) -> str:
    """Mark `numbers` where one of the groups of records has few seeds."""
    few = min(map(len, groups)) < FEW_SEEDS
    return f"{numbers} {FEW}" if few else numbers


def _shown(value: object) -> str:
    """Write the value of a setting."""
    return f"{value:g}" if isinstance(value, float) else str(value)
