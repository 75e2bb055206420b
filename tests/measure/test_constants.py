"""Tests of what BatchNorm and the optimizers are seen to compute with where they stand alone."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from suite.cases import Case
from suite.measure import constants
from suite.measure.weights import build
from suite.stacks.shared import OPTIMIZERS
from tests import by_hand
from tests.measure.conftest import SMALL

if TYPE_CHECKING:
    from suite.stacks.protocol import Stack

NEAR = 2e-5  # of a change; seen: 9e-6; AMSGrad's are up to 0.03 off
ROUNDING = 2.4e-7  # of the weight that is moved, in float32


UNCORRECTED = {"sgd": 1.0, "adam": (1 - 0.9**62) / np.sqrt(1 - 0.999**62)}
"""How many times as far a step goes whose optimizer has counted 127,999, not 61."""


def moved_by_hand(name: str) -> Iterator[float]:
    """Yield how far each step of the probe moves its weight, by the optimizer's formula.

    The late step is the last one.
    """
    kernel, update = np.zeros((1, 2)), by_hand.OPTIMIZERS[name]()
    calm = [constants.CALM] * constants.CALM_STEPS
    for place, value in enumerate((constants.LOUD, *calm, constants.CALM)):
        kernel *= place <= len(calm)
        found = by_hand.linear(kernel, np.full((1, 1), value), np.zeros(1, np.int64))
        change = update(found.to_weights[0], constants.RATES[name])
        kernel = kernel + change
        yield float(change[0, 0])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_alone_follows_its_formula_and_obeys_its_setter(
    stack: Stack, name: str
) -> None:
    stack.seed(0)
    found, (*by_formula, late) = constants.optimizer(stack, name), moved_by_hand(name)
    expected = [by_formula[0], by_formula[1], sum(by_formula[2:-1]), by_formula[-1]]
    rounding = ROUNDING * sum(expected)
    if not stack.GRAPH:
        assert found["late"] == pytest.approx(late * UNCORRECTED[name], rel=1e-3)
    np.testing.assert_allclose(found["moved"], expected, rtol=NEAR, atol=rounding)
    assert found["rate"] == (None if stack.GRAPH else constants.SET)


@pytest.mark.parametrize(
    ("name", "settings"), [("sgd", {"clipnorm": 10.0}), ("adam", {"amsgrad": True})]
)
def test_a_clip_above_all_gradients_and_another_memory_are_seen(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, name: str, settings: dict[str, Any]
) -> None:
    stack.seed(0)
    honest = constants.optimizer(stack, name)["moved"]
    made = {"sgd": {"momentum": 0.9, "nesterov": True}, "adam": {}}[name]
    kind = getattr(stack.keras.optimizers, name.upper() if name == "sgd" else name.title())
    monkeypatch.setitem(OPTIMIZERS, name, lambda _: kind(learning_rate=0.0, **made, **settings))
    faulty = constants.optimizer(stack, name)["moved"]
    assert max(abs(np.divide(faulty, honest) - 1)) > 0.02  # 100 times what is allowed


def test_the_late_step_is_one_at_which_something_is_done_once_in_many() -> None:
    assert [(constants.LATE + 1) % every for every in (100, 256, 500, 512, 1000, 1024)] == [0] * 6


def test_a_rate_that_decays_with_the_steps_is_seen_late(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stack.GRAPH:
        pytest.skip("nobody tells an optimizer of TensorFlow 1 how many steps it made")
    stack.seed(0)
    honest = constants.optimizer(stack, "sgd")
    real = stack.train_step

    def decaying(*arguments: Any, **named: Any) -> Any:
        step = real(*arguments, **named)

        def slower(images: Any, labels: Any, rate: float) -> Any:
            return step(images, labels, rate / (1 + 1e-6 * int(step.optimizer.iterations)))

        return step._replace(update=slower)

    monkeypatch.setattr(stack, "train_step", decaying)
    faulty = constants.optimizer(stack, "sgd")
    np.testing.assert_allclose(faulty["moved"], honest["moved"], rtol=1e-4)
    assert abs(faulty["late"] / honest["late"] - 1) > 0.02


@pytest.mark.parametrize("given", [(0.99, 1e-3), (0.9, 1.001e-5)])
def test_what_batch_norm_computes_with_is_asked_of_itself(
    stack: Stack, given: tuple[float, float]
) -> None:
    momentum, epsilon = given
    layer = stack.keras.layers.BatchNormalization(momentum=momentum, epsilon=epsilon)
    found = constants.batch_norm(stack, layer)
    assert found["observed_momentum"] == pytest.approx(momentum, rel=1e-6)
    assert found["observed_epsilon"] == pytest.approx(epsilon, rel=1e-5)
    assert found["observed_training_epsilon"] == pytest.approx(epsilon, rel=1e-4)
    assert found["observed_correction"] == pytest.approx(by_hand.ddof(stack), abs=1e-3)


def test_every_class_of_batch_norm_gives_its_constants(stack: Stack) -> None:
    class Renamed(stack.keras.layers.BatchNormalization):  # type: ignore[misc]  # an argument
        pass

    stack.seed(0)
    layers, inputs = stack.keras.layers, stack.keras.Input((8, 8, 3))
    x = layers.BatchNormalization(name="usual")(inputs)
    model = stack.keras.Model(inputs, Renamed(name="other", momentum=0.8)(x))
    found = list(constants.batch_norms(stack, model))
    assert [entry["layer"] for entry in found] == ["usual", "other"]
    assert found[1]["observed_momentum"] == pytest.approx(0.8, rel=1e-5)


def test_a_batch_norm_that_never_moves_has_constants_all_the_same(stack: Stack) -> None:
    layer = stack.keras.layers.BatchNormalization(momentum=1.0)
    found = constants.batch_norm(stack, layer)
    assert found["observed_momentum"] == 1
    assert np.isnan(found["observed_correction"])


def test_an_attack_of_several_steps_starts_at_random_and_ends_at_its_bound(stack: Stack) -> None:
    stack.seed(0)
    found = constants.several_steps(stack)
    assert found["start"] == pytest.approx(1 / np.sqrt(3), abs=0.01)
    assert found["again"] is False
    assert [found["least"], found["largest"], found["two"]] == pytest.approx([1, 1, 1], abs=1e-5)
    assert found["stride"] == pytest.approx(2.5 / constants.SEVERAL, rel=2e-3)
    assert found["alike"] == pytest.approx(0, abs=0.03)
    assert found["outside"] == 0


@pytest.mark.parametrize(("longer", "shown", "expected"), [(5.0, "stride", 0.5), (2.5, "two", 0)])
def test_steps_of_another_length_are_seen(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, longer: float, shown: str, expected: float
) -> None:
    monkeypatch.setattr(
        stack, "step_size", lambda epsilon, steps: epsilon * min(0.5, longer / steps)
    )
    stack.seed(0)
    assert constants.several_steps(stack)[shown] == pytest.approx(expected, abs=2e-3)


def test_a_clip_that_is_left_out_and_a_start_that_is_shared_are_seen(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = stack.network

    def faulty(model: Any) -> Any:
        network = real(model)

        def craft(images: np.ndarray, **options: Any) -> np.ndarray:
            grey = np.full_like(images, 0.5)
            return images + (network.craft(grey, **options) - grey)[:1]

        return SimpleNamespace(craft=craft)

    monkeypatch.setattr(stack, "network", faulty)
    stack.seed(0)
    found = constants.several_steps(stack)
    assert [found["alike"], found["outside"]] == pytest.approx([1, 1], abs=1e-5)


def test_pretrained_weights_and_their_pixels_arrive_as_they_are(stack: Stack) -> None:
    stack.seed(0)
    found = constants.start(stack, build(stack, Case("resnet50", **{**SMALL, "width": 0.125})))
    blue_green_red = np.array([103.939, 116.779, 123.68])
    expected = [255 * np.eye(4, 3, k=-1)[place][::-1] - blue_green_red for place in range(4)]
    np.testing.assert_allclose(np.reshape(found["colours"], (4, 3)), expected, atol=1e-3)
    assert found["lost"] == 0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_loss_of_an_image_that_is_wrong_for_sure_is_whole(stack: Stack, name: str) -> None:
    assert constants.optimizer(stack, name)["sure"] == pytest.approx(1, abs=1e-6)
