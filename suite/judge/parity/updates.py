"""Updates: what two optimizers do otherwise, read off the steps of two traces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from suite.judge.parity.distances import (
    ROUNDING,
    absolute_difference,
    reference_of,
    rounding,
    same,
    silent,
    tolerance_name,
)
from suite.judge.parity.implied import (
    CARRIED,
    REPLAYED,
    Descent,
    Place,
    Trace,
    descent,
    first_rates,
    projected,
    ratio,
    replay,
    steps_of,
)
from suite.judge.parity.passes import other_plain_loss
from suite.judge.verdicts import listed

PROBE = Place(0, "optimizer")
MOVED_AT = ("at once", "at the next step", "at those between", "at the last")
ALIKE = 1e-4  # spread of the ratios of four moves; rounding leaves 2e-5
FITTED = 0.02  # share of the update; SGD with momentum leaves less than 2e-3 of it unexplained
NOISE = 2e-4  # of the update; honest fits leave less than 1e-4, in float32
FIT_ERRORS = 5  # standard errors of a fit; honest ones were 4.5 off where a shrinking step is small
UPDATED = 5e-3  # of the size of the updates by another optimizer than SGD
FIRST_RATE = 0.01  # difference of the learning rates of a layer's first update
LARGE = 500.0  # a weight over its change: up to there its rounding is 3e-5 of the change
SCALED = 1e-4  # of such a first change is no multiple of the gradient; seen: 4.4e-5 (17 releases)
OPTIMIZER: Mapping[str, float] = {
    "rate": 2e-3,
    "momentum": 2e-3,
    "decay": 1e-4,
    "carried": CARRIED,
    "unexplained": 0.01,
}
"""Tolerances of the fit of the last update; honest releases differ by 8.5e-5, 6.8e-4, 1.5e-5, 2e-3
and 3.5e-4, and by more only where the fit itself is coarse (`FIT_ERRORS`)."""

UNORDERED: Mapping[str, float] = {
    "rate": 0.03,
    "momentum": 0.01,
    "decay": 1e-3,
    "carried": 0.05,
    "unexplained": 0.1,
}
"""The same where the graph of TensorFlow 1 leaves open whether the adversarial pass reads the
statistics before or after the clean pass has moved them: the gradient in the trace is that of the
unmoved ones. Where all of them are moved, the fit is off by 0.003, 0.003, 0 and 0.025 (computed on
tf-2.21, which moves them first, from the gradients of the unmoved ones); where some are, by 0.018,
0.003, 5e-4 and 0.025 (tf-1.14, once in four states)."""


def optimizer_differs(
    mine: Trace, theirs: Trace, *, allowed: Mapping[str, float] = OPTIMIZER
) -> Iterator[str]:
    """Say what the updates show of the optimizer; else what it does where it is tried alone."""
    found = [*_updates_differ(mine, theirs, allowed)]
    if not found and _same_loss(mine, theirs):  # whose gradients it is tried alone on
        found = [*_alone_differs(mine, theirs), *_late_differs(mine, theirs)]
    yield from found
    rates = [trace[PROBE]["rate"] for trace in (mine, theirs)]
    if None not in rates and not same(*rates):
        yield (
            f"Keras' own setter of the learning rate: the optimizer holds {rates[0]:.5g} after it "
            f"here, {rates[1]:.5g} there"
        )


def _same_loss(mine: Trace, theirs: Trace) -> bool:
    """True unless step 0, or its replay, shows that the loss of its clean pass is another."""
    here, there = replay(mine, 0), replay(theirs, 0)
    replayed = here and there and absolute_difference(here.clean, there.clean) > REPLAYED
    return not replayed and not other_plain_loss(mine, theirs)


def _alone_differs(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Say where a weight is moved otherwise by a large gradient, or by small ones after it."""
    here, there = mine[PROBE]["moved"], theirs[PROBE]["moved"]
    rounded = ROUNDING * abs(sum(there))
    for when, a, b in zip(MOVED_AT, here, there):
        if not same(a, b, floor=rounded):
            yield (
                "Optimizer, tried alone: one large gradient and small ones after it move a weight "
                f"{when} by {a:.5g} here, {b:.5g} there: {_looks(here, there)}"
            )
            return


def _looks(here: Sequence[float], there: Sequence[float]) -> str:
    """Say what moves of a weight look like that are others than those there."""
    if not any(here):
        return "its loss has no gradient, or nothing is updated"
    ratios = np.divide(here, there)
    if ratios[0] > 0 and np.ptp(ratios) <= ALIKE:
        return f"{np.mean(ratios):.4g} times the rate"
    return "a clip, another memory of gradients, or one that does not begin empty"


def _late_differs(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Say where a weight is moved otherwise after many steps, which TensorFlow 1 does not tell."""
    late = [trace[PROBE]["late"] for trace in (mine, theirs)]
    if None not in late and not same(*late):
        yield (
            f"Optimizer, tried alone: its 128,000th step moves a weight by {late[0]:.5g} here, "
            f"{late[1]:.5g} there: a rate that decays with the steps, or what is done once in many"
        )


def _updates_differ(mine: Trace, theirs: Trace, allowed: Mapping[str, float]) -> Iterator[str]:
    """Say which settings of SGD the updates show, and which layers move at a rate of their own."""
    here, there = descent(mine), descent(theirs)
    if here and there and here.unexplained > FITTED < there.unexplained:
        yield from _other_updates(mine, theirs)
        return
    alike = here is None or there is None or _same_descent(here, there, allowed)
    if here and there and not alike:
        more = _noise(here, there) + _by_kind(mine, theirs)
        yield f"Optimizer: {_described(here)} here, {_described(there)} there{more}"
    rates, reference = first_rates(theirs), reference_of(theirs)
    odd = [
        layer
        for layer, rate in first_rates(mine).items()
        if not same(rate, rates[layer], floor=FIRST_RATE + 2 * rounding(_update(layer), reference))
    ]
    if odd and (alike or len(odd) < len(rates)):
        yield f"The updates of step 0 are another multiple of the gradient: in {listed(odd)}"
    elif here and there and alike and not odd:
        yield from _entries_differ(mine, theirs)


def _entries_differ(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Say that the first update of SGD is not its gradient times a number, entry by entry."""
    here, there = dict(_left_over(mine)), dict(_left_over(theirs))
    odd = [place for place, share in here.items() if share > SCALED >= there.get(place, 0.0)]
    if odd:
        most = max(odd, key=here.__getitem__)
        yield (
            f"The updates of step 0 are no multiple of the gradient, in {len(odd)} of {len(here)} "
            f"weights: {here[most]:.2g} of that of {most.layer}/{most.weight} is something else "
            f"here, {there.get(most, 0.0):.2g} there. Gradients that are rounded, clipped or "
            "changed entry by entry on their way to the optimizer"
        )


def _left_over(trace: Trace) -> Iterator[tuple[Place, float]]:
    """Yield which share of a weight's first change no multiple of its gradient explains.

    Of weights that are far larger than their change nothing is told: their rounding hides it.
    """
    for place in (p for p in trace if p.step == 0 and p.quantity == "gradient"):
        change, weight = (place._replace(quantity=name) for name in ("change", "initial weight"))
        if change in trace and trace[weight]["rms"] <= LARGE * trace[change]["rms"]:
            moved, slope = projected(trace, change), projected(trace, place)
            left = np.linalg.norm(moved - ratio(moved, slope) * slope)
            yield place, float(left / (np.linalg.norm(moved) or 1.0))


def _other_updates(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Say by which factor the updates of another optimizer than SGD are larger or smaller."""
    reference = reference_of(theirs)
    for step in steps_of(theirs):
        moved = [
            place
            for place in theirs
            if place.step == step
            and tolerance_name(place) == "change of weights"
            and not silent(place, reference)
        ]
        factor = ratio(*(np.concatenate([projected(t, p) for p in moved]) for t in (mine, theirs)))
        if not abs(factor - 1) <= UPDATED:
            told = f"are {factor:.4g} times those there"
            yield (
                f"Optimizer, not SGD: the updates of step {step} {told}: another rate, beta, "
                "epsilon or correction of the first steps"
            )
            return


def _update(layer: str) -> Place:
    """Make the place of the first change of a layer's weights."""
    return Place(0, "change", layer)


def _noise(here: Descent, there: Descent) -> str:
    """Say that what no setting explains is more on one side, so that the settings may be noise."""
    shares = sorted((here.unexplained, there.unexplained))
    if not FITTED > shares[1] > max(10 * shares[0], NOISE):
        return ""
    return (
        f". The settings leave {here.unexplained:.2%} of the updates unexplained here, "
        f"{there.unexplained:.2%} there: rounded more coarsely, or changed in some weights alone, "
        "rather than set otherwise"
    )


def _by_kind(mine: Trace, theirs: Trace) -> str:
    """Say which kinds of weight step 0 moves otherwise, where it moves others alike."""
    slopes = [place for place in theirs if place.step == 0 and place.quantity == "gradient"]
    factors = {}
    for kind in sorted({place.weight for place in slopes}):
        own = [place._replace(quantity="change") for place in slopes if place.weight == kind]
        sides = (np.concatenate([projected(side, p) for p in own]) for side in (mine, theirs))
        factors[kind] = ratio(*sides)
    odd = {kind: factor for kind, factor in factors.items() if not abs(factor - 1) <= FIRST_RATE}
    if len(odd) in (0, len(factors)):
        return ""
    told = "; ".join(f"{kind} {factor:.4g} times as far" for kind, factor in odd.items())
    return f". Step 0 moves {told} as there, and the other kinds of weight alike"


def _same_descent(here: Descent, there: Descent, allowed: Mapping[str, float]) -> bool:
    """True where two descents are the same but for the precision of their fit.

    Where the reference's own fit is less precise than what is allowed, its precision counts: at the
    end of a training steps are so small that the rounding of the weights is a part of them.
    """
    own = dict.fromkeys(("rate", "momentum", "carried"), FIT_ERRORS * there.error)
    near = (
        abs(getattr(here, name) - getattr(there, name)) <= max(tolerance, own.get(name, 0.0))
        for name, tolerance in allowed.items()
    )
    return here.nesterov == there.nesterov and all(near)


def _described(found: Descent) -> str:
    """Write the settings in words, or that no SGD explains the updates."""
    if not found.rate:
        return "no update at all (the weights are read as they were)"
    if found.unexplained > FITTED:
        return f"no SGD ({found.unexplained:.1%} of the update is unexplained)"
    return str(found)
