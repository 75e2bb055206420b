"""Tests of suite.measure.questions.dropout: each fault that is planted in a layer is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from suite.cases import Case
from suite.measure.questions import draws, dropout
from suite.measure.run import Run, subsets
from suite.records import Record
from suite.stacks.protocol import Stack
from tests.measure.conftest import SMALL, coloured, run_small
from tests.measure.questions.drawing import found, outside

if TYPE_CHECKING:
    from typing import TypeAlias

Plant: TypeAlias = "Callable[[Any], None]"

CASE = Case("alexnet", question="random", **{**SMALL, "width": 0.25, "batch_size": 27})
STEP_SPREADS = dropout.step_spreads
SPREADS = {"plain_step_spread": 0.1, "clean_step_spread": 0.1, "adversarial_step_spread": 0.0}


@pytest.fixture(scope="module", autouse=True)
def fewer_builds() -> Iterator[None]:
    """Build for the least number of seeds, and make no steps: they are tested apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draws, "BUILDS", 2)
        patch.setattr(dropout, "step_spreads", lambda *_: SPREADS)
        yield


@pytest.fixture(scope="module")
def sound(stack: Stack, fewer_builds: None) -> Record:
    """Draw the masks of a small network with nothing planted."""
    del fewer_builds
    return run_small(stack, CASE)


@pytest.fixture
def plant(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Give a function that puts a layer into the place of dropout."""
    return lambda layer: monkeypatch.setattr(stack.keras.layers, "Dropout", layer)


class Asked(NamedTuple):
    """What a dropout layer is asked to do, and how the real one would do it."""

    inputs: Any
    training: bool
    rate: float
    real: Any


def changed(stack: Stack, call: Callable[[Asked], Any]) -> Any:
    """Make a class of dropout that answers by `call`."""
    real = stack.keras.layers.Dropout

    class Dropout(real):  # type: ignore[misc, valid-type]
        def call(self, inputs: Any, training: bool = False) -> Any:
            return call(Asked(inputs, training, self.rate, super().call))

    return Dropout


def test_sound_dropout_lies_in_all_bands_and_agrees_with_another_seeds(
    stack: Stack, sound: Record
) -> None:
    other = run_small(stack, CASE, seed=1)
    assert not outside(sound)
    assert not outside(other)
    assert not found(sound, other)
    rows = [row for row in sound.statistics if row["quantity"] == "dropout"]
    assert [row["rate"] for row in rows] == [0.2, 0.2, 0.2, 0.5]
    assert [row["share"] for row in rows] == pytest.approx([0.2, 0.2, 0.2, 0.5], abs=0.02)
    assert [row["scale"] for row in rows] == pytest.approx([1.25, 1.25, 1.25, 2.0])
    assert min(row["draws"] for row in rows) > 5000


def test_another_rate_is_named(stack: Stack, sound: Record, plant: Plant) -> None:
    real = stack.keras.layers.Dropout
    plant(
        type("Dropout", (real,), {"__init__": lambda self, rate: real.__init__(self, 0.9 * rate)})
    )
    words = found(sound, run_small(stack, CASE))
    assert set(words) == {"dropout"}
    assert "multiplies what it keeps by 1.22 instead of 1.25 (and 3 more" in words["dropout"]
    assert "Dropout 4 drops 4" in words["dropout"]


def test_another_rate_than_the_layer_was_told_is_named(
    stack: Stack, sound: Record, plant: Plant
) -> None:
    def shy(asked: Asked) -> Any:
        ones = stack.keras.ops.ones_like(asked.inputs)
        kept = asked.real(ones, training=asked.training) > 0
        tenth = stack.keras.ops.cast(asked.inputs * 1e4, "int32") % 10 == 0
        scale = 1 / (1 - asked.rate) if asked.training else 1
        return stack.keras.ops.where(kept | tenth, asked.inputs * scale, 0.0)

    plant(changed(stack, shy))
    faulty = run_small(stack, CASE)
    assert "Dropout 4 drops 4" in found(sound, faulty)["dropout"]
    assert "dropout_rate_error" in outside(faulty)


def test_dropout_that_does_not_scale_is_named(stack: Stack, sound: Record, plant: Plant) -> None:
    def unscaled(asked: Asked) -> Any:
        share = 1 - asked.rate if asked.training else 1
        return asked.real(asked.inputs, training=asked.training) * share

    plant(changed(stack, unscaled))
    faulty = run_small(stack, CASE)
    assert "multiplies what it keeps by 1 instead of" in found(sound, faulty)["dropout"]
    assert outside(faulty) == {"dropout_scale_error"}


def test_dropout_in_the_inference_phase_is_named(stack: Stack, sound: Record, plant: Plant) -> None:
    plant(changed(stack, lambda asked: asked.real(asked.inputs, training=True)))
    faulty = run_small(stack, CASE)
    assert "changes its input in the inference phase" in found(sound, faulty)["dropout"]
    assert outside(faulty) == {"dropout_inference_change"}


def test_a_gradient_that_is_not_dropped_is_named(stack: Stack, sound: Record, plant: Plant) -> None:
    def unmasked(asked: Asked) -> Any:
        masked = asked.real(asked.inputs, training=asked.training)
        return asked.inputs + stack.keras.ops.stop_gradient(masked - asked.inputs)

    plant(changed(stack, unmasked))
    faulty = run_small(stack, CASE)
    words = (
        "does not drop or scale the gradient of 99.8 % of its units as it does their values (and 3"
    )
    assert words in found(sound, faulty)["dropout"]
    assert outside(faulty) == {"dropout_gradient_error"}
    assert sound.metrics["dropout_gradient_error"] == 0


def test_a_gradient_that_is_dropped_and_not_scaled_is_named(
    stack: Stack, sound: Record, plant: Plant
) -> None:
    def unscaled(asked: Asked) -> Any:
        keras = stack.keras
        real = keras.ops.stop_gradient(asked.real(asked.inputs, training=asked.training))
        own = asked.inputs * keras.ops.cast(real != 0, "float32")
        return real + own - keras.ops.stop_gradient(own)

    plant(changed(stack, unscaled))
    faulty = run_small(stack, CASE)
    words = "does not drop or scale the gradient of 80"
    assert words in found(sound, faulty)["dropout"]
    assert outside(faulty) == {"dropout_gradient_error"}


def test_masks_that_come_again_after_some_steps_are_seen() -> None:
    rng, shape = np.random.default_rng(0), (dropout.PASSES, 8, 50)
    ones = np.ones(shape, np.float32)

    def row(kept: np.ndarray) -> dropout.Dropped:
        return dropout.Dropped(ones, 2 * ones * kept, 0.0, 50, 0.5, "Dense")

    honest, other = (row(rng.random(shape) < 0.5) for _ in range(2))
    three = row(np.tile(rng.random((3, *shape[1:])) < 0.5, (dropout.PASSES // 3, 1, 1)))
    value, pairs = dict(dropout.independence(honest, other, 0.5))["steps"]
    assert abs(value) * np.sqrt(pairs) < 4
    value, pairs = dict(dropout.independence(three, other, 0.5))["steps"]
    assert (value, pairs) == (pytest.approx(1, abs=0.01), (dropout.PASSES - 3) * 8 * 50)


def test_masks_that_stay_or_come_again_after_hundreds_are_seen() -> None:
    honest = np.random.default_rng(0).random((dropout.DRAWN, 500)) < 0.2
    value, pairs = dropout.over_passes(honest)
    assert abs(value) * np.sqrt(pairs) < 4
    frozen, again = honest[np.minimum(np.arange(len(honest)), 255)], np.tile(honest[:256], (3, 1))
    assert dropout.over_passes(frozen)[0] == pytest.approx((600 - 256) / 599, abs=0.05)
    assert dropout.over_passes(again[: dropout.DRAWN]) == pytest.approx([1, 344 * 500], abs=0.01)


@pytest.mark.parametrize("shift", [0, 4])
def test_masks_that_go_on_with_the_numbers_of_the_step_before_are_seen(shift: int) -> None:
    rng = np.random.default_rng(0)
    inputs = np.maximum(rng.normal(size=(1, 2, 1500)), 0).repeat(12, axis=0).astype(np.float32)
    numbers = rng.random(12 * 3000)
    starts = shift * np.arange(12) if shift else 3000 * np.arange(12)
    kept = np.stack([numbers[start : start + 3000] for start in starts]).reshape(inputs.shape) > 0.2
    row = dropout.Dropped(inputs, inputs * kept / np.float32(0.8), 0.0, 1, 0.2, "Dense")
    entry = dropout.described("Dropout 1", row, row, dropout.Alone(0.0, [0.0, 1]))
    found = entry["repeat"]["correlation"]
    if shift:
        assert entry["repeat"]["lag"] == 3000 - shift
        assert found[0] > 0.9
    else:
        assert draws.deviations(found) < 5.5


def test_one_mask_for_all_steps_is_named(stack: Stack, sound: Record, plant: Plant) -> None:
    def fixed(asked: Asked) -> Any:
        if not asked.training:
            return asked.inputs
        seed = int(np.random.get_state()[1][0])  # that of the stack
        return stack.keras.random.dropout(asked.inputs, asked.rate, seed=seed)

    plant(changed(stack, fixed))
    faulty = run_small(stack, CASE)
    assert "over steps are alike: they correlate by 1" in found(sound, faulty)["dropout"]
    assert outside(faulty) == {"correlation_error"}


def test_one_mask_for_all_images_is_named(stack: Stack, sound: Record, plant: Plant) -> None:
    def alike(asked: Asked) -> Any:
        ones = stack.keras.ops.ones_like(asked.inputs[:1])
        return asked.inputs * asked.real(ones, training=asked.training)

    plant(changed(stack, alike))
    words = found(sound, run_small(stack, CASE))["dropout"]
    assert "over images are alike: they correlate by 1" in words


def test_whole_channels_that_are_dropped_are_named(
    stack: Stack, sound: Record, plant: Plant
) -> None:
    def spatial(asked: Asked) -> Any:
        if len(asked.inputs.shape) == 2:
            return asked.real(asked.inputs, training=asked.training)
        ones = stack.keras.ops.ones_like(asked.inputs[:, :1, :1])
        return asked.inputs * asked.real(ones, training=asked.training)

    plant(changed(stack, spatial))
    words = found(sound, run_small(stack, CASE))["dropout"]
    assert "over places are alike: they correlate by 1" in words


def test_dropout_that_does_nothing_is_named(stack: Stack, sound: Record, plant: Plant) -> None:
    plant(changed(stack, lambda asked: asked.inputs))
    faulty = run_small(stack, CASE)
    assert "drops 0.00 % of its units instead of" in found(sound, faulty)["dropout"]
    assert {"dropout_rate_error", "dropout_scale_error"} <= outside(faulty)


def test_layers_that_are_gone_are_named(sound: Record) -> None:
    rows = [row for row in sound.statistics if row.get("layer") != "Dropout 4"]
    words = found(sound, replace(sound, statistics=rows))["dropout"]
    assert words.startswith("Dropout 4 is missing")


def test_masks_that_no_seed_decides_are_named(stack: Stack, sound: Record, plant: Plant) -> None:
    tf = pytest.importorskip("tensorflow")

    def unseeded(asked: Asked) -> Any:
        if not asked.training:
            return asked.inputs
        shape = tf.shape(asked.inputs)
        drawn = tf.numpy_function(
            lambda *_: np.random.SeedSequence().generate_state(2), [shape], tf.uint32
        )
        seed = tf.ensure_shape(tf.bitcast(drawn, tf.int32), (2,))
        kept = tf.random.stateless_uniform(shape, seed) >= asked.rate
        return tf.where(kept, asked.inputs / (1 - asked.rate), 0.0)

    plant(changed(stack, unseeded))
    faulty = run_small(stack, CASE)
    assert "the same seed draws something else" in found(sound, faulty)["seeds"]
    assert outside(faulty) == {"dropout_seed_repeats"}


def spreads(stack: Stack, case: Case) -> dict[str, float]:
    """Measure how the losses of real steps vary."""
    return STEP_SPREADS(Run(case, 0, stack, *subsets(case, coloured(), seed=0), {}), 0)


def test_steps_vary_in_the_passes_where_dropout_is_at_work(stack: Stack, sound: Record) -> None:
    intended = spreads(stack, CASE)
    assert intended["plain_step_spread"] > 1e-4
    assert intended["clean_step_spread"] > 1e-4
    assert intended["adversarial_step_spread"] < 1e-6
    literal = spreads(stack, replace(CASE, loss="literal"))
    assert literal["plain_step_spread"] == pytest.approx(intended["plain_step_spread"])
    assert literal["clean_step_spread"] < 1e-6
    rows = [*sound.statistics[:-1], {**sound.statistics[-1], **literal}]
    words = found(sound, replace(sound, statistics=rows))["dropout"]
    assert words == "dropout is not at work in the clean pass of the adversarial loss."


def test_dropout_in_all_phases_makes_the_adversarial_pass_vary(stack: Stack, plant: Plant) -> None:
    plant(changed(stack, lambda asked: asked.real(asked.inputs, training=True)))
    assert spreads(stack, CASE)["adversarial_step_spread"] > 1e-4


def test_a_network_without_dropout_has_no_numbers_of_it(stack: Stack) -> None:
    case = replace(CASE, architecture="lenet5")
    run = Run(case, 0, stack, *subsets(case, coloured(), seed=0), {})
    assert dropout.dropout(run, [0, 1]) == dropout.Found({}, [])
