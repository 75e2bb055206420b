"""Rules for an inference phase that does not give an image the same answer once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from suite.diagnose.attempts import listed
from suite.diagnose.causes.worth import points
from suite.diagnose.found import OTHER, Finding
from suite.diagnose.trials import STEADY, STEADY_PRECISE

if TYPE_CHECKING:
    from suite.diagnose.found import Examination, Repeats

RANDOM, BATCH, BOTH, CHANGED = (
    "random in the inference phase",
    "batch statistics in the inference phase",
    "random, and batch statistics, in the inference phase",
    "statistics updated in the inference phase",
)
CAUSES = (RANDOM, BATCH, BOTH, CHANGED)
"""Causes: what the answer for an image depends on beside the image."""

DIFFERENT, OFTEN = 0.05, 0.01
"""Difference from another batch, and from the same one, as shares of the answers' spread, from
which an answer is another: see `suite.diagnose.repeats`."""

LITTLE = 0.1  # difference up to which another cause comes first
COSTS = 0.02  # of accuracy, from which recomputing statistics besides is worth a word
LISTED = 4  # layers that are named


def hardly_unsteady(found: Examination) -> Finding | None:
    """Say the same of a network whose answers differ little, where nothing else is wrong."""
    return _finding(found)


def unsteady(found: Examination) -> Finding | None:
    """Say that an image has another answer each time or in another batch, and by which layer."""
    told = found.repeats
    if max(told.again, told.elsewhere) <= LITTLE and not told.updated:
        return None
    return _finding(found)


def _finding(found: Examination) -> Finding | None:
    """Say what differs, where it begins, what it costs and what to do."""
    told = found.repeats
    random, batch = told.again > OFTEN, told.elsewhere > DIFFERENT
    if not (random or batch or told.updated):
        return None
    batch = batch and (not random or not all(told.random))
    cause = BOTH if random and batch else RANDOM if random else BATCH if batch else CHANGED
    layer = (*told.layers, *told.updated, "")[0]
    words = (_what(told, random=random, batch=batch), _where(told), *_cost(found), _remedy(told))
    return Finding(OTHER, cause, layer, "", tuple(filter(None, words)))


def _what(told: Repeats, *, random: bool, batch: bool) -> str:
    """Say how much answers differ."""
    words = []
    if random:
        words.append(
            f"The same images in the same batch, run twice in the inference phase, give other "
            f"answers: they differ by {told.again:.0%} of their spread over the images."
        )
    if batch:
        words.append(
            "In the inference phase the answer for an image depends on what else is in its batch: "
            f"in another one it differs by {told.elsewhere:.0%} of the answers' spread."
        )
    if told.updated:
        words.append(
            "A pass of the inference phase changes the moving statistics of "
            f"{_listed(told.updated)}: evaluating the network changes it."
        )
    return " ".join(words)


def _where(told: Repeats) -> str:
    """Name the layers whose output differs though their input does not."""
    if not told.layers:
        if told.updated:
            return ""
        return (
            "No layer does it: what every layer makes of the same input is the same. It is the "
            "model's own call, between its layers."
        )
    places = {
        "draws at random": [place for place, each in enumerate(told.random) if each],
        "normalises by the batch": [place for place, each in enumerate(told.random) if not each],
    }
    parts = []
    for what, rows in places.items():
        if rows:
            first, names = rows[0], [told.layers[row] for row in rows]
            parts.append(f"{names[0]} ({told.kinds[first]}) is the first that {what}{_more(names)}")
    return f"{'; '.join(parts)}: there the output differs though the input does not."


def _more(names: list[str]) -> str:
    """Name the further layers that do the same."""
    return f", of {len(names)} ({_listed(tuple(names))})" if len(names) > 1 else ""


def _listed(names: tuple[str, ...]) -> str:
    """List the first names."""
    return listed(names, LISTED)


def _cost(found: Examination) -> list[str]:
    """Say in accuracy what it costs, and what was gained by putting the layers right."""
    told, words = found.repeats, []
    before = found.inference.evaluation.accuracy
    if not np.isnan(told.alone):
        words.append(
            f"One by one the images are classified rightly in {told.alone:.1%}, in batches in "
            f"{told.together:.1%}."
        )
    steady, both = found.tried(STEADY), found.tried(STEADY_PRECISE)
    if steady:
        words.append(
            "With these layers in the inference phase, tried here, the network is right in "
            f"{steady.evaluation.accuracy:.1%} instead of {before:.1%}, each time and in any batch."
        )
    if steady and both and points(steady, both) > COSTS:
        words.append(
            "Their moving statistics do not fit, either: recomputed besides, it is right in "
            f"{both.evaluation.accuracy:.1%}."
        )
    return words


def _remedy(told: Repeats) -> str:
    """Say what to do."""
    if told.layers and not told.mended:
        mixes = (
            ""
            if any(told.random)
            else " Or it mixes the images of a batch by mistake: look for an axis that is 0 and "
            "should be -1 (a softmax, a mean, a reshape)."
        )
        return (
            f"{told.layers[-1]} has no phase to be told, or does the same in both: let its call "
            f"take `training`, and draw or normalise by the batch only where that is True.{mixes}"
        )
    meant = (
        " Where it is meant (Monte Carlo dropout), average some passes." if any(told.random) else ""
    )
    return (
        "Pass the phase on: in the layer's own class `call(self, inputs, training=None)` must give "
        "`training` to what it calls, never True; in a functional model call the layer without "
        f"training=True.{meant}"
    )
