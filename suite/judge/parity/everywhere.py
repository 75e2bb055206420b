"""Everywhere: gradients that part from every state, by no more than from one they may."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from suite.judge.parity.distances import SLOPES, Distance
from suite.judge.parity.implied import Place
from suite.judge.verdicts import listed

GRADIENT = "gradient"  # the quantity that only variables that train have
NEARLY = 0.1  # of the largest gradient in the layer: what parts by more is no rounding
STATES = 3  # at least, for an agreement from one of them to be no chance
CLOSE = (4e-5, 2e-3)
"""Of the largest gradient in the layer, from the state that agrees best, without and with an
attack; seen between releases: 7.6e-6. With another instruction set units or pixels turned round in
half of the attacked states of VGG19 and ResNet-50, by 1e-3 or more in a third of them (seed 41)."""


def gradients_differ(states: Sequence[Iterable[Distance]], *, attacked: bool) -> list[str]:
    """Say which gradients of step 0 agree closely from no state.

    What rounding turns round moves a gradient by some hundredths, but not from every state.
    Coarser arithmetic, such as bfloat16 or TF32, and a formula that is nearly the same part it from
    all. Gradients behind statistics that are known to be elsewhere are left out.

    Args:
        states: The distances that are found from each state.
        attacked: Whether the steps are under an adversarial loss.

    Returns:
        One sentence; none where all agree.
    """
    close = CLOSE[attacked]
    values: dict[Place, list[float]] = {}
    for found in states:
        for each in found:
            if (each.place.step, each.place.quantity) == (0, GRADIENT) and _bounded(each):
                values.setdefault(each.place, []).append(each.value)
    apart = {
        place: min(own)
        for place, own in values.items()
        if len(own) >= STATES and not min(own) <= close
    }
    if not apart:
        return []
    most = max(apart, key=apart.__getitem__)
    looks = "Coarser arithmetic, or a formula that is nearly the same"
    if not apart[most] <= NEARLY:
        looks = "Another backward pass: a part of the gradient does not flow, or flows twice"
    layers = list(dict.fromkeys(place.layer for place in apart))
    return [
        f"Gradients part from every state, in {listed(layers)}: that of {most.layer}/{most.weight} "
        f"by {apart[most]:.2g} at least, where rounding leaves {close:.2g} at most from one of "
        f"them. {looks}"
    ]


def _bounded(found: Distance) -> bool:
    """True where nothing is known that lets a gradient lie elsewhere from every state."""
    return SLOPES.attacked is not None and found.tolerance <= SLOPES.attacked
