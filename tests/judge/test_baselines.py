"""Tests of suite.judge.baselines: the band that a baseline expects, and how a baseline is made."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, BinaryIO

import pytest
from scipy.stats import t

from suite import files
from suite.cases import has_baseline
from suite.errors import RecordError
from suite.judge import baselines
from suite.judge.baselines import (
    expected_band,
    folder_in,
    gaps,
    renewed,
    summarise,
)
from suite.judge.staleness import Present
from suite.records import Record
from suite.store import read_record, read_records, replace_records, store, stored_cases
from suite.tables import asked
from tests.judge.conftest import EAGER, GRAPH, VALUES, MakeRecord, MakeRuns, updates

ROOT = Path(__file__).parents[2]


def test_a_band_is_students_prediction_interval_for_one_new_run() -> None:
    values = [2.0, 2.5, 1.5, 3.0, 1.0]
    half = t.ppf(0.99995, 4) * stdev(values) * math.sqrt(1 + 1 / 5)
    band = expected_band("information_gain", values)
    assert (band.low, band.high) == pytest.approx((2 - half, 2 + half))


def width(metric: str, seeds: int) -> str:
    """Measure how many standard deviations of the seeds a band has to its upper side."""
    values = [(-1.0) ** seed for seed in range(seeds)]
    return f"{(expected_band(metric, values).high - fmean(values)) / stdev(values):.1f}"


def test_what_the_level_costs_in_width_is_as_its_comment_says() -> None:
    metrics = ("last_loss", "plain_step_s")
    both_5, both_10, one_5, one_10 = (width(name, n) for name in metrics for n in (5, 10))
    assert (both_5, both_10, one_5, one_10) == ("17.0", "6.9", "14.3", "6.3")
    comment = " ".join(Path(baselines.__file__).read_text(encoding="utf-8").split())
    for sentence in (
        f"Five seeds give a band of {both_5} standard deviations to each side, ten give {both_10};",
        f"where only one side is bounded, {one_5} and {one_10}.",
    ):
        assert sentence in comment


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


def test_a_band_of_one_number_is_refused() -> None:
    with pytest.raises(ValueError, match=r"values must hold at least 2 numbers\. Received"):
        expected_band("last_loss", [1.0])


def test_a_graphs_two_updates_a_step_are_a_baseline_of_the_graph(
    roots: tuple[Path, Path], seeds: MakeRuns
) -> None:
    for record in updates(seeds, [2.0, 2.001, 2.002, 1.999, 1.998], GRAPH):
        store(record, roots[0])
    assert len(_rebaseline(roots)) == 10


def test_two_updates_a_step_are_no_baseline_of_another_stack(seeds: MakeRuns) -> None:
    with pytest.raises(RecordError, match=r"updates_per_step is 2, expected 0\.98 to 1\.02"):
        summarise(updates(seeds, [2.0] * 5, EAGER))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"environment": {"data_digest": "x"}}, "data digests: sha256:2 of seed 0, x of seed 4"),
        ({"environment": {"code_digest": "x"}}, "code digests: sha256:3 of seed 0, x of seed 4"),
        ({"environment": {"probe_digest": "x"}}, "probe digests: None of seed 0, x of seed 4"),
        (
            {"environment": {"fingerprint": "x"}},
            r"machines: machine-a-\w+ of seed 0, x-\w+ of seed 4",
        ),
        ({"settings": {"steps": 9}}, "settings: "),
        ({"question": "attack"}, "questions: training of seed 0, attack of seed 4"),
        ({"environment": {"variables": {"OMP_NUM_THREADS": "1"}}}, "environments: "),
        ({"environment": {"library_digest": "x"}}, "environments: "),
        ({"metrics": {"information_gain": 1.0}}, "metrics: "),
    ],
)
def test_a_baseline_that_mixes_what_must_be_one_is_an_error(
    seeds: MakeRuns, make_record: MakeRecord, change: dict[str, Any], what: str
) -> None:
    odd = make_record(seed=4, **{"metrics": {"last_loss": 1.0}, **change})
    with pytest.raises(RecordError, match=f"case net-plain mixes {what}"):
        summarise([*seeds("last_loss", VALUES[:4]), odd])


def test_the_stored_baselines_can_be_used() -> None:
    for folder in sorted((ROOT / "baselines").glob("*/*")):
        if folder.is_dir():
            records = read_records(folder)
            assert records
            summarise([record for record in records if has_baseline(record.case)])


@pytest.fixture
def roots(tmp_path: Path, seeds: MakeRuns) -> tuple[Path, Path]:
    """Return a folder of records and one of baselines; both hold five seeds of one case."""
    roots = tmp_path / "records", tmp_path / "baselines"
    for root in roots:
        for record in seeds("last_loss", VALUES):
            store(record, root)
    return roots


@pytest.fixture(autouse=True)
def everything_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every record be of the present; tests of staleness tell what is not."""
    monkeypatch.setattr(baselines, "differences", lambda *_: [])


def _rebaseline(roots: tuple[Path, Path], removed: Sequence[str] = ()) -> list[Record]:
    now = Present({}, "", "", {}, "", "")
    found = renewed(*roots, release="tf-2.21", tier="small", now=now, removed=removed)
    replace_records(found, _folder(roots[1]))
    return found


def _folder(root: Path) -> Path:
    return root / "tf-2.21" / "small"


def test_a_new_baseline_is_the_records_and_no_other(
    roots: tuple[Path, Path], seeds: MakeRuns
) -> None:
    for record in seeds("last_loss", [2.0, 2.1, 2.2, 2.3, 2.4, 2.5]):
        store(record, roots[0])
    written = _rebaseline(roots)
    assert len(written) == 6
    assert read_records(_folder(roots[1])) == written
    assert [run.metrics for run in written] == [r.metrics for r in read_records(_folder(roots[0]))]


def test_a_case_leaves_the_baseline_only_when_it_is_named(
    roots: tuple[Path, Path], seeds: MakeRuns
) -> None:
    for record in seeds("last_loss", VALUES, case="vgg19"):
        store(record, roots[1])
    with pytest.raises(RecordError, match=r"no record of vgg19, .*name each .* --removed CASE"):
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


@pytest.mark.parametrize(
    "same",
    [
        {"metrics": {"last_loss": 0.82}},
        {"metrics": {"plain_step_s": 0.82}},
        {"metrics": {"last_loss": 0.82, "plain_step_s": 0.5}, "curves": {"step_s": [1.0]}},
        {"metrics": {"last_loss": math.nan}},
    ],
    ids=str,
)
def test_one_run_that_stands_for_two_seeds_is_no_baseline(
    roots: tuple[Path, Path], make_record: MakeRecord, same: dict[str, Any]
) -> None:
    for seed in range(5):
        numbers = dict.fromkeys(same["metrics"], seed / 10)
        store(make_record(seed=seed, metrics=numbers), roots[0])
    assert len(_rebaseline(roots)) == 5
    for seed in (1, 3):
        store(make_record(seed=seed, **same), roots[0])
    with pytest.raises(RecordError, match="seed 3 has the very numbers of seed 1, expected a run"):
        _rebaseline(roots)


def test_times_alone_do_not_make_a_run_of_its_own(
    roots: tuple[Path, Path], make_record: MakeRecord
) -> None:
    for seed in range(5):
        metrics = {"last_loss": 1.0, "plain_step_s": 1 + seed / 10, "cost_ratio": 2 + seed / 10}
        curves = {"step_s": [1 + seed / 10]}
        store(make_record(seed=seed, metrics=metrics, curves=curves), roots[0])
    with pytest.raises(RecordError, match="seed 1 has the very numbers of seed 0"):
        _rebaseline(roots)


def test_another_curve_is_a_run_of_its_own(
    roots: tuple[Path, Path], make_record: MakeRecord
) -> None:
    for seed in range(5):
        curves = {"step_loss": [1 + seed / 10]}
        store(make_record(seed=seed, metrics={"last_loss": 1.0}, curves=curves), roots[0])
    assert len(_rebaseline(roots)) == 5


def test_a_baseline_holds_no_curves_of_trainings_which_nothing_judges(
    roots: tuple[Path, Path], make_record: MakeRecord
) -> None:
    for seed in range(5):
        numbers = {"metrics": {"last_loss": 1 + seed / 10}, "curves": {"step_loss": [1.0, 2.0]}}
        store(make_record(seed=seed, **numbers), roots[0])
        store(make_record(seed=seed, case="studied", question="fixes", **numbers), roots[0])
    _rebaseline(roots)
    found = {record.case: record.curves for record in read_records(_folder(roots[1]))}
    assert found == {"net-plain": {}, "studied": {"step_loss": [1.0, 2.0]}}


def test_a_baseline_holds_one_seed_of_what_the_gate_alone_judges(
    roots: tuple[Path, Path], make_record: MakeRecord
) -> None:
    for case, question in (("parity-net", "parity"), ("random-net", "random"), ("traps", "traps")):
        for seed in (0, 1):
            store(make_record(case=case, question=question, seed=seed), roots[0])
    _rebaseline(roots)
    found = {(record.case, record.seed) for record in read_records(_folder(roots[1]))}
    assert {place for place in found if place[0] != "net-plain"} == {
        ("parity-net", 0),
        ("random-net", 0),
    }


def test_steps_and_draws_alone_are_a_baseline_for_the_gate(
    tmp_path: Path, make_record: MakeRecord
) -> None:
    roots = tmp_path / "records", tmp_path / "baselines"
    store(make_record(case="parity-net", question="parity"), roots[0])
    _rebaseline(roots)
    assert [record.case for record in read_records(_folder(roots[1]))] == ["parity-net"]
    (_folder(roots[0]) / "parity-net-seed0.json").unlink()
    with pytest.raises(RecordError, match="holds no records"):
        _rebaseline(roots)


def test_a_damaged_record_never_becomes_a_baseline(roots: tuple[Path, Path]) -> None:
    path = _folder(roots[0]) / "net-plain-seed2.json"
    path.write_text(path.read_text()[:-30])
    with pytest.raises(RecordError, match="is not JSON"):
        _rebaseline(roots)
    assert len(read_records(_folder(roots[1]))) == 5


def test_a_disk_that_fills_up_leaves_the_baseline_as_it_was(
    roots: tuple[Path, Path], seeds: MakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    for record in seeds("last_loss", [2.0, 2.1, 2.2, 2.3, 2.4]):
        store(record, roots[0])
    write, written = files._write_through, []

    def fill_up(file: BinaryIO, content: bytes) -> None:
        written.append(file.name)
        if len(written) > 3:
            raise OSError(28, "No space left on device")
        write(file, content)

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


def test_a_folder_of_a_release_and_tier_lies_in_its_root(tmp_path: Path) -> None:
    root = tmp_path / "link"
    root.symlink_to(tmp_path)
    assert folder_in(root, "tf-2.21", "small") == root / "tf-2.21" / "small"
    for release, tier in (("..", "small"), ("a/b", "small"), ("", "small"), ("a", "b/../../c")):
        with pytest.raises(RecordError, match=r"does not lie in .*Give --release and --tier"):
            folder_in(root, release, tier)


def test_a_gap_of_a_baseline_has_its_reason(tmp_path: Path) -> None:
    assert gaps(tmp_path, release="tf-2.21", tier="small") == {}
    lines = ["release,tier,case,why", 'tf-2.21,small,vgg19,"slow, so far"', "tf-2.15,small,a,b"]
    (tmp_path / "gaps.csv").write_text("\n".join(lines))
    assert gaps(tmp_path, release="tf-2.21", tier="small") == {"vgg19": "slow, so far"}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"release,tier,case\n",
        b"release,tier,case,why\ntf-2.21,small,vgg19\n",
        b'release,tier,case,why\n"tf-2.21,small,vgg19,x\n',
        b'release,tier,case,why\ntf-2.21,small,vgg19,"x"y\n',
        b"release,tier,case,why\n\xff,small,vgg19,x\n",
    ],
)
def test_a_damaged_list_of_gaps_is_an_error(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "gaps.csv").write_bytes(text)
    with pytest.raises(RecordError, match=r"gaps\.csv .*Restore it from version control"):
        gaps(tmp_path, release="tf-2.21", tier="small")


def test_every_case_of_the_default_tier_has_a_baseline_or_a_stated_gap() -> None:
    for release in ("tf-2.21", "tf-2.15"):
        known = {*filter(has_baseline, stored_cases(ROOT / "baselines" / release / "small"))}
        known |= {*gaps(ROOT / "baselines", release=release, tier="small")}
        assert {*filter(has_baseline, asked("small"))} == known
