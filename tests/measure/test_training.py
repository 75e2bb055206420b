"""Tests of suite.measure.training: the schedule, the order of the batches and the clock."""

from __future__ import annotations

import io
import itertools
import math
import re
from collections.abc import Callable

import numpy as np
import pytest

from suite.data import Split, label_entropy
from suite.measure import training
from suite.measure.training import Batch, TimedStep, batches, in_words, learning_rate, timed, train
from suite.networks.types import Images, Labels
from suite.stacks.protocol import StepResult


@pytest.fixture
def numbered() -> Split:
    """Draw 20 images, each with its own number in every pixel, labelled 42 minus it."""
    numbers = np.arange(20)
    images = np.broadcast_to(numbers[:, None, None, None], (20, 2, 2, 3)).astype(np.uint8)
    return Split(images, 42 - numbers, np.full(20, -1), numbers.astype(str))


def shown(batch: Batch) -> list[int]:
    return np.rint(batch.images[:, 0, 0, 0] * 255).astype(int).tolist()


def order(split: Split, *, seed: int, epochs: int = 3) -> list[list[int]]:
    return [shown(batch) for batch in batches(split, batch_size=6, epochs=epochs, seed=seed)]


@pytest.mark.parametrize(
    ("step", "epoch", "rate"),
    [
        (0, 0, 0.001),
        (0, 9, 0.001),
        (0, 10, 0.0001),
        (0, 29, 0.00001),
        (10_000, 0, 0.001 / 1.01),
        (1_000_000, 10, 0.00005),
    ],
)
def test_the_rate_falls_tenfold_every_ten_epochs_and_decays_each_step(
    step: int, epoch: int, rate: float
) -> None:
    assert learning_rate(0.001, step=step, epoch=epoch) == pytest.approx(rate, rel=1e-12)


def test_every_epoch_shows_full_batches_of_images_at_most_once(numbered: Split) -> None:
    seen = order(numbered, seed=0)
    assert len(seen) == 9
    for epoch in (seen[:3], seen[3:6], seen[6:]):
        numbers = list(itertools.chain(*epoch))
        assert len(numbers) == len(set(numbers)) == 18


def test_labels_stay_with_their_images(numbered: Split) -> None:
    for batch in batches(numbered, batch_size=6, epochs=2, seed=1):
        assert batch.labels.tolist() == [42 - number for number in shown(batch)]
        assert batch.labels.dtype == np.int64


def test_steps_and_epochs_are_counted_over_the_whole_run(numbered: Split) -> None:
    places = [(b.step, b.epoch) for b in batches(numbered, batch_size=6, epochs=3, seed=0)]
    assert places == [(step, step // 3) for step in range(9)]


def test_batches_are_reshuffled_each_epoch_and_seeded(numbered: Split) -> None:
    seen = order(numbered, seed=0)
    assert seen == order(numbered, seed=0)
    assert seen != order(numbered, seed=1)
    assert seen[:3] != seen[3:6] != seen[6:]
    assert sorted(itertools.chain(*seen[:3])) != list(itertools.chain(*seen[:3]))


def test_batches_mix_the_whole_split(numbered: Split) -> None:
    spans = [max(numbers) - min(numbers) for numbers in order(numbered, seed=0)]
    assert np.mean(spans) > 10


def test_a_batch_larger_than_the_split_is_refused(numbered: Split) -> None:
    with pytest.raises(ValueError, match=r"batch_size must be at most 20, .* Received: 21"):
        next(batches(numbered, batch_size=21, epochs=1, seed=0))


def step_noting(rates: list[float]) -> Callable[[Images, Labels, float], StepResult]:
    def step(images: Images, labels: Labels, rate: float) -> StepResult:
        del images, labels
        rates.append(rate)
        return StepResult(1.5, 1.5, 0.5)

    return step


def test_each_step_gets_the_scheduled_rate_and_its_own_duration(
    numbered: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter([1.0, 1.25])
    monkeypatch.setattr(training, "clock_s", lambda: next(ticks))
    batch = next(batches(numbered, batch_size=6, epochs=1, seed=0))._replace(step=1000, epoch=10)
    rates: list[float] = []
    done = timed(step_noting(rates), batch, base_rate=0.01)
    assert done.step_s == 0.25
    assert done.result.loss == 1.5
    assert rates == [pytest.approx(0.001 / 1.001, rel=1e-9)]


def test_train_makes_every_step_in_order(numbered: Split) -> None:
    rates: list[float] = []
    source = batches(numbered, batch_size=6, epochs=11, seed=0)
    done = list(train(step_noting(rates), source, steps=33, base_rate=1.0, title="test"))
    assert len(done) == 33
    assert rates[:30] == [1 / (1 + 1e-6 * step) for step in range(30)]
    assert rates[30] == pytest.approx(0.1, rel=1e-3)


def test_the_step_time_is_the_median_after_the_warm_up() -> None:
    result = StepResult(1.0, 1.0, 0.0)
    done = [TimedStep(result, step_s) for step_s in (5.0, 3.0, 0.25, 0.5, 1.0)]
    assert training.step_timing(done, 8) == {"step_s": 0.5, "images_per_s": 16.0}


# What is shown meanwhile


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def falling(images: Images, labels: Labels, rate: float) -> StepResult:
    del images, labels, rate
    return StepResult(2.5, 2.25, 0.375, 2.75, 0.25)


def shown_on(
    screen: io.StringIO,
    split: Split,
    patch: pytest.MonkeyPatch,
    *,
    step_s: float,
    term: str = "xterm",
) -> str:
    """Train nine steps that take so many seconds each; return what was written."""
    ticks = itertools.count(0.0, step_s / 2)
    patch.setattr(training, "clock_s", lambda: next(ticks))
    patch.setattr("sys.__stderr__", screen)
    patch.setattr(training, "LIVE_S", 0.0)
    patch.setenv("TERM", term)
    source = batches(split, batch_size=6, epochs=3, seed=0)
    assert len([*train(falling, source, steps=9, base_rate=1.0, title="a case")]) == 9
    return screen.getvalue()


def test_a_terminal_has_one_live_line_which_is_gone_at_the_end(
    numbered: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown_on(Terminal(), numbered, monkeypatch, step_s=0.1)
    gain = label_entropy(numbered.labels) - 2.75
    words = rf"left, loss 2\.500, accuracy 38 %, gain {re.escape(f'{gain:+.2f}')} nats, a case"
    assert re.search(rf"\x1b\[K7/9, \d\d:\d\d {words}", text)
    assert "\n" not in text
    assert text.endswith("\r")
    assert not text.rstrip("\r").rpartition("\r")[2].strip()


@pytest.mark.parametrize(("screen", "term"), [(Terminal(), "dumb"), (io.StringIO(), "xterm")])
def test_elsewhere_a_sign_of_life_is_a_whole_line_now_and_then(
    screen: io.StringIO, term: str, numbered: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown_on(screen, numbered, monkeypatch, step_s=10.0, term=term)
    lines = text.splitlines()
    assert "\r" not in text
    assert "\x1b" not in text
    assert 1 <= len(lines) <= 4
    assert lines[0].startswith("3/9, 01:40 left, loss 2.500, accuracy 38 %, gain ")
    assert lines[0].endswith(" nats, a case")


def test_a_narrow_terminal_cuts_the_name(numbered: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "65")
    text = shown_on(Terminal(), numbered, monkeypatch, step_s=0.1)
    lines = [re.sub(r"\x1b\[\w+", "", line) for line in text.split("\r")]
    assert max(map(len, lines)) == 65
    assert any(line.endswith(" nats, a ca") for line in lines)


def test_short_cases_show_nothing_where_there_is_no_terminal(
    numbered: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown_on(io.StringIO(), numbered, monkeypatch, step_s=0.1) == ""


def test_the_gain_shown_is_that_of_the_adversarial_branch_if_there_is_one() -> None:
    plain, other = StepResult(1.0, 1.0, 0.5), StepResult(3.0, 2.0, 0.75)
    assert in_words([plain, other], 3.5) == "loss 2.000, accuracy 62 %, gain +2.00 nats"
    attacked = StepResult(2.0, 1.0, 0.5, 3.0, 0.25)
    assert in_words([attacked], 3.5) == "loss 2.000, accuracy 50 %, gain +0.50 nats"
    assert "gain +nan nats" in in_words([plain], math.nan)


def test_each_batch_knows_the_entropy_of_the_whole_split(numbered: Split) -> None:
    [found] = {b.entropy for b in batches(numbered, batch_size=6, epochs=2, seed=0)}
    assert found == pytest.approx(math.log(20))
