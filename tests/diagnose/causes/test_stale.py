from __future__ import annotations

from typing import Any

import pytest

from suite.diagnose.found import (
    FEATURES,
    HEALTHY,
    ONLY_LAYER,
    ONLY_MEANS,
    ONLY_VARIANCES,
    PIXELS,
    STALE,
    NormState,
)
from tests.diagnose.causes.examined import (
    STALE_LAYER,
    VARIED,
    blind,
    found,
    layer,
    stale_layers,
    tells,
    trial,
    trials,
)


@pytest.mark.parametrize(
    ("means", "variances", "cause"),
    [
        (1.2, 0.1, "stale mean"),
        (0.1, 1.2, "stale variance"),
        (0.4, 0.4, "stale mean and variance"),
    ],
)
def test_what_alone_restores_the_network_is_the_stale_part(
    means: float, variances: float, cause: str
) -> None:
    parts = trial(ONLY_MEANS, means), trial(ONLY_VARIANCES, variances)
    finding = found(trials(0.0, 1.2, *parts), layers=stale_layers())
    assert finding[:4] == (STALE, cause, "bn1", "precise-bn")


def test_a_layer_that_alone_explains_it_is_the_bad_one() -> None:
    layers = (layer("bn1", symmetric_kl=1.0), layer("bn2", **STALE_LAYER), layer("bn3"))
    parts = (
        trial(ONLY_MEANS, 1.2),
        trial(ONLY_VARIANCES, 0.1),
        trial(ONLY_LAYER, 1.2, layer="bn2"),
    )
    finding = found(trials(0.0, 1.2, *parts), layers=layers)
    assert finding.cause == "one bad layer: stale mean"
    assert finding.layer == "bn2"


def test_a_trial_of_another_layer_does_not_make_one_the_bad_one() -> None:
    layers = (layer("bn1"), layer("bn2", **STALE_LAYER), layer("bn3"))
    parts = (trial(ONLY_MEANS, 1.2), trial(ONLY_LAYER, 1.2, layer="bn3"))
    assert found(trials(0.0, 1.2, *parts), layers=layers).cause == "stale mean"


def test_where_no_output_tells_the_parts_apart_the_distances_do() -> None:
    locked = {"phase": "inference", "log_variance_ratio": 0.01}
    probes = (tells(PIXELS), blind(FEATURES), tells(FEATURES, precise=True))
    finding = found(trials(0.0, 0.0), layers=stale_layers(**locked), probes=probes)
    assert finding.cause == "phase pinned (stale mean)"
    locked = {"phase": "inference", "mean_shift": 0.1, "log_variance_ratio": -2.0}
    finding = found(trials(0.0, 0.0), layers=stale_layers(**locked), probes=probes)
    assert finding.cause == "phase pinned (stale variance)"


@pytest.mark.parametrize(
    ("changes", "start", "fix"),
    [
        ({"trainable": False, "phase": "inference"}, "frozen by mistake", "precise-bn"),
        ({"phase": "inference"}, "phase pinned", "precise-bn"),
        ({"momentum": 1.0}, "wrong momentum", "bn-momentum-0.5"),
        ({"momentum": 0.99999}, "wrong momentum", "bn-momentum-0.5"),
        ({"momentum": 0.1, "symmetric_kl": 2.0}, "wrong momentum", "bn-momentum-0.9"),
    ],
)
def test_what_keeps_statistics_stale_is_named_first(
    changes: dict[str, Any], start: str, fix: str
) -> None:
    finding = found(trials(0.0, 1.2), layers=stale_layers(**changes))
    assert finding.cause.startswith(start)
    assert finding.fix == fix


def test_statistics_still_on_their_way_are_the_momentums() -> None:
    norms = (NormState(False, 0.3, True, 20.0),) * 3
    finding = found(trials(0.0, 1.2), layers=stale_layers(), norms=norms)
    assert finding.cause.startswith("wrong momentum")
    assert "The statistics have gone 30% of their way from 0 and 1." in finding.words


def test_a_training_that_has_only_begun_is_healthy() -> None:
    norms = (NormState(False, 0.4, True, 20.0),) * 3
    finding = found(trials(0.0, 1.2), layers=stale_layers(), norms=norms, iterations=60)
    assert (finding.verdict, finding.cause) == (HEALTHY, "")
    slow = stale_layers(momentum=0.9999, half_life_steps=6931)
    finding = found(trials(0.0, 1.2), layers=slow, norms=norms, iterations=60)
    assert finding.cause.startswith("wrong momentum")


def test_statistics_never_updated_though_the_network_is_trained_tell_a_pinned_phase() -> None:
    norms = (NormState(True, 0.0, True, 20.0),) * 3
    finding = found(trials(0.0, 1.2), layers=stale_layers(), norms=norms)
    assert finding.cause.startswith("phase pinned")


def test_stale_statistics_under_a_head_trained_on_them_are_told_by_the_features() -> None:
    probes = (tells(PIXELS), blind(FEATURES), tells(FEATURES, precise=True))
    constant = VARIED._replace(variation=0.5, marginal_distance=0.7)
    layers = stale_layers(phase="inference")
    finding = found(trials(0.0, 0.0), layers=layers, probes=probes, predictions=constant)
    assert finding.verdict == STALE
    assert finding.cause.startswith("phase pinned")


def test_statistics_of_other_data_are_told_by_the_features_too() -> None:
    probes = (tells(PIXELS), blind(FEATURES), tells(FEATURES, precise=True))
    finding = found(trials(0.0, 0.0), layers=stale_layers(), probes=probes)
    assert finding.verdict == STALE
    assert "stale BatchNorm statistics ruin them" in finding.words[0]
