"""What does a step compute, array by array, from the same state in every release?"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from suite.measure import constants
from suite.measure.evaluation import accuracy, cross_entropy
from suite.measure.fed import batch_entry, data, evaluation, schedule
from suite.measure.named import (
    State,
    layers_by_key,
    plant,
    set_weights_by_key,
    weight_name,
    weights_by_key,
)
from suite.measure.run import Measured, Run
from suite.measure.states import load_states, states_path
from suite.measure.statistics import batch_moments
from suite.measure.summaries import rounded, summarised
from suite.measure.training import Batch, batches, learning_rate
from suite.measure.weights import build, let_all_train, pretraining_rate
from suite.networks.architectures import PRETRAINED
from suite.networks.batch_norm import batch_norms, moving_moments, state_kept
from suite.networks.copying import without_dropout
from suite.networks.phases import TRAINING, Phases
from suite.networks.types import Images, Labels, Model
from suite.stacks.protocol import Network, Stack, StepResult, TrainStep

if TYPE_CHECKING:
    from collections.abc import Callable

    from suite.measure.summaries import Entry

STEPS = 3  # from each state; the third tells Nesterov's momentum from the plain one
FALL = 0.5  # of the rate at the last of them: whether it is in the momentum, or multiplies it later
MOVING = ("moving_mean", "moving_variance")  # the weights that are statistics


def parity(run: Run) -> Measured:
    """Trace the case's steps from states that are the same in every release.

    Before the first step the weights are drawn; the other states are those of a stored training,
    if the case starts from them. Each is followed by `STEPS` steps, the first of which tells all
    but the momentum.
    """
    case, stack = run.case, run.stack
    stack.seed(run.seed)
    model = without_dropout(stack.keras, build(stack, case))
    states = load_states(states_path(case)) if case.weights == "states" else {}
    source = batches(run.train, batch_size=case.batch_size, epochs=case.epochs, seed=run.seed)
    told = [{"state": "0", **entry} for entry in (data(run), constants.start(stack, model))]
    traced = [*told, *_step_map(run, model, states, list(source))]
    parameters = float(model.count_params())
    return Measured({**traced_metrics(traced), "parameters": parameters}, {}, traced, {})


def _step_map(
    run: Run, model: Model, states: Mapping[int, State], source: Sequence[Batch]
) -> Iterator[Entry]:
    """Trace some steps from each state, and under the plain loss some of the pretraining's.

    Yields:
        The entries, each with the name of its state.
    """
    case, stack = run.case, run.stack
    plant(model, seed=run.seed)
    starts = {"0": weights_by_key(model), **{f"{step}": state for step, state in states.items()}}
    pretrained = case.phases is None and case.architecture in PRETRAINED
    for optimizer in ("sgd", *(["adam"] if pretrained else [])):
        rate = case.learning_rate
        if optimizer == "adam":
            let_all_train(model)
            rate = pretraining_rate(model)
        tracer = tracer_of(stack, model, phases=case.phases, epsilon=case.epsilon, by=optimizer)
        for index, (name, state) in enumerate(starts.items()):
            set_weights_by_key(model, state)
            tracer.step.forget()
            if optimizer == "sgd":
                yield {"state": name, **evaluation(run, tracer.network)}
            following = source[index * STEPS : (index + 1) * STEPS]
            own = [batch._replace(step=step) for step, batch in enumerate(following)]
            label = name if optimizer == "sgd" else f"{name}, Adam"
            for entry in traced_steps(tracer, own, base_rate=rate):
                yield {"state": label, **entry}


class Tracer(NamedTuple):
    """A model with all that traces a step of it, compiled once.

    Attributes:
        stack: The framework under measurement.
        network: The passes of the model.
        asked: The same, for nothing but the statistics of a batch.
        step: Its update.
        gradients: The gradients of that update's loss.
        phases: The phase of each pass of the adversarial loss; None takes the plain loss.
        epsilon: FGSM step in the max norm; pixels are in [0, 1].
        constants: Those of the optimizer and of the BatchNorm layers.
    """

    stack: Stack
    network: Network
    asked: Network
    step: TrainStep
    gradients: Callable[[Images, Labels], list[np.ndarray]]
    phases: Phases | None
    epsilon: float
    constants: Sequence[Entry]


def tracer_of(
    stack: Stack, model: Model, *, phases: Phases | None, epsilon: float, by: str = "sgd"
) -> Tracer:
    """Compile all that traces a step of `model` by an optimizer of the stack."""
    return Tracer(
        stack=stack,
        network=stack.network(model),
        asked=stack.network(model),
        step=stack.train_step(model, phases=phases, epsilon=epsilon, optimizer=by),
        gradients=stack.gradients(model, phases=phases, epsilon=epsilon),
        phases=phases,
        epsilon=epsilon,
        constants=[
            constants.optimizer(stack, by),
            constants.several_steps(stack),
            *constants.batch_norms(stack, model),
        ],
    )


def traced_steps(tracer: Tracer, source: Iterable[Batch], *, base_rate: float) -> Iterator[Entry]:
    """Make steps from the present weights; yield what each computes, causes before effects."""
    model = tracer.network.model
    start = [schedule(), *tracer.constants, *initial(model)]
    yield from ({"step": 0, **entry} for entry in start)
    for batch in source:
        rate = learning_rate(base_rate, step=batch.step, epoch=batch.epoch)
        rate *= FALL if batch.step == STEPS - 1 else 1.0
        images, labels = batch.images, batch.labels
        entries = [
            batch_entry(images, labels, rate),
            *moments(tracer.stack, tracer.asked, images),
            *passes(tracer, images, labels, perturbed=batch.step == 0),
        ]
        slopes = gradient_entries(model, tracer.gradients(images, labels))
        before = weights_by_key(model)
        result = tracer.step(images, labels, rate)
        moved, updated = changes(before, weights_by_key(model))
        entries += [*moved, *result_entries(result), *slopes, *updated]
        yield from ({"step": batch.step, **entry} for entry in entries)


def traced_metrics(traced: Iterable[Entry]) -> dict[str, float]:
    """Tell whether every number is finite, and the largest change of a pixel at step 0."""
    numbers = [
        number
        for entry in traced
        for number in (entry.get("value", 0.0), entry.get("rms", 0.0), entry.get("largest", 0.0))
    ]
    largest = [entry["largest"] for entry in traced if entry["quantity"] == "perturbation"]
    return {
        "all_finite": float(np.isfinite(numbers).all()),
        **({"perturbation_max": largest[0]} if largest else {}),
    }


def initial(model: Model) -> Iterator[Entry]:
    """Yield every weight and statistic before the first step."""
    for (key, name), array in weights_by_key(model).items():
        yield summarised("initial weight", key, array, weight=name)


def moments(stack: Stack, network: Network, images: Images) -> Iterator[Entry]:
    """Yield the batch's statistics at every BatchNorm, and their distance from the moving ones.

    Where releases differ, the first such layer follows the first layer whose output differs.
    """
    model = network.model
    batch = batch_moments(stack, model, images, network=network)
    moving = moving_moments(model)
    keys = {layer.name: key for key, layer in layers_by_key(model).items()}
    for name in (layer.name for layer in batch_norms(model)):
        for index, kind in enumerate(("mean", "variance")):
            yield summarised(f"batch {kind}", keys[name], batch[name][index])
            distance = np.subtract(batch[name][index], moving[name][index], dtype=np.float64)
            yield summarised(f"{kind} distance", keys[name], distance)


def passes(tracer: Tracer, images: Images, labels: Labels, *, perturbed: bool) -> Iterator[Entry]:
    """Yield what the suite's own passes compute before the step, and put its state back.

    The cross-entropies and accuracies replay the step's passes one by one: if the step reports
    others, it does not run as it was told. The pixels that are `perturbed` are told only on
    demand: they take the most room.
    """
    network, epsilon = tracer.network, tracer.epsilon
    yield summarised("inference logits", "", network.logits(images, training=False))
    if tracer.phases is None:
        return
    clean, attack, adversarial = (phase == TRAINING for phase in tracer.phases)
    if perturbed:
        with state_kept(network.model):
            moved = network.craft(images, epsilon=epsilon, training=attack)
        yield perturbation(images, moved)
    with state_kept(network.model):
        own = network.logits(images, training=clean)
        moved = network.craft(images, epsilon=epsilon, training=attack)
        unperturbed = network.logits(images, training=adversarial)
        attacked = network.logits(moved, training=adversarial)
    yield {
        "quantity": "replay",
        "layer": "",
        "clean_ce": rounded(cross_entropy(own, labels)),
        "unperturbed_ce": rounded(cross_entropy(unperturbed, labels)),
        "adversarial_ce": rounded(cross_entropy(attacked, labels)),
        "clean_accuracy": accuracy(own, labels),
        "adversarial_accuracy": accuracy(attacked, labels),
    }


def perturbation(images: Images, perturbed: Images) -> Entry:
    """Describe a perturbation: its largest and mean change, and a bit for each pixel that rose."""
    change = perturbed.astype(np.float64) - images
    signs = np.packbits(change > 0).tobytes()
    return {
        "quantity": "perturbation",
        "layer": "",
        "largest": rounded(np.max(np.abs(change))),
        "mean": rounded(float(np.mean(np.abs(change)))),
        "signs": base64.b64encode(signs).decode(),
    }


def gradient_entries(model: Model, gradients: list[np.ndarray]) -> list[Entry]:
    """Summarise the gradients in the order of backpropagation: the last layer's first."""
    places = {
        id(weight): (key, weight_name(weight))
        for key, layer in layers_by_key(model).items()
        for weight in layer.weights
    }
    named = {places[id(w)]: g for w, g in zip(model.trainable_weights, gradients)}
    ordered = reversed([place for place in places.values() if place in named])
    return [summarised("gradient", key, named[key, name], weight=name) for key, name in ordered]


def result_entries(result: StepResult) -> list[Entry]:
    """List what a step reports: the losses of its passes, their sum, the accuracies."""
    names = ("clean_ce", "adversarial_ce", "loss", "clean_accuracy", "adversarial_accuracy")
    values = {name: getattr(result, name) for name in names}
    return [
        {"quantity": name, "layer": "", "value": rounded(value)}
        for name, value in values.items()
        if value is not None
    ]


def changes(
    before: Mapping[tuple[str, str], np.ndarray], after: Mapping[tuple[str, str], np.ndarray]
) -> tuple[list[Entry], list[Entry]]:
    """Summarise a step's changes: those of the moving statistics, and those of the weights."""
    entries = [
        summarised("change", key, np.subtract(after[key, name], old, dtype=np.float64), weight=name)
        for (key, name), old in before.items()
    ]
    statistics = [entry for entry in entries if entry["weight"] in MOVING]
    return statistics, [entry for entry in entries if entry not in statistics]
