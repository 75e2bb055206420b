"""Tests of the records of an examination."""

from __future__ import annotations

from suite.diagnose.trials import ONLY_LAYER, ONLY_MEANS, PRECISE_BN
from suite.networks.phases import INFERENCE, TRAINING
from tests.diagnose.causes.examined import examined, trial, trials


def test_a_trial_is_found_by_its_kind_and_layer() -> None:
    one, other = (trial(ONLY_LAYER, 0.5, layer=layer) for layer in ("bn1", "bn2"))
    found = examined(trials(0.0, 1.2, one, other))
    assert found.inference.kind == INFERENCE
    assert found.precise is found.tried(PRECISE_BN) is found.trials[2]
    assert found.tried(ONLY_LAYER) is found.tried(ONLY_LAYER, layer="bn1") is one
    assert found.tried(ONLY_LAYER, layer="bn2") is other
    assert found.tried(ONLY_LAYER, layer="bn3") is None
    assert found.tried(ONLY_MEANS) is None


def test_a_network_without_batch_norm_has_no_recomputed_statistics() -> None:
    bare = examined((trial(INFERENCE, 1.0), trial(TRAINING, 1.0)), layers=())
    assert bare.precise is None
