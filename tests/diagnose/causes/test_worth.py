from __future__ import annotations

import numpy as np
import pytest

from suite.diagnose.causes.worth import (
    feature_probe,
    features_tell,
    improves,
    last_kernel,
    mends,
    more_right,
    share_of_gain,
    suspicious,
)
from suite.diagnose.found import Weights
from suite.diagnose.trials import FEATURES, ONLY_LAYER, ONLY_MEANS, PIXELS, TRUNK, InputScale, Trial
from suite.networks.phases import INFERENCE
from tests.diagnose.causes.examined import (
    ENTROPY,
    blind,
    examined,
    layer,
    tells,
    trial,
    trials,
)

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
    near, far = (layer("bn"),), (layer("bn", symmetric_kl=50.0),)
    well = trial(INFERENCE, 0.97 * ENTROPY)
    assert not suspicious([well], ENTROPY, near)
    assert suspicious([trial(INFERENCE, 0.5 * ENTROPY)], ENTROPY, near)
    assert suspicious([well], ENTROPY, far)
    for wrong in ({"accuracy": 0.9}, {"information_gain": float("nan")}):
        evaluation = well.evaluation._replace(**wrong)
        assert suspicious([well._replace(evaluation=evaluation)], ENTROPY, near)


def test_images_put_right_mend_where_they_are_more_than_chance_and_five_points() -> None:
    before = trial(INFERENCE, 0.5)
    wrong = np.flatnonzero(~before.hits)
    for count, enough in ((9, False), (12, True)):
        hits = before.hits.copy()
        hits[wrong[:count]] = True
        evaluation = before.evaluation._replace(accuracy=float(hits.mean()))
        after = before._replace(hits=hits, evaluation=evaluation)
        assert improves(before, after) is mends(before, after, ENTROPY) is enough
    assert more_right(before, before) == 1.0


def test_an_image_of_many_labels_counts_once() -> None:
    before = trial(INFERENCE, 0.5)._replace(hits=np.zeros((20, 100), bool))
    after = before._replace(hits=np.arange(100) < 60 + 0 * np.arange(20)[:, None])
    assert more_right(before, after) == pytest.approx(2.0**-20)


def test_a_part_is_measured_by_what_all_recomputed_statistics_gain() -> None:
    parts = trial(ONLY_MEANS, 0.3), trial(ONLY_LAYER, 0.9, layer="bn2")
    found = examined(trials(0.0, 1.2, *parts))
    assert np.isclose(share_of_gain(found, ONLY_MEANS), 0.25)
    assert np.isclose(share_of_gain(found, ONLY_LAYER, layer="bn2"), 0.75)
    assert share_of_gain(found, ONLY_LAYER, layer="bn1") == 0.0


def test_the_best_probe_of_the_features_counts_not_that_of_the_pixels() -> None:
    probes = (
        tells(PIXELS)._replace(accuracy=0.99),
        blind(FEATURES)._replace(accuracy=0.3),
        blind(TRUNK)._replace(accuracy=0.4),
        blind(TRUNK, precise=True)._replace(accuracy=0.8),
        tells(TRUNK)._replace(scale=InputScale("[0, 255]", "[0, 1]", False)),
    )
    found = examined(trials(0.0, 0.0), probes=probes)
    assert feature_probe(found, precise=False) == 0.4
    assert feature_probe(found, precise=True) == 0.8
    assert feature_probe(found, scaled=True) == 0.9
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
