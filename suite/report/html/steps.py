"""The step map as a figure: quantities by layers, how near each is to its tolerance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from suite.judge.parity.compare import Comparison
from suite.judge.parity.distances import Distance, tolerance_name
from suite.report.html.table import CELLS, Cell, Table
from suite.report.parity import findings

WHOLE = "(whole step)"  # stands for the layer of a quantity that is about none
KNOWN = "known difference"  # so begins what `findings` says of one
NEAREST = "nearest to its tolerance"  # likewise
FINE = 0.005  # of a tolerance: less is shown as 0, or a map of a ResNet would fill the page
OVER = "1.1"  # so the least share over 1 is written


class Steps(NamedTuple):
    """What the comparison of two releases' steps from all states of one case shows.

    Attributes:
        table: Its map.
        words: What was found, a sentence each.
    """

    table: Table
    words: Sequence[str]


def step_map(found: Sequence[Comparison]) -> Table:
    """Show how near the steps of two releases come to their tolerances, by layer and quantity.

    Of all states and steps the largest share counts; the first divergence is marked.

    Args:
        found: The comparisons of one case, a state each, at least one.
    """
    shares: dict[tuple[str, str], float] = {}
    for comparison in found:
        for distance in comparison.distances:
            place = _place(distance)
            shares[place] = max(shares.get(place, 0.0), _share(distance))
    layers = [*dict.fromkeys(layer for layer, _ in shares)]
    quantities = [*dict.fromkeys(quantity for _, quantity in shares)]
    first = next((each for each in found if each.first), None)
    marked = _place(first.first) if first and first.first else None
    rows: list[tuple[Cell, ...]] = [
        (layer, *(_shown(shares.get((layer, quantity))) for quantity in quantities))
        for layer in layers
    ]
    told = "none diverges" if marked is None else f"first divergence: {marked[1]} of {marked[0]}"
    return Table(
        f"Step map of {found[0].release} beside {found[0].reference}: {told}",
        ("layer", *quantities),
        rows,
        CELLS,
        {"limit": 1, "most": 1, **({"first": [*marked]} if marked else {})},
        note=f"Distance as a share of its tolerance, the largest over {len(found)} states and all "
        f"steps; more than 1 diverges ({OVER} at least), less than {FINE} is 0.",
        height=3 + math.ceil(len(layers) / 5),
    )


def words(found: Sequence[Comparison]) -> list[str]:
    """Say where the steps of each state part; what is known of several states is said once.

    How near they come to a tolerance the map and the gate's own words tell.
    """
    told: dict[str, str] = {}
    for comparison in found:
        start = f"after {comparison.state}: " if comparison.state else ""
        for line in findings(comparison):
            kind = ":".join(line.split(":")[:2]) if line.startswith(KNOWN) else f"{start}{line}"
            told.setdefault(kind, f"{start}{line}")
    return [line for line in told.values() if NEAREST not in line]


def _place(distance: Distance) -> tuple[str, str]:
    """Name the layer and the quantity of a distance."""
    return distance.place.layer or WHOLE, tolerance_name(distance.place)


def _share(distance: Distance) -> float:
    """Compute a distance as a share of its tolerance; infinite where it is over one of zero."""
    if not distance.diverges:
        bounded = 0 < distance.tolerance < math.inf
        return distance.value / distance.tolerance if bounded else 0.0
    share = distance.value / distance.tolerance if distance.tolerance else math.inf
    return share if share > 1 else math.inf  # NaN


def _shown(share: float | None) -> str:
    """Write a share in two digits; one over 1 is never written as 1, which is within."""
    if share is None:
        return ""
    text = "0" if share < FINE else f"{share:.2g}"
    return OVER if share > 1 and float(text) <= 1 else text
