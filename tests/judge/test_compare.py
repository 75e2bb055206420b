"""Tests of suite.judge.compare: what new records are judged to be, held against a baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest

from suite.errors import RecordError
from suite.judge.baselines import expected_band
from suite.judge.compare import compare
from suite.judge.verdicts import Verdict
from tests.judge.conftest import EAGER, GRAPH, VALUES, MakeRuns, updates

TIMES = [1.0, 1.01, 0.99, 1.02, 0.98]


def _judged(
    seeds: MakeRuns, metric: str, values: Sequence[float], measured: float, **changes: Any
) -> Verdict:
    """Judge one new seed with `measured` by a baseline of `values`."""
    new = seeds(metric, [measured], **changes)
    [verdict] = compare(seeds(metric, values), new)
    return verdict


def test_an_accuracy_in_percent_is_a_regression(seeds: MakeRuns) -> None:
    assert _judged(seeds, "clean_accuracy", VALUES, 81.0).outcome == "regression"


@pytest.mark.parametrize("metric", ["clean_accuracy", "information_gain", "statistics_moved"])
def test_a_shift_beyond_the_band_is_a_regression_on_either_side(
    seeds: MakeRuns, metric: str
) -> None:
    band = expected_band(metric, VALUES, test_images=1000)
    for inside in (fmean(VALUES), band.low, band.high):
        assert _judged(seeds, metric, VALUES, inside).outcome == "pass"
    for outside in (band.low - 1e-6, band.high + 1e-6):
        assert _judged(seeds, metric, VALUES, outside).outcome == "regression"


@pytest.mark.parametrize(
    ("gain", "accuracy", "outcome"),
    [
        (-0.05, 0.11, "pass"),
        (-0.05, math.nan, "regression"),
        (-0.05, 5.7, "regression"),
        (-0.05, -0.1, "regression"),
        (1.5, 0.11, "regression"),
    ],
)
def test_what_a_network_that_stalls_ends_at_is_held_by_the_limits_of_its_case(
    seeds: MakeRuns, gain: float, accuracy: float, outcome: str
) -> None:
    """Ten seeds gave .0565 +- .0054, and five fresh ones .05 to .114: it is no normal number."""
    former, new = (
        [replace(r, metrics={**r.metrics, "information_gain": gain}) for r in runs]
        for runs in (
            seeds("clean_accuracy", [0.056, 0.057, 0.058, 0.056, 0.057]),
            seeds("clean_accuracy", [accuracy]),
        )
    )
    [found] = [v for v in compare(former, new) if v.metric == "clean_accuracy"]
    assert found.outcome == outcome


def test_a_verdict_tells_measured_band_and_baseline(seeds: MakeRuns) -> None:
    verdict = _judged(seeds, "clean_accuracy", VALUES, 0.5)
    assert str(verdict) == (
        "net-plain (seed 0): clean_accuracy is 0.5, expected 0.5408 to 1 "
        "(baseline 0.81 ± 0.016 (5))"
    )


def test_each_seed_is_judged_by_itself(seeds: MakeRuns) -> None:
    verdicts = compare(seeds("clean_accuracy", VALUES), seeds("clean_accuracy", [0.81, 0.1, 0.82]))
    assert [(v.seed, v.outcome) for v in verdicts] == [
        ("seed 0", "pass"),
        ("seed 1", "regression"),
        ("seed 2", "pass"),
    ]


def test_the_records_of_the_baseline_pass_against_themselves(seeds: MakeRuns) -> None:
    records = seeds("last_loss", VALUES)
    assert {verdict.outcome for verdict in compare(records, records)} == {"pass"}


def test_where_the_baseline_holds_nan_only_nan_passes(seeds: MakeRuns) -> None:
    values = [1.0, 1.1, math.nan, 0.9, 1.0]
    assert _judged(seeds, "last_loss", values, math.nan).outcome == "pass"
    for measured in (1.0, math.inf):
        verdict = _judged(seeds, "last_loss", values, measured)
        assert verdict.outcome == "regression"
        assert "the baseline holds 1, 1.1, nan, 0.9, 1 (5)" in verdict.reason


def test_nan_is_a_regression_where_the_baseline_is_finite(seeds: MakeRuns) -> None:
    assert _judged(seeds, "last_loss", VALUES, math.nan).outcome == "regression"


@pytest.mark.parametrize(
    ("metric", "value", "words"),
    [
        ("plain_step_s", 3.5, ", slowdown 3.5)"),
        ("plain_step_s", 0.25, ", slowdown 0.25)"),
        ("plain_images_per_s", 0.25, ", slowdown 4)"),
        ("peak_memory_bytes", 3.5, ", 3.5 times the memory)"),
        ("cost_ratio", 3.5, ")"),
    ],
)
def test_times_and_memory_are_told_and_not_judged_on_any_machine(
    seeds: MakeRuns, metric: str, value: float, words: str
) -> None:
    for machine in ("machine-a", "machine-b"):
        verdict = _judged(seeds, metric, TIMES, value, environment={"fingerprint": machine})
        assert (verdict.outcome, verdict.failed, verdict.blocking) == (
            "not comparable",
            False,
            False,
        )
        assert f"{words}: not judged, it depends on machine and hour: nox -s gate" in verdict.reason


def test_a_time_that_is_no_number_is_a_regression(seeds: MakeRuns) -> None:
    assert _judged(seeds, "plain_step_s", TIMES, math.nan).outcome == "regression"


def test_a_ratio_of_times_is_judged_by_what_holds_on_any_machine(seeds: MakeRuns) -> None:
    named = {"case": "step-time-lenet5", "question": "step-time"}
    former = [
        replace(run, **named) for run in seeds("adversarial_plain_ratio", [2.0, 2.1, 1.9, 2.2, 2.3])
    ]
    for value, outcome in ((1.5, "pass"), (5.0, "pass"), (0.5, "regression"), (7.0, "regression")):
        new = [replace(run, metrics={"adversarial_plain_ratio": value}) for run in former[:1]]
        [verdict] = compare(former, new)
        assert verdict.outcome == outcome


def test_a_metric_without_a_row_is_an_error_that_names_the_table(seeds: MakeRuns) -> None:
    with pytest.raises(RecordError, match=r"mood is no metric .* suite/judge/metrics\.py"):
        compare(seeds("mood", VALUES), [])


def test_a_graphs_baseline_is_narrowed_to_the_graphs_own_band(seeds: MakeRuns) -> None:
    former = updates(seeds, [1.99, 2.0, 2.01, 1.99, 2.0], GRAPH)
    for measured, outcome in ((2.0, "pass"), (1.0, "regression"), (2.1, "regression")):
        [verdict] = compare(former, updates(seeds, [measured], GRAPH))
        assert verdict.outcome == outcome


def test_a_number_that_must_be_another_on_its_stack_is_not_held_against_the_baseline(
    seeds: MakeRuns,
) -> None:
    former = updates(seeds, [1.0] * 5, EAGER)
    [right] = compare(former, updates(seeds, [2.0], GRAPH))
    assert (right.outcome, right.failed) == ("not comparable", False)
    assert "is of a stack where it must be another" in right.reason
    for measured in (1.0, 1.5, math.nan):
        [wrong] = compare(former, updates(seeds, [measured], GRAPH))
        assert wrong.outcome == "regression"


@pytest.mark.parametrize("metric", ["last_loss", "clean_accuracy"])
def test_what_is_no_time_is_judged_on_every_machine(seeds: MakeRuns, metric: str) -> None:
    other = {"fingerprint": "machine-b"}
    assert _judged(seeds, metric, VALUES, 9.0, environment=other).outcome == "regression"


def test_a_record_of_other_data_is_not_judged_and_both_digests_are_named(seeds: MakeRuns) -> None:
    verdict = _judged(seeds, "last_loss", VALUES, 0.81, environment={"data_digest": "sha256:9"})
    assert (verdict.outcome, verdict.failed, verdict.blocking) == ("not comparable", False, True)
    assert "data_digest is sha256:9, expected sha256:2" in verdict.reason


def test_a_record_of_other_settings_is_not_judged_and_field_and_values_are_named(
    seeds: MakeRuns,
) -> None:
    settings = {"architecture": "lenet5", "steps": 4, "epsilon": 0.01}
    verdict = _judged(seeds, "last_loss", VALUES, 0.81, settings=settings)
    assert (verdict.outcome, verdict.failed, verdict.blocking) == ("not comparable", False, True)
    assert "epsilon is 0.01, the baseline has absent" in verdict.reason
    assert "steps is 4, the baseline has 3" in verdict.reason
    assert "test_images is absent, the baseline has 1000" in verdict.reason


def test_a_record_of_another_question_is_not_judged(seeds: MakeRuns) -> None:
    verdict = _judged(seeds, "last_loss", VALUES, 0.81, question="attack")
    assert (verdict.outcome, verdict.blocking) == ("not comparable", True)
    assert "the record's question is attack, the baseline has training" in verdict.reason


def test_new_and_vanished_cases_are_missing(seeds: MakeRuns) -> None:
    verdicts = compare(
        seeds("last_loss", VALUES, case="old"), seeds("last_loss", [0.8], case="new")
    )
    assert [(v.case, v.outcome, v.whole, v.missing, v.failed) for v in verdicts] == [
        ("new", "new", True, True, False),
        ("old", "vanished", True, True, False),
    ]


def test_new_and_vanished_metrics_are_missing(seeds: MakeRuns) -> None:
    verdicts = compare(seeds("last_loss", VALUES), seeds("information_gain", [0.8]))
    assert [(v.metric, v.outcome, v.whole, v.missing) for v in verdicts] == [
        ("information_gain", "new", False, True),
        ("last_loss", "vanished", False, True),
    ]


def test_a_record_without_a_number_vanishes(seeds: MakeRuns) -> None:
    for former in (seeds("last_loss", VALUES), []):
        [verdict] = compare(former, seeds("last_loss", [0.8], metrics={}))
        assert (verdict.outcome, verdict.whole) == ("vanished", True)


def test_without_a_baseline_every_record_is_new(seeds: MakeRuns) -> None:
    assert [v.outcome for v in compare([], seeds("last_loss", VALUES))] == ["new"] * 5


def test_a_baseline_of_too_few_seeds_is_an_error(seeds: MakeRuns) -> None:
    message = "baseline of case net-plain holds 3 seeds, expected at least 5: run "
    with pytest.raises(RecordError, match=message):
        compare(seeds("last_loss", VALUES[:3]), [])
