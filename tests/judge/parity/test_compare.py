"""Tests of suite.parity and suite.implied: what is planted is found and named, and no more."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from suite.errors import RecordError
from suite.judge.parity.compare import Comparison, compare_releases, compare_traces
from suite.judge.parity.implied import descent, trace_of
from suite.measure.questions import parity
from suite.measure.questions.parity import Entry, summarised
from suite.records import Record

MakeRecord = Callable[..., Record]
Make = Callable[..., Record]

STEPS = 5
LAYERS = ("first_bn", "second_bn")
WEIGHTS = (("conv", "kernel"), ("conv", "bias"), ("first_bn", "gamma"), ("logits", "kernel"))
KERAS_3 = {"keras": "3.15.1", "tensorflow": "2.21.0"}
KERAS_2 = {"keras": "2.15.0", "tensorflow": "2.15.1"}
GRAPH = {"keras": "2.2.4-tf", "tensorflow": "1.14.0"}


def paper_trace(
    *,
    set_momentum: float = 0.99,
    momentum: float = 0.99,
    bn_epsilon: float = 1e-3,
    updates: int = 1,
    correction: int = 0,
    epsilon: float = 0.01,
    elsewhere: float = 0.0,
    rate: float = 1.0,
    sgd: float = 0.9,
    nesterov: bool = True,
    decay: float = 0.0,
    clean_share: float = 0.5,
    wrong_pass: float = 0.0,
    steeper: float = 1.0,
    other_start: float = 0.0,
    order: tuple[int, ...] = tuple(range(STEPS)),
    noise: float = 0.0,
    forward: float = 0.0,
) -> list[Entry]:
    """Return the trace of a training that takes place on paper, one array after the other."""
    rng, errors = np.random.default_rng(0), np.random.default_rng(1)
    shapes = {"kernel": (40, 6), "bias": (6,), "gamma": (6,)}
    weights = {w: rng.normal(size=shapes[w[1]]) for w in WEIGHTS}
    weights["logits", "kernel"] += other_start * rng.normal(size=(40, 6))
    moving = {x: [rng.normal(size=6), rng.uniform(1, 2, 6)] for x in LAYERS}
    velocity = {w: np.zeros(shapes[w[1]]) for w in WEIGHTS}
    entries: list[Entry] = [
        {
            "step": 0, "quantity": "batch norm", "layer": layer, "momentum": set_momentum,
            "epsilon": bn_epsilon, "dimensions": 4, "positions": 2, "observed_momentum": momentum,
            "observed_epsilon": bn_epsilon, "observed_correction": correction * 1.00001,
        }
        for layer in LAYERS
    ]  # fmt: skip

    def add(step: int, quantity: str, layer: str, array: np.ndarray, weight: str = "") -> None:
        array = array * (1 + noise * errors.normal(size=array.shape))
        entries.append({"step": step, **summarised(quantity, layer, array, weight=weight)})

    def number(step: int, quantity: str, **values: Any) -> None:
        entries.append({"step": step, "quantity": quantity, "layer": "", **values})

    for (layer, name), array in weights.items():
        entries.append({"step": 0, **summarised("initial weight", layer, array, weight=name)})
    share = 1 - momentum**updates
    for step in range(STEPS):
        number(step, "batch", digest=str(order[step]), images=16, learning_rate=0.1)
        changes = []
        for layer in LAYERS:
            wrong = 1 + forward * (layer == "second_bn")
            n = 32
            batch = [
                wrong * rng.normal(size=6),
                wrong * rng.uniform(1, 3, 6) * (n / (n - 1)) ** correction,
            ]
            for index, kind in enumerate(("mean", "variance")):
                distance = batch[index] - moving[layer][index]
                add(step, f"batch {kind}", layer, batch[index])
                add(step, f"{kind} distance", layer, distance)
                changes.append((layer, share * distance, f"moving_{kind}"))
                moving[layer][index] = moving[layer][index] + share * distance
        add(step, "inference logits", "", rng.normal(size=(16, 5)))
        signs = rng.random(800) < 0.5
        signs ^= errors.random(800) < elsewhere
        number(
            step, "perturbation", largest=epsilon,
            signs=base64.b64encode(np.packbits(signs).tobytes()).decode(),
        )  # fmt: skip
        clean, adversarial = 3 + rng.random(), 4 + rng.random()
        number(step, "replay", clean_ce=clean, unperturbed_ce=3.5, adversarial_ce=adversarial)
        for layer, change, name in changes:
            add(step, "change", layer, change, name)
        reported = adversarial + wrong_pass
        number(step, "clean_ce", value=clean)
        number(step, "adversarial_ce", value=reported)
        number(step, "loss", value=clean_share * clean + (1 - clean_share) * reported)
        slopes = {w: rng.normal(size=shapes[w[1]]) for w in WEIGHTS}
        slopes["conv", "kernel"] *= steeper
        for (layer, name), slope in reversed(slopes.items()):
            add(step, "gradient", layer, slope, name)
        for place, slope in slopes.items():
            full = slope + decay * weights[place]
            velocity[place] = sgd * velocity[place] - rate * 0.1 * full
            change = sgd * velocity[place] - rate * 0.1 * full if nesterov else velocity[place]
            weights[place] = weights[place] + change
            add(step, "change", place[0], change, place[1])
    return entries


@pytest.fixture
def make(make_record: MakeRecord) -> Make:
    """Return a function that makes the record of a training on paper."""

    def made(
        release: str = "tf-2.15",
        versions: dict[str, str] = KERAS_3,
        stack: str | None = None,
        **planted: Any,
    ) -> Record:
        named = {"stack": stack} if stack else {}
        return make_record(
            case="parity-net", release=release, question="parity",
            settings={"phases": ["training", "inference", "inference"]},
            environment={"versions": versions, **named}, statistics=paper_trace(**planted),
        )  # fmt: skip

    return made


@pytest.fixture
def against(make: Make) -> Callable[..., Comparison]:
    """Return a function that compares a training with a planted difference with an honest one."""
    return lambda **planted: compare_traces(make(**planted), make("tf-2.21"))


Against = Callable[..., Comparison]


def test_the_same_training_agrees_to_the_last_digit(against: Against) -> None:
    found = against()
    assert found.agrees
    assert not found.known
    assert {distance.value for distance in found.distances} == {0.0}


def test_rounding_is_no_difference(against: Against) -> None:
    found = against(noise=1e-6)
    assert found.agrees
    assert max(distance.value for distance in found.distances) > 0


@pytest.mark.parametrize(
    ("planted", "quantity", "words"),
    [
        (
            {"momentum": 0.9, "set_momentum": 0.9},
            "change",
            "momentum, as set: 0.9 here, 0.99 there (all 2 layers)",
        ),
        ({"momentum": 0.9}, "change", "BatchNorm momentum, as observed: 0.9 here, 0.99 there"),
        ({"updates": 2}, "change", "updates a step 2 and 1"),
        ({"epsilon": 0.011}, None, "largest change of a pixel: 0.011 here, 0.01 there"),
        ({"bn_epsilon": 1.01e-3}, None, "BatchNorm epsilon, as set: 0.00101 here, 0.001 there"),
        ({"elsewhere": 0.1}, "perturbation", "The attack goes elsewhere"),
        ({"rate": 1.1}, "change", "SGD at 1.1 of the learning rate, Nesterov's momentum 0.9 here"),
        ({"sgd": 0.8}, "change", "SGD at 1 of the learning rate, Nesterov's momentum 0.8 here"),
        ({"nesterov": False}, "change", "SGD at 1 of the learning rate, momentum 0.9 here"),
        ({"sgd": 0.0}, "change", "SGD at 1 of the learning rate, momentum 0 here"),
        ({"decay": 0.05}, "change", "weights shrinking by 0.2"),
        ({"decay": 5e-4}, None, "weights shrinking by 0.00"),
        ({"rate": 1.005}, None, "SGD at 1.005 of the learning rate"),
        ({"sgd": 0.905}, None, "Nesterov's momentum 0.905 here"),
        (
            {"clean_share": 0.55},
            "loss",
            "0.55 CE(clean) + 0.45 CE(adversarial) here, 0.5 and 0.5 there",
        ),
        (
            {"wrong_pass": 0.05},
            "adversarial_ce",
            "step's adversarial pass is not the one it was told",
        ),
        ({"steeper": 1.01}, "gradient", "The gradient of conv/kernel is 1.01 times there's"),
        ({"other_start": 1e-3}, "initial weight", "weights are not the same: logits/kernel"),
        ({"order": (0, 1, 3, 2, 4)}, "batch", "The same batches in another order, from step 2 on"),
        ({"order": (0, 7, 2, 3, 4)}, "batch", "Other batches, from step 1 on"),
    ],
    ids=str,
)
def test_a_planted_difference_is_found_and_named(
    against: Against, planted: dict[str, Any], quantity: str | None, words: str
) -> None:
    found = against(**planted)
    assert not found.agrees
    assert any(words in cause for cause in found.causes), found.causes
    if quantity:
        assert found.first is not None
        assert found.first.place.quantity == quantity


def test_the_first_step_and_layer_that_diverge_are_told(against: Against) -> None:
    first = against(forward=0.01).first
    assert first is not None
    assert str(first.place) == "step 0, batch mean of second_bn"
    assert first.value == pytest.approx(0.01, rel=0.9)


def test_a_divergence_by_no_cause_the_suite_knows_fails_all_the_same(against: Against) -> None:
    found = against(forward=0.01)
    assert not found.agrees
    assert found.causes == []


def test_what_is_not_a_number_in_one_release_alone_diverges(make: Make) -> None:
    record = make()
    entries = [dict(entry) for entry in record.statistics]
    broken = next(entry for entry in entries if entry["quantity"] == "inference logits")
    broken.update(rms=float("nan"), projections=[float("nan")] * parity.PROJECTIONS)
    odd = make_like(record, entries)
    first = compare_traces(odd, make("tf-2.21")).first
    assert first is not None
    assert first.place.quantity == "inference logits"
    assert compare_traces(odd, odd).agrees


def make_like(record: Record, entries: list[Entry], **changes: Any) -> Record:
    content = {name: getattr(record, name) for name in record.__dataclass_fields__}
    return Record(**{**content, "statistics": entries, **changes})


def test_the_variances_correction_is_listed_verified_and_taken_out(make: Make) -> None:
    found = compare_traces(make(versions=KERAS_2, correction=1), make("tf-2.21"))
    assert found.agrees
    [known] = found.known
    assert "divided by n - 1 here, by n there" in known
    assert "times 1.03226 (n = 32)" in known


def test_the_correction_is_not_legitimate_under_keras_3(make: Make) -> None:
    found = compare_traces(make(versions=KERAS_3, correction=1), make("tf-2.21"))
    assert found.causes == [
        "BatchNorm's moving variance: the sum of squares is divided by n - 1 here; Keras 3 divides "
        "by n (first_bn, second_bn)"
    ]
    assert found.first is not None
    assert found.first.place.quantity == "batch variance"


@pytest.mark.parametrize("swapped", [False, True])
def test_a_keras_2_that_stops_correcting_is_told(make: Make, swapped: bool) -> None:
    pair = [make(versions=KERAS_2), make("tf-2.21")]
    found = compare_traces(*(reversed(pair) if swapped else pair))
    assert not found.agrees
    where = "there" if swapped else "here"
    assert f"divided by n {where}; Keras 2 divides by n - 1" in found.causes[0]


def test_a_correction_that_is_not_a_number_is_told(make: Make) -> None:
    record = make()
    entries = [dict(entry) for entry in record.statistics]
    entries[0]["observed_correction"] = float("nan")
    found = compare_traces(make_like(record, entries), make("tf-2.21"))
    assert "divided by n - nan here; Keras 3 divides by n (first_bn)" in found.causes[0]


def test_a_variance_off_by_more_than_the_correction_is_found(make: Make) -> None:
    found = compare_traces(make(versions=KERAS_2, correction=2), make("tf-2.21"))
    assert not found.agrees


def test_the_graphs_second_update_is_known_and_that_of_others_is_not(make: Make) -> None:
    graph = compare_traces(make(versions=GRAPH, correction=1, updates=2), make("tf-2.21"))
    assert graph.agrees
    assert "2.0000 a step here, 1.0000 there" in graph.known[-1]
    later = {place.quantity: allowed for place, _, allowed in graph.distances if place.step}
    assert later["batch"] == 0
    assert later["adversarial_ce"] == 0.01
    assert later["gradient"] == float("inf")
    eager = make(versions=KERAS_2, correction=1, updates=2)
    assert not compare_traces(eager, make("tf-2.21")).agrees


def test_the_stack_that_a_record_names_decides_whether_it_is_a_graph(make: Make) -> None:
    planted: dict[str, Any] = {"correction": 1, "updates": 2}
    named = make(versions=KERAS_2, stack="graph", **planted)
    assert compare_traces(named, make("tf-2.21")).agrees
    named = make(versions=GRAPH, stack="eager", **planted)
    assert not compare_traces(named, make("tf-2.21")).agrees


def test_two_updates_under_the_plain_loss_are_not_known(make: Make) -> None:
    pair = [
        make_like(record, list(record.statistics), settings={"phases": None})
        for record in (make(versions=GRAPH, correction=1, updates=2), make("tf-2.21"))
    ]
    assert not compare_traces(*pair).agrees


@pytest.mark.parametrize("kind", ["mean", "variance"])
def test_a_graph_that_freezes_a_layer_is_found_and_named(make: Make, kind: str) -> None:
    record = make(versions=GRAPH, correction=1, updates=2)
    entries = [dict(entry) for entry in record.statistics]
    for entry in entries:
        place = entry["quantity"], entry["layer"], entry.get("weight")
        if place == ("change", "second_bn", f"moving_{kind}"):
            entry.update(rms=0.0, projections=[0.0] * parity.PROJECTIONS)
    found = compare_traces(make_like(record, entries), make("tf-2.21"))
    assert not found.agrees
    told = f"updates a step 0 and 1 (second_bn/moving_{kind})"
    assert any(told in cause for cause in found.causes), found.causes


@pytest.mark.parametrize("step", [0, 3])
@pytest.mark.parametrize("quantity", ["adversarial_ce", "gradient"])
def test_nan_behind_the_graphs_second_update_is_found(make: Make, quantity: str, step: int) -> None:
    record = make(versions=GRAPH, correction=1, updates=2)
    broken = with_nan(record, lambda e: (e["step"], e["quantity"]) == (step, quantity))
    first = compare_traces(broken, make("tf-2.21")).first
    assert first is not None
    assert (first.place.step, first.place.quantity) == (step, quantity)


def test_the_graphs_adversarial_pass_is_held_loosely(make: Make) -> None:
    honest = make("tf-2.21")
    for wrong, agrees in ((0.01, True), (0.1, False)):
        record = make(versions=GRAPH, correction=1, updates=2, wrong_pass=wrong)
        found = compare_traces(record, honest)
        assert found.agrees == agrees
    assert "step's adversarial pass is not the one it was told" in found.causes[0]


@pytest.mark.parametrize("name", ["clean", "adversarial"])
def test_a_replay_that_is_not_a_number_in_one_release_alone_is_told(make: Make, name: str) -> None:
    record = make()
    entries = [dict(entry) for entry in record.statistics]
    next(e for e in entries if e["quantity"] == "replay")[f"{name}_ce"] = float("nan")
    odd = make_like(record, entries)
    [cause] = compare_traces(odd, make("tf-2.21")).causes
    assert f"The step's {name} pass is not the one it was told" in cause
    assert compare_traces(odd, odd).agrees


def with_nan(record: Record, is_broken: Callable[[Entry], bool]) -> Record:
    """Return the record with NaN in the entries that are broken."""
    entries = [dict(entry) for entry in record.statistics]
    for entry in filter(is_broken, entries):
        nan = {"rms": float("nan"), "value": float("nan")}
        entry.update({name: nan[name] for name in nan if name in entry})
        if "projections" in entry:
            entry["projections"] = [float("nan")] * parity.PROJECTIONS
    return make_like(record, entries)


def test_losses_that_are_not_a_number_in_both_do_not_differ(make: Make) -> None:
    odd = with_nan(make(), lambda e: e["quantity"] in ("adversarial_ce", "loss"))
    found = compare_traces(odd, odd)
    assert found.agrees, found
    assert not compare_traces(odd, make("tf-2.21")).agrees


def test_a_corrected_variance_that_is_not_a_number_diverges(make: Make) -> None:
    record = make(versions=KERAS_2, correction=1)
    broken = with_nan(record, lambda e: e["step"] == 2 and e["quantity"] == "batch variance")
    first = compare_traces(broken, make("tf-2.21")).first
    assert first is not None
    assert str(first.place) == "step 2, batch variance of first_bn"


def test_the_graphs_later_steps_are_judged_by_what_they_imply(make: Make) -> None:
    graph = make(versions=GRAPH, correction=1, updates=2, sgd=0.8)
    found = compare_traces(graph, make("tf-2.21"))
    assert not found.agrees
    assert found.first is None
    assert any("momentum 0.8 here" in cause for cause in found.causes)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("step", [0, 1])
def test_the_graphs_nan_where_no_update_is_due_is_known(
    make: Make, step: int, swapped: bool
) -> None:
    pair = [poisoned(resting_graph(make), step=step), make("tf-2.21", updates=0)]
    found = compare_traces(*(reversed(pair) if swapped else pair))
    assert found.agrees, found.causes
    assert f"1 of 4 become NaN {'there' if swapped else 'here'}" in found.known[-1]
    places = [place for place, *_ in found.distances]
    assert {place.quantity for place in places if place.step == step + 1} == {"batch"}
    assert "batch mean" in {place.quantity for place in places if place.step == step}


def test_a_graph_whose_nan_reaches_its_first_step_agrees_still(make: Make) -> None:
    graph = poisoned(resting_graph(make), step=0)
    reached = ("adversarial_ce", "loss", "gradient", "change")
    broken = with_nan(graph, lambda e: e["quantity"] in reached and not rests(e))
    found = compare_traces(broken, make("tf-2.21", updates=0))
    assert found.agrees, found.causes


def rests(entry: Entry) -> bool:
    return entry.get("rms") == 0 or entry.get("weight", "").startswith("moving")


def test_other_faults_of_a_graph_poisoned_at_its_first_step_are_told(make: Make) -> None:
    graph = poisoned(resting_graph(make, epsilon=0.011), step=0)
    [cause] = compare_traces(graph, make("tf-2.21", updates=0)).causes
    assert "FGSM epsilon" in cause


def test_nan_of_other_releases_or_before_the_statistics_is_not_known(make: Make) -> None:
    honest = make("tf-2.21", updates=0)
    eager = make(versions=KERAS_2, correction=1, updates=0)
    assert compare_traces(eager, honest).agrees
    assert not compare_traces(poisoned(eager), honest).agrees
    graph = resting_graph(make)
    assert not compare_traces(poisoned(graph, "inference logits"), honest).agrees
    moving = poisoned(make("tf-1.14", GRAPH, correction=1))
    assert not compare_traces(moving, make("tf-2.21")).agrees
    other = with_nan(
        honest,
        lambda e: (e["step"], e["layer"], e.get("weight")) == (1, "first_bn", "moving_variance"),
    )
    assert not compare_traces(poisoned(graph), other).agrees
    assert compare_traces(poisoned(graph), poisoned(graph)).agrees


def resting_graph(make: Make, **planted: Any) -> Record:
    """Return the record of a graph that is due no update of its statistics."""
    return make("tf-1.14", GRAPH, correction=1, updates=0, **planted)


def poisoned(record: Record, quantity: str = "change", *, step: int = 1) -> Record:
    entries = [dict(entry) for entry in record.statistics]
    first = next(e for e in entries if e["step"] == step and e["quantity"] == quantity)
    return with_nan(
        make_like(record, entries),
        lambda e: e == first or (e["step"] > step and e["quantity"] not in ("batch", "replay")),
    )


def test_updates_that_no_sgd_makes_are_told(make: Make) -> None:
    record = make()
    entries = [dict(entry) for entry in record.statistics]
    rng = np.random.default_rng(5)
    for entry in entries:
        if entry["quantity"] == "change" and not entry["weight"].startswith("moving"):
            entry["projections"] = list(rng.normal(size=parity.PROJECTIONS))
    assert descent(trace_of(make_like(record, entries))).unexplained > 0.5
    found = compare_traces(make_like(record, entries), make("tf-2.21"))
    assert any("no SGD" in cause for cause in found.causes)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"settings": {"phases": None}},
        {"environment": {"versions": KERAS_3, "data_digest": "sha256:9"}},
        {"case": "parity-other"},
    ],
    ids=str,
)
def test_traces_of_other_cases_seeds_or_data_are_refused(
    make: Make, make_record: MakeRecord, changes: dict[str, Any]
) -> None:
    same = {
        "case": "parity-net", "release": "tf-2.15", "question": "parity",
        "settings": {"phases": ["training", "inference", "inference"]},
        "environment": {"versions": KERAS_3},
    }  # fmt: skip
    other = make_record(**{**same, **changes}, statistics=paper_trace())
    with pytest.raises(RecordError, match="cannot be compared"):
        compare_traces(other, make("tf-2.21"))


def test_other_layers_are_refused(make: Make) -> None:
    record = make()
    shorter = make_like(record, [e for e in record.statistics if e["layer"] != "second_bn"])
    with pytest.raises(RecordError, match=r"other layers or quantities, such as: .*second_bn"):
        compare_traces(shorter, make("tf-2.21"))


def test_a_record_without_a_trace_is_refused(make: Make, make_record: MakeRecord) -> None:
    bare = make_record(case="parity-net", question="parity")
    with pytest.raises(RecordError, match="holds no trace"):
        compare_releases([bare], [bare])
    del make


def test_a_case_that_one_side_lacks_is_an_error(make: Make, make_record: MakeRecord) -> None:
    other = make_record(case="parity-other", question="parity", statistics=paper_trace())
    with pytest.raises(RecordError, match=r"tf-2.21 has no trace of parity-other-seed0"):
        compare_releases([make(), other], [make("tf-2.21")])
    with pytest.raises(RecordError, match=r"tf-2.15 has no trace of parity-other"):
        compare_releases([make()], [make("tf-2.21"), other])


def test_records_of_other_questions_are_left_out(make: Make, make_record: MakeRecord) -> None:
    training = make_record(release="tf-2.15")
    [found] = compare_releases([make(), training], [make("tf-2.21"), training])
    assert found.case == "parity-net"
