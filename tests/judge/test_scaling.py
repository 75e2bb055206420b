"""Tests of the simulation of a cluster, against cases that are computed by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suite.errors import RecordError
from suite.judge.scaling import (
    CASES,
    DATA,
    ENVIRONMENT,
    IDLE,
    NODE,
    PARTS,
    START,
    SURROGATES,
    Costs,
    Run,
    TimedJob,
    enough,
    longest_first,
    planned,
    read_measured,
    simulated,
    split,
    timed,
)
from suite.records import Record

MakeRecord = Callable[..., Record]
FREE = Costs(node=0, data=0, environment=0, start=0, task=0, filed=0)


def jobs(*seconds: float, row: str = "row") -> list[TimedJob]:
    return [TimedJob(row, f"case{n}", (Run(value),)) for n, value in enumerate(seconds)]


def test_nodes_take_the_next_job_when_they_are_free() -> None:
    found = simulated(jobs(4, 3, 2, 2), 2, FREE)
    assert found.seconds == 6  # 4 and 2 on one node, 3 and 2 on the other
    assert found.efficiency == 11 / 12
    assert found.spent[IDLE] == 1
    assert found.node_hours == 12 / 3600


def test_one_node_takes_the_sum_and_each_job_a_node_the_longest() -> None:
    rng = np.random.default_rng(0)
    some = jobs(*rng.uniform(1, 100, 50))
    total = sum(job.runs[0].seconds for job in some)
    assert simulated(some, 1, FREE).seconds == pytest.approx(total)
    assert simulated(some, 50, FREE).seconds == max(job.runs[0].seconds for job in some)
    for count in (2, 7, 20):  # Graham (1966): at most twice what no schedule can beat
        least = max(total / count, simulated(some, 50, FREE).seconds)
        assert least <= simulated(some, count, FREE).seconds < 2 * least


def test_a_node_makes_an_environment_once_a_row_and_gets_the_data_once() -> None:
    costs = Costs(node=5, data=7, environment=30, start=2, task=0, filed=0)
    found = simulated([*jobs(1, 1), *jobs(1, row="other")], 1, costs)
    assert found.seconds == 5 + 7 + 2 * 30 + 3 * 2 + 3
    assert found.spent == {NODE: 5, DATA: 7, ENVIRONMENT: 60, START: 6, CASES: 3, IDLE: 0}
    two = simulated(jobs(1, 1), 2, costs)
    assert (two.spent[ENVIRONMENT], two.spent[DATA], two.spent[NODE]) == (60, 14, 10)


def test_a_node_pretrains_a_surrogate_once() -> None:
    run = Run(10.0, "resnet50 0", 25.0)
    some = [TimedJob("row", case, (run,)) for case in "ab"]
    assert simulated(some, 1, FREE).spent[SURROGATES] == 25
    assert simulated(some, 1, FREE).efficiency == 20 / 45  # no case is measured meanwhile
    assert simulated(some, 2, FREE).spent[SURROGATES] == 50
    others = [TimedJob(row, "a", (run,)) for row in ("row", "other")]
    assert simulated(others, 1, FREE).spent[SURROGATES] == 50


def test_the_driver_hands_out_and_stores_one_after_another() -> None:
    found = simulated(jobs(*[1.0] * 100), 100, FREE._replace(filed=0.5))
    assert found.seconds == 51
    assert found.queued_s == 50
    assert simulated(jobs(*[1.0] * 100), 100, FREE._replace(task=0.1)).seconds == pytest.approx(11)
    found = simulated(jobs(10, 1), 2, FREE._replace(filed=1))
    assert (found.seconds, found.queued_s) == (11, 1)  # as they come


def test_all_time_of_the_nodes_is_told() -> None:
    costs = Costs(node=5, data=7, environment=30, start=2, task=0.1, filed=0.2)
    found = simulated([*jobs(9, 1, 4), *jobs(2, 2, row="other")], 3, costs)
    assert sum(found.spent[name] for name in PARTS) == pytest.approx(3 * found.seconds)


def test_a_slow_node_ends_the_plan_late() -> None:
    found = simulated(jobs(10, 1, 1), 3, FREE, slow=[0], pace=2)
    assert (found.seconds, found.spent[CASES], found.spent[IDLE]) == (20, 22, 38)
    assert simulated(jobs(1, 1, 10), 3, FREE, slow=[0], pace=2).seconds == 10


def test_enough_nodes_are_the_fewest_from_which_on_more_gain_nothing() -> None:
    found = enough(jobs(100, *[10.0] * 40), FREE)
    assert found.nodes == 5  # the long one beside four nodes with ten each
    assert found.seconds == 100
    assert simulated(jobs(100, *[10.0] * 40), 4, FREE).seconds > 105
    found = enough(jobs(100, *[1.0] * 309), FREE)
    assert (found.nodes, found.seconds) == (4, 103)  # a fifth would save 3 %


def test_jobs_are_split_by_seed_and_ordered_by_length() -> None:
    whole = [TimedJob("row", "case", (Run(1.0), Run(3.0))), TimedJob("row", "other", (Run(2.0),))]
    assert [job.runs for job in split(whole)] == [(Run(1.0),), (Run(3.0),), (Run(2.0),)]
    assert [job.case for job in longest_first(reversed(whole))] == ["case", "other"]
    whole[1] = whole[1]._replace(runs=(Run(3.5),))  # longer than each seed of the first
    assert [job.case for job in longest_first(reversed(whole))] == ["case", "other"]


@pytest.fixture
def stored(make_record: MakeRecord) -> Callable[..., Record]:
    def stored(case: str, seconds: float, *, at: str = "10", **more: Any) -> Record:
        row, seed, loss = more.get("row", "tf-2.21"), more.get("seed", 0), more.get("loss", "plain")
        digest = {"surrogate_digest": f"sha256:{seed}"} if more.get("surrogate") else {}
        record = make_record(
            case,
            release=row,
            seed=seed,
            settings={
                "architecture": more.get("network", "resnet50"),
                "pretraining_steps": 600,
                "loss": loss,
            },
            timing={"step_s": more.get("step_s", 0.02)},
        )
        values = {
            **record.__dict__,
            "wall_s": seconds,
            "started_at": f"2026-11-26T{at}:00:00+00:00",
        }
        return Record(**{**values, "environment": {**record.environment, **digest}})

    return stored


def test_the_first_case_of_a_seed_has_made_its_surrogate(stored: Callable[..., Record]) -> None:
    records = [
        stored("later", 20.0, at="11", surrogate=True, loss="intended"),
        stored("first", 30.0, surrogate=True),
        stored("another-seed", 31.0, seed=1, surrogate=True),
        stored("from-random-weights", 5.0),
        stored("beside-other-runs", 5.0, step_s=9.0),
        stored("faster-than-thought", 3.0, seed=2, surrogate=True),
    ]
    found = {record.case: run for record, run in timed(records)}
    assert found["first"] == Run(30 - 600 * 0.02, "resnet50", 600 * 0.02)
    assert found["another-seed"].seconds == 31 - 600 * 0.02
    assert found["later"].seconds == 20
    assert found["from-random-weights"] == Run(5.0)
    assert found["faster-than-thought"].seconds == 0


def test_a_surrogate_takes_the_plain_steps_of_its_own_network(
    stored: Callable[..., Record],
) -> None:
    others = ({"loss": "intended", "step_s": 0.1}, {"network": "lenet5", "step_s": 0.001})
    records = [stored("a", 30.0, surrogate=True)]
    records += [stored(f"b{n}", 1.0, **more) for more in others for n in range(2)]
    (_, run), *_ = timed(records)
    assert run == Run(30 - 600 * 0.02, "resnet50", 600 * 0.02)


def test_rows_and_seeds_without_records_take_the_nearest(stored: Callable[..., Record]) -> None:
    records = [
        stored("a", 1.0), stored("a", 2.0, seed=1),
        stored("a", 9.0, row="tf-1.14"), stored("b", 4.0, row="tf-1.14"),
    ]  # fmt: skip
    rows = ("tf-2.21", "tf-2.20", "tf-2.15", "tf-1.14")
    found = {(job.row, job.case): job.runs for job in planned(records, rows, ("b", "a", "c"), 3)}
    assert [run.seconds for run in found["tf-2.20", "a"]] == [1.0, 2.0, 1.0]
    assert [run.seconds for run in found["tf-2.15", "a"]] == [9.0, 9.0, 9.0]
    assert [run.seconds for run in found["tf-2.21", "b"]] == [4.0, 4.0, 4.0]
    assert {run.surrogate for runs in found.values() for run in runs} == {""}
    assert list(found) == [
        ("tf-2.21", "b"), ("tf-2.20", "b"), ("tf-2.15", "b"), ("tf-1.14", "b"),
        ("tf-2.21", "a"), ("tf-2.20", "a"), ("tf-2.15", "a"), ("tf-1.14", "a"),
    ]  # fmt: skip


def test_each_seed_has_a_surrogate_of_its_own(stored: Callable[..., Record]) -> None:
    (job,) = planned([stored("a", 30.0, surrogate=True)], ("tf-2.21",), ("a",), 2)
    assert [run.surrogate for run in job.runs] == ["resnet50 0", "resnet50 1"]


def measurement(**changed: Any) -> dict[str, Any]:
    return {
        "machine": "two cores", "load": 3.5, "versions": {"ray": "2.60.0"},
        "costs": {name: {"s": 1.0} for name in Costs._fields},
        "overhead": {"s": 2.0},
        "efficiency": {"case_s": 4.0, "jobs": 8, "1": 0.5, "2": 0.45},
        **changed,
    }  # fmt: skip


def test_what_was_measured_is_read_and_simulated_too(tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps(measurement()), encoding="utf-8")
    found = read_measured(path)
    assert found.costs == Costs(1, 1, 1, 1, 1, 1)
    assert found.machine == "two cores, 3.5 processes in the queue"
    one, two = found.checks
    assert (one.nodes, one.measured, two.measured) == (1, 0.5, 0.45)
    assert one.simulated == 32 / 50  # the first is handed out after 1 s, the last stored after 1 s
    assert two.simulated == 32 / (2 * 27)


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps(measurement(costs={}))])
def test_a_file_that_lacks_a_number_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cluster.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecordError, match=r"cluster\.json is not what a cluster was measured"):
        read_measured(path)
