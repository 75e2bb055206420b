from __future__ import annotations

from typing import Any

import pytest

from suite.judge.parity.alone import several_steps_differ, start_differs, sure_differs
from suite.judge.parity.implied import Place

PGD = {
    "start": 0.576,
    "again": False,
    "alike": 0.004,
    "least": 1.0,
    "largest": 1.0,
    "two": 1.0,
    "stride": 0.25,
    "outside": 0.0,
}
LOGITS = {"rms": 1.0, "projections": [1.0, -1.0]}
START = {"colours": [-103.939, 0.0, 151.061], "lost": 0}


def trace(quantity: str, told: dict[str, Any], **changes: Any) -> dict[Place, Any]:
    return {Place(0, quantity): {**told, **changes}, Place(0, "inference logits"): LOGITS}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"start": 0.579, "least": 0.9999, "alike": -0.02, "stride": 0.2499}, ""),
        ({"alike": 1.0}, "starts of two images that correlate by 1 here, 0.004 there"),
        ({"two": 0.0}, "in two steps, which suffice for the bound, at least by 0 here, 1 there"),
        ({"stride": 0.5}, "a step size of 0.5 here, 0.25 there"),
        ({"outside": 1.0}, "pixels outside [0, 1] by 1 here, 0 there"),
        ({"start": 0.0, "again": True}, "root mean square of 0 here, 0.576 there; a second start"),
        ({"largest": 3.5}, "units of epsilon: and at most by 3.5 here, 1 there"),
        ({"least": float("nan")}, "at least by nan here"),
    ],
)
def test_an_attack_of_several_steps_that_differs_is_told(
    changes: dict[str, Any], words: str
) -> None:
    honest = trace("several steps", PGD)
    found = "".join(several_steps_differ(trace("several steps", PGD, **changes), honest))
    assert words in found
    assert bool(words) == bool(found)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colours": [-103.9391, 0.0, 151.061]}, ""),
        ({"colours": [151.061, 0.0, -103.939]}, "are 151.1, 0, -103.9 here, -103.9, 0, 151.1"),
        ({"lost": 34}, "34 are others when they are read here, 0 there"),
    ],
)
def test_a_start_that_differs_is_told(changes: dict[str, Any], words: str) -> None:
    found = "".join(start_differs(trace("start", START, **changes), trace("start", START)))
    assert words in found
    assert bool(words) == bool(found)


def test_a_scale_that_is_read_off_another_network_is_not_told() -> None:
    other = trace("start", START, colours=[151.061, 0.0, -103.939])
    other[Place(0, "inference logits")] = {"rms": 2.0, "projections": [2.0, 1.0]}
    assert not [*start_differs(other, trace("start", START))]


@pytest.mark.parametrize(("share", "told"), [(1.0005, False), (0.008, True), (float("nan"), True)])
def test_a_loss_that_is_cut_is_told(share: float, told: bool) -> None:
    sides = [trace("optimizer", {"sure": value}) for value in (share, 1.0)]
    assert any("wrong for sure" in words for words in sure_differs(*sides)) == told


def test_what_no_trace_tells_is_no_difference() -> None:
    assert not [*several_steps_differ({}, {}), *start_differs({}, {})]
