"""Tests of what every stack does with a training that was interrupted, and in mixed precision."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from suite.cases import Case
from suite.measure import training
from suite.measure.checkpoint import Checkpoint
from suite.measure.weights import build
from suite.networks.batch_norm import batch_norms
from tests.measure.conftest import SMALL, run_small

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from suite.records import Record
    from suite.stacks.protocol import Stack

LENET = Case("lenet5", **{**SMALL, "epochs": 3})  # of three steps each
ALEXNET = replace(LENET, architecture="alexnet")  # which has dropout


class KilledError(Exception):
    """Ends a training as a signal would."""


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Give a function that lets so many steps of trainings be made, and kills the next."""
    made = training.timed

    def after(steps: int) -> None:
        left = [steps]

        def timed(*arguments: Any, **options: Any) -> Any:
            if not left[0]:
                raise KilledError
            left[0] -= 1
            return made(*arguments, **options)

        monkeypatch.setattr(training, "timed", timed)

    return after


def all_but_times(record: Record) -> list[Any]:
    curves = {name: curve for name, curve in record.curves.items() if name != "step_s"}
    return [record.metrics, curves, record.statistics]


def resumes(stack: Stack, case: Case) -> bool:
    """True where the stack can read all that decides how the training of a network goes on."""
    stack.seed(0)
    return stack.random_state([build(stack, case)]) is not None


@functools.lru_cache(maxsize=None)
def whole_run(stack: Stack, case: Case) -> Record:
    """Train without a checkpoint, and without an interruption."""
    return run_small(stack, case)


@pytest.mark.parametrize("case", [LENET, ALEXNET], ids=str)
@pytest.mark.parametrize("steps", [3, 5], ids=["between epochs", "inside an epoch"])
def test_an_interrupted_training_ends_as_one_that_was_not(
    stack: Stack, case: Case, steps: int, killed: Callable[[int], None], tmp_path: Path
) -> None:
    if not resumes(stack, case):
        pytest.skip("its kernels count the draws: see the next test")
    checkpoint = Checkpoint(tmp_path / "training", "key", 0)
    killed(steps)
    with pytest.raises(KilledError):
        run_small(stack, case, checkpoint=checkpoint)
    killed(9 - 3)  # no more than are left
    resumed = run_small(stack, case, checkpoint=checkpoint)
    killed(-1)
    whole = whole_run(stack, case)
    assert all_but_times(resumed) == all_but_times(whole)
    assert len(resumed.curves["step_s"]) == 9
    assert resumed.timing["earlier_s"] > 0
    assert resumed.wall_s > resumed.timing["earlier_s"]
    assert "earlier_s" not in whole.timing


def test_nothing_is_kept_that_nobody_could_go_on_from(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "training"
    run_small(stack, ALEXNET, checkpoint=Checkpoint(path, "key", 0))
    keras_3 = hasattr(stack.keras, "random") and not stack.GRAPH
    assert path.exists() == resumes(stack, ALEXNET) == keras_3


@pytest.mark.parametrize("name", ["lenet5-float16", "resnet50-bfloat16"])
def test_mixed_precision_trains_with_variables_and_logits_of_32_bits(
    stack: Stack, name: str
) -> None:
    if not hasattr(stack.keras, "mixed_precision") or stack.GRAPH:
        pytest.skip("this Keras has no policies of precision: they came with TensorFlow 2.4")
    # PyTorch 2.13 on the CPU has no gradient of a float16 convolution of one channel
    case = Case(name, width=0.25, size_px=32, blocks=(1, 1, 1, 1))
    stack.seed(0)
    model = build(stack, case)
    step = stack.train_step(model, phases=case.phases, epsilon=case.epsilon)
    images = np.random.default_rng(0).random((8, 32, 32, 3), dtype=np.float32)
    losses = [step(images, np.arange(8), 0.01).loss for _ in range(4)]
    assert losses[-1] < losses[0]
    fed, *inner, logits = model.layers  # Keras 2 feeds in 32 bits, Keras 3 in 16
    assert {str(layer.compute_dtype) for layer in inner} == {name.rpartition("-")[2]}
    assert (type(fed).__name__, str(logits.compute_dtype)) == ("InputLayer", "float32")
    assert {str(np.asarray(one).dtype) for one in model.get_weights()} == {"float32"}
    statistics = [layer.moving_variance for layer in batch_norms(model)]
    assert {str(np.asarray(one).dtype) for one in statistics} <= {"float32"}
    assert stack.network(model).logits(images, training=False).dtype == np.float32
    scaled = hasattr(step.optimizer, "initial_scale")
    assert scaled == (name == "lenet5-float16")


def test_a_scaled_loss_is_told_unscaled_and_starts_anew_at_its_first_scale(stack: Stack) -> None:
    if not hasattr(stack.keras, "mixed_precision") or stack.GRAPH:
        pytest.skip("this Keras has no policies of precision: they came with TensorFlow 2.4")
    images = np.random.default_rng(0).random((8, 32, 32, 3), dtype=np.float32)
    found = []
    for name in ("lenet5", "lenet5-float16"):
        stack.seed(0)
        model = build(stack, Case(name, size_px=32))
        step = stack.train_step(model, phases=None, epsilon=0.0)
        before, state = model.get_weights(), step.state()
        losses = [step(images, np.arange(8), 0.01).loss for _ in range(3)]
        step.forget()
        zeros = [np.array_equal(one, other) for one, other in zip(step.state(), state)]
        assert all(zeros), zeros
        moved = [new - old for new, old in zip(model.get_weights(), before)]
        found.append((losses, np.concatenate([one.ravel() for one in moved])))
    (losses, moved), (half_losses, half_moved) = found
    np.testing.assert_allclose(half_losses, losses, rtol=1e-3)
    np.testing.assert_allclose(half_moved, moved, atol=0.1 * np.abs(moved).max())
