from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from suite.judge.gate.paired import Pairs, difference, pairs, rank_p, tailed
from suite.records import Record
from tests.conftest import MakeRecord

SEEDS = range(5)


def side(make_record: MakeRecord, release: str, **changes: Any) -> list[Record]:
    """Make five records of one case whose numbers and times are all different."""
    shift = 0.001 if release == "tf-2.21" else 0.0
    return [
        make_record(
            seed=seed,
            release=release,
            wall_s=seed + shift,
            **{"metrics": {"clean_accuracy": 0.7 + 0.01 * seed + shift}, **changes},
        )
        for seed in SEEDS
    ]


@pytest.fixture
def before(make_record: MakeRecord) -> list[Record]:
    return side(make_record, "tf-2.15")


@pytest.fixture
def after(make_record: MakeRecord) -> list[Record]:
    return side(make_record, "tf-2.21")


def faults(before: list[Record], after: list[Record]) -> str:
    """Join what is missing, and make sure that nothing of it was paired."""
    found, missing = pairs(before, after)
    assert found == []
    return "\n".join(missing)


def test_numbers_are_sorted_by_case_metric_and_seed(
    before: list[Record], after: list[Record]
) -> None:
    found, missing = pairs(before[::-1], after)
    assert missing == []
    assert [own.name for own in found] == [("net-plain", "clean_accuracy")]
    assert list(found[0].before) == [0, 1, 2, 3, 4]
    assert found[0].after[3] == pytest.approx(0.731)
    assert found[0].seeds == (5, 5)


def test_sides_may_have_other_seeds_and_other_numbers_of_them(make_record: MakeRecord) -> None:
    own = [make_record(seed=s, metrics={"clean_accuracy": s}, wall_s=s) for s in (1, 2, 3)]
    other = [make_record(seed=s, metrics={"clean_accuracy": s}, wall_s=s + 0.5) for s in (3, 9)]
    (found,), missing = pairs(own, other)
    assert missing == []
    first, second, shared = found.arrays()
    assert (first.tolist(), second.tolist(), shared) == ([3, 1, 2], [3, 9], 1)


@pytest.mark.parametrize("question", ["parity", "traps"])
def test_other_questions_are_passed_over(make_record: MakeRecord, question: str) -> None:
    assert pairs([make_record(question=question)], []) == ([], [])


def test_a_case_that_one_side_lacks_is_missing(before: list[Record]) -> None:
    assert "net-plain: the candidate has no record of it" in faults(before, [])
    assert "net-plain: the baseline has no record of it" in faults([], before)


def test_a_seed_twice_is_refused(before: list[Record], after: list[Record]) -> None:
    text = faults(before, [*after, after[2]])
    assert "net-plain: the candidate has 2 records of seed 2, expected one" in text


def test_the_numbers_of_another_seed_are_no_run(
    make_record: MakeRecord, before: list[Record], after: list[Record]
) -> None:
    copied = make_record(seed=7, metrics=after[2].metrics, release="tf-2.21", wall_s=99)
    text = faults(before, [*after, copied])
    assert "the candidate has the very numbers of seed 2 as seed 7" in text


@pytest.mark.parametrize(("weights", "told"), [("surrogate", True), ("imagenet", False)])
def test_each_seed_pretrains_a_surrogate_of_its_own(
    make_record: MakeRecord, weights: str, told: bool
) -> None:
    settings = {**make_record().settings, "weights": weights}
    sides = [
        [
            replace(run, environment={**run.environment, "surrogate_digest": f"sha256:{of(run)}"})
            for run in side(make_record, release, settings=settings)
        ]
        for release, of in (
            ("tf-2.15", lambda run: run.seed),
            ("tf-2.21", lambda run: run.seed // 2),
        )
    ]
    _, missing = pairs(*sides)
    words = "the candidate started the seeds 0, 1 from the same surrogate, expected one of its own"
    assert [words in text for text in missing[:1]] == [True] * told
    assert len(missing) == 2 * told  # the seeds 2 and 3 too


def test_a_record_of_the_baseline_is_no_run_of_the_candidate(
    make_record: MakeRecord, before: list[Record], after: list[Record]
) -> None:
    copied = make_record(seed=4, metrics={"clean_accuracy": 0.9}, release="tf-2.21", wall_s=1.0)
    text = faults(before, [*after[:4], copied])
    assert "seed 4 of the candidate is the run of the baseline's net-plain-seed1" in text


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"settings": {"architecture": "alexnet"}}, "settings"),
        ({"environment": {"data_digest": "sha256:9"}}, "data"),
        ({"tier": "study"}, "tier"),
        ({"question": "fixes"}, "question"),
    ],
)
def test_sides_that_were_not_asked_the_same_cannot_be_compared(
    make_record: MakeRecord, before: list[Record], changes: dict[str, Any], named: str
) -> None:
    text = faults(before, side(make_record, "tf-2.21", **changes))
    assert f"it has records of 2 different values of {named}, expected one" in text


def test_a_record_of_another_release_is_told(
    make_record: MakeRecord, before: list[Record], after: list[Record]
) -> None:
    foreign = make_record(seed=4, release="tf-2.8", metrics={"clean_accuracy": 0.9}, wall_s=9)
    text = faults(before, [*after[:4], foreign])
    assert "the candidate has records of 2 different values of release" in text


def test_a_primary_metric_that_a_record_lacks_is_missing(
    make_record: MakeRecord, before: list[Record], after: list[Record]
) -> None:
    bare = make_record(seed=4, release="tf-2.21", metrics={"train_accuracy": 0.5}, wall_s=9)
    _, missing = pairs(before, [*after[:4], bare])
    assert "net-plain: the candidate has no clean_accuracy for seed 4" in missing[0]
    assert len(missing) == 1  # that the baseline never has a train_accuracy is no fault


def test_records_without_numbers_are_missing(make_record: MakeRecord) -> None:
    empty = [side(make_record, release, metrics={}) for release in ("tf-2.15", "tf-2.21")]
    assert "net-plain: its records hold no metric" in faults(*empty)


@pytest.mark.parametrize(
    ("other", "alike"),
    [({}, True), ({"fingerprint": "machine-b"}, False), ({"instructions": "avx"}, False)],
    ids=str,
)
def test_times_of_other_machines_are_left_out(
    make_record: MakeRecord, other: dict[str, str], alike: bool
) -> None:
    metrics = {"clean_accuracy": 0.7, "peak_memory_bytes": 1e9}
    before = make_record(metrics=metrics, environment={"instructions": "avx avx512f"})
    environment = {"instructions": "avx avx512f", **other}
    after = make_record(release="tf-2.21", wall_s=9, metrics=metrics, environment=environment)
    found, missing = pairs([before], [after])
    assert missing == []
    assert [own.metric for own in found] == ([*metrics] if alike else ["clean_accuracy"])


def test_what_is_not_finite_is_counted_and_left_out(
    make_record: MakeRecord, before: list[Record], after: list[Record]
) -> None:
    lost = make_record(seed=4, release="tf-2.21", metrics={"clean_accuracy": math.nan}, wall_s=9)
    (found,), missing = pairs(before, [*after[:4], lost])
    assert (missing, found.lost, found.seeds) == ([], (0, 1), (5, 4))


def test_without_common_seeds_the_difference_is_welch_s() -> None:
    rng = np.random.default_rng(1)
    before, after = rng.normal(0, 1, 9), rng.normal(1, 3, 6)
    found, expected = difference(before, after), stats.ttest_ind(after, before, equal_var=False)
    assert found.estimate / found.error == pytest.approx(expected.statistic)
    assert found.freedom == pytest.approx(expected.df)


def test_with_nothing_but_common_seeds_it_is_paired() -> None:
    rng = np.random.default_rng(2)
    before = rng.normal(0, 1, 8)
    after = before + rng.normal(0.2, 0.1, 8)
    found, expected = difference(before, after, 8), stats.ttest_rel(after, before)
    assert found.estimate / found.error == pytest.approx(expected.statistic)
    assert found.freedom == pytest.approx(7)


def test_with_some_common_seeds_it_lies_between() -> None:
    rng = np.random.default_rng(3)
    before = rng.normal(0, 1, 12)
    after = before[:9] + rng.normal(0, 0.2, 9)
    none, some = difference(before, after), difference(before, after, 6)
    assert some.error < none.error
    assert 5 < float(some.freedom) < float(none.freedom)


def test_a_few_common_seeds_tell_no_correlation() -> None:
    before, after = np.array([1.0, 2, 3, 4, 5]), np.array([1.1, 2.1, 3.1, 9.0])
    assert difference(before, after, 4) == difference(before, after)


def test_many_differences_are_computed_at_once() -> None:
    rng = np.random.default_rng(4)
    before, after = rng.normal(size=(3, 7)), rng.normal(size=(3, 9))
    found = difference(before, after, 5)
    for row in range(3):
        single = difference(before[row], after[row], 5)
        assert [part[row] for part in found] == pytest.approx([float(part) for part in single])


def test_sides_that_do_not_vary_have_no_error() -> None:
    found = difference(np.full(5, 0.1), np.full(5, 0.3), 5)
    assert (float(found.estimate), float(found.error)) == pytest.approx((0.2, 0.0))
    assert math.isfinite(float(found.freedom))


def test_one_seed_far_from_the_others_is_a_tail() -> None:
    good = np.array([0.774, 0.781, 0.745, 0.802, 0.76])
    assert not tailed(good, good + 0.01)
    assert tailed(good, np.array([0.774, 0.53, 0.745, 0.802, 0.76]))


@pytest.mark.parametrize(("count", "share"), [(5, 0.03), (10, 0.02), (20, 0.02)])
def test_normal_numbers_seldom_look_like_a_tail(count: int, share: float) -> None:
    numbers = np.random.default_rng(0).normal(size=(2, 5000, count))
    assert 0.001 < np.mean(tailed(*numbers)) < share


def test_ranks_do_not_heed_how_far_a_tail_goes() -> None:
    before = np.arange(10.0)
    near, far = before - 0.5, before - 0.5
    far[0] = -1e6
    near[0] = -1.0
    assert rank_p(before, near) == rank_p(before, far) > 0.5
    assert rank_p(before, before - 100) < 1e-3


def test_pairs_are_named_after_case_and_metric() -> None:
    assert Pairs("net", "clean_accuracy", {}, {}).name == ("net", "clean_accuracy")
