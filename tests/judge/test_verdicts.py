"""Tests of suite.judge.verdicts: a number is judged by its band, and the reason says so."""

from __future__ import annotations

import math

import pytest

from suite.judge.bands import Band
from suite.judge.verdicts import OUTCOMES, Verdict, judge, shown

STALLED = Band(0.0, 0.05)


@pytest.mark.parametrize("measured", [0.0, 0.02, 0.05])
def test_a_number_in_its_closed_band_passes(measured: float) -> None:
    assert judge("resnet50", "information_gain", measured, STALLED).outcome == "pass"


@pytest.mark.parametrize("measured", [-1e-9, 0.0500001, math.inf, -math.inf, math.nan])
def test_a_number_outside_of_its_band_is_a_regression(measured: float) -> None:
    verdict = judge("resnet50", "information_gain", measured, STALLED)
    assert verdict.outcome == "regression"
    assert verdict.failed


def test_nan_lies_in_no_band() -> None:
    everything = Band(-math.inf, math.inf)
    assert judge("resnet50", "loss", math.nan, everything).outcome == "regression"


def test_a_verdict_names_case_metric_measured_and_expected() -> None:
    verdict = judge("resnet50-w0.25-literal-none", "information_gain", 0.41, STALLED)
    expected = "resnet50-w0.25-literal-none: information_gain is 0.41, expected 0 to 0.05"
    assert str(verdict) == expected


def test_a_verdict_names_its_seed() -> None:
    verdict = judge("vgg19", "loss", 1.0, STALLED, seed="seed 3")
    assert str(verdict).startswith("vgg19 (seed 3): loss is 1, ")


def test_a_number_just_outside_is_not_shown_as_the_bound() -> None:
    assert shown(0.0500001, STALLED) == "0.0500001"
    assert shown(0.0412345, STALLED) == "0.04123"


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_only_a_regression_fails_and_what_is_new_or_vanished_is_missing(outcome: str) -> None:
    verdict = Verdict("vgg19", "", "loss", None, None, "", outcome, "", blocking=True)
    assert verdict.failed == (outcome == "regression")
    assert verdict.judged == (outcome in ("pass", "regression"))
    assert verdict.missing == (outcome in ("new", "vanished"))


def test_a_verdict_on_a_whole_case_names_no_metric() -> None:
    assert Verdict("vgg19", "", "all", None, None, "", "vanished", "").whole
    assert not judge("vgg19", "loss", 1.0, STALLED).whole


def test_an_unknown_outcome_is_refused() -> None:
    with pytest.raises(ValueError, match=r"outcome must be one of .*Received: 'fine'"):
        Verdict("vgg19", "", "loss", None, None, "", "fine", "")
