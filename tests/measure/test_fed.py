"""Tests of suite.measure.fed: other images, another order and another evaluation are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from suite.cases import Case
from suite.data import Split
from suite.data.split import pixels
from suite.measure import fed
from suite.measure import run as initial
from suite.measure.evaluation import evaluate
from suite.measure.run import Run, subsets
from suite.measure.weights import build
from suite.stacks.protocol import Network, Stack
from tests.measure.conftest import NORMALISED, SMALL, coloured


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (lambda run: run, set()),
        (lambda run: run._replace(test=one_more(run.test)), {"test_images"}),
        (lambda run: run._replace(test=relabelled(run.test)), {"test_images"}),
        (
            lambda run: run._replace(train=relabelled(run.train)),
            {"training_images", "labels", "seeds"},
        ),
        (lambda run: run._replace(seed=1), {"epochs", "labels", "seeds"}),
    ],
    ids=["none", "one more test image", "a test label", "a training label", "order"],
)
def test_a_trace_tells_other_images_and_another_order(
    stack: Stack, fault: Callable[[Run], Run], told: set[str]
) -> None:
    case = Case("lenet5", question="parity", **{**SMALL, "epochs": 1})
    run = Run(case, 0, stack, *subsets(case, coloured(), seed=0), {})
    before, after = fed.data(run), fed.data(fault(run))
    assert {name for name in before if before[name] != after[name]} - {"digest"} == told
    assert (before["digest"] != after["digest"]) == bool(told)
    assert len(set(before["epochs"])) == fed.EPOCHS
    assert before["batches"] == [case.batch_size] * 2
    assert len(set(before["seeds"])) == 2


def test_present_weights_are_evaluated_as_a_training_is(stack: Stack) -> None:
    case = Case("lenet5", question="parity", **SMALL)
    run = Run(case, 0, stack, *subsets(case, coloured(), seed=0), {})
    own = stack.network(build(stack, case))
    found = fed.evaluation(run, own)
    expected = evaluate(own, run.test, epsilon=case.epsilon, training=False)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-6)


@pytest.fixture
def normalised(stack: Stack, shallow: None) -> tuple[Run, Network]:
    """Give a run of two BatchNorm layers in the place of ResNet-50, and its network."""
    del shallow  # it is in place
    case = replace(NORMALISED, question="parity")
    run = Run(case, 0, stack, *subsets(case, coloured(), seed=0), {})
    return run, stack.network(initial.initial_model(stack, case, seed=0))


def test_by_their_batches_images_are_evaluated_and_nothing_is_moved(
    normalised: tuple[Run, Network],
) -> None:
    run, own = normalised
    found = fed.evaluation(run, own)
    expected = evaluate(own, run.test, epsilon=run.case.epsilon, training=True)
    gain = found["training_phase_information_gain"]
    assert gain == pytest.approx(expected["information_gain"], rel=1e-5)
    assert gain != found["information_gain"]
    assert found["weights_moved"] == 0


def test_an_evaluation_that_leaves_the_statistics_elsewhere_is_told(
    normalised: tuple[Run, Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, own = normalised

    def careless(network: Network, split: Split, **named: Any) -> dict[str, float]:
        found = evaluate(network, split, **named)
        for _ in range(2):
            network.logits(pixels(split.images), training=True)
        return found

    monkeypatch.setattr(fed, "evaluate", careless)
    assert fed.evaluation(run, own)["weights_moved"] > 0.01


def one_more(split: Split) -> Split:
    """Repeat the first image."""
    return Split(*(np.concatenate([array, array[:1]]) for array in split))


def relabelled(split: Split) -> Split:
    """Give the last image another label."""
    labels = split.labels.copy()
    labels[-1] += 1
    return split._replace(labels=labels)
