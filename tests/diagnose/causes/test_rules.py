from __future__ import annotations

from suite.diagnose.found import HEALTHY, OTHER, NormState
from suite.networks.phases import INFERENCE, TRAINING
from tests.diagnose.causes.examined import VAGUE, found, layer, stale_layers, trial, trials


def test_a_network_that_recomputing_does_not_mend_is_healthy() -> None:
    assert found(trials(1.0, 1.1))[:4] == (HEALTHY, "", "", "")
    assert found(trials(1.0, 1.1), layers=stale_layers(symmetric_kl=1.0)).verdict == HEALTHY


def test_a_gain_without_a_distance_is_no_stale_statistic() -> None:
    assert found(trials(0.5, 1.2)).verdict == HEALTHY


def test_a_healthy_network_is_told_its_farthest_layer_and_odd_momenta() -> None:
    layers = (layer("bn1"), layer("bn2", symmetric_kl=1.0, momentum=0.9999), layer("bn3"))
    words = " ".join(found(trials(1.0, 1.1), layers=layers).words)
    assert "1.00 to 1.10 nats. The largest distance is that of bn2, 1 nats." in words
    assert "That is far, but does no harm here." in words
    assert "Note the momentum of 1 BatchNorm layers, 0.9999 in bn2" in words


def test_an_untrained_network_is_no_case_of_batch_norm() -> None:
    norms = (NormState(True, 0.0, False, 20.0),) * 3
    finding = found(
        trials(0.0, 0.0), norms=norms, layers=stale_layers(), predictions=VAGUE, iterations=0
    )
    assert (finding.verdict, finding.cause, finding.fix) == (OTHER, "not trained", "")


def test_a_network_without_batch_norm_is_told_so() -> None:
    bare = (trial(INFERENCE, 1.0), trial(TRAINING, 1.0))
    finding = found(bare, layers=(), norms=())
    assert "not your problem" in " ".join(finding.words)


def test_every_network_is_told_what_it_is_worth() -> None:
    assert found(trials(1.0, 1.1)).words[-1] == (
        "On 200 images it is right in 79.1% (the most frequent class: 25.0%) and gives 1.00 of "
        "1.39 nats in the inference phase; it predicts 4 of 4 classes."
    )
