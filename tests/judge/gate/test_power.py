from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from suite.judge.gate.interval import CERTAIN, admitted
from suite.judge.gate.power import (
    FAMILY,
    HEADINGS,
    SETTINGS,
    Law,
    Rates,
    detectable,
    draw,
    simulate,
    table,
)
from suite.judge.gate.sequential import Plan

DOCS = Path(__file__).parents[3] / "docs" / "gate.md"
PLAN = Plan()
NEVER = 1e-9  # a margin at which nothing is ever no worse
TAILED = {"mean": 0.774, "deviation": 0.029, "depth": 0.244}  # AlexNet's plain loss, accuracy


def null(before: Law, after: Law, **changes: object) -> Rates:
    return simulate(PLAN, before, after, **{"margin": NEVER, "runs": 4000, **changes})


@pytest.mark.parametrize(
    ("after", "changes"),
    [
        (Law(), {}),
        (Law(), {"together": 0.5}),
        (Law(), {"together": 0.95}),
        (Law(deviation=3.0), {}),
        (Law(), {"stored": 5}),
        (Law(), {"stored": 10, "together": 0.9}),
        (Law(deviation=3.0), {"stored": 5}),
    ],
)
def test_repeated_intervals_keep_their_level(after: Law, changes: dict[str, object]) -> None:
    rates = null(Law(), after, **changes)
    assert 0.025 < rates.missed < 0.065


def test_looking_three_times_without_a_correction_would_not() -> None:
    naive = Plan(looks=(5, 10, 20), level=0.115)  # a nominal level of 0.05 at each look
    assert naive.nominal == pytest.approx(0.05, abs=0.002)
    assert simulate(naive, Law(), Law(), margin=NEVER, runs=4000).missed > 0.09


@pytest.mark.parametrize("tail", [0.1, 0.15, 0.2])
def test_a_tail_on_both_sides_gives_no_false_alarm(tail: float) -> None:
    law = Law(tail=tail, **TAILED)
    assert null(law, law).worse < 0.03
    assert null(law, law, stored=5).worse < 0.05
    assert null(law, law, family=40).worse < 0.002


def test_a_tail_that_the_candidate_alone_has_is_missed_too_often() -> None:
    """The known weakness: a tail that no seed shows is called no worse, six times too often."""
    tail = Law(tail=0.1, **TAILED)
    rates = simulate(PLAN, Law(0.774, 0.029), tail, margin=0.0244, runs=4000)
    assert 0.1 < rates.no_worse < 0.2


def test_what_is_worse_by_the_margin_is_seldom_called_no_worse() -> None:
    rates = simulate(PLAN, Law(), Law(-1.0), margin=1.0, runs=4000)
    assert 0.015 < rates.no_worse < 0.035


def test_the_detectable_effect_is_found_with_the_power() -> None:
    single = Plan(looks=(20,))
    effect = detectable(single, 1.0, family=10, together=0.4)
    rates = simulate(single, Law(), Law(-effect), margin=NEVER, family=10, together=0.4, runs=4000)
    assert rates.worse == pytest.approx(0.8, abs=0.03)
    assert detectable(single, 1.0, seeds=10) > detectable(single, 1.0, seeds=20)


def test_a_clear_case_ends_at_the_first_look() -> None:
    fine = simulate(PLAN, Law(), Law(), margin=20.0, runs=200)
    assert (fine.no_worse, fine.seeds) == (1.0, 5.0)
    bad = simulate(PLAN, Law(), Law(-500.0), margin=20.0, family=2, runs=200)
    assert (bad.worse, bad.seeds) == (1.0, 5.0)


def test_a_few_stored_seeds_decide_less_than_as_many_as_the_candidate_has() -> None:
    shares = [
        simulate(PLAN, Law(), Law(), margin=2.0, stored=stored, runs=500).no_worse
        for stored in (5, 10, None)
    ]
    assert shares == sorted(shares)
    assert shares[0] < 0.9
    assert shares[1] > 0.97


def test_every_run_has_one_end() -> None:
    rates = simulate(PLAN, Law(), Law(-1.5), margin=1.0, runs=500)
    assert rates.worse + rates.no_worse + rates.undecided == pytest.approx(1.0)
    assert min(rates[:3]) > 0


def test_draws_have_the_law_that_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    law = Law(mean=3.0, deviation=2.0, tail=0.25, depth=40.0)
    before, after = draw(rng, Law(), law, together=0.6, shape=(200, 500))
    assert np.mean(after) == pytest.approx(law.expected, abs=0.2)
    assert np.mean(after < -20) == pytest.approx(0.25, abs=0.01)
    normal = after > -20
    assert np.corrcoef(before[normal], after[normal])[0, 1] == pytest.approx(0.6, abs=0.01)


def cells(lines: list[str]) -> dict[str, list[float]]:
    """Read the rows of a table in Markdown: by their titles, the numbers."""
    rows = [line.strip("| ").split(" | ") for line in lines]
    return {title: [float(cell.rstrip(" %")) for cell in row] for title, *row in rows}


def test_the_table_of_the_documentation_is_what_the_simulation_gives() -> None:
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    start = lines.index(f"| {' | '.join(HEADINGS)} |") + 2
    shown = cells(lines[start : start + len(SETTINGS)])
    simulated = cells(table(PLAN)[2:])
    assert list(shown) == list(simulated) == [row.title for row in SETTINGS]
    for title, numbers in simulated.items():
        assert shown[title] == pytest.approx(numbers, abs=0.5), title


def test_the_limits_of_the_documentation_are_those_of_the_plan() -> None:
    text = " ".join(DOCS.read_text(encoding="utf-8").split())
    assert f"the same nominal level, {PLAN.nominal:.3f}, so that" in text
    plan = replace(PLAN, power=CERTAIN)
    values = 0.40 * np.array([-1, -1, 1, 1, 0])  # a standard deviation of 0.40 margins
    assert "a standard deviation below 0.40 margins of five seeds" in text
    assert admitted(values * 0.98, margin=1.0, plan=plan)
    assert not admitted(values * 1.03, margin=1.0, plan=plan)
    sizes = [f"{detectable(PLAN, 1.0, family=FAMILY, seeds=seeds):.1f}" for seeds in (5, 10, 20)]
    assert f"{sizes[0]} standard deviations of five seeds" in text
    assert f" {sizes[1]} (" in text
    assert f" {sizes[2]} (" in text
