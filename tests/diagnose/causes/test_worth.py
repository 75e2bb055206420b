from __future__ import annotations

import numpy as np

from suite.diagnose.causes.worth import (
    feature_probe,
    features_tell,
    last_kernel,
    mends,
    share_of_gain,
    suspicious,
)
from suite.diagnose.found import (
    FEATURES,
    ONLY_LAYER,
    ONLY_MEANS,
    PIXELS,
    TRUNK,
    Probe,
    Trial,
    Weights,
)
from suite.networks.phases import INFERENCE
from tests.diagnose.causes.examined import ENTROPY, blind, examined, tells, trial, trials

BEFORE = trial(INFERENCE, 0.5)


def gained(by: np.ndarray | float) -> Trial:
    return BEFORE._replace(scores=BEFORE.scores + by)


def test_a_small_or_chance_gain_mends_nothing() -> None:
    assert not mends(BEFORE, gained(0.1), ENTROPY)
    assert mends(BEFORE, gained(0.5), ENTROPY)
    lucky = np.zeros(len(BEFORE.scores))
    lucky[:2] = 60.0
    assert not mends(BEFORE, gained(lucky), ENTROPY)


def test_less_gain_will_do_where_statistics_are_far_off() -> None:
    assert mends(BEFORE, gained(0.1), ENTROPY, far=True)


def test_only_what_can_be_mended_is_tried() -> None:
    assert not suspicious(0.9 * ENTROPY, ENTROPY, 0.1)
    assert suspicious(0.5 * ENTROPY, ENTROPY, 0.1)
    assert suspicious(0.9 * ENTROPY, ENTROPY, 50.0)
    assert suspicious(float("nan"), ENTROPY, 0.1)


def test_a_part_is_measured_by_what_all_recomputed_statistics_gain() -> None:
    parts = trial(ONLY_MEANS, 0.3), trial(ONLY_LAYER, 0.9, layer="bn2")
    found = examined(trials(0.0, 1.2, *parts))
    assert np.isclose(share_of_gain(found, ONLY_MEANS), 0.25)
    assert np.isclose(share_of_gain(found, ONLY_LAYER, layer="bn2"), 0.75)
    assert share_of_gain(found, ONLY_LAYER, layer="bn1") == 0.0


def test_the_best_probe_of_the_features_counts_not_that_of_the_pixels() -> None:
    probes = (
        Probe(PIXELS, False, 0.99, 0.25, 0.0),
        Probe(FEATURES, False, 0.3, 0.25, 0.5),
        Probe(TRUNK, False, 0.4, 0.25, 0.5),
        Probe(TRUNK, True, 0.8, 0.25, 0.5),
    )
    found = examined(trials(0.0, 0.0), probes=probes)
    assert feature_probe(found, precise=False) == 0.4
    assert feature_probe(found, precise=True) == 0.8
    assert feature_probe(found._replace(probes=()), precise=True) == 0.0


def test_pixels_that_tell_the_labels_are_no_features() -> None:
    found = examined(trials(0.0, 0.0), probes=(tells(PIXELS), blind(FEATURES), blind(TRUNK)))
    assert not features_tell(found)
    again = tells(PIXELS)._replace(precise=True)  # probed with recomputed statistics, they are same
    assert not features_tell(found._replace(probes=(*found.probes, again)))
    assert features_tell(found._replace(probes=(blind(PIXELS), tells(TRUNK))))


def test_a_scale_of_batch_norm_is_no_kernel() -> None:
    weights = (Weights("head", True, 1.0), Weights("bn", False, 1.0))
    assert last_kernel(examined(trials(0.0, 0.0), weights=weights)) == "head"
    assert last_kernel(examined(trials(0.0, 0.0), weights=weights[1:])) == ""
