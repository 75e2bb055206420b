"""Tests of suite.judge.metrics: every metric is a row, and no kind is told by a name's end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from suite.cases import has_baseline
from suite.errors import RecordError
from suite.judge.baselines import expected_band
from suite.judge.metrics import METRICS, metric_row

ROOT = Path(__file__).parents[2]


def stored_metrics() -> set[str]:
    """Collect the metrics of every stored record that is compared."""
    found: set[str] = set()
    for folder in ("baselines", "studies"):
        for path in (ROOT / folder).rglob("*.json"):
            content = json.loads(path.read_text(encoding="utf-8"))
            if has_baseline(content["case"]):
                found |= set(content["metrics"])
    return found


def test_every_metric_of_the_stored_records_has_a_row() -> None:
    assert stored_metrics() <= set(METRICS)
    assert len(stored_metrics()) > 30


def test_a_distance_in_logarithms_is_no_cost_ratio() -> None:
    row = metric_row("statistics_log_variance_ratio")
    assert row.narrowest(7.3) == pytest.approx(7.3e-6)
    band = expected_band("statistics_log_variance_ratio", [7.3] * 5)
    assert band.high - band.low < 1e-4


def test_memory_is_no_time() -> None:
    memory, time = metric_row("peak_memory_bytes"), metric_row("plain_step_s")
    assert (memory.unit, time.unit) == ("bytes", "s")


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("plain_step_s", False, True),
        ("plain_images_per_s", True, False),
        ("peak_memory_bytes", False, True),
        ("information_gain", True, True),
        ("cost_ratio", True, True),
    ],
)
def test_what_is_worse_on_one_side_is_bounded_there_alone(name: str, low: bool, high: bool) -> None:
    band = expected_band(name, [1.0, 1.1, 0.9, 1.0, 1.05])
    assert (band.low > -1e9, band.high < 1e9) == (low, high)


def test_times_rates_memory_and_ratios_of_times_belong_to_a_machine() -> None:
    own = {name for name, row in METRICS.items() if row.per_machine}
    ratios = {"cost_ratio", "adversarial_plain_ratio"}
    assert ratios < own
    assert {METRICS[name].unit for name in own - ratios} == {"s", "images/s", "bytes"}
    assert all(metric_row(name).narrowest(100.0) == 0 for name in own)


def test_a_name_without_a_row_is_refused_whatever_its_end() -> None:
    for name in ("their_accuracy", "a_ratio", "b_s"):
        with pytest.raises(RecordError, match=f"{name} is no metric that can be judged"):
            metric_row(name)
