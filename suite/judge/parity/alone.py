"""Alone: what two traces tell of a loss, a start and an attack that no step of a case shows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from suite.judge.parity.distances import same_forward
from suite.judge.parity.implied import Place, Trace

SEVERAL: tuple[tuple[str, str, float], ...] = (
    ("start", "a random start with a root mean square of", 0.02),
    ("again", "a second start that is the first (1) or not (0):", 0.0),
    ("alike", "starts of two images that correlate by", 0.05),
    ("least", "a pixel of a linear model moved at least by", 1e-3),
    ("largest", "and at most by", 1e-3),
    ("two", "in two steps, which suffice for the bound, at least by", 1e-3),
    ("stride", "a step size of", 0.01),
    ("outside", "pixels outside [0, 1] by", 1e-3),
)
"""What is told of an attack, the words for it, and how far two honest releases may lie apart, in
units of epsilon but for ``again`` and ``alike``."""

COLOURS = 1e-3  # of values up to 151
SURE = 1e-3  # of the difference of the logits; seen: nothing


def several_steps_differ(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Say what an attack of several steps does otherwise where it must end."""
    place = Place(0, "several steps")
    if place not in theirs:
        return
    here, there = mine[place], theirs[place]
    odd = [
        f"{words} {here[name]:.4g} here, {there[name]:.4g} there"
        for name, words, allowed in SEVERAL
        if not abs(here[name] - there[name]) <= allowed
    ]
    if odd and same_forward(mine, theirs):  # else its models are of other layers
        yield f"Attack of several steps (PGD), in units of epsilon: {'; '.join(odd)}"


def start_differs(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Say whether pretrained weights, or the pixels that they are given, are others."""
    place = Place(0, "start")
    if place not in theirs:
        return
    here, there = mine[place], theirs[place]
    near = np.allclose(here["colours"], there["colours"], rtol=0, atol=COLOURS)
    if not near and same_forward(mine, theirs):  # else the network that it is read off is another
        told = (", ".join(f"{value:.4g}" for value in side["colours"]) for side in (here, there))
        yield "On the scale of ImageNet black, red, green and blue are {} here, {} there".format(
            *told
        )
    if here["lost"] != there["lost"]:
        yield (
            f"Of the pretrained weights that are set {here['lost']} are others when they are read "
            f"here, {there['lost']} there"
        )


def sure_differs(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Say that the loss of an image that is wrong for sure is another."""
    here, there = (trace[Place(0, "optimizer")]["sure"] for trace in (mine, theirs))
    if not abs(here - there) <= SURE:
        yield (
            f"The loss of an image that is wrong for sure is {here:.4g} of the difference of its "
            f"logits here, {there:.4g} there: a clipped probability, another share of each image, "
            "or a regulariser"
        )
