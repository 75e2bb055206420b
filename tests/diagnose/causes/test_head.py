from __future__ import annotations

from typing import Any

import pytest

from suite.diagnose.causes.head import (
    CUT_OFF,
    EACH_CLASS,
    NEITHER,
    NOT_ONE_SUM,
    NOT_PROBABILITIES,
    ONE_OVER_CLASSES,
    ONE_UNIT,
    TWICE,
    mismatch,
    tells_nats,
)
from suite.diagnose.found import HEALTHY, OTHER, STALE, Finding, HeadLoss
from suite.diagnose.trials import FEATURES, INPUT_SCALE, InputScale
from suite.networks.phases import INFERENCE, TRAINING
from tests.diagnose.causes.examined import (
    blind,
    examined,
    found,
    stale_layers,
    tells,
    trial,
    trials,
)

SPARSE, ROWS, EACH = (
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "binary_crossentropy",
)


def head(activation: str, loss: str = SPARSE, *, logits: bool = False, units: int = 4) -> HeadLoss:
    return HeadLoss("head", activation, units, loss, logits)


def told(ending: HeadLoss, worth: float, **changes: Any) -> Finding:
    made = (trial(INFERENCE, worth), trial(TRAINING, worth))
    return found(made, layers=(), norms=(), head=ending, **changes)


@pytest.mark.parametrize(
    ("ending", "cause"),
    [
        (head("softmax", EACH, units=1), ONE_UNIT),
        (head("softmax", "", units=1), ONE_UNIT),
        (head("sigmoid", ROWS, units=1), ONE_OVER_CLASSES),
        (head("linear"), NOT_PROBABILITIES),
        (head("linear", EACH, units=1), NOT_PROBABILITIES),
        (head("linear", "kl_divergence"), NOT_PROBABILITIES),
        (head("relu", ROWS), NEITHER),
        (head("tanh"), NEITHER),
        (head("softmax", logits=True), TWICE),
        (head("sigmoid", EACH, logits=True, units=1), TWICE),
        (head("relu", logits=True), CUT_OFF),
        (head("tanh", logits=True), CUT_OFF),
        (head("sigmoid"), NOT_ONE_SUM),
        (head("softmax", EACH), EACH_CLASS),
    ],
)
def test_a_head_and_a_loss_that_do_not_belong_together_are_told(
    ending: HeadLoss, cause: str
) -> None:
    wrong = mismatch(ending)
    assert wrong is not None
    assert wrong.cause == cause
    assert "head" in wrong.words


@pytest.mark.parametrize(
    "ending",
    [
        head("linear", logits=True),
        head("softmax"),
        head("softmax", ROWS),
        head("sigmoid", EACH, units=1),
        head("linear", EACH, logits=True, units=1),
        head("sigmoid", EACH),
        head("linear", "mean_squared_error"),
        head("tanh", "hinge", units=1),
        head("", SPARSE),
        head("linear", ""),
        head("softmax", ""),
    ],
)
def test_of_a_head_that_fits_and_of_an_unknown_one_nothing_is_said(ending: HeadLoss) -> None:
    assert mismatch(ending) is None


def test_a_mismatch_is_the_cause_where_a_linear_model_does_better() -> None:
    finding = told(head("linear"), 0.5)
    assert finding[:4] == (OTHER, NOT_PROBABILITIES, "head", "")
    assert "Compile with from_logits=True" in finding.words[0]
    assert "is right in 52.1%" in finding.words[1]
    assert "a linear model on its pixels is right in 90.0%" in finding.words[1]


def test_a_mismatch_of_a_network_that_works_well_is_a_note() -> None:
    finding = told(head("linear"), 1.3)
    assert finding.verdict == HEALTHY
    assert any(text.startswith("Note on head and loss") for text in finding.words)
    assert told(head("linear", logits=True), 1.3).words[0].startswith("Healthy")
    assert not any("Note on head" in text for text in told(head("softmax"), 1.3).words)


def test_a_mismatch_is_not_the_cause_where_something_tried_mends_the_network() -> None:
    finding = found(trials(0.0, 1.3), layers=stale_layers(), head=head("linear"))
    assert finding.verdict == STALE
    assert found(trials(0.0, 0.0), layers=stale_layers(), head=head("linear")).verdict == OTHER


def test_a_network_that_is_as_good_as_a_linear_model_on_few_images_is_not_held_against() -> None:
    probes = (tells(FEATURES)._replace(accuracy=0.6),)
    assert told(head("tanh", logits=True), 0.5, probes=probes).verdict == HEALTHY


def test_one_unit_cannot_work() -> None:
    finding = told(head("softmax", EACH, units=1), -1.0, probes=(blind(FEATURES),))
    assert finding[:3] == (OTHER, ONE_UNIT, "head")
    assert "is 1 whatever the image" in finding.words[0]


def test_what_mostly_works_is_no_cause_even_where_the_network_does_badly() -> None:
    assert told(head("softmax", EACH), 0.5).cause != EACH_CLASS
    unwound = head("softmax", logits=True)._replace(unwound=True)
    assert told(unwound, 0.5).cause != TWICE
    assert told(unwound._replace(unwound=False), 0.5).cause == TWICE


def test_nats_of_another_loss_are_no_reason_to_scale_the_images() -> None:
    fed = trial(INPUT_SCALE, 1.2, scale=InputScale("[0, 1]", "[0, 255]", False))
    before = trial(INFERENCE, 0.6)
    fed = fed._replace(evaluation=before.evaluation, hits=before.hits)
    made = (before, trial(TRAINING, 0.6), fed)
    cause = [
        found(made, layers=(), norms=(), head=head("linear", loss, logits=True), probes=()).cause
        for loss in ("mean_squared_error", SPARSE)
    ]
    assert cause == ["", "wrong input scale"]
    assert tells_nats(examined(made))


def test_one_hot_labels_are_asked_for_where_nothing_is_learned() -> None:
    rows, sparse = (told(head("softmax", loss), 0.0).words for loss in (ROWS, SPARSE))
    assert any("takes one-hot labels" in text for text in rows)
    assert not any("takes one-hot labels" in text for text in sparse)
