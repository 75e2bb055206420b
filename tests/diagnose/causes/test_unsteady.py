from __future__ import annotations

import pytest

from suite.diagnose.causes.unsteady import BATCH, BOTH, CHANGED, RANDOM
from suite.diagnose.found import HEALTHY, OTHER, STALE, Finding, Repeats
from suite.diagnose.trials import STEADY, STEADY_PRECISE
from tests.diagnose.causes.examined import found, stale_layers, trial, trials

DRAWS = Repeats(
    again=0.6, elsewhere=0.6, layers=("drop",), kinds=("Always",), random=(True,), mended=True
)
NORMS = Repeats(
    again=0.0,
    elsewhere=0.9,
    layers=("bn1", "bn2"),
    kinds=("Mine", "Mine"),
    random=(False, False),
    mended=True,
    updated=("bn1", "bn2"),
    alone=0.25,
    together=0.9,
)


def told(repeats: Repeats, *others: object) -> Finding:
    made = trials(1.3, 1.3, *others)  # type: ignore[arg-type]
    return found(made, repeats=repeats)


def test_a_network_that_answers_the_same_once_more_is_healthy() -> None:
    assert told(Repeats(again=0.005, elsewhere=0.04)).verdict == HEALTHY
    assert told(Repeats()).verdict == HEALTHY


def test_a_layer_that_draws_at_random_is_named_with_what_it_costs() -> None:
    finding = told(DRAWS, trial(STEADY, 1.38))
    assert finding[:4] == (OTHER, RANDOM, "drop", "")
    words = " ".join(finding.words)
    assert "they differ by 60% of their spread" in words
    assert "drop (Always) is the first that draws at random" in words
    assert "right in 99.7% instead of 95.3%" in words
    assert "must give `training` to what it calls, never True" in words
    assert "Monte Carlo" in words
    assert "depends on what else is in its batch" not in words


def test_a_layer_that_normalises_by_the_batch_is_named_with_the_accuracy_one_by_one() -> None:
    finding = told(NORMS, trial(STEADY, 0.5), trial(STEADY_PRECISE, 1.3))
    assert finding[:4] == (OTHER, BATCH, "bn1", "")
    words = " ".join(finding.words)
    assert "depends on what else is in its batch: in another one it differs by 90%" in words
    assert "bn1 (Mine) is the first that normalises by the batch, of 2 (bn1, bn2)" in words
    assert "One by one the images are classified rightly in 25.0%, in batches in 90.0%" in words
    assert "recomputed besides, it is right in 95.3%" in words
    assert "Monte Carlo" not in words


def test_both_kinds_are_told_apart() -> None:
    both = NORMS._replace(again=0.5, random=(True, False), kinds=("Always", "Mine"))
    words = " ".join(told(both).words)
    assert told(both).cause == BOTH
    assert "bn1 (Always) is the first that draws at random; bn2 (Mine) is the first that" in words


def test_statistics_that_an_inference_pass_changes_are_named() -> None:
    finding = told(Repeats(again=0.0, elsewhere=0.0, updated=("bn3",)))
    assert finding[:3] == (OTHER, CHANGED, "bn3")
    assert "changes the moving statistics of bn3" in finding.words[0]


def test_a_layer_without_a_phase_of_its_own_is_to_get_one() -> None:
    words = told(DRAWS._replace(mended=False)).words
    assert any("let its call take `training`" in text for text in words)


def test_where_no_layer_does_it_the_models_own_call_does() -> None:
    words = told(Repeats(again=0.3, elsewhere=0.3)).words
    assert any("the model's own call" in text for text in words)


@pytest.mark.parametrize(("again", "verdict"), [(0.03, STALE), (0.3, OTHER)])
def test_little_noise_does_not_hide_another_cause(again: float, verdict: str) -> None:
    made = trials(0.0, 1.3)
    little = DRAWS._replace(again=again, elsewhere=again)
    assert found(made, layers=stale_layers(), repeats=little).verdict == verdict
    assert found(trials(1.3, 1.3), repeats=little).cause == RANDOM
