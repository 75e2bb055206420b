"""Tests of suite.measure.questions.step_time: medians without the warm-up, and memory."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from suite.cases import Case
from suite.measure import training
from suite.measure.questions import step_time
from suite.records import Record
from suite.stacks.protocol import Stack
from tests.measure.conftest import SMALL, run_small


def pedantic(
    function: Callable[..., Any], *, setup: Any, rounds: int, iterations: int, warmup_rounds: int
) -> None:
    """Do what pytest-benchmark's own does, without its clock."""
    assert iterations == 1
    for _ in range(warmup_rounds + rounds):
        args, kwargs = setup()
        function(*args, **kwargs)


def timed_case(stack: Stack, **more: Any) -> Record:
    settings = {**SMALL, "train_images": 7 * 8, "epochs": 1}
    case = Case("lenet5", question="step-time", **settings)
    return run_small(stack, case, **more)


def test_step_times_are_the_medians_without_the_warm_up(stack: Stack) -> None:
    record = timed_case(stack, pedantic=pedantic)
    for loss in ("plain", "adversarial"):
        times_s = record.curves[f"{loss}_step_s"]
        assert len(times_s) == 7 - training.WARMUP_STEPS
        assert record.metrics[f"{loss}_step_s"] == statistics.median(times_s)
        rate = record.metrics[f"{loss}_images_per_s"]
        assert rate == pytest.approx(8 / statistics.median(times_s))
        assert record.metrics[f"{loss}_compile_s"] > 0
    ratio = record.metrics["adversarial_step_s"] / record.metrics["plain_step_s"]
    assert record.metrics["adversarial_plain_ratio"] == pytest.approx(ratio)
    assert record.metrics["peak_memory_bytes"] >= 0


@pytest.mark.benchmark(warmup=False)
def test_pytest_benchmarks_own_pedantic_times_the_adversarial_step(
    stack: Stack, benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "disabled", False)  # it is where tests run in parallel
    record = timed_case(stack, pedantic=benchmark.pedantic)
    assert len(record.curves["adversarial_step_s"]) == 7 - training.WARMUP_STEPS
    assert np.isfinite(record.metrics["last_loss"])


def test_a_round_more_than_asked_for_counts_for_nothing(stack: Stack) -> None:
    def one_more(function: Callable[..., Any], *, setup: Any, rounds: int, **more: Any) -> None:
        pedantic(function, setup=setup, rounds=rounds + 1, **more)

    record = timed_case(stack, pedantic=one_more)
    expected = timed_case(stack, pedantic=pedantic)
    assert len(record.curves["plain_step_s"]) == 7 - training.WARMUP_STEPS
    assert len(record.curves["adversarial_step_s"]) == 7 - training.WARMUP_STEPS
    assert record.metrics["last_loss"] == expected.metrics["last_loss"]


def test_a_timer_that_leaves_rounds_out_is_refused(stack: Stack) -> None:
    def one_round(function: Callable[..., Any], *, setup: Any, **_: Any) -> None:
        args, kwargs = setup()
        function(*args, **kwargs)

    with pytest.raises(ValueError, match=r"^pedantic must make 7 rounds.* timer that made 1;"):
        timed_case(stack, pedantic=one_round)


def test_memory_that_is_taken_is_measured_though_it_is_given_back(stack: Stack) -> None:
    taken = step_time.memory_meter(stack)
    before = taken()["peak_memory_bytes"]
    np.ones(2**24)  # 128 MiB
    assert taken()["peak_memory_bytes"] - before > 2**26


def test_a_case_without_a_timer_is_refused_before_anything_is_built(stack: Stack) -> None:
    with pytest.raises(ValueError, match=r"^pedantic must be pytest-benchmark's .* Received: None"):
        timed_case(stack)
