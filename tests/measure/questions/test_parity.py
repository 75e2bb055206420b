"""Tests of suite.measure.questions.parity: traces of real steps, and faults that show in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suite.cases import Case
from suite.errors import WeightsError
from suite.judge.parity.compare import Comparison, by_state, compare_traces
from suite.judge.parity.implied import descent, first_rates, trace_of
from suite.measure import states, statistics
from suite.measure.named import layers_by_key, plant, weights_by_key
from suite.measure.questions import parity
from suite.measure.states import load_states, save_states
from suite.measure.summaries import Entry, signs, summarised
from suite.measure.training import Batch
from suite.measure.weights import PLAIN_RATE, build
from suite.networks.batch_norm import batch_norms
from suite.networks.phases import PHASES, Phases
from suite.networks.types import Model
from suite.records import Record
from suite.stacks.protocol import Stack, TrainStep
from suite.stacks.shared import OPTIMIZERS
from tests.measure.conftest import SMALL, run_small

MakeRecord = Callable[..., Record]
VERSIONS = {"keras": metadata.version("keras")}
EPSILON = 0.05
RATE = 0.01


def network(stack: Stack) -> Model:
    """Build a small network, some of whose layers have no name."""
    layers, keras = stack.keras.layers, stack.keras
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same")(inputs)
    x = layers.BatchNormalization(name="first_bn")(x)
    x = layers.Activation("relu")(x)
    x = layers.Conv2D(8, 3, padding="same", name="second_conv")(x)
    x = layers.BatchNormalization(name="second_bn")(x)
    x = layers.Dense(12, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(5)(x))


@pytest.fixture
def model(stack: Stack) -> Model:
    stack.seed(0)
    built = network(stack)
    plant(built, seed=0)
    return built


def noise() -> list[Batch]:
    """Draw three batches of noise."""
    rng = np.random.default_rng(0)
    return [
        Batch(step, 0, rng.random((16, 8, 8, 3), dtype=np.float32), rng.integers(0, 5, 16))
        for step in range(3)
    ]


@pytest.fixture
def source() -> list[Batch]:
    return noise()


def traced(
    stack: Stack, model: Model, source: list[Batch], phases: Phases | None = PHASES["intended"]
) -> list[Entry]:
    tracer = parity.tracer_of(stack, model, phases=phases, epsilon=EPSILON)
    return list(parity.traced_steps(tracer, source, base_rate=RATE))


def trained(
    stack: Stack, fault: Callable[[Model], Any] | None = None, order: Sequence[int] = (0, 1, 2)
) -> list[Entry]:
    """Trace a training, with a fault in the model or another order of the batches."""
    stack.seed(0)
    built, batches = network(stack), noise()
    plant(built, seed=0)
    if fault:
        fault(built)
    steps = [batches[index]._replace(step=step) for step, index in enumerate(order)]
    return traced(stack, built, steps)


@pytest.fixture(scope="module")
def honest(stack: Stack) -> list[Entry]:
    """Trace three honest steps; nothing may change what is shared."""
    return trained(stack)


def test_planted_weights_do_not_depend_on_the_frameworks_own(stack: Stack) -> None:
    models = []
    for seed in (1, 2):
        stack.seed(seed)
        models.append(network(stack))
        plant(models[-1], seed=7)
    for first, second in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(first, second)
    plant(models[1], seed=8)
    kernels = [model.get_layer("second_conv").get_weights()[0] for model in models]
    assert not np.allclose(*kernels)


def test_planted_statistics_are_foreign_and_finite(model: Model) -> None:
    for layer in batch_norms(model):
        gamma, beta, mean, variance = layer.get_weights()
        assert gamma.std() > 0.05
        assert beta.std() > 0.02
        assert 0.1 < np.abs(mean).max() < 3
        assert variance.min() >= 0.5
        assert variance.max() <= 4


def test_layers_without_a_name_are_called_alike_in_every_model(stack: Stack) -> None:
    names = [list(layers_by_key(network(stack))) for _ in range(2)]
    assert names[0] == names[1]
    assert names[0] == [
        "Conv2D 1", "first_bn", "second_conv", "second_bn", "Dense 1", "Dense 2",
    ]  # fmt: skip


def test_the_signs_are_the_same_for_ever() -> None:
    assert signs(12, 0).tolist() == SIGNS
    assert abs(signs(10_000, 1).mean()) < 0.05


SIGNS = [-1.0, -1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, 1.0, 1.0, -1.0, -1.0]


def test_a_summary_holds_the_size_of_an_array_and_of_its_differences() -> None:
    rng = np.random.default_rng(0)
    array, other = rng.normal(size=(2, 30, 40))
    first, second = (summarised("gradient", "layer", each) for each in (array, other))
    assert first["rms"] == pytest.approx(np.sqrt((array**2).mean()), rel=1e-8)
    sums = np.subtract(first["projections"], second["projections"])
    difference = summarised("gradient", "layer", array - other)
    np.testing.assert_allclose(sums, difference["projections"], rtol=1e-6)
    many = [np.dot(signs(1200, index), (array - other).ravel()) ** 2 / 1200 for index in range(400)]
    assert np.mean(many) == pytest.approx(((array - other) ** 2).mean(), rel=0.2)


def test_a_trace_tells_causes_before_effects(honest: list[Entry]) -> None:
    assert sorted({entry["step"] for entry in honest}) == [0, 1, 2]
    last = [entry for entry in honest if entry["step"] == 2]
    assert list(dict.fromkeys(entry["quantity"] for entry in last)) == [
        "batch", "batch mean", "mean distance", "batch variance", "variance distance",
        "inference logits", "replay", "change", "clean_ce", "adversarial_ce", "loss",
        "clean_accuracy", "adversarial_accuracy", "gradient",
    ]  # fmt: skip
    assert [entry["step"] for entry in honest if entry["quantity"] == "perturbation"] == [0]
    gradients = [entry["layer"] for entry in last if entry["quantity"] == "gradient"]
    assert gradients[0] == "Dense 2"
    assert gradients[-1] == "Conv2D 1"


def test_a_trace_trains_the_model_as_the_steps_alone_do(
    stack: Stack, model: Model, source: list[Batch]
) -> None:
    stack.seed(0)
    bare = network(stack)
    plant(bare, seed=0)
    traced(stack, model, source)
    step = stack.train_step(bare, phases=PHASES["intended"], epsilon=EPSILON)
    for batch in source:
        fall = parity.FALL if batch.step == parity.STEPS - 1 else 1.0
        step(batch.images, batch.labels, fall * RATE / (1 + 1e-6 * batch.step))
    for first, second in zip(model.get_weights(), bare.get_weights(), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-6)


def test_the_replay_gives_what_the_step_reports(honest: list[Entry]) -> None:
    for step in range(3):
        found = {entry["quantity"]: entry for entry in honest if entry["step"] == step}
        for name in ("clean_ce", "adversarial_ce"):
            assert found["replay"][name] == pytest.approx(found[name]["value"], abs=2e-5)


def test_the_batchs_statistics_are_those_of_every_steps_own_state(
    stack: Stack, model: Model, source: list[Batch], honest: list[Entry]
) -> None:
    third = [entry for entry in honest if entry["step"] == 2]
    traced(stack, model, source[:2])
    expected = statistics.batch_moments(stack, model, source[2].images)
    found = {entry["layer"]: entry["rms"] for entry in third if entry["quantity"] == "batch mean"}
    assert set(found) == set(expected)
    for name, (mean, _) in expected.items():
        assert found[name] == pytest.approx(float(np.sqrt((mean**2).mean())), rel=1e-4)


def test_the_plain_loss_is_traced_without_an_attack(
    stack: Stack, model: Model, source: list[Batch]
) -> None:
    found = traced(stack, model, source, phases=None)
    assert not {"perturbation", "replay", "adversarial_ce"} & {e["quantity"] for e in found}
    assert parity.traced_metrics(found) == {"all_finite": 1.0}


def test_a_trace_that_is_not_finite_is_told(
    stack: Stack, model: Model, source: list[Batch]
) -> None:
    layer = model.get_layer("second_conv")
    layer.set_weights([array * np.nan for array in layer.get_weights()])
    assert parity.traced_metrics(traced(stack, model, source))["all_finite"] == 0


@pytest.fixture
def against(
    stack: Stack, honest: list[Entry], make_record: MakeRecord
) -> Callable[..., Comparison]:
    """Give a function that compares a training with a real fault with an honest one."""

    def record(release: str, entries: list[Entry]) -> Record:
        return make_record(
            release=release, question="parity", settings={"phases": ["x"]},
            environment={"stack": "eager", "versions": VERSIONS}, statistics=entries,
        )  # fmt: skip

    return lambda *fault, **order: compare_traces(
        record("planted", trained(stack, *fault, **order)), record("honest", honest)
    )


Against = Callable[..., Comparison]
MOMENTUM = "BatchNorm momentum, as set: 0.9 here, 0.99 there (second_bn)"
EPSILON_SET = "BatchNorm epsilon, as set: 0.0011 here, 0.001 there (second_bn)"


def test_two_honest_trainings_agree(against: Against) -> None:
    found = against()
    assert found.agrees, found.causes


@pytest.mark.parametrize(
    ("name", "value", "place", "words"),
    [
        ("momentum", 0.9, "step 0, change of second_bn/moving_mean", MOMENTUM),
        ("epsilon", 1.1e-3, "step 0, inference logits", EPSILON_SET),
    ],
)
def test_another_constant_of_one_batch_norm_is_found_and_named(
    against: Against, name: str, value: float, place: str, words: str
) -> None:
    found = against(lambda model: setattr(model.get_layer("second_bn"), name, value))
    assert words in found.causes
    assert found.first is not None
    assert str(found.first.place) == place


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"momentum": 0.8, "nesterov": True}, "Nesterov's momentum 0.8 here"),
        ({"momentum": 0.9, "nesterov": False}, "SGD at 1 of the learning rate, momentum 0.9 here"),
        ({}, "momentum 0 here"),
    ],
    ids=str,
)
def test_another_optimizer_setting_is_found_and_named(
    stack: Stack,
    against: Against,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    words: str,
) -> None:
    sgd = stack.keras.optimizers.SGD
    monkeypatch.setitem(OPTIMIZERS, "sgd", lambda _: sgd(learning_rate=0.0, **settings))
    found = against()
    assert any(words in cause for cause in found.causes), found.causes
    assert not found.agrees


def test_another_fgsm_epsilon_is_found_and_named(
    stack: Stack, against: Against, monkeypatch: pytest.MonkeyPatch
) -> None:
    fgsm = stack.fast_gradient_method

    def stronger(model_fn: Any, images: Any, epsilon: Any, *more: Any, **named: Any) -> Any:
        return fgsm(model_fn, images, 1.1 * epsilon, *more, **named)

    monkeypatch.setattr(stack, "fast_gradient_method", stronger)
    found = against()
    assert any("FGSM epsilon" in cause and "0.055 here" in cause for cause in found.causes)


def test_another_fgsm_epsilon_inside_the_step_alone_is_found(
    stack: Stack, against: Against, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = stack.train_step

    def stronger(model: Model, *, epsilon: float, **given: Any) -> TrainStep:
        return real(model, epsilon=1.1 * epsilon, **given)

    monkeypatch.setattr(stack, "train_step", stronger)
    found = against()
    assert found.first is not None
    assert found.first.place.quantity == "adversarial_ce"
    assert any("adversarial pass is not the one it was told" in cause for cause in found.causes)


def test_weights_of_one_layer_that_start_elsewhere_are_found(against: Against) -> None:
    def nudge(model: Model) -> None:
        layer = model.get_layer("second_conv")
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel * (1 + 1e-3 * np.sign(kernel)), bias])

    found = against(nudge)
    assert "Initial weights are not the same: second_conv/kernel" in found.causes
    assert str(found.first and found.first.place) == "step 0, initial weight of second_conv/kernel"


def test_another_order_of_the_batches_is_found(against: Against) -> None:
    found = against(order=(0, 2, 1))
    assert "The same batches in another order, from step 1 on" in found.causes
    assert str(found.first and found.first.place) == "step 1, batch"


def test_a_parity_case_records_the_trace_of_every_step(stack: Stack) -> None:
    record = run_small(stack, Case("lenet5", question="parity", **{**SMALL, "epochs": 1}))
    assert record.case == "parity-lenet5-w0.125-intended"
    assert {entry["step"] for entry in record.statistics} == {0, 1, 2}
    assert record.metrics["perturbation_max"] == pytest.approx(0.01, rel=1e-3)
    assert record.metrics["all_finite"] == 1


def stepped(
    stack: Stack, folder: Path, *, loss: str = "intended", architecture: str = "lenet5"
) -> tuple[Record, dict[int, Any]]:
    """Trace steps from a stored state of a small network; return the record and the states."""
    size = {**SMALL, "epochs": 1, "train_images": 3 * 2 * 8, "weights": "states"}
    case = Case(architecture, loss=loss, question="parity", **size)
    stack.seed(3)
    state = {place: 0.5 * array for place, array in weights_by_key(build(stack, case)).items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(states, "FOLDER", folder)
        save_states(states.states_path(case), {7: state})
        return run_small(stack, case), load_states(states.states_path(case))


def test_steps_start_from_drawn_weights_and_from_each_stored_state(
    stack: Stack, tmp_path: Path
) -> None:
    record, stored = stepped(stack, tmp_path)
    start = [e for e in record.statistics if e["quantity"] == "initial weight"]
    assert list(dict.fromkeys(entry["state"] for entry in start)) == ["0", "7"]
    assert [e["state"] for e in record.statistics if e["quantity"] == "data"] == ["0"]
    found = {(e["layer"], e["weight"]): e["rms"] for e in start if e["state"] == "7"}
    for place, array in stored[7].items():
        assert found[place] == pytest.approx(np.sqrt(np.mean(array.astype(float) ** 2)), rel=1e-6)
    for state in ("0", "7"):
        assert {e["step"] for e in record.statistics if e["state"] == state} == {0, 1, 2}


def test_each_state_is_stepped_from_without_the_momenta_of_the_one_before(
    stack: Stack, tmp_path: Path
) -> None:
    record, _ = stepped(stack, tmp_path)
    for trace in map(trace_of, by_state(record).values()):
        assert {round(rate, 3) for rate in first_rates(trace).values()} == {1.9}
        found = descent(trace)
        assert found is not None
        assert (found.nesterov, round(found.momentum, 3)) == (True, 0.9)


def test_a_network_that_is_pretrained_is_stepped_by_adam_with_every_layer_too(
    stack: Stack, tmp_path: Path
) -> None:
    record, _ = stepped(stack, tmp_path, loss="plain", architecture="vgg19")
    assert list(by_state(record)) == ["0", "7", "0, Adam", "7, Adam"]
    sgd, adam = (trace_of(by_state(record)[state]) for state in ("7", "7, Adam"))
    changes = [e["rms"] for p, e in adam.items() if (p.step, p.quantity) == (0, "change")]
    assert max(changes) == pytest.approx(PLAIN_RATE, rel=0.1)
    trained = [{p.layer for p in trace if p.quantity == "gradient"} for trace in (sgd, adam)]
    assert {"block1_conv1", "block3_conv1"} <= trained[1] - trained[0]


def test_dropout_drops_nothing_in_a_trace(stack: Stack, tmp_path: Path) -> None:
    first, second = (
        stepped(stack, tmp_path, loss="plain", architecture="alexnet")[0].statistics
        for _ in range(2)
    )
    assert first == second


def test_each_state_is_evaluated(stack: Stack, tmp_path: Path) -> None:
    record, _ = stepped(stack, tmp_path)
    told = [entry for entry in record.statistics if entry["quantity"] == "evaluation"]
    assert [(entry["state"], entry["images"]) for entry in told] == [("0", 40), ("7", 40)]


def test_states_that_are_missing_name_what_makes_them(stack: Stack, tmp_path: Path) -> None:
    case = Case("lenet5", question="parity", **{**SMALL, "epochs": 1, "weights": "states"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(states, "FOLDER", tmp_path)
        with pytest.raises(WeightsError, match="nox -s states"):
            run_small(stack, case)
