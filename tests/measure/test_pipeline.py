"""Tests of suite.pipeline: what a run records, and that a seed decides it to the last bit."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suite.cases import Case
from suite.data import CLASSES, Dataset, Split, label_entropy
from suite.measure import pipeline, run, training, weights
from suite.measure.questions import fixes, stall, step_time
from suite.measure.training import Batch, TimedStep
from suite.networks.batch_norm import batch_norms
from suite.networks.phases import PHASES
from suite.records import Record
from suite.stacks import loading
from suite.stacks.protocol import Stack, StepResult

ENVIRONMENT: dict[str, Any] = {
    "versions": {"numpy": np.__version__},
    "lock_digest": "sha256:1",
    "data_digest": "sha256:2",
    "code_digest": "sha256:3",
    "machine": {"fingerprint": "here"},
}
SMALL = {
    "width": 0.125, "size_px": 32, "batch_size": 8, "epochs": 2, "train_images": 27,
    "test_images": 40, "learning_rate": 0.05,
}  # fmt: skip
ALEXNET = Case("alexnet", **SMALL)
NORMALISED = Case("resnet50", **{**SMALL, "epochs": 1})
ROOT = Path(__file__).parents[1]


def dataset() -> Dataset:
    """Return noise in a colour for each class, 86 training and 86 test images."""
    rng = np.random.default_rng(0)
    labels = np.arange(2 * CLASSES) % CLASSES
    colours = rng.integers(0, 200, (CLASSES, 1, 1, 3))[labels]
    names = np.array([f"{index:05}" for index in range(len(labels))])
    train, test = (
        Split(
            (colours + rng.integers(0, 56, (len(labels), 32, 32, 3))).astype(np.uint8),
            labels,
            np.full(len(labels), -1),
            names,
        )
        for _ in range(2)
    )
    return Dataset("synthetic", train, test, "sha256:0")


def run(stack: Stack, case: Case, *, seed: int = 0, **more: Any) -> Record:
    return pipeline.run_case(
        case,
        seed=seed,
        release="tf-2.21",
        tier="small",
        stack=stack,
        dataset=dataset(),
        environment=ENVIRONMENT,
        **more,
    )


def curves(record: Record) -> dict[str, Any]:
    """Return all that a run measured, its times apart."""
    return {**record.metrics, **{k: v for k, v in record.curves.items() if k != "step_s"}}


@pytest.fixture(scope="module")
def alexnet(stack: Stack) -> Record:
    return run(stack, ALEXNET)


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a network with two BatchNorm layers in the place of ResNet-50, which takes long."""

    def seeded(stack: Stack, case: Case, *, seed: int, environment: Any) -> Any:
        del environment
        stack.seed(seed)
        return build(stack, case)

    def build(stack: Stack, case: Case) -> Any:
        layers = stack.keras.layers
        inputs = stack.keras.Input((case.size_px, case.size_px, 3))
        x = layers.Conv2D(4, 3, strides=2)(inputs)
        x = layers.BatchNormalization(name="first")(x)
        x = layers.Activation("relu")(x)
        x = layers.Dense(8)(layers.Flatten()(x))
        x = layers.BatchNormalization(name="second")(x)
        return stack.keras.Model(inputs, layers.Dense(CLASSES)(x))

    monkeypatch.setattr(weights, "initial_model", seeded)
    monkeypatch.setattr(weights, "build", build)


def test_the_same_seed_gives_the_same_run_to_the_last_bit(stack: Stack, alexnet: Record) -> None:
    assert curves(run(stack, ALEXNET)) == curves(alexnet)


def test_another_seed_gives_another_run(stack: Stack, alexnet: Record) -> None:
    other = run(stack, ALEXNET, seed=1)
    assert set(other.curves["step_loss"]).isdisjoint(alexnet.curves["step_loss"])


def test_another_process_gives_the_same_run_to_the_last_bit(alexnet: Record) -> None:
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]; "
        "import test_pipeline; test_pipeline.print_curves()"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == curves(alexnet)


def print_curves() -> None:
    sys.stdout.write(json.dumps(curves(run(loading.load(), ALEXNET))) + "\n")


def test_a_record_tells_what_was_run(alexnet: Record) -> None:
    assert (alexnet.case, alexnet.seed, alexnet.question) == (str(ALEXNET), 0, "training")
    assert (alexnet.release, alexnet.tier) == ("tf-2.21", "small")
    assert alexnet.settings == ALEXNET.settings()
    assert alexnet.metrics["parameters"] > 0
    assert alexnet.wall_s > 0


def test_every_step_and_epoch_is_on_the_curves(alexnet: Record) -> None:
    steps = {name: len(values) for name, values in alexnet.curves.items() if "step" in name}
    assert steps == dict.fromkeys(
        [
            *("step_loss", "step_clean_ce", "step_clean_accuracy"),
            *("step_adversarial_ce", "step_adversarial_accuracy", "step_s"),
        ],
        6,
    )
    for phase in ("", "training_phase_"):
        for name in ("clean_accuracy", "adversarial_accuracy", "information_gain"):
            values = alexnet.curves[phase + name]
            assert len(values) == 2
            assert values[-1] == alexnet.metrics[phase + name]


def test_the_last_quarter_of_the_steps_makes_the_tail_metrics(alexnet: Record) -> None:
    train, _ = run.subsets(ALEXNET, dataset(), seed=0)
    entropy = label_entropy(train.labels)
    assert alexnet.metrics["train_accuracy"] == alexnet.curves["step_clean_accuracy"][-1]
    for branch in ("clean", "adversarial"):
        last = alexnet.curves[f"step_{branch}_ce"][-1]
        assert alexnet.metrics[f"{branch}_branch_gain"] == pytest.approx(entropy - last)
    tail = stall.tail_metrics(
        {"step_clean_accuracy": range(8), "step_clean_ce": range(8)}, entropy=10.0
    )
    assert tail == {"train_accuracy": 6.5, "clean_branch_gain": 3.5}


@pytest.mark.usefixtures("shallow")
def test_batch_norm_is_recorded_layer_by_layer(stack: Stack) -> None:
    record = run(stack, NORMALISED)
    assert [layer["layer"] for layer in record.statistics] == ["first", "second"]
    shifts = [layer["mean_shift"] for layer in record.statistics]
    assert record.metrics["statistics_mean_shift"] == max(shifts) > 0
    assert record.metrics["statistics_moved"] > 0
    assert record.metrics["phases_agree"] == 1


@pytest.mark.usefixtures("shallow")
def test_the_literal_phases_leave_every_statistic_alone(stack: Stack) -> None:
    record = run(stack, replace(NORMALISED, loss="literal"))
    assert record.metrics["statistics_moved"] == 0
    assert record.metrics["phases_agree"] == 1


@pytest.mark.usefixtures("shallow")
def test_the_plain_loss_has_no_adversarial_branch(stack: Stack) -> None:
    record = run(stack, replace(NORMALISED, loss="plain"))
    assert "adversarial_branch_gain" not in record.metrics
    assert record.metrics["phases_agree"] == 1
    assert record.curves["step_loss"] == record.curves["step_clean_ce"]


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize(("fix", "momentum"), [("none", 0.99), ("bn-momentum-0.5", 0.5)])
def test_the_fix_of_the_case_is_applied(stack: Stack, fix: str, momentum: float) -> None:
    data, case = dataset(), replace(NORMALISED, fix=fix)
    run = run.Run(case, 0, stack, data.train, data.test, ENVIRONMENT)
    fixed = run.fixed_training(run)
    assert [layer.momentum for layer in batch_norms(fixed.model)] == pytest.approx([momentum] * 2)
    assert (fixed.phases, fixed.batch_size, fixed.epochs) == (case.phases, 8, 1)


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("told", ["literal", "plain"])
def test_a_step_in_other_phases_than_told_is_recorded_as_such(
    stack: Stack, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = stack.train_step
    other = PHASES["literal" if told == "plain" else "intended"]

    def wrong(model: Any, *, phases: Any, epsilon: float, branch: Any) -> Any:
        del phases, branch
        step = right(model, phases=other, epsilon=epsilon)
        if told != "plain":
            return step
        return lambda *args: step(*args)._replace(adversarial_ce=None, adversarial_accuracy=None)

    monkeypatch.setattr(stack, "train_step", wrong)
    record = run(stack, replace(NORMALISED, loss=told, train_images=8))
    assert record.metrics["phases_agree"] == 0


FIXED = replace(NORMALISED, question="fixes", train_images=64, learning_rate=0.01)


@pytest.mark.usefixtures("shallow")
def test_a_fix_is_measured_by_more_than_its_training(stack: Stack) -> None:
    record = run(stack, FIXED)
    trained = run(stack, replace(FIXED, question="training"))
    assert record.curves["step_loss"] == trained.curves["step_loss"]
    assert trained.metrics.items() <= record.metrics.items()
    for phase in ("", "training_phase_"):
        assert 0 <= record.metrics[f"{phase}pgd_accuracy"] <= 1
    assert 0.2 < record.metrics["cost_ratio"] < 5


@pytest.mark.usefixtures("shallow")
def test_recomputed_statistics_are_judged_and_put_back(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    right = fixes.cost_ratio

    def watched(run: Any, fixed: Any, step: Any) -> float:
        images, _ = run.probe(run.train, 256)
        seen.extend(pipeline.diagnosis.statistics(stack, fixed.model, images))
        return right(run, fixed, step)

    monkeypatch.setattr(fixes, "cost_ratio", watched)
    record = run(stack, FIXED)
    assert [layer._asdict() for layer in seen] == record.statistics
    stale, mended = (record.metrics[f"{prefix}information_gain"] for prefix in ("", "precise_bn_"))
    assert mended > stale


@pytest.mark.usefixtures("shallow")
def test_a_schedule_of_the_fix_is_trained_to_its_end(stack: Stack) -> None:
    record = run(stack, replace(FIXED, fix="more-iterations"))
    assert len(record.curves["step_loss"]) == 64 / 4 * 5
    assert len(record.curves["clean_accuracy"]) == 5


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("fix", ["precise-bn", "dual-bn", "training-phase", "group-norm"])
def test_fixes_of_every_kind_are_trained_in_the_phases_they_ask_for(stack: Stack, fix: str) -> None:
    record = run(stack, replace(FIXED, fix=fix))
    assert record.metrics["phases_agree"] == 1
    assert ("precise_bn_information_gain" in record.metrics) == (fix != "group-norm")


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("loss", ["own-kept", "clean-kept", "clean-updating", "moving-updating"])
def test_every_point_of_the_grid_is_trained_as_told(stack: Stack, loss: str) -> None:
    record = run(stack, replace(FIXED, loss=loss))
    assert record.metrics["phases_agree"] == 1


def test_subsets_are_seeded_sized_and_without_leaked_images() -> None:
    data = dataset()
    names = data.test.names.astype("U9")
    names[:8] = ["00666", "02291", "03546", "03594", "04548", "09384", "09575", "11906"]
    data = data._replace(test=data.test._replace(names=names))
    case = Case("lenet5", train_images=50)
    train, test = run.subsets(case, data, seed=0)
    assert (len(train.labels), len(test.labels)) == (50, 2 * CLASSES - 8)
    assert not set(test.names) & set(names[:8])
    again, _ = run.subsets(case, data, seed=0)
    other, _ = run.subsets(case, data, seed=1)
    np.testing.assert_array_equal(train.names, again.names)
    assert (train.names != other.names).any()


def test_an_attack_case_records_the_attacks_properties(stack: Stack) -> None:
    record = run(stack, Case("lenet5", question="attack", **SMALL))
    assert record.question == "attack"
    assert record.metrics["perturbation_max"] == pytest.approx(0.01, rel=1e-3)
    assert record.metrics["linear_error"] < 1e-6
    assert record.metrics["state_change"] == 0
    assert not record.curves


def test_a_parity_case_records_the_trace_of_every_step(stack: Stack) -> None:
    record = run(stack, Case("lenet5", question="parity", **{**SMALL, "epochs": 1}))
    assert record.case == "parity-lenet5-w0.125-intended"
    assert {entry["step"] for entry in record.statistics} == {0, 1, 2}
    assert record.metrics["perturbation_max"] == pytest.approx(0.01, rel=1e-3)
    assert record.metrics["all_finite"] == 1


def pedantic(
    function: Callable[..., Any], *, setup: Any, rounds: int, iterations: int, warmup_rounds: int
) -> None:
    """Do what pytest-benchmark's own does, without its clock."""
    assert iterations == 1
    for _ in range(warmup_rounds + rounds):
        args, kwargs = setup()
        function(*args, **kwargs)


def timed_case(stack: Stack, **more: Any) -> Record:
    settings = {**SMALL, "train_images": 7 * 8, "epochs": 1}
    case = Case("lenet5", question="step-time", **settings)
    return run(stack, case, **more)


def test_step_times_are_the_medians_without_the_warm_up(stack: Stack) -> None:
    record = timed_case(stack, pedantic=pedantic)
    for loss in ("plain", "adversarial"):
        times_s = record.curves[f"{loss}_step_s"]
        assert len(times_s) == 7 - training.WARMUP_STEPS
        assert record.metrics[f"{loss}_step_s"] == statistics.median(times_s)
        rate = record.metrics[f"{loss}_images_per_s"]
        assert rate == pytest.approx(8 / statistics.median(times_s))
        assert record.metrics[f"{loss}_compile_s"] > 0
    ratio = record.metrics["adversarial_step_s"] / record.metrics["plain_step_s"]
    assert record.metrics["adversarial_plain_ratio"] == pytest.approx(ratio)
    assert record.metrics["peak_memory_bytes"] >= 0


@pytest.mark.benchmark(warmup=False)
def test_pytest_benchmarks_own_pedantic_times_the_adversarial_step(
    stack: Stack, benchmark: Any
) -> None:
    record = timed_case(stack, pedantic=benchmark.pedantic)
    assert len(record.curves["adversarial_step_s"]) == 7 - training.WARMUP_STEPS
    assert np.isfinite(record.metrics["last_loss"])


def test_the_step_time_is_the_median_after_the_warm_up() -> None:
    batch = Batch(0, 0, np.zeros((1, 1, 1, 3), np.float32), np.zeros(1, np.int64))
    result = StepResult(1.0, 1.0, 0.0)
    done = [TimedStep(batch, result, step_s) for step_s in (5.0, 3.0, 0.25, 0.5, 1.0)]
    assert training.step_timing(done, 8) == {"step_s": 0.5, "images_per_s": 16.0}


def test_memory_that_is_taken_is_measured_though_it_is_given_back(stack: Stack) -> None:
    taken = step_time.memory_meter(stack)
    before = taken()["peak_memory_bytes"]
    np.ones(2**24)  # 128 MiB
    assert taken()["peak_memory_bytes"] - before > 2**26
