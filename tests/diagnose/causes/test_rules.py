from __future__ import annotations

import numpy as np
import pytest

from suite.diagnose.causes.left import NEXT
from suite.diagnose.found import (
    BY_HEART,
    CONSTANT,
    HEALTHY,
    MORE_IMAGES,
    OTHER,
    STALE,
    TRAINING_IMAGES,
    UNDECIDED,
    Unit,
)
from suite.diagnose.trials import (
    ALIKE,
    BATCH_STATISTICS,
    CENTRED,
    FEATURES,
    INPUT_SCALE,
    ONLY_MEANS,
    PIXELS,
    PRECISE_BN,
    RENAMED,
    RESCALED,
)
from suite.networks.phases import INFERENCE, TRAINING
from tests.diagnose.causes.examined import (
    IMAGES,
    NORM,
    VAGUE,
    blind,
    found,
    layer,
    stale_layers,
    tells,
    trial,
    trials,
)


def test_a_network_that_recomputing_does_not_mend_is_healthy() -> None:
    assert found(trials(1.0, 1.05))[:4] == (HEALTHY, "", "", "")
    assert found(trials(1.0, 1.05), layers=stale_layers(symmetric_kl=1.0)).verdict == HEALTHY


@pytest.mark.parametrize(
    "kind",
    [TRAINING, BATCH_STATISTICS, ALIKE, PRECISE_BN, ONLY_MEANS, RESCALED, INPUT_SCALE, RENAMED,
     CENTRED],
)  # fmt: skip
@pytest.mark.parametrize("points", [0.05, 0.06, 0.1, 0.3, 0.6])
@pytest.mark.parametrize("lost", [0, 10])
def test_what_a_trial_improves_by_five_points_is_never_healthy(
    kind: str, points: float, lost: int
) -> None:
    told = 0.35
    made = [trial(each, 1.386 * (told - 0.25) / 0.75) for each in (INFERENCE, TRAINING, PRECISE_BN)]
    gained = np.arange(IMAGES) < round((told + points) * IMAGES) + lost
    hits = np.where(np.arange(IMAGES) < lost, False, gained)
    evaluation = made[0].evaluation._replace(accuracy=float(hits.mean()))
    better = made[0]._replace(kind=kind, layer="conv", hits=hits, evaluation=evaluation)
    others = [each for each in made if each.kind != kind]
    assert found((*others, better)).verdict != HEALTHY


def test_a_gain_that_may_be_chance_is_undecided_and_one_that_is_not_has_a_cause() -> None:
    before = trial(INFERENCE, 0.6)
    rng = np.random.default_rng(0)
    hits = rng.permutation(before.hits)  # as many right, others
    few = np.flatnonzero(~hits)[:12]
    hits[few] = True
    evaluation = before.evaluation._replace(accuracy=float(hits.mean()))
    chance = before._replace(kind=CENTRED, hits=hits, evaluation=evaluation)
    finding = found((before, trial(TRAINING, 0.6), chance))
    assert finding[:2] == (UNDECIDED, "")
    assert finding.next == TRAINING_IMAGES  # four times as many would not tell
    assert NEXT[TRAINING_IMAGES] in finding.words
    sure = before.hits.copy()
    sure[np.flatnonzero(~sure)[:40]] = True
    evaluation = before.evaluation._replace(accuracy=float(sure.mean()))
    told = found((before, before._replace(kind=CENTRED, hits=sure, evaluation=evaluation)))
    assert told[:2] == (OTHER, "biased head")
    little = before.hits.copy()
    little[np.flatnonzero(~little)[:20]] = True
    evaluation = before.evaluation._replace(accuracy=float(little.mean()))
    told = found((before, before._replace(kind=CENTRED, hits=little, evaluation=evaluation)))
    assert told[:2] == (UNDECIDED, "")


@pytest.mark.parametrize(("images", "following"), [(IMAGES, MORE_IMAGES), (1000, TRAINING_IMAGES)])
def test_more_images_are_asked_for_where_they_would_tell_and_not_again(
    images: int, following: str
) -> None:
    before = trial(INFERENCE, 0.6)
    hits = before.hits.copy()
    right, wrong = np.flatnonzero(hits), np.flatnonzero(~hits)
    hits[right[:12]], hits[wrong[:30]] = False, True  # p = 0.004, of four times as many 1e-8
    evaluation = before.evaluation._replace(accuracy=float(hits.mean()))
    better = before._replace(kind=CENTRED, hits=hits, evaluation=evaluation)
    finding = found((before, better), images=images)
    assert finding[:2] == (UNDECIDED, "")
    assert finding.next == following


def test_a_part_that_recomputing_all_statistics_equals_is_not_named_for_it() -> None:
    before = trial(INFERENCE, 0.6)
    made = []
    for kind, gained in ((ALIKE, 17), (PRECISE_BN, 14)):
        hits = before.hits.copy()
        hits[np.flatnonzero(~hits)[:gained]] = True
        hits[np.flatnonzero(before.hits)[:3]] = False
        evaluation = before.evaluation._replace(accuracy=float(hits.mean()))
        made.append(before._replace(kind=kind, hits=hits, evaluation=evaluation))
    assert "all moving statistics recomputed" in found((before, *made)).words[0]


def test_dropout_that_may_have_shifted_the_variance_is_suspect_where_nothing_decides() -> None:
    before = trial(INFERENCE, 0.6)
    hits = before.hits.copy()
    hits[np.flatnonzero(~hits)[:25]] = True
    hits[np.flatnonzero(before.hits)[:10]] = False
    evaluation = before.evaluation._replace(accuracy=float(hits.mean()))
    better = before._replace(kind=PRECISE_BN, hits=hits, evaluation=evaluation)
    layers = (layer("bn1", symmetric_kl=0.2), layer("bn2"), layer("bn3"))
    norms = (NORM._replace(training_kl=0.003), NORM, NORM)
    units = (Unit("drop", "Dropout", 0.8, 1.0), Unit("bn1", "BatchNormalization", 1, 1))
    state = {"layers": layers, "norms": norms}
    words = " ".join(found((before, better), units=units, **state).words)
    assert "Suspect Dropout or noise before BatchNorm" in words
    assert "drop, before it, is on in training alone" in words
    assert "Suspect" not in " ".join(found((before, better), units=units[::-1], **state).words)


def test_a_frozen_layer_that_limits_a_network_is_named() -> None:
    told = blind(FEATURES)._replace(accuracy=0.6)
    frozen = stale_layers(trainable=False, symmetric_kl=2.0)
    state = {"layers": frozen, "probes": (tells(PIXELS), told)}
    words = found(trials(0.6, -0.5), **state).words
    assert any("It is frozen: what comes behind was trained with it" in text for text in words)
    assert any("Let them train on" in text for text in words)


def test_features_that_tell_what_the_last_layer_does_not_are_told() -> None:
    words = " ".join(found(trials(0.6, 0.6)).words)
    assert "A head fitted anew on its own features is right in 90.0%" in words


def test_a_network_that_is_sure_of_what_is_wrong_is_sent_to_the_images_of_the_training() -> None:
    sure = tuple(
        each._replace(evaluation=each.evaluation._replace(classes_predicted=4))
        for each in trials(-1.0, -1.0)
    )
    finding = found(sure, predictions=VAGUE)
    assert (finding.cause, finding.next) == ("", TRAINING_IMAGES)
    assert found(trials(0.0, 0.0), predictions=VAGUE).next == BY_HEART


def test_recomputing_that_gains_nats_alone_says_that_the_images_are_others() -> None:
    made = trials(0.6, 0.65)
    surer = made[0]._replace(scores=made[0].scores - 1.0)
    told = surer.evaluation._replace(information_gain=-0.4)
    words = " ".join(found((surer._replace(evaluation=told), *made[1:])).words)
    assert "these images are otherwise than those of the training" in words


def test_classes_taken_for_one_another_as_a_whole_are_not_in_another_order() -> None:
    finding = found(trials(0.2, 0.2, trial(RENAMED, 0.7)))  # a linear head tells more
    assert finding[:2] == (UNDECIDED, "")
    assert "far from what a linear model tells, 90.0%" in finding.words[1]
    assert "class_weight" not in " ".join(finding.words)
    leaning = VAGUE._replace(marginal_distance=0.7)
    finding = found(trials(0.2, 0.2, trial(CENTRED, 0.7)), predictions=leaning)
    assert "look at class_weight, sample_weight" in " ".join(finding.words)


def test_statistics_that_mend_nothing_but_chance_are_not_to_blame() -> None:
    told = [each._replace(evaluation=each.evaluation._replace(accuracy=0.3 if each.kind ==
            PRECISE_BN else 0.1)) for each in trials(-0.5, -0.1)]  # fmt: skip
    hits = np.arange(IMAGES) < 0.3 * IMAGES
    made = tuple(each._replace(hits=hits & (each.kind == PRECISE_BN)) for each in told)
    assert found(made, layers=stale_layers(), majority=0.3).verdict != STALE


def test_a_network_behind_a_linear_model_is_told_so() -> None:
    told = found(trials(1.0, 1.0))
    words = " ".join(told.words)
    assert told.verdict == HEALTHY
    far = found(trials(0.6, 0.6))
    assert far[:2] == (UNDECIDED, "")
    assert far.words[0].startswith("Undecided. No cause is found")
    assert "A linear model fitted to three quarters of these images is right in 90.0%" in words
    assert "A linear model fitted" not in " ".join(found(trials(1.35, 1.35)).words)


def test_statistics_that_recomputing_mends_are_stale_however_near_they_are() -> None:
    finding = found(trials(0.5, 1.2))
    assert (finding.verdict, finding.layer) == (STALE, "bn1")


def test_a_healthy_network_is_told_its_farthest_layer_and_odd_momenta() -> None:
    layers = (layer("bn1"), layer("bn2", symmetric_kl=1.0, momentum=0.9999), layer("bn3"))
    words = " ".join(found(trials(1.0, 1.05), layers=layers).words)
    assert "from 79.1% to 81.8% right and from 1.00 to 1.05 nats. The largest distance" in words
    assert "is that of bn2, 1 nats." in words
    assert "That is far, but does no harm here." in words
    assert "Note the momentum of 1 BatchNorm layers, 0.9999 in bn2" in words


def test_an_untrained_network_is_no_case_of_batch_norm() -> None:
    norms = (NORM._replace(initial=True, travelled=0.0, trained=False, typical_kl=20.0),) * 3
    made = ("bn1", "bn2", "bn3", "head")
    state = {"norms": norms, "layers": stale_layers(), "predictions": VAGUE, "iterations": 0}
    finding = found(trials(0.0, 0.0), untouched=made, touched=(), **state)
    assert (finding.verdict, finding.cause) == (OTHER, "not trained, or weights not loaded")
    assert finding.fix == ""


def test_layers_as_they_were_made_among_trained_ones_were_not_loaded() -> None:
    norms = (NORM._replace(initial=True, travelled=0.0, trained=False, typical_kl=20.0),) * 3
    state = {"norms": norms, "layers": stale_layers(), "untouched": ("bn1", "bn2", "bn3")}
    finding = found(trials(0.0, 1.2), **state, touched=("head",))
    assert finding[:3] == (OTHER, "weights not loaded", "bn1")
    assert "3 of 4 layers still have exactly the values that Keras makes" in finding.words[0]


def test_a_network_that_tells_nothing_is_told_what_was_ruled_out_and_what_comes_next() -> None:
    finding = found(trials(0.0, 0.0, trial(RENAMED, 0.0)), predictions=VAGUE)
    assert finding[:2] == (CONSTANT, "not trained")
    assert "the phase: training (25.0%)" in finding.words[1]
    assert "the classes renamed as fits" in finding.words[1]
    assert finding.words[4].startswith("Next: train it on 32 of these images")
    small = found(trials(0.0, 0.0), predictions=VAGUE, batch_size=2)
    assert "Not ruled out: batches of 2, too few for BatchNorm" in small.words[3]


def test_a_network_without_batch_norm_is_told_so() -> None:
    bare = (trial(INFERENCE, 1.0), trial(TRAINING, 1.0))
    finding = found(bare, layers=(), norms=())
    assert "not your problem" in " ".join(finding.words)


def test_every_network_is_told_what_it_is_worth() -> None:
    assert found(trials(1.0, 1.05)).words[-1] == (
        "On 200 images it is right in 79.1% (the most frequent class: 25.0%) and gives 1.00 of "
        "1.39 nats in the inference phase; it predicts 4 of 4 classes."
    )
