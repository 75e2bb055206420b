"""Tests of the page that tells how far a plan scales."""

from __future__ import annotations

import pytest

from suite.judge.scaling import Check, Costs, Measured, Run, TimedJob
from suite.report.scaling import hours, scaling_markdown

ROWS = ("tf-2.21", "tf-2.15")
COSTS = Costs(node=5, data=5, environment=60, start=10, task=0.01, filed=0.01)


def measured(costs: Costs = COSTS) -> Measured:
    checks = (Check(1, 0.5, 0.51), Check(2, 0.45, 0.5))
    return Measured(costs, checks, "two cores", {"ray": "2.60.0"})


def jobs(longest_s: float = 100.0) -> list[TimedJob]:
    """One long case beside a hundred short ones, on two rows, with two seeds each."""
    seconds = {"long": longest_s, **{f"short{n}": 5.0 for n in range(100)}}
    return [
        TimedJob(row, case, (Run(value), Run(value)))
        for case, value in seconds.items()
        for row in ROWS
    ]


def test_where_it_stops_and_why_come_first() -> None:
    first = scaling_markdown(jobs(), measured()).splitlines()[0]
    assert first.startswith("**It stops scaling at about ")
    assert "because one job cannot be shared: long with its 2 seeds takes 5 min" in first
    assert "404 runs, 2 rows and 2 seeds" in first


def test_a_driver_that_is_slower_than_the_nodes_is_named() -> None:
    first = scaling_markdown(jobs(5.0), measured(COSTS._replace(filed=30.0))).splitlines()[0]
    assert "because the driver stores one result at a time" in first


def test_each_way_has_a_table_of_all_numbers_of_nodes() -> None:
    text = scaling_markdown(jobs(), measured())
    assert text.count("| nodes | time |") == 4
    for count in ("1", "2", "8", "100", "1,000"):
        assert text.count(f"\n| {count} | ") == 4
    assert "(202 jobs)" in text
    assert "(404 jobs)" in text


HOUR_S = 3600.0
FREE = Costs(node=0, data=0, environment=0, start=0, task=0, filed=0)


def test_every_number_of_a_small_plan_is_as_computed_by_hand() -> None:
    run = Run(HOUR_S)
    two = [TimedJob("row", f"case{n}", (run, run)) for n in range(2)]
    text = scaling_markdown(two, measured(FREE._replace(data=1800, environment=5400)))
    first, _, *tables = text.split("\n\n")
    assert first.startswith("**It stops scaling at about 2 nodes, because one job cannot be shared")
    assert "4.0 h of cases. 2 nodes take 4.0 h, one takes 6.0 h" in first
    assert "With a job for each seed it would stop at about 4 nodes and 3.0 h" in first
    assert "measure for 33% of their time (environments 50%, data 17%)." in first
    whole, ready, apart, apart_ready = tables[:7:2]
    assert "\n| 1 | 6.0 h | 67% | 6.0 | environments 25%, data 8% |\n" in whole
    assert "\n| 2 | 4.0 h | 50% | 8.0 | environments 38%, data 12% |\n" in whole
    assert "\n| 2 | 2.0 h | 100% | 4.0 | - |\n" in ready
    assert "\n| 8 | 3.0 h | 17% | 24.0 | idle 50%, environments 25%, data 8% |\n" in apart
    assert "\n| 8 | 60 min | 50% | 8.0 | idle 50% |\n" in apart_ready


def test_what_another_order_and_a_slow_node_would_change_is_told_of_the_most_nodes() -> None:
    some = [TimedJob("row", f"short{n}", (Run(HOUR_S),)) for n in range(150)]
    text = scaling_markdown([*some, TimedJob("row", "long", (Run(10 * HOUR_S),))], measured(FREE))
    for count, now in (("100", "11.0 h"), ("1,000", "10.0 h")):
        assert (
            f"On {count} nodes the longest jobs first would take 10.0 h instead of {now}; were the "
            "node of the longest job 2 times as slow (assumed, not measured), 20.0 h."
        ) in text


def test_the_measured_numbers_and_the_check_are_told() -> None:
    text = scaling_markdown(jobs(), measured())
    assert "two cores; ray 2.60.0" in text
    assert "environment, once a node and row 60 s" in text
    assert "on 1 node 50% measured, 51% simulated; on 2 nodes 45% measured, 50% simulated" in text


def test_ready_nodes_make_no_environment() -> None:
    ready = scaling_markdown(jobs(), measured()).split("beforehand** (202 jobs)")[1]
    assert "environments" not in ready.split("**")[0]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5400, "1.5 h")]
)
def test_times_are_written_in_the_unit_that_fits(seconds: float, words: str) -> None:
    assert hours(seconds) == words
