"""Tests of suite.judge.parity.differences: what is planted is named, and no more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from suite.judge.parity.compare import compare_traces
from suite.judge.parity.implied import Trace, descent, trace_of
from suite.judge.parity.passes import (
    counting_differs,
    inference_differs,
    other_plain_loss,
    reported_loss_differs,
)
from suite.judge.parity.updates import OPTIMIZER, optimizer_differs
from suite.judge.verdicts import SHOWN, listed
from suite.measure.summaries import PROJECTIONS, Entry
from suite.records import Record
from tests.judge.parity.conftest import IMAGES, KERAS_2, KERAS_3, Against, Make, with_entries

PROBED = (0.0134, 0.4, 3.6, 8e-4)


@pytest.mark.parametrize(
    ("planted", "quantity", "words"),
    [
        (
            {"momentum": 0.9, "set_momentum": 0.9},
            "change",
            "momentum, as set: 0.9 here, 0.99 there (all 2 layers)",
        ),
        ({"momentum": 0.9}, "change", "BatchNorm momentum, as observed: 0.9 here, 0.99 there"),
        ({"updates": 2}, "change", "updates a step 2 and 1"),
        ({"epsilon": 0.011}, None, "largest change of a pixel: 0.011 here, 0.01 there"),
        ({"bn_epsilon": 1.01e-3}, None, "BatchNorm epsilon, as set: 0.00101 here, 0.001 there"),
        ({"narrow": 2.0}, None, "BatchNorm epsilon, as observed in training: 0.002 here, 0.001"),
        ({"late_rate": True}, None, "momentum 0.9, 0.5 of it kept where the rate falls here"),
        (
            {"drop": 0.5},
            "schedule",
            "Learning rate in epochs 0, 9, 10 and 20, of its first: 1, 1, 0.5",
        ),
        ({"elsewhere": 0.1}, "perturbation", "goes elsewhere: 9.8% of step 0's pixels"),
        ({"elsewhere": 0.03}, "perturbation", "0 of 16 images. In each image a few pixels do"),
        ({"momentum": 1.2, "set_momentum": 1.2}, "change", "no momentum goes so far: they are"),
        ({"elsewhere": 0.8}, "perturbation", "in 16 of 16 images. It goes the other way: another"),
        ({"rate": 1.1}, "change", "SGD at 1.1 of the learning rate, Nesterov's momentum 0.9 here"),
        ({"sgd": 0.8}, "", "SGD at 1 of the learning rate, Nesterov's momentum 0.8 here"),
        ({"nesterov": False}, "change", "SGD at 1 of the learning rate, momentum 0.9 here"),
        ({"sgd": 0.0}, "change", "SGD at 1 of the learning rate, momentum 0 here"),
        ({"decay": 0.05}, "change", "weights shrinking by 0.3"),
        ({"decay": 5e-4}, None, "weights shrinking by 0.00"),
        ({"rate": 1.005}, None, "SGD at 1.005 of the learning rate"),
        ({"sgd": 0.905}, None, "Nesterov's momentum 0.905 here"),
        (
            {"clean_share": 0.55},
            "loss",
            "0.55 CE(clean) + 0.45 CE(adversarial) here, 0.5 and 0.5 there",
        ),
        (
            {"wrong_pass": 0.05},
            "adversarial_ce",
            "step's adversarial pass is not the one it was told",
        ),
        (
            {"wrong_pass": 1e-3, "wrong_from": 1},
            None,
            "nats here, +0 there. Another phase or loss, other labels or weights, or another",
        ),
        (
            {"miscounted": 2},
            None,
            "adversarial pass is not that of its logits: +2 images of the batch here, +0 there",
        ),
        (
            {"probed": (0.0134, 0.4, 3.6, 8e-4)},
            None,
            "Optimizer, tried alone: one large gradient and small ones after it move a weight at "
            "once by 0.0134 here, 0.95 there",
        ),
        ({"probed": (0.95, 0.4, 3.6, 7.9e-4)}, None, "at the last by 0.00079 here, 0.0008 there"),
        ({"late": 4.5e-4}, None, "its 128,000th step moves a weight by 0.00045 here, 0.0005 there"),
        (
            {"evaluated": {"information_gain": 1.998}},
            None,
            "evaluation is another: from the same weights, information gain of 1.998 here, 2 there",
        ),
        (
            {"evaluated": {"clean_accuracy": 48 / 64 + 2 / 64}},
            None,
            "clean accuracy of 0.78125 here, 0.75 there",
        ),
        ({"evaluated": {"adversarial_accuracy": 0.6}}, None, "adversarial accuracy of 0.6 here"),
        (
            {"evaluated": {"adversarial_information_gain": 1.01}},
            None,
            "adversarial information gain of 1.01 here, 1 there",
        ),
        (
            {"evaluated": {"training_phase_information_gain": 1.499}},
            None,
            "training phase information gain of 1.499 here, 1.5 there",
        ),
        ({"evaluated": {"shown": "others"}}, None, "The evaluation is another: it is shown other"),
        ({"evaluated": {"weights_moved": 0.1}}, None, "weights moved of 0.1 here, 0 there"),
        ({"sure": 0.008}, None, "wrong for sure is 0.008 of the difference of its logits here"),
        ({"reach": 3.5}, None, "Attack of several steps (PGD), in units of epsilon: and at most"),
        ({"lost": 34}, None, "34 are others when they are read here, 0 there"),
        ({"set_rate": 0.0}, None, "the optimizer holds 0 after it here, 0.25 there"),
        ({"steeper": 1.2}, "gradient", "The gradient of conv/kernel is 1.2 times the one there"),
        ({"other_start": 1e-3}, "initial weight", "weights are not the same: logits/kernel"),
        ({"test_images": 108}, "data", "Other test images: 108 of them here, 100 there"),
        ({"tested": ("others", "labels")}, "data", "Other test images, as many as there"),
        ({"tested": ("pixels", "others")}, "data", "Other labels of the same test images"),
        (
            {"leaked": 8},
            "data",
            "8 of the test images are among the training images here, 0 there",
        ),
        ({"labels": "sorted"}, "data", "Other labels of the same training images"),
        ({"epochs": ("first", "third")}, "data", "another order, or with other images"),
        (
            {"epochs": ("first", "first")},
            "data",
            "The epochs come in another order: each repeats another here",
        ),
        (
            {"epochs": ("first", "second", "second")},
            "data",
            "The epochs come in another order: one repeats another here",
        ),
        ({"epochs": ("first",)}, "data", "The batches are of 1 epochs here, of 2 there"),
        (
            {"batches": (32, 32, 16)},
            "data",
            "Two and a half batches of images are fed by 32 32 16 here, by 32 32 there",
        ),
        ({"drawn": ("of 1", "of 3")}, "data", "Other seeds draw other images, or another order"),
        ({"drawn": ("of 0", "of 0")}, "data", "another order: the same, whatever the seed"),
        ({"order": (0, 1, 3, 2, 4)}, "batch", "The same batches in another order, from step 2 on"),
        ({"order": (0, 7, 2, 3, 4)}, "batch", "Other batches, from step 1 on"),
        ({"labels": "sorted"}, "data", "The images of the epochs have other labels"),
        ({"labels": "sorted"}, "data", "same images with other labels, from step 0 on"),
        ({"pixels": "BGR"}, "data", "images of the epochs have other pixels, in the same order"),
        ({"pixels": "BGR"}, "data", "other pixels with the same labels, from step 0 on"),
        ({"epsilon": 0.0}, None, "FGSM epsilon, the largest change of a pixel: 0 here"),
        ({"moved": 0.898}, None, "FGSM moves a pixel by 0.898 of epsilon on average here, 1 there"),
        ({"alike": True}, "perturbation", "It moves all images alike: one gradient, or its mean"),
        (
            {"bias_sgd": 0.0},
            None,
            "there. Step 0 moves bias 0.5263 times as far as there, and the other kinds of weight",
        ),
        ({"skipped": 1}, None, "more than 20% in 1 of 16 images. It treats these images otherwise"),
        (
            {"narrow": -1.0},
            None,
            "-0.001 here, 0.001 there, which no layer has: its statistics are",
        ),
    ],
    ids=str,
)
def test_a_planted_difference_is_found_and_named(
    against: Against, planted: dict[str, Any], quantity: str | None, words: str
) -> None:
    found = against(**planted)
    assert not found.agrees
    assert any(words in cause for cause in found.causes), found.causes
    if quantity:
        assert found.first is not None
        assert found.first.place.quantity == quantity


@pytest.mark.parametrize(
    ("moved", "words"),
    [
        ((0.9495, 0.4 * 0.9995, 3.5982, 8e-4), ": a clip, another memory"),
        ((0.949525, 0.4 * 0.9995, 3.6 * 0.9995, 8e-4 * 0.9995), ": 0.9995 times the rate"),
        ((0.0, 0.4, 3.6, 8e-4), "at once by 0 here, 0.95 there: a clip, another memory of"),
    ],
    ids=["one of four", "all", "nothing at once"],
)
def test_moves_of_a_weight_tell_another_rate_from_another_memory(
    against: Against, moved: tuple[float, ...], words: str
) -> None:
    [cause] = against(probed=moved).causes
    assert words in cause


def test_an_image_that_rounding_decides_is_no_difference(against: Against) -> None:
    assert against(miscounted=1).agrees


def test_the_rounding_of_a_weight_is_no_other_optimizer(against: Against) -> None:
    assert against(probed=(0.95, 0.4, 3.6, 8e-4 + 1e-6)).agrees
    assert not against(probed=(0.95, 0.4, 3.6, 8e-4 + 2e-6)).agrees


def test_the_accuracy_of_another_pass_is_not_told_again(against: Against) -> None:
    found = against(wrong_pass=0.05, miscounted=2)
    assert len(found.causes) == 1
    assert "adversarial pass is not the one it was told" in found.causes[0]


@pytest.mark.parametrize(("images", "told"), [(1, False), (2, True), (float("nan"), True)])
def test_a_plain_step_that_counts_its_images_otherwise_is_told(
    make: Make, images: float, told: bool
) -> None:
    def plain(entry: Entry) -> None:
        if entry["quantity"] == "replay":
            entry["quantity"] = "several steps"

    def miscounts(entry: Entry) -> None:
        plain(entry)
        if (entry["quantity"], entry["step"]) == ("clean_accuracy", 0):
            entry["value"] += images / IMAGES

    mine, theirs = (trace_of(with_entries(make(), change)) for change in (miscounts, plain))
    found = [*counting_differs(mine, theirs)]
    assert len(found) == told
    assert all("The accuracy that the step reports is another" in words for words in found)


def without(record: Record, *quantities: str) -> Trace:
    """Make the trace of a record without what these quantities tell."""
    left = [entry for entry in record.statistics if entry["quantity"] not in quantities]
    return trace_of(replace(record, statistics=left))


def heavier(entry: Entry) -> None:
    """Add to the clean cross-entropy of each step."""
    if entry["quantity"] == "clean_ce":
        entry["value"] += 0.1


def elsewhere(entry: Entry) -> None:
    """Give each inference pass other logits."""
    if entry["quantity"] == "inference logits":
        entry["projections"] = [1.01 * value for value in entry["projections"]]


def test_a_plain_step_of_another_loss_is_told(make: Make) -> None:
    plain = ("replay", "batch norm")
    mine, theirs = (without(with_entries(make(), heavier), *plain), without(make(), *plain))
    (words,) = reported_loss_differs(mine, theirs)
    assert "The loss that the step reports is another" in words
    assert not other_plain_loss(theirs, theirs)
    moved = [
        without(with_entries(make(probed=PROBED), change), *plain) for change in (heavier, str)
    ]
    alone = [any("tried alone" in words for words in optimizer_differs(m, theirs)) for m in moved]
    assert alone == [False, True]  # an optimizer is not blamed for its loss
    with_norm = [without(with_entries(make(), heavier), "replay"), without(make(), "replay")]
    assert not [*reported_loss_differs(*with_norm)]  # its pass is no inference pass
    other_batch = without(with_entries(make(labels="sorted"), heavier), *plain)
    assert not [*reported_loss_differs(other_batch, theirs)]


def test_an_inference_pass_that_is_not_the_steps_is_told(make: Make) -> None:
    mine = without(with_entries(make(), elsewhere), "batch norm")
    theirs = without(make(), "batch norm")
    (words,) = inference_differs(mine, theirs)
    assert "The inference pass gives other logits from the same weights" in words
    assert not [*inference_differs(theirs, theirs)]
    with_norm = trace_of(with_entries(make(), elsewhere)), trace_of(make())
    assert not [*inference_differs(*with_norm)]  # its statistics may be what is other
    both = with_entries(with_entries(make(), elsewhere), heavier)
    assert not [*inference_differs(without(both, "batch norm"), theirs)]  # another network


def test_an_attack_alone_is_not_told_of_where_the_layers_are_others(make: Make) -> None:
    found = compare_traces(with_entries(make(reach=3.5), elsewhere), make("tf-2.21")).causes
    assert not any("several steps" in cause for cause in found)


def test_of_other_initial_weights_nothing_else_is_told_that_follows(make: Make) -> None:
    planted = {"other_start": 1e-3, "rate": 1.1, "wrong_pass": 0.05, "lost": 34, "momentum": 0.9}
    found = compare_traces(make(versions=KERAS_3, correction=1, **planted), make("tf-2.21")).causes
    assert [cause.partition(":")[0] for cause in found] == [
        "Initial weights are not the same",
        "Of the pretrained weights that are set 34 are others when they are read here, 0 there",
    ]


def test_weights_that_stay_where_they_are_have_no_update(against: Against) -> None:
    causes = against(rate=0.0).causes
    assert any("Optimizer: no update at all (the weights are read as they" in c for c in causes)
    found = against(probed=(0.0, 0.0, 0.0, 0.0)).causes
    assert any("its loss has no gradient, or nothing is updated" in cause for cause in found)


def test_statistics_of_a_batch_that_are_read_otherwise_are_no_momentum(make: Make) -> None:
    def farther(entry: Entry) -> None:
        if entry["quantity"] == "variance distance":
            entry["projections"] = [2 * value for value in entry["projections"]]
            entry["rms"] *= 2

    found = compare_traces(with_entries(make(), farther), make("tf-2.21")).causes
    assert any("A batch's own statistics are others" in cause for cause in found)
    assert not any("of the way to the batch's" in cause for cause in found)


def test_other_test_images_are_told_once_where_a_trace_tells_of_its_data(make: Make) -> None:
    def without_data(record: Record) -> Record:
        left = [entry for entry in record.statistics if entry["quantity"] != "data"]
        return replace(record, statistics=left)

    sides = [make(tested=("others", "labels")), make("tf-2.21")]
    assert sum("test images" in cause for cause in compare_traces(*sides).causes) == 1
    assert not compare_traces(*map(without_data, sides)).causes  # the first state has told it


def test_an_optimizer_is_not_blamed_for_the_gradients_of_another_loss(make: Make) -> None:
    found = compare_traces(with_entries(make(probed=PROBED), heavier), make("tf-2.21")).causes
    assert any("clean pass is not the one it was told" in cause for cause in found)
    assert not any("tried alone" in cause for cause in found)
    assert any("tried alone" in c for c in compare_traces(make(probed=PROBED), make()).causes)


def test_what_a_setting_explains_is_not_told_again_of_the_optimizer_alone(against: Against) -> None:
    found = against(sgd=0.8, probed=(0.9, 0.4, 3.6, 8e-4))
    assert len(found.causes) == 1
    assert "momentum 0.8 here" in found.causes[0]


def test_a_divergence_by_no_cause_the_suite_knows_fails_all_the_same(against: Against) -> None:
    found = against(forward=0.01)
    assert not found.agrees
    assert found.causes == []


def test_the_correction_is_not_legitimate_under_keras_3(make: Make) -> None:
    found = compare_traces(make(versions=KERAS_3, correction=1), make("tf-2.21"))
    assert found.causes == [
        "BatchNorm's moving variance: the sum of squares is divided by n - 1 here; Keras 3 divides "
        "by n (first_bn, second_bn)"
    ]
    assert found.first is not None
    assert found.first.place.quantity == "batch variance"


@pytest.mark.parametrize("swapped", [False, True])
def test_a_keras_2_that_stops_correcting_is_told(make: Make, swapped: bool) -> None:
    pair = [make(versions=KERAS_2), make("tf-2.21")]
    found = compare_traces(*(reversed(pair) if swapped else pair))
    assert not found.agrees
    where = "there" if swapped else "here"
    assert f"divided by n {where}; Keras 2 divides by n - 1" in found.causes[0]


@pytest.mark.parametrize(
    ("correction", "words"),
    [
        (1.5, "divided by n - 1.5 here"),
        (-43.52, "by no such number (what moves is 0.1553 times the batch's variance) here"),
        (3.96, "by no such number (what moves is 1.98 times the batch's variance) here"),
        (8.0, "by no such number (what moves is -1e+05 times the batch's variance) here"),
    ],
)
def test_a_variance_that_no_divisor_explains_is_told_as_that(
    make: Make, correction: float, words: str
) -> None:
    found = compare_traces(make(versions=KERAS_3, correction=correction), make("tf-2.21"))
    assert any(words in cause for cause in found.causes), found.causes


def test_a_correction_that_is_not_a_number_is_told(make: Make) -> None:
    def breaks(entry: Entry) -> None:
        if (entry["quantity"], entry["layer"]) == ("batch norm", "first_bn"):
            entry["observed_correction"] = float("nan")

    found = compare_traces(with_entries(make(), breaks), make("tf-2.21"))
    assert "divided by n - nan here; Keras 3 divides by n (first_bn)" in found.causes[0]


def test_statistics_that_do_not_move_have_no_correction_to_tell(make: Make) -> None:
    def breaks(entry: Entry) -> None:
        if entry["quantity"] == "batch norm":
            entry.update(observed_correction=float("nan"), observed_momentum=1.0)

    found = compare_traces(with_entries(make(), breaks), make("tf-2.21"))
    assert any("momentum, as observed: 1 here" in cause for cause in found.causes)
    assert not any("divided by" in cause for cause in found.causes)


@pytest.mark.parametrize("name", ["clean", "adversarial"])
def test_a_replay_that_is_not_a_number_in_one_release_alone_is_told(make: Make, name: str) -> None:
    def breaks(entry: Entry) -> None:
        if (entry["step"], entry["quantity"]) == (0, "replay"):
            entry[f"{name}_ce"] = float("nan")

    odd = with_entries(make(), breaks)
    [cause] = compare_traces(odd, make("tf-2.21")).causes
    assert f"The step's {name} pass is not the one it was told" in cause
    assert compare_traces(odd, odd).agrees


def test_updates_that_no_sgd_makes_are_told(make: Make) -> None:
    rng = np.random.default_rng(5)

    def scatter(entry: Entry) -> None:
        if entry["quantity"] == "change" and not entry["weight"].startswith("moving"):
            entry["projections"] = list(rng.normal(size=PROJECTIONS))

    scattered = with_entries(make(), scatter)
    found = descent(trace_of(scattered))
    assert found is not None
    assert found.unexplained > 0.5
    assert any("no SGD" in cause for cause in compare_traces(scattered, make("tf-2.21")).causes)


def test_long_lists_of_names_are_cut_and_counted() -> None:
    names = ["a", "b", "c", "d", "e", "f"]
    assert listed(names[:SHOWN]) == "a, b, c, d"
    assert listed(names) == "a, b, c, d and 2 more"


def test_a_pass_that_is_wrong_from_a_later_step_on_is_told_with_that_step(against: Against) -> None:
    [cause] = against(wrong_pass=1e-3, wrong_from=1).causes
    assert "it was told: its cross-entropy is the replayed one +0.001 nats here" in cause
    assert cause.endswith("(step 1)")


def test_where_the_logits_differ_neither_attack_nor_epsilon_is_blamed(make: Make) -> None:
    def moved(entry: Entry) -> None:
        if entry["quantity"] == "inference logits":
            entry["projections"] = [1.1 * number for number in entry["projections"]]

    honest = make("tf-2.21")
    found = compare_traces(with_entries(make(elsewhere=0.2), moved), honest)
    assert not found.agrees
    assert found.causes == []
    assert compare_traces(make(elsewhere=0.2), honest).causes != []


def test_updates_that_no_setting_explains_are_told_to_be_rounded(make: Make) -> None:
    rng = np.random.default_rng(0)

    def rounded(entry: Entry) -> None:
        if entry["quantity"] == "change" and not entry["weight"].startswith("moving"):
            entry["projections"] = [x * (1 + 1e-3 * rng.normal()) for x in entry["projections"]]

    honest = make("tf-2.21")
    [cause] = compare_traces(with_entries(make(sgd=0.905), rounded), honest).causes
    assert "rounded more coarsely, or changed in some weights alone, rather than set" in cause
    assert not any("coarsely" in cause for cause in compare_traces(make(sgd=0.8), honest).causes)


@pytest.mark.parametrize(("share", "told"), [(2e-5, False), (1e-3, True)])
def test_a_first_update_that_is_no_multiple_of_its_gradient_is_told(
    make: Make, share: float, told: bool
) -> None:
    rng = np.random.default_rng(0)

    def rounded(entry: Entry) -> None:
        if (entry["quantity"], entry["step"]) == ("change", 0) and entry["layer"] == "conv":
            entry["projections"] = [x * (1 + share * rng.normal()) for x in entry["projections"]]

    other, honest = with_entries(make(), rounded), make("tf-2.21")
    causes = compare_traces(other, honest).causes
    assert any("are no multiple of the gradient, in 2 of 4" in cause for cause in causes) == told
    assert compare_traces(other, other).agrees  # as before
    assert not any("no multiple" in cause for cause in compare_traces(honest, other).causes)


def test_what_no_rounding_explains_is_not_called_rounded(make: Make) -> None:
    rng = np.random.default_rng(0)

    def torn(entry: Entry) -> None:
        if entry["quantity"] == "change" and not entry["weight"].startswith("moving"):
            entry["projections"] = [x * (1 + 0.5 * rng.normal()) for x in entry["projections"]]

    causes = compare_traces(with_entries(make(), torn), make("tf-2.21")).causes
    assert any("no SGD" in cause for cause in causes)
    assert not any("coarsely" in cause for cause in causes)


def test_what_follows_from_another_cause_is_not_told_beside_it(against: Against) -> None:
    causes = against(sgd=0.8, late=4e-4).causes
    assert not any("128,000th" in cause for cause in causes)
    causes = against(tested=("others", "labels"), evaluated={"information_gain": 1.0}).causes
    assert causes == ["Other test images, as many as there, or another order of the same"]


def test_other_seeds_are_no_cause_of_other_labels_nor_a_mean_of_no_attack(against: Against) -> None:
    causes = against(labels="sorted", drawn=("of 1", "of 3")).causes
    assert not any("Other seeds" in cause for cause in causes)
    assert not any("on average" in cause for cause in against(epsilon=0.0).causes)


def test_a_gradient_that_is_no_multiple_is_not_called_one(make: Make) -> None:
    def turned(entry: Entry) -> None:
        if (entry["quantity"], entry["layer"], entry["step"]) == ("gradient", "conv", 0):
            first, *others = entry["projections"]
            entry["projections"] = [1.3 * first, *(1.2 * number for number in others)]

    found = compare_traces(with_entries(make(), turned), make("tf-2.21"))
    assert not any("The gradient of" in cause for cause in found.causes)


def test_a_fit_is_held_no_tighter_than_the_reference_itself_fits(make: Make) -> None:
    rng = np.random.default_rng(0)

    def rounded(entry: Entry) -> None:
        if entry["quantity"] == "change" and not entry["weight"].startswith("moving"):
            entry["projections"] = [x + 3e-4 * rng.normal() for x in entry["projections"]]

    def differs(mine: Record, theirs: Record) -> bool:
        allowed = {**OPTIMIZER, "decay": 1.0}  # which these weights do not tell
        return any(optimizer_differs(trace_of(mine), trace_of(theirs), allowed=allowed))

    near, far, honest = make(sgd=0.904), make(sgd=0.93), make("tf-2.21")
    coarse = with_entries(honest, rounded)
    assert descent(trace_of(coarse)).error > 1e-3
    assert differs(near, honest)
    assert not differs(near, coarse)
    assert differs(far, coarse)
    assert differs(with_entries(make(sgd=0.91), rounded), honest), "its own noise is no excuse"
