from __future__ import annotations

import numpy as np
import pytest

from suite.diagnose.causes.rules import judge
from suite.diagnose.found import (
    CONSTANT,
    OTHER,
    STALE,
    TRAINING_IMAGES,
    UNDECIDED,
    Unit,
    Weights,
)
from suite.diagnose.trials import CENTRED, FEATURES, PIXELS, RENAMED, Trial
from suite.networks.phases import INFERENCE
from tests.diagnose.causes.examined import (
    VAGUE,
    VARIED,
    blind,
    examined,
    found,
    stale_layers,
    tells,
    trial,
    trials,
)


def test_a_constant_output_names_the_layer_at_which_the_images_are_lost() -> None:
    units = (Unit("conv", "Conv2D", 0.8, 1.0), Unit("head", "Dense", 0.0, 1.0))
    constant = VARIED._replace(variation=0.0, marginal_distance=0.75)
    finding = found(trials(0.0, 0.0), units=units, predictions=constant)
    assert finding[:3] == (CONSTANT, "dead head", "head")
    units = (Unit("conv", "Conv2D", 0.0, 1.0), Unit("head", "Dense", 0.0, 1.0))
    finding = found(trials(0.0, 0.0), units=units, predictions=constant)
    assert finding[:3] == (CONSTANT, "dead layer", "conv")


def test_a_head_next_to_nothing_is_dead_though_a_scale_of_batch_norm_comes_after_it() -> None:
    constant = VARIED._replace(variation=0.0, marginal_distance=0.75)
    weights = (
        Weights("conv", True, 1.0),
        Weights("head", True, 0.01),
        Weights("last", False, 1.0),
    )
    finding = found(trials(0.0, 0.0), weights=weights, predictions=constant)
    assert finding[:3] == (CONSTANT, "dead head", "head")


def test_outputs_that_never_move_are_dead() -> None:
    missing = VAGUE._replace(dead_outputs=(1, 3))
    finding = found(trials(0.0, 0.0), predictions=missing)
    assert finding[:3] == (CONSTANT, "dead head", "head")
    assert "2 of 4 outputs of head are dead" in finding.words[0]


def test_a_bias_that_outweighs_the_images_is_a_dead_head() -> None:
    biased, mended = VARIED._replace(marginal_distance=0.75), trial(CENTRED, 1.2)
    finding = found(trials(0.0, 0.0, mended), predictions=biased)
    assert finding[:3] == (CONSTANT, "dead head", "head")
    told = trials(0.0, 0.0, mended)
    several = told[0]._replace(evaluation=told[0].evaluation._replace(classes_predicted=2))
    assert found((several, *told[1:]), predictions=biased).verdict == OTHER


def test_sure_and_varied_predictions_that_do_not_match_tell_shuffled_labels() -> None:
    probes = (blind(PIXELS), blind(FEATURES))
    careless = VARIED._replace(confidence_auc=0.5)
    unlucky = examined(trials(-1.0, -1.0), predictions=careless, probes=probes)
    varied = tuple(
        trial._replace(evaluation=trial.evaluation._replace(classes_predicted=4))
        for trial in unlucky.trials
    )
    assert judge(unlucky._replace(trials=varied)).cause == "label shuffle"
    told = unlucky._replace(trials=varied, probes=(tells(PIXELS), tells(FEATURES)))
    assert judge(told).cause == ""  # a linear model tells them: they do belong together


def test_renamed_classes_tell_permuted_labels() -> None:
    named = VARIED._replace(names=(1, 0, 2, 3))
    finding = found(trials(-1.0, -1.0, trial(RENAMED, 1.3)), predictions=named)
    assert finding.cause == "label shuffle (classes permuted)"
    assert "(label 1 is its 0, label 0 is its 1)" in finding.words[0]


def right_in(kind: str, told: float) -> Trial:
    """Make up a trial that is right in so many of the images."""
    made = trial(kind, 0.5)
    return made._replace(
        hits=np.arange(200) < told * 200, evaluation=made.evaluation._replace(accuracy=told)
    )


@pytest.mark.parametrize(("told", "renamed", "majority"), [(0.18, 0.82, 0.53), (0.75, 0.86, 0.25)])
def test_two_classes_exchanged_are_permuted_labels(
    told: float, renamed: float, majority: float
) -> None:
    made = (right_in(INFERENCE, told), right_in(RENAMED, renamed))
    finding = found(made, majority=majority)
    assert finding.cause == "label shuffle (classes permuted)"
    assert "are a consistent permutation" in finding.words[0]
    less = (right_in(INFERENCE, told), right_in(RENAMED, renamed - 0.1))
    assert found(less, majority=majority).cause != finding.cause  # features tell more


def test_labels_that_nothing_tells_are_no_labels_of_these_images() -> None:
    probes = (blind(PIXELS), blind(FEATURES))
    assert found(trials(0.0, 0.0), predictions=VAGUE, probes=probes).cause == "label shuffle"


def test_one_class_alone_where_most_images_are_of_it_is_no_label_shuffle() -> None:
    probes = (blind(PIXELS), blind(FEATURES))
    labels = np.zeros(200, int)
    labels[:6] = 1
    bare = trials(-0.1, -0.1)
    told = bare[0].evaluation._replace(accuracy=0.97, classes_predicted=1)
    made = tuple(each._replace(evaluation=told) for each in bare)
    finding = found(made, probes=probes, predictions=VAGUE, labels=labels, majority=0.97)
    assert finding[:2] == (CONSTANT, "unbalanced classes")
    assert "From 6 images of other classes nothing more can be told" in finding.words[1]


def test_classes_that_are_never_right_though_the_features_tell_them_are_named() -> None:
    made = trials(1.0, 1.0)
    hits = np.arange(200) % 4 != 2
    told = made[0].evaluation._replace(accuracy=0.75)
    some = tuple(each._replace(hits=hits, evaluation=told) for each in made)
    finding = found(some)
    assert finding[:3] == (OTHER, "classes never predicted", "head")
    assert finding.words[0].startswith("Class 2 is never predicted rightly, in 50 images")
    poor = hits & (np.arange(200) // 4 % 2 == 0)
    told = told._replace(accuracy=float(poor.mean()))
    begun = tuple(each._replace(hits=poor, evaluation=told) for each in made)
    assert found(begun).cause != "classes never predicted"  # the whole training is short
    untold = tuple(tells(source)._replace(hits=hits) for source in (PIXELS, FEATURES))
    assert found(some, probes=untold).cause == ""


def test_a_network_that_always_predicts_one_class_misses_no_other_one() -> None:
    bare = trials(0.0, 0.0)
    told = bare[0].evaluation._replace(classes_predicted=1)
    made = tuple(each._replace(hits=np.arange(200) % 4 == 2, evaluation=told) for each in bare)
    assert found(made, predictions=VAGUE).cause != "classes never predicted"


def test_a_bias_without_which_the_features_still_tell_more_is_not_the_cause() -> None:
    biased = VARIED._replace(marginal_distance=0.75)
    less = trials(0.0, 0.0, trial(CENTRED, 0.7))  # 63 % where a head fitted anew tells 90 %
    finding = found(less, predictions=biased)
    assert finding[:2] == (UNDECIDED, "")
    assert finding.next == TRAINING_IMAGES


SCALES = (Weights("conv", True, 1.0), Weights("bn1", False, 0.9), Weights("bn2", False, 0.001))


def test_scales_that_let_nothing_through_are_named_and_statistics_are_not() -> None:
    constant = VARIED._replace(variation=0.0, marginal_distance=0.75)
    probes = (tells(PIXELS), blind(FEATURES), tells(FEATURES, precise=True))
    state = {"layers": stale_layers(), "predictions": constant, "probes": probes}
    finding = found(trials(0.0, 0.0), weights=SCALES, **state)
    assert finding[:4] == (CONSTANT, "scales next to 0", "bn2", "")
    assert "The scales (gamma) of 1 of 2 BatchNorm layers are next to 0, 0.001" in finding.words[0]
    assert found(trials(0.0, 1.2), weights=SCALES, **state).verdict == STALE  # new ones mend it
    started = (*SCALES[:2], SCALES[2]._replace(ratio=0.0))  # as the last of a residual block
    assert found(trials(0.0, 0.0), weights=started, **state).cause != finding.cause
    assert found(trials(1.0, 1.0), weights=SCALES).cause == ""
