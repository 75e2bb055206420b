import math

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from suite.judge.gate.sequential import (
    Plan,
    crossing,
    holm,
    nominal_level,
    p_value,
    quantile,
)

EVEN = [(2, 2.178), (3, 2.289), (4, 2.361), (5, 2.413), (10, 2.555)]
"""Pocock's bounds for a level of 0.05 and equal steps (Jennison and Turnbull, 2000, table 2.1)."""


@pytest.mark.parametrize(("count", "bound"), EVEN)
def test_the_nominal_level_is_that_of_pocock_s_bounds(count: int, bound: float) -> None:
    looks = tuple(7 * number for number in range(1, count + 1))
    assert norm.isf(nominal_level(looks, 0.05) / 2) == pytest.approx(bound, abs=6e-4)


@pytest.mark.parametrize("looks", [(5, 10, 20), (5, 6, 30), (3, 5, 10, 20)])
def test_the_chance_to_cross_is_the_multivariate_normal_integral(looks: tuple[int, ...]) -> None:
    seeds = np.array(looks)
    smaller, larger = np.minimum.outer(seeds, seeds), np.maximum.outer(seeds, seeds)
    bound = np.full(len(looks), 2.0)
    law = multivariate_normal(cov=np.sqrt(smaller / larger), seed=0)
    expected = 1 - law.cdf(bound, lower_limit=-bound)
    assert crossing(looks, 2 * norm.sf(2.0)) == pytest.approx(expected, abs=1e-4)


def test_all_looks_together_have_the_level() -> None:
    plan = Plan(looks=(4, 9, 30), level=0.02)
    assert plan.repeated(plan.nominal) == pytest.approx(0.02, abs=1e-9)
    assert plan.nominal < 0.02


def test_one_look_needs_no_correction() -> None:
    assert Plan(looks=(5,), level=0.03).nominal == 0.03
    assert Plan(looks=(5,)).repeated(0.01) == pytest.approx(0.01)


@pytest.mark.parametrize("p", [1e-3, 1e-6, 1e-9, 1e-14, 1e-20, 1e-200])
def test_a_tiny_p_value_is_corrected_by_no_more_than_the_number_of_looks(p: float) -> None:
    corrected = Plan().repeated(p)
    assert 2 * p < corrected <= 3 * p


def test_a_corrected_p_value_stays_a_chance() -> None:
    assert Plan().repeated(1.0) == 1.0
    assert Plan().repeated(0.0) == 0.0
    values = [Plan().repeated(p) for p in (1e-9, 1e-4, 0.02, 0.3, 0.9, 0.999)]
    assert values == sorted(values)
    assert values[-1] <= 1


def test_a_plan_names_its_looks() -> None:
    plan = Plan(looks=(5, 10, 20))
    assert (plan.first, plan.last) == (5, 20)
    assert [plan.next_look(seeds) for seeds in (1, 5, 6, 11, 20, 31)] == [5, 5, 10, 20, 20, 31]


@pytest.mark.parametrize("looks", [(), (1, 5), (5, 5), (10, 5)])
def test_looks_that_do_not_ascend_are_refused(looks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"looks must ascend from at least 2 seeds\. Received: "):
        Plan(looks=looks)


@pytest.mark.parametrize("name", ["level", "power"])
@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, math.nan])
def test_a_chance_outside_its_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be in \(0, 1\)\. Received: "):
        Plan(**{name: value})


def test_quantile_and_p_value_are_inverse() -> None:
    assert quantile(0.05, 8) == pytest.approx(2.306, abs=1e-3)
    assert p_value(-quantile(0.03, 5.5) * 0.2, 0.2, 5.5) == pytest.approx(0.03)


def test_without_an_error_only_no_difference_is_no_surprise() -> None:
    assert p_value(0.0, 0.0, 8) == 1
    assert p_value(1e-9, 0.0, 8) == 0


def test_holm_multiplies_by_what_is_left_and_keeps_the_order() -> None:
    assert holm([0.04, 0.01, 0.03, 0.6]) == pytest.approx([0.09, 0.04, 0.09, 0.6])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
