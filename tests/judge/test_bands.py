"""Tests of suite.judge.bands: the limits of any release, which every stored record keeps."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from suite.errors import RecordError
from suite.judge.bands import (
    DERIVED,
    MENDED,
    STALLED,
    TABLE,
    Band,
    Row,
    bands,
    bands_of,
    judged,
    rows,
    stack_of,
)
from suite.judge.metrics import METRICS
from suite.records import Record
from suite.store import read_record
from suite.tables import TIERS, table
from tests.bounds import within
from tests.judge.conftest import changed

MakeRecord = Callable[..., Record]
STACKS = ("eager", "graph", "jax", "torch")
CONTROL = "resnet50-w0.25-intended-none"
ROOT = Path(__file__).parents[2]
STORED = sorted(
    path for name in ("baselines", "studies") for path in ROOT.glob(f"{name}/*/*/*.json")
)
MOST_ROWS = 90


def test_a_band_holds_its_bounds_and_what_lies_between() -> None:
    band = Band(0.25, 0.5)
    assert all(value in band for value in (0.25, 0.3, 0.5))
    assert all(value not in band for value in (0.2499, 0.5001, -0.3, math.inf))


@pytest.mark.parametrize("band", [Band(0, 1), Band(-math.inf, 1), Band(0, math.inf)], ids=str)
def test_nan_lies_in_no_band(band: Band) -> None:
    assert band.__contains__(math.nan) is False


def test_a_band_of_one_value_holds_it_alone() -> None:
    assert 3.0 in Band(3, 3)
    assert 3.001 not in Band(3, 3)


@pytest.mark.parametrize(("low", "high"), [(1, 0), (math.nan, 1), (0, math.nan)])
def test_bounds_that_are_no_interval_are_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match=f"low must be at most high. Received: {low} and {high}"):
        Band(low, high)


@pytest.mark.parametrize(
    ("band", "words"),
    [
        (Band(0.25, 0.5), "0.25 to 0.5"),
        (Band(0.25, math.inf), "at least 0.25"),
        (Band(-math.inf, 0.123456), "at most 0.1235"),
    ],
)
def test_a_band_says_what_it_allows(band: Band, words: str) -> None:
    assert str(band) == words


def cases(tier: str) -> list[str]:
    return [str(case) for name in TIERS[tier].tables for case in table(name, tier=tier)]


def test_only_a_stack_that_ends_elsewhere_has_bands_of_its_own() -> None:
    eager = bands(CONTROL, tier="small", stack="eager")
    assert bands(CONTROL, tier="small", stack="torch") == eager
    graph = bands(CONTROL, tier="small", stack="graph")
    assert set(graph) == set(eager)
    assert 1 in eager["updates_per_step"]
    assert 1 not in graph["updates_per_step"]
    assert 2 in graph["updates_per_step"]


def test_a_record_is_judged_by_the_bands_of_its_stack(make_record: MakeRecord) -> None:
    old = {"versions": {"tensorflow": "1.14.0"}}
    new = {"stack": "eager", "versions": {"tensorflow": "2.21.0"}}
    jax = {"stack": "jax", "versions": {"jax": "0.9.2"}}
    for around, stack in ((old, "graph"), (new, "eager"), (jax, "jax")):
        record = make_record(case=CONTROL, environment=around)
        assert stack_of(record) == stack
        assert bands_of(record) == bands(CONTROL, tier="small", stack=stack)


def test_a_record_that_names_no_framework_is_refused(make_record: MakeRecord) -> None:
    with pytest.raises(RecordError, match="does not say which framework measured it"):
        stack_of(make_record(environment={"versions": {"numpy": "2.0.0"}}))


def test_of_rows_for_one_metric_the_last_that_matches_counts() -> None:
    own = [row for row in rows() if row.metric == "updates_per_step"]
    twice = [row for row in own if row.matches(tier="small", stack="graph", case=CONTROL)]
    assert [row.stack for row in twice] == ["*", "graph"]
    assert bands(CONTROL, tier="small", stack="graph")["updates_per_step"] == twice[1].band
    assert bands(CONTROL, tier="small", stack="eager")["updates_per_step"] == twice[0].band


def test_a_row_is_for_what_one_of_its_patterns_matches() -> None:
    row = Row("small full", "*", "lenet5-* alexnet-plain", "parameters", "1", "", "")
    names = [
        (tier, case)
        for tier in ("small", "full", "study")
        for case in ("lenet5-plain", "alexnet-plain", "alexnet-intended-none")
        if row.matches(tier=tier, stack="eager", case=case)
    ]
    assert names == [
        (tier, case) for tier in ("small", "full") for case in ("lenet5-plain", "alexnet-plain")
    ]


def test_an_empty_bound_is_none() -> None:
    row = Row("*", "*", "*", "loss_rise", "", "", "")
    assert row.band == Band(-math.inf, math.inf)
    assert row._replace(low="0.5").band == Band(0.5, math.inf)
    assert row._replace(high="0").band == Band(-math.inf, 0.0)


HEADER = ",".join(Row._fields)
BAD_TABLES = [
    (b"", "must have the columns"),
    (b"tier\n", "must have the columns"),
    (b"\xff\xfe", "must be a table in UTF-8. Received: 'utf-8' codec"),
    (b'"' + b"x" * 200_000, "must be a table in UTF-8. Received: field larger than"),
    (b"x" * 1_100_000, "must be a table in UTF-8. Received: .*more than 1,000,000 bytes"),
    (f"{HEADER}\na,b\n".encode(), "must have 7 fields in each row. Received: .* in row 2"),
    (f"{HEADER}\n\n".encode(), "must have 7 fields in each row"),
    (f"{HEADER}\n*,*,*,m,low,1,\n".encode(), r"row 2 \('\*'\): could not convert"),
    (f"{HEADER}\n*,*,*,m,2,1,\n".encode(), "row 2 .*low must be at most high"),
    (f"{HEADER}\n*,*,*,m,nan,1,\n".encode(), "row 2 .*low must be at most high"),
]


@pytest.mark.parametrize(("content", "message"), BAD_TABLES, ids=range(len(BAD_TABLES)))
def test_a_table_that_is_none_is_refused_when_it_is_read(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "bands.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        rows(path)
    assert len(str(caught.value)) < 600


def test_a_table_that_cannot_be_read_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "bands.csv")
    with within(30), pytest.raises(ValueError, match="it is a named pipe"):
        rows(tmp_path / "bands.csv")


def test_a_table_with_other_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bands.csv"
    path.write_text("tier,case,low\nsmall,x,1\n", encoding="utf-8")
    with pytest.raises(ValueError, match="must have the columns"):
        rows(path)


def test_every_pattern_of_a_row_is_like_a_case_that_is_run() -> None:
    for row in rows():
        for pattern in row.case.split():
            one = row._replace(case=pattern)
            assert any(
                one.matches(tier=tier, stack=row.stack, case=case)
                for tier in TIERS
                for case in cases(tier)
            ), (pattern, row.metric)


def test_a_row_is_a_limit_with_a_reason_and_rows_are_few() -> None:
    assert len(rows()) <= MOST_ROWS
    for row in rows():
        assert math.isfinite(row.band.low) or math.isfinite(row.band.high), row
        assert len(row.why) > len("black"), row
        assert "\N{PLUS-MINUS SIGN}" not in row.why


def test_every_band_is_of_a_metric_that_can_be_judged() -> None:
    assert {row.metric for row in rows()} <= set(METRICS)


@pytest.mark.parametrize("stack", [stack for stack in STACKS if stack != "eager"])
def test_bands_of_a_stack_replace_bands_that_all_have(stack: str) -> None:
    for tier in TIERS:
        for case in cases(tier):
            assert set(bands(case, tier=tier, stack=stack)) == set(
                bands(case, tier=tier, stack="eager")
            )


def test_the_table_is_plain_csv_without_a_row_twice() -> None:
    keys = [row[:4] for row in rows()]
    assert len(set(keys)) == len(keys)
    with TABLE.open(encoding="utf-8", newline="") as file:
        assert all(len(line) == len(Row._fields) for line in csv.reader(file))


def test_a_control_of_the_study_that_learns_is_no_control() -> None:
    control, mended = (
        bands(f"resnet50-w0.25-intended-{fix}-b32-lr0.01-32px", tier="study", stack="eager")
        for fix in ("none", "bn-momentum-0.5")
    )
    assert 1.5 not in control["adversarial_branch_gain"]
    assert 0.0 not in mended["adversarial_branch_gain"]
    assert 0.0 not in mended["information_gain"]


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("stack", STACKS)
def test_every_case_has_a_band(tier: str, stack: str) -> None:
    for case in cases(tier):
        assert bands(case, tier=tier, stack=stack), case


def outside(record: Record) -> set[str]:
    return {
        metric
        for metric, band in bands_of(record).items()
        if metric in record.metrics and record.metrics[metric] not in band
    }


@pytest.fixture(scope="module")
def stored() -> list[Record]:
    """Read every record of the repository: two releases, a graph of TensorFlow 1, the studies."""
    return [read_record(path) for path in STORED]


def test_every_stored_record_of_every_seed_keeps_its_limits(stored: list[Record]) -> None:
    assert len(stored) > 300
    assert {record.name: outside(record) for record in stored if outside(record)} == {}


def first(stored: list[Record], case: str) -> Record:
    return next(record for record in stored if record.case == case)


def test_an_unbroken_outlier_keeps_its_limits(stored: list[Record]) -> None:
    """AlexNet may leave its plateau late: at seed 11 tf-2.21 ended at .530, after .774 +- .029."""
    late = {"clean_accuracy": 0.530, "information_gain": 1.9, "train_accuracy": 0.3}
    (record,) = changed([first(stored, "alexnet-w0.5-plain")], "alexnet-w0.5-plain", **late)
    assert outside(record) == set()


def test_six_silent_filters_keep_their_limits(stored: list[Record]) -> None:
    """LeNet-5's first layer may be drawn silent at most pixels: .452 of them move at seed 7."""
    (record,) = changed([first(stored, "attack-lenet5")], "attack-lenet5", perturbed_fraction=0.452)
    assert outside(record) == set()


STALL, MEND = "resnet50-w0.25-literal-none", "resnet50-w0.25-intended-bn-momentum-0.5"
FAULTS = [
    ("lenet5-plain", "phases_agree", 0.0),  # a default phase changed
    ("lenet5-plain", "clean_accuracy", 0.06),  # labels shuffled, no gradient, rate zero
    ("alexnet-w0.5-intended-none", "adversarial_branch_gain", 0.0),  # half of the loss is dropped
    ("vgg19-w0.25-intended-none", "information_gain", 0.0),  # a rate that kills its units
    (CONTROL, "updates_per_step", 2.0),  # updated by the attack's pass, too
    (CONTROL, "updates_per_step", 0.0),  # not updated at all
    (CONTROL, "statistics_log_variance_ratio", 5.6),  # another momentum: 0.98
    (CONTROL, "adversarial_branch_gain", 1.5),  # the control learns: other phases, another input
    (STALL, "statistics_moved", 0.1),  # updated where the phase is inference
    (STALL, "classes_predicted", 12.0),  # no stall
    (STALL, "information_gain", -math.inf),  # a loss that overflowed
    (MEND, "information_gain", 0.0),  # the fix is not applied
    (MEND, "statistics_log_variance_ratio", 7.3),  # the fix is not applied
    ("resnet50-w0.25-plain", "train_accuracy", 0.06),  # the clean pass does not learn
    ("attack-lenet5", "perturbation_max", 0.02),  # another epsilon
    ("attack-lenet5", "loss_rise", -0.01),  # the other sign
    ("attack-lenet5", "raised_fraction", 0.5),  # half of the batch
    ("attack-alexnet-w0.5", "perturbed_fraction", 0.45),  # likewise
    ("attack-lenet5", "perturbed_fraction", 0.01),  # hardly any pixel
    ("attack-lenet5", "linear_label_gap", 0.0),  # true labels in place of the predicted ones
    ("attack-lenet5", "pixel_max", 1.01),  # not clipped
    ("attack-resnet50-w0.25", "state_change", 0.1),  # an attack in the training phase
    ("attack-alexnet-w0.5", "parameters", 571_000.0),  # another network
    ("step-time-lenet5", "last_loss", 7.5),  # the sum of two losses in place of their mean
    ("step-time-lenet5", "last_loss", math.nan),  # a loss that overflowed
    ("step-time-lenet5", "adversarial_plain_ratio", 0.9),  # it does less than a plain step
    ("step-time-lenet5", "adversarial_plain_ratio", 12.0),  # a graph traced anew each step
]


@pytest.mark.parametrize(("case", "metric", "value"), FAULTS)
def test_what_a_fault_does_in_any_release_is_outside(
    stored: list[Record], case: str, metric: str, value: float
) -> None:
    (record,) = changed([first(stored, case)], case, **{metric: value})
    assert outside(record) == {metric}


@pytest.mark.parametrize(
    ("case", "accuracy"), [("vgg19-w0.25-plain", 0.29), ("lenet5-plain", 0.99)]
)
def test_what_only_other_seeds_can_tell_is_left_to_the_gate(
    stored: list[Record], case: str, accuracy: float
) -> None:
    (record,) = changed([first(stored, case)], case, clean_accuracy=accuracy)
    assert outside(record) == set()


def test_the_limits_of_a_stall_are_those_that_studies_count_by() -> None:
    found = bands(CONTROL, tier="small", stack="eager")["adversarial_branch_gain"]
    mended = bands(MEND, tier="small", stack="eager")["adversarial_branch_gain"]
    assert (found.high, mended.low) == (STALLED, MENDED)


def test_a_record_is_judged_by_all_that_has_a_limit_and_nothing_else(
    make_record: MakeRecord,
) -> None:
    case = "lenet5-intended-none"
    found = bands(case, tier="small", stack="eager")
    own = dict.fromkeys((name for name in found if name not in DERIVED), 1.0)
    assert len(own) == len(found) - 1  # the cost is the difference of two records
    record = make_record(case=case, metrics={**own, "adversarial_accuracy": 2.0})
    assert judged(record) == own


def test_a_record_without_a_number_that_has_a_limit_is_refused(make_record: MakeRecord) -> None:
    with pytest.raises(RecordError, match=r"holds no phases_agree, .*updates_per_step"):
        judged(make_record(case=CONTROL, metrics={"clean_accuracy": 0.1}))


def test_a_case_without_limits_is_recorded_alone(make_record: MakeRecord) -> None:
    assert judged(make_record(case="another", metrics={"clean_accuracy": 0.1})) == {}
