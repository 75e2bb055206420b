"""Tests of suite.bands: a band is a closed interval and says so in words."""

from __future__ import annotations

import math

import pytest

from suite.judge.bands import STACK_BANDS, STUDY, Band, bands_of, stack_bands
from suite.tables import TIERS, table


def test_a_band_holds_its_bounds_and_what_lies_between() -> None:
    band = Band(0.25, 0.5)
    assert all(value in band for value in (0.25, 0.3, 0.5))
    assert all(value not in band for value in (0.2499, 0.5001, -0.3, math.inf))


@pytest.mark.parametrize("band", [Band(0, 1), Band(-math.inf, 1), Band(0, math.inf)], ids=str)
def test_nan_lies_in_no_band(band: Band) -> None:
    assert band.__contains__(math.nan) is False


def test_a_band_of_one_value_holds_it_alone() -> None:
    assert 3.0 in Band(3, 3)
    assert 3.001 not in Band(3, 3)


@pytest.mark.parametrize(("low", "high"), [(1, 0), (math.nan, 1), (0, math.nan)])
def test_bounds_that_are_no_interval_are_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match=f"low must be at most high. Received: {low} and {high}"):
        Band(low, high)


@pytest.mark.parametrize(
    ("band", "words"),
    [
        (Band(0.25, 0.5), "0.25 to 0.5"),
        (Band(0.25, math.inf), "at least 0.25"),
        (Band(-math.inf, 0.123456), "at most 0.1235"),
    ],
)
def test_a_band_says_what_it_allows(band: Band, words: str) -> None:
    assert str(band) == words


def test_only_a_stack_that_ends_elsewhere_has_bands_of_its_own() -> None:
    case = "resnet50-w0.25-intended-none"
    assert stack_bands(case, tier="small", stack="eager") == {}
    assert stack_bands(case, tier="full", stack="graph") == {}
    twice = stack_bands(case, tier="small", stack="graph")["updates_per_step"]
    assert 2 in twice
    assert 1 not in twice


@pytest.mark.parametrize("stack", STACK_BANDS)
def test_bands_of_a_stack_belong_to_cases_and_metrics_that_are_judged(stack: str) -> None:
    for case, bands in STACK_BANDS[stack].items():
        judged = dict(bands_of(case, tier="small"))
        assert set(bands) <= set(judged)
        assert all(judged[metric] != Band(*limits) for metric, limits in bands.items())


def test_bands_of_the_study_belong_to_its_cases() -> None:
    names = {str(case) for name in TIERS["study"].tables for case in table(name, tier="study")}
    assert set(STUDY) <= names


def test_a_control_of_the_study_that_learns_is_no_control() -> None:
    control, mended = (
        dict(bands_of(f"resnet50-w0.25-intended-{fix}-b32-lr0.01-32px", tier="study"))
        for fix in ("none", "bn-momentum-0.5")
    )
    assert 1.5 not in control["adversarial_branch_gain"]
    assert 0.0 not in mended["adversarial_branch_gain"]
    assert 0.0 not in mended["information_gain"]
