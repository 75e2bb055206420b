"""Everywhere: gradients that part from every state, by no more than from one they may."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from suite.judge.parity.distances import SLOPES, Distance
from suite.judge.parity.implied import Place
from suite.judge.verdicts import listed

GRADIENT = "gradient"  # the quantity that only variables that train have
STATES = 3  # at least, for an agreement from one of them to be no chance
CLOSE = 1e-4  # of the largest gradient in the layer, from the state that agrees best; seen: 9.6e-6


def gradients_differ(states: Sequence[Iterable[Distance]]) -> list[str]:
    """Say which gradients of step 0 agree closely from no state.

    What rounding turns round moves a gradient by some hundredths, but not from every state: each
    layer's agrees to within 1e-5 from one of them at least. Coarser arithmetic, such as bfloat16 or
    TF32, and a formula that is nearly the same part it from all. Gradients behind statistics that
    are known to be elsewhere are left out.

    Args:
        states: The distances that are found from each state.

    Returns:
        One sentence; none where all agree.
    """
    values: dict[Place, list[float]] = {}
    for found in states:
        for each in found:
            if (each.place.step, each.place.quantity) == (0, GRADIENT) and _bounded(each):
                values.setdefault(each.place, []).append(each.value)
    apart = {
        place: min(own)
        for place, own in values.items()
        if len(own) >= STATES and not min(own) <= CLOSE
    }
    if not apart:
        return []
    most = max(apart, key=apart.__getitem__)
    layers = list(dict.fromkeys(place.layer for place in apart))
    return [
        f"Gradients part from every state, in {listed(layers)}: that of {most.layer}/{most.weight} "
        f"by {apart[most]:.2g} at least, where rounding leaves {CLOSE:.2g} at most from one of "
        "them. Coarser arithmetic, or a formula that is nearly the same"
    ]


def _bounded(found: Distance) -> bool:
    """True where nothing is known that lets a gradient lie elsewhere from every state."""
    return SLOPES.attacked is not None and found.tolerance <= SLOPES.attacked
