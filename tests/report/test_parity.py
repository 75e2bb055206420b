"""Tests of suite.report.parity: what was found is told, on both outputs."""

from __future__ import annotations

import pytest

from suite.judge.parity.compare import Comparison
from suite.judge.parity.distances import Distance
from suite.judge.parity.implied import Place
from suite.report.parity import paragraph, parity_summary, section

SMALL = Distance(Place(0, "batch mean", "conv1_bn"), 1e-6, 2e-5)
LARGE = Distance(Place(1, "gradient", "conv1_conv", "kernel"), 0.25, 0.1)
LARGER = Distance(Place(1, "change", "conv1_bn", "moving_mean"), float("nan"), 0.1)


def found(**changes: object) -> Comparison:
    content = {
        "case": "parity-net", "seed": 0, "release": "tf-2.15", "reference": "tf-2.21",
        "distances": [SMALL], "known": [], "causes": [],
    }  # fmt: skip
    return Comparison(**{**content, **changes})


def test_agreement_is_told_with_the_distance_nearest_to_its_tolerance() -> None:
    assert paragraph(found()) == (
        "parity-net (seed 0): agrees\n"
        "  nearest to its tolerance: step 0, batch mean of conv1_bn, 1e-06 where 2e-05 is allowed"
    )


def test_a_divergence_is_told_with_step_layer_amount_and_cause() -> None:
    text = paragraph(found(distances=[SMALL, LARGE, LARGER], causes=["FGSM epsilon: 1 here"]))
    assert text.splitlines() == [
        "parity-net (seed 0): DIVERGES from tf-2.21",
        "  first divergence: step 1, gradient of conv1_conv/kernel, by 0.25 where 0.1 is allowed",
        "  diverging at step 1, with the number of places: gradient (1), change of statistics (1)",
        "  looks like: FGSM epsilon: 1 here",
    ]


def test_a_divergence_of_no_known_cause_says_so() -> None:
    assert "looks like: none of the causes the suite knows" in paragraph(found(distances=[LARGE]))


def test_a_cause_without_an_effect_diverges_too() -> None:
    text = paragraph(found(causes=["BatchNorm momentum, as set: 0.9 here, 0.99 there"]))
    assert text.startswith("parity-net (seed 0): DIVERGES from tf-2.21\n  looks like: BatchNorm")


def test_known_differences_are_listed() -> None:
    text = paragraph(found(known=["the divisor"]))
    assert text.startswith("parity-net (seed 0): agrees but for known differences\n")
    assert "  known difference: the divisor" in text


def test_the_summary_counts_what_agrees_and_what_of_it_is_known() -> None:
    assert parity_summary("tf-2.15", "tf-2.21", agree=3, known=1, traces=4) == (
        "3 of 4 traces of tf-2.15 agree with tf-2.21's (1 but for known differences)."
    )
    assert parity_summary("tf-2.15", "tf-2.21", agree=0, known=0, traces=1) == (
        "0 of 1 traces of tf-2.15 agree with tf-2.21's."
    )


def test_what_need_only_be_a_number_says_so_and_is_never_nearest() -> None:
    free = Distance(Place(1, "gradient", "conv|1", "kernel"), float("inf"), float("inf"))
    one = found(distances=[free, SMALL])
    assert "nearest to its tolerance: step 0, batch mean" in paragraph(one)
    row = "| gradient | - | - | inf | any number | step 1, gradient of conv&#124;1/kernel |"
    assert row in section(one).splitlines()
    broken = free._replace(value=float("nan"))
    assert "by nan where any number is allowed" in paragraph(found(distances=[broken]))


@pytest.mark.parametrize(
    "row",
    [
        "| batch mean | 1e-06 | 2e-05 | - | - | step 0, batch mean of conv1_bn |",
        "| gradient | - | - | 0.25 | 0.1 | step 1, gradient of conv1_conv/kernel |",
        "| change of statistics | - | - | nan | 0.1 | step 1, change of conv1_bn/moving_mean |",
    ],
)
def test_markdown_holds_the_largest_distance_of_every_quantity(row: str) -> None:
    page = section(found(distances=[SMALL, LARGE, LARGER]))
    assert page.startswith("### parity-net (seed 0): DIVERGES from tf-2.21\n\n- first divergence:")
    assert row in page.splitlines()
