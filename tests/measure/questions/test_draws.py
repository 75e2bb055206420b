"""Tests of suite.measure.questions.draws: what is sound passes, and each planted fault is named."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from suite.cases import Case
from suite.measure.questions import draws
from suite.records import Record
from suite.stacks.protocol import Stack
from tests.measure.conftest import SMALL, run_small
from tests.measure.questions.drawing import found, outside, own_bands

if TYPE_CHECKING:
    from typing import TypeAlias

Plant: TypeAlias = "Callable[..., Any]"

WEIGHTS = Case("lenet5", question="random", **{**SMALL, "width": 0.5})
BUILDS = 4
LAYERS = 5  # of LeNet-5 that draw


@pytest.fixture(scope="module", autouse=True)
def fewer_builds() -> Iterator[None]:
    """Build each network less often: it is what takes the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draws, "BUILDS", BUILDS)
        yield


@pytest.fixture(scope="module")
def sound(stack: Stack, fewer_builds: None) -> Record:
    """Draw the weights of a small network with nothing planted."""
    del fewer_builds
    return run_small(stack, WEIGHTS)


@pytest.fixture
def plant(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Give a function that gives every layer of two kinds other arguments."""

    def planted(**arguments: Callable[[], Any]) -> None:
        for kind in ("Conv2D", "Dense"):
            real = getattr(stack.keras.layers, kind)

            def made(*args: Any, real: Any = real, **own: Any) -> Any:
                return real(*args, **own, **{name: made() for name, made in arguments.items()})

            monkeypatch.setattr(stack.keras.layers, kind, made)

    return planted


def test_sound_draws_lie_in_all_bands_and_agree_with_another_seeds(
    stack: Stack, sound: Record
) -> None:
    other = run_small(stack, WEIGHTS, seed=1)
    assert {"scale_error", "reach", "seed_repeats"} <= set(own_bands(sound))
    assert not outside(sound)
    assert not outside(other)
    assert not found(sound, other)
    [mine, theirs] = (record.statistics[0] for record in (sound, other))
    assert not set(mine["digests"]) & set(theirs["digests"])


def test_every_weight_is_described_once(sound: Record) -> None:
    rows = [row for row in sound.statistics if row["quantity"] in ("drawn", "constant")]
    names = [(row["layer"], row["weight"]) for row in rows]
    assert len(names) == len(set(names)) == 10
    assert sum(row["draws"] for row in rows) == BUILDS * sound.metrics["parameters"]
    assert {row["value"] for row in rows if row["quantity"] == "constant"} == {0.0}
    for row in rows:
        if row["quantity"] == "drawn":
            assert sum(row["counts"]) == row["draws"]
            assert row["kurtosis"] == pytest.approx(1.8, abs=0.15)


def test_an_initialiser_of_the_other_fan_is_named(
    stack: Stack, sound: Record, plant: Plant
) -> None:
    scaling = stack.keras.initializers.VarianceScaling
    plant(kernel_initializer=lambda: scaling(1.0, mode="fan_out", distribution="uniform"))
    faulty = run_small(stack, WEIGHTS)
    words = found(sound, faulty)
    assert set(words) == {"initial weights"}
    assert "It looks uniform, variance 1 / fan_out" in words["initial weights"]
    assert "baseline's looks uniform, variance 2 / (fan_in + fan_out)" in words["initial weights"]
    assert {"scale_error", "reach"} <= outside(faulty)


def test_a_normal_distribution_of_the_same_scale_is_named(
    stack: Stack, sound: Record, plant: Plant
) -> None:
    plant(kernel_initializer=stack.keras.initializers.GlorotNormal)
    faulty = run_small(stack, WEIGHTS)
    words = found(sound, faulty)
    assert "is truncated normal instead of uniform" in words["initial weights"]
    assert outside(faulty) == {"reach"}


def test_an_initialiser_of_a_fixed_scale_is_named(
    stack: Stack, sound: Record, plant: Plant
) -> None:
    plant(kernel_initializer=stack.keras.initializers.RandomNormal)
    words = found(sound, run_small(stack, WEIGHTS))
    assert "looks normal, standard deviation 0.05, whatever the fan" in words["initial weights"]


def test_a_bias_that_begins_elsewhere_is_named(stack: Stack, sound: Record, plant: Plant) -> None:
    plant(bias_initializer=stack.keras.initializers.Ones)
    faulty = run_small(stack, WEIGHTS)
    assert "bias of Conv2D 1 begins at 1 instead of 0" in found(sound, faulty)["initial weights"]
    assert outside(faulty) == {"constant_error"}


def test_a_bias_that_is_drawn_is_named(stack: Stack, sound: Record, plant: Plant) -> None:
    plant(bias_initializer=stack.keras.initializers.RandomUniform)
    words = found(sound, run_small(stack, WEIGHTS))["initial weights"]
    assert "bias of Conv2D 1 is drawn instead of constant" in words


@pytest.mark.parametrize("step", [0, 1], ids=["of one seed", "of the seed before"])
def test_layers_that_draw_what_another_draws_are_alike(
    stack: Stack, sound: Record, plant: Plant, step: int
) -> None:
    uniform, layer = stack.keras.initializers.GlorotUniform, itertools.count()

    def added() -> Any:
        return uniform(seed=int(np.random.get_state()[1][0]) + step * (next(layer) % LAYERS))

    plant(kernel_initializer=added)
    faulty = run_small(stack, WEIGHTS)
    words = found(sound, faulty)
    assert set(words) == {"initial weights"}
    assert "are alike: they correlate by 1" in words["initial weights"]
    assert outside(faulty) == {"correlation_error"}


def test_draws_that_repeat_within_a_weight_are_named(
    stack: Stack, sound: Record, plant: Plant
) -> None:
    initializers = stack.keras.initializers

    class Halves(initializers.GlorotUniform):  # type: ignore[misc, name-defined]
        def __call__(self, shape: Any, dtype: Any = None) -> Any:
            drawn = np.asarray(super().__call__(shape, dtype=dtype)).ravel()
            half = drawn[: (drawn.size + 1) // 2]
            return np.concatenate([half, half])[: drawn.size].reshape(shape)

    plant(kernel_initializer=Halves)
    words = found(sound, run_small(stack, WEIGHTS))["initial weights"]
    assert re.search(r"the draws of kernel of \w+ \d repeat after \d+ elements", words)


def test_the_lag_of_a_repetition_is_found_and_chance_is_none() -> None:
    rng = np.random.default_rng(0)
    honest = rng.uniform(-1, 1, (BUILDS, 2000))
    apart = draws.repeat(honest)
    assert apart["lags"] == 1499
    assert draws.deviations(apart["correlation"]) < 4.5
    repeated = np.tile(honest[:, :700], (1, 3))[:, :2000]
    again = draws.repeat(repeated)
    assert again["lag"] == 700
    assert again["correlation"] == [pytest.approx(1, abs=0.1), BUILDS * 1300]


@pytest.mark.parametrize("shifted", ["layer", "seed", "nothing"])
def test_a_stream_that_another_layer_or_seed_goes_on_with_is_seen(shifted: str) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.uniform(-1, 1, (2, BUILDS, 6000))
    if shifted == "layer":
        second[:, :-4] = first[:, 4:]
    elif shifted == "seed":
        first[1, :-4] = first[0, 4:]
    weights = {("a", "kernel"): first, ("b", "kernel"): 3 * second[:, :5000]}
    [entry] = draws.between_layers(weights)
    found = entry["repeat"]["correlation"]
    if shifted == "nothing":
        assert draws.deviations(found) < 5.5
    else:
        assert entry["repeat"]["lag"] == {"layer": 5996, "seed": 10996}[shifted]
        assert found[0] > 0.3


def test_filters_that_are_copies_are_alike(stack: Stack, sound: Record, plant: Plant) -> None:
    initializers = stack.keras.initializers

    class Copies(initializers.GlorotUniform):  # type: ignore[misc, name-defined]
        def __call__(self, shape: Any, dtype: Any = None) -> Any:
            drawn = super().__call__(shape, dtype=dtype)
            return drawn[..., :1] + 0 * drawn

    plant(kernel_initializer=Copies)
    words = found(sound, run_small(stack, WEIGHTS))["initial weights"]
    assert "filters of kernel of" in words
    assert "are alike" in words


def test_a_seed_that_is_ignored_is_named(
    stack: Stack, sound: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = stack.seed
    monkeypatch.setattr(stack, "seed", lambda seed: real(0 * seed))
    faulty = run_small(stack, WEIGHTS)
    assert "the seed is ignored" in found(sound, faulty)["seeds"]
    assert outside(faulty) == {"seeds_differ", "correlation_error"}


def test_a_seed_that_does_not_repeat_is_named(
    stack: Stack, sound: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = stack.seed, itertools.count()
    monkeypatch.setattr(stack, "seed", lambda seed: real(seed + 1000 * next(count)))
    faulty = run_small(stack, WEIGHTS)
    assert found(sound, faulty) == {"seeds": "the same seed draws something else the second time."}
    assert outside(faulty) == {"seed_repeats"}


def test_weights_that_are_not_finite_are_named(stack: Stack, sound: Record, plant: Plant) -> None:
    plant(kernel_initializer=lambda: stack.keras.initializers.Constant(np.nan))
    faulty = run_small(stack, WEIGHTS)
    assert faulty.metrics["all_finite"] == 0
    assert "is not finite instead of drawn" in found(sound, faulty)["initial weights"]


def test_no_two_runs_share_a_seed() -> None:
    seeds = [seed for run in range(50) for seed in draws.seeds_of(run)]
    assert len(set(seeds)) == 50 * BUILDS
    assert max(draws.seeds_of(999_999_999)) < draws.SEEDS


def test_fans_are_those_of_keras(stack: Stack) -> None:
    for shape in ((3, 3, 4, 8), (20, 7)):
        drawn = stack.keras.initializers.VarianceScaling(1.0, "fan_out", "uniform", seed=0)(shape)
        reach = np.sqrt(3 / draws.fans(shape)[1])
        assert 0.9 * reach < np.max(np.abs(np.asarray(drawn))) <= reach
    assert draws.fans((5,)) == (5, 5)


def test_bins_count_the_edges_within_and_what_is_beyond_at_the_ends() -> None:
    counts = draws.binned(np.array([-1.0, 1.0, 1.0 + 1e-7, -50.0, 50.0, 0.01]))
    inner = draws.BINS // 4
    assert counts[inner] == 1
    assert counts[-inner - 1] == 2
    assert (counts[0], counts[-1], sum(counts)) == (1, 1, 6)


def test_a_correlation_is_that_of_numpy_about_zero() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=500)
    other = 0.6 * one + 0.8 * rng.normal(size=500)
    value, pairs = draws.correlation(one, other)
    assert pairs == 500
    assert value == pytest.approx(np.corrcoef(one, other)[0, 1], abs=0.01)
    assert draws.correlation(one, np.zeros(500)) == [0.0, 500]
    assert draws.deviations([0.5, 400]) == 10
