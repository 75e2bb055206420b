"""Tests of suite.judge.baselines: what a baseline expects, and what is held against it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from scipy.stats import t

from suite import files
from suite.errors import RecordError
from suite.judge.baselines import expected_band, rebaseline, summarise, version_notes
from suite.judge.compare import compare
from suite.judge.verdicts import Verdict
from suite.records import Record
from suite.store import read_record, read_records, store

MakeRecord = Callable[..., Record]
VALUES = [0.80, 0.82, 0.79, 0.81, 0.83]
TIMES = [1.0, 1.01, 0.99, 1.02, 0.98]


@pytest.fixture
def seeds(make_record: MakeRecord) -> Callable[..., list[Record]]:
    """Return a function that makes one record a value of a metric."""

    def make(metric: str, values: Sequence[float], **changes: Any) -> list[Record]:
        return [
            make_record(seed=seed, metrics={metric: value}, **changes)
            for seed, value in enumerate(values)
        ]

    return make


MakeSeeds = Callable[..., list[Record]]


def _judged(
    seeds: MakeSeeds, metric: str, values: Sequence[float], measured: float, **changes: Any
) -> Verdict:
    """Return the verdict on one new seed with `measured`, against `values`."""
    new = seeds(metric, [measured], **changes)
    [verdict] = compare(seeds(metric, values), new)
    return verdict


def test_a_band_is_students_prediction_interval_for_one_new_run() -> None:
    values = [2.0, 2.5, 1.5, 3.0, 1.0]
    half = t.ppf(0.99995, 4) * stdev(values) * math.sqrt(1 + 1 / 5)
    band = expected_band("information_gain", values)
    assert (band.low, band.high) == pytest.approx((2 - half, 2 + half))


def test_unchanged_runs_lie_in_their_band_as_often_as_promised() -> None:
    draw = random.Random(0).gauss  # noqa: S311 - no secret
    trials = 60_000
    outside = 0
    for _ in range(trials):
        band = expected_band("last_loss", [draw(0, 1) for _ in range(5)])
        outside += draw(0, 1) not in band
    assert 0 < outside / trials < 0.0003


@pytest.mark.parametrize(
    ("metric", "value", "images", "half"),
    [
        ("clean_accuracy", 0.5, 1000, 3 * math.sqrt(0.25 / 1000)),
        ("clean_accuracy", 0.5, None, 0.01),
        ("information_gain", 1.0, None, 0.02),
        ("clean_branch_gain", 1.0, None, 0.02),
        ("classes_predicted", 20.0, None, 2.0),
        ("adversarial_plain_ratio", 2.8, None, 0.98),
        ("adversarial_branch_gain", 1.0, None, 0.02),
        ("parameters", 2_668_875.0, None, 2.668875),
    ],
)
def test_seeds_that_agree_by_chance_leave_the_metrics_resolution(
    metric: str, value: float, images: int | None, half: float
) -> None:
    band = expected_band(metric, [value] * 5, test_images=images)
    assert (band.low, band.high) == pytest.approx((value - half, value + half))


def test_an_accuracy_that_was_always_0_may_show_what_no_event_in_n_allows() -> None:
    assert expected_band("clean_accuracy", [0.0] * 5, test_images=1000).high == 0.003


def test_the_band_of_an_accuracy_ends_at_0_and_1() -> None:
    assert expected_band("clean_accuracy", [0.9, 0.99, 0.95, 0.93, 0.97]).high == 1.0
    assert expected_band("clean_accuracy", [0.1, 0.01, 0.05, 0.03, 0.07]).low == 0.0


def test_an_accuracy_in_percent_is_a_regression(seeds: MakeSeeds) -> None:
    assert _judged(seeds, "clean_accuracy", VALUES, 81.0).outcome == "regression"


def test_a_band_of_one_number_is_refused() -> None:
    with pytest.raises(ValueError, match=r"values must hold at least 2 numbers\. Received"):
        expected_band("last_loss", [1.0])


@pytest.mark.parametrize(
    "metric", ["clean_accuracy", "information_gain", "cost_ratio", "statistics_moved"]
)
def test_a_shift_beyond_the_band_is_a_regression_on_either_side(
    seeds: MakeSeeds, metric: str
) -> None:
    band = expected_band(metric, VALUES, test_images=1000)
    for inside in (fmean(VALUES), band.low, band.high):
        assert _judged(seeds, metric, VALUES, inside).outcome == "pass"
    for outside in (band.low - 1e-6, band.high + 1e-6):
        assert _judged(seeds, metric, VALUES, outside).outcome == "regression"


def test_a_verdict_tells_measured_band_and_baseline(seeds: MakeSeeds) -> None:
    verdict = _judged(seeds, "clean_accuracy", VALUES, 0.5)
    assert str(verdict) == (
        "net-plain (seed 0): clean_accuracy is 0.5, expected 0.5408 to 1 "
        "(baseline 0.81 ± 0.016 (5))"
    )


def test_each_seed_is_judged_by_itself(seeds: MakeSeeds) -> None:
    verdicts = compare(seeds("clean_accuracy", VALUES), seeds("clean_accuracy", [0.81, 0.1, 0.82]))
    assert [(v.seed, v.outcome) for v in verdicts] == [
        ("seed 0", "pass"),
        ("seed 1", "regression"),
        ("seed 2", "pass"),
    ]


def test_the_records_of_the_baseline_pass_against_themselves(seeds: MakeSeeds) -> None:
    records = seeds("last_loss", VALUES)
    assert {verdict.outcome for verdict in compare(records, records)} == {"pass"}


def test_where_the_baseline_holds_nan_only_nan_passes(seeds: MakeSeeds) -> None:
    values = [1.0, 1.1, math.nan, 0.9, 1.0]
    assert _judged(seeds, "last_loss", values, math.nan).outcome == "pass"
    for measured in (1.0, math.inf):
        verdict = _judged(seeds, "last_loss", values, measured)
        assert verdict.outcome == "regression"
        assert "the baseline holds 1, 1.1, nan, 0.9, 1 (5)" in verdict.reason


def test_nan_is_a_regression_where_the_baseline_is_finite(seeds: MakeSeeds) -> None:
    assert _judged(seeds, "last_loss", VALUES, math.nan).outcome == "regression"


@pytest.mark.parametrize(
    ("metric", "slow", "fast"),
    [
        ("plain_step_s", 3.5, 0.25),
        ("plain_images_per_s", 0.25, 3.5),
        ("peak_memory_bytes", 3.5, 0.25),
    ],
)
def test_slower_is_a_regression_and_faster_is_reported(
    seeds: MakeSeeds, metric: str, slow: float, fast: float
) -> None:
    worse, better = (_judged(seeds, metric, TIMES, value) for value in (slow, fast))
    assert worse.outcome == "regression"
    words = "3.5 times the memory" if "memory" in metric else "slowdown "
    assert f", {words}" in worse.reason
    assert better.outcome == "pass"
    assert ", better than the band)" in better.reason
    assert "better" not in _judged(seeds, metric, TIMES, 1.0).reason


def test_memory_is_told_in_times_of_memory_and_not_as_a_slowdown(seeds: MakeSeeds) -> None:
    verdict = _judged(seeds, "peak_memory_bytes", TIMES, 3.5)
    assert verdict.outcome == "regression"
    assert ", 3.5 times the memory)" in verdict.reason
    assert "slowdown" not in verdict.reason


def test_a_metric_without_a_row_is_an_error_that_names_the_table(seeds: MakeSeeds) -> None:
    with pytest.raises(RecordError, match=r"mood is no metric .* suite/judge/metrics\.py"):
        compare(seeds("mood", VALUES), [])


GRAPH = {"stack": "graph", "versions": {"tensorflow": "1.14.0"}}
EAGER = {"stack": "eager", "versions": {"tensorflow": "2.21.0"}}
TREATED = "resnet50-w0.25-intended-bn-momentum-0.5"


def updates(seeds: MakeSeeds, values: Sequence[float], around: dict[str, Any]) -> list[Record]:
    return seeds("updates_per_step", values, case=TREATED, environment=around)


def test_a_graphs_two_updates_a_step_are_a_baseline_of_the_graph(
    roots: tuple[Path, Path], seeds: MakeSeeds
) -> None:
    for record in updates(seeds, [2.0] * 5, GRAPH):
        store(record, roots[0])
    assert len(_rebaseline(roots)) == 10


def test_two_updates_a_step_are_no_baseline_of_another_stack(seeds: MakeSeeds) -> None:
    with pytest.raises(RecordError, match=r"updates_per_step is 2, expected 0\.98 to 1\.02"):
        summarise(updates(seeds, [2.0] * 5, EAGER))


def test_a_graphs_baseline_is_narrowed_to_the_graphs_own_band(seeds: MakeSeeds) -> None:
    former = updates(seeds, [1.99, 2.0, 2.01, 1.99, 2.0], GRAPH)
    for measured, outcome in ((2.0, "pass"), (1.0, "regression"), (2.1, "regression")):
        [verdict] = compare(former, updates(seeds, [measured], GRAPH))
        assert verdict.outcome == outcome


def test_a_number_that_must_be_another_on_its_stack_is_not_held_against_the_baseline(
    seeds: MakeSeeds,
) -> None:
    former = updates(seeds, [1.0] * 5, EAGER)
    [right] = compare(former, updates(seeds, [2.0], GRAPH))
    assert (right.outcome, right.failed) == ("not comparable", False)
    assert "is of a stack where it must be another" in right.reason
    for measured in (1.0, 1.5, math.nan):
        [wrong] = compare(former, updates(seeds, [measured], GRAPH))
        assert wrong.outcome == "regression"


def test_times_of_another_machine_are_listed_and_not_judged(seeds: MakeSeeds) -> None:
    other = {"fingerprint": "machine-b"}
    for metric in ("plain_step_s", "plain_images_per_s", "peak_memory_bytes"):
        verdict = _judged(seeds, metric, TIMES, 9.0, environment=other)
        assert (verdict.outcome, verdict.failed) == ("not comparable", False)
        assert "machine-b" in verdict.reason
        assert "machine-a" in verdict.reason


@pytest.mark.parametrize("metric", ["cost_ratio", "clean_accuracy"])
def test_what_is_no_time_is_judged_on_every_machine(seeds: MakeSeeds, metric: str) -> None:
    other = {"fingerprint": "machine-b"}
    assert _judged(seeds, metric, VALUES, 9.0, environment=other).outcome == "regression"


def test_other_data_block_the_gate_and_both_digests_are_named(seeds: MakeSeeds) -> None:
    verdict = _judged(seeds, "last_loss", VALUES, 0.81, environment={"data_digest": "sha256:9"})
    assert (verdict.outcome, verdict.failed) == ("not comparable", True)
    assert "data_digest is sha256:9, expected sha256:2" in verdict.reason


def test_other_settings_are_a_regression_that_names_field_and_values(seeds: MakeSeeds) -> None:
    settings = {"architecture": "lenet5", "steps": 4, "epsilon": 0.01}
    verdict = _judged(seeds, "last_loss", VALUES, 0.81, settings=settings)
    assert verdict.outcome == "regression"
    assert "epsilon is 0.01, the baseline has absent" in verdict.reason
    assert "steps is 4, the baseline has 3" in verdict.reason
    assert "test_images is absent, the baseline has 1000" in verdict.reason


def test_new_and_vanished_cases_are_named_and_do_not_fail(seeds: MakeSeeds) -> None:
    verdicts = compare(
        seeds("last_loss", VALUES, case="old"), seeds("last_loss", [0.8], case="new")
    )
    assert [(v.case, v.outcome, v.failed) for v in verdicts] == [
        ("new", "new", False),
        ("old", "vanished", False),
    ]


def test_new_and_vanished_metrics_are_named(seeds: MakeSeeds) -> None:
    verdicts = compare(seeds("last_loss", VALUES), seeds("information_gain", [0.8]))
    assert [(v.metric, v.outcome) for v in verdicts] == [
        ("information_gain", "new"),
        ("last_loss", "vanished"),
    ]


def test_without_a_baseline_every_number_is_new(seeds: MakeSeeds) -> None:
    assert {verdict.outcome for verdict in compare([], seeds("last_loss", VALUES))} == {"new"}


def test_a_baseline_of_too_few_seeds_is_an_error(seeds: MakeSeeds) -> None:
    message = "baseline of case net-plain holds 3 seeds, expected at least 5: run "
    with pytest.raises(RecordError, match=message):
        compare(seeds("last_loss", VALUES[:3]), [])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"environment": {"data_digest": "x"}}, "data digests: sha256:2 of seed 0, x of seed 4"),
        ({"environment": {"code_digest": "x"}}, "code digests: sha256:3 of seed 0, x of seed 4"),
        ({"environment": {"fingerprint": "x"}}, "machines: machine-a of seed 0, x of seed 4"),
        ({"settings": {"steps": 9}}, "settings: "),
        ({"metrics": {"information_gain": 1.0}}, "metrics: "),
    ],
)
def test_a_baseline_that_mixes_what_must_be_one_is_an_error(
    seeds: MakeSeeds, make_record: MakeRecord, change: dict[str, Any], what: str
) -> None:
    odd = make_record(seed=4, **{"metrics": {"last_loss": 1.0}, **change})
    with pytest.raises(RecordError, match=f"case net-plain mixes {what}"):
        summarise([*seeds("last_loss", VALUES[:4]), odd])


def test_versions_that_differ_are_noted(seeds: MakeSeeds) -> None:
    then = seeds("last_loss", VALUES)
    now = seeds("last_loss", [0.8], environment={"versions": {"numpy": "2.1.0", "keras": "3"}})
    assert version_notes(then, then) == []
    assert version_notes(then, now) == [
        "keras is 3, the baseline has absent",
        "numpy is 2.1.0, the baseline has 2.0.0",
    ]
    assert version_notes([], now) == []


@pytest.fixture
def roots(tmp_path: Path, seeds: MakeSeeds) -> tuple[Path, Path]:
    """Return a folder of records and one of baselines; both hold five seeds of one case."""
    roots = tmp_path / "records", tmp_path / "baselines"
    for root in roots:
        for record in seeds("last_loss", VALUES):
            store(record, root)
    return roots


def _rebaseline(roots: tuple[Path, Path], removed: Sequence[str] = ()) -> list[Record]:
    return rebaseline(*roots, release="tf-2.21", tier="small", removed=removed)


def _folder(root: Path) -> Path:
    return root / "tf-2.21" / "small"


def test_a_new_baseline_is_the_records_and_no_other(
    roots: tuple[Path, Path], seeds: MakeSeeds
) -> None:
    for record in seeds("last_loss", [2.0] * 6):
        store(record, roots[0])
    written = _rebaseline(roots)
    assert len(written) == 6
    assert read_records(_folder(roots[1])) == written == read_records(_folder(roots[0]))


def test_a_case_leaves_the_baseline_only_when_it_is_named(
    roots: tuple[Path, Path], seeds: MakeSeeds
) -> None:
    for record in seeds("last_loss", VALUES, case="vgg19"):
        store(record, roots[1])
    with pytest.raises(RecordError, match=r"no record of vgg19, .*or name .* with --removed CASE"):
        _rebaseline(roots)
    assert len(read_records(_folder(roots[1]))) == 10
    _rebaseline(roots, removed=["vgg19"])
    assert {record.case for record in read_records(_folder(roots[1]))} == {"net-plain"}


def test_an_incomplete_set_leaves_the_baseline_as_it_was(
    roots: tuple[Path, Path], make_record: MakeRecord
) -> None:
    before = read_records(_folder(roots[1]))
    store(make_record(case="vgg19"), roots[0])
    with pytest.raises(RecordError, match="case vgg19 holds 1 seeds, expected at least 5"):
        _rebaseline(roots)
    assert read_records(_folder(roots[1])) == before


def test_a_damaged_record_never_becomes_a_baseline(roots: tuple[Path, Path]) -> None:
    path = _folder(roots[0]) / "net-plain-seed2.json"
    path.write_text(path.read_text()[:-30])
    with pytest.raises(RecordError, match="is not JSON"):
        _rebaseline(roots)
    assert len(read_records(_folder(roots[1]))) == 5


def test_a_disk_that_fills_up_leaves_the_baseline_as_it_was(
    roots: tuple[Path, Path], seeds: MakeSeeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    for record in seeds("last_loss", [2.0] * 5):
        store(record, roots[0])
    write, written = files._write_through, []

    def fill_up(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) > 3:
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(files, "_write_through", fill_up)
    with pytest.raises(RecordError, match="No space left"):
        _rebaseline(roots)
    assert [r.metrics["last_loss"] for r in read_records(_folder(roots[1]))] == VALUES
    assert list(_folder(roots[1]).parent.iterdir()) == [_folder(roots[1])]


def test_a_damaged_baseline_can_be_replaced(roots: tuple[Path, Path]) -> None:
    path = _folder(roots[1]) / "net-plain-seed0.json"
    path.write_text("{")
    _rebaseline(roots)
    assert read_record(path).metrics == {"last_loss": VALUES[0]}


def test_a_baseline_cannot_be_made_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"holds no records\. Make them with `nox -s .benchmarks"):
        _rebaseline((tmp_path / "records", tmp_path / "baselines"))
    assert list(tmp_path.iterdir()) == []
