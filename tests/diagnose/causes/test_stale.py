from __future__ import annotations

from typing import Any

import pytest

from suite.diagnose.found import OTHER, STALE, ScaleFit, Unit
from suite.diagnose.trials import (
    ALIKE,
    BATCH_STATISTICS,
    FEATURES,
    INPUT_SCALE,
    ONLY_LAYER,
    ONLY_MEANS,
    ONLY_VARIANCES,
    PIXELS,
    SINGLE,
    InputScale,
)
from suite.networks.phases import INFERENCE, TRAINING
from tests.diagnose.causes.examined import (
    NORM,
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

FAR = NORM._replace(typical_kl=20.0, training_kl=20.0)


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
    norms = (FAR._replace(travelled=0.3, explained=0.9),) * 3
    finding = found(trials(0.0, 1.2), layers=stale_layers(), norms=norms)
    assert finding.cause.startswith("wrong momentum")
    assert "The statistics have gone 30% of their way from 0 and 1." in finding.words


def test_statistics_of_few_steps_are_the_momentums_and_are_recomputed() -> None:
    norms = (FAR._replace(travelled=0.4, explained=0.9),) * 3
    finding = found(trials(0.0, 1.2), layers=stale_layers(), norms=norms, iterations=60)
    assert finding.cause.startswith("wrong momentum")
    assert finding.fix == "precise-bn"
    assert "some 690 at this one" in " ".join(finding.words)
    slow = stale_layers(momentum=0.9999, half_life_steps=6931)
    finding = found(trials(0.0, 1.2), layers=slow, norms=norms, iterations=60)
    assert finding.cause.startswith("wrong momentum")


def test_weights_trained_with_statistics_that_nothing_stored_tell_dropped_updates() -> None:
    norms = (FAR._replace(initial=True, travelled=0.0),) * 3
    finding = found(trials(0.0, 1.2), layers=stale_layers(), norms=norms)
    assert finding.cause.startswith("updates dropped")


def test_weights_that_fit_statistics_that_nothing_updated_tell_a_pinned_phase() -> None:
    norms = (FAR._replace(initial=True, travelled=0.0),) * 3
    probes = (tells(PIXELS), blind(FEATURES), tells(FEATURES, precise=True))
    finding = found(trials(0.05, 0.0), layers=stale_layers(), norms=norms, probes=probes)
    assert finding.cause.startswith("phase pinned")


def test_what_is_left_of_the_first_statistics_may_be_little_and_do_all_the_harm() -> None:
    small = FAR._replace(travelled=0.98, explained=0.95)
    finding = found(trials(0.0, 1.2), layers=stale_layers(), norms=(small,) * 3)
    assert finding.cause.startswith("wrong momentum")
    told = found(
        trials(0.0, 1.2), layers=stale_layers(), norms=(small._replace(explained=0.1),) * 3
    )
    assert told.cause == "stale mean and variance"
    words = " ".join(told.words)
    assert "These causes remain: they are of other data" in words
    assert "the weights were replaced after the training" in words
    assert "faster than momentum 0.99 follows" in words
    loose = (small._replace(explained=0.1),) * 3
    quick = found(trials(0.0, 1.2), layers=stale_layers(momentum=0.9), norms=loose)
    assert "faster than momentum" not in " ".join(quick.words)
    assert "What decides" in " ".join(told.words)


def test_a_share_of_unscaled_images_that_explains_the_first_statistics_is_the_trainings() -> None:
    norms = (FAR._replace(unscaled=0.03), FAR, FAR)
    finding = found(trials(0.0, 1.2), layers=stale_layers(), norms=norms)
    assert finding.cause.startswith("unscaled images in training")
    assert "about one image in 33 was not scaled" in " ".join(finding.words)


def test_statistics_that_fit_the_training_phase_alone_are_dropouts() -> None:
    units = (Unit("drop", "SpatialDropout2D", 0.8, 1.0), Unit("bn1", "BatchNormalization", 1, 1))
    norms = (FAR._replace(training_kl=0.1),) * 3
    finding = found(trials(0.0, 1.2), layers=stale_layers(), norms=norms, units=units)
    assert finding.cause.startswith("Dropout before BatchNorm")
    assert "drop, before it, is on in training alone" in " ".join(finding.words)
    behind = found(trials(0.0, 1.2), layers=stale_layers(), norms=norms, units=units[::-1])
    assert "Dropout" not in behind.cause


@pytest.mark.parametrize("kind", [BATCH_STATISTICS, ALIKE, SINGLE])
def test_where_only_the_batchs_own_statistics_serve_no_single_set_does(kind: str) -> None:
    finding = found(trials(0.1, 0.3, trial(kind, 1.2)), layers=stale_layers())
    assert finding[:2] == (STALE, "no single set of statistics")
    assert finding.fix == "group-norm"
    assert found(trials(0.1, 1.2, trial(kind, 1.2)), layers=stale_layers()).cause != finding.cause


def test_images_that_each_have_their_own_statistics_tell_batches_of_one() -> None:
    finding = found(trials(0.1, 0.3, trial(SINGLE, 1.2)), layers=stale_layers())
    assert "each image has its own: the training ran in batches of one" in finding.words[0]
    assert "batches of 16 or more" in finding.words[1]
    wrong = trials(-1.0, -1.0)
    told = wrong[0].evaluation._replace(accuracy=0.02)
    none = wrong[0].hits & False
    made = tuple(each._replace(hits=none, evaluation=told) for each in wrong)
    chance = (*made, trial(SINGLE, -1.0))  # right in a quarter, as by chance
    assert found(chance, layers=stale_layers()).cause != finding.cause
    kinds = found(trials(0.1, 0.3, trial(ALIKE, 1.2)), layers=stale_layers())
    assert "dual-bn" in kinds.words[1]


def test_another_input_scale_that_does_as_much_is_said_beside_the_statistics() -> None:
    norms = (FAR._replace(travelled=0.5, explained=0.99),) * 3
    scale = InputScale("[0, 1]", "standardised", False)
    fit = ScaleFit("bn1", 20.0, 5.0, float("nan"), float("nan"), 5.0, 3.0)
    state = {"layers": stale_layers(), "norms": norms, "iterations": 60, "scale_fit": fit}
    told = found(trials(0.1, 1.2, trial(INPUT_SCALE, 1.1, scale=scale)), **state)
    assert told.cause.startswith("wrong momentum")
    assert "Fed as [0, 1] -> standardised instead" in " ".join(told.words)
    less = found(trials(0.1, 1.2, trial(INPUT_SCALE, 0.5, scale=scale)), **state)
    assert "Fed as" not in " ".join(less.words)


def test_batches_that_are_too_small_have_no_statistics() -> None:
    made = trials(0.1, 0.3, trial(BATCH_STATISTICS, 1.2))
    finding = found(made, layers=stale_layers(), batch_size=2)
    assert finding.cause == "no single set of statistics"
    assert "a batch of 2 is too small to estimate any" in finding.words[0]
    assert "batches of 16 or more" in finding.words[1]


def test_a_layer_that_is_called_several_times_has_no_single_set() -> None:
    norms = (FAR, FAR._replace(calls=3), FAR)
    finding = found(
        trials(0.1, 0.3, trial(BATCH_STATISTICS, 1.2)), layers=stale_layers(), norms=norms
    )
    assert finding[:3] == (STALE, "no single set of statistics", "bn2")
    assert "bn2 is called 3 times for a batch, and each call has its own" in finding.words[0]


def test_statistics_that_the_weights_were_trained_with_are_not_to_be_recomputed() -> None:
    norms = (FAR._replace(initial=True, travelled=0.0),) * 3
    finding = found(trials(0.3, -0.5), layers=stale_layers(), norms=norms)
    assert finding.cause.startswith("phase pinned")
    assert finding.fix == ""
    assert "Recomputing them alone makes it worse (25.0% against 41.2%)" in finding.words[-2]


def test_phases_that_disagree_without_batch_norms_doing_are_another_layers() -> None:
    bare = (trial(INFERENCE, 0.2), trial(TRAINING, 1.1))
    finding = found(bare, layers=(), norms=())
    assert finding[:2] == (OTHER, "phases disagree")
    norm = trials(0.2, 0.2, trial(BATCH_STATISTICS, 1.1))
    both = tuple(each if each.kind != TRAINING else trial(TRAINING, 1.1) for each in norm)
    assert found(both).cause != "phases disagree"  # BatchNorm explains it
    frozen = trials(1.1, -0.5, trial(BATCH_STATISTICS, -0.5))  # training is no better
    assert found(frozen).cause != "phases disagree"
    chance = (trial(INFERENCE, 0.0), trial(TRAINING, 0.0))
    assert found(chance, layers=(), norms=()).cause != "phases disagree"


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
