"""Tests of suite.judge.gate.draws: level and power by simulation, and the words of each finding."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from suite.judge.gate import contrasts
from suite.judge.gate.contrasts import LEVEL, NEGLIGIBLE, POWER, scale, weight_contrasts
from suite.judge.gate.drawn import drawn_by, looks_like
from suite.judge.gate.draws import DROPOUT, SEEDS, WEIGHTS, draw_findings
from suite.judge.gate.finding import NO_WORSE, RANDOM_PARTS, UNDECIDED, WORSE, Finding
from suite.measure.questions.draws import described, limit
from suite.records import Record

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    MakeRecord: TypeAlias = Callable[..., Record]

SHAPE = (3, 3, 3, 6)  # of the first kernel of LeNet-5, which has the fewest draws
BUILDS = 16
ROUNDS = 400
RARE = 4.0  # standard deviations of the number of rounds that a simulation may be off by


def kernel(rng: np.random.Generator, factor: float = 1.0) -> NDArray[np.float64]:
    """Draw a kernel as often as a run does, with `factor` of Glorot's scale."""
    reach = factor * limit(SHAPE)
    return rng.uniform(-reach, reach, (BUILDS, *SHAPE))


def entry(values: NDArray[np.float64], layer: str = "Conv2D 1") -> dict[str, Any]:
    return described((layer, "kernel"), values)


def masks(rng: np.random.Generator, rate: float = 0.5, draws: int = 100_000) -> dict[str, Any]:
    """Describe a layer of dropout that draws as it should, at some rate."""
    pairs = {
        kind: [rng.normal() / np.sqrt(draws), draws]
        for kind in ("steps", "images", "seeds", "passes")
    }
    return {
        "quantity": "dropout",
        "layer": "Dropout 1",
        "rate": rate,
        "units": 3600,
        "behind": "MaxPooling2D",
        "draws": draws,
        "share": rng.binomial(draws, rate) / draws,
        "scale": 1 / (1 - rate),
        "scale_error": 0.0,
        "inference_change": 0.0,
        "gradient_error": 0.0,
        "correlations": pairs,
        "repeat": {"lag": 9, "correlation": [0.01, draws], "lags": draws // 2},
    }


OTHER = np.random.default_rng(9)


@pytest.fixture
def drawn(make_record: MakeRecord) -> Callable[..., Record]:
    """Give a function that makes a record of draws; keywords replace what it holds."""

    def made(seed: int = 0, **changes: Any) -> Record:
        rng = np.random.default_rng([seed, 1])
        digests = [f"{seed}-{build}" for build in range(BUILDS)]
        rows = {
            "builds": {"seeds": [*range(BUILDS)], "digests": digests, "again": digests[0]},
            "weights": entry(kernel(rng)),
            "bias": described(("Conv2D 1", "bias"), np.zeros((BUILDS, 6))),
            "layers": {
                "layers": ["a", "b"],
                "pairs": 9,
                "correlations": {"layers": [0.01, 5000]},
                "repeat": {"lag": 9, "correlation": [0.01, 9000], "lags": 6750},
            },
            "dropout": masks(rng),
            "dropout steps": {"seeds": [0, 1], "repeats": 1.0, "clean_step_spread": 0.01},
        }
        entries = [{"quantity": name, **row, **changes.get(name, {})} for name, row in rows.items()]
        return make_record(
            "random-net",
            seed=seed,
            question="random",
            statistics=entries,
            environment={
                "library_digest": changes.get("libraries", f"of {seed}"),
                "probe_digest": "sha256:5",
            },
        )

    return made


def only(findings: list[Finding], metric: str) -> Finding:
    [found] = [finding for finding in findings if finding.metric == metric]
    return found


def worse(findings: list[Finding]) -> set[str]:
    return {finding.metric for finding in findings if finding.decision == WORSE}


def share_found(level: float, made: Callable[[np.random.Generator], contrasts.Contrast]) -> float:
    """Simulate `ROUNDS` pairs of releases; return how often a test finds them different."""
    rng = np.random.default_rng(7)
    return float(np.mean([made(rng).p <= level for _ in range(ROUNDS)]))


def tolerance(share: float) -> float:
    return RARE * float(np.sqrt(share * (1 - share) / ROUNDS))


@pytest.fixture
def nothing_negligible(monkeypatch: pytest.MonkeyPatch) -> None:
    """Test whether releases differ at all, whose level is known exactly."""
    monkeypatch.setattr(contrasts, "DISTRIBUTION", 0.0)
    for kind in NEGLIGIBLE:
        monkeypatch.setitem(NEGLIGIBLE, kind, 0.0)


@pytest.mark.usefixtures("nothing_negligible")
def test_without_a_margin_each_test_of_weights_has_its_level() -> None:
    rng, expected = np.random.default_rng(7), 0.05
    found: dict[str, list[bool]] = {}
    for _ in range(ROUNDS):
        for row in weight_contrasts("w", entry(kernel(rng)), entry(kernel(rng))):
            axis = row.words.split(" ")[0] if row.kind == "correlation" else ""
            found.setdefault(f"{row.kind} {axis}".strip(), []).append(row.p <= expected)
    shares = {name: np.mean(rejected) for name, rejected in found.items()}
    assert set(shares) >= {"scale", "elsewhere", "mean", "correlation rows", "correlation filters"}
    assert max(shares.values()) <= expected + tolerance(expected)
    assert shares["scale"] == pytest.approx(expected, abs=tolerance(expected))
    assert shares["mean"] == pytest.approx(expected, abs=tolerance(expected))


@pytest.mark.usefixtures("nothing_negligible")
def test_without_a_margin_the_tests_of_dropout_have_their_level() -> None:
    def rate(rng: np.random.Generator) -> contrasts.Contrast:
        return contrasts.rate("d", masks(rng), masks(rng, draws=40_000))

    def steps(rng: np.random.Generator) -> contrasts.Contrast:
        return contrasts.correlated("d", "steps", masks(rng), masks(rng))

    assert share_found(0.05, rate) == pytest.approx(0.05, abs=tolerance(0.05))
    assert share_found(0.05, steps) <= 0.05 + tolerance(0.05)


def test_a_scale_that_is_off_everywhere_is_found_though_no_weight_alone_shows_it(
    drawn: Callable[..., Record],
) -> None:
    rng = np.random.default_rng(2)
    rows = [
        [entry(kernel(rng, factor=factor), f"Conv2D {place}") for place in range(60)]
        for factor in (1.0, 1.02)
    ]
    records = [
        replace(drawn(seed), statistics=[drawn(seed).statistics[0], *own])
        for seed, own in enumerate(rows)
    ]
    found = only(draw_findings(*([record] for record in records)), WEIGHTS)
    assert found.decision == WORSE
    assert found.words.startswith("all drawn weights together have 1.0")
    assert found.estimate == pytest.approx(2, abs=0.5)


@pytest.mark.usefixtures("nothing_negligible")
def test_unbroken_releases_are_called_different_no_more_often_than_the_level(
    drawn: Callable[..., Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("suite.judge.gate.draws.LEVEL", 0.05)
    pairs, kinds = 150, 3
    wrong = [draw_findings([drawn(2 * x)], [drawn(2 * x + 1)]) for x in range(pairs)]
    most = 0.05 + RARE * np.sqrt(0.05 * 0.95 / pairs / kinds)
    assert 0 < sum(len(worse(findings)) for findings in wrong) / pairs / kinds <= most


def test_unbroken_releases_agree(drawn: Callable[..., Record]) -> None:
    for x in range(60):
        assert not worse(draw_findings([drawn(2 * x)], [drawn(2 * x + 1)]))


def test_the_scale_that_is_said_to_be_detectable_is_found_with_its_power() -> None:
    rng = np.random.default_rng(3)
    size = scale("w", entry(kernel(rng)), entry(kernel(rng))).detectable(LEVEL)
    assert 0.05 < size < 0.1

    def made(rng: np.random.Generator) -> contrasts.Contrast:
        return scale("w", entry(kernel(rng)), entry(kernel(rng, factor=float(np.exp(size)))))

    assert share_found(LEVEL, made) == pytest.approx(POWER, abs=tolerance(POWER))


def test_the_rate_that_is_said_to_be_detectable_is_found_with_its_power() -> None:
    rng = np.random.default_rng(3)
    size = contrasts.rate("d", masks(rng), masks(rng)).detectable(LEVEL)
    assert 0.005 < size < 0.02

    def made(rng: np.random.Generator) -> contrasts.Contrast:
        return contrasts.rate("d", masks(rng), masks(rng, rate=0.5 - size))

    assert share_found(LEVEL, made) == pytest.approx(POWER, abs=tolerance(POWER))


def test_a_distribution_of_the_same_scale_is_told_from_a_uniform_one() -> None:
    def made(rng: np.random.Generator) -> contrasts.Contrast:
        normal = rng.normal(0, limit(SHAPE) / np.sqrt(3), (BUILDS, *SHAPE))
        return contrasts.distribution("w", entry(kernel(rng)), entry(normal))

    assert share_found(LEVEL, made) == 1.0


def test_a_certain_difference_that_is_negligible_is_no_fault() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(-1, 1, (BUILDS, 100_000))
    small, larger = 1 + 0.6 * NEGLIGIBLE["scale"], 1 + 3 * NEGLIGIBLE["scale"]
    rows = [described(("Dense 1", "kernel"), values * factor) for factor in (1, small, larger)]
    assert abs(scale("w", rows[0], rows[1]).size or 0) > 5 * scale("w", *rows[:2]).deviation
    assert scale("w", rows[0], rows[1]).p == 1
    assert scale("w", rows[0], rows[2]).p < LEVEL


def test_equal_draws_agree_and_the_finding_says_what_could_have_been_missed(
    drawn: Callable[..., Record],
) -> None:
    findings = draw_findings([drawn()], [drawn()])
    assert [row.metric for row in findings] == [WEIGHTS, SEEDS, DROPOUT]
    for row in findings:
        assert (row.layer, row.case, row.decision) == (RANDOM_PARTS, "random-net", NO_WORSE)
        assert row.detectable is not None
        assert row.p == 1
    weights = only(findings, WEIGHTS)
    assert weights.words.startswith("1 weights, 2,592 draws on each side, are the same bit for bit")
    assert f"a difference of {weights.detectable:.2g} %" in weights.words
    assert (weights.estimate, weights.unit, weights.margin) == (0.0, "%", 0.5)
    assert weights.seeds == (BUILDS, BUILDS)
    assert only(findings, DROPOUT).seeds == (2, 2)


def test_another_seeds_draws_are_alike_and_not_the_same(drawn: Callable[..., Record]) -> None:
    weights = only(draw_findings([drawn(0)], [drawn(1)]), WEIGHTS)
    assert "are drawn alike" in weights.words
    assert weights.low is not None
    assert weights.low < (weights.estimate or 0) < (weights.high or 0)


def test_a_scale_is_named_with_both_rules(drawn: Callable[..., Record]) -> None:
    rng, i, o = np.random.default_rng(5), 27, 54
    values = kernel(rng, factor=float(np.sqrt((i + o) / 2 / o)))
    found = only(draw_findings([drawn()], [drawn(1, weights=entry(values))]), WEIGHTS)
    assert found.decision == WORSE
    assert found.words.startswith("kernel of Conv2D 1 is drawn with 0.8")
    assert "It looks uniform, variance 1 / fan_out; " in found.words
    assert found.p is not None
    assert found.p < LEVEL
    assert found.estimate == pytest.approx(100 * np.log(np.sqrt(81 / 108)), abs=3)


@pytest.mark.parametrize(
    ("changes", "metric", "words"),
    [
        ({"weights": {"quantity": "constant", "value": 0.0}}, WEIGHTS, "constant instead of drawn"),
        ({"weights": {"shape": [3, 3, 3, 8]}}, WEIGHTS, "has the shape [3, 3, 3, 8] instead of"),
        ({"weights": {"layer": "Conv2D 9"}}, WEIGHTS, "kernel of Conv2D 1 is missing; kernel of"),
        ({"weights": {"mean": 0.05}}, WEIGHTS, "kernel of Conv2D 1 is drawn about 0.05 instead of"),
        ({"bias": {"value": 0.5}}, WEIGHTS, "bias of Conv2D 1 begins at 0.5 instead of 0"),
        ({"layers": {"correlations": {"layers": [0.3, 5000]}}}, WEIGHTS, "a and b are alike: they"),
        (
            {"weights": {"repeat": {"lag": 7, "correlation": [0.5, 5000], "lags": 900}}},
            WEIGHTS,
            "the draws of kernel of Conv2D 1 repeat after 7 elements: they correlate by 0.5",
        ),
        (
            {"layers": {"repeat": {"lag": 7, "correlation": [0.3, 9000], "lags": 6750}}},
            WEIGHTS,
            "the draws of all weights, layer by layer, repeat after 7 elements: they correlate by",
        ),
        (
            {"dropout": {"repeat": {"lag": 7, "correlation": [0.3, 9000], "lags": 6750}}},
            DROPOUT,
            "the draws of Dropout 1 repeat after 7 elements: they correlate by 0.3",
        ),
        ({"builds": {"again": "else"}}, SEEDS, "the same seed draws something else"),
        ({"builds": {"digests": ["x"] * BUILDS, "again": "x"}}, SEEDS, "the seed is ignored"),
        ({"dropout steps": {"repeats": 0.0}}, SEEDS, "the same seed draws something else"),
        ({"dropout": {"share": 0.45}}, DROPOUT, "Dropout 1 drops 45.00 % of its units instead of"),
        (
            {"dropout": {"units": 900}},
            DROPOUT,
            "Dropout 1 has 900 units behind MaxPooling2D instead",
        ),
        ({"dropout": {"behind": "Dense"}}, DROPOUT, "has 3600 units behind Dense instead of 3600"),
        ({"dropout": {"scale": 1.0}}, DROPOUT, "multiplies what it keeps by 1 instead of 2"),
        ({"dropout": {"scale_error": 0.1}}, DROPOUT, "does not multiply what it keeps by 1 / (1 -"),
        ({"dropout": {"inference_change": 1.0}}, DROPOUT, "changes its input in the inference"),
        (
            {"dropout": {"gradient_error": 0.5}},
            DROPOUT,
            "does not drop or scale the gradient of 50 % of its",
        ),
        ({"dropout": {"gradient_error": np.nan}}, DROPOUT, "does not drop or scale the gradient"),
        ({"dropout": {"share": np.nan}}, DROPOUT, "NaN or infinite"),
        ({"weights": {"mean": np.nan}}, WEIGHTS, "NaN or infinite"),
        ({"dropout steps": {"clean_step_spread": 0.0}}, DROPOUT, "not at work in the clean pass"),
        ({"dropout": {"layer": "Dropout 2"}}, DROPOUT, "Dropout 1 is missing; Dropout 2 is new"),
    ],
)
def test_each_difference_is_named_once(
    drawn: Callable[..., Record], changes: dict[str, Any], metric: str, words: str
) -> None:
    findings = draw_findings([drawn()], [drawn(1, **changes)])
    assert worse(findings) == {metric}
    assert words in only(findings, metric).words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"builds": {"seeds": [0], "digests": ["x"], "again": "x"}}, "networks of 1 seeds, expec"),
        ({"weights": {"correlations": {}}}, "kernel of Conv2D 1: no correlation of "),
        ({"weights": {"draws": 9}}, "kernel of Conv2D 1: 9 draws, expected some "),
        ({"dropout": {"correlations": {}}}, "Dropout 1: no correlation of images; Dropout 1: no "),
        ({"weights": {"counts": [1]}}, "an entry cannot be judged: ValueError("),
        ({"weights": {"draws": 0}}, "an entry cannot be judged: "),
    ],
)
def test_what_the_candidate_did_not_measure_is_undecided(
    drawn: Callable[..., Record], changes: dict[str, Any], words: str
) -> None:
    findings = draw_findings([drawn()], [drawn(1, **changes)])
    assert [found for found in findings if found.decision == UNDECIDED and words in found.words]


def test_masks_that_two_seeds_share_are_a_fault_of_the_seeds(drawn: Callable[..., Record]) -> None:
    shared = masks(np.random.default_rng(0))
    shared["correlations"]["seeds"] = [1.0, 100_000]
    findings = draw_findings([drawn()], [drawn(1, dropout=shared)])
    assert worse(findings) == {SEEDS}
    assert "draws of Dropout 1 by two seeds are alike" in only(findings, SEEDS).words


def test_what_the_baseline_lacks_is_no_fault_of_the_candidates(
    drawn: Callable[..., Record],
) -> None:
    broken = drawn(1, builds={"again": "else"}, dropout={"inference_change": 1.0, "scale_error": 1})
    assert worse(draw_findings([drawn()], [broken])) == {SEEDS, DROPOUT}
    assert not worse(draw_findings([broken], [drawn()]))


@pytest.mark.parametrize(
    ("changes", "libraries", "told"),
    [
        ({}, "of 0", set()),
        ({"weights": entry(kernel(OTHER))}, "of 0", {SEEDS}),
        ({"weights": entry(kernel(OTHER))}, "others", set()),
        ({"weights": entry(kernel(OTHER)), "dropout": masks(OTHER)}, "", set()),
        ({"weights": entry(kernel(OTHER, 1.5))}, "of 0", {WEIGHTS}),
        ({"dropout": masks(OTHER)}, "of 0", set()),  # one processor's library draws as no other's
    ],
)
def test_other_weights_of_the_same_seed_and_libraries_are_told(
    drawn: Callable[..., Record], changes: dict[str, Any], libraries: str, told: set[str]
) -> None:
    before = [drawn(libraries=libraries and "of 0"), drawn(1)]
    findings = draw_findings(before, [drawn(libraries=libraries, **changes), drawn(2)])
    assert worse(findings) == told
    words = only(findings, SEEDS).words
    assert words.startswith("the same seed draws other weights than before") == (SEEDS in told)
    assert (
        re.search(r"kernel of Conv2D 1 has a root mean square of 0\.\d+ instead", words)
        or SEEDS not in told
    )


@pytest.mark.parametrize(
    ("builds", "told"),
    [({"again": "x"}, "second time"), ({"digests": ["x"] * BUILDS, "again": "x"}, "is ignored")],
)
def test_a_seed_that_is_not_obeyed_is_told_once(
    drawn: Callable[..., Record], builds: dict[str, Any], told: str
) -> None:
    other = {"weights": entry(kernel(OTHER)), "builds": builds, "libraries": "of 0"}
    words = only(draw_findings([drawn()], [drawn(**other)]), SEEDS).words
    assert told in words
    assert "draws other weights than before" not in words


def test_several_records_of_a_case_are_one_sample(drawn: Callable[..., Record]) -> None:
    one = only(draw_findings([drawn(0)], [drawn(1)]), WEIGHTS)
    both = [[drawn(0), drawn(2)], [drawn(1), drawn(3)]]
    two = only(draw_findings(*both), WEIGHTS)
    assert "5,184 draws" in two.words
    margin = one.margin or 0
    ratio = ((one.detectable or 0) - margin) / ((two.detectable or 0) - margin)
    assert ratio == pytest.approx(np.sqrt(2), rel=0.02)


def test_of_several_records_the_strongest_repetition_counts(drawn: Callable[..., Record]) -> None:
    strong = {"lag": 7, "correlation": [-0.5, 5000], "lags": 900}
    records = [drawn(0), drawn(2, weights={"repeat": strong}), drawn(3)]
    repeat = drawn_by(records).weights["kernel of Conv2D 1"]["repeat"]
    others = [entry_of(record)["repeat"]["lags"] for record in (records[0], records[2])]
    assert repeat == {**strong, "lags": 900 + sum(others)}


def entry_of(record: Record) -> Any:
    """Pick the entry of the kernel."""
    return next(entry for entry in record.statistics if entry["quantity"] == "drawn")


def test_records_that_disagree_with_each_other_are_not_passed_over(
    drawn: Callable[..., Record],
) -> None:
    odd = drawn(3, weights={"quantity": "constant", "value": 0.0})
    words = only(draw_findings([drawn(0)], [drawn(1), odd]), WEIGHTS).words
    assert "of different kinds instead of drawn" in words


def test_other_questions_and_cases_of_one_side_alone_are_passed_over(
    drawn: Callable[..., Record], make_record: MakeRecord
) -> None:
    assert draw_findings([make_record()], [make_record()]) == []
    alone = replace(drawn(), case="random-other")
    assert draw_findings([drawn()], [alone]) == []


def test_a_network_without_dropout_has_no_finding_of_it(drawn: Callable[..., Record]) -> None:
    bare = [
        replace(record, statistics=[row for row in record.statistics if "dropout" not in str(row)])
        for record in (drawn(0), drawn(1))
    ]
    findings = draw_findings(bare[:1], bare[1:])
    assert [row.metric for row in findings] == [WEIGHTS, SEEDS]
    assert worse(draw_findings(bare[:1], [drawn(1)])) == {DROPOUT}


def test_records_that_hold_no_draws_decide_nothing(drawn: Callable[..., Record]) -> None:
    empty = replace(drawn(), statistics=[])
    assert {row.decision for row in draw_findings([empty], [empty])} == {UNDECIDED}
    assert WEIGHTS in worse(draw_findings([drawn()], [empty]))
    assert WEIGHTS in worse(draw_findings([empty], [drawn()]))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (
            {"quantity": "drawn", "layer": "x"},
            r"\('drawn'\) has no weight\. Expected: layer, weight",
        ),
        ({"quantity": "luck"}, r"\('luck'\) has no quantity as in FIELDS"),
        ({}, r"\(None\) has no quantity"),
    ],
)
def test_a_record_that_lacks_what_is_judged_leaves_its_case_undecided(
    drawn: Callable[..., Record], entry: dict[str, Any], words: str
) -> None:
    odd = replace(drawn(1), statistics=[*drawn(1).statistics, entry])
    [found] = draw_findings([drawn()], [odd])
    assert found.decision == UNDECIDED
    assert re.match(rf"random-net-seed1 of tf-2.21 cannot be .*{words}", found.words)


def test_a_distribution_of_no_rule_is_said_to_be_of_none() -> None:
    rng = np.random.default_rng(0)
    assert looks_like(entry(kernel(rng, factor=3.3))) == "uniform, of no rule of Keras"
    spiked = kernel(rng) * (rng.random((BUILDS, *SHAPE)) < 0.1)
    assert looks_like(entry(spiked)).startswith("of kurtosis 1")


def test_bins_are_merged_until_each_expects_enough() -> None:
    counts = np.array([[0, 1, 12, 9, 30, 1], [1, 0, 11, 8, 28, 0]], dtype=float)
    merged = contrasts.merged(counts)
    assert merged.sum() == counts.sum()
    smallest = merged.sum(axis=1).min() / merged.sum()
    assert (merged.sum(axis=0) * smallest >= contrasts.FEWEST).all()
    assert merged.shape[1] == 3
    assert contrasts.merged(np.array([[1.0, 0], [1, 0]])).shape == (2, 1)
