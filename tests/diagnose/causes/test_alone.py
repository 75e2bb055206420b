"""Tests of the rules for samples of one class alone."""

from __future__ import annotations

import numpy as np

from suite.diagnose.found import DIVERGED, STALE, UNDECIDED, Weights
from tests.diagnose.causes.examined import IMAGES, NORM, found, stale_layers, trials

ALONE = {"labels": np.full(IMAGES, 3), "majority": 1.0}


def test_of_one_class_alone_a_good_network_is_not_called_healthy() -> None:
    finding = found(trials(1.3, 1.3), **ALONE)
    assert finding[:3] == (UNDECIDED, "one class alone", "")
    assert finding.words[0].startswith("All 200 labels are 3: of one class alone")
    assert "(95.3% in the training phase, 95.3% with recomputed statistics)" in finding.words[0]
    assert "shuffle" in finding.words[1]


def test_statistics_that_fit_another_class_are_no_finding() -> None:
    finding = found(trials(0.1, 1.3), layers=stale_layers(symmetric_kl=2.0), **ALONE)
    assert finding.verdict == UNDECIDED
    assert "is no finding" in finding.words[2]


def test_statistics_that_fit_no_class_are_stale() -> None:
    far = (NORM._replace(typical_kl=50.0),) * 3
    assert found(trials(0.1, 1.3), layers=stale_layers(), norms=far, **ALONE).verdict == STALE
    assert found(trials(1.3, 1.3), layers=stale_layers(), norms=far, **ALONE).verdict == UNDECIDED


def test_what_one_class_shows_is_found() -> None:
    large = (Weights("conv", kernel=True, ratio=100.0), Weights("head", kernel=True, ratio=1.2))
    assert found(trials(0.0, 0.0), weights=large, **ALONE).verdict == DIVERGED
    assert found(trials(1.3, 1.3)).verdict != UNDECIDED
